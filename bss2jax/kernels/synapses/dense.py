"""Rasters: spikes as an array, of which each entry is multiplied."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from bss2jax.arrays import floats, pytree
from bss2jax.kernels.dot import dot
from bss2jax.kernels.synapses.base import Seen, Sent, dense_gradient
from bss2jax.kernels.synapses.delays import later
from bss2jax.kernels.synapses.fields import by_axes


@pytree
@dataclass(frozen=True, eq=False)
class Raster:
    """Spikes as an array.

    Attributes:
        spikes: `[T, B, K]`; within `Fields` `[T, B, P, K]`, within `Windows` `[T, B, *size, C]`.
    """

    spikes: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.spikes.shape

    @property
    def steps(self) -> int:
        """T."""
        return self.spikes.shape[0]

    @property
    def inputs(self) -> int:
        """K."""
        return self.spikes.shape[-1]

    @property
    def positions(self) -> None:
        """None: all neurons see all inputs."""
        return None

    @property
    def coded(self) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
        """The spikes, as values that code for themselves: see `Lazy`."""
        return self.spikes, lambda spikes: spikes

    def decoded(self) -> jax.Array:
        """Returns the array."""
        return self.spikes

    def distinct(self) -> jax.Array:
        """Returns the array: see `Seen.distinct`."""
        return self.spikes

    def cotangent(self, dx: Callable[[], jax.Array]) -> Any:
        """Returns the gradient of this, `dx()` being that of the array."""
        return Raster(dx())

    def sent(self, inputs: int, steps: int | None) -> Sent:
        """Returns it as something that can be multiplied: see `Given.sent`."""
        return by_axes(self.given())

    def given(self) -> "Raster":
        """Returns the same as float32: see `Seen.given`."""
        return Raster(floats(self.spikes, "spikes"))

    def later(self, steps: int) -> "Raster":
        """Returns the same spikes, so many steps later."""
        return Raster(later(self.spikes, steps))

    def of_position(self, p: int) -> "Raster":
        """Returns what one position of `[T, B, P, K]` sees."""
        return Raster(self.spikes[:, :, p])

    def local_drive(self, w: jax.Array) -> jax.Array:
        """Multiplies `[T, B, P, K]` by each position's own weights `[P, K, C]`: `[T, B, P, C]`."""
        return (self.spikes[..., None] * w[None, None]).sum(axis=-2)

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by weights `[K, N]`: `[T, B, N]`."""
        return dot(self.spikes, w)

    def gradient(self, w: jax.Array, dy: jax.Array) -> tuple[Any, jax.Array]:
        """Returns the gradients of this and of weights: see `Sent.gradient`."""
        dx, dw = dense_gradient(self.spikes, w, dy)
        return Raster(dx), dw


def as_seen(raster: Any) -> Seen:
    """Returns what stands for a raster: itself, or `Raster` of an array `[T, B, ...]`."""
    return (raster if hasattr(raster, "decoded") else Raster(raster)).given()
