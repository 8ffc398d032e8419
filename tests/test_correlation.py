"""Correlation sensors: the rule, NEST's numbers, theory, calibration's protocol, the readout."""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax.kernels.synapses.correlation import SensorMismatch, Sensors, sensors_of

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from nest_correlation import TAU, trains

run = jax.jit(lambda sensors, pre, post: sensors.run(pre, post))


def one(pre, post, tau=5.0, steps=16, amplitude=1.0):
    """The charges of one synapse, of spikes in these steps of 1 us."""
    spikes = [np.isin(np.arange(steps), times)[:, None].astype(np.float32) for times in (pre, post)]
    state = run(Sensors(amplitude, tau * 1e-6), *spikes)
    return float(state.causal[0, 0]), float(state.acausal[0, 0])


def test_worked_example():
    causal, acausal = one([0, 3, 10], [1, 5, 6, 12])
    e = lambda *times: sum(np.exp(-t / 5) for t in times)  # noqa: E731
    assert causal == pytest.approx(e(1, 2, 2), abs=1e-6)
    assert acausal == pytest.approx(e(2, 4), abs=1e-6)
    assert causal == pytest.approx(2.15937, abs=5.1e-6)
    assert acausal == pytest.approx(1.11965, abs=5.1e-6)


def test_a_thousand_random_trains_are_nests():
    stored = np.load(Path(__file__).parent / "nest_correlation.npz")
    pre, post = (raster[:, :, None].astype(np.float32) for raster in trains())
    state = run(Sensors(1.0, TAU * 1e-6), pre, post)  # a batch of pairs
    for name, ours in (("causal", state.causal), ("acausal", state.acausal)):
        assert len(stored[name]) == 1000 and stored[name].max() > 3
        np.testing.assert_allclose(ours[:, 0, 0], stored[name], rtol=1e-6, atol=1e-9)


@pytest.mark.slow  # statistics of many trains
def test_of_independent_trains_the_expectation_is_the_formulas():
    """10 and 8 Hz, 20 ms, in ms of the model: 20,000 s, of 5,000 synapses side by side."""
    rate, other, tau, seconds = 10.0, 8.0, 20e-3, 4.0
    keys = jax.random.split(jax.random.key(0))
    dt = 1e-4  # so short that two of a step, which are no pair, do not matter

    @jax.jit
    def charge(keys):
        sensors = Sensors(1.0, tau, swing=jnp.inf, dt=dt)

        def step(state, t):
            pre, post = (
                (jax.random.uniform(jax.random.fold_in(key, t), (5000, 1)) < r * dt) * 1.0
                for key, r in zip(keys, (rate, other), strict=True)
            )
            return sensors.step(state, pre, post), None

        return jax.lax.scan(step, sensors.rest(1, 1, (5000,)), jnp.arange(round(seconds / dt)))[0]

    state = charge(keys)
    for c, (mu, nu) in ((state.causal, (rate, other)), (state.acausal, (other, rate))):
        expected = mu * nu / (mu + nu + 1 / tau)
        assert expected == pytest.approx(1.1765, abs=1e-4)
        assert float(c.sum()) / (5000 * seconds) == pytest.approx(expected, rel=0.015)


def test_calibrated_sensors_show_their_amplitude_and_time_constant():
    """The protocol of calix: 100 pairs at each distance, far apart; then the fit of its curve."""
    distances = np.array([1, 2, 4, 6, 10, 20, 50])  # of .5 us
    pairs, apart = 100, 400  # 200 us, forty time constants
    sensors = Sensors(dt=5e-7)
    slots = np.arange(pairs * apart) % apart
    pre = np.repeat((slots == 0)[:, None], len(distances), 1).astype(np.float32)
    post = (slots[:, None] == distances).astype(np.float32)
    for spikes, branch in (((pre, post), "causal"), ((post, pre), "acausal")):
        x, y = (s[:, :, None] for s in spikes)  # a batch of distances
        state = run(sensors, x, y)
        c = np.asarray(getattr(state, branch)[:, 0, 0])
        slope, log = np.polyfit(distances[:6] * 0.5, np.log(c[:6] / pairs), 1)
        assert -1 / slope == pytest.approx(5.0, rel=0.02)
        assert np.exp(log) == pytest.approx(0.5, rel=0.02)
        assert np.exp(log) * pairs == pytest.approx(50, rel=0.02)
        # What the CADC shows of it: 8 bits, truncated.
        seen = sensors.correlation(sensors.read(state)[int(branch == "acausal")])
        np.testing.assert_allclose(seen[:, 0, 0], c, atol=0.5)


