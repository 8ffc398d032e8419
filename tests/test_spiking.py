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

from bss2jax import BSS2, Mismatch, sample_chip
from bss2jax.execute.convolution import Windows
from bss2jax.execute.populations import cadc_trace, integrate, jitter_spikes, spiking
from bss2jax.kernels import noise
from bss2jax.kernels.gradients.surrogate import SuperSpike
from bss2jax.kernels.neurons.lif import (
    Dynamics,
    LIFParams,
    LIParams,
    li,
    lif_gradient,
    lif_membrane,
    recurrent_gradient,
)
from bss2jax.kernels.synapses.events import Events, to_raster
from bss2jax.kernels.synapses.fields import Coded, field_product, raster_of
from bss2jax.mapping.populations import Population, joined, synapse_strength

SMALL = replace(BSS2, rows=4, columns=4)  # 8 circuits of 4 inputs
LARGE = replace(SMALL, columns=64)  # room for everything at once
T, B, K, N = 20, 3, 10, 7
CUT = Population(K, N, substrate=SMALL)  # 4 circuits a neuron: 2 neurons a run, 4 runs, one padded
WHOLE = Population(K, N, substrate=LARGE)
SLOPE = SuperSpike(alpha=5.0)
run = partial(spiking, weight_scale=64.0, surrogate=SLOPE)


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
    """Gradients are sums: their error is relative to the largest."""
    scale = float(np.abs(b).max())
    assert scale > 1e-2
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def with_gradient(place, chip=None, key=None, **settings):
    """Spikes and the gradients of spikes and weights."""
    spikes, w, dz = drawn()

    @jax.jit
    def both(spikes, w):
        z, back = jax.vjp(
            lambda s, w: run(s, w, LIFParams(), chip, key, population=place, **settings), spikes, w
        )
        return z, back(dz)

    return both(spikes, w)


# --- runs


def test_a_population_in_runs_is_the_population_as_a_whole():
    assert (CUT.runs, WHOLE.runs) == (4, 1)
    z, (ds, dw) = with_gradient(CUT)
    z_whole, (ds_whole, dw_whole) = with_gradient(WHOLE)
    assert 20 < z.sum() < z.size / 2
    np.testing.assert_array_equal(z, z_whole)
    close(ds, ds_whole)
    close(dw, dw_whole)


def test_mnist_in_four_runs_is_mnist_at_once_with_events():
    rng = np.random.default_rng(22)
    events = Events(
        jnp.int32(rng.integers(0, 31, (2, 784))), jnp.tile(jnp.arange(784, dtype=jnp.int32), (2, 1))
    )
    w = jnp.float32(rng.normal(0.02, 0.1, (784, 256)))
    large = Population(784, 256, substrate=replace(BSS2, columns=1024))

    @partial(jax.jit, static_argnums=0)
    def both(place, w):
        z, back = jax.vjp(lambda w: run(events, w, steps=30, population=place), w)
        return z, back(jnp.cos(jnp.arange(z.size, dtype=jnp.float32)).reshape(z.shape))[0]

    z, dw = both(None, w)  # the default place: 4 runs
    z_whole, dw_whole = both(large, w)
    assert z.sum() > 100
    np.testing.assert_array_equal(z, z_whole)
    close(dw, dw_whole)


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
        got = run(spikes, w, t_ref=refractory * 1e-6, integrator=integrator, population=CUT)
        np.testing.assert_array_equal(got, z)


def test_the_gradient_is_that_of_unquantised_weights_straight_through():
    """At the membranes that the quantised weights made."""
    spikes, w, dz = drawn()
    effective = jnp.float32(twin.codes(w, 64) / 64)
    dynamics, params = Dynamics(1e-6, 0, "exponential", SLOPE), LIFParams()
    u, z = lif_membrane(dynamics, params, spikes @ effective)
    dx = lif_gradient(dynamics, params, u, z, dz)
    _, (ds, dw) = with_gradient(CUT)
    close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
    close(ds, dx @ w.T)


