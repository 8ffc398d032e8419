"""EventProp: closed forms, differences of an event-driven twin, and what a chip sends for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_events import simulate

import bss2jax
from bss2jax import LI, LIF, EventProp
from bss2jax.kernels.neurons.eventprop import eventprop_gradient

DT, STEPS, TAU = 2e-4, 10000, 1.0


@pytest.mark.parametrize("tau_syn", [1.0, 0.5])
def test_one_spike_has_the_gradient_of_the_closed_form(tau_syn):
    k = 2000
    t = k * DT

    def psp(t):
        if tau_syn == TAU:
            return t * np.exp(-t)
        return tau_syn / (TAU - tau_syn) * (np.exp(-t / TAU) - np.exp(-t / tau_syn))

    weight = 1 / psp(t)  # it reaches the threshold in step k
    current = weight * np.exp(-np.arange(STEPS) * DT / tau_syn)[:, None, None]
    fired = np.zeros((STEPS, 1, 1))
    fired[k] = 1
    ramp = np.minimum((np.arange(STEPS) - k) * DT, 0)[:, None, None]  # the loss is the spike's time
    with jax.enable_x64(True):
        neuron = LIF(np.float64(TAU), np.float64(tau_syn), dt=DT, integrator="exact")
        slope = eventprop_gradient(neuron, *map(jnp.asarray, (current, fired, ramp)))
    expected = -psp(t) / (current[k, 0, 0] - 1)
    np.testing.assert_allclose(slope[0, 0, 0], expected, rtol=1e-6)
    # An input that comes later by a step moves the spike by a step: the delay's own derivative.
    np.testing.assert_allclose(weight * (slope[1] - slope[0])[0, 0] / DT, 1.0, rtol=5e-3)


def network(seed=3):
    rng = np.random.default_rng(seed)
    arrivals = [(0.05 + 0.013 * k + 0.6 * n, k) for k in range(5) for n in range(2)]
    w = rng.uniform(0.2, 1.9, (5, 4))
    recurrent = rng.normal(0, 0.4, (4, 4))
    return arrivals, w, recurrent, rng.uniform(-1, 1, (4, 2))


def loss_of(spikes, v, readout, kind):
    """A loss of times, of a readout's membrane over time, or of counts."""
    times = [[t for t, n in spikes if n == neuron] for neuron in range(4)]
    weights = np.array([1.0, -0.7, 0.5, 1.3])
    if kind == "time":
        return sum(c * t[0] for c, t in zip(weights, times))
    if kind == "count":
        return float(weights @ (np.array([len(t) for t in times]) + v))
    out = np.zeros(2)
    for n, of_neuron in enumerate(times):
        x = np.exp(-(STEPS * DT - np.array(of_neuron)) / TAU)
        out += readout[n] * ((1 - x) - (1 - x * x) / 2).sum()
    return float(out @ [1.0, -0.6])


slow = pytest.mark.slow  # the same jumps, compiled again
LOSSES = [
    pytest.param("time", 0.1), pytest.param("voltage", 0.1, marks=slow),
    pytest.param("count", 0.0, marks=slow),
]  # fmt: skip


