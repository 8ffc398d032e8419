"""What is recorded of a population: spikes that jitter, membranes as the CADC reads them."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from bss2jax.arrays import floats, positive, pytree
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.dot import settled

OBSERVED = ("membrane", "count")


@pytree
@dataclass(frozen=True, eq=False)
class Recording:
    """What a population did; with receptive fields N is two axes, `[P, C]`.

    Attributes:
        spikes: `[T, B, N]`, 0.0 or 1.0; None of integrators.
        membrane: `[T, B, N]` membrane potential before reset, software units: of integrators, and
            where it was asked for.
        count: `[B, N]` spikes in all steps, where it was asked for.
    """

    spikes: jax.Array | None
    membrane: jax.Array | None = None
    count: jax.Array | None = None


def check_observed(observe: tuple[str, ...]) -> None:
    """Refuses to record what a population has not.

    Raises:
        ValueError: as said.
    """
    for name in observe:
        if name not in OBSERVED:
            raise ValueError(f"observe: expected names of {OBSERVED}, got {name!r}")


@jax.custom_vjp
def straight_through(z: jax.Array, seen: jax.Array) -> jax.Array:
    """Returns what is seen, with the gradient of z; both `[T, B, N]`."""
    return seen


straight_through.defvjp(lambda z, seen: (straight_through(z, seen), None), lambda _, dz: (dz, None))


def jitter_spikes(z: jax.Array, u: jax.Array, jitter: jax.Array, dt: float) -> jax.Array:
    """Moves spikes by a step back or forth so that their times spread as by `jitter`.

    A jitter below one step would be rounded away; instead a spike moves to either side with
    probability E|N(0, jitter)| / (2 dt). Spikes that meet are one; none leaves the time axis.

    Args:
        z: `[T, B, N]`.
        u: `[T, B, N]` uniform numbers, 0..1.
        jitter: `[]` or `[1, 1, N]` std, s.
        dt: s.
    """
    chance = jnp.minimum(jitter * (math.sqrt(2 / math.pi) / (2 * dt)), 0.5)
    step = jnp.arange(len(z), dtype=jnp.int32)[:, None, None]
    early = jnp.where((u < chance) & (step > 0), z, 0)
    late = jnp.where((u > 1 - chance) & (step < len(z) - 1), z, 0)
    shifted = jnp.roll(early, -1, axis=0) + jnp.roll(late, 1, axis=0)
    return jnp.minimum(z - early - late + shifted, 1.0)


def cadc_trace(v: ArrayLike, dt: float, scale: float, *, substrate: Substrate = BSS2) -> jax.Array:
    """Reads membrane traces through the CADC: sampled, truncated to 8 bits, interpolated.

    Args:
        v: `[T, B, N]` software units.
        dt: s.
        scale: LSB per software unit.
        substrate: the substrate whose sampling period and range apply.

    Returns:
        `[T, B, N]` as the host sees it, software units. The gradient passes straight through,
        except where what is read is the limit of the range.
    """
    v, dt, scale = floats(v, "v"), positive("dt", dt, "seconds"), positive("scale", scale)
    if v.size == 0:
        return v
    grid = np.arange(len(v)) * dt
    sampled = np.arange(0, grid[-1] + substrate.cadc_period / 2, substrate.cadc_period)
    sampled = sampled[sampled <= grid[-1] * (1 + 1e-9)]
    codes = jnp.floor(scale * _interpolate(lax.stop_gradient(v), grid, sampled))
    codes = jnp.clip(codes, substrate.readout_min, substrate.readout_max)
    read = _interpolate(codes, sampled, grid)
    # In LSB: divided by the scale and multiplied again, a limit may be rounded to the inside.
    inside = (read > substrate.readout_min) & (read < substrate.readout_max)
    through = jnp.where(inside, v, lax.stop_gradient(v))
    return straight_through(through, read / scale)


def _interpolate(v: jax.Array, at: np.ndarray, to: np.ndarray) -> jax.Array:
    """Values `[T, ...]` known at times `at`, linearly between them; the last one is held."""
    if len(at) == 1:
        return jnp.broadcast_to(v, (len(to), *v.shape[1:]))
    right = np.clip(np.searchsorted(at, to), 1, len(at) - 1)
    share = np.clip((to - at[right - 1]) / (at[right] - at[right - 1]), 0, 1).astype(np.float32)
    share = share.reshape(-1, *[1] * (v.ndim - 1))
    # In this form equal values give just themselves: a limit of the range stays one.
    return v[right - 1] + settled((v[right] - v[right - 1]) * share)
