"""Spikes come when the codes' formulas say; decoders and scales do what they are called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_spiking as twin

from bss2jax.kernels.coding import (
    constant_current,
    delta,
    first_spike,
    latency,
    log_latency,
    max_over_time,
    poisson,
    regular,
    scale_input,
    scale_weight,
    soft_clamp,
    spike_time,
)
from bss2jax.kernels.synapses.events import sort_each, to_raster
from bss2jax.networks import (
    LastStep,
    Latency,
    MaxOverTime,
    MeanOverTime,
    Rate,
    SpikeTime,
    SumOverTime,
    Values,
)
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import How

STEPS = 30


def code(values, layer):
    """What a code makes of values `[B, K]`."""
    before = Values(values.shape[1:])
    how = How(None, None, 0, "float", False, (before,), layer.shape(before))
    return layer.apply({}, {}, values, how=how)[0]


PIXELS = jnp.arange(256, dtype=jnp.float32).reshape(2, 128) / 255


def test_latency_is_the_time_left_and_black_is_silent():
    events = latency(PIXELS, STEPS)
    np.testing.assert_array_equal(events.time, STEPS - np.rint(STEPS * np.asarray(PIXELS)))
    np.testing.assert_array_equal(events.index, np.tile(np.arange(128), (2, 1)))
    raster = to_raster(events, STEPS, 128)
    assert raster[:, 0, 0].sum() == 0 and raster[0, 1, 127] == 1
    spiking = np.rint(STEPS * np.asarray(PIXELS)) > 0
    np.testing.assert_array_equal(raster.sum(0), spiking)


def test_log_latency_is_when_a_neuron_of_that_input_reaches_theta():
    tau, theta, dt = 8e-6, 0.2, 1e-6
    events = log_latency(PIXELS, STEPS, dt, tau, theta)
    x = np.float64(PIXELS)
    with np.errstate(all="ignore"):
        t = tau * np.log(x / (x - theta)) / dt
    for value, steps, got in zip(x.flat, t.flat, np.asarray(events.time).flat):
        if value <= theta:
            assert got >= STEPS
        elif abs(steps % 1 - 0.5) > 1e-3:  # float32 decides which way a tie is rounded
            assert got == min(round(steps), STEPS)
    # The membrane of that neuron, x (1 - e^(-t / tau)), is theta then.
    above = x > theta
    assert x[above] * (1 - np.exp(-t[above] * dt / tau)) == pytest.approx(theta)
    assert (np.asarray(events.time)[~above] >= STEPS).all()
    nothing = log_latency(jnp.full((1, 1), theta), STEPS, dt, tau, theta)
    assert nothing.time[0, 0] >= STEPS


def test_spike_time_runs_from_early_to_late():
    values = jnp.array([[0.0, 0.25, 0.5, 1.0]])
    np.testing.assert_array_equal(spike_time(values, 1e-6, 2e-6, 26e-6).time, [[2, 8, 14, 26]])


def test_time_coding_adds_one_bias_input():
    values = jnp.array([[0.0, 1.0], [0.5, 0.25]])
    coded = code(values, SpikeTime(steps=38, bias=4e-6))
    np.testing.assert_array_equal(coded.code.time(coded.values), [[2, 26, 4], [14, 8, 4]])


def test_rate_coding_needs_a_key():
    with pytest.raises(ValueError, match="key"):
        code(PIXELS, Rate())


def test_poisson_spikes_are_as_likely_as_the_values_say():
    steps, batch = 200, 100
    p = jnp.array([0.0, 0.05, 0.3, 0.9, 1.0])
    z = poisson(jnp.broadcast_to(p, (batch, 5)), jax.random.key(0), steps)
    assert z.shape == (steps, batch, 5) and set(np.unique(z)) == {0.0, 1.0}
    bound = 5 * np.sqrt(p * (1 - p) / (steps * batch))  # 5 standard deviations of a mean
    assert (np.abs(z.mean((0, 1)) - p) <= bound).all()
    # Steps are independent: so are products of neighbours, whose mean is p^2.
    pairs = (z[1:] * z[:-1]).mean((0, 1))
    # Neighbouring products share a step: at most three times the variance of independent ones.
    bound = 5 * np.sqrt(3 * p**2 * (1 - p**2) / ((steps - 1) * batch))
    assert (np.abs(pairs - p**2) <= bound + 1e-6).all()


@pytest.mark.parametrize("spikes", (1, 4, 30))
def test_regular_spikes_are_in_proportion_and_evenly_spread(spikes):
    values = jnp.linspace(0, 1, 41)[None]
    z = np.asarray(regular(values, STEPS, spikes))
    counts = z.sum(0)[0]
    # The last spike may round to either side of the end.
    assert (np.abs(counts - spikes * values[0]) < 1 + 1e-4).all() and counts[0] == 0
    assert counts[-1] == spikes
    distances = np.diff(np.flatnonzero(z[:, 0, -1]))
    assert len(distances) == spikes - 1 and (np.abs(distances - STEPS / spikes) < 1).all()


@pytest.mark.parametrize("steps", (5, 10, 20))
def test_delta_spikes_say_by_how_much_a_signal_moved(steps):
    """Whole eighths and a threshold of a quarter: float32 and float64 agree on every tie."""
    walk = np.random.default_rng(3).integers(-2, 3, (4, 20, 3)).cumsum(axis=1) / 8
    z = np.asarray(delta(jnp.float32(walk), steps, 0.25))
    assert z.sum() > 20
    np.testing.assert_array_equal(z, twin.delta(walk, steps, 0.25))
    # No channel rises and falls at once.
    assert (z[..., :3] * z[..., 3:]).sum() == 0


def test_a_receiver_of_delta_spikes_follows_slow_signals_to_within_theta():
    time = np.arange(40) / 40
    signals = np.stack([np.sin(2 * np.pi * time), 0.6 * np.cos(6 * time) - 0.6], axis=-1)
    z = np.asarray(delta(jnp.float32(signals[None]), 40, 0.2), np.float64)[:, 0]
    assert np.abs(np.diff(signals, axis=0)).max() < 0.2  # slow: at most theta a step
    followed = 0.2 * np.cumsum(z[:, :2] - z[:, 2:], axis=0)
    assert np.abs(followed - signals).max() < 0.2 + 1e-6


def test_a_signal_at_rest_is_silent_once_it_is_reached():
    constant = jnp.broadcast_to(jnp.array([0.0, 0.24, 0.5, -0.75]), (2, 12, 4))
    z = np.asarray(delta(constant, 12, 0.25))
    np.testing.assert_array_equal(z.sum(0), [[0, 0, 2, 0, 0, 0, 0, 3]] * 2)
    assert z[3:].sum() == 0


def test_delta_coding_takes_signals_with_samples_for_every_step():
    for signals in (jnp.zeros((2, 12)), jnp.zeros((2, 10, 3)), jnp.zeros((2, 12, 1, 1))):
        with pytest.raises(ValueError, match=r"delta coding takes signals \[B, L, C\].*4 steps"):
            delta(signals, 4, 0.1)


def test_the_raster_of_one_spike_an_input_is_that_of_its_events():
    coded, inputs = code(PIXELS / 255, Latency(steps=STEPS)), PIXELS.shape[1]
    raster, events = raster_of(coded), sort_each(coded.code.time(coded.values), STEPS)
    np.testing.assert_array_equal(events.drive(jnp.eye(inputs)), raster)
    dy = jnp.asarray(np.random.default_rng(0).integers(-9, 10, (*raster.shape[:2], 3)), jnp.float32)
    _, slope = events.gradient(jnp.zeros((inputs, 3)), dy)
    np.testing.assert_array_equal(slope, np.einsum("tbk,tbn->kn", raster, dy))


def test_a_soft_clamp_is_straight_near_zero_and_stays_below_its_cap():
    w = jnp.array([-50.0, -1e-4, 0.0, 1e-4, 0.5, 50.0])
    np.testing.assert_allclose(
        soft_clamp(w, 1.05), np.sign(w) * 1.05 * (1 - np.exp(-np.abs(w) / 1.05)), atol=1e-7
    )
    gradient = jax.grad(lambda w: soft_clamp(w, 1.05).sum())(w)
    # float32 knows 1 - e^-x no better than to 6e-8.
    np.testing.assert_allclose(gradient, np.exp(-np.abs(w) / 1.05), rtol=1e-5, atol=1e-7)


def test_a_constant_current_stays():
    current = constant_current(PIXELS, 3)
    assert current.shape == (3, 2, 128) and (current == PIXELS).all()


def test_first_spike_scores_the_earliest_highest():
    z = jnp.zeros((5, 1, 3)).at[jnp.array([1, 3]), 0, 0].set(1.0).at[4, 0, 1].set(1.0)
    np.testing.assert_array_equal(first_spike(z), [[-1, -4, -5]])
    gradient = jax.grad(lambda z: (first_spike(z) * jnp.array([2.0, 3.0, 5.0])).sum())(z)
    expected = np.zeros(z.shape)
    expected[1, 0, 0], expected[4, 0, 1], expected[:, 0, 2] = 2, 3, 5  # the silent one: all steps
    np.testing.assert_array_equal(gradient, expected)


def test_decoders_reduce_time():
    v = np.random.default_rng(15).normal(size=(7, 2, 3)).astype(np.float32)
    for decoder, expected in (
        (MaxOverTime(), v.max(0)),
        (MeanOverTime(), v.mean(0)),
        (SumOverTime(), v.sum(0)),
        (LastStep(), v[-1]),
    ):
        np.testing.assert_allclose(decoder.decode(jnp.asarray(v)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(max_over_time(jnp.asarray(v)), v.max(0))


@pytest.mark.parametrize(("scale", "limit"), [(scale_input, 31), (scale_weight, 63)])
def test_scaling_fills_the_range_with_a_detached_factor(scale, limit):
    x = jnp.array([0.5, 0.2, 0.1])
    np.testing.assert_allclose(scale(x), limit * x / 0.5, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: scale(x).sum())(x), limit / 0.5, rtol=1e-6)
    assert (scale(jnp.zeros(3)) == 0).all()
