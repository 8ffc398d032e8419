"""Delays of axons, dendrites and synapses: where spikes arrive, gradients, and what they cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bss2jax
from bss2jax import networks
from bss2jax.kernels.dot import dot
from bss2jax.kernels.synapses.lags import lagged, taps

DT = 1e-6


def synaptic(*given):
    return dot(*taps(*given))


def spikes(steps=12, inputs=3):
    rng = np.random.default_rng(0)
    return (rng.random((steps, 2, inputs)) < 0.3).astype(np.float32)


def test_spikes_arrive_after_their_delay_rounded_or_in_shares():
    z, delay = spikes(), jnp.array([0.0, 2.4e-6, 20e-6])
    found = lagged(z, delay, DT)
    expected = np.zeros_like(z)
    expected[:, :, 0], expected[2:, :, 1] = z[:, :, 0], z[:-2, :, 1]
    np.testing.assert_array_equal(found, expected)
    shared = lagged(z, delay, DT, interpolate=True)
    expected[2:, :, 1] *= 0.6
    expected[3:, :, 1] += 0.4 * z[:-3, :, 1]
    np.testing.assert_allclose(shared, expected, atol=1e-6)


def test_synaptic_delays_are_those_of_each_pair_and_axonal_ones_those_of_an_input():
    z, rng = spikes(), np.random.default_rng(1)
    w, delay = rng.normal(size=(3, 4)).astype(np.float32), 4e-6 * rng.random((3, 4))
    found = synaptic(z, w, delay, DT, 4)
    expected = np.zeros((12, 2, 4))
    for k, n in np.ndindex(3, 4):
        one = lagged(z[:, :, k : k + 1], delay[k, n : n + 1], DT, interpolate=True)
        expected[:, :, n] += w[k, n] * one[:, :, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    dendritic = synaptic(z, w, delay[0], DT, 4)
    np.testing.assert_allclose(
        dendritic, synaptic(z, w, np.tile(delay[0], (3, 1)), DT, 4), atol=1e-6
    )


def test_the_gradient_of_a_delay_is_that_of_the_time_of_arrival():
    """Of a smooth loss over time, rounded delays have the slope of what is behind them."""
    z, weight = spikes(), jnp.sin(jnp.arange(12) / 3)[:, None, None]
    slope = jax.grad(lambda d: (weight * lagged(z, d, DT)).sum())(jnp.array([1e-6, 2e-6, 3e-6]))
    ends = [
        lagged(z, jnp.array([0.0, 1e-6, 2e-6]) + end * DT, DT, interpolate=True) for end in (1, 0)
    ]  # fmt: skip
    moved = [(weight * (ends[0] - ends[1])).sum((0, 1)) / DT]
    np.testing.assert_allclose(slope, moved[0], rtol=1e-4)


@pytest.mark.slow  # a thousand steps, of which each part is tried by itself
def test_a_delay_of_eventprop_moves_the_spike_behind_it():
    """dt_out / d delay is 1 for one input: neurons do not know when time began."""
    z = jnp.zeros((1000, 1, 1)).at[100].set(1.0)
    neuron = bss2jax.LIF(10e-6, 5e-6, dt=0.05e-6, integrator="exact")

    def time(delay):
        sent = lagged(z, delay, 0.05e-6)
        out = bss2jax.population(
            sent, jnp.full((1, 1), 6.0), neuron, gradient=bss2jax.EventProp(0.0)
        )
        return -bss2jax.first_spike(out.spikes, by_time=True)[0, 0] * 0.05e-6

    first, slope = jax.value_and_grad(lambda d: time(d[None]))(jnp.float32(3e-6))
    assert 0 < float(first) < 1000 * 0.05e-6
    np.testing.assert_allclose(slope, 1.0, rtol=0.03)  # steps over the time constants


def test_an_axonal_delay_takes_a_neuron_of_the_chip_and_what_the_host_sends_none():
    layers = [
        networks.Rate(steps=20), networks.Delay(longest=4e-6), networks.LIF(outputs=30),
        networks.Delay(longest=4e-6), networks.LI(outputs=3), networks.MaxOverTime(),
    ]  # fmt: skip
    network = networks.build(layers, (5,))
    assert network.plan.names == ("lif_0", "delay_1", "li_0")
    circuits = {name: len(network.plan.place(name).circuits) for name in network.plan.names}
    assert circuits == {"lif_0": 30, "delay_1": 30, "li_0": 3}
    # On the chip it is traced alone: compiled it takes as long as all the rest.
    chip, key = jax.eval_shape(bss2jax.sample_chip, jax.random.key(1)), jax.random.key(2)
    params = jax.eval_shape(network.init, key)

    def loss(params, chip):
        return network.apply(params, {}, jnp.ones((2, 5)), chip, key, on="chip")[0].sum()

    slope = jax.eval_shape(jax.grad(loss), params, chip)
    assert slope["delay_1"]["delay"].shape == (30,)


def test_synaptic_delays_are_for_float_and_say_so():
    layers = [networks.Regular(steps=20), networks.DelayedLIF(outputs=4), networks.SpikeCount()]
    network = networks.build(layers, (5,))
    assert network.executions == ("float",) and "no synapse or dendrite" in network.misfit
    params = network.init(jax.random.key(0))
    with pytest.raises(ValueError, match="layer delayed_lif_0: no synapse or dendrite of a chip"):
        network.apply(
            params, {}, jnp.ones((2, 5)), bss2jax.sample_chip(jax.random.key(1)), on="chip"
        )
