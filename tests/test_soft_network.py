"""Networks of soft LIF units: their layers one after the other, learning, and becoming spikes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_softlif as reference

from bss2jax.kernels.rates import Alpha, AlphaMembrane, Gaussian, Quiet
from bss2jax.networks import (
    Conversion,
    ConvSoftLIF,
    Dense,
    Linear,
    Pool,
    SoftLIF,
    build,
    convert,
    effort,
    scores_over_time,
)
from bss2jax.networks.effort import synapses_reached

LAYERS = (
    ConvSoftLIF(outputs=3, window=3, padding=1, init_scale=2.0, noise=Quiet()),
    Pool(mode="mean", window=2),
    ConvSoftLIF(outputs=2, window=2, init_scale=0.5, noise=Quiet()),
    SoftLIF(outputs=5, init_scale=0.5, dropout=0.4, noise=Quiet()),
    Linear(outputs=4),
)
SHAPE, CURVE = (6, 6, 2), (2e-3, 22e-3)
NEURONS = ("conv_soft_lif_0", "conv_soft_lif_1", "soft_lif_0")


def told(layers=LAYERS, **settings):
    """Layers whose units share settings."""
    return [replace(layer, **settings) if hasattr(layer, "units") else layer for layer in layers]


def network_of(**settings):
    network = build(told(**settings), SHAPE)
    params = network.init(jax.random.key(0))
    biases = iter(jax.random.split(jax.random.key(1), len(params)))
    for layer in params.values():
        layer["bias"] = 0.3 * jax.random.normal(next(biases), layer["bias"].shape)
    x = jax.random.uniform(jax.random.key(2), (3, *SHAPE))
    return network, params, x


def run_spikes(network, conversion, params, x, key=None):
    """The readout of the converted network, and each layer's spikes of a mean sample."""
    spiking = convert(network, conversion, on_chip=False)
    readout, _, records = spiking.apply(params, {}, x, key=key, on="float")
    return readout, {name: r["spikes"] for name, r in records.items() if "spikes" in r}


