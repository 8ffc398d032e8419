"""Soft LIF networks on the chip: circuits and codes do to rates what the equations say."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_softlif as reference

from bss2jax.chip.chip import Mismatch, ideal_chip, sample_chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.networks import Conversion, ConvSoftLIF, Linear, Pool, SoftLIF, build

LAYERS = (
    ConvSoftLIF(outputs=3, window=3, padding=1, init_scale=2.0),
    Pool(mode="mean", window=2),
    SoftLIF(outputs=6, init_scale=1.5),
    Linear(outputs=4, init_scale=1.0),
)
SHAPE, SPEC = (4, 4, 1), Conversion(steps=40, warm_up=10)
LONG = Conversion(steps=1000, warm_up=100)
ONE = (SoftLIF(outputs=8), Linear(outputs=1))  # neurons side by side, the same but for the chip
AMPLITUDE = SoftLIF(outputs=1).amplitude


def network_of(spec=SPEC, layers=LAYERS, shape=SHAPE, substrate=BSS2):
    network = build(layers, shape, substrate=substrate, conversion=spec)
    params = network.init(jax.random.key(0))
    biases = iter(jax.random.split(jax.random.key(1), len(params)))
    for layer in params.values():
        layer["bias"] = 0.2 * jax.random.normal(next(biases), layer["bias"].shape)
    return network, params, jax.random.uniform(jax.random.key(2), (3, *shape))


def run(network, params, x, chip=None, key=None):
    """The readout of the converted network, and each neuron's rate, Hz."""
    spikes = network.twin.network
    on = "ideal" if chip is None else "chip"
    readout, _, records = spikes.apply(params, {}, x, chip, key, on=on)
    rates = {name: r["sent"] / AMPLITUDE for name, r in records.items() if "spikes" in r}
    return readout, rates


def run_one(params, x, chip=None, spec=LONG):
    network = build(ONE, x.shape[1:], conversion=spec)
    return jax.jit(partial(run, network))(params, x, chip)


def alike(bias=0.5):
    """Eight neurons that nothing but their bias drives, so that j = 1 + bias."""
    return {
        "soft_lif_0": {"weight": jnp.zeros((1, 8)), "bias": jnp.full(8, bias)},
        "linear_0": {"weight": jnp.ones((8, 1)), "bias": jnp.zeros(1)},
    }


def test_a_perfect_chip_shows_the_rates_of_rounded_weights():
    """Over a long time; but for the ripple of currents, which moves rates by some percent."""
    sharp = [replace(layer, gamma=1e-4) if hasattr(layer, "gamma") else layer for layer in LAYERS]
    spec = Conversion(steps=3000, warm_up=500, readout_scale=6.0)  # holds scores up to 21
    network, params, x = network_of(spec, sharp)
    rounded = {
        name: layer | {"weight": jnp.round(layer["weight"] * (63 / m)) * (m / 63)}
        for name, layer in params.items()
        for m in [abs(layer["weight"]).max()]
    }
    expected, _, stats = network.apply(rounded, {}, x, on="float")
    scores, _, measured = jax.jit(partial(network.apply, on="ideal"))(params, {}, x)
    assert set(measured) == set(stats)
    first = "conv_soft_lif_0"
    assert abs(measured[first]["rate"] / stats[first]["rate"] - 1) < 0.05
    scale = float(abs(expected).max())
    assert scale > 0.3 and abs(scores - expected).max() < 0.1 * scale
    # And rounding alone moves them by less than that: the weights are not read as something else.
    unrounded = network.apply(params, {}, x, on="float")[0]
    assert 0 < abs(unrounded - expected).max() < 0.1 * scale


def test_a_chip_without_spread_is_the_perfect_one():
    network, params, x = network_of()
    ideal, _, perfect = jax.jit(partial(network.apply, on="ideal"))(params, {}, x)
    chip, _, measured = jax.jit(partial(network.apply, on="chip"))(params, {}, x, ideal_chip())
    np.testing.assert_allclose(chip, ideal, atol=1 / SPEC.readout_scale)  # an LSB
    for name, stats in perfect.items():
        np.testing.assert_allclose(measured[name]["rate"], stats["rate"], rtol=1e-3)