@pytest.mark.parametrize("kind, t_ref", LOSSES)
def test_gradients_are_those_of_differences(kind, t_ref):
    arrivals, w, recurrent, readout = network()
    delay = DT  # of a step, as in the population

    def of_events(w, recurrent):
        end = STEPS * DT
        spikes, v = simulate(arrivals, w, recurrent, tau_mem=TAU, t_ref=t_ref, delay=delay, end=end)
        return loss_of(spikes, v, readout, kind), len(spikes)

    raster = np.zeros((STEPS, 1, 5), np.float32)
    for t, k in arrivals:
        raster[round(t / DT), 0, k] = 1
    neuron = LIF(TAU, TAU / 2, dt=DT, t_ref=t_ref, integrator="exact")
    weights = jnp.array([1.0, -0.7, 0.5, 1.3])

    def of_steps(w, recurrent):
        z = bss2jax.population(
            raster, w, neuron, recurrent=recurrent, gradient=EventProp(least=0.0)
        ).spikes
        if kind == "time":
            return -DT * (weights * bss2jax.first_spike(z, by_time=True)).sum()
        if kind == "count":
            return (weights * z.sum(axis=(0, 1))).sum()
        v = bss2jax.population(z, readout, LI(TAU, TAU / 2, dt=DT, integrator="exact")).membrane
        return DT * (v[:, 0] * jnp.array([1.0, -0.6])).sum()

    found = jax.jit(jax.grad(of_steps, argnums=(0, 1)))(w, recurrent)
    for number, (given, slope) in enumerate(zip((w, recurrent), found)):
        expected = np.zeros_like(given)
        for at in np.ndindex(given.shape):
            ends = []
            for sign in (1, -1):
                both = [w.copy(), recurrent.copy()]
                both[number][at] += sign * 1e-6
                ends.append(of_events(*both))
            assert ends[0][1] == ends[1][1]  # no spike is made or lost
            expected[at] = (ends[0][0] - ends[1][0]) / 2e-6

        np.testing.assert_allclose(slope, expected, atol=0.01 * np.abs(expected).max())


def test_a_chip_in_the_loop_sends_spikes_alone():
    """Whatever its pattern, the gradient is that of the model, fed with the spikes it made."""
    key, codes = jax.random.key(0), bss2jax.Codes(60.0)
    raster = (jax.random.uniform(key, (60, 3, 6)) < 0.08).astype(jnp.float32)
    w = jax.random.normal(jax.random.key(1), (6, 5)) * 0.7
    recurrent = jax.random.normal(jax.random.key(2), (5, 5)) * 0.2
    upstream = jax.random.normal(jax.random.key(3), (60, 3, 5))
    # Without jitter, which comes behind the neurons: the record is what the synapses heard.
    chip = bss2jax.sample_chip(key, bss2jax.Mismatch(jitter=0.0))
    circuits = bss2jax.on_chip(chip, 6, 5, recurrent=True)

    def run(w, recurrent):
        return bss2jax.population(
            raster, w, LIF(t_ref=2e-6), circuits, jax.random.key(4), recurrent=recurrent,
            codes=codes, gradient=EventProp(),
        ).spikes  # fmt: skip

    z, pull = jax.vjp(run, w, recurrent)
    found = pull(upstream)
    nominal = bss2jax.population(raster, w, LIF(t_ref=2e-6), recurrent=recurrent, codes=codes)
    assert (z != nominal.spikes).any()
    # The model by hand: its current hears what was sent, and the spikes that there were.
    i, currents = np.zeros((3, 5)), []
    before = np.zeros((3, 5))
    for t in range(60):
        i = i * np.exp(-1 / 5.7) + np.asarray(raster[t] @ w + before @ recurrent)
        currents.append(i)
        before = np.asarray(z[t])
    back = bss2jax.kernels.synapses.recurrent.Recurrent(recurrent)
    current = jnp.asarray(np.array(currents), jnp.float32)
    neuron = LIF(t_ref=2e-6)
    dx = eventprop_gradient(neuron, current, z, upstream, back, least=0.05)
    expected = jnp.einsum("tbk,tbn->kn", raster, dx)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-3)


def test_neurons_parameters_have_no_gradient_and_other_neurons_say_so():
    raster = jnp.ones((4, 1, 2))

    def loss(tau):
        return bss2jax.population(
            raster, jnp.ones((2, 1)), LIF(tau_mem=tau), gradient=EventProp()
        ).spikes.sum()

    with pytest.raises(TypeError, match="EventProp of the neurons' parameters: has no gradient"):
        jax.grad(loss)(6e-6)
    with pytest.raises(ValueError, match="AdEx has no EventProp gradient; take Surrogate"):
        bss2jax.population(raster, jnp.ones((2, 1)), bss2jax.AdEx(), gradient=EventProp())
