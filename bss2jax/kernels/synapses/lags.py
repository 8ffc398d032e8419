"""Delays of axons, dendrites and synapses, which may be trained.

An axonal delay is one of an input, for all neurons that hear it; a dendritic one is of a neuron,
for all that it hears; a synaptic one is of a pair. Spikes come in whole steps: a delay is rounded,
and its gradient is how the loss changes as what arrives moves by a step, the time derivative that
`EventProp` takes, too. Interpolated, a spike arrives in two steps, in shares.

References: Göltz et al. 2025 (DelGrad), 10.1038/s41467-025-63120-y.
"""

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.kernels.synapses.delays import later


def lagged(z: jax.Array, delay: jax.Array, dt: float, *, interpolate: bool = False) -> jax.Array:
    """Returns spikes later, each input by a delay of its own.

    Args:
        z: `[T, B, K]` spikes.
        delay: `[K]` s, not below 0; has a gradient.
        dt: s.
        interpolate: whether a delay between two steps is shared by both; else it is rounded.

    Returns:
        `[T, B, K]`; what would arrive after the end is lost.
    """
    steps = delay / dt
    if interpolate:
        whole = jnp.floor(lax.stop_gradient(steps))
        share = (steps - whole)[None, None]
        first = whole.astype(jnp.int32)
        return _later(z, first) * (1 - share) + _later(z, first + 1) * share
    whole = jnp.round(lax.stop_gradient(steps))
    moved = _later(z, whole.astype(jnp.int32))
    # Forward nothing; backward a step's difference, of the side from which spikes are caused.
    slope = lax.stop_gradient(moved - _later(z, whole.astype(jnp.int32) - 1))
    return moved + slope * (steps - lax.stop_gradient(steps))[None, None]


def _later(z: jax.Array, steps: jax.Array) -> jax.Array:
    """Spikes `[T, B, K]` later by `[K]` whole steps, int32, which may be -1."""
    at = jnp.arange(len(z), dtype=jnp.int32)[:, None] - steps[None]
    there = (at >= 0) & (at < len(z))
    index = jnp.clip(at, 0, max(len(z) - 1, 0))[:, None]
    found = jnp.take_along_axis(z, jnp.broadcast_to(index, z.shape), axis=0)
    return jnp.where(there[:, None], found, 0)


def taps(z: jax.Array, w: jax.Array, delay: jax.Array, dt: float, most: int) -> tuple:
    """Returns spikes of several steps side by side, and weights with the share of each delay.

    Their product is what synapses of delays of their own add: `[T, B, M K] @ [M K, N]`.

    Args:
        z: `[T, B, K]` spikes.
        w: `[K, N]`.
        delay: `[K, N]`, or `[N]` of dendrites, s; has a gradient.
        dt: s.
        most: largest delay, steps; M is one more.

    Returns:
        `[T, B, M K]` and `[M K, N]`.
    """
    number = jnp.arange(most + 1, dtype=w.dtype).reshape(-1, *(1,) * w.ndim)
    steps = jnp.clip(jnp.broadcast_to(delay / dt, w.shape), 0, most)[None]
    share = jnp.maximum(1 - jnp.abs(number - steps), 0)
    moved = [later(z, d) for d in range(most + 1)]
    return jnp.concatenate(moved, axis=-1), (w[None] * share).reshape(-1, w.shape[-1])
