"""Layers between populations that no chip has: maps of signals over time that are no spikes.

Graphs of NIR may have weights that no neurons follow, scales and thresholds by themselves. What
they make is a current, which neurons on `float` take.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from bss2jax.arrays import along_last
from bss2jax.chip import draws
from bss2jax.kernels.dot import dot
from bss2jax.kernels.gradients.surrogate import SuperSpike, spike
from bss2jax.kernels.unfold import convolve, output_shape
from bss2jax.networks.layer import (
    Applied,
    Arrays,
    Execution,
    How,
    Layer,
    NotNegative,
    Positive,
    per_axis,
)
from bss2jax.networks.population import SpikeFunction
from bss2jax.networks.signal import Signal, Spikes


@dataclass(frozen=True, kw_only=True)
class OverTime(Layer):
    """The base of layers that take spikes, currents or traces step by step, on `float`."""

    family: ClassVar[str] = "spiking"
    executions: ClassVar[tuple[Execution, ...]] = ("float",)

    def shape(self, *before: Signal) -> Signal:
        (signal,) = before
        if not signal.timed:
            raise ValueError(f"takes spikes, currents or traces, and is given {signal.kind}")
        timed: Any = signal
        size = self.size(signal)
        return Spikes(size, signal.substrate, steps=timed.steps, dt=timed.dt, current=True)

    def size(self, before: Signal) -> tuple[int, ...]:
        """Returns the size of what it makes."""
        return before.size

    def demand(self, *before: Signal) -> None:
        raise ValueError("is on no chip: synapses are in front of neurons")


@dataclass(frozen=True, kw_only=True)
class Currents(OverTime):
    """Weights that no neurons follow: x w + bias.

    Attributes:
        outputs: entries of what it makes.
        bias: whether a trained constant is added.
    """

    kind: Literal["currents"] = "currents"
    outputs: Positive
    bias: bool = False

    def size(self, before: Signal) -> tuple[int, ...]:
        return (self.outputs,)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        inputs = before[0].entries
        return _drawn(key, (inputs, self.outputs), inputs, self.bias)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        y = dot(how.before[0].flat(x[0]), params["weight"])
        return _with_bias(y, params), state, {}


@dataclass(frozen=True, kw_only=True)
class ConvCurrents(OverTime):
    """A convolution that no neurons follow.

    Attributes:
        outputs: channels of what it makes.
        window, stride, padding: geometry of the fields; one number for all axes, or one for each.
        bias: whether a trained constant is added to each channel.
    """

    kind: Literal["conv_currents"] = "conv_currents"
    outputs: Positive
    window: Positive | tuple[Positive, ...]
    stride: Positive | tuple[Positive, ...] = 1
    padding: NotNegative | tuple[NotNegative, ...] | Literal["SAME", "VALID"] = 0
    bias: bool = False

    def taps(self, before: Signal) -> tuple[int, ...]:
        """Returns the window, an entry for each axis."""
        if len(before.size) not in (2, 3):
            raise ValueError("windows need an input [L, C] or [H, W, C]")
        return per_axis(self.window, len(before.size) - 1)

    def size(self, before: Signal) -> tuple[int, ...]:
        taps = self.taps(before)
        positions = output_shape(before.size[:-1], taps, self.stride, self.padding)
        return (*positions, self.outputs)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        shape = (*self.taps(before[0]), before[0].size[-1], self.outputs)
        return _drawn(key, shape, before[0].entries, self.bias)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        together = x[0].reshape(-1, *how.before[0].size)
        y = convolve(together, params["weight"], self.stride, self.padding)
        y = y.reshape(*x[0].shape[:2], *how.after.size)
        return _with_bias(y, params), state, {}


@dataclass(frozen=True, kw_only=True)
class Scaled(OverTime):
    """Each entry times a trained factor of its own."""

    kind: Literal["scale"] = "scale"

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        return {"scale": jnp.ones(before[0].size, jnp.float32)}

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        return x[0] * along_last(params["scale"], x[0]), state, {}


@dataclass(frozen=True, kw_only=True)
class Threshold(OverTime):
    """A spike in each step in which an entry is above its threshold.

    Attributes:
        surrogate: what the derivative of a spike is taken for.
    """

    kind: Literal["threshold"] = "threshold"
    surrogate: SpikeFunction = SuperSpike()

    def shape(self, *before: Signal) -> Signal:
        return replace(super().shape(*before), current=False)  # type: ignore[call-arg]

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        return {"threshold": jnp.ones(before[0].size, jnp.float32)}

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        return spike(x[0] - along_last(params["threshold"], x[0]), self.surrogate), state, {}


def _with_bias(y: jax.Array, params: Arrays) -> jax.Array:
    return y + along_last(params["bias"], y) if "bias" in params else y


def _drawn(key: jax.Array, shape: tuple[int, ...], inputs: int, bias: bool) -> Arrays:
    weight = draws.normal(key, shape) / inputs**0.5
    return {"weight": weight} | ({"bias": jnp.zeros(shape[-1], jnp.float32)} if bias else {})
