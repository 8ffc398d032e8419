"""Batch norm of what synapses add, and its folding into weights and a bias.

    y = gamma (x - mean) / sqrt(var + epsilon) + beta        a channel each

In training mean and variance are those of the batch, over samples, steps and positions together:
one pair a channel, not one a step, so that they fold into weights that stay.

    w' = w gamma / sqrt(var + epsilon),  b' = beta - gamma mean / sqrt(var + epsilon)

References: Ioffe and Szegedy 2015 (arXiv 1502.03167); Zheng et al. 2021 (arXiv 2011.05280), for
statistics over time and gamma that starts at the threshold.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.arrays import along_last
from bss2jax.kernels.mesh import alike, of_samples

EPSILON = 1e-5  # of a variance, in the square of what a weight's unit is


class Moments(NamedTuple):
    """Mean and variance of each channel, `[C]`."""

    mean: jax.Array
    var: jax.Array


def moments(x: jax.Array, axes: tuple[str, ...] = ()) -> Moments:
    """Returns the moments of `[..., C]` over all axes but the last, float32.

    Args:
        x: what is looked at.
        axes: the axes of the mesh whose devices have as many samples more, within `jax.shard_map`.
    """
    x, over = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean = _over_devices(x.mean(axis=over), axes)
    return Moments(mean, _over_devices(jnp.square(x - along_last(mean, x)).mean(axis=over), axes))


def batch_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array) -> tuple[jax.Array, Moments]:
    """Normalises each channel by the moments of what it is given, on all devices of a batch.

    Backward the gradient of the moments is part of that of x; what is made of the moments that are
    returned has none. Of x, not of its deviations, a copy is kept, in its own type.

    Args:
        x: `[..., C]`.
        gamma, beta: `[C]` spread and mean of what it makes.

    Returns:
        `[..., C]` float32, and the moments.
    """
    return _normed(of_samples(), *alike(x, gamma, beta))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normed(axes: tuple[str, ...], x: jax.Array, gamma: jax.Array, beta: jax.Array) -> tuple:
    return _forward(axes, x, gamma, beta)[0]


def _forward(axes: tuple[str, ...], x: jax.Array, gamma: jax.Array, beta: jax.Array) -> tuple:
    found = moments(x, axes)
    factor = lax.rsqrt(found.var + EPSILON)
    y = (x.astype(jnp.float32) - along_last(found.mean, x)) * along_last(gamma * factor, x)
    return (y + along_last(beta, x), found), (x, gamma, found.mean, factor)


def _backward(axes: tuple[str, ...], kept: tuple, cotangents: tuple) -> tuple:
    x, gamma, mean, factor = kept
    dy, over = cotangents[0], tuple(range(x.ndim - 1))
    normal = (x.astype(jnp.float32) - along_last(mean, x)) * along_last(factor, x)
    dbeta, dgamma = dy.sum(axis=over), (dy * normal).sum(axis=over)
    share = np.float32(1 / math.prod(x.shape[:-1]))
    # What the moments pass on comes from all devices; those of gamma and beta are summed later.
    of_mean, of_spread = (_over_devices(d * share, axes) for d in (dbeta, dgamma))
    dx = dy - along_last(of_mean, x) - normal * along_last(of_spread, x)
    return (dx * along_last(gamma * factor, x)).astype(x.dtype), dgamma, dbeta


_normed.defvjp(_forward, _backward)


def _over_devices(mean: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """The mean of what devices have, which are of one size."""
    return lax.pmean(mean, axes) if axes else mean


def fold(
    w: jax.Array, gamma: jax.Array, beta: jax.Array, known: Moments
) -> tuple[jax.Array, jax.Array]:
    """Returns the weights and the bias of a product that is normalised by moments that stay.

    Args:
        w: `[..., C]` weights.
        gamma, beta: `[C]` as of `batch_norm`.
        known: the moments.

    Returns:
        `[..., C]` weights, and `[C]` bias.
    """
    factor = gamma * lax.rsqrt(known.var + EPSILON)
    return w * along_last(factor, w), beta - known.mean * factor
