"""Gaussian random numbers with addresses, cheap enough for every readout of every block.

`jax.random.normal` (threefry and an inverse error function) costs several times the matrix product
whose readout it disturbs. Here each number's address, such as (sample, column), is hashed twice and
a Box-Muller transform makes two independent normals of it, all in elementwise 32-bit arithmetic
that XLA fuses into the readout.

    u, a = hash(address, words[0:2]), hash(address, words[2:4])
    r = sqrt(-2 ln u);  z0 = r cos(2 pi a);  z1 = r sin(2 pi a)

A number depends on the stream's words and on its own address alone, on no shape: half of a batch,
or one of its samples, is given what it is given as part of the whole. All axes of an address but
the last are hashed into words of their own, four hashes a row; the last axis is what each element
pays for.

Distinct keys and ids give distinct streams. Tested in `tests/test_noise.py`: distribution, tails,
independence between neighbours along every axis of an address, streams and keys.

References: Box and Muller 1958; the hash constants are C. Wellons' `lowbias32` (public domain), the
step of its counter Knuth's (TAOCP 3, 6.4);
the polynomials are those of Cephes `logf`, `sinf`, `cosf` (Moshier).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from bss2jax.chip import draws

_GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio, odd

_LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SQRT_HALF_BITS = np.float32(np.sqrt(0.5)).view(np.int32)


def stream(key: jax.Array, *ids: ArrayLike) -> jax.Array:
    """Returns the `[4]` uint32 words of one noise stream, the same however many others there are.

    Args:
        key: JAX key.
        ids: integers that number the stream among those of the key, such as a layer's row block;
            traced or not.
    """
    # Both halves at once: each hash by itself is a loop of its own to compile.
    return jax.random.key_data(draws.split(draws.folded(key, *ids), 2)).reshape(-1)


def normal_pair(words: jax.Array, *address: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Draws two independent arrays of standard normal numbers.

    Args:
        words: `[4]` uint32, from `stream`.
        address: integer arrays that broadcast against each other, such as
            `sample[:, None], column`; each number's place along each axis.

    Returns:
        Two float32 arrays of their broadcast shape; |z| < 6.7, the last of 2^31 radii.
    """
    mixed, last = _rows(words, address)
    # Through int32, whose conversion to float is one vector instruction on every CPU.
    u = (_hash(last, mixed[0], mixed[1]) >> 1).astype(jnp.int32).astype(jnp.float32)
    radius = jnp.sqrt(-2.0 * _log(u * jnp.float32(2**-31) + jnp.float32(2**-32)))
    cosine, sine = _circle(_hash(last, mixed[2], mixed[3]))
    return radius * cosine, radius * sine


def uniform(words: jax.Array, *address: ArrayLike) -> jax.Array:
    """Draws uniform numbers between 0 and 1, ends excluded: see `normal_pair` for the arguments.

    Returns:
        Float32 of the addresses' broadcast shape, of 2^23 values: their midpoints take all of
        float32's 24 bits, one more would round up to 1.
    """
    mixed, last = _rows(words, address)
    bits = _hash(last, mixed[0], mixed[1]) >> 9
    return bits.astype(jnp.int32).astype(jnp.float32) * jnp.float32(2**-23) + jnp.float32(2**-24)


def grid(shape: Sequence[int], first: ArrayLike = 0) -> tuple[jax.Array, ...]:
    """Returns the addresses of the entries of an array: their numbers along each of its axes.

    There is one array an axis, as long as it along that axis and of length 1 along the others:
    `[B, 1]` and `[1, N]` for an array `[B, N]`.

    Args:
        shape: the shape of the array.
        first: number of the first entry of the first axis, `[]`, such as a batch's first sample.
    """
    axes = [
        jnp.expand_dims(
            jnp.arange(n, dtype=jnp.uint32), [i for i in range(len(shape)) if i != axis]
        )
        for axis, n in enumerate(shape)
    ]
    if axes:
        axes[0] = axes[0] + jnp.asarray(first).astype(jnp.uint32)
    return tuple(axes)


def _rows(
    words: jax.Array, address: tuple[ArrayLike, ...]
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Hashes all axes of an address but the last into words; returns these and the last axis."""
    axes = [jnp.asarray(axis).astype(jnp.uint32) for axis in address or (0,)]
    most = max(axis.ndim for axis in axes)
    *rows, last = (axis.reshape((1,) * (most - axis.ndim) + axis.shape) for axis in axes)
    mixed = words.reshape(4, *(1,) * most)
    for row in rows:
        # A bijection of the row for each of the four: no two rows of a stream share a word. Behind
        # a barrier, so that it is done once a row: else every element would hash its row.
        mixed = _hash(row[None], mixed, jnp.roll(mixed, -1, axis=0))
        mixed = lax.optimization_barrier(mixed)
    return tuple(mixed), last


def _hash(counter: jax.Array, word0: jax.Array, word1: jax.Array) -> jax.Array:
    # The counter steps by the golden ratio: two rounds alone leave correlations between rows that
    # show in 2^23 numbers. Word 1 enters twice: before both rounds, as one round alone leaves
    # streams whose words differ in a few bits correlated, and between them, so that two keys never
    # walk the same sequence in another order.
    x = (counter * _GOLDEN + word0) ^ (word1 * _GOLDEN)
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = x ^ word1
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _log(x: jax.Array) -> jax.Array:
    """Natural logarithm of a positive normal float32: exponent and a polynomial around 1."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    exponent = (bits - _SQRT_HALF_BITS) >> 23
    f = lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1.0
    return exponent.astype(jnp.float32) * jnp.float32(np.log(2)) + (
        f + f * f * (f * _polynomial(f, _LOG) - 0.5)
    )


def _circle(angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of a uint32 angle whose full turn is 2^32."""
    quadrant = angle >> 30
    within = lax.bitcast_convert_type(angle << 2, jnp.int32).astype(jnp.float32)
    t = within * jnp.float32(np.pi / 4 / 2**31)
    t2 = t * t
    sine = t + t * t2 * _polynomial(t2, _SIN)
    cosine = 1.0 - 0.5 * t2 + t2 * t2 * _polynomial(t2, _COS)
    swap = (quadrant & 1) == 1
    sign = jnp.where(quadrant >= 2, jnp.float32(-1), jnp.float32(1))
    return sign * jnp.where(swap, -sine, cosine), sign * jnp.where(swap, cosine, sine)


def _polynomial(x: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    y = jnp.float32(coefficients[0])
    for c in coefficients[1:]:
        y = y * x + jnp.float32(c)
    return y
