"""Hybrid plasticity: the emulation, what the processors take, and the rules that ship."""

import sys
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import LIF, Sensors, Substrate, population, sample_chip
from bss2jax.chip.sensors import SensorMismatch
from bss2jax.kernels.synapses.correlation import sensors_of
from bss2jax.mapping.processors import check_period, visit
from bss2jax.plastic import (
    STDP,
    Drift,
    Homeostasis,
    NoiseRow,
    Observed,
    Poisson,
    Pong,
    Reward,
    RewardSTDP,
    Rewiring,
    Samples,
    Sequence,
    Stimulus,
    emulate,
    memory_of,
    on_chip,
)
from bss2jax.plastic.emulate import added

KEY = jax.random.key(0)
K, N, T = 6, 5, 40
STEPS = LIF(tau_mem=10e-6, tau_syn=5e-6, reset=-0.25, t_ref=2e-6)
SIGNS = np.array([1, 1, -1, 1])
SMALL = Substrate(rows=4, columns=6)


def still(observed, weights, memory, key):
    return weights, memory


@dataclass(frozen=True)
class Given:
    """A raster, period by period."""

    raster: tuple

    def begin(self, key):
        return jnp.int32(0)

    def send(self, world, key):
        return Stimulus(jnp.asarray(self.raster, jnp.float32)[world])

    def answer(self, world, counts, key):
        return world + 1, None, {}


def test_without_learning_periods_are_one_run_bit_for_bit():
    """Two rows from outside and two neurons: the emulation against `population`."""
    rng = np.random.default_rng(0)
    raster = (rng.random((3, T, 2)) < 0.3).astype(np.float32)
    weights = rng.integers(0, 63, (4, 2)).astype(np.float32)
    signs = SIGNS
    hybrid = on_chip(STEPS, None, signs, 2, unit=1 / 32, period=T, recurrent=True)
    world = Given(tuple(map(tuple, raster.tolist())))
    run = jax.jit(
        lambda state, key: emulate(
            hybrid, still, world, state, key, 3, lambda state, seen: (seen.counts, seen.activity)
        )
    )
    state, (counts, activity) = run(hybrid.begin(weights, (), world.begin(KEY)), KEY)
    w = signs[:, None] * weights / 32
    plain = population(raster.reshape(-1, 1, 2), w[:2], STEPS, recurrent=w[2:]).spikes[:, 0]
    np.testing.assert_array_equal(counts, plain.reshape(3, T, 2).sum(1))
    np.testing.assert_array_equal(activity.reshape(-1), plain.sum(-1))
    assert counts.sum() > 20 and (state.weights == weights).all()


CHIP = sample_chip(jax.random.key(2), substrate=SMALL)
SENSORS = sensors_of(jax.random.key(2), substrate=SMALL)


def array(**settings):
    """A population on a small chip, that learns with noise and sensors."""
    settings = {"period": T, "delay": 4, "unit": 1 / 20, "window": 20} | settings
    sensors = replace(SENSORS, amplitude=8 * SENSORS.amplitude)
    signs = np.where(np.arange(K) < 4, 1, -1)
    return on_chip(STEPS, CHIP, signs, N, sensors=sensors, substrate=SMALL, **settings)


LEARNS = Sequence((STDP(rate=1.0, arithmetic="chip"), Homeostasis(target=2.0, rate=30.0)))
INPUT = Poisson(K, 3e5, T)


def wired():
    return array(wired=jnp.arange(K * N).reshape(K, N) % 7 > 0)


@jax.jit
def learned(state):
    hybrid = wired()
    return emulate(
        hybrid, LEARNS, INPUT, state, KEY, 2, lambda state, seen: (state.weights, seen.counts)
    )


def begun():
    hybrid = wired()
    return hybrid.begin(jnp.full((K, N), 30.0), memory_of(LEARNS, K, N), ())


def test_weights_stay_6_bits_and_a_run_goes_on_bit_for_bit():
    state, (weights, counts) = learned(begun())
    again, (later, _) = learned(state)
    both = np.concatenate([weights, later])
    assert both.min() == 0 and both.max() == 63 and counts.sum() > 0
    np.testing.assert_array_equal(both, np.round(both))
    assert (both[:, np.arange(K * N).reshape(K, N) % 7 == 0] == 0).all()
    assert not np.array_equal(both[0], both[-1])
    # Signs belong to rows: what a spike adds has them.
    shown = array().shown(state.weights, jnp.arange(K))
    assert (shown[:4] >= 0).all() and (shown[4:] <= 0).all() and (shown[4:] < 0).any()
    # What was saved after two periods goes on as four in one.
    saved = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)
    np.testing.assert_array_equal(learned(saved)[1][0], later)
    assert int(again.number) == 4


