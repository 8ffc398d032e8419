"""Populations cut into runs are the whole; on a chip they are its neurons, backward the model's.

Weights are scaled by 64 LSB where spikes are compared exactly: codes / 64 are dyadic, so that sums
of them are exact in float32, in any order.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_spiking as twin

from bss2jax import (
    BSS2,
    LI,
    LIF,
    Autodiff,
    Codes,
    Events,
    Lazy,
    LIParams,
    Mismatch,
    Surrogate,
    Windows,
    cadc_trace,
    li,
    on_chip,
    population,
    sample_chip,
)
from bss2jax.execute.circuits import gather_place
from bss2jax.execute.recording import jitter_spikes
from bss2jax.kernels.gradients.surrogate import SuperSpike
from bss2jax.kernels.synapses.base import product
from bss2jax.kernels.synapses.codes import Weights, rounded
from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.fields import Fields
from bss2jax.kernels.synapses.recurrent import Recurrent
from bss2jax.mapping.populations import Population

SMALL = replace(BSS2, rows=4, columns=4)  # 8 circuits of 4 inputs
LARGE = replace(SMALL, columns=64)  # room for everything at once
T, B, K, N = 20, 3, 10, 7
# 4 circuits a neuron: 2 neurons a configuration, 4 configurations, the last one half empty.
CUT = Population(K, N, substrate=SMALL)
SLOPE = SuperSpike(alpha=5.0)
CODES = Codes(64.0)


def run(spikes, w, chip=None, key=None, place=CUT, neuron=LIF(), codes=CODES, **settings):
    """The spikes of a population, on a chip at a place of it where one is given."""
    circuits = None if chip is None else gather_place(chip, place, w.shape[-2])
    return population(
        spikes, w, neuron, circuits, key, codes=codes, gradient=Surrogate(SLOPE), **settings
    ).spikes


def drawn():
    """A raster, weights that make neurons spike, and a gradient with respect to spikes."""
    rng = np.random.default_rng(20)
    spikes = jnp.float32(rng.random((T, B, K)) < 0.3)
    w = jnp.float32(rng.normal(0.15, 0.4, (K, N)))
    return spikes, w, jnp.float32(rng.normal(size=(T, B, N)))


def small_chip(**spreads):
    """A small chip with the default spreads, but for those given."""
    return sample_chip(jax.random.key(21), replace(Mismatch(), **spreads), substrate=SMALL)


def close(a, b, rtol=1e-5):
    """Gradients are sums: their error is relative to them all."""
    assert np.linalg.norm(b) > 1e-2
    assert np.linalg.norm(np.asarray(a) - np.asarray(b)) < rtol * np.linalg.norm(b)


def both(function, *args):
    """What a function gives and its gradients, compiled together; the gradient of it is drawn."""

    @jax.jit
    def outcome(*args):
        y, back = jax.vjp(function, *args)
        dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return y, back(dy)

    return outcome(*args)


def nominal_gradient(nominal, actual, drive, dz, recurrent=None):
    """Spikes of a neuron in the loop, and the gradients of what drives it."""
    z, pull = jax.vjp(
        lambda x, r: actual.sequence(nominal, x, r, surrogate=SLOPE).spikes, drive, recurrent
    )
    return z, *pull(dz)


# --- codes and gradients


def test_the_spikes_are_the_twins_with_quantised_weights():
    spikes, w, _ = drawn()
    w = w.at[0].set(2.0).at[1].set(-2.0)  # beyond the largest code
    effective = twin.codes(w, 64) / 64
    assert np.abs(effective).max() == 63 / 64
    nominal = {"tau_mem": 6e-6, "tau_syn": 5.7e-6, "leak": 0.0, "reset": 0.0, "threshold": 1.0}
    for integrator, refractory in (("exponential", 0), ("euler", 2)):
        current = np.asarray(spikes, np.float64) @ effective
        v, z = twin.lif(nominal, current, refractory=refractory, integrator=integrator)
        assert np.abs(v - 1).min() > 1e-5 and z.sum() > 20
        neuron = LIF(t_ref=refractory * 1e-6, integrator=integrator)
        np.testing.assert_array_equal(run(spikes, w, neuron=neuron), z)


def test_the_gradient_is_that_of_unquantised_weights_straight_through():
    """At the membranes that the quantised weights made."""
    spikes, w, dz = drawn()
    effective = jnp.float32(twin.codes(w, 64) / 64)
    _, dx, _ = nominal_gradient(LIF(), LIF(), spikes @ effective, dz)
    _, pull = jax.vjp(run, spikes, w)
    ds, dw = pull(dz)
    close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
    close(ds, dx @ w.T)


def test_without_codes_it_is_plain_simulation_of_any_size():
    spikes, w, _ = drawn()
    neuron = {"tau_mem": 6e-6, "tau_syn": 5.7e-6, "leak": 0.0, "reset": 0.0, "threshold": 1.0}
    v, z = twin.lif(neuron, np.asarray(spikes, np.float64) @ np.asarray(w, np.float64))
    assert np.abs(v - 1).min() > 1e-5
    np.testing.assert_array_equal(run(spikes, w, codes=None), z)
    # A recurrent population of this size is more than a chip holds.
    large = run(jnp.ones((2, 1, 700)), jnp.ones((700, 256)), codes=None, recurrent=jnp.eye(256))
    assert large.shape == (2, 1, 256)


def test_the_largest_weight_may_be_the_largest_code():
    spikes, w, _ = drawn()
    scale = 63 / float(np.abs(w).max())
    effective = jnp.float32(twin.codes(w, scale) / scale)
    assert np.abs(twin.codes(w, scale)).max() == 63
    expected = run(spikes, effective, codes=None)
    np.testing.assert_array_equal(run(spikes, w, codes=Codes(None)), expected)


def test_recurrent_spikes_return_through_quantised_synapses():
    spikes, w, dz = drawn()
    back = jnp.float32(np.random.default_rng(24).normal(0, 0.5, (N, N)))
    codes, codes_back = (jnp.float32(twin.codes(a, 64) / 64) for a in (w, back))
    neuron = LIF(t_ref=1e-6)
    shown = Recurrent(back, Weights(64 * codes_back, jnp.float32(1 / 64)))
    z, dx, dshown = nominal_gradient(neuron, neuron, spikes @ codes, dz, shown)
    got, pull = jax.vjp(lambda w, back: run(spikes, w, neuron=neuron, recurrent=back), w, back)
    np.testing.assert_array_equal(got, z)
    dw, dback = pull(dz)
    close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
    close(dback, dshown.w)


@pytest.mark.parametrize("inputs, step", [(10, 32), (784, 32), (4161, 32), (4162, 16), (65536, 2)])
def test_weights_are_rounded_so_that_the_largest_sum_is_a_float(inputs, step):
    """Whole multiples of 1 / step below 2^24 / step are exact: of all inputs, each 126 LSB."""
    values = jnp.linspace(-126, 126, 9999)
    got = np.float64(rounded(values, inputs, 63))
    np.testing.assert_array_equal(got * step, np.rint(got * step))
    assert np.abs(got - np.float64(values)).max() <= 0.5 / step
    assert inputs * 126 * step <= 2**24 and (step == 32 or inputs * 126 * step * 2 > 2**24)


# --- receptive fields

POSITIONS, CHANNELS, FIELD = 5, 3, 6
FIELD_PLACES = {
    "by position": Population(
        FIELD, 15, positions=POSITIONS, substrate=replace(SMALL, columns=8)
    ),  # 8 neurons: 2 positions a run
    "by channel": Population(
        FIELD, 15, positions=POSITIONS, substrate=replace(SMALL, columns=2)
    ),  # 2 neurons: channels 2 and 1 of a position
}


def fields_drawn(shared):
    """Spikes each position sees, `[T, B, P, K]`, and weights that make its neurons spike."""
    rng = np.random.default_rng(31)
    spikes = jnp.float32(rng.random((T, B, POSITIONS, FIELD)) < 0.3)
    shape = (FIELD, CHANNELS) if shared else (POSITIONS, FIELD, CHANNELS)
    w = jnp.float32(rng.normal(0.25, 0.5, shape))
    return spikes, w, jnp.float32(rng.normal(size=(T, B, POSITIONS, CHANNELS)))


def unrolled(w):
    """The dense weights `[P K, P C]` of the same neurons: zero outside of their fields."""
    dense = np.zeros((POSITIONS, FIELD, POSITIONS, CHANNELS), np.float32)
    for p in range(POSITIONS):
        dense[p, :, p] = w if w.ndim == 2 else w[p]
    return jnp.asarray(dense.reshape(POSITIONS * FIELD, POSITIONS * CHANNELS))


def test_fields_are_cut_by_positions_then_channels():
    assert {name: place.runs for name, place in FIELD_PLACES.items()} == {
        "by position": 3,
        "by channel": 10,
    }


@pytest.mark.parametrize("shared", (True, False))
def test_fields_are_the_unrolled_dense_population(shared):
    spikes, w, _ = fields_drawn(shared)
    flat = spikes.reshape(T, B, -1)
    expected, (ds, dw) = both(lambda s, w: run(s, unrolled_of(w)), flat, w)
    got, (ds_fields, dw_fields) = both(run, spikes, w)
    assert 20 < expected.sum() < expected.size / 2
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    close(ds_fields.reshape(ds.shape), ds)
    close(dw_fields, dw)


def unrolled_of(w):
    """`unrolled`, differentiably."""
    eye = jnp.eye(POSITIONS)
    one = w if w.ndim == 3 else jnp.broadcast_to(w, (POSITIONS, *w.shape))
    return jnp.einsum("pq,pkc->pkqc", eye, one).reshape(POSITIONS * FIELD, -1)


@pytest.mark.parametrize("place", FIELD_PLACES)
@pytest.mark.parametrize("shared", (pytest.param(True, marks=pytest.mark.slow), False))
def test_on_a_chip_a_field_has_its_neurons_strength(shared, place):
    spikes, w, dz = fields_drawn(shared)
    place = FIELD_PLACES[place]
    chip = sample_chip(jax.random.key(33), Mismatch(), substrate=place.substrate)
    neurons = gather_place(chip, place, FIELD).neurons
    codes = np.asarray(unrolled(jnp.float32(twin.codes(w, 64))))
    strength = np.where(codes > 0, *np.asarray(neurons.strength)[:, None])
    finest = 2.0**14  # 2^24 over the largest sum, 6 x 63 x 2, holds more than 14 bits
    if shared:
        effective = codes * np.rint(strength * finest) / finest
    else:
        effective = np.rint(32 * codes * strength) / 32
    drive = spikes.reshape(T, B, -1) @ jnp.float32(effective / 64)
    actual, _ = LIF().on(neurons)
    z, dx, _ = nominal_gradient(LIF(), actual, drive, dz.reshape(T, B, -1))
    got, pull = jax.vjp(lambda w: run(spikes, w, chip, place=place), w)
    np.testing.assert_array_equal(got.reshape(z.shape), z)
    # Backward the nominal model, at the chip's membranes.
    dx = dx.reshape(T, B, POSITIONS, CHANNELS)
    expected = jnp.einsum("tbpk,tbpc->kc" if shared else "tbpk,tbpc->pkc", spikes, dx)
    close(pull(dz)[0], expected)


@dataclass(frozen=True)
class Level:
    """Values spike in as many steps as they are tenths of T."""

    steps: int

    def __call__(self, values):
        time = jnp.arange(self.steps).reshape(-1, *[1] * values.ndim)
        return (time < values * self.steps).astype(jnp.float32)


@pytest.mark.parametrize("shared", (True, False))
@pytest.mark.parametrize("on", ("float", pytest.param("ideal", marks=pytest.mark.slow), "chip"))
def test_coded_fields_are_their_raster(shared, on):
    _, w, dz = fields_drawn(shared)
    place = FIELD_PLACES["by position"]
    values = jnp.float32(np.random.default_rng(35).random((B, POSITIONS, FIELD)) / 2)
    coded = Lazy(values, T, Level(T))
    codes = None if on == "float" else CODES
    chip = (
        sample_chip(jax.random.key(33), Mismatch(), substrate=place.substrate)
        if on == "chip"
        else None
    )

    def outcome(spikes):
        return jax.vjp(
            lambda w: run(spikes, w, chip, place=place, codes=codes),
            w,
        )

    (z, pull), (expected, pull_raster) = outcome(coded), outcome(coded.decoded())
    assert 5 < z.sum() < z.size / 2
    np.testing.assert_array_equal(z, expected)
    close(pull(dz)[0], pull_raster(dz)[0])


# The slow one is between the others: codes as on the chip, neurons as in float.
@pytest.mark.parametrize(
    "on, coded",
    [
        ("float", True),
        pytest.param("ideal", False, marks=pytest.mark.slow),
        ("chip", False),
        pytest.param("chip", True, marks=pytest.mark.slow),
    ],
)
def test_windows_are_what_they_see(on, coded):
    """A convolution without unfolding, against the fields unfolded; cut by position and channel."""
    rng = np.random.default_rng(36)
    raster = jnp.float32(rng.random((T, B, 3, 4, 2)) < 0.3)
    if coded:
        raster = Lazy(jnp.float32(rng.random((B, 3, 4, 2)) / 2), T, Level(T))
    w = jnp.float32(rng.normal(0.15, 0.3, (12, CHANNELS)))
    place = Population(12, 4 * CHANNELS, positions=4, substrate=replace(SMALL, columns=4))
    assert (place.positions_per_run, place.channels_per_run, place.runs) == (1, 2, 8)
    noisy = Mismatch(threshold_noise=0.1, membrane_noise=0.1)
    chip = (
        sample_chip(jax.random.key(33), noisy, substrate=place.substrate) if on == "chip" else None
    )
    key = jax.random.key(34)
    dz = jnp.float32(rng.normal(size=(T, B, 4, CHANNELS)))

    def outcome(seen):
        def neurons(raster, w):
            codes = None if on == "float" else CODES
            return run(seen(raster), w, chip, key, place=place, codes=codes)

        if coded:
            z, pull = jax.vjp(lambda w: neurons(raster, w), w)
        else:
            z, pull = jax.vjp(neurons, raster, w)
        return z, pull(dz)

    windows = partial(Windows, window=(2, 3), stride=(2, 1), padding=(1, 0))
    assert windows(raster).shape == (T, B, 4, 12)
    z, gradients = outcome(windows)
    expected, of_fields = outcome(lambda raster: windows(raster).unfolded())
    assert 5 < z.sum() < z.size / 2
    np.testing.assert_array_equal(z, expected)
    jax.tree.map(close, gradients, of_fields)


def test_positions_in_other_runs_meet_the_same_circuits_and_other_noise():
    spikes, w, _ = fields_drawn(shared=True)
    spikes = jnp.broadcast_to(spikes[:, :, :1], spikes.shape)
    place = FIELD_PLACES["by position"]  # positions 0 and 1, 2 and 3, 4
    chip = sample_chip(
        jax.random.key(33), Mismatch(threshold_noise=0.2, jitter=0), substrate=place.substrate
    )
    quiet = run(spikes, w, chip, place=place)
    np.testing.assert_array_equal(quiet[:, :, :2], quiet[:, :, 2:4])
    np.testing.assert_array_equal(quiet[:, :, 0], quiet[:, :, 4])
    assert (quiet[:, :, 0] != quiet[:, :, 1]).any()
    noisy = run(spikes, w, chip, jax.random.key(0), place=place)
    for one, other in ((0, 2), (0, 4), (1, 3)):
        assert (noisy[:, :, one] != noisy[:, :, other]).any()


@pytest.mark.parametrize("shared", (True, False))
def test_field_products_and_their_gradients_are_einsums(shared):
    spikes, w, dy = fields_drawn(shared)
    form = "tbpk,kc->tbpc" if shared else "tbpk,pkc->tbpc"
    y, pull = jax.vjp(lambda s, w: product(Fields(Raster(s)), w).reshape(dy.shape), spikes, w)
    expected, pull_einsum = jax.vjp(partial(jnp.einsum, form, precision="highest"), spikes, w)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for a, b in zip(pull(dy), pull_einsum(dy), strict=True):
        close(a, b)


def test_a_field_that_is_all_there_is_is_a_dense_layer():
    spikes, w, _ = drawn()
    chip = small_chip()
    values = jnp.float32(np.random.default_rng(35).random((B, 1, K)) / 2)
    lazy = Lazy(values, T, Level(T))
    for seen, alone in ((spikes[:, :, None], spikes), (lazy, lazy.decoded()[:, :, 0])):
        z = run(seen, w, chip)
        assert z.shape == (T, B, 1, N)
        np.testing.assert_array_equal(z[:, :, 0], run(alone, w, chip))
        np.testing.assert_array_equal(z, run(seen, w[None], chip))
    image = spikes.reshape(T, B, 5, 2)
    z = run(Windows(image, (5,)), w, chip)
    np.testing.assert_array_equal(z[:, :, 0], run(image.swapaxes(2, 3).reshape(T, B, K), w, chip))


def test_unfitting_fields_are_refused():
    spikes, w, _ = fields_drawn(shared=False)
    with pytest.raises(ValueError, match="P differs"):
        run(spikes[:, :, :2], w)
    with pytest.raises(ValueError, match="none with receptive fields"):
        run(spikes, w, recurrent=jnp.eye(3))
    with pytest.raises(ValueError, match=r"expected \[K, N\]"):
        run(spikes[:, :, 0], w)
    with pytest.raises(ValueError, match="K differs"):
        run(spikes, w[:, :5])


# --- the chip


def test_a_chip_without_mismatch_is_ideal_with_or_without_key():
    chip = sample_chip(jax.random.key(0), Mismatch.none(), substrate=SMALL)
    spikes, w, _ = drawn()
    z, gradients = both(run, spikes, w)
    for key in (None, jax.random.key(1)):
        z_chip, gradients_chip = both(lambda s, w, key=key: run(s, w, chip, key), spikes, w)
        np.testing.assert_array_equal(z_chip, z)
        for a, b in zip(gradients_chip, gradients, strict=True):
            close(a, b)


def as_on(chip, place, w):
    """The drive that effective weights make, and the neurons, from the chip's arrays."""
    codes, circuits = twin.codes(w, 64), gather_place(chip, place, len(w))
    strength = np.where(codes > 0, *np.float64(circuits.strength()))
    effective = jnp.float32(np.rint(32 * codes * np.minimum(strength, 2)) / 32 / 64)
    return effective, circuits.neurons