@pytest.mark.parametrize(
    "changed, current, tau_rc",
    [
        ({"threshold": 0.1}, 1.5 / 1.1, 22e-3),
        ({"leak": 0.1}, 1.6, 22e-3),
        ({"reset": 0.2}, (1.5 - 0.2) / (1 - 0.2), 22e-3),
        ({"tau_mem": 1.5}, 1.5, 33e-3),
    ],
)
def test_a_circuit_off_its_targets_has_the_rate_of_what_it_is(changed, current, tau_rc):
    """Potentials in units of the way from reset to threshold; the curve does the rest."""
    chip = ideal_chip()
    circuits = {name: jnp.full_like(chip.offset, value) for name, value in changed.items()}
    chip = replace(chip, circuits=replace(chip.circuits, **circuits))
    _, rates = run_one(alike(), jnp.zeros((1, 1)), chip)
    expected = reference.lif_rate(current, 2e-3, tau_rc)
    assert abs(expected - reference.lif_rate(1.5, 2e-3, 22e-3)) > 3
    assert abs(rates["soft_lif_0"] - expected).max() <= 1 / 0.9  # one spike in .9 s


def test_a_bias_reaches_as_far_as_the_leak_can_be_set():
    """Leak from 50 to 160 LSB around a reset at 70 with a threshold 50 above it."""
    for bias, j in ((0.4, 1.4), (3.0, 90 / 50), (-3.0, -20 / 50)):
        _, rates = run_one(alike(bias), jnp.zeros((1, 1)))
        expected = reference.lif_rate(j, 2e-3, 22e-3)
        assert abs(rates["soft_lif_0"] - expected).max() <= 1 / 0.9


def test_inhibitory_synapses_have_their_own_strength():
    """One input of each sign on every neuron; at nominal strength they cancel."""
    spec = replace(LONG, input_rate=1000.0)
    params = alike()
    params["soft_lif_0"]["weight"] = jnp.array([[1.0], [-1.0]]) * jnp.ones((2, 8))
    x, chip = jnp.ones((1, 2)), ideal_chip()
    strength = jnp.stack([jnp.full_like(chip.offset, s) for s in (1.2, 0.9)])
    shifted = replace(chip, circuits=replace(chip.circuits, strength=strength))
    for which, j in ((chip, 1.5), (shifted, 1.8)):
        rates = run_one(params, x, which, spec)[1]["soft_lif_0"]
        assert abs(rates - reference.lif_rate(j, 2e-3, 22e-3)).max() <= 1 / 0.9


SMALL = Substrate(rows=4, columns=4)  # eight circuits


def on_small(layers, shape, params, x, chip):
    network = build(layers, shape, substrate=SMALL, conversion=replace(SPEC, steps=200))
    first = network.names[0]
    rates = jax.jit(partial(run, network))(params, x, chip)[1][first][0]
    return len({p.configuration for p in network.plan.pieces if p.layer == first}), rates


def test_neurons_of_all_runs_meet_the_same_circuits():
    """Twelve equal neurons on eight circuits: two runs, of which the second begins anew."""
    layers = (SoftLIF(outputs=12), Linear(outputs=2))
    chip = sample_chip(jax.random.key(0), Mismatch(leak=0.3), substrate=SMALL)
    params = {
        "soft_lif_0": {"weight": jnp.ones((4, 12)), "bias": jnp.full(12, 0.3)},
        "linear_0": {"weight": jnp.ones((12, 2)), "bias": jnp.zeros(2)},
    }
    configurations, rates = on_small(layers, (4,), params, jnp.full((1, 4), 0.2), chip)
    assert configurations == 2
    np.testing.assert_array_equal(rates[8:], rates[:4])
    assert (rates[:4] != rates[4:8]).any()


def test_positions_of_all_runs_meet_the_same_circuits():
    """Three channels on eight circuits: two positions a run."""
    layers = (ConvSoftLIF(outputs=3, window=1), Linear(outputs=2))
    chip = sample_chip(jax.random.key(1), Mismatch(leak=0.3), substrate=SMALL)
    params = {
        "conv_soft_lif_0": {"weight": jnp.ones((1, 3, 3)), "bias": jnp.full(3, 0.3)},
        "linear_0": {"weight": jnp.ones((15, 2)), "bias": jnp.zeros(2)},
    }
    configurations, rates = on_small(layers, (5, 3), params, jnp.full((1, 5, 3), 0.2), chip)
    assert configurations == 3
    np.testing.assert_array_equal(rates[2:4], rates[:2])
    np.testing.assert_array_equal(rates[4], rates[0])
    assert (rates[0] != rates[1]).any()


