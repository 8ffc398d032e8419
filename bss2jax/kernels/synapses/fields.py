"""Receptive fields: each position multiplies what it sees with weights of its own, or shared ones.

Weights of one's own make a product of few inputs and few outputs at every position, for which
batched matrix products are an order of magnitude slower on a CPU than sums of elementwise products.

Values can be coded as spikes where they are used: a raster is many times larger than the values it
comes from, and here it is made, multiplied and summed without ever being stored.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.kernels.dot import dot


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coded:
    """A raster `[T, B, P, K]` as the values it is coded from.

    Attributes:
        values: `[B, P, K]`.
        steps: T.
        code: turns values `[...]` into spikes `[T, ...]`; hashable, without randomness, and equal
            values become equal spikes.
    """

    values: jax.Array
    steps: int = field(metadata={"static": True})
    code: Callable[[jax.Array], jax.Array] = field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the raster: (T, B, P, K)."""
        return (self.steps, *self.values.shape)

    @property
    def ndim(self) -> int:
        """Axes of the raster."""
        return len(self.shape)


Fields = jax.Array | Coded


def raster_of(fields: Fields) -> jax.Array:
    """Returns the raster `[T, B, P, K]`."""
    return fields.code(fields.values) if isinstance(fields, Coded) else fields


@jax.custom_vjp
def field_product(fields: Fields, w: jax.Array) -> jax.Array:
    """Multiplies what each position sees with its weights.

    Args:
        fields: `[T, B, P, K]`. No gradient flows to what is `Coded`.
        w: `[K, C]`, shared, or `[P, K, C]`.

    Returns:
        `[T, B, P, C]`.
    """
    if w.ndim == 3 and isinstance(fields, Coded):
        return _coded_product(fields, w)
    x = raster_of(fields)
    if w.ndim == 3:
        return (x[..., None] * w).sum(axis=-2)
    return dot(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:-1], -1)


def field_product_gradient(
    fields: Fields, w: jax.Array, dy: jax.Array
) -> tuple[jax.Array | None, jax.Array]:
    """Returns the gradients of fields (None for `Coded`) and weights from that of the product.

    Args:
        fields, w: as in `field_product`.
        dy: `[T, B, P, C]` gradient with respect to the product.
    """
    if w.ndim == 2:
        x, flat = raster_of(fields), dy.reshape(-1, dy.shape[-1])
        dw = dot(x.reshape(-1, x.shape[-1]).T, flat)
        return None if isinstance(fields, Coded) else dot(dy, w.T), dw
    if isinstance(fields, Coded):
        dx, values, code = None, fields.values, fields.code
    else:
        dx, values, code = (dy[..., None, :] * w).sum(axis=-1), fields, lambda x: x
    channels = dy.shape[-1]
    flat = dy.reshape(math.prod(dy.shape[:2]), -1)

    def one(x):
        # Sums over steps and samples, input by input: the others of a field are far apart. In
        # one axis, and without one of length 1 behind: a third of the time on a CPU.
        z = code(x)
        z = jnp.broadcast_to(z[..., None], (*z.shape, channels)).reshape(flat.shape)
        return (z * flat).sum(axis=0).reshape(-1, channels)

    dw = jnp.moveaxis(lax.map(one, jnp.moveaxis(values, -1, 0)), 0, 1)
    return dx, dw


def _coded_product(fields, w):
    """Input by input: a loop takes its values from memory.

    In one sum, XLA would compute what the values come from, such as an augmented image, again for
    every step.
    """

    def add(y, of_input):
        values, w = of_input
        return y + fields.code(values)[..., None] * w, None

    nothing = jnp.zeros((*fields.shape[:-1], w.shape[-1]))
    inputs = (jnp.moveaxis(fields.values, -1, 0), jnp.moveaxis(w, 1, 0))
    return lax.scan(add, nothing, inputs)[0]


field_product.defvjp(
    lambda fields, w: (field_product(fields, w), (fields, w)),
    lambda residuals, dy: field_product_gradient(residuals[0], residuals[1], dy),
)
