"""A network: layers in the order of a graph, as one value with pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import floats
from bss2jax.chip.chip import Chip
from bss2jax.kernels.coding import normalise
from bss2jax.kernels.synapses.delays import Delays
from bss2jax.mapping.plan import Plan, plan_network, tree_of
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import (
    EXECUTIONS,
    Arrays,
    Execution,
    How,
    Layer,
    Precision,
    folded,
    kind_of,
)
from bss2jax.networks.signal import Signal
from bss2jax.text import Shown, Told

# What layers have by name: parameters, what they keep, what happened.
Params: TypeAlias = dict[str, Arrays]
State: TypeAlias = dict[str, Arrays]
Records: TypeAlias = dict[str, Arrays]
OBSERVED = ("spikes", "membrane", "output")
On = Execution | Mapping[str, Execution]


@dataclass(frozen=True)
class Node:
    """A layer in its place in a network.

    Attributes:
        name: the name of the layer, in the trees of parameters, state and records.
        layer: what does the work.
        inputs: names of the nodes whose outputs it takes; `input` is the network's own input.
        before: the signals of these.
        after: the signal that it makes.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    before: tuple[Signal, ...]
    after: Signal


@dataclass(frozen=True, repr=False)
class Network(Shown):
    """A network as a value: made by `build`, changed by making another.

    Attributes:
        input: the signal of a sample.
        nodes: layers in the order in which they work; the last one's output are the scores.
        twin: what shows the spikes of a network of rates on `ideal` and `chip`, see
            `networks.conversion.Twin`; None for a network that runs there itself.
        mapped: a plan over the chips of a system, see `networks.across.on_system`; None: one chip.
        senders: the senders of each population of such a plan, the one that sends to it, or None
            for the host.
    """

    input: Signal
    nodes: tuple[Node, ...]
    twin: "Any" = None
    mapped: Plan | None = None
    senders: tuple[tuple[str, str | None], ...] = ()

    @cached_property
    def plan(self) -> Plan:
        """Where the layers go on the chip: in the published order.

        Raises:
            ValueError: a layer does not fit the chip; says which and why.
        """
        if self.mapped is not None:
            return self.mapped
        if self.twin is not None:
            return self.twin.network.plan
        with jax.ensure_compile_time_eval():  # inside a jit too
            demands = {node.name: _demand(node) for node in self.nodes}
        on_chip = {name: demand for name, demand in demands.items() if demand is not None}
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        return plan_network(
            tuple(on_chip), tuple(on_chip.values()), tree=tree_of(shapes),
            seconds=max((getattr(node.after, "seconds", 0.0) for node in self.nodes), default=0.0),
            substrate=self.input.substrate,
        )  # fmt: skip

    @cached_property
    def misfit(self) -> str:
        """Why the network does not fit the chip; empty where it does.

        It can be simulated without a chip all the same.
        """
        try:
            self.plan  # noqa: B018 (made here, and kept)
        except ValueError as error:
            return str(error)
        return ""

    def shown(self) -> Told:
        rows = [
            (n.name, kind_of(n.layer), ", ".join(n.inputs), n.after.kind, _sized(n.after.size))
            for n in self.nodes
        ]
        title = f"Network({_sized(self.input.size)} to {_sized(self.shapes[-1])})"
        return title, ("layer", "kind", "of", "gives", "size"), rows

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(node.name for node in self.nodes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The size of a sample, and of each layer's output."""
        return (self.input.size, *(node.after.size for node in self.nodes))

    @property
    def executions(self) -> tuple[Execution, ...]:
        """The executions that all layers have: on a chip, where they fit one."""
        shared = (e for e in EXECUTIONS if all(e in n.layer.executions for n in self.nodes))
        return tuple(e for e in shared if not (e == "chip" and self.misfit))

    @property
    def slow_off_float(self) -> bool:
        """Whether a sample takes as many products as steps on all executions but `float`."""
        return self.twin is not None

    @property
    def across_samples(self) -> bool:
        """Whether a layer looks across the samples of a batch, which then is not cut."""
        return any(node.layer.across_samples for node in self.nodes)

    @property
    def stays_whole(self) -> bool:
        """Whether a layer looks across samples, or keeps something of them, on one device alone."""
        return any(
            (node.layer.across_samples or node.layer.state(*node.before))
            and not node.layer.across_devices
            for node in self.nodes
        )

    def encode(self, x: jax.Array, full_scale: Any, *, offset: Any = 0.0) -> jax.Array:
        """Turns a data set's values `[B, ...]` into what `apply` takes: see `coding.normalise`."""
        return self.input.full_scale * normalise(x, full_scale, offset=offset)

    def init(self, key: jax.Array) -> Params:
        """Draws the parameters: a dict of float32 arrays for each layer that has any.

        Each layer's key is folded by its name: a layer that is inserted leaves the others alone.
        """
        drawn = {n.name: n.layer.init(folded(key, n.name), *n.before) for n in self.nodes}
        return {name: params for name, params in drawn.items() if params}

    def state(self) -> State:
        """Returns what layers keep from step to step of a training, before the first."""
        kept = {node.name: node.layer.state(*node.before) for node in self.nodes}
        return {name: state for name, state in kept.items() if state}

    def project(self, params: Params) -> Params:
        """Returns parameters within what the synapses can hold."""
        return {
            node.name: node.layer.project(params[node.name], *node.before)
            for node in self.nodes
            if node.name in params
        }

    def apply(
        self,
        params: Params,
        state: State,
        x: jax.Array,
        chip: Chip | None = None,
        key: jax.Array | None = None,
        *,
        sample: jax.Array | int = 0,
        on: On,
        training: bool = False,
        precision: Precision = "float32",
        shown: Mapping[str, jax.Array] | None = None,
        observe: Sequence[str] = (),
    ) -> tuple[jax.Array, State, Records]:
        """Runs the network.

        Args:
            params: the parameters, from `init`, or trained.
            state: the state, from `state`, or of the step before.
            x: `[B, *size]` values, 1 is full scale; or spikes `[T, B, *size]`, as it is built.
            chip: the chip for layers on `chip`.
            key: the random key of noise, random codes and dropout; None: none of these.
            sample: number of the batch's first sample, which noise depends on.
            on: an execution for all layers, or executions by layer name (others are `ideal`).
            training: whether dropout and training noise apply.
            precision: the number type of convolutions of spikes in training on `float`.
            shown: outputs of layers that were measured, by name: forward they are taken for those
                of the layer, backward the layer's own gradient applies.
            observe: what records hold besides: `output` of every layer, `spikes` of codes and
                neurons, in place of their number, and `membrane` of neurons, software units; over
                time, `[T, B, *size]`.

        Returns:
            The last layer's output, the state, and each layer's record.

        Raises:
            ValueError: shapes do not match, `on` does not fit, or a chip is missing.
        """
        each, params, x = executions(self, on), jax.tree.map(floats, params), floats(x, "x")
        self._check(x, chip, each, observe)
        if self.twin is not None and (execution := _one(each)) != "float":
            here = chip if execution == "chip" else None
            shown = self.twin.measure(params, x, here, key, sample)
            each, key = dict.fromkeys(each, "float"), None
        signals = {"input": x}
        after: State = {}
        records: Records = {}
        for node in self.nodes:
            how = self._how(node, each, chip, key, sample, training, tuple(observe), precision)
            inputs = _inputs(node, signals)
            own, kept = params.get(node.name, {}), state.get(node.name, {})
            y, kept, record = node.layer.apply(own, kept, *inputs, how=how)
            if shown is not None and node.name in shown:
                y = y + jax.lax.stop_gradient(shown[node.name] - y)
            signals[node.name] = y
            record |= {name: raster_of(y) for name in observe if name in node.after.observed}
            after |= {node.name: kept} if kept else {}
            records |= {node.name: record} if record else {}
        return floats(raster_of(y)), after, records

    def _check(
        self,
        x: jax.Array,
        chip: Chip | None,
        each: Mapping[str, Execution],
        observe: Sequence[str],
    ) -> None:
        """Refuses what the network cannot be run with."""
        for name in observe:
            if name not in OBSERVED:
                raise ValueError(f"observe: got {name!r}, expected some of {', '.join(OBSERVED)}")
        if "chip" in each.values() and chip is None:
            raise ValueError('on="chip" needs a chip: give one, or on="ideal" for a perfect one')
        lead = 1 + self.input.timed
        if x.shape[lead:] != self.input.size:
            raise ValueError(
                f"x has samples of {x.shape[lead:]}, the network takes {self.input.size}"
            )

    def _how(
        self,
        node: Node,
        each: Mapping[str, Execution],
        chip: Chip | None,
        key: jax.Array | None,
        sample: jax.Array | int,
        training: bool,
        observe: tuple[str, ...],
        precision: Precision,
    ) -> How:
        """How a layer works: its chip, its place on it and its key."""
        execution = each[node.name]
        on_chip = execution == "chip"
        return How(
            chip if on_chip else None,
            folded(key, node.name), sample, execution, training, node.before, node.after,
            self.plan.place(node.name) if on_chip and node.name in self.plan.names else None,
            observe,
            self._delays(node) if on_chip else (None, None),
            precision if training and execution == "float" else "float32",
        )  # fmt: skip

    def _delays(self, node: Node) -> tuple[Delays | None, Delays | None]:
        """By how many steps links between chips delay what a layer is sent, and what it sends."""
        senders = dict(self.senders)
        if self.mapped is None or node.name not in senders:
            return None, None
        between, own = self.mapped.delays(node.before[0].dt), self.mapped.place(node.name).chip
        if between is None:
            return None, None
        sender = senders[node.name]
        inputs = None if sender is None else self.mapped.place(sender).chip
        return _delays_of(between, inputs, own), _delays_of(between, own, own)


def _delays_of(between: np.ndarray, source: np.ndarray | None, target: np.ndarray) -> Delays | None:
    """The delays of synapses, from the chips of both ends; None where the host is one."""
    if source is None:
        return None
    pairs = np.ix_(np.unique(source), np.unique(target))
    steps = tuple(np.unique(between[pairs]).tolist())
    as_int = partial(jnp.asarray, dtype=jnp.int32)
    return Delays(as_int(between), as_int(source), as_int(target), steps)


def _inputs(node: Node, signals: Mapping[str, Any]) -> list[Any]:
    """What a layer is given: spikes that are still to be coded only where it takes them."""
    given = [signals[name] for name in node.inputs]
    return given if node.layer.takes_coded else [raster_of(signal) for signal in given]


def _demand(node: Node) -> Any:
    """What a layer asks of the chip; where it asks for what no chip has, the message names it."""
    try:
        return node.layer.demand(*node.before)
    except ValueError as error:
        raise ValueError(f"layer {node.name}: {error}") from None


def _sized(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def executions(network: Network, on: On) -> dict[str, Execution]:
    """Returns the execution of every layer, from one for all or from a mapping of some.

    Args:
        network: the network whose layers they are.
        on: an execution, or executions by layer name; layers it leaves out are `ideal`.

    Raises:
        ValueError: no layer, or no execution of the network, has such a name.
    """
    names, known = network.names, network.executions
    some: dict[str, Execution] = dict.fromkeys(names, on) if isinstance(on, str) else dict(on)
    for name, execution in some.items():
        if name not in names:
            raise ValueError(f"on: no layer {name!r}; the layers are {', '.join(names)}")
        if execution == "chip" and network.misfit:
            raise ValueError(f"on: {network.misfit}")
        if execution not in known:
            raise ValueError(f"on: expected one of {known}, got {execution!r}")
    rest = [name for name in names if name not in some]
    if rest and "ideal" not in known:
        raise ValueError(f"on: {', '.join(rest)} would be ideal; expected one of {known}")
    ideal: dict[str, Execution] = dict.fromkeys(names, "ideal")
    each = ideal | some
    if network.twin is not None:
        _one(each)
    return each


def _one(each: Mapping[str, Execution]) -> Execution:
    """The one execution of a network that is converted as a whole."""
    if len(set(each.values())) > 1:
        raise ValueError("on: a network of rates runs as a whole: expected one execution")
    return next(iter(each.values()))
