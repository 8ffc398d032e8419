"""A population whose weights the processors of its chip change while it runs.

A row of synapses excites or inhibits; a weight is a whole number, 0 to 63. Synapses that are not
wired have no weight. A synapse adds

    sign (strength w + offset) unit

to the current of its neuron for each spike of its row, rounded to 1/32 LSB, so that sums are exact.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import count, pytree
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute.circuits import circuit_pattern, joined
from bss2jax.kernels.neurons.base import as_float32
from bss2jax.kernels.synapses.correlation import Sensors

Value = float | jax.Array
_FINEST = 32.0  # of an LSB, as `kernels.synapses.codes`
_LSB, _LEAK = 60.0, 80.0  # of the CADC: LSB a software unit, and what a membrane at 0 reads


@pytree
@dataclass(frozen=True, eq=False)
class Hybrid:
    """A population with plastic synapses, as it is on its chip.

    Attributes:
        neuron: the neurons as they are on their circuits; parameters `[N]` or a number.
        signs: `[K]` +1 of rows that excite, -1 of those that inhibit.
        strength: the strength of the synapses over the nominal one, `[K, N]` or what broadcasts to
            it.
        offset: what a spike adds beside the weight, LSB, `[K, N]` or what broadcasts to it.
        wired: `[K, N]` whether there is a synapse; None: all are there.
        sensors: their correlation sensors, parameters a number or `[2, K, N]`; None: not used.
        spread: std of what noise adds to membranes in a step, a number or `[N]`; None: no noise.
        unit: software units of an LSB.
        neurons: N.
        period: steps from one visit of the processors to the next.
        window: steps at a period's end in which spikes are counted.
        delay: steps from a spike within the population to its effect.
        recurrent: whether the last N rows are the neurons themselves.
        fresh: whether neurons begin each period at rest.
        whole: whether weights are whole numbers; else ideal ones of any value.
        weight_max: the largest weight, LSB.
    """

    neuron: Any
    signs: jax.Array
    strength: Value = 1.0
    offset: Value = 0.0
    wired: jax.Array | None = None
    sensors: Sensors | None = None
    spread: Value | None = None
    unit: Value = 1 / 60
    neurons: int = field(default=1, metadata={"static": True})
    period: int = field(default=100, metadata={"static": True})
    window: int = field(default=0, metadata={"static": True})
    delay: int = field(default=1, metadata={"static": True})
    recurrent: bool = field(default=False, metadata={"static": True})
    fresh: bool = field(default=False, metadata={"static": True})
    whole: bool = field(default=True, metadata={"static": True})
    weight_max: int = field(default=63, metadata={"static": True})

    @property
    def rows(self) -> int:
        """Returns K, the rows of the array."""
        return self.signs.shape[-1]

    @property
    def inputs(self) -> int:
        """Returns how many of the rows are driven from outside."""
        return self.rows - self.neurons * self.recurrent

    def kept(self, weights: jax.Array) -> jax.Array:
        """Returns weights `[K, N]` as synapses hold them: 0 to 63, whole, and 0 where none is."""
        weights = jnp.clip(weights, 0, self.weight_max)
        weights = jnp.round(weights) if self.whole else weights
        return weights if self.wired is None else jnp.where(self.wired, weights, 0.0)

    def shown(self, weights: jax.Array, rows: jax.Array) -> jax.Array:
        """Returns what spikes of some rows add, LSB, multiples of 1/32.

        Args:
            weights: `[K, N]` LSB.
            rows: `[R]` numbers of the rows.

        Returns:
            `[R, N]`.
        """
        part = lambda value: of_rows(value, rows)  # noqa: E731
        lsb = part(self.strength) * weights[rows] + part(self.offset)
        if self.wired is not None:
            lsb = jnp.where(self.wired[rows], lsb, 0.0)
        return self.signs[rows][:, None] * jnp.round(lsb * _FINEST) / _FINEST

    def sample(self, v: jax.Array) -> jax.Array:
        """Returns membranes `[N]` as the CADC reads them, 0 to 255 LSB."""
        return jnp.clip(jnp.floor(_LEAK + _LSB * v), 0, 255)

    def begin(self, weights: jax.Array, memory: Any = (), world: Any = ()) -> "State":
        """Returns the state at rest.

        Args:
            weights: `[K, N]` LSB.
            memory: what the rule begins with.
            world: what the environment begins with.

        Raises:
            ValueError: the weights are of another shape, or a period cannot be cut into blocks.
        """
        expected = (self.rows, self.neurons)
        if jnp.shape(weights) != expected:
            raise ValueError(f"weights: expected {expected}, got {jnp.shape(weights)}")
        if self.period % self.delay or not 0 <= self.window <= self.period:
            raise ValueError(
                f"period: expected a multiple of the delay of {self.delay} steps, and no shorter "
                f"than the window of {self.window}, got {self.period}"
            )
        rest = as_float32(self.neuron).rest(jnp.zeros(self.neurons, jnp.float32))
        sent = jnp.zeros((self.delay, self.neurons), jnp.float32)
        kept = self.kept(jnp.asarray(weights, jnp.float32))
        return State(rest, sent, kept, memory, world, jnp.int32(0))


@pytree
@dataclass(frozen=True, eq=False)
class State:
    """All that a population carries from period to period: what a run saves and goes on from.

    Attributes:
        neurons: the state of the neurons.
        sent: `[delay, N]` spikes that are still under way.
        weights: `[K, N]` LSB.
        memory: what the rule remembers.
        world: the state of the environment.
        number: `[]` int32, periods that are done.
    """

    neurons: Any
    sent: jax.Array
    weights: jax.Array
    memory: Any
    world: Any
    number: jax.Array


def of_rows(value: Value, rows: jax.Array) -> Value:
    """Returns a parameter, a number or `[..., K, N]`, of some rows `[R]`."""
    if jnp.ndim(value) < 2 or jnp.shape(value)[-2] == 1:
        return value
    return jnp.asarray(value)[..., rows, :]


def sensors_at(sensors: Sensors, rows: jax.Array) -> Sensors:
    """Returns the sensors of some rows `[R]`."""
    return jax.tree.map(lambda value: of_rows(value, rows), sensors)


def on_chip(
    neuron: Any,
    chip: Chip | None,
    signs: np.ndarray,
    neurons: int,
    *,
    sensors: Sensors | None = None,
    substrate: Substrate = BSS2,
    **settings: Any,
) -> Hybrid:
    """Returns a population of a circuit each, from circuit 0 of a chip on.

    Up to 256 rows have the pattern of the physical rows of the same number. More of them are the
    sources of a sparse network, whose synapses share the strength of their neuron.

    Args:
        neuron: the nominal neuron.
        chip: the chip whose circuits and synapses apply; None: ideal ones, without noise.
        signs: `[K]` +1 of rows that excite, -1 of those that inhibit.
        neurons: N.
        sensors: the sensors of the chip, from `sensors_of`, which are cut to its rows and columns.
        substrate: the substrate whose sizes apply.
        **settings: further attributes of `Hybrid`.

    Raises:
        ValueError: the chip has fewer circuits.
    """
    neurons = count("neurons", neurons)
    excites = jnp.asarray(signs, jnp.float32)
    circuits = substrate.hemispheres * substrate.columns
    if neurons > circuits:
        raise ValueError(f"neurons: the chip has {circuits} circuits, got {neurons} neurons")
    rows, neuron = len(excites), as_float32(neuron)
    if sensors is not None and jnp.ndim(sensors.amplitude) == 3:
        cut = lambda p: p[:, :rows, :neurons] if jnp.ndim(p) == 3 else p  # noqa: E731
        sensors = jax.tree.map(cut, sensors)
    settings |= {"sensors": sensors, "neurons": neurons, "weight_max": substrate.weight_max}
    if chip is None:
        return Hybrid(neuron, excites, **settings)
    stack = jax.tree.map(lambda a: a[None], chip.circuits)
    members = jnp.arange(neurons, dtype=jnp.int32)[:, None]
    own = joined(stack, jnp.zeros(neurons, jnp.int32), members)
    actual, spread = neuron.on(own)
    strength = own.strength[jnp.where(excites > 0, 0, 1)]  # [K, N]
    if rows <= 2 * substrate.rows:
        gain = chip.synapse_gain * chip.driver_gain[:, None, :, None]  # [H, 2, R, C]
        pattern = circuit_pattern(jnp.moveaxis(gain, 0, -2))  # [2, R, circuits]
        strength = strength * pattern.reshape(-1, circuits)[:rows, :neurons]
    return Hybrid(actual, excites, strength, spread=spread, **settings)
