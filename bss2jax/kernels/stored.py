"""Arrays that are made once, however often they are used."""

import jax
import jax.numpy as jnp
from jax import lax


def stored(x: jax.Array) -> jax.Array:
    """Returns an array `[n, ...]` as it is, made once and kept in memory.

    XLA computes what is elementwise again in each loop that uses it. On a CPU a barrier alone does
    not hinder it, as it is gone before loops are joined; the end of a concatenation does.
    """
    return lax.optimization_barrier(jnp.concatenate([x, x[:1]]))[: len(x)]