def convolved(x, w, padding):
    x = np.pad(np.float64(x), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijcn->bhwn", windows, np.float64(w))


def test_weights_and_biases_begin_as_the_layers_say():
    layers = (SoftLIF(outputs=300, init_scale=2.0, init_bias=-0.25), Linear(outputs=200))
    params = build(layers, (72,)).init(jax.random.key(0))
    for name, init, fan_in, bias in (("soft_lif_0", 2.0, 72, -0.25), ("linear_0", 0.5, 300, 0)):
        weight = np.float64(params[name]["weight"]) * np.sqrt(fan_in) / init
        n = weight.size
        assert abs(weight.std() - 1) < 5 / np.sqrt(2 * n) and abs(weight.mean()) < 5 / np.sqrt(n)
        assert (params[name]["bias"] == bias).all()


def test_a_network_is_its_layers_written_out():
    """Against sums over windows, a reshaped mean and the twin's curve."""
    network, params, x = network_of()
    assert network.shapes == (SHAPE, (6, 6, 3), (3, 3, 3), (2, 2, 2), (5,), (4,))
    scores, _, stats = jax.jit(partial(network.apply, on="float"))(params, {}, x)

    def rate(x, name):
        bias = np.float64(params[name]["bias"])
        return 0.063 * reference.soft_lif_rate(1 + x + bias, *CURVE, 0.02)

    a = rate(convolved(x, params["conv_soft_lif_0"]["weight"], 1), "conv_soft_lif_0")
    np.testing.assert_allclose(stats["conv_soft_lif_0"]["rate"], a.mean() / 0.063, rtol=1e-5)
    a = a.reshape(3, 3, 2, 3, 2, 3).mean(axis=(2, 4))
    a = rate(convolved(jnp.float32(a), params["conv_soft_lif_1"]["weight"], 0), "conv_soft_lif_1")
    a = rate(a.reshape(3, -1) @ np.float64(params["soft_lif_0"]["weight"]), "soft_lif_0")
    last = params["linear_0"]
    expected = a @ np.float64(last["weight"]) + np.float64(last["bias"])
    assert expected.std() > 0.1
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_noise_and_dropout_belong_to_training():
    network, params, x = network_of(noise=Gaussian())
    key = jax.random.key(5)
    evaluate = jax.jit(partial(network.apply, on="float"))
    train = jax.jit(partial(network.apply, on="float", training=True))
    plain = evaluate(params, {}, x)[0]
    np.testing.assert_array_equal(evaluate(params, {}, x, None, key)[0], plain)
    first, again, other = (train(params, {}, x, None, k)[0] for k in (key, key, jax.random.key(6)))
    np.testing.assert_array_equal(first, again)
    assert (first != plain).any() and (first != other).any()
    for model in (Alpha(), AlphaMembrane()):
        noisy = build(told(noise=model), SHAPE)
        y = jax.jit(partial(noisy.apply, on="float", training=True))(params, {}, x, None, key)[0]
        assert jnp.isfinite(y).all() and (y != first).any()


def test_relu_units_are_linear_above_zero():
    network, params, x = network_of(units="relu", gain=0.5)
    biasless = {
        name: {"weight": abs(layer["weight"]), "bias": 0 * layer["bias"]}
        for name, layer in params.items()
    }
    apply = jax.jit(partial(network.apply, on="float"))
    y, twice = (apply(biasless, {}, n * x)[0] for n in (1, 2))
    np.testing.assert_allclose(twice, 2 * y, rtol=1e-5)
    assert (y > 0).all()


@pytest.mark.slow  # long times
@pytest.mark.parametrize("synapse", ["alpha", "exponential"])
def test_spikes_over_a_long_time_are_the_hard_rates(synapse):
    """The readout's mean is that of the same network with the LIF curve, weights untouched."""
    spec = Conversion(synapse=synapse, steps=3000)
    network, params, x = network_of(gamma=1e-4)
    expected, _, stats = network.apply(params, {}, x, on="float")
    readout, spikes = jax.jit(partial(run_spikes, network, spec))(params, x)
    assert readout.shape == (3000, 3, 4)
    assert set(spikes) == set(stats)
    first = spikes["conv_soft_lif_0"]
    assert first.shape == (3000, 6, 6, 3)
    # A neuron with a constant input is off by one spike in 3 s at most, 1/3 Hz; the twin of the
    # soft curve adds gamma / (tau_rc (1 - j)) below the threshold.
    hard = stats["conv_soft_lif_0"]["rate"]
    assert abs(first.mean() / 1e-3 - hard) < 0.5
    # Deeper neurons see a current that ripples, which moves their mean rates by some percent.
    scores = scores_over_time(readout, 500)[-1]
    scale = float(abs(expected).max())
    assert abs(scores - expected).max() < 0.1 * scale
    assert scale > 0.3


def test_a_synapse_answers_a_spike_with_its_kernel():
    """Two neurons in a row, by hand: the readout after the first spike is w times the kernel."""
    network = build((SoftLIF(outputs=1), Linear(outputs=1)), (1,))
    params = {
        "soft_lif_0": {"weight": -jnp.ones((1, 1)), "bias": jnp.zeros(1)},
        "linear_0": {"weight": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 0.5)},
    }
    # Values of either sign are currents as they are. j = 1.5: an interval of 26 ms.
    x = jnp.full((1, 1), -0.5)
    for synapse in ("alpha", "exponential"):
        spec = Conversion(synapse=synapse, steps=160, dt=2.5e-4)
        run = jax.jit(partial(run_spikes, network, spec))
        readout, spikes = run(params, x)
        z, v = np.asarray(spikes["soft_lif_0"])[:, 0], np.asarray(readout)[:, 0, 0]
        # The first comes after tau_rc ln(1 + 1 / .5) = 24.2 ms, the second 26.2 ms later.
        assert z.sum() == 1 and z.argmax() == 96 and (v[:96] == 0.5).all()
        n = np.arange(len(z) - 96)
        # Two low passes of which each acts in its own step: the kernel is a step ahead.
        t = 2.5e-4 * (n + (synapse == "alpha"))
        kernel = np.exp(-t / 5e-3) / 5e-3 * (t / 5e-3 if synapse == "alpha" else 1)
        # Half of dt / tau_syn = .05: a step's share of the low pass is 1 - e^-.05.
        np.testing.assert_allclose(v[96:] - 0.5, 2 * 0.063 * kernel, rtol=0.026, atol=1e-4)