def test_a_key_brings_noise_on_the_chip_and_membranes_everywhere():
    network, _, _ = network_of(layers=ONE, shape=(1,))
    params, x = alike(), jnp.zeros((3, 1))
    chip = sample_chip(jax.random.key(0), Mismatch(membrane_noise=0.02))
    none = {name: 0 * chip.offset for name in ("threshold_noise", "membrane_noise")}
    quiet = replace(chip, circuits=replace(chip.circuits, **none))
    go = jax.jit(partial(network.apply, on="chip"))
    first, again, other = (go(params, {}, x, chip, jax.random.key(k))[0] for k in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # The same membranes to begin with; what differs is the noise.
    assert (go(params, {}, x, quiet, jax.random.key(5))[0] != first).any()
    perfect = jax.jit(partial(network.apply, on="ideal"))
    assert (perfect(params, {}, x, None, jax.random.key(5))[0] != perfect(params, {}, x)[0]).any()


@pytest.mark.slow
def test_the_membrane_noise_of_the_readout_is_as_wide_as_it_says():
    """A readout that nothing reaches shows .5 of a threshold distance of 50 LSB, over 8 LSB."""
    layers = (SoftLIF(outputs=1), Linear(outputs=200))
    params = {
        "soft_lif_0": {"weight": jnp.zeros((1, 1)), "bias": jnp.zeros(1)},
        "linear_0": {"weight": jnp.zeros((1, 200)), "bias": jnp.zeros(200)},
    }
    network = build(layers, (1,), conversion=Conversion(steps=200))
    chip = sample_chip(jax.random.key(0), replace(Mismatch.none(), membrane_noise=0.5))
    readout, _ = run(network, params, jnp.zeros((1, 1)), chip, jax.random.key(1))
    # 200 membranes forget themselves within 5 steps: some 4000 independent numbers; the CADC reads
    # every 1.7 steps and draws lines between, which takes some of the variance. One input, so one
    # circuit a neuron.
    std = float(readout[50:].std())
    assert 0.75 < std / (0.5 * 50 / 8) < 1.02


def test_the_gradient_in_the_loop_is_of_the_soft_rates_at_what_was_measured():
    network, params, x = network_of()
    chip, key = sample_chip(jax.random.key(0)), jax.random.key(1)
    weight = jax.random.normal(jax.random.key(3), (3, 4))

    def loss(params):
        return (network.apply(params, {}, x, chip, key, on="chip", training=True)[0] * weight).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    _, rates = jax.jit(partial(run, network))(params, x, chip, key)
    # The readout's weights see the rates that were measured.
    seen = 0.063 * np.float64(rates["soft_lif_0"])
    np.testing.assert_allclose(gradient["linear_0"]["weight"], seen.T @ weight, rtol=1e-4)
    # The hidden ones the slope of the curve at the current that measured rates make.
    before = 0.063 * np.float64(rates["conv_soft_lif_0"])
    before = before.reshape(3, 2, 2, 2, 2, 3).mean(axis=(2, 4)).reshape(3, -1)
    hidden = jax.tree.map(np.float64, params["soft_lif_0"])
    j = 1 + before @ hidden["weight"] + hidden["bias"]
    slope = reference.slope(lambda j: reference.soft_lif_rate(j, 2e-3, 22e-3, 0.02), j, 1e-6)
    back = np.float64(weight) @ np.float64(params["linear_0"]["weight"]).T * 0.063 * slope
    np.testing.assert_allclose(gradient["soft_lif_0"]["weight"], before.T @ back, rtol=1e-3)
    assert abs(gradient["conv_soft_lif_0"]["weight"]).max() > 0


def test_what_no_chip_can_do_is_refused():
    network, params, x = network_of()
    with pytest.raises(ValueError, match="as a whole"):
        network.apply(params, {}, x, on={name: "float" for name in network.names[:2]})
    with pytest.raises(ValueError, match="needs a chip"):
        network.apply(params, {}, x, on="chip")
    with pytest.raises(ValueError, match="input_rate"):
        Conversion(input_rate=1001.0)
    with pytest.raises(ValueError, match="warm_up"):
        Conversion(steps=10)