def test_unquantised_without_chip_is_plain_simulation():
    spikes, w, _ = drawn()
    weights = {"tau_mem": 6e-6, "tau_syn": 5.7e-6, "leak": 0.0, "reset": 0.0, "threshold": 1.0}
    v, z = twin.lif(weights, np.asarray(spikes, np.float64) @ np.asarray(w, np.float64))
    assert np.abs(v - 1).min() > 1e-5
    np.testing.assert_array_equal(run(spikes, w, quantised=False), z)


def test_events_and_their_raster_are_the_same_input():
    _, w, dz = drawn()
    rng = np.random.default_rng(23)
    events = Events(
        jnp.int32(rng.integers(0, T + 3, (B, 40))), jnp.int32(rng.integers(0, K, (B, 40)))
    )

    def both(spikes, w):
        z, back = jax.vjp(lambda w: run(spikes, w, steps=T, population=CUT), w)
        return z, back(dz)[0]

    (z, dw), (z_raster, dw_raster) = both(events, w), both(to_raster(events, T, K), w)
    np.testing.assert_array_equal(z, z_raster)
    close(dw, dw_raster)


def test_recurrent_spikes_return_through_quantised_synapses():
    spikes, w, dz = drawn()
    w, dz = w[:, :4], dz[..., :4]
    back = jnp.float32(np.random.default_rng(24).normal(0, 0.5, (4, 4)))
    place = Population(K + 4, 4, recurrent=True, substrate=LARGE)
    codes, codes_back = (jnp.float32(twin.codes(a, 64) / 64) for a in (w, back))
    dynamics, params = Dynamics(1e-6, 1, "exponential", SLOPE), LIFParams()
    u, z = lif_membrane(dynamics, params, spikes @ codes, codes_back)
    dx = lif_gradient(dynamics, params, u, z, dz, back)
    got, pull = jax.vjp(
        lambda w, back: run(spikes, w, recurrent=back, t_ref=1e-6, population=place), w, back
    )
    np.testing.assert_array_equal(got, z)
    dw, dback = pull(dz)
    close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
    close(dback, recurrent_gradient(z, dx))


def equations(jaxpr):
    """Counts the equations of a jaxpr and of all jaxprs inside it."""
    count = 0
    for equation in jaxpr.eqns:
        leaves = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        )
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in leaves if hasattr(leaf, "eqns")]
        count += 1 + sum(equations(each) for each in inner)
    return count


def test_program_size_does_not_grow_with_the_number_of_runs():
    chip = small_chip()

    def count(neurons):
        place = Population(K, neurons, substrate=SMALL)

        def loss(w, chip, key):
            return run(jnp.ones((T, B, K)), w, LIFParams(), chip, key, population=place).sum()

        w = jnp.zeros((K, neurons))
        return equations(jax.make_jaxpr(jax.grad(loss))(w, chip, jax.random.key(0)).jaxpr)

    assert count(5) == count(31) > 10  # 3 and 16 runs, the last of them padded


# --- receptive fields

