"""Reads graphs of NIR as networks.

Weights and the neurons behind them are one layer, named `weights+neurons`, and `+recurrent` where
spikes return through weights; other nodes are layers of their own. What several nodes send to one
is added up.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import positive
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.extras import require
from bss2jax.networks.build import build
from bss2jax.networks.graph import Network
from bss2jax.networks.layer import Layer
from bss2jax.networks.nir.arrays import Shape, ours
from bss2jax.networks.nir.convention import Convention, meant
from bss2jax.networks.nir.flat import Flat, flat, kind_of, told
from bss2jax.networks.nir.nodes import NEURONS, WEIGHTS, Made, Settings, neurons, single
from bss2jax.networks.shapes import Add
from bss2jax.networks.signal import Spikes

Tree = dict[str, dict[str, jax.Array]]


@dataclass(frozen=True)
class Imported:
    """A graph of NIR as layers.

    Attributes:
        layers: in the order in which they work; codes before and decoders behind are the user's.
        size: the size of the spikes that it takes, channels last.
        dt: s of a step, as simulated.
        params, state: of the layers, by name.
        graph: what was read.
        convention: how it was meant.
    """

    layers: tuple[Layer, ...]
    size: Shape
    dt: float
    params: Tree
    state: Tree
    graph: Any
    convention: Convention

    def network(self, steps: int, *, substrate: Substrate = BSS2) -> Network:
        """Returns the network that takes spikes, or currents, `[T, B, *size]`.

        Args:
            steps: T.
            substrate: the chip's numbers.

        Raises:
            ValueError: a layer does not fit what comes before it.
        """
        spikes = Spikes(self.size, substrate, steps=steps, dt=self.dt)
        return build(self.layers, spikes)

    @property
    def outputs(self) -> int:
        """The entries of what its last layer gives."""
        return self.network(1).nodes[-1].after.entries


def read(
    source: Any,
    *,
    dt: float,
    convention: str | Convention | None = None,
    unit: str | None = None,
    spikes: str | None = None,
    reset: str | None = None,
    order: str | None = None,
    start: str | None = None,
    speedup: float = 1.0,
    tau_syn: float | None = None,
    weight_scale: float | None = None,
) -> Imported:
    """Reads a graph of NIR.

    A file does not say in which unit its times are, how long a step is, what a spike is, or whether
    a reset is soft: say it, or name the framework whose habits apply.

    Args:
        source: path of a file, or a `nir.NIRGraph`.
        dt: s of a step of the graph.
        convention: `norse`, `snntorch`, `sinabs`, `spyx`, `hxtorch`, `jaxsnn`, or a `Convention`.
        unit: the unit of the graph's times: `s`, `ms`, `us` or `steps`.
        spikes: `sample`, `jump` or `dirac`: see `networks.Constants`.
        reset: `value`, `zero` or `subtract`.
        order: the order in which a step is computed: see `neurons.lif`.
        start: the potential at which membranes begin, `zero` or `leak`.
        speedup: factor by which the simulated neurons are to be faster, 1000 for a chip's.
        tau_syn: s as simulated, of synapses of neurons that have none in the graph: a chip's have.
        weight_scale: LSB of a weight of 1 on a chip; None: a layer's largest is the largest code.

    Raises:
        ValueError: something is not said, or a node is none that layers can express; names it.
    """
    said = {"unit": unit, "spikes": spikes, "reset": reset, "order": order, "start": start}
    how = Settings(
        positive("dt", dt, "seconds"), meant(convention, **said), positive("speedup", speedup),
        None if tau_syn is None else positive("tau_syn", tau_syn, "seconds"), weight_scale,
    )  # fmt: skip
    graph = load(source)
    nodes = flat(graph)
    entrance, exit_ = nodes.only("Input"), nodes.only("Output")
    given = nodes.nodes[entrance].input_type["input"]
    if given is None or np.size(given) == 0:
        raise ValueError(f"Input {entrance!r}: says no shape; give it one, such as [inputs]")
    shape = tuple(int(n) for n in np.ravel(given))
    back = _recurrent(nodes)
    made = _layers(nodes, entrance, exit_, shape, back, how)
    as_arrays = lambda tree: {name: jnp.asarray(a) for name, a in tree.items()}  # noqa: E731
    return Imported(
        tuple(one.layer for one in made), ours(shape), how.dt / how.speedup,
        {str(m.layer.name): as_arrays(m.params) for m in made if m.params},
        {str(m.layer.name): as_arrays(m.state) for m in made if m.state}, graph, how.convention,
    )  # fmt: skip


def load(source: Any) -> Any:
    """Returns the graph of a file; a graph is one.

    Raises:
        ValueError: it is no file of NIR, or there is none.
    """
    if hasattr(source, "nodes"):
        return source
    nir = require("nir", "nir", "reading NIR")
    try:
        graph = nir.read(os.fspath(source), type_check=False)
    except Exception as error:  # of h5py, and whatever a damaged graph is to nir
        raise ValueError(f"{source}: no graph of NIR that can be read: {error}") from None
    if not hasattr(graph, "nodes"):
        raise ValueError(f"{source}: holds a single {kind_of(graph)}, expected a NIRGraph")
    return graph


def _recurrent(graph: Flat) -> dict[str, str]:
    """The weights through which neurons' spikes return to them, by neurons; their edges are cut."""
    found: dict[str, str] = {}
    for name, node in graph.nodes.items():
        if (name, name) in graph.edges:
            raise ValueError(f"{told(name, node)}: returns to itself; put a Linear between")
        if kind_of(node) not in ("Linear", "Affine"):
            continue
        before, behind = graph.before(name), graph.behind(name)
        if before == behind and len(before) == 1 and kind_of(graph.nodes[before[0]]) in NEURONS:
            (of,) = before
            if of in found:
                raise ValueError(f"{told(of, graph.nodes[of])}: returns to itself through several")
            found[of] = name
    graph.edges = [e for e in graph.edges if not set(e) & set(found.values())]
    return found


