"""Windows that share their weights: a convolution of spikes, without unfolding them."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.arrays import plain, pytree
from bss2jax.kernels.dot import dot, dot_of_rows
from bss2jax.kernels.processor import on_cpu
from bss2jax.kernels.synapses.dense import Raster, as_seen
from bss2jax.kernels.unfold import Padding, convolve, each_axis, output_shape, pad, patches

_PIECE = 2**17  # entries of an unfolded piece: half a megabyte


@pytree
@dataclass(frozen=True, eq=False)
class Windows:
    """What a window sees of a raster at each of its positions, as `patches`, but never stored.

    Weights are a matrix `[K, N]` with channels outermost, as from `as_matrix`.

    Attributes:
        raster: `[T, B, *size, C]`, or `Lazy` with values `[B, *size, C]`.
        window: taps along each axis of size.
        stride, padding: as in `conv1d`.
        precision: type of the factors, and of the product, whose sums are float32 all the same.
    """

    raster: Any
    window: tuple[int, ...] = field(metadata={"static": True})
    stride: int | tuple[int, ...] = field(default=1, metadata={"static": True})
    padding: Padding = field(default=0, metadata={"static": True})
    precision: str = field(default="float32", metadata={"static": True})

    def __post_init__(self) -> None:
        for name in ("window", "stride", "padding"):
            object.__setattr__(self, name, plain(getattr(self, name)))

    @property
    def grid(self) -> tuple[int, ...]:
        """Positions along each axis."""
        return output_shape(self.raster.shape[2:-1], self.window, self.stride, self.padding)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of what they see: (T, B, P, K)."""
        steps, batch, *_, channels = self.raster.shape
        return (steps, batch, math.prod(self.grid), math.prod(self.window) * channels)

    @property
    def steps(self) -> int:
        """T."""
        return self.raster.shape[0]

    @property
    def inputs(self) -> int:
        """K, of one position."""
        return self.shape[3]

    @property
    def positions(self) -> int:
        """P."""
        return self.shape[2]

    def sent(self, inputs: int, steps: int | None) -> "Windows":
        """Returns them as something that can be multiplied: see `Given.sent`."""
        return replace(self, raster=as_seen(self.raster))

    def unfolded(self) -> jax.Array:
        """Returns what they see, `[T, B, P, K]`."""
        seen = patches(as_seen(self.raster).decoded(), self.window, self.stride, self.padding)
        return seen.reshape(self.shape)

    def alone(self) -> Raster:
        """Returns what a window with one position sees, as what all neurons see."""
        return Raster(self.unfolded()[:, :, 0])

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies what a window sees with the same weights `[K, N]` at each position."""
        y = self._convolved(self.raster.distinct(), w)
        return jnp.broadcast_to(y, (self.steps, *y.shape[1:]))

    def gradient(self, w: jax.Array, dy: jax.Array) -> tuple[Any, jax.Array]:
        """Returns the gradients of windows and weights: see `Sent.gradient`.

        Raises:
            ValueError: a window does not fit the raster.
        """
        x = self.raster.distinct()
        if len(x) < len(dy):
            dy = dy.sum(axis=0, keepdims=True)
        unfolds = on_cpu() and self.precision == "float32"
        dx, dw = (self._unfolded_gradient if unfolds else self._gradient)(x, w, dy)
        draster = self.raster.cotangent(lambda: dx)
        return None if draster is None else replace(self, raster=draster), dw

    def _convolved(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """The product of some steps, `[t, B, N]`."""
        flat, kernel = x.reshape(math.prod(x.shape[:2]), *x.shape[2:]), self._kernel(w)
        factors = flat.astype(self.precision), kernel.astype(self.precision)
        y = convolve(*factors, self.stride, self.padding)
        return y.reshape(*x.shape[:2], math.prod(y.shape[1:]))

    def _gradient(self, x: jax.Array, w: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The gradients of the raster and the weights, by convolutions."""
        return jax.vjp(self._convolved, x, w)[1](dy.astype(self.precision))

    def _unfolded_gradient(
        self, x: jax.Array, w: jax.Array, dy: jax.Array
    ) -> tuple[Any, jax.Array]:
        """The same, unfolded after all, in pieces that stay in a processor's cache.

        On a CPU in a third of the time of XLA's gradients of convolutions, and a quarter of that of
        a raster unfolded as a whole.
        """
        matrix = self._kernel(w).reshape(w.shape)
        samples, (positions, inputs) = math.prod(x.shape[:2]), self.shape[2:]
        most = max(1, _PIECE // (positions * inputs))
        piece = next((n for n in range(min(most, samples), 0, -1) if samples % n == 0), 1)
        wanted = self.raster.cotangent(lambda: x) is not None

        def add(dw: jax.Array, cut: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
            x, dy = cut
            seen, fold = jax.vjp(self._taps_outermost, x)
            dw = dw + dot_of_rows(seen, dy)
            return dw, fold(dot(dy, matrix.T))[0] if wanted else None

        pieces = samples // piece
        cuts = (
            x.reshape(pieces, piece, *x.shape[2:]),
            dy.reshape(pieces, piece * positions, w.shape[-1]),
        )
        dw, dx = lax.scan(add, jnp.zeros_like(matrix), cuts)
        dw = dw.reshape(math.prod(self.window), x.shape[-1], w.shape[-1])
        dw = dw.swapaxes(0, 1).reshape(w.shape)
        return dx.reshape(x.shape) if wanted else None, dw

    def _kernel(self, w: jax.Array) -> jax.Array:
        """The matrix `[C * window, N]` as a kernel `[*window, C, N]`."""
        channels = self.raster.shape[-1]
        return jnp.moveaxis(w.reshape(channels, *self.window, w.shape[-1]), 0, -2)

    def _taps_outermost(self, x: jax.Array) -> jax.Array:
        """What is seen of `[n, *size, C]`: `[n P, K]`, channel innermost, which copies fastest."""
        strides, ones = each_axis(self.stride, self.window), (1,) * len(self.window)
        x = pad(x, self.window, strides, self.padding, ones)
        span = [(n - 1) * s + 1 for n, s in zip(self.grid, strides, strict=True)]
        taps = [
            lax.slice(x, (0, *tap, 0), (len(x), *np.add(tap, span), x.shape[-1]), (1, *strides, 1))
            for tap in np.ndindex(*self.window)
        ]
        seen = jnp.concatenate(taps, axis=-1)
        return seen.reshape(math.prod(seen.shape[:-1]), seen.shape[-1])