@pytest.mark.slow  # the usual run is to stay short; compiles by itself
def test_chips_side_by_side_are_each_chip():
    chips = jax.vmap(lambda key: sample_chip(key, substrate=SMALL))(jax.random.split(KEY, 2))

    def run(chip):
        hybrid = on_chip(STEPS, chip, SIGNS, N, substrate=SMALL, period=T, delay=4, unit=1 / 20)
        state = hybrid.begin(jnp.full((4, N), 30.0), memory_of(RULE, 4, N), ())
        return emulate(hybrid, RULE, Poisson(4, 3e5, T), state, KEY, 2)[0].weights

    RULE = Homeostasis(target=5.0)
    both = jax.jit(jax.vmap(run))(chips)
    one = jax.jit(run)
    for i in range(2):
        np.testing.assert_array_equal(both[i], one(jax.tree.map(lambda a, i=i: a[i], chips)))
    assert not np.array_equal(both[0], both[1])


def test_rows_that_spike_add_up_as_all_rows_do():
    rng = np.random.default_rng(1)
    pre = (rng.random((3, 80)) < 0.3).astype(np.float32)  # more than are added at a time
    shown = np.round(32 * rng.normal(0, 20, (80, 4))).astype(np.float32) / 32
    np.testing.assert_array_equal(jax.jit(added)(pre, shown), pre @ shown)


@pytest.mark.slow  # compiles the population of the test above once more
def test_large_arrays_charge_sensors_by_spikes_to_the_same_bits(monkeypatch):
    state = begun()
    expected = learned(state)
    monkeypatch.setattr(sys.modules[emulate.__module__], "_DENSE", 1)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(learned.__wrapped__)(state), expected)


def test_the_processors_take_their_time_and_refuse_what_is_too_short():
    assert visit(256, False) == pytest.approx(475e-6)
    assert visit(100, True) == pytest.approx(2.8e-3)  # the demo allows 2.5 to 7 ms for 100 to 250
    assert check_period(1e-3, 256, False) == pytest.approx(0.475)
    with pytest.raises(ValueError, match="100 rows with correlation take the processors 2800 us"):
        check_period(1e-3, 100, True)
    with pytest.raises(ValueError, match="visit 300 rows, the array has 256"):
        check_period(1.0, 300, True)


def test_weights_are_kept_to_what_the_substrate_holds():
    hybrid = on_chip(STEPS, None, SIGNS, 3, substrate=Substrate(weight_max=31))
    assert (hybrid.kept(jnp.full((4, 3), 63.0)) == 31).all()


def test_what_does_not_fit_is_refused():
    hybrid = on_chip(STEPS, None, SIGNS, 3, period=10, delay=4)
    with pytest.raises(ValueError, match="multiple of the delay"):
        hybrid.begin(jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"weights: expected \(4, 3\)"):
        hybrid.begin(jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="512 circuits"):
        on_chip(STEPS, None, SIGNS, 600)
    with pytest.raises(ValueError, match="expected a function"):
        emulate(hybrid, "stdp", INPUT, None, KEY, 1)
    blind = replace(observed(), causal=None, acausal=None, baseline=None)
    for rule in (STDP(), STDP(arithmetic="chip")):
        with pytest.raises(ValueError, match="the rule needs correlation sensors"):
            rule(blind, jnp.asarray(WEIGHTS), (), KEY)


# --- rules, in floating point and as the processors compute them

CHARGE = np.random.default_rng(2).integers(0, 100, (2, K, N)).astype(np.float32)
WEIGHTS = np.random.default_rng(3).integers(0, 64, (K, N)).astype(np.float32)
COUNTS = np.array([0, 3, 9, 60, 200], np.float32)


def observed(signal=None, charge=CHARGE, number=0):
    baseline = np.full((2, K, N), 200.0, np.float32)
    readings = jnp.asarray(baseline - charge)
    return Observed(
        jnp.arange(K), readings[0], readings[1], jnp.asarray(baseline), jnp.asarray(COUNTS),
        jnp.zeros(N), jnp.ones(K), signal, jnp.int32(number),
    )  # fmt: skip


def apply(rule, weights=WEIGHTS, signal=None, number=0, memory=None):
    memory = memory_of(rule, K, N) if memory is None else memory
    return rule(observed(signal, number=number), jnp.asarray(weights), memory, KEY)


@pytest.mark.parametrize("bounds", ["hard", "soft"])
def test_stdp_of_the_processors_is_that_of_floats_within_a_weight_and_a_half(bounds):
    """Halving correlation, and each product, loses less than one step of half a weight."""
    rule = STDP(rate=0.125, depression=0.5, bounds=bounds)
    ideal, _ = apply(rule)
    ours, _ = apply(replace(rule, arithmetic="chip"))
    up, down = CHARGE * 0.125 * np.array([1.0, 0.5])[:, None, None]
    if bounds == "soft":
        up, down = up * (1 - WEIGHTS / 63), down * WEIGHTS / 63
    np.testing.assert_allclose(ideal, np.clip(WEIGHTS + up - down, 0, 63), atol=1e-4)
    assert np.abs(ours - ideal).max() <= 1.5 + 0.01 * 50  # and a fraction's 127 is not quite 1
    assert (np.asarray(ours) == np.round(ours)).all() and not np.array_equal(ours, WEIGHTS)


