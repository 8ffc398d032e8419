"""Receptive fields: each position multiplies what it sees with weights of its own, or shared ones.

Weights of one's own make a product of few inputs and few outputs at every position, for which
batched matrix products are an order of magnitude slower on a CPU than sums of elementwise products.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import pytree
from bss2jax.kernels.dot import dot
from bss2jax.kernels.synapses.base import Seen, Sent, dense_gradient


@pytree
@dataclass(frozen=True, eq=False)
class Fields:
    """What each position sees.

    Attributes:
        seen: what positions see, `[T, B, P, K]`.
    """

    seen: Seen

    @property
    def steps(self) -> int:
        """T."""
        return self.seen.steps

    @property
    def inputs(self) -> int:
        """K, of one position."""
        return self.seen.inputs

    @property
    def positions(self) -> int:
        """P."""
        return self.seen.shape[2]

    def alone(self) -> Sent:
        """Returns what the only position sees, as what all neurons see."""
        return self.seen.of_position(0)

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by `[K, C]`, shared, or `[P, K, C]`: `[T, B, P C]`."""
        y = self.seen.local_drive(w) if w.ndim == 3 else dot(self.seen.decoded(), w)
        return y.reshape(*y.shape[:2], math.prod(y.shape[2:]))

    def gradient(self, w: jax.Array, dy: jax.Array) -> tuple[Any, jax.Array]:
        """Returns the gradients of fields and weights: see `Sent.gradient`."""
        dy = dy.reshape(*self.seen.shape[:3], w.shape[-1])
        if w.ndim == 2:
            dx, dw = dense_gradient(self.seen.decoded(), w, dy)
            dfields = self.seen.cotangent(lambda: dx)
        else:
            dfields = self.seen.cotangent(lambda: (dy[..., None, :] * w[None, None]).sum(axis=-1))
            dw = self._local_gradient(dy)
        return None if dfields is None else Fields(dfields), dw

    def _local_gradient(self, dy: jax.Array) -> jax.Array:
        """The gradient of each position's own weights, `[P, K, C]`."""
        values, code = self.seen.coded
        channels = dy.shape[-1]
        flat = dy.reshape(math.prod(dy.shape[:2]), math.prod(dy.shape[2:]))

        def one(x: jax.Array) -> jax.Array:
            # Sums over steps and samples, input by input: the others of a field are far apart. In
            # one axis, and without one of length 1 behind: a third of the time on a CPU.
            z = code(x)
            z = jnp.broadcast_to(z[..., None], (*z.shape, channels)).reshape(flat.shape)
            return (z * flat).sum(axis=0).reshape(self.positions, channels)

        return jnp.moveaxis(lax.map(one, jnp.moveaxis(values, -1, 0)), 0, 1)


def by_axes(seen: Any) -> Sent:
    """Returns what is seen as `[T, B, K]` by all neurons, or as `[T, B, P, K]` by each position.

    Args:
        seen: a `Seen`, which can be multiplied where it has three axes.

    Raises:
        ValueError: other axes.
    """
    if len(seen.shape) not in (3, 4):
        raise ValueError(f"spikes: expected [T, B, K] or [T, B, P, K], got {seen.shape}")
    return seen if len(seen.shape) == 3 else Fields(seen)
