"""Decoders: layers that turn membranes or spikes over time into scores `[B, *size]`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from bss2jax.kernels import coding
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import Applied, Arrays, How, Layer
from bss2jax.networks.signal import Signal, Spikes, Traces, Values, expect


@dataclass(frozen=True, kw_only=True)
class Decoder(Layer):
    """The base of decoders: what they take, and what they make of it."""

    takes: ClassVar[type[Signal]] = Traces
    advice: ClassVar[str] = "put an li layer before it"

    def shape(self, *before: Signal) -> Signal:
        (traces,) = before
        expect(traces, self.takes, self.advice)
        return Values(traces.size, traces.substrate)

    def decode(self, x: jax.Array) -> jax.Array:
        """Turns `[T, B, *size]` into scores `[B, *size]`."""
        raise NotImplementedError

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        return self.decode(raster_of(x[0])), state, {}


@dataclass(frozen=True, kw_only=True)
class MaxOverTime(Decoder):
    """The largest membrane of each neuron. References: hxtorch, the CADC's maximum over time."""

    kind: Literal["max_over_time"] = "max_over_time"

    def decode(self, x: jax.Array) -> jax.Array:
        return coding.max_over_time(x)


@dataclass(frozen=True, kw_only=True)
class MeanOverTime(Decoder):
    """The mean membrane of each neuron."""

    kind: Literal["mean_over_time"] = "mean_over_time"

    def decode(self, x: jax.Array) -> jax.Array:
        return x.mean(axis=0)


@dataclass(frozen=True, kw_only=True)
class SumOverTime(Decoder):
    """The sum of each neuron's membrane over the steps."""

    kind: Literal["sum_over_time"] = "sum_over_time"

    def decode(self, x: jax.Array) -> jax.Array:
        return x.sum(axis=0)


@dataclass(frozen=True, kw_only=True)
class LastStep(Decoder):
    """The membrane of each neuron in the last step."""

    kind: Literal["last_step"] = "last_step"

    def decode(self, x: jax.Array) -> jax.Array:
        return x[-1]


@dataclass(frozen=True, kw_only=True)
class SpikeDecoder(Decoder):
    """The base of decoders of spikes."""

    takes: ClassVar[type[Signal]] = Spikes
    advice: ClassVar[str] = "put a lif layer before it"


@dataclass(frozen=True, kw_only=True)
class FirstSpike(SpikeDecoder):
    """Minus the step of each neuron's first spike: the earliest wins. See `coding.first_spike`.

    Attributes:
        by_time: whether its gradient is that of the time, for neurons with `eventprop`.
    """

    kind: Literal["first_spike"] = "first_spike"
    by_time: bool = False

    def decode(self, x: jax.Array) -> jax.Array:
        return coding.first_spike(x, by_time=self.by_time)


@dataclass(frozen=True, kw_only=True)
class SpikeCount(SpikeDecoder):
    """How often each neuron spikes."""

    kind: Literal["spike_count"] = "spike_count"

    def decode(self, x: jax.Array) -> jax.Array:
        return coding.spike_count(x)


@dataclass(frozen=True, kw_only=True)
class Detection(SpikeDecoder):
    """Whether one neuron spikes: half a spike for no, its number of spikes for yes."""

    kind: Literal["detection"] = "detection"

    def shape(self, *before: Signal) -> Signal:
        if before[0].entries != 1:
            raise ValueError(f"takes one neuron, and is given {before[0].entries}")
        return super().shape(*before).resized(2)

    def decode(self, x: jax.Array) -> jax.Array:
        yes = coding.spike_count(x)
        return jnp.concatenate([jnp.full_like(yes, 0.5), yes], axis=-1)