def test_rewarded_correlation_grows_by_surprise_and_what_is_expected_follows():
    rule = RewardSTDP(rate=0.01, places=3, expected=1.0)
    signal = Reward(jnp.float32(3.0), jnp.int32(2))
    ideal, memory = apply(rule, signal=signal)
    np.testing.assert_allclose(ideal, np.clip(WEIGHTS + 0.02 * CHARGE[0], 0, 63), atol=1e-4)
    np.testing.assert_array_equal(memory.mean, [1, 1, 2])
    ours, _ = apply(replace(rule, arithmetic="chip"), signal=signal)
    # 2.56 times 2 becomes 5 of 128 for half the correlation: 2 % less, rounded towards 0.
    assert (ours <= ideal + 1e-4).all() and np.abs(ours - ideal).max() <= 1.5 + 0.03 * 2
    worse, _ = apply(rule, signal=Reward(jnp.float32(-1.0), jnp.int32(0)))
    assert (worse <= WEIGHTS).all() and (worse < WEIGHTS).any()
    waiting, memory = apply(replace(rule, waits=1), signal=signal)
    assert (waiting == WEIGHTS).all() and memory.mean[2] == 2


def test_eligibility_keeps_what_correlated_before():
    rule = RewardSTDP(rate=0.01, eligibility=0.5, expected=0.0)
    nothing, reward = Reward(jnp.float32(0.0), jnp.int32(0)), Reward(jnp.float32(1.0), jnp.int32(0))
    for arithmetic, tolerance in (("float", 1e-3), ("chip", 2.0)):
        one = replace(rule, arithmetic=arithmetic)
        weights, memory = apply(one, signal=nothing)
        assert (weights == WEIGHTS).all()
        empty = observed(reward, charge=np.zeros_like(CHARGE))
        weights, _ = one(empty, jnp.asarray(WEIGHTS), memory, KEY)
        expected = np.clip(WEIGHTS + 0.01 * 0.5 * CHARGE[0], 0, 63)
        np.testing.assert_allclose(weights, expected, atol=tolerance)


@pytest.mark.parametrize("follows", ["difference", "sign", "ratio"])
def test_homeostasis_of_both_arithmetics_is_the_same(follows):
    """Whole weights, and a rate that is a fraction of 1/128: the same up to counts of 127."""
    rule = Homeostasis(target=20.0, rate=0.46875, follows=follows, first=1)
    rule = replace(rule, rate=1.0) if follows == "sign" else rule
    ideal, _ = apply(rule)
    ours, _ = apply(replace(rule, arithmetic="chip"))
    missing = 20 - COUNTS
    step = {
        "difference": np.floor(0.46875 * missing),
        "sign": np.sign(missing),
        "ratio": np.trunc(missing / 20),
    }[follows]
    np.testing.assert_array_equal(ideal[1:], np.clip(WEIGHTS + step, 0, 63)[1:])
    np.testing.assert_array_equal(ideal[0], WEIGHTS[0])
    heard = COUNTS <= 127 if follows == "difference" else slice(None)
    np.testing.assert_array_equal(np.asarray(ours)[:, heard], np.asarray(ideal)[:, heard])


def test_homeostasis_adds_up_periods_and_takes_its_share_of_synapses():
    rule = Homeostasis(target=100.0, follows="sign", every=2)
    weights, memory = apply(rule)
    assert (weights == WEIGHTS).all() and (memory == COUNTS).all()
    weights, memory = apply(rule, number=1, memory=memory)
    expected = np.clip(WEIGHTS + np.sign(100 - 2 * COUNTS), 0, 63)
    np.testing.assert_array_equal(weights, expected)
    assert (memory == 0).all()
    big = jnp.full((400, N), 30.0)
    for arithmetic in ("float", "chip"):
        some = Homeostasis(target=100.0, chance=0.25, arithmetic=arithmetic)
        moved = np.asarray(some(observed(), big, memory_of(some, 400, N), KEY)[0] != big)
        # 2000 draws: three standard errors.
        assert moved.mean() == pytest.approx(0.25, abs=3 * np.sqrt(0.25 * 0.75 / 2000))