@pytest.mark.parametrize("recurrent", (False, True))
def test_in_the_loop_the_gradient_is_the_models_at_the_chips_membranes_and_spikes(recurrent):
    spikes, w, dz = drawn()
    chip, neuron = small_chip(), LIF(t_ref=2e-6)
    w, dz = w[:, :2], dz[..., :2]
    fan_in = K + 2 * recurrent
    place = Population(fan_in, 2, recurrent, substrate=SMALL)
    effective, circuits = as_on(chip, replace(place, recurrent=False), jnp.ones((fan_in, 2)))
    both_w = jnp.concatenate([w, jnp.float32([[0.2, -0.5], [0.4, 0.1]])])[:fan_in]
    effective, circuits = as_on(chip, replace(place, recurrent=False), both_w)
    actual, _ = neuron.on(circuits)
    back = both_w[K:] if recurrent else None
    shown = Recurrent(back, Weights(64 * effective[K:], jnp.float32(1 / 64))) if recurrent else None
    z, dx, dshown = nominal_gradient(neuron, actual, spikes @ effective[:K], dz, shown)
    got, pull = jax.vjp(
        lambda s, w, back: run(s, w, chip, place=place, neuron=neuron, recurrent=back),
        spikes, w, back,
    )  # fmt: skip
    assert z.sum() > 5
    np.testing.assert_array_equal(got, z)
    ds, dw, dback = pull(dz)
    close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
    close(ds, dx @ w.T)
    if recurrent:
        close(dback, dshown.w)


