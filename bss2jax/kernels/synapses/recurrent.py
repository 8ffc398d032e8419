"""Synapses within a population: its spikes of the step before."""

from dataclasses import dataclass

import jax

from bss2jax.kernels.dot import dot
from bss2jax.kernels.synapses.base import Shown, dense_gradient, product
from bss2jax.kernels.synapses.dense import Raster


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Recurrent:
    """Weights from a population to itself.

    Attributes:
        w: `[N, N]` software units.
        shown: the same as the synapses have them; None for as they are.
    """

    w: jax.Array
    shown: Shown | None = None

    def drive(self, z: jax.Array) -> jax.Array:
        """Returns what spikes `[..., N]` of the step before add, `[..., N]`."""
        return product(Raster(z), self.w, self.shown)

    def back(self, dx: jax.Array) -> jax.Array:
        """Returns the gradient of the spikes of the step before, `[..., N]`."""
        return dot(dx, self.w.T)

    def gradient(self, z: jax.Array, dx: jax.Array) -> "Recurrent":
        """Returns the gradient of the weights from spikes and the current of the next step.

        Args:
            z: `[T, ..., N]` spikes.
            dx: `[T, ..., N]` gradient with respect to the current.
        """
        return Recurrent(dense_gradient(z[:-1], self.w, dx[1:])[1])