def _ordered(graph: Flat) -> list[str]:
    """Nodes from the first to the last."""
    try:
        sorter = TopologicalSorter({name: graph.before(name) for name in graph.nodes})
        return list(sorter.static_order())
    except CycleError as error:
        names = " -> ".join(error.args[1])
        raise ValueError(
            f"cycle {names}: a population may return to itself through one Linear or Affine, and "
            "no further"
        ) from None


def _layers(
    graph: Flat, entrance: str, exit_: str, shape: Shape, back: dict[str, str], how: Settings
) -> list[Made]:
    """The layers of a graph, each with its inputs."""
    layers: list[Made] = []
    known = {entrance: ("input", shape)}
    for name in _ordered(graph):
        node = graph.nodes[name]
        if name in (entrance, *back.values()) or _held(graph, name):
            continue
        front = _front(graph, name)
        weights = None if front is None else graph.nodes[front]
        senders = graph.before(front or name)
        if not senders:
            raise ValueError(f"{told(name, node)}: nothing is sent to it")
        source, given = _source(layers, known, senders, name, graph)
        if name == exit_:
            break
        own = _name(front, name, back.get(name))
        try:
            if kind_of(node) in NEURONS:
                other = graph.nodes.get(back.get(name, ""))
                made = neurons(own, node, given, how, weights, other)
            else:
                made = single(own, node, given, how)
        except ValueError as error:
            told_all = " with ".join(told(n, graph.nodes[n]) for n in (name, front) if n)
            raise ValueError(f"{told_all}: {error}") from None
        known[name] = own, made.shape
        layers.append(_behind(made, (source,)))
    return layers


def _name(front: str | None, name: str, back: str | None) -> str:
    """The name of a layer, which tells its nodes."""
    parts = [n.replace("+", "_") for n in (front, name, back) if n]
    whole = "+".join(parts if front or not back else ["", *parts])
    return f"{whole}_" if whole == "input" else whole


def _behind(made: Made, inputs: tuple[str, ...]) -> Made:
    return replace(made, layer=replace(made.layer, inputs=inputs))


def _held(graph: Flat, name: str) -> bool:
    """Whether a node is part of the layer of the neurons behind it."""
    behind = graph.behind(name)
    return len(behind) == 1 and _front(graph, behind[0]) == name


def _front(graph: Flat, name: str) -> str | None:
    """The weights that belong to neurons: the only ones before them, which no other node hears."""
    kind, before = kind_of(graph.nodes[name]), graph.before(name)
    if kind not in NEURONS or len(before) != 1 or graph.behind(before[0]) != [name]:
        return None
    fires = kind in ("LIF", "CubaLIF", "IF")
    front = kind_of(graph.nodes[before[0]])
    if front not in (*WEIGHTS, *(["Scale"] if fires else [])):
        return None
    senders = graph.before(before[0])
    silent = ("LI", "CubaLI", "I")
    if any(kind_of(graph.nodes[one]) in silent for one in senders):
        return None  # traces are no spikes
    return before[0]


def _source(
    layers: list[Made],
    known: dict[str, tuple[str, Shape]],
    senders: Iterable[str],
    name: str,
    graph: Flat,
) -> tuple[str, Shape]:
    """The layer whose output a node takes, and its shape; several are added up."""
    names, shapes = zip(*(known[sender] for sender in senders))
    if len(set(shapes)) > 1:
        raise ValueError(
            f"{told(name, graph.nodes[name])}: is sent signals of different shapes: "
            f"{', '.join(map(str, shapes))}"
        )
    if len(names) == 1:
        return names[0], shapes[0]
    together = Add(name=f"sum before {name}", inputs=tuple(names))
    layers.append(Made(together, shapes[0]))
    return str(together.name), shapes[0]