def test_membranes_drawn_at_random_answer_sooner():
    network = build((SoftLIF(outputs=200), Linear(outputs=1)), (1,))
    params = {
        "soft_lif_0": {"weight": jnp.ones((1, 200)), "bias": jnp.zeros(200)},
        "linear_0": {"weight": jnp.ones((200, 1)), "bias": jnp.zeros(1)},
    }
    run = jax.jit(partial(run_spikes, network, Conversion(steps=20)))
    x = jnp.full((50, 1), 0.5)  # j = 1.5: a first spike after 24.2 ms from rest
    assert run(params, x)[1]["soft_lif_0"].sum() == 0
    early = run(params, x, jax.random.key(0))[1]["soft_lif_0"]
    # From v > 1.5 - .5 e^(20 / 22), so all that is above .2589; a binomial of 10,000 neurons.
    share = 1 - (1.5 - 0.5 * np.exp(20 / 22))
    assert abs(early.sum() / 200 - share) < 5 * (share * (1 - share) / 1e4) ** 0.5


def test_scores_over_time_are_running_means():
    readout = jnp.float32(np.random.default_rng(0).normal(size=(9, 2, 3)))
    scores = scores_over_time(readout, 4)
    assert scores.shape == (5, 2, 3)
    for i in range(5):
        np.testing.assert_allclose(scores[i], readout[4 : 5 + i].mean(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="warm_up"):
        scores_over_time(readout, 9)


def test_the_effort_counts_synapses_one_by_one():
    network = build(LAYERS, SHAPE)
    reached = {name: synapses_reached(network, name) for name in NEURONS}
    # 3x3 pooled cells, of which a 2x2 window sees corners once, edges twice, the middle four times.
    cells = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) * 2
    np.testing.assert_array_equal(
        reached["conv_soft_lif_0"], np.repeat(np.kron(cells, np.ones((2, 2)))[..., None], 3, 2)
    )
    assert (reached["conv_soft_lif_1"] == 5).all() and (reached["soft_lif_0"] == 4).all()
    spikes = {
        name: jnp.zeros((2, *r.shape)).at[1].set(1 + i)
        for i, (name, r) in enumerate(reached.items())
    }
    cost = effort(network, spikes)
    # With padding 1 the windows at an edge see 2 of 3 rows: (6 * 3 - 2)^2 positions and taps.
    first = 2 * (16**2 * 2 * 3)
    assert cost.rates == first + 2 * (4 * 12 * 2 + 8 * 5 + 5 * 4)
    updates = 0.25 * (108 + 8 + 5)
    events = 0.08 * (1 * 4 * 3 * cells.sum() + 2 * 8 * 5 + 3 * 5 * 4)
    np.testing.assert_allclose(cost.spikes, [first + updates, first + 2 * updates + events])


def test_the_plan_places_the_converted_neurons():
    plan = build(LAYERS, SHAPE).plan
    assert [(d.inputs, d.neurons, d.positions) for d in plan.demands] == [
        (18, 108, 36), (12, 8, 4), (8, 5, 1), (5, 4, 1)
    ]  # fmt: skip
    assert plan.seconds == pytest.approx(200e-6)  # 200 ms, a thousand times faster


@pytest.mark.parametrize(
    "layers, message",
    [
        ((Dense(outputs=4), Linear(outputs=4)), "dense_0.*dense takes vectors"),
        ((Pool(window=2), Linear(outputs=4)), "pool_0.*mean"),
        ((ConvSoftLIF(outputs=4, window=9), Linear(outputs=4)), "conv_soft_lif_0"),
    ],
)
def test_what_does_not_fit_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        build(layers, SHAPE)


def test_relu_units_have_only_rates():
    with pytest.raises(ValueError, match="relu units have no spikes"):
        SoftLIF(outputs=4, units="relu", noise=Alpha())
    network, params, x = network_of(units="relu")
    for on in ("ideal", "chip", {"soft_lif_0": "float"}):
        with pytest.raises(ValueError, match="float"):
            network.apply(params, {}, x, on=on)
    with pytest.raises(ValueError, match="conv_soft_lif_0.*relu"):
        convert(network, Conversion(), on_chip=False)
