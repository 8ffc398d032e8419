"""Networks on several chips at once: as chip after chip, with delays, with sparse recurrence."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bss2jax.chip.chip import Mismatch
from bss2jax.chip.presets import star
from bss2jax.chip.substrate import BSS2
from bss2jax.execute.circuits import gather
from bss2jax.execute.populations import population
from bss2jax.kernels.gradients.rules import Autodiff, Surrogate
from bss2jax.kernels.neurons.lif import LIF as Neuron
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.delays import Delays, later
from bss2jax.mapping.across import one_by_one
from bss2jax.mapping.cost import estimate
from bss2jax.networks import LI, LIF, Latency, MaxOverTime, build
from bss2jax.networks.across import on_system, specimens, workload_of

B, T = 3, 12


def network(**settings):
    layers = (
        Latency(steps=T, dt=1e-6), LIF(outputs=12, init_mean=0.5, init_std=0.5, **settings),
        LI(outputs=3), MaxOverTime(),
    )  # fmt: skip
    return build(layers, (6,))


def spread(net, system):
    """Neurons on each chip in turn."""
    return on_system(net, system, np.arange(workload_of(net).neurons) % system.chips)


@pytest.fixture(scope="module")
def inputs():
    return jax.random.uniform(jax.random.key(1), (B, 6))


@pytest.fixture(scope="module")
def chips():
    """Those of every network on two chips."""
    drawn = specimens(spread(network(), star(2)), jax.random.key(2), Mismatch())
    assert drawn.offset.shape[0] == 2
    return drawn


def test_several_chips_at_once_are_bit_equal_to_one_after_the_other(inputs, chips):
    net = spread(network(), star(2).instant())
    params = net.init(jax.random.key(0))
    seen = {}
    for name in ("together", "apart"):
        plan = net.mapped if name == "together" else one_by_one(net.mapped)
        one = replace(net, mapped=plan)
        run = jax.jit(partial(one.apply, on="chip"))
        seen[name], _, _ = run(params, {}, inputs, chips, jax.random.key(3))
    assert (seen["together"] == seen["apart"]).all() and jnp.abs(seen["apart"]).max() > 0
    # Each chip by itself, its own neurons alone: no noise, whose address is a neuron's number.
    raster = (jax.random.uniform(jax.random.key(4), (T, B, 6)) < 0.3).astype(jnp.float32)
    place, w = net.mapped.place("lif_0"), params["lif_0"]["weight"] * 3
    settings = dict(codes=Codes(), observe=("membrane",))
    neuron = Neuron()
    whole = population(
        raster, w, neuron, gather(chips, place.chip, place.circuits, inputs=6), **settings
    )
    for number in range(2):
        mine = np.flatnonzero(place.chip == number)
        specimen = jax.tree.map(lambda a, i=number: a[i], chips)
        own = gather(specimen, np.zeros(len(mine), int), place.circuits[mine], inputs=6)
        alone = population(raster, w[:, mine], neuron, own, **settings)
        assert (alone.membrane == whole.membrane[..., mine]).all()
    assert whole.spikes.sum() > 0


def test_a_chip_of_a_system_is_the_same_in_a_larger_one(chips):
    few = specimens(spread(network(), star(1)), jax.random.key(2), Mismatch())
    assert len(few.offset) == 1 and (few.offset == chips.offset[:1]).all()


def recurrent_reference(z_in, w, v, delay, neuron):
    """Spikes of a recurrent population, step by step; delay `[N, N]` in steps beyond the first."""
    n, past = v.shape[1], []
    mem, cur = np.zeros((z_in.shape[1], n)), np.zeros((z_in.shape[1], n))
    alpha, beta = np.exp(-neuron.dt / neuron.tau_mem), np.exp(-neuron.dt / neuron.tau_syn)
    for t in range(len(z_in)):
        x = z_in[t] @ w
        for i in range(n):
            for j in range(n):
                if t - 1 - delay[i, j] >= 0:
                    x[:, j] += past[t - 1 - delay[i, j]][:, i] * v[i, j]
        cur = cur * beta + x
        mem = mem * alpha + (1 - alpha) * cur
        fired = mem > 1.0
        past.append(fired.astype(float))
        mem = np.where(fired, 0.0, mem)
    return np.array(past)


@pytest.fixture(scope="module")
def delayed_case():
    rng = np.random.default_rng(0)
    z_in = (rng.random((T, B, 6)) < 0.3).astype(np.float32)
    w = rng.normal(1.0, 1.0, (6, 8)).astype(np.float32)
    v = rng.normal(0.3, 1.0, (8, 8)).astype(np.float32)
    between = np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]], np.int32)
    chip = np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32)
    delays = Delays(*map(jnp.asarray, (between, chip, chip)), (0, 1, 2, 3))
    return z_in, w, v, between[chip][:, chip], delays


def test_recurrence_over_links_is_that_of_a_loop_over_steps(delayed_case):
    z_in, w, v, delay, delays = delayed_case
    seen = population(z_in, w, Neuron(), recurrent=jnp.asarray(v), delays=(None, delays)).spikes
    want = recurrent_reference(z_in, w, v, delay, Neuron())
    assert (np.asarray(seen) == want).all() and 0 < want.mean() < 0.9
    assert (want != recurrent_reference(z_in, w, v, 0 * delay, Neuron())).any()


@pytest.mark.parametrize("trained", [False, True])
def test_the_gradient_over_links_is_that_of_autodiff(delayed_case, trained):
    z_in, w, v, _, delays = delayed_case
    target = jnp.asarray(np.random.default_rng(1).normal(size=(T, B, 8)), jnp.float32)

    def loss(gradient):
        def of(w, v, tau):
            neuron = Neuron(tau_mem=tau if trained else 6e-6)
            seen = population(
                z_in, w, neuron, recurrent=v, delays=(None, delays), gradient=gradient
            )
            return (seen.spikes * target).sum()

        return (
            jax.grad(of, argnums=(0, 1))(w, v, jnp.float32(6e-6))
            if not trained
            else jax.grad(of, argnums=(0, 1, 2))(w, v, jnp.float32(6e-6))
        )

    for ours, theirs in zip(loss(Surrogate()), loss(Autodiff()), strict=True):
        assert jnp.linalg.norm(ours - theirs) <= 1e-5 * jnp.linalg.norm(theirs)


def test_spikes_behind_a_link_come_as_many_steps_later(delayed_case):
    z_in, w, _, _, _ = delayed_case
    chips = jnp.zeros(6, jnp.int32), jnp.ones(8, jnp.int32)
    link = Delays(jnp.asarray([[0, 2], [2, 0]]), *chips, (2,))
    behind = population(z_in, w, Neuron(), delays=(link, None)).spikes
    shifted = population(later(jnp.asarray(z_in), 2), w, Neuron()).spikes
    assert (behind == shifted).all() and behind.sum() > 0


def test_a_sparse_recurrent_population_fits_and_its_synapses_have_their_own_strength(chips):
    net = network(recurrent=True, recurrent_inputs=4)
    layer = net.nodes[1].layer
    demand = layer.demand(*net.nodes[1].before)
    assert demand.inputs == 6 + 4
    with pytest.raises(ValueError, match="1024 circuits.* 256 neurons would fit.* system"):
        replace(demand, inputs=192, neurons=512).on(BSS2)
    assert (layer.connected().sum(axis=0) == 4).all()
    place = spread(net, star(2)).mapped.place("lif_0")
    slots = np.zeros((12, 12), int)
    for neuron, heard in enumerate(layer.heard):
        slots[heard, neuron] = np.arange(4)
    strength = gather(
        chips, place.chip, place.circuits, inputs=6, recurrent=12, slots=slots, slots_used=4
    ).recurrent_strength()
    for neuron, heard in enumerate(layer.heard):
        circuit = int(place.circuits[neuron, 0])
        specimen = jax.tree.map(lambda a, i=int(place.chip[neuron]): a[i], chips)
        hemisphere = circuit % 2
        for slot, source in enumerate(heard):
            synapse = float(specimen.synapse_gain[hemisphere, 0, 6 + slot, circuit // 2])
            driver = float(specimen.driver_gain[hemisphere, 6 + slot])
            own = float(specimen.circuits.strength[0, hemisphere, circuit // 2])
            assert float(strength[0, source, neuron]) == pytest.approx(
                synapse * driver * own, rel=1e-6
            )


@pytest.mark.slow  # its equality and its gradient are shown above
def test_a_network_over_links_learns_in_the_loop(inputs, chips):
    net = spread(network(recurrent=True, recurrent_inputs=4), star(2))
    params = net.init(jax.random.key(0))
    label = jnp.asarray([0, 1, 2])

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        scores, _, _ = net.apply(params, {}, inputs, chips, jax.random.key(3), on="chip")
        return -jax.nn.log_softmax(3 * scores)[jnp.arange(B), label].mean()

    losses, adam = [], optax.adam(0.05)
    state = adam.init(params)
    for _ in range(25):
        value, gradient = loss(params)
        losses.append(float(value))
        change, state = adam.update(gradient, state)
        params = optax.apply_updates(params, change)
    assert losses[-1] < 0.8 * losses[0]
    outside = params["lif_0"]["recurrent"] * (1 - net.nodes[1].layer.connected())
    assert (outside == 0).all()


def test_chips_side_by_side_take_the_time_of_one():
    layers = (Latency(steps=30, dt=1e-6), LIF(outputs=256), LI(outputs=10), MaxOverTime())
    net = build(layers, (784,))
    parts = net.plan.configurations
    load = workload_of(net)
    chip = np.concatenate([np.arange(256) // 64, np.full(10, 4)])
    across = on_system(net, star(12), chip)
    assert load.neurons == 266 and parts == across.mapped.chips == 5
    assert estimate(net.plan).seconds / estimate(across.plan).seconds >= 0.9 * parts
