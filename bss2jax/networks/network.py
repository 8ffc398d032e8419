"""What every network is, and on which execution its layers run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import jax

from bss2jax.chip.chip import Chip
from bss2jax.mapping.plan import Plan
from bss2jax.networks.layers import Layer

Execution = Literal["float", "ideal", "chip"]
Params = dict[str, dict[str, jax.Array]]
State = dict[str, dict[str, jax.Array]]
Stats = dict[str, dict[str, jax.Array]]


@dataclass(frozen=True)
class Network:
    """A network as values: pure functions, and what is known of it.

    Attributes:
        init: `init(key) -> params`, a dict of dicts of float32 arrays.
        apply: `apply(params, state, x, chip=None, key=None, *, sample=0, on, training=False) ->
            (scores, state, records)`. x `[B, *shape]` is activations 0..31, or values 0..1 of a
            spiking network; scores `[B, *outputs]` are in LSB, or software units. `on` is an
            execution for all layers, or a mapping from layer names to executions (others are
            `ideal`): `float` without rounding, floor, saturation and noise; `ideal` on a perfect
            chip without noise; `chip` on the given chip, with noise if a key is given. `sample` is
            the number of the first sample in its batch, by which noise is drawn. `training`
            switches dropout on. records, per layer: the shares that saturate (see `saturation`);
            of spiking layers the `spikes` or the `amplitude` of each neuron.
        plan: where the parameters go on the chip.
        shapes: of a sample before each layer and after the last.
        names: of the layers.
        encode: `encode(x, full_scale, offset=0)` turns a data set's values into what `apply` takes.
        weight_limit: the largest weight that a synapse can hold.
        executions: those that `apply` knows; of networks that cannot spike only `float`.
        state: `state()` is what the layers keep from step to step of a training; {} for none.
        across_samples: whether a layer looks across the samples of a batch, so that a batch is not
            the sum of its parts.
        slow_off_float: whether a sample takes as many products as time steps unless on `float`, so
            that only trainings off `float` are measured there.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[..., tuple[jax.Array, State, Stats]]
    plan: Plan
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    encode: Callable[..., jax.Array]
    weight_limit: float
    executions: tuple[Execution, ...] = get_args(Execution)
    state: Callable[[], State] = dict
    across_samples: bool = False
    slow_off_float: bool = False


def layer_names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Returns the layers' names, given or made of kind and number.

    Raises:
        ValueError: there are no layers, or a name occurs twice.
    """
    names = tuple(layer.name or f"{layer.kind}_{i}" for i, layer in enumerate(layers))
    if not names:
        raise ValueError("layers: a network needs at least one")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"layers: the name {name!r} occurs twice")
    return names


def executions(
    names: Sequence[str],
    on: Execution | Mapping[str, Execution],
    known: Sequence[Execution] = get_args(Execution),
) -> dict[str, Execution]:
    """Returns the execution of every layer, from one for all or from a mapping of some.

    Args:
        names: of the network's layers.
        on: an execution, or executions by layer name; layers it leaves out are `ideal`.
        known: the executions that the network has.

    Raises:
        ValueError: no layer, or no execution of the network, has such a name.
    """
    some: dict[str, Execution] = dict.fromkeys(names, on) if isinstance(on, str) else dict(on)
    for name, execution in some.items():
        if name not in names:
            raise ValueError(f"on: no layer {name!r}; the layers are {', '.join(names)}")
        if execution not in known:
            raise ValueError(f"on: expected one of {tuple(known)}, got {execution!r}")
    rest = [name for name in names if name not in some]
    if rest and "ideal" not in known:
        raise ValueError(f"on: {', '.join(rest)} would be ideal; expected one of {tuple(known)}")
    ideal: dict[str, Execution] = dict.fromkeys(names, "ideal")
    return ideal | some


def require_chip(each: Mapping[str, Execution], chip: Chip | None) -> None:
    """Raises `ValueError` where a layer is to run on a chip and there is none."""
    if "chip" in each.values() and chip is None:
        raise ValueError('on="chip" needs a chip: give one, or use on="ideal" for a perfect one')
