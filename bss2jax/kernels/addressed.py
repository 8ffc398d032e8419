"""Random numbers by address, until `kernels.noise` has them."""

import jax
import jax.numpy as jnp

from bss2jax.kernels.noise import _GOLDEN, _circle, _hash, _log


def stream(key: jax.Array, *ids: int) -> jax.Array:
    """Returns `[4]` uint32 words, the key material of the stream of some numbers."""
    for number in ids:
        key = jax.random.fold_in(key, number)
    return jax.random.bits(key, (4,), jnp.uint32)


def normal_pair(words: jax.Array, *address: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws two independent normal numbers for each address, whole numbers that broadcast."""
    counter = _counter(words, address)
    u = (_hash(counter, words[0], words[1]) >> 1).astype(jnp.int32).astype(jnp.float32)
    radius = jnp.sqrt(-2.0 * _log(u * jnp.float32(2**-31) + jnp.float32(2**-32)))
    cosine, sine = _circle(_hash(counter, words[2], words[3]))
    return radius * cosine, radius * sine


def uniform(words: jax.Array, *address: jax.Array) -> jax.Array:
    """Draws a uniform number between 0 and 1 for each address."""
    bits = _hash(_counter(words, address), words[0], words[1]) >> 9
    return bits.astype(jnp.int32).astype(jnp.float32) * jnp.float32(2**-23) + jnp.float32(2**-24)


def _counter(words: jax.Array, address: tuple) -> jax.Array:
    counter = jnp.uint32(0)
    for number in address:
        counter = _hash(counter * _GOLDEN + jnp.asarray(number).astype(jnp.uint32), *words[1:3])
    return counter
