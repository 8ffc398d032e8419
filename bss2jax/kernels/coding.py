"""Values of the world into activations and spike times, traces into scores, tensors into range.

References: hxtorch `nn` (scaling, the CADC's maximum over time); brainscales2-demos ts_13 (latency,
soft clamp); Cramer et al. 2022 (logarithmic latency); Kriener et al. 2022, arXiv 2102.08211 (spike
times). Regular and Poisson trains and constant currents are the field's usual codes.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.synapses.events import Events


def encode_activations(
    values: jax.Array,
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
    return _less(values, offset) * factor.astype(np.float32)


def normalise(
    values: jax.Array,
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
    return _less(values, offset) / np.asarray(full_scale, np.float32)


def _less(values, offset):
    values = jnp.asarray(values, jnp.float32)
    return values - np.asarray(offset, np.float32) if np.any(offset) else values


def split_signs(x: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Writes signed values as two unsigned ones, positive parts first, cut at 31.

    Args:
        x: `[..., C]`, in units of activations.
        substrate: the substrate whose activation range cuts.

    Returns:
        `[..., 2 C]`, 0..31.
    """
    return jnp.clip(jnp.concatenate([x, -x], axis=-1), 0, substrate.activation_max)


def latency(values: jax.Array, steps: int) -> Events:
    """Codes each value by one spike at step T - round(T x), and by none where that is T.

    Args:
        values: `[B, K]`, 0..1.
        steps: T.

    References: brainscales2-demos ts_13.
    """
    return _one_each(steps - jnp.round(steps * values).astype(jnp.int32))


def log_latency(values: jax.Array, steps: int, dt: float, tau: float, theta: float) -> Events:
    """Codes each value by one spike at t = tau ln(x / (x - theta)); none at or below theta.

    It is the time at which a neuron of time constant tau with input x reaches theta.

    Args:
        values: `[B, K]`, 0..1.
        steps: T; later spikes are dropped.
        dt, tau: s.
        theta: the least value that spikes.

    References: Cramer et al. 2022.
    """
    above = values > theta
    x = jnp.where(above, values, 1.0 + theta)
    step = jnp.round(tau / dt * jnp.log(x / (x - theta)))
    return _one_each(jnp.where(above, jnp.minimum(step, steps), steps).astype(jnp.int32))


def spike_time(values: jax.Array, dt: float, early: float, late: float) -> Events:
    """Codes each value by one spike at early + x (late - early), rounded to steps.

    Args:
        values: `[B, K]`, 0..1.
        dt, early, late: s.
    """
    return _one_each(jnp.round((early + values * (late - early)) / dt).astype(jnp.int32))


def regular(values: jax.Array, steps: int, spikes: float) -> jax.Array:
    """Codes each value by up to `spikes` spikes at even distances: a raster `[T, B, K]`.

    Step t spikes where (t + 1) r passes a whole number that t r does not, r = x spikes / T.

    Args:
        values: `[B, K]`, 0..1.
        steps: T.
        spikes: the number of spikes of the value 1, at most T.
    """
    rate = values * (spikes / steps)
    time = jnp.arange(steps, dtype=jnp.float32)[:, None, None]
    return (jnp.floor((time + 1) * rate) > jnp.floor(time * rate)).astype(jnp.float32)


def poisson(values: jax.Array, key: jax.Array, steps: int) -> jax.Array:
    """Codes each value as the chance of a spike in a step: a raster `[T, B, K]` of 0.0 and 1.0.

    Args:
        values: `[B, K]`, 0..1.
        key: the random key of the draws.
        steps: T.
    """
    draw = jax.random.uniform(key, (steps, *values.shape))
    return (draw < values).astype(jnp.float32)


def delta(signals: jax.Array, steps: int, theta: float) -> jax.Array:
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

    References: M. Miskowicz, Send-On-Delta Concept, Sensors 6 (2006) 49.
    """
    if signals.ndim != 3 or signals.shape[1] % steps:
        raise ValueError(
            f"delta coding takes signals [B, L, C] of L samples, a multiple of {steps} steps; "
            f"got {signals.shape}"
        )

    def step(level, at):
        # In whole thetas: sums of them would drift.
        change = (at >= (level + 1) * theta).astype(at.dtype) - (at <= (level - 1) * theta)
        return level + change, change

    seen = signals[:, :: signals.shape[1] // steps].swapaxes(0, 1)
    _, change = lax.scan(step, jnp.zeros(seen.shape[1:], seen.dtype), seen)
    return jnp.maximum(jnp.concatenate([change, -change], axis=-1), 0)


def constant_current(values: jax.Array, steps: int) -> jax.Array:
    """Codes each value `[B, K]` as a current that stays, `[T, B, K]`, in the values' unit."""
    return jnp.broadcast_to(values, (steps, *values.shape))


def max_over_time(v: jax.Array) -> jax.Array:
    """Returns the largest membrane of a trace `[T, B, N]`: scores `[B, N]`."""
    return v.max(axis=0)


def spike_count(z: jax.Array) -> jax.Array:
    """Returns how often each neuron of `[T, B, N]` spikes: scores `[B, N]`."""
    return z.sum(axis=0)


@jax.custom_vjp
def first_spike(z: jax.Array) -> jax.Array:
    """Returns minus the step of each neuron's first spike in `[T, B, N]`, -T where there is none.

    As scores the earliest wins. Backward a stronger spike is taken for an earlier one: the gradient
    goes to the step of the first spike. That of a silent neuron goes to all its steps, where the
    surrogate picks those near the threshold.

    References: snnTorch's temporal losses do alike.
    """
    steps = len(z)
    step = jnp.where(z > 0, jnp.arange(steps)[:, None, None], steps)
    return -step.min(axis=0).astype(jnp.float32)


def _first_spike_backward(z, ds):
    first = (jnp.cumsum(z, axis=0) == 1) & (z > 0)
    silent = z.sum(axis=0) == 0
    return (jnp.where(first | silent, ds, 0.0),)


first_spike.defvjp(lambda z: (first_spike(z), z), _first_spike_backward)


def _one_each(time):
    """Events `[B, K]` with one entry for every input."""
    index = lax.broadcasted_iota(jnp.int32, time.shape, time.ndim - 1)
    return Events(time, index)


def scale_input(x: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Scales a tensor `[...]` by 31 / max x; the factor is detached from the gradient.

    References: hxtorch `nn.scale_input`.
    """
    return x * _factor(substrate.activation_max, x.max())


def scale_weight(w: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Scales a tensor `[...]` by 63 / max |w|; the factor is detached from the gradient.

    References: hxtorch `nn.scale_weight`.
    """
    return w * _factor(substrate.weight_max, jnp.abs(w).max())


def _factor(limit, largest):
    # A tensor of zeros stays one.
    return lax.stop_gradient(jnp.where(largest > 0, limit / jnp.where(largest > 0, largest, 1), 1))


def soft_clamp(w: jax.Array, cap: float) -> jax.Array:
    """Brings weights within a cap that they approach: sign(w) cap (1 - e^(-|w| / cap)).

    Args:
        w: any shape, software units.
        cap: the largest weight that a synapse holds.
    """
    sign = jnp.where(w < 0, -1.0, 1.0)
    return -sign * cap * jnp.expm1(-sign * w / cap)
