"""Values of the world into activations and spike times, traces into scores, tensors into range.

References: hxtorch `nn` (scaling, the CADC's maximum over time); brainscales2-demos ts_13 (latency,
soft clamp); Cramer et al. 2022 (logarithmic latency); Kriener et al. 2022, arXiv 2102.08211 (spike
times). Regular and Poisson trains and constant currents are the field's usual codes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from bss2jax.arrays import along_last, count, floats, positive
from bss2jax.chip import draws
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.gradients.nominal import differentiated_once, without_gradient
from bss2jax.kernels.synapses.events import Events

_PART = 2**16  # parts of a spike in which regular trains count


def encode_activations(
    values: ArrayLike,
    full_scale: float | Sequence[float],
    substrate: Substrate = BSS2,
    *,
    offset: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Maps values, less an offset, of 0..full_scale to activations 0..31, float32, not yet rounded.

    The product rounds them; an execution without rounding sees what is here.

    Args:
        values: `[...]`, such as uint8 pixels; or `[..., C]`.
        full_scale: what becomes 31; one for all, or C of them.
        substrate: the substrate whose activation range is filled.
        offset: the value, in their unit, that becomes 0; one for all, or C of them.
    """
    factor = substrate.activation_max / np.asarray(full_scale)
    values = _less(values, offset)
    return values * _along_last(factor, values)


