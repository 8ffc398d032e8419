"""Gaussian random numbers cheap enough for every readout of every block.

`jax.random.normal` (threefry and an inverse error function) costs several times the matrix product
whose readout it disturbs. Here a counter is hashed twice and a Box-Muller transform makes two
independent normals of it, all in elementwise 32-bit arithmetic that XLA fuses into the readout.

    u, a = hash(counter, words[0:2]), hash(counter, words[2:4])
    r = sqrt(-2 ln u);  z0 = r cos(2 pi a);  z1 = r sin(2 pi a)

The four words come from a JAX key through `jax.random.bits`, so distinct keys give distinct
streams. Tested in `tests/test_noise.py`: distribution, tails, independence between neighbouring
counters, rows, streams and keys.

References: Box and Muller 1958; the hash constants are C. Wellons' `lowbias32` (public domain), the
step of its counter Knuth's (TAOCP 3, 6.4);
the polynomials are those of Cephes `logf`, `sinf`, `cosf` (Moshier).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

WORDS = 4  # uint32 words of key material for one stream
_GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio, odd

_LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SQRT_HALF_BITS = np.float32(np.sqrt(0.5)).view(np.int32)


def stream_words(key: jax.Array, streams: int) -> jax.Array:
    """Returns `[streams, 4]` uint32 words, the key material of independent noise streams."""
    return jax.random.bits(key, (streams, WORDS), jnp.uint32)


def normal_pair(words: jax.Array, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Draws two independent arrays of standard normal numbers.

    Args:
        words: `[4]` uint32, one row of `stream_words`.
        shape: `(B, N)`, with B * N < 2^32, the period of the counter.

    Returns:
        Two `[B, N]` float32 arrays; |z| < 6.7, the last of 2^31 radii.
    """
    counter = _counter(shape)
    # Through int32, whose conversion to float is one vector instruction on every CPU.
    u = (_hash(counter, words[0], words[1]) >> 1).astype(jnp.int32).astype(jnp.float32)
    radius = jnp.sqrt(-2.0 * _log(u * jnp.float32(2**-31) + jnp.float32(2**-32)))
    cosine, sine = _circle(_hash(counter, words[2], words[3]))
    return radius * cosine, radius * sine


def uniform(words: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Draws uniform numbers between 0 and 1, ends excluded: see `normal_pair` for the arguments.

    Returns:
        `[B, N]` float32, of 2^23 values: their midpoints take all of float32's 24 bits, one more
        would round up to 1.
    """
    bits = _hash(_counter(shape), words[0], words[1]) >> 9
    return bits.astype(jnp.int32).astype(jnp.float32) * jnp.float32(2**-23) + jnp.float32(2**-24)


def _counter(shape):
    row = lax.broadcasted_iota(jnp.uint32, shape, 0)
    column = lax.broadcasted_iota(jnp.uint32, shape, 1)
    return row * jnp.uint32(shape[1]) + column


def _hash(counter, word0, word1):
    # The counter steps by the golden ratio: two rounds alone leave correlations between rows that
    # show in 2^23 numbers. Word 1 enters twice: before both rounds, as one round alone leaves
    # streams whose words differ in a few bits correlated, and between them, so that two keys never
    # walk the same sequence in another order.
    x = (counter * _GOLDEN + word0) ^ (word1 * _GOLDEN)
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = x ^ word1
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _log(x):
    """Natural logarithm of a positive normal float32: exponent and a polynomial around 1."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    exponent = (bits - _SQRT_HALF_BITS) >> 23
    f = lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1.0
    return exponent.astype(jnp.float32) * jnp.float32(np.log(2)) + (
        f + f * f * (f * _polynomial(f, _LOG) - 0.5)
    )


def _circle(angle):
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


def _polynomial(x, coefficients):
    y = jnp.float32(coefficients[0])
    for c in coefficients[1:]:
        y = y * x + jnp.float32(c)
    return y
