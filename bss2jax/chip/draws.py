"""Random numbers of a seed: the same bits whatever JAX is set to.

`jax.random` draws other numbers when 64-bit types are on, when another implementation of keys is
the default, and when `jax_threefry_partitionable` is off. Here every key is a threefry one, made by
folding, which depends on none of these, and every number is float32. With JAX's default settings
the numbers are those of the functions of `jax.random` that have these names.

Chips, initial weights, noise, dropout, augmentation and order are all drawn from here.

Products are rounded before they are used again: a jitted draw equals one that is not.

References: Salmon et al. 2011 (threefry), through `jax.random.fold_in`.
"""

import math
import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

# Threefry's turns, a row a group of four rounds, and the number of each group.
_TURNS = np.array([[13, 15, 26, 6], [17, 29, 16, 24]] * 2 + [[13, 15, 26, 6]], np.uint32)
_GROUPS = np.arange(1, 6, dtype=np.uint32)


def pinned(key: jax.Array) -> jax.Array:
    """Returns threefry keys of the same seeds, of keys of any shape and implementation.

    `jax.random.key(n)` has the same first two words in all implementations that JAX has, and so do
    keys split or folded from it, except with `unsafe_rbg`.

    Raises:
        ValueError: it is no key.
    """
    kind = getattr(key, "dtype", None)
    if kind is None or not (jnp.issubdtype(kind, jax.dtypes.prng_key) or kind == jnp.uint32):
        raise ValueError(f"key: expected one of JAX, such as jax.random.key(0), got {key!r:.60}")
    return jax.random.wrap_key_data(jax.random.key_data(key)[..., :2], impl="threefry2x32")


def number_of(name: str) -> int:
    """Returns the number that a name stands for in keys: its CRC-32."""
    return zlib.crc32(name.encode())


def folded(key: jax.Array, *numbers: ArrayLike | str) -> jax.Array:
    """Returns a threefry key, a scalar, that numbers were folded into one after the other.

    Args:
        key: one key of any implementation.
        numbers: whole numbers, or names, which stand for their `number_of`.

    Raises:
        ValueError: it is no key, or several.
    """
    key = pinned(key)
    if key.ndim:
        raise ValueError(f"key: expected one key, got {key.shape}; map over several with jax.vmap")
    words = jax.random.key_data(key)
    for number in numbers:
        word = jnp.uint32(number_of(number) if isinstance(number, str) else number)
        if word.ndim:
            raise ValueError(f"key: expected one number to fold in, got {word.shape}")
        words = _hashed(words, word)
    return _key_of(words)


def split(key: jax.Array, number: int) -> jax.Array:
    """Returns `[number]` keys that are made of one."""
    return _key_of(_numbered(key, number).T)


def bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws 32 random bits each: a uint32 array of any shape."""
    words = _numbered(key, math.prod(shape))
    return (words[0] ^ words[1]).reshape(shape)


@partial(jax.jit, static_argnames=("shape", "low", "high"))
def uniform(
    key: jax.Array, shape: tuple[int, ...], *, low: float = 0.0, high: float = 1.0
) -> jax.Array:
    """Draws uniform numbers.

    Args:
        key: the random key of the draw.
        shape: the shape of the result.
        low, high: the ends, of which the upper one is excluded.

    Returns:
        A float32 array of any shape.
    """
    return _between(key, shape, np.float32(low), np.float32(high))


@partial(jax.jit, static_argnames="shape")
def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws standard normal numbers: a float32 array of any shape."""
    u = uniform(key, shape, low=float(np.nextafter(np.float32(-1), np.float32(0))))
    return _rounded(np.float32(np.sqrt(2)) * lax.erf_inv(u))


def around(key: jax.Array, std: float, shape: tuple[int, ...], mean: float = 0.0) -> jax.Array:
    """Draws normal numbers.

    Args:
        key: the random key of the draw.
        std: their standard deviation.
        shape: the shape of the result.
        mean: their mean.

    Returns:
        A float32 array of any shape.
    """
    return mean + _rounded(std * normal(key, shape))


@partial(jax.jit, static_argnames="shape")
def truncated_normal(key: jax.Array, low: float, high: float, shape: tuple[int, ...]) -> jax.Array:
    """Draws standard normal numbers between two ends.

    Args:
        key: the random key of the draw.
        low, high: the ends, excluded.
        shape: the shape of the result.

    Returns:
        A float32 array of any shape.
    """
    root, infinity = np.float32(np.sqrt(2)), np.float32(np.inf)
    ends = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    u = _between(key, shape, *(lax.erf(end / root) for end in ends))
    least, most = lax.nextafter(ends[0], infinity), lax.nextafter(ends[1], -infinity)
    return jnp.clip(root * lax.erf_inv(u), least, most)


def bernoulli(key: jax.Array, chance: float, shape: tuple[int, ...]) -> jax.Array:
    """Draws what is true with a chance: a bool array of any shape."""
    return uniform(key, shape) < jnp.asarray(chance, jnp.float32)


@partial(jax.jit, static_argnums=1)
def permutation(key: jax.Array, number: int) -> jax.Array:
    """Draws an order of whole numbers from 0 on: int32 `[number]`.

    Sorted by random bits, as often as it takes that no two of them are likely to share all theirs.
    """
    order = jnp.arange(number, dtype=jnp.int32)
    for _ in range(math.ceil(3 * math.log(max(1, number)) / math.log(2**32 - 1))):
        key, of_round = split(key, 2)
        order = lax.sort_key_val(bits(of_round, (number,)), order)[1]
    return order


def _key_of(words: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(words, impl="threefry2x32")


def _numbered(key: jax.Array, number: int) -> jax.Array:
    """Words `[2, number]` of a key that each of the numbers from 0 on was folded into."""
    return _hashed(jax.random.key_data(folded(key)), jnp.arange(number, dtype=jnp.uint32))


@jax.jit
def _hashed(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """Threefry: words `[2, ...]` of a key's `[2]` that numbers `[...]` were each folded into.

    As `jax.random.fold_in` has it. The loop over its five groups of rounds has one array as its
    state: two thirds of the time to compile that JAX's takes, and a training step has nine of them.
    """
    first, second = key
    third = first ^ second ^ np.uint32(0x1BD11BDA)
    cycle = (second, third, first, second, third, first)
    added = jnp.stack([jnp.stack(cycle[:5]), jnp.stack(cycle[1:]) + _GROUPS], axis=1)

    def rounds(words: jax.Array, group: tuple) -> tuple[jax.Array, None]:
        turns, (more, and_more) = group
        x, y = words
        for turn in turns:
            x = x + y
            y = ((y << turn) | (y >> (np.uint32(32) - turn))) ^ x
        return jnp.stack([x + more, y + and_more]), None

    words = jnp.stack([jnp.zeros_like(numbers) + first, numbers + second])
    return lax.scan(rounds, words, (jnp.asarray(_TURNS), added))[0]


def _between(key: jax.Array, shape: tuple[int, ...], least: Any, most: Any) -> jax.Array:
    # The upper 23 bits are the mantissa of a number from 1 to 2.
    mantissa = (bits(key, shape) >> jnp.uint32(9)) | jnp.uint32(0x3F800000)
    share = lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1)
    return jnp.maximum(share * (most - least) + least, least)


def _rounded(product: jax.Array) -> jax.Array:
    # A compiler contracts a product and the sum that follows, and reorders products, but not across
    # a maximum. It is one that changes nothing.
    return jnp.maximum(product, np.finfo(np.float32).min)
