"""Layers with delays: of axons, as a stage of their own; of dendrites and synapses, in neurons."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Lt

from bss2jax.chip import draws
from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.lags import lagged, taps
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import Applied, Arrays, Execution, How, Layer, Scale, Seconds, folded
from bss2jax.networks.signal import Signal, Spikes, expect
from bss2jax.networks.spiking import LIF


def bounded(p: jax.Array, shortest: float, longest: float) -> jax.Array:
    """Returns delays `[...]`, s, of trained numbers: shortest + (longest - shortest) / (1 + e^-4p).

    So steep that they learn at rates that suit weights.

    Args:
        p: `[...]` the numbers.
        shortest, longest: s.
    """
    return shortest + (longest - shortest) * jax.nn.sigmoid(4 * p)


def short(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws numbers `[...]` of delays that begin in the lowest fifth of their range.

    Args:
        key: the random key.
        shape: the shape of the numbers.
    """
    return -0.5 + 0.125 * draws.normal(key, shape)


def _check_bounds(shortest: float, longest: float) -> None:
    if shortest > longest:
        raise ValueError(f"shortest: got {shortest} s, expected at most {longest} s")


@dataclass(frozen=True, kw_only=True)
class Delay(Layer):
    """Axonal delays: spikes of each entry come later, by a delay of its own.

    On a chip a neuron makes each, of two compartments, so it is counted in the plan; its spread is
    not simulated. What the host sends it sends later, which costs nothing.

    Attributes:
        shortest, longest: bounds of a trained delay, s.
        trained: whether delays are trained; else they are given, in the state.
        unit: s of the unit in which given ones are kept.
        interpolate: whether on `float` a delay between two steps is shared by both.
    """

    kind: Literal["delay"] = "delay"
    family: ClassVar[str] = "spiking"
    delayable: ClassVar[bool] = False

    shortest: Annotated[float, Ge(0), Lt(1)] = 0.0
    longest: Seconds = 10e-6
    trained: bool = True
    unit: Scale = 1.0
    interpolate: bool = False

    def shape(self, *before: Signal) -> Signal:
        (spikes,) = before
        expect(spikes, Spikes, "put a code before it, such as latency")
        _check_bounds(self.shortest, self.longest)
        return spikes.fired(*spikes.size)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        return {"delay": short(key, (before[0].entries,))} if self.trained else {}

    def state(self, *before: Signal) -> Arrays:
        return {} if self.trained else {"delay": jnp.zeros(before[0].entries, jnp.float32)}

    def delays(self, params: Arrays, state: Arrays) -> jax.Array:
        """Returns the delays, `[K]`, s."""
        if not self.trained:
            return state["delay"] * self.unit
        return bounded(params["delay"], self.shortest, self.longest)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        before, shared = how.before[0], self.interpolate and how.execution == "float"
        z, delay = before.flat(raster_of(x[0])), self.delays(params, state)
        later = lagged(z, delay, before.dt, interpolate=shared)
        return before.shaped(later), state, {}

    def demand(self, *before: Signal) -> PopulationDemand | None:
        (spikes,) = before
        if spikes.events is not None:  # of the host
            return None
        return PopulationDemand(1, spikes.entries, positions=spikes.entries)

    def fan_in(self, before: Signal) -> int:
        """Returns 1: each neuron delays one input."""
        return 1

    def wires(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        """Returns the synapses of its neurons, `[m]` inputs and `[m]` neurons."""
        return np.arange(before.entries), np.arange(before.entries)

    def loops(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        """Returns the synapses within, `[m]` and `[m]`: none."""
        return np.zeros(0, int), np.zeros(0, int)


@dataclass(frozen=True, kw_only=True)
class DelayedLIF(LIF):
    """Leaky integrate-and-fire neurons whose dendrites or synapses have trained delays.

    Between two steps a spike arrives in both, in shares. No chip has such delays.

    Attributes:
        delays: `synaptic`, one a synapse, or `dendritic`, one a neuron.
        shortest, longest: bounds of a delay, s.
    """

    executions: ClassVar[tuple[Execution, ...]] = ("float",)
    unclamped: ClassVar[tuple[str, ...]] = (*LIF.unclamped, "delay")
    takes_norm: ClassVar[bool] = False

    kind: Literal["delayed_lif"] = "delayed_lif"  # type: ignore[assignment]
    delays: Literal["synaptic", "dendritic"] = "synaptic"
    shortest: Annotated[float, Ge(0), Lt(1)] = 0.0
    longest: Seconds = 10e-6

    def shape(self, *before: Signal) -> Signal:
        _check_bounds(self.shortest, self.longest)
        return super().shape(*before)

    def by_event(self, before: Signal) -> bool:
        return False

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        shape = self.weight_shape(before[0]) if self.delays == "synaptic" else (self.outputs,)
        delay = short(folded(key, "delay"), shape)
        return super().init(key, *before) | {"delay": delay}

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        before, weights = how.before[0], self.weights(params, *how.before)
        delay = bounded(params["delay"], self.shortest, self.longest)
        z, most = before.flat(raster_of(x[0])), math.ceil(self.longest / before.dt - 1e-6)
        sent, w = taps(z, weights["weight"], delay, before.dt, most)
        recording: Any = self.run(
            Raster(sent), w, params | state, how, **self.within(params, weights, before.dt),
            gradient=self.rule, observe=self.observed(how),
        )  # fmt: skip
        z, record = self.fired(recording, params | state, how)
        return z, state, record

    def demand(self, *before: Signal) -> PopulationDemand:
        raise ValueError("no synapse or dendrite of a chip has a delay; take `delay`, of axons")