def test_drift_of_whole_weights_is_that_of_floats_on_average():
    rule = Drift(towards=10.0, share=0.0625)
    many = np.full((4000, 1), 37.0, np.float32)
    ideal = rule(observed(), jnp.asarray(many), (), KEY)[0]
    assert np.allclose(ideal, 37 - 27 / 16)
    ours = np.asarray(replace(rule, arithmetic="chip")(observed(), jnp.asarray(many), (), KEY)[0])
    up = 27 / 16 % 1
    assert set(np.unique(ours)) == {35.0, 36.0}
    assert ours.mean() == pytest.approx(37 - 27 / 16, abs=3 * np.sqrt(up * (1 - up) / 4000))


@pytest.mark.slow  # the usual run is to stay short; compiles by itself
def test_rewiring_keeps_the_fan_in_and_moves_weak_synapses_alone():
    rule = Rewiring(sources=3, threshold=5.0, initial=8.0)
    for arithmetic in ("float", "chip"):
        one = replace(rule, arithmetic=arithmetic)
        weights, address = one.initially(K, N), one.memory(K, N)
        assert ((weights > 0).reshape(2, 3, N).sum(1) == 1).all()
        weak = jnp.where(jnp.arange(N) < 3, 2.0, 30.0) * (weights > 0)
        moved, after = one(observed(), weak, address, KEY)
        assert ((moved > 0).reshape(2, 3, N).sum(1) == 1).all()
        np.testing.assert_array_equal(moved[:, 3:], weak[:, 3:])
        np.testing.assert_array_equal(after[:, 3:], address[:, 3:])
        assert (moved[:, :3].max(0) == 8).all() and (after[:, :3] != address[:, :3]).any()
    with pytest.raises(ValueError, match="no multiple of 3 sources"):
        rule.memory(7, N)


@pytest.mark.slow  # the usual run is to stay short; compiles by itself
def test_noise_rows_are_drawn_anew_and_excite_some():
    rule = NoiseRow(row=2, start=20.0, end=4.0, periods=10)
    wide = jnp.zeros((K, 4000))
    first = rule(observed(), wide, (), KEY)[0]
    # A normal number above .375 standard deviations: 35.4 %; three standard errors.
    share = (np.asarray(first[2]) > 0).mean()
    assert share == pytest.approx(0.354, abs=3 * np.sqrt(0.354 * 0.646 / 4000) + 0.02)
    late = rule(observed(number=10), wide, (), KEY)[0]
    assert late[2].max() < first[2].max() and (np.asarray(first)[[0, 1, 3]] == 0).all()


# --- environments


def test_pong_drives_rows_around_the_ball_and_rewards_by_distance():
    game = Pong(20, steps=60, interval=6, beside=(1.0, 0.5), noise=5, rewards=(2.0, 1.0))
    sent = game.send(jnp.int32(0), KEY)
    np.testing.assert_array_equal(sent.rows, [19, 0, 1, 20])
    np.testing.assert_array_equal(sent.raster.sum(0), [0, 10, 5, 12])
    counts = jnp.zeros(20).at[4].set(50.0).at[5].set(30.0).at[9].set(10.0)
    world, signal, score = game.answer(jnp.int32(4), counts, KEY)
    assert float(signal.value) == pytest.approx((2 * 50 + 30 - 10) / 100)
    assert int(world) == 5 and int(signal.place) == 4 and score["success"] == 1
    assert game.answer(jnp.int32(12), counts, KEY)[2]["success"] == 0
    assert int(game.answer(jnp.int32(19), counts, KEY)[0]) == 0


@pytest.mark.slow  # the usual run is to stay short; compiles by itself
def test_poisson_sources_have_their_rate_and_samples_come_in_turn():
    raster = Poisson(50, 2e4, 4000).send((), KEY).raster
    expected = 1 - np.exp(-0.02)
    error = np.sqrt(expected / raster.size)
    assert float(raster.mean()) == pytest.approx(expected, abs=3 * error)
    samples = Samples(jnp.ones((2, 3, 4)), jnp.array([1, 0]), 2)
    assert samples.send(jnp.int32(1), KEY).raster.shape == (3, 4)
    world, signal, score = samples.answer(jnp.int32(1), jnp.array([3.0, 1.0, 9.0]), KEY)
    assert int(world) == 0 and score["success"] == 1 and float(signal.value) == 0.75


def test_sensors_of_a_chip_have_baselines_of_their_own():
    mismatch = replace(SensorMismatch.none(), baseline=3.0)
    sensors = sensors_of(KEY, mismatch)
    assert (sensors.amplitude == 0.5).all() and sensors.baseline.shape == (2, 256, 512)
    # 262144 draws: three standard errors of a standard deviation are .4 %.
    assert float(sensors.baseline.std()) == pytest.approx(3.0, rel=0.005)
    empty = sensors.rest(256, 512)
    np.testing.assert_array_equal(sensors.read(empty), jnp.floor(sensors.baseline))
    assert Sensors().read(Sensors().rest(2, 2)).shape == (2, 2, 2)
