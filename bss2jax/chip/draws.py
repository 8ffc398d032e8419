"""Random numbers of a specimen: the same bits for a seed, whatever JAX is set to.

`jax.random` draws other numbers when 64-bit types are on, when another implementation of keys is
the default, and when `jax_threefry_partitionable` is off. Here every key is a threefry one, made by
folding, which depends on none of these, and every number is float32. With JAX's default settings
the numbers are those of `jax.random.normal` and `jax.random.uniform`, and key i of a split is what
folding with i makes.

Products are rounded before they are used again: a jitted draw equals one that is not.

References: Salmon et al. 2011 (threefry), through `jax.random.fold_in`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def pinned(key: jax.Array) -> jax.Array:
    """Returns threefry keys of the same seeds, of keys of any shape and implementation.

    `jax.random.key(n)` has the same first two words in all implementations that JAX has, and so do
    keys split or folded from it, except with `unsafe_rbg`.
    """
    return jax.random.wrap_key_data(jax.random.key_data(key)[..., :2], impl="threefry2x32")


def folded(key: jax.Array, *numbers: int) -> jax.Array:
    """Returns a threefry key, a scalar, that numbers were folded into one after the other."""
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


@partial(jax.jit, static_argnames=("shape", "low", "high"))
def uniform(
    key: jax.Array, shape: tuple[int, ...], *, low: float = 0.0, high: float = 1.0
) -> jax.Array:
    """Draws uniform numbers.

    Args:
        key: a threefry one.
        shape: the shape of the result.
        low, high: the ends, of which the upper one is excluded.

    Returns:
        A float32 array of any shape.
    """
    count = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    words = jax.random.key_data(jax.vmap(jax.random.fold_in, (None, 0))(key, count))
    bits = (words[:, 0] ^ words[:, 1]).reshape(shape)
    # The upper 23 bits are the mantissa of a number from 1 to 2.
    mantissa = (bits >> jnp.uint32(9)) | jnp.uint32(0x3F800000)
    share = lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1)
    least, most = np.float32(low), np.float32(high)
    return jnp.maximum(share * (most - least) + least, least)


@partial(jax.jit, static_argnames="shape")
def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws standard normal numbers: a float32 array of any shape, with a threefry key."""
    u = uniform(key, shape, low=float(np.nextafter(np.float32(-1), np.float32(0))))
    return _rounded(np.float32(np.sqrt(2)) * lax.erf_inv(u))


def around(key: jax.Array, std: float, shape: tuple[int, ...], mean: float = 0.0) -> jax.Array:
    """Draws normal numbers.

    Args:
        key: a threefry one.
        std: their standard deviation.
        shape: the shape of the result.
        mean: their mean.

    Returns:
        A float32 array of any shape.
    """
    return mean + _rounded(std * normal(key, shape))


def _rounded(product: jax.Array) -> jax.Array:
    # A compiler contracts a product and the sum that follows, and reorders products, but not across
    # a maximum. It is one that changes nothing.
    return jnp.maximum(product, np.finfo(np.float32).min)