@pytest.mark.parametrize("preset", ("calibrated", "uncalibrated"))
def test_drawn_sensors_are_within_the_bounds_of_silicon(preset):
    """Of calix: 80 % tell causal from acausal, and 1 from 5 us; percentiles within a factor 2."""
    sensors = sensors_of(jax.random.key(3), getattr(SensorMismatch, preset)())
    tau, amplitude = np.asarray(sensors.tau), np.asarray(sensors.amplitude)
    assert tau.shape == amplitude.shape == (2, 256, 512)
    near, far = (30 * amplitude * np.exp(-t / tau) for t in (1e-6, 5e-6))
    for branch in range(2):
        assert (near[branch] > far[branch]).mean() >= 0.8
        # The other branch of pairs 1 us apart sees the next pair, 500 us later: nothing.
        other = 30 * amplitude[1 - branch] * np.exp(-499e-6 / tau[1 - branch])
        assert (near[branch] > other).mean() >= 0.8
        if preset == "calibrated":
            for quantity, target in ((tau[branch], 5e-6), (amplitude[branch], 0.5)):
                at = np.percentile(quantity, (30, 50, 70))
                assert (at > target / 2).all() and (at < target * 2).all()
    sigma = {"calibrated": (0.25, 0.175), "uncalibrated": (0.5, 0.35)}[preset]
    for quantity, expected in zip((amplitude, tau), sigma, strict=True):
        # 262144 draws: three standard errors of a standard deviation are .4 %.
        assert np.log(quantity).std() == pytest.approx(expected, rel=0.005)


def test_a_capacitor_saturates_and_a_reading_never_wraps():
    sensors = Sensors(amplitude=40.0, baseline=130.0, swing=160.0)
    pre = (np.arange(80) % 4 == 0)[:, None].astype(np.float32)
    post = (np.arange(80) % 4 == 1)[:, None].astype(np.float32)
    state, codes = sensors.rest(1, 1), []
    for _ in range(3):
        state = run_on(sensors, pre, post, state)
        codes.append(np.asarray(sensors.read(state, jax.random.key(0))))
    assert state.causal == 160 and (np.stack(codes)[:, 0] == 0).all()
    assert np.stack(codes)[:, 1].max() < 130 and np.stack(codes).min() >= 0
    left = state.reset(causal=True)
    assert left.causal == 0 and left.acausal == state.acausal > 0
    assert state.reset(acausal=True).causal == 160
    assert (sensors.read(left)[0] == 130).all()


run_on = jax.jit(lambda sensors, pre, post, state: sensors.run(pre, post, state))


def test_spikes_of_one_step_are_no_pair_and_none_is_used_twice():
    assert one([4], [4]) == (0, 0)
    assert one([4], [4, 7])[0] == 0  # it was not after the neuron's spike
    assert one([2, 4], [4])[0] == pytest.approx(np.exp(-2 / 5), rel=1e-6)
    assert one([2, 3], [6])[0] == pytest.approx(np.exp(-3 / 5), rel=1e-6)  # the latest alone
    assert one([2], [6, 8])[0] == pytest.approx(np.exp(-4 / 5), rel=1e-6)


def test_a_reading_falls_has_8_bits_and_noise_and_gives_the_correlation_back():
    sensors = Sensors(noise=1.5)
    charge = jnp.linspace(0, 190, 128 * 64).reshape(128, 64)
    state = sensors.rest(128, 64)
    state = type(state)(state.pre, state.post, charge, charge[::-1])
    still = sensors.read(state)
    assert (np.diff(still[0].reshape(-1)) <= 0).all() and still.shape == (2, 128, 64)
    np.testing.assert_array_equal(still, np.floor(still))
    assert still.min() >= 0 and still.max() <= 255
    assert np.abs(sensors.correlation(still)[0] - charge).max() <= 1
    noisy = sensors.read(state, jax.random.key(1))
    # 8192 draws; truncation adds 1/12.
    assert float((noisy - still)[0].std()) == pytest.approx(np.sqrt(1.5**2 + 2 / 12), rel=0.05)


def test_sequences_continue_and_shapes_are_checked():
    rng = np.random.default_rng(1)
    pre, post = ((rng.random((40, 2, n)) < 0.2).astype(np.float32) for n in (5, 7))
    sensors = Sensors(amplitude=jnp.full((2, 5, 7), 0.3), tau=jnp.full((5, 7), 4e-6))
    whole = run(sensors, pre, post)
    half = run_on(sensors, pre[20:], post[20:], run(sensors, pre[:20], post[:20]))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, whole, half)))
    # A line of synapses for each spike charges as all of them in each step do.
    few = jax.jit(lambda sensors, *given: sensors.run_sparse(*given))
    first = run(replace(sensors, swing=1.0), pre[:20, 0], post[:20, 0])
    for swing in (1.0, jnp.full((5, 7), 255.0)):
        these = replace(sensors, swing=swing)
        dense, sparse = (each(these, pre[20:, 0], post[20:, 0], first) for each in (run_on, few))
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, dense, sparse)))
    with pytest.raises(ValueError, match="same steps"):
        sensors.run(pre, post[:3])
    with pytest.raises(ValueError, match="seconds > 0"):
        Sensors(dt=0.0)
    gradient = jax.grad(lambda s: run(s, pre, post).causal.sum())(sensors)
    assert jnp.isfinite(gradient.tau).all() and (gradient.amplitude[0] > 0).any()
