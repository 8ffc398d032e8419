"""Soft LIF: curves and gradients against float64, noise against filtered spike trains, spikes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_softlif as reference

from bss2jax.kernels import rates as softlif
from bss2jax.kernels.neurons.exact import ExactLIF
from bss2jax.kernels.rates import Alpha, AlphaMembrane, Curve, Gaussian

NOISY = jax.jit(softlif.noisy_rate, static_argnums=(1, 2))
CURVES = [softlif.MNIST, softlif.IMAGENET, Curve(gamma=0.3), Curve(gamma=1e-3)]
DISTANCE = np.geomspace(1e-6, 1e3, 181)
# As float32 sees them: both sides then speak of the same current.
CURRENTS = np.unique(np.float32(1 + np.concatenate([-DISTANCE, [0], DISTANCE])))
BELOW = [1, 0.999, 0.5, 0, -1, -30, -1e3, -1e30]


def times(curve):
    return curve.tau_ref, curve.tau_rc


@pytest.mark.parametrize("curve", CURVES)
def test_the_soft_curve_and_its_gradient_equal_float64_from_1e_6_to_1e3(curve):
    def rate(j):
        return reference.soft_lif_rate(j, *times(curve), curve.gamma)

    j = np.float64(CURRENTS)
    ours, slope = jax.vmap(jax.value_and_grad(lambda j: softlif.soft_lif_rate(j, curve)))(CURRENTS)
    np.testing.assert_allclose(ours, rate(j), rtol=1e-5)
    # The curve changes over gamma near the threshold and over |j - 1| away from it.
    expected = reference.slope(rate, j, 1e-4 * np.maximum(curve.gamma, abs(j - 1)))
    assert (expected > 0).all()
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


@pytest.mark.parametrize("curve", CURVES[:2])
def test_the_hard_curve_and_its_gradient_equal_float64(curve):
    above = CURRENTS[CURRENTS > 1]
    j = np.float64(above)
    ours, slope = jax.vmap(jax.value_and_grad(lambda j: softlif.lif_rate(j, curve)))(above)

    def rate(j):
        return reference.lif_rate(j, *times(curve))

    np.testing.assert_allclose(ours, rate(j), rtol=1e-5)
    # 1e-3 of the distance: a smaller width drowns in float64's resolution beside 1.
    expected = reference.slope(rate, j, 1e-3 * (j - 1))
    np.testing.assert_allclose(slope, expected, rtol=1e-4)
    below = jnp.array(BELOW)
    both = jax.vmap(jax.value_and_grad(lambda j: softlif.lif_rate(j, curve)))(below)
    assert all((part == 0).all() for part in both)


def test_soft_lif_becomes_lif_as_gamma_goes_to_zero():
    # Up to 20 times the largest gamma from the threshold, where the curves must differ.
    j = CURRENTS[abs(np.float64(CURRENTS) - 1) > 0.2]
    hard = reference.lif_rate(j, *times(softlif.MNIST))
    gaps = []
    for gamma in (1e-2, 1e-3, 1e-4, 1e-6):
        soft = softlif.soft_lif_rate(j, Curve(gamma=gamma))
        gaps.append(abs(soft - hard).max())
        np.testing.assert_allclose(soft[j > 1], hard[j > 1], rtol=1e-5)
    # Below the threshold gamma / (tau_rc (1 - j)) is left, which is gamma / (22 ms x 0.2) at most.
    assert np.all(np.diff(gaps) < 0) and gaps[-1] < 1.01e-6 / (22e-3 * 0.2)


def test_nothing_overflows_and_second_derivatives_are_finite():
    j = jnp.array([-1e30, -1e6, -20, 0.9, 1, 1.1, 50, 1e6, 1e30])
    for curve in CURVES:
        rate = softlif.soft_lif_rate(j, curve)
        second = jax.vmap(jax.grad(jax.grad(partial(softlif.soft_lif_rate, curve=curve))))(j)
        assert jnp.isfinite(rate).all() and jnp.isfinite(second).all()
        assert (jnp.diff(rate) >= 0).all() and rate[-1] == pytest.approx(1 / curve.tau_ref)


def test_the_presets_are_the_papers():
    assert (softlif.MNIST.amplitude, *times(softlif.MNIST)) == (0.063, 2e-3, 22e-3)
    assert (softlif.MNIST.gain, softlif.MNIST.gamma) == (1, 0.02)
    assert (softlif.IMAGENET.amplitude, *times(softlif.IMAGENET)) == (0.063, 1e-3, 50e-3)
    assert softlif.SVHN == softlif.MNIST and softlif.CIFAR10 == softlif.IMAGENET
    assert softlif.IMAGENET.gain == 0.825


@pytest.mark.parametrize("tau_rc", [None, 22e-3])
@pytest.mark.parametrize("rate", [4.0, 60.0, 450.0])
def test_a_filtered_train_is_the_sum_of_its_spikes(rate, tau_rc):
    for phase in (0.02, 0.3, 0.9):
        expected = reference.filtered_train(rate, phase, 5e-3, tau_rc, grid=1e-5)
        ours = softlif.filtered_train(jnp.float32(rate), jnp.float32(phase), 5e-3, tau_rc)
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * rate)


@pytest.mark.parametrize("noise", [Gaussian(), Alpha(), AlphaMembrane()])
def test_noise_keeps_the_mean_rate_and_is_invisible_to_the_gradient(noise):
    j, n = jnp.array([-1.0, 0.99, 1.05, 1.5, 4.0]), 40_000
    clean = softlif.soft_lif_rate(j)
    grid = jnp.broadcast_to(j, (n, len(j)))
    noisy = NOISY(grid, softlif.MNIST, noise, jax.random.key(0))
    # Silent neurons have no noise. Compiled in another way, a rate may differ in its last bit.
    assert (noisy[:, :2] == noisy[0, :2]).all()
    np.testing.assert_allclose(noisy[0, :2], clean[:2], rtol=3e-7)
    spread = noisy[:, 2:].std(axis=0)
    assert (spread > 0).all()
    assert (abs(noisy[:, 2:].mean(axis=0) - clean[2:]) < 5 * spread / n**0.5 + 1e-4).all()

    def total(j, key):
        return NOISY(j, softlif.MNIST, noise, key).sum()

    with_noise, without = (jax.grad(total)(j, key) for key in (jax.random.key(1), None))
    np.testing.assert_allclose(with_noise, without, rtol=3e-7)
    again = NOISY(j, softlif.MNIST, noise, jax.random.key(1))
    assert (again[2:] != NOISY(j, softlif.MNIST, noise, jax.random.key(2))[2:]).all()


def test_gaussian_noise_is_10_hz():
    j = jnp.full(200_000, 2.0)
    noisy = NOISY(j, softlif.MNIST, Gaussian(), jax.random.key(3))
    # The spread of a spread of n normals is sigma / sqrt(2 n).
    assert abs(noisy.std() - 10) < 5 * 10 / (2 * len(j)) ** 0.5


def test_the_membrane_smooths_what_the_synapse_lets_through():
    j, key = jnp.full(4000, 2.0), jax.random.key(0)
    synapse, both = (
        NOISY(j, softlif.MNIST, noise, key).std() for noise in (Alpha(), AlphaMembrane())
    )
    assert both < synapse / 2


@pytest.mark.parametrize("curve", [softlif.MNIST, softlif.IMAGENET])
def test_a_constant_current_gives_the_rate_of_the_curve_at_any_step(curve):
    j = jnp.array([0.5, 1.0, 1.02, 1.3, 2.0, 10.0, 200.0])
    for dt in (1e-3, 2.5e-4):
        steps = round(2 / dt)

        neuron = ExactLIF(curve.tau_rc, tau_ref=curve.tau_ref, dt=dt)

        def step(state, _, neuron=neuron):
            return neuron.step(state, j)

        _, z = jax.lax.scan(step, neuron.rest(j), length=steps)
        # An interval is what it should be, so in 2 s a count is off by one at most, the first
        # interval (no rest before it) included; float32 may add another in a thousand.
        assert (abs(z.sum(axis=0) - 2 * softlif.lif_rate(j, curve)) <= 2).all()


def test_a_changing_current_fires_as_tiny_euler_steps_do():
    steps, rng = 40, np.random.default_rng(0)
    j = rng.uniform(-2, 12, steps).astype(np.float32)
    expected = reference.spikes(j, steps, *times(softlif.MNIST))
    neuron = ExactLIF(softlif.MNIST.tau_rc, tau_ref=softlif.MNIST.tau_ref)
    _, z = jax.lax.scan(neuron.step, neuron.rest(jnp.zeros(())), j)
    assert expected.sum() >= 4
    np.testing.assert_array_equal(z, expected)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="gamma"):
        Curve(gamma=0)
    with pytest.raises(ValueError, match="refractory"):
        ExactLIF(dt=3e-3)
    with pytest.raises(ValueError, match="5 % apart"):
        softlif.filtered_train(jnp.ones(1), jnp.ones(1), 22e-3, 22e-3)


def test_neurons_may_have_time_constants_of_their_own():
    taus = jnp.array([15e-3, 22e-3, 40e-3])
    neurons, j = [ExactLIF(float(tau)) for tau in taus], jnp.array([1.2, 3.0, 1.05])
    together, apart = ExactLIF(taus).rest(j), [n.rest(jnp.zeros(())) for n in neurons]
    for _ in range(150):
        together, z = ExactLIF(taus).step(together, j)
        each = [n.step(s, i) for n, s, i in zip(neurons, apart, j, strict=True)]
        apart = [state for state, _ in each]
        np.testing.assert_array_equal(z, jnp.stack([fired for _, fired in each]))
    np.testing.assert_allclose(together.v, jnp.stack([s.v for s in apart]), rtol=1e-5)
