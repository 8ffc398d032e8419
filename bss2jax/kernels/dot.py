"""Products in full float32, the same bits on every device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LARGEST = np.finfo(np.float32).max
_NARROW = 32  # columns


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies `[..., K]` and `[K, N]` in float32.

    A GPU's default may round the factors to 10 bits, and products of codes would not be exact.
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def transposed(w: jax.Array) -> jax.Array:
    """Returns a matrix `[K, N]` as `[N, K]`, laid out anew, once.

    A product with a transpose turns it by itself, in a loop in each step: a sixth of its time on a
    CPU where it has 32 rows.
    """
    return lax.optimization_barrier(w.T)


def dot_of_rows(x: jax.Array, y: jax.Array) -> jax.Array:
    """Multiplies `[..., K]` and `[..., N]` row by row, and adds them up: `[K, N]`, in float32.

    Narrow rows `[M, N]` are taken in two halves: XLA then makes a loop of its own on a CPU, in a
    third of the time of its library's product, which lays x out anew.
    """
    highest = lax.Precision.HIGHEST
    if x.ndim != 2 or y.shape[1] > _NARROW or len(y) % 2:
        lead = tuple(range(x.ndim - 1))
        return lax.dot_general(x, y, ((lead, lead), ((), ())), precision=highest)
    x, y = (a.reshape(2, len(a) // 2, a.shape[1]) for a in (x, y))
    return lax.dot_general(y, x, (((1,), (1,)), ((0,), (0,))), precision=highest).sum(axis=0).T


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
