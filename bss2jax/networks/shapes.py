"""Layers without weights: signs, flatten, pool, add, concatenate."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from bss2jax.execute.convolution import windows
from bss2jax.kernels import digital
from bss2jax.kernels.unfold import output_shape
from bss2jax.networks.layer import Applied, Arrays, How, Layer, Positive, Via, per_axis
from bss2jax.networks.signal import Signal, expect_values


@dataclass(frozen=True, kw_only=True)
class Signs(Layer):
    """Signed values as two unsigned channels, positive and negative part, cut at full scale."""

    kind: Literal["signs"] = "signs"

    def shape(self, *before: Signal) -> Signal:
        (values,) = before
        expect_values(values)
        size = (*values.size[:-1], 2 * values.size[-1])
        return replace(values, size=size, lines=2 * values.lines)  # type: ignore[call-arg]

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        both = jnp.concatenate([x[0], -x[0]], axis=-1)
        return jnp.clip(both, 0, how.after.full_scale), state, {}


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """All of a sample in one vector, channel fastest.

    Attributes:
        channels_first: whether the channels are the slowest, as in PyTorch and NIR.
    """

    kind: Literal["flatten"] = "flatten"
    keeps_signs: ClassVar[bool] = True
    takes_coded: ClassVar[bool] = True
    channels_first: bool = False

    @property
    def reorders(self) -> bool:
        return self.channels_first

    def shape(self, *before: Signal) -> Signal:
        (signal,) = before
        return signal.resized(signal.entries)

    def spiking(self, via: Via) -> tuple[Layer, Via]:
        return self, via

    def apply(self, params: Arrays, state: Arrays, *x: Any, how: How) -> Applied:
        # Also of values that are still to be coded as spikes, one by one.
        return jax.tree.map(partial(self.reached, before=how.before[0]), x[0]), state, {}

    def reached(self, z: jax.Array, before: Signal) -> jax.Array:
        """Returns the same spikes in one vector: `[..., *size]` to `[..., entries]`."""
        if self.channels_first:
            z = jnp.moveaxis(z, -1, -len(before.size))
            return z.reshape(*z.shape[: z.ndim - len(before.size)], before.entries)
        return before.flat(z)


@dataclass(frozen=True, kw_only=True)
class Pool(Layer):
    """Maximum, mean or sum over windows; the mean of readouts is floored as they are.

    Of spikes the mean or sum: neurons of a window share a synapse, whose strength is divided for
    the mean.

    Attributes:
        mode: `max`, `mean`, or `sum` of spikes and currents.
        window: entries of a window, one number for all axes or one for each.
        stride: entries from one window to the next; by default as many as a window has.
    """

    kind: Literal["pool"] = "pool"
    keeps_signs: ClassVar[bool] = True
    mode: Literal["max", "mean", "sum"] = "max"
    window: Positive | tuple[Positive, ...]
    stride: Positive | tuple[Positive, ...] | None = None

    def shape(self, *before: Signal) -> Signal:
        (signal,) = before
        if self.mode == "max" and not signal.ordered:
            raise ValueError(f"{signal.kind} are pooled by mean or sum, got {self.mode!r}")
        if self.mode == "sum" and not signal.timed:
            raise ValueError(f"{signal.kind} are pooled by max or mean, got 'sum'")
        window, stride = self._windows(signal)
        return signal.pooled(*output_shape(signal.size[:-1], window, stride), signal.size[-1])

    def spiking(self, via: Via) -> tuple[Layer, Via]:
        return self, via

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        before, y = how.before[0], x[0]
        window, stride = self._windows(before)
        # Window by window along each axis: fused into a convolution before it, `lax.reduce_window`
        # is miscompiled on the CPU (jax 0.10.1) where windows leave a rest.
        for axis, (k, s) in enumerate(zip(window, stride, strict=True), y.ndim - len(before.size)):
            y = windows(y, axis, k, s)
            y = y.max(axis + 1) if self.mode == "max" else y.sum(axis + 1)
        if self.mode in ("max", "sum"):
            return y, state, {}
        y = y / math.prod(window)
        if before.integer and how.execution != "float":
            # An addition of nothing: floor and clip, and the gradient of the mean.
            y = digital.add(y, 0.0, substrate=before.substrate)
        return y, state, {}

    def reached(self, z: jax.Array, before: Signal) -> jax.Array:
        """Returns the sum of each window, not its mean: each neuron reaches all that it feeds.

        Args:
            z: `[B, *size]` spikes.
            before: their signal.

        Returns:
            `[B, *windows, C]`.
        """
        window, stride = self._windows(before)
        for axis, (k, s) in enumerate(zip(window, stride, strict=True), 1):
            z = windows(z, axis, k, s).sum(axis + 1)
        return z

    def _windows(self, before: Signal) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Window and stride along each axis but the channels."""
        if len(before.size) not in (2, 3):
            raise ValueError("windows need an input [L, C] or [H, W, C]")
        axes = len(before.size) - 1
        return per_axis(self.window, axes), per_axis(self.stride or self.window, axes)


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """The sum of inputs of one size; of readouts as saturating int8 numbers."""

    kind: Literal["add"] = "add"

    def shape(self, *before: Signal) -> Signal:
        _same(before, [signal.size for signal in before])
        return before[0].joined(before)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        y, before = x[0], how.before[0]
        for other in x[1:]:
            if before.integer and how.execution != "float":
                y = digital.add(y, other, substrate=before.substrate)
            else:
                y = y + other
        return y, state, {}


@dataclass(frozen=True, kw_only=True)
class Concatenate(Layer):
    """Its inputs side by side along the last axis; the other axes are of one size."""

    kind: Literal["concatenate"] = "concatenate"

    def shape(self, *before: Signal) -> Signal:
        _same(before, [signal.size[:-1] for signal in before])
        channels = sum(signal.size[-1] for signal in before)
        return before[0].joined(before).resized(*before[0].size[:-1], channels)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        return jnp.concatenate(x, axis=-1), state, {}


def _same(before: tuple[Signal, ...], sizes: list[tuple[int, ...]]) -> None:
    """Refuses signals that cannot be put together."""
    if len(before) < 2:
        raise ValueError('puts together what several layers make: give inputs = ["a", "b"]')
    kinds = {signal.kind for signal in before}
    if len(kinds) > 1:
        raise ValueError(f"takes signals of one kind, and is given {', '.join(sorted(kinds))}")
    if len(set(sizes)) > 1:
        raise ValueError(f"takes inputs of one size, and is given {[s.size for s in before]}")