def test_neurons_in_the_same_place_of_different_runs_meet_the_same_circuits():
    spikes, w, _ = drawn()
    w = jnp.tile(w[:, :2], (1, 4))[:, :N]  # as many in each of four runs
    z = run(spikes, w, small_chip())
    np.testing.assert_array_equal(z[..., 2:4], z[..., :2])
    np.testing.assert_array_equal(z[..., 4:], z[..., :3])
    place = Population(K, 2, substrate=SMALL)
    same = run(spikes, jnp.tile(w[:, :1], (1, 2)), small_chip(), place=place)
    assert (same[..., 0] != same[..., 1]).any()  # but neighbours meet others


def test_noise_is_of_the_key_and_no_key_draws_no_random_bits():
    spikes, w, _ = drawn()
    chip = small_chip(threshold_noise=0.1)

    def outcome(key):
        return run(spikes, w, chip, key)

    quiet = str(jax.make_jaxpr(lambda: outcome(None))())
    assert "random" not in quiet and "threefry" not in quiet
    noisy = jax.make_jaxpr(outcome)(jax.random.key(0))
    assert "random" in str(noisy)
    first, again, other = (outcome(jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_threshold_noise_makes_a_neuron_fire_with_the_chance_of_a_normal():
    """One step of a membrane half a deviation below, above and at the threshold."""
    trials, std = 4000, 0.1
    chip = sample_chip(
        jax.random.key(0), replace(Mismatch.none(), threshold_noise=std), substrate=SMALL
    )
    gain = 1 - math.exp(-1 / 6)
    w = jnp.full((K, N), 1.0) * (1 + std * jnp.linspace(-1.5, 1.5, N)) / (K * gain)
    u = np.round(64 * np.asarray(w[0])) / 64 * K * gain
    z = run(jnp.ones((1, trials, K)), w, chip, jax.random.key(2))
    chance = np.array([0.5 * (1 + math.erf((x - 1) / std / math.sqrt(2))) for x in u])
    bound = 5 * np.sqrt(chance * (1 - chance) / trials)
    assert (np.abs(z[0].mean(0) - chance) <= bound).all()
    # Neurons of one trial are independent, in one run and in two: the correlation of n pairs has a
    # standard deviation of 1 / sqrt(n).
    correlation = np.corrcoef(np.asarray(z[0]).T) - np.eye(N)
    assert np.abs(correlation).max() < 5 / math.sqrt(trials)


def test_threshold_noise_stays_for_a_trial():
    """A membrane that settles near the threshold is above it for good, or never."""
    chip = sample_chip(
        jax.random.key(0), replace(Mismatch.none(), threshold_noise=0.1), substrate=SMALL
    )
    fast = LIF(tau_mem=1e-8, tau_syn=1e-8)  # forgets all in a step: v = input
    z = run(
        jnp.ones((T, 100, 1)), jnp.full((1, 2), 63 / 64), chip, jax.random.key(3),
        place=Population(1, 2, substrate=SMALL), neuron=fast,
    )  # fmt: skip
    assert 0 < z[0].sum() < z[0].size
    np.testing.assert_array_equal(z, jnp.broadcast_to(z[0], z.shape))


def test_membrane_noise_spreads_membranes_at_rest_and_is_forgotten_with_tau_mem():
    """Integrators without input."""
    std, steps, trials, dt = 0.2, 40, 400, BSS2.cadc_period
    chip = sample_chip(
        jax.random.key(0), replace(Mismatch.none(), membrane_noise=std), substrate=LARGE
    )
    circuits = on_chip(chip, K, N, substrate=LARGE)
    assert circuits.members.shape == (N, 4)  # joined, so half as noisy

    def rest(key):
        return population(
            jnp.zeros((steps, trials, K)), jnp.zeros((K, N)), LI(dt=dt), circuits, key, codes=CODES
        ).membrane

    v = np.asarray(rest(jax.random.key(4)))
    n = trials * N
    late, before = v[-1].ravel(), v[-2].ravel()
    # Starting at rest, all but e^-22 of the variance is there. The std of a std is 1 / sqrt(2 n),
    # that of a correlation at most 1 / sqrt(n).
    assert late.std() == pytest.approx(std / 2, rel=5 / math.sqrt(2 * n))
    memory = math.exp(-dt / 6e-6)
    assert np.corrcoef(late, before)[0, 1] == pytest.approx(memory, abs=5 / math.sqrt(n))
    neurons = np.corrcoef(v[-1].T) - np.eye(N)
    assert np.abs(neurons).max() < 5 / math.sqrt(trials)
    assert (rest(None) == 0).all()


def test_membrane_noise_makes_silent_neurons_fire():
    """In the first step the noise is what one step adds."""
    std, trials = 0.4, 2000
    chip = sample_chip(
        jax.random.key(0), replace(Mismatch.none(), membrane_noise=std), substrate=LARGE
    )
    low = replace(chip.circuits, threshold=jnp.full_like(chip.circuits.threshold, 0.1 - 1))
    z = run(
        jnp.zeros((1, trials, K)), jnp.zeros((K, N)), replace(chip, circuits=low),
        jax.random.key(5), place=Population(K, N, substrate=LARGE),
    )  # fmt: skip
    of_step = std / 2 * math.sqrt(1 - math.exp(-2 / 6))
    chance = 0.5 * (1 - math.erf(0.1 / of_step / math.sqrt(2)))
    n = trials * N
    assert abs(z.mean() - chance) < 5 * math.sqrt(chance * (1 - chance) / n)


# --- jitter


def jittered(z, jitter, seed=0):
    u = jax.random.uniform(jax.random.key(seed), z.shape)
    return np.asarray(jitter_spikes(jnp.float32(z), u, jnp.float32(jitter), 1e-6))


@pytest.mark.parametrize("jitter", (60e-9, 300e-9))
def test_a_spike_moves_to_either_side_with_the_chance_of_its_mean_distance(jitter):
    z = np.zeros((51, 200, 20))
    z[2:-2:5] = 1  # so far apart that none meet
    moved = jittered(z, jitter)
    n = z.sum()
    chance = jitter * math.sqrt(2 / math.pi) / 2e-6
    bound = 5 * math.sqrt(n * chance * (1 - chance))
    early, late = moved[1:-3:5].sum(), moved[3::5].sum()
    assert abs(early - n * chance) < bound and abs(late - n * chance) < bound
    np.testing.assert_array_equal(moved[1:-3:5] + moved[2:-2:5] + moved[3::5], 1)
    assert moved.sum() == n


def test_spikes_that_meet_are_one_and_none_leaves_the_axis():
    z = np.zeros((10, 100, 20))
    z[[0, -1]] = 1
    ends = jittered(z, 1e-6)
    assert (ends[:2].sum(0) == 1).all() and (ends[-2:].sum(0) == 1).all()
    assert ends[2:-2].sum() == 0 and 0 < ends[1].sum() < 2000
    full = jittered(np.ones((10, 100, 20)), 1e-6)
    assert set(np.unique(full)) == {0.0, 1.0} and full.sum() < full.size
    random = np.random.default_rng(25).random((10, 100, 20)) < 0.5
    moved = jittered(random, 1e-6)
    assert set(np.unique(moved)) == {0.0, 1.0} and moved.sum() <= random.sum()
    np.testing.assert_array_equal(jittered(random, 0.0), random)


def test_jitter_is_in_what_is_recorded_and_lets_the_gradient_through():
    chip = sample_chip(jax.random.key(0), replace(Mismatch.none(), jitter=300e-9), substrate=SMALL)
    spikes, w, _ = drawn()
    key = jax.random.key(4)
    z, gradients = both(run, spikes, w)
    moved, gradients_moved = both(lambda s, w: run(s, w, chip, key), spikes, w)
    assert (moved != z).any() and moved.sum() <= z.sum()
    for a, b in zip(gradients_moved, gradients, strict=True):
        close(a, b)


# --- readout


@pytest.mark.parametrize("steps", (1, 2, 30))
def test_the_cadc_samples_every_1_7_us_on_an_8_bit_grid(steps):
    v = np.random.default_rng(26).normal(0, 1.5, (steps, 2, 3)).astype(np.float32)
    v[0, 0, 0], v[0, 0, 1] = 9.0, -9.0  # out of range
    read = np.asarray(cadc_trace(jnp.asarray(v), 1e-6, 60.0))
    times = np.arange(steps) * 1e-6
    samples = [k * 1.7e-6 for k in range(100) if k * 1.7e-6 <= times[-1] + 1e-12]
    for b, n in np.ndindex(2, 3):
        volts = np.interp(samples, times, v[:, b, n].astype(float))
        near = np.abs(volts) < 2.2
        edge = np.abs(60 * volts - np.rint(60 * volts))[near]
        assert (edge > 1e-4).all()  # float32 floors alike
        codes = np.clip(np.floor(60 * volts), -128, 127)
        expected = np.interp(times, samples, codes) / 60
        np.testing.assert_allclose(read[:, b, n], expected, atol=1e-5)
        for k in range(0, steps, 17):  # steps and samples coincide
            assert 60 * read[k, b, n] == pytest.approx(codes[k * 10 // 17], abs=1e-3)


def test_the_cadcs_gradient_passes_straight_through_but_at_the_ranges_limits():
    v = jnp.linspace(-4, 4, 30)[:, None, None]  # partly out of range
    weight = jnp.arange(1.0, 31)[:, None, None]
    dv = jax.grad(lambda v: (cadc_trace(v, 1e-6, 60.0) * weight).sum())(v)[:, 0, 0]
    read = 60 * cadc_trace(v, 1e-6, 60.0)[:, 0, 0]
    inside = (read > -127.999) & (read < 126.999)
    assert 10 < inside.sum() < 25
    np.testing.assert_array_equal(dv, np.where(inside, weight[:, 0, 0], 0))


def test_a_saturated_trace_has_no_gradient_at_any_scale():
    v = jnp.broadcast_to(jnp.array([9.0, -9.0]), (30, 1, 2))
    gradient = jax.grad(lambda v, scale: cadc_trace(v, 1e-6, scale).sum())
    for scale in range(40, 71):  # at 41, 47, 55 and 61 (127 / scale) scale is not 127 in float32
        assert (gradient(v, float(scale)) == 0).all(), scale


def test_integrators_are_the_twins_with_autodiffs_gradient():
    spikes, w, dv = drawn()
    effective = jnp.float32(twin.codes(w, 64) / 64)
    nominal = {"tau_mem": 6e-6, "tau_syn": 5.7e-6, "leak": 0.0}
    for integrator in ("exponential", "euler"):
        neuron = LI(integrator=integrator)

        def membrane(s, w, rule=Surrogate(), neuron=neuron):
            return population(s, w, neuron, codes=CODES, gradient=rule).membrane

        v, pull = jax.vjp(membrane, spikes, w)
        expected = twin.li(
            nominal, np.float64(spikes) @ np.float64(effective), integrator=integrator
        )
        np.testing.assert_allclose(v, expected, atol=1e-5)
        _, pull_autodiff = jax.vjp(partial(membrane, rule=Autodiff()), spikes, w)
        for a, b in zip(pull(dv), pull_autodiff(dv), strict=True):
            close(a, b)


def test_integrators_on_a_chip_are_its_circuits():
    spikes, w, dv = drawn()
    chip = small_chip()
    effective, circuits = as_on(chip, CUT, w)
    factors = {"tau_mem": 6e-6 * circuits.tau_mem, "tau_syn": 5.7e-6 * circuits.tau_syn}
    params = {name: np.float64(value) for name, value in factors.items()}
    v = twin.li(params | {"leak": np.float64(circuits.leak)}, np.float64(spikes) @ effective)
    circuits = gather_place(chip, CUT, K)
    got, pull = jax.vjp(lambda w: population(spikes, w, LI(), circuits, codes=CODES).membrane, w)
    np.testing.assert_allclose(got, v, atol=1e-5)
    (dx,) = jax.vjp(partial(li, LIParams()), spikes @ w)[1](dv)
    close(pull(dv)[0], jnp.einsum("tbk,tbn->kn", spikes, dx))


# --- errors


def test_what_does_not_fit_is_refused():
    spikes, w, _ = drawn()
    events = Events(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32))
    chip = small_chip()
    for message, call in {
        "number of steps": lambda: population(events, w, LIF()),
        "got 7, the spikes last 20": lambda: population(spikes, w, LIF(), steps=7),
        "expected names of": lambda: population(spikes, w, LIF(), observe=("membranes",)),
        "synapses on a chip hold codes": lambda: run(spikes, w, chip, codes=None),
        "they were gathered for 7 neurons of 10": lambda: run(spikes, w[:, :3], chip),
        "integrators send no spikes": lambda: population(spikes, w, LI(), recurrent=jnp.eye(N)),
        "expected one of": lambda: LIF(integrator="Euler"),
        "scale: got -60.0, expected a finite number > 0": lambda: Codes(-60.0),
        "dt: expected seconds > 0": lambda: LI(dt=0.0),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