POSITIONS, CHANNELS, FIELD = 5, 3, 6
FIELD_PLACES = {
    "whole": Population(FIELD, 15, positions=POSITIONS, substrate=LARGE),
    "by position": Population(
        FIELD, 15, positions=POSITIONS, substrate=replace(SMALL, columns=8)
    ),  # 8 neurons: 2 positions a run
    "by channel": Population(
        FIELD, 15, positions=POSITIONS, substrate=replace(SMALL, columns=2)
    ),  # 2 neurons: channels 2 and 1 of a position
    "in parts": Population(FIELD, 15, positions=POSITIONS, parts=3, substrate=LARGE),
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
    runs = {name: place.runs for name, place in FIELD_PLACES.items()}
    assert runs == {"whole": 1, "by position": 3, "by channel": 10, "in parts": 3}


@pytest.mark.parametrize("place", FIELD_PLACES)
@pytest.mark.parametrize("shared", (True, False))
def test_fields_in_runs_are_the_unrolled_dense_population(shared, place):
    spikes, w, dz = fields_drawn(shared)
    flat = spikes.reshape(T, B, -1)
    large = Population(flat.shape[-1], 15, substrate=LARGE)
    expected, pull = jax.vjp(lambda s, w: run(s, unrolled_of(w), population=large), flat, w)
    got, back = jax.jit(
        lambda s, w, dz: (lambda z, pull: (z, pull(dz)))(
            *jax.vjp(lambda s, w: run(s, w, population=FIELD_PLACES[place]), s, w)
        )
    )(spikes, w, dz)
    assert 20 < expected.sum() < expected.size / 2
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    ds, dw = pull(dz.reshape(T, B, -1))
    close(back[0].reshape(ds.shape), ds)
    close(back[1], dw)


def unrolled_of(w):
    """`unrolled`, differentiably."""
    eye = jnp.eye(POSITIONS)
    one = w if w.ndim == 3 else jnp.broadcast_to(w, (POSITIONS, *w.shape))
    return jnp.einsum("pq,pkc->pkqc", eye, one).reshape(POSITIONS * FIELD, -1)


@pytest.mark.parametrize("shared", (True, False))
def test_on_a_chip_a_field_has_its_neurons_strength(shared):
    spikes, w, dz = fields_drawn(shared)
    place = FIELD_PLACES["by position"]
    chip = sample_chip(jax.random.key(33), Mismatch(), substrate=place.substrate)
    circuits = joined(chip.circuits, place)
    got, pull = jax.vjp(lambda w: run(spikes, w, LIFParams(), chip, population=place), w)
    for first in range(0, POSITIONS, 2):
        n = min(2, POSITIONS - first) * CHANNELS  # neurons in this run
        of_run = jax.tree.map(lambda a, n=n: a[..., :n] if a.ndim else a, circuits)
        codes = unrolled(jnp.float32(twin.codes(w, 64)) / 64)
        codes = codes[:, first * CHANNELS : first * CHANNELS + n]
        effective = codes * jnp.where(codes > 0, *of_run.strength[:, None])
        nominal = LIFParams()
        actual = LIFParams(
            nominal.tau_mem * of_run.tau_mem, nominal.tau_syn * of_run.tau_syn,
            of_run.leak, of_run.reset, 1 + of_run.threshold,
        )  # fmt: skip
        dynamics = Dynamics(1e-6, 0, "exponential", SLOPE)
        u, z = lif_membrane(dynamics, actual, spikes.reshape(T, B, -1) @ effective)
        assert np.abs(u - actual.threshold).min() > 1e-6
        np.testing.assert_array_equal(got[:, :, first : first + 2].reshape(T, B, n), z)
    # Backward the nominal model: at the chip's membranes, so not the ideal chip's gradient.
    (dw,) = pull(dz)
    assert dw.shape == w.shape and np.abs(dw).max() > 0.01


@dataclass(frozen=True)
class Level:
    """Values spike in as many steps as they are tenths of T."""

    steps: int

    def __call__(self, values):
        time = jnp.arange(self.steps).reshape(-1, *[1] * values.ndim)
        return (time < values * self.steps).astype(jnp.float32)


@pytest.mark.parametrize("shared", (True, False))
@pytest.mark.parametrize("on", ("float", "ideal", "chip"))
def test_coded_fields_are_their_raster(shared, on):
    _, w, dz = fields_drawn(shared)
    place = FIELD_PLACES["by position"]
    values = jnp.float32(np.random.default_rng(35).random((B, POSITIONS, FIELD)) / 2)
    coded = Coded(values, T, Level(T))
    chip = (
        sample_chip(jax.random.key(33), Mismatch(), substrate=place.substrate)
        if on == "chip"
        else None
    )

    def outcome(spikes):
        return jax.vjp(
            lambda w: run(spikes, w, LIFParams(), chip, population=place, quantised=on != "float"),
            w,
        )

    (z, pull), (expected, pull_raster) = outcome(coded), outcome(raster_of(coded))
    assert 5 < z.sum() < z.size / 2
    np.testing.assert_array_equal(z, expected)
    close(pull(dz)[0], pull_raster(dz)[0])


@pytest.mark.parametrize("coded", (False, True))
@pytest.mark.parametrize("on", ("float", "ideal", "chip"))
def test_windows_are_what_they_see(on, coded):
    """A convolution without unfolding, against the fields unfolded; cut by position and channel."""
    rng = np.random.default_rng(36)
    raster = jnp.float32(rng.random((T, B, 3, 4, 2)) < 0.3)
    if coded:
        raster = Coded(jnp.float32(rng.random((B, 3, 4, 2)) / 2), T, Level(T))
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
            return run(
                seen(raster), w, LIFParams(), chip, key, population=place, quantised=on != "float"
            )

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
    quiet = run(spikes, w, LIFParams(), chip, population=place)
    np.testing.assert_array_equal(quiet[:, :, :2], quiet[:, :, 2:4])
    np.testing.assert_array_equal(quiet[:, :, 0], quiet[:, :, 4])
    assert (quiet[:, :, 0] != quiet[:, :, 1]).any()
    noisy = run(spikes, w, LIFParams(), chip, jax.random.key(0), population=place)
    for one, other in ((0, 2), (0, 4), (1, 3)):
        assert (noisy[:, :, one] != noisy[:, :, other]).any()


@pytest.mark.parametrize("shared", (True, False))
def test_field_products_and_their_gradients_are_einsums(shared):
    spikes, w, dy = fields_drawn(shared)
    form = "tbpk,kc->tbpc" if shared else "tbpk,pkc->tbpc"
    y, pull = jax.vjp(field_product, spikes, w)
    expected, pull_einsum = jax.vjp(partial(jnp.einsum, form, precision="highest"), spikes, w)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for a, b in zip(pull(dy), pull_einsum(dy), strict=True):
        close(a, b)


def test_a_field_that_is_all_there_is_is_a_dense_layer():
    spikes, w, _ = drawn()
    z = run(spikes[:, :, None], w, population=CUT)
    assert z.shape == (T, B, 1, N)
    np.testing.assert_array_equal(z[:, :, 0], run(spikes, w, population=CUT))
    np.testing.assert_array_equal(z, run(spikes[:, :, None], w[None], population=CUT))


def test_unfitting_fields_are_refused():
    spikes, w, _ = fields_drawn(shared=False)
    with pytest.raises(ValueError, match="P differs"):
        run(spikes[:, :, :2], w)
    with pytest.raises(ValueError, match="none with receptive fields"):
        run(spikes, w, recurrent=jnp.eye(3))
    with pytest.raises(ValueError, match=r"expected \[K, N\]"):
        run(spikes[:, :, 0], w)
    with pytest.raises(ValueError, match="dense synapses"):
        integrate(spikes, w[0])


# --- the chip


def test_a_chip_without_mismatch_is_ideal_with_or_without_key():
    chip = sample_chip(jax.random.key(0), Mismatch.none(), substrate=SMALL)
    z, gradients = with_gradient(CUT)
    for key in (None, jax.random.key(1)):
        z_chip, gradients_chip = with_gradient(CUT, chip, key)
        np.testing.assert_array_equal(z_chip, z)
        for a, b in zip(gradients_chip, gradients, strict=True):
            close(a, b)


def as_on(chip, place, w):
    """A run's effective weights and neurons, from the chip's arrays."""
    codes = jnp.float32(twin.codes(w, 64))
    excitatory, inhibitory = synapse_strength(chip, place, len(w))
    mean = joined(chip.circuits, place)
    params = LIFParams(
        tau_mem=6e-6 * mean.tau_mem,
        tau_syn=5.7e-6 * mean.tau_syn,
        leak=mean.leak,
        reset=mean.reset,
        threshold=1 + mean.threshold,
    )
    return codes * jnp.where(codes > 0, excitatory, inhibitory) / 64, params


def test_in_the_loop_the_gradient_is_the_models_at_the_chips_membranes_and_spikes():
    spikes, w, dz = drawn()
    w, dz = w[:, :2], dz[..., :2]
    chip, place = small_chip(), Population(K, 2, substrate=SMALL)
    effective, actual = as_on(chip, place, w)
    dynamics = Dynamics(1e-6, 2, "exponential", SLOPE)
    u, z = lif_membrane(dynamics, actual, spikes @ effective)
    assert np.abs(u - actual.threshold).min() > 1e-5 and z.sum() > 5
    dx = lif_gradient(dynamics, LIFParams(), u, z, dz)
    got, pull = jax.vjp(
        lambda s, w: run(s, w, LIFParams(), chip, population=place, t_ref=2e-6), spikes, w
    )
    np.testing.assert_array_equal(got, z)
    ds, dw = pull(dz)
    close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
    close(ds, dx @ w.T)


def test_neurons_in_the_same_place_of_different_runs_meet_the_same_circuits():
    spikes, w, _ = drawn()
    w = jnp.tile(w[:, :2], (1, 4))[:, :N]  # as many in each of four runs
    z = run(spikes, w, LIFParams(), small_chip(), population=CUT)
    np.testing.assert_array_equal(z[..., 2:4], z[..., :2])
    np.testing.assert_array_equal(z[..., 4:], z[..., :3])
    place = Population(K, 2, substrate=SMALL)
    same = run(spikes, jnp.tile(w[:, :1], (1, 2)), LIFParams(), small_chip(), population=place)
    assert (same[..., 0] != same[..., 1]).any()  # but neighbours meet others


def test_noise_is_of_the_key_and_no_key_draws_no_random_bits():
    spikes, w, _ = drawn()
    chip = small_chip(threshold_noise=0.1)

    def outcome(key):
        return run(spikes, w, LIFParams(), chip, key, population=CUT)

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
    z = run(jnp.ones((1, trials, K)), w, LIFParams(), chip, jax.random.key(2), population=CUT)
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
    fast = LIFParams(tau_mem=1e-8, tau_syn=1e-8)  # forgets all in a step: v = input
    z = run(
        jnp.ones((T, 100, 1)), jnp.full((1, 2), 63 / 64), fast, chip, jax.random.key(3),
        population=Population(1, 2, substrate=SMALL),
    )  # fmt: skip
    assert 0 < z[0].sum() < z[0].size
    np.testing.assert_array_equal(z, jnp.broadcast_to(z[0], z.shape))


def test_membrane_noise_spreads_membranes_at_rest_and_is_forgotten_with_tau_mem():
    """Integrators without input, read in every step: the CADC's period is the step."""
    std, steps, trials, dt = 0.2, 40, 400, BSS2.cadc_period
    chip = sample_chip(
        jax.random.key(0), replace(Mismatch.none(), membrane_noise=std), substrate=LARGE
    )
    read = jax.jit(
        lambda key: integrate(
            jnp.zeros((steps, trials, K)), jnp.zeros((K, N)), LIParams(), chip, key,
            population=WHOLE, readout_scale=300.0, dt=dt,
        )
    )  # fmt: skip
    assert WHOLE.circuits_per_neuron == 4  # joined, so half as noisy
    v = np.asarray(read(jax.random.key(4))) + 0.5 / 300  # the floor's mean
    n = trials * N
    late, before = v[-1].ravel(), v[-2].ravel()
    # Starting at rest, all but e^-22 of the variance is there. The std of a std is 1 / sqrt(2 n),
    # that of a correlation at most 1 / sqrt(n); codes add 0.3 % and clip at 4.2 deviations.
    assert late.std() == pytest.approx(std / 2, rel=5 / math.sqrt(2 * n) + 0.004)
    memory = math.exp(-dt / 6e-6)
    assert np.corrcoef(late, before)[0, 1] == pytest.approx(memory, abs=5 / math.sqrt(n))
    neurons = np.corrcoef(v[-1].T) - np.eye(N)
    assert np.abs(neurons).max() < 5 / math.sqrt(trials)
    assert (jax.jit(lambda: integrate(
        jnp.zeros((steps, 2, K)), jnp.zeros((K, N)), LIParams(), chip, population=WHOLE, dt=dt
    ))() == 0).all()  # fmt: skip


def test_membrane_noise_makes_silent_neurons_fire():
    """In the first step the noise is what one step adds."""
    std, trials = 0.4, 2000
    chip = sample_chip(
        jax.random.key(0), replace(Mismatch.none(), membrane_noise=std), substrate=LARGE
    )
    params = LIFParams(leak=0.0, threshold=1.0)
    low = replace(chip.circuits, threshold=jnp.full_like(chip.circuits.threshold, 0.1 - 1))
    z = run(
        jnp.zeros((1, trials, K)), jnp.zeros((K, N)), params, replace(chip, circuits=low),
        jax.random.key(5), population=WHOLE,
    )  # fmt: skip
    of_step = std / 2 * math.sqrt(1 - math.exp(-2 / 6))
    chance = 0.5 * (1 - math.erf(0.1 / of_step / math.sqrt(2)))
    n = trials * N
    assert abs(z.mean() - chance) < 5 * math.sqrt(chance * (1 - chance) / n)


# --- jitter


def jittered(z, jitter, seed=0):
    words = noise.stream(jax.random.key(seed))
    return np.asarray(jitter_spikes(jnp.float32(z), words, jnp.float32(jitter), 1e-6))


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
    z, gradients = with_gradient(CUT)
    moved, gradients_moved = with_gradient(CUT, chip, jax.random.key(4))
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
        volts = np.interp(samples, times, np.float64(v[:, b, n]))
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
    gradient = jax.jit(jax.grad(lambda v, scale: cadc_trace(v, 1e-6, scale).sum()))
    for scale in range(40, 71):  # at 41, 47, 55 and 61 (127 / scale) scale is not 127 in float32
        assert (gradient(v, float(scale)) == 0).all(), scale


def test_integrators_in_runs_are_the_twins_with_autodiffs_gradient():
    spikes, w, dv = drawn()
    effective = jnp.float32(twin.codes(w, 64) / 64)
    nominal = {"tau_mem": 6e-6, "tau_syn": 5.7e-6, "leak": 0.0}
    for integrator in ("exponential", "euler"):
        v, pull = jax.vjp(
            lambda s, w: integrate(
                s, w, weight_scale=64.0, integrator=integrator, population=CUT  # noqa: B023
            ),
            spikes, w,
        )  # fmt: skip
        expected = twin.li(
            nominal, np.float64(spikes) @ np.float64(effective), integrator=integrator
        )
        np.testing.assert_allclose(v, expected, atol=1e-5)
        (dx,) = jax.vjp(partial(li, LIParams(), integrator=integrator), spikes @ effective)[1](dv)
        ds, dw = pull(dv)
        close(dw, jnp.einsum("tbk,tbn->kn", spikes, dx))
        close(ds, dx @ w.T)


def test_integrators_on_a_chip_are_its_circuits_read_by_its_cadc():
    spikes, w, dv = drawn()
    chip, place = small_chip(), Population(K, 2, substrate=SMALL)
    w, dv = w[:, :2], dv[..., :2]
    effective, actual = as_on(chip, place, w)
    params = {name: np.asarray(getattr(actual, name)) for name in ("tau_mem", "tau_syn", "leak")}
    v = twin.li(params, np.float64(spikes) @ np.float64(effective))
    got, pull = jax.vjp(
        lambda w: integrate(
            spikes, w, LIParams(), chip, weight_scale=64.0, readout_scale=16.0, population=place
        ),
        w,
    )
    read = cadc_trace(jnp.float32(v), 1e-6, 16.0)
    assert np.abs(read).max() < 7.5  # nothing is out of range
    # A value that lies at a code's edge may be read one code apart.
    assert (np.abs(got - read) < 1e-5).mean() > 0.95 and np.abs(got - read).max() < 1.01 / 16
    (dx,) = jax.vjp(partial(li, LIParams()), spikes @ w)[1](dv)
    close(pull(dv)[0], jnp.einsum("tbk,tbn->kn", spikes, dx))


# --- errors


def test_events_need_a_number_of_steps_and_rasters_have_theirs():
    spikes, w, _ = drawn()
    events = Events(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32))
    with pytest.raises(ValueError, match="number of steps"):
        spiking(events, w)
    with pytest.raises(ValueError, match="got 7, the spikes last 20"):
        spiking(spikes, w, steps=7)