def normalise(
    values: ArrayLike,
    full_scale: float | Sequence[float],
    *,
    offset: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Maps values, less an offset, of 0..full_scale linearly to 0..1, float32.

    Args:
        values: `[...]`, such as uint8 pixels; or `[..., C]`.
        full_scale: what becomes 1; one for all, or C of them.
        offset: the value, in their unit, that becomes 0; one for all, or C of them.
    """
    values = _less(values, offset)
    return values / _along_last(full_scale, values)


def _less(values: ArrayLike, offset: Any) -> jax.Array:
    values = floats(values)
    return values - _along_last(offset, values) if np.any(offset) else values


def _along_last(numbers: Any, values: jax.Array) -> np.ndarray:
    """One number for all, or one for each entry of the last axis, with as many axes as values."""
    return along_last(np.asarray(numbers, np.float32), values)


def split_signs(x: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Writes signed values as two unsigned ones, positive parts first, cut at 31.

    Args:
        x: `[..., C]`, in units of activations.
        substrate: the substrate whose activation range cuts.

    Returns:
        `[..., 2 C]`, 0..31.
    """
    return jnp.clip(jnp.concatenate([x, -x], axis=-1), 0, substrate.activation_max)


def latency(values: ArrayLike, steps: int) -> Events:
    """Codes each value by one spike at step T - round(T x), and by none where that is T.

    Args:
        values: `[B, K]`, 0..1; beyond it as the ends.
        steps: T.

    References: brainscales2-demos ts_13.
    """
    steps, x = count("steps", steps), _coded(values)
    return _one_each(steps - jnp.round(steps * x).astype(jnp.int32))


def log_latency(values: ArrayLike, steps: int, dt: float, tau: float, theta: float) -> Events:
    """Codes each value by one spike at t = tau ln(x / (x - theta)); none at or below theta.

    It is the time at which a neuron of time constant tau with input x reaches theta.

    Args:
        values: `[B, K]`, 0..1; beyond it as the ends.
        steps: T; later spikes are dropped.
        dt, tau: s.
        theta: the least value that spikes.

    References: Cramer et al. 2022.
    """
    steps, values, least = count("steps", steps), _coded(values), positive("theta", theta)
    rate = positive("tau", tau, "seconds") / positive("dt", dt, "seconds")
    above = values > least
    x = jnp.where(above, values, 1.0 + least)
    step = jnp.round(rate * jnp.log(x / (x - least)))
    return _one_each(jnp.where(above, jnp.minimum(step, steps), steps).astype(jnp.int32))


def spike_time(values: ArrayLike, dt: float, early: float, late: float) -> Events:
    """Codes each value by one spike at early + x (late - early), rounded to steps.

    Args:
        values: `[B, K]`, 0..1; beyond it as the ends.
        dt, early, late: s.
    """
    x, step = _coded(values), positive("dt", dt, "seconds")
    return _one_each(jnp.round((early + x * (late - early)) / step).astype(jnp.int32))


def regular(values: ArrayLike, steps: int, spikes: float) -> jax.Array:
    """Codes each value by up to `spikes` spikes at even distances: a raster `[T, B, K]`.

    Step t spikes where (t + 1) r passes a whole number that t r does not, r = x spikes / T: the
    value n / spikes spikes n times. Backward the raster is its mean, r in each step.

    Args:
        values: `[B, K]`, 0..1; beyond it as the ends.
        steps: T.
        spikes: the number of spikes of the value 1, at most T.
    """
    steps, most = count("steps", steps), positive("spikes", spikes)
    if most > steps or steps >= _PART:
        raise ValueError(f"spikes: got {most}, expected at most {min(steps, _PART - 1)} steps")
    x = _within(values)
    # Counted in parts of 2^-16 of a spike, to the nearest: products of float32 fall short of whole
    # numbers that they should reach. Whole spikes and parts apart, as 32 bits hold no more.
    spikes_of = lax.stop_gradient(x) * np.float32(most)
    whole = jnp.floor(spikes_of)
    part = jnp.round((spikes_of - whole) * _PART).astype(jnp.uint32)
    whole = (whole.astype(jnp.uint32) + (part >> 16))[None]
    part = (part & (_PART - 1))[None]
    time = jnp.arange(steps + 1, dtype=jnp.uint32).reshape(-1, *(1,) * x.ndim)
    reached = (time * whole + (time * part >> 16)) // steps
    return with_mean_gradient(x, (reached[1:] > reached[:-1]).astype(jnp.float32), most / steps)


def poisson(values: ArrayLike, key: jax.Array, steps: int) -> jax.Array:
    """Codes each value as the chance of a spike in a step: a raster `[T, B, K]` of 0.0 and 1.0.

    Backward the raster is its mean, the value in each step.

    Args:
        values: `[B, K]`, 0..1; beyond it as the ends.
        key: the random key of the draws.
        steps: T.
    """
    x = _within(values)
    draw = draws.uniform(key, (count("steps", steps), *x.shape))
    z = (draw < lax.stop_gradient(x)[None]).astype(jnp.float32)
    return with_mean_gradient(x, z, 1.0)


def delta(signals: ArrayLike, steps: int, theta: float) -> jax.Array:
    """Codes signals by how they change, send-on-delta: a raster `[T, B, 2 C]`.

    A reference follows each signal from 0 on. Where the signal is theta or more above it, the
    channel's ON input spikes and the reference rises by theta; where it is as far below, the OFF
    input spikes and the reference falls. So a signal at rest is silent once it is reached, and one
    that changes by more than theta a step is followed late.

    Args:
        signals: `[B, L, C]`, of either sign; step t sees sample t L / T.
        steps: T, which divides L.
        theta: what is worth a spike, in units of the signals.

    Returns:
        `[T, B, 2 C]`, 0.0 and 1.0: at most one spike a step and channel, ON inputs first.

    Raises:
        ValueError: the signals have no axis of samples, or T does not divide it.
        TypeError: the signals are differentiated.

    References: M. Miskowicz, Send-On-Delta Concept, Sensors 6 (2006) 49.
    """
    steps, worth = count("steps", steps), positive("theta", theta)
    x = without_gradient(floats(signals, "signals"), "signals that delta codes")
    if x.ndim != 3 or not x.shape[1] or x.shape[1] % steps:
        raise ValueError(
            f"delta coding takes signals [B, L, C] of L samples, a multiple of {steps} steps; "
            f"got {x.shape}"
        )

    seen = x[:, :: x.shape[1] // steps].swapaxes(0, 1)
    change = _changes(seen, worth)
    return jnp.maximum(jnp.concatenate([change, -change], axis=-1), 0)


@partial(jax.jit, static_argnums=1)
def _changes(seen: jax.Array, worth: float) -> jax.Array:
    """How a reference that follows signals `[T, B, C]` changes, in steps of `worth`: -1, 0, 1."""

    def step(level: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
        # In whole thetas: sums of them would drift.
        rise, fall = at >= (level + 1) * worth, at <= (level - 1) * worth
        change = rise.astype(jnp.float32) - fall.astype(jnp.float32)
        return level + change, change

    return lax.scan(step, jnp.zeros_like(seen[0]), seen)[1]


def constant_current(values: ArrayLike, steps: int) -> jax.Array:
    """Codes each value `[B, K]` as a current that stays, `[T, B, K]`, in the values' unit."""
    x = floats(values)
    return jnp.broadcast_to(x[None], (count("steps", steps), *x.shape))


def max_over_time(v: ArrayLike) -> jax.Array:
    """Returns the largest membrane of a trace `[T, B, N]`: scores `[B, N]`.

    Raises:
        ValueError: there is no step.
    """
    v = floats(v, "v")
    if not v.shape or not len(v):
        raise ValueError(f"v: expected [T, B, N] with T >= 1, got {v.shape}: no step, no largest")
    return v.max(axis=0)


def spike_count(z: ArrayLike) -> jax.Array:
    """Returns how often each neuron of `[T, B, N]` spikes: scores `[B, N]`."""
    return floats(z, "z").sum(axis=0)


def first_spike(z: ArrayLike, *, by_time: bool = False) -> jax.Array:
    """Returns minus the step of each neuron's first spike in `[T, B, N]`, -T where there is none.

    As scores the earliest wins. Backward a stronger spike is taken for an earlier one: the gradient
    goes to the step of the first spike. That of a silent neuron goes to all its steps, where the
    surrogate picks those near the threshold.

    Args:
        z: `[T, B, N]` spikes.
        by_time: for neurons whose gradient is `EventProp`, whether it says how the score moves with
            the time of the first spike; a silent neuron has none.

    Returns:
        `[B, N]` scores.

    References: snnTorch's temporal losses do alike.
    """
    return _first_time(floats(z, "z")) if by_time else _first_spike(floats(z, "z"))


@jax.custom_vjp
def _first_spike(z: jax.Array) -> jax.Array:
    steps = len(z)
    time = jnp.arange(steps, dtype=jnp.int32).reshape(-1, *(1,) * (z.ndim - 1))
    return -jnp.where(z > 0, time, steps).min(axis=0, initial=steps).astype(jnp.float32)


def _first_spike_backward(z: jax.Array, ds: jax.Array) -> tuple[jax.Array]:
    # Spikes are what is above 0: dropout makes more of them than 1.
    spikes = (z > 0).astype(jnp.int32)
    until = jnp.cumsum(spikes, axis=0)
    first, silent = (until == 1) & (z > 0), until[-1:] == 0
    return (jnp.where(first | silent, ds[None], 0.0),)


_first_spike.defvjp(
    lambda z: (_first_spike(differentiated_once(z, "first_spike")), z), _first_spike_backward
)


def _first_time(z: jax.Array) -> jax.Array:
    """The same score; its gradient is what a spike in each step, up to the first, would change."""
    score, steps = lax.stop_gradient(_first_spike(z)), len(z)
    time = jnp.arange(steps, dtype=z.dtype).reshape(-1, *(1,) * (z.ndim - 1))
    earlier = jnp.maximum(jnp.minimum(-score, steps - 1) - time, 0)
    return score + ((z - lax.stop_gradient(z)) * earlier).sum(axis=0)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def with_mean_gradient(values: jax.Array, z: jax.Array, share: float) -> jax.Array:
    """Returns spikes; backward each step is `share` times the values, whose code they are.

    A host that sends the spikes knows their mean, so a chip in the loop can do the same.

    Args:
        values: `[B, K]`.
        z: `[T, B, K]` spikes, without a gradient of their own.
        share: the mean of a step of the value 1.
    """
    return z


@with_mean_gradient.defjvp
def _mean_gradient(share: float, primals: tuple, tangents: tuple) -> tuple:
    values, z = primals
    slope = jnp.broadcast_to(share * tangents[0][None], z.shape)
    return with_mean_gradient(values, z, share), slope


def _within(values: ArrayLike) -> jax.Array:
    """Values as what can be coded: 0..1, NaN as 0."""
    x = jnp.clip(floats(values), 0, 1)
    return jnp.where(jnp.isnan(x), 0, x)


def _coded(values: ArrayLike) -> jax.Array:
    """Values as what can be coded by the time of a spike."""
    return _within(without_gradient(floats(values), "values that are coded by spike times"))


def _one_each(time: jax.Array) -> Events:
    """Events `[B, K]` with one entry for every input."""
    index = lax.broadcasted_iota(jnp.int32, time.shape, time.ndim - 1)
    return Events(time, index)


def scale_input(x: ArrayLike, substrate: Substrate = BSS2) -> jax.Array:
    """Scales a tensor `[...]` by 31 / max x; the factor is detached from the gradient.

    References: hxtorch `nn.scale_input`.
    """
    x = floats(x, "x")
    return x * _factor(substrate.activation_max, x.max(initial=0))


def scale_weight(w: ArrayLike, substrate: Substrate = BSS2) -> jax.Array:
    """Scales a tensor `[...]` by 63 / max |w|; the factor is detached from the gradient.

    References: hxtorch `nn.scale_weight`.
    """
    w = floats(w, "w")
    return w * _factor(substrate.weight_max, jnp.abs(w).max(initial=0))


def _factor(limit: int, largest: jax.Array) -> jax.Array:
    # A tensor of zeros stays one.
    return lax.stop_gradient(jnp.where(largest > 0, limit / jnp.where(largest > 0, largest, 1), 1))


def soft_clamp(w: ArrayLike, cap: float) -> jax.Array:
    """Brings weights within a cap that they approach: sign(w) cap (1 - e^(-|w| / cap)).

    Args:
        w: any shape, software units.
        cap: the largest weight that a synapse holds.
    """
    w = floats(w, "w")
    sign = jnp.where(w < 0, jnp.float32(-1), jnp.float32(1))
    return -sign * cap * jnp.expm1(-sign * w / cap)
