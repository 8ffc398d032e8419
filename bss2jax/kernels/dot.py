"""Products in full float32, the same bits on every device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LARGEST = np.finfo(np.float32).max


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies `[..., K]` and `[K, N]` in float32.

    A GPU's default may round the factors to 10 bits, and products of codes would not be exact.
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def settled(x: jax.Array | float) -> jax.Array:
    """Returns a product `[...]` that a sum takes as it is, rounded.

    Compilers make one operation of a product and a sum, with one rounding, where they happen to
    have both at hand: that depends on shapes, on what else is compiled, and on the device. They do
    not look through this minimum, one operation, which costs nothing that could be measured.
    """
    return _settled(jnp.asarray(x, jnp.result_type(x, np.float32)))


@jax.custom_jvp
def _settled(x: jax.Array) -> jax.Array:
    return jnp.minimum(x, _LARGEST)


@_settled.defjvp
def _settled_jvp(primals: tuple, tangents: tuple) -> tuple:
    return _settled(*primals), tangents[0]
