"""Spiking networks are their layers one after the other, however they are cut, and learn."""

from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference_spiking as twin

from bss2jax import BSS2, LIFParams, LIParams, describe, li, lif, sample_chip
from bss2jax.kernels.coding import soft_clamp
from bss2jax.kernels.gradients.surrogate import SuperSpike
from bss2jax.networks import (
    LI,
    LIF,
    ConvLIF,
    Current,
    Delta,
    Dense,
    FirstSpike,
    Latency,
    LogLatency,
    MaxOverTime,
    MeanOverTime,
    Pool,
    Rate,
    Regular,
    SpikeCount,
    SpikeTime,
    SumOverTime,
    Values,
)
from bss2jax.networks import build as build_layers
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import How
from bss2jax.networks.signal import Spikes

T, B = 20, 3


def close(a, b, rtol=1e-5):
    """Gradients are sums: their error is relative to the largest."""
    scale = float(np.abs(b).max())
    assert scale > 1e-2
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


CONV = (
    ConvLIF(outputs=3, window=3, padding=1, init_mean=0.4, init_std=0.5),
    Pool(mode="mean", window=2),
    ConvLIF(outputs=2, window=2, shared=False, init_mean=0.5, init_std=0.5),
    LIF(outputs=5, init_mean=0.3, init_std=0.5),
    LI(outputs=2),
)


def build(layers, shape, code=Latency(steps=T), decoder=MaxOverTime(), substrate=BSS2, **settings):
    """A network of a code, populations that share settings, and a decoder."""
    shared = {"weight_scale": 64.0} | settings

    def told(layer):
        known = {field.name for field in fields(layer)}
        return replace(layer, **{name: v for name, v in shared.items() if name in known})

    return build_layers([code, *map(told, layers), decoder], shape, substrate=substrate)


def configurations(plan):
    """The configurations of each layer, in order."""
    return [sorted({piece.configuration for piece in plan.pieces if piece.layer == name})
            for name in plan.names]  # fmt: skip


def encode(values, code, key=None):
    """The raster `[T, B, *size]` of a code."""
    before = Values(values.shape[1:])
    how = How(None, key, 0, "float", False, (before,), code.shape(before))
    return raster_of(code.apply({}, {}, values, how=how)[0])


def test_a_network_of_fields_is_its_layers_written_out():
    """Against XLA's convolution, and loops over positions."""
    network = build(CONV, (6, 6, 2))
    assert network.shapes[1:-1] == ((6, 6, 2), (6, 6, 3), (3, 3, 3), (2, 2, 2), (5,), (2,))
    assert [(d.inputs, d.neurons, d.positions) for d in network.plan.demands] == [
        (18, 108, 36), (12, 8, 4), (8, 5, 1), (5, 2, 1)
    ]  # fmt: skip
    assert network.plan.configurations == 1
    params = network.init(jax.random.key(8))
    x = jnp.float32(np.random.default_rng(34).random((B, 6, 6, 2)))
    scores, _, stats = jax.jit(partial(network.apply, on="ideal"))(params, {}, x)
    codes = jax.tree.map(lambda w: jnp.float32(twin.codes(w, 64)) / 64, params)
    raster = encode(x, Latency(steps=T)).reshape(T * B, 6, 6, 2)
    drive = jax.lax.conv_general_dilated(
        raster, codes["conv_lif_0"]["weight"], (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    )  # fmt: skip
    z = lif(LIFParams(), drive.reshape(T, B, -1))
    assert 0.02 < z.mean() < 0.5
    np.testing.assert_array_equal(stats["conv_lif_0"]["spikes"], z.sum(0))
    pooled = z.reshape(T, B, 3, 2, 3, 2, 3).mean((3, 5))
    local = codes["conv_lif_1"]["weight"]
    seen = [
        pooled[:, :, i : i + 2, j : j + 2].transpose(0, 1, 4, 2, 3).reshape(T, B, 12)
        for i, j in np.ndindex(2, 2)
    ]
    drive = jnp.stack([s @ w for s, w in zip(seen, local, strict=True)], axis=2)
    z = lif(LIFParams(), drive.reshape(T, B, -1))
    np.testing.assert_array_equal(stats["conv_lif_1"]["spikes"], z.sum(0))
    z = lif(LIFParams(), z @ codes["lif_0"]["weight"])
    np.testing.assert_array_equal(stats["lif_0"]["spikes"], z.sum(0))
    np.testing.assert_allclose(
        scores, li(LIParams(), z @ codes["li_0"]["weight"]).max(0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("code", [Latency, LogLatency, SpikeTime, Regular, Rate])
def test_values_out_of_range_are_coded_as_its_ends(code):
    beyond, ends = jnp.array([[-0.5, 0.3, 1.5]]), jnp.array([[0.0, 0.3, 1.0]])
    key = jax.random.key(0)
    code = code(steps=30)
    np.testing.assert_array_equal(encode(beyond, code, key), encode(ends, code, key))


def test_a_network_of_fields_cut_into_runs_is_the_whole_network():
    # A wide surrogate: four layers leave a gradient.
    settings = {"decoder": SumOverTime(), "surrogate": SuperSpike(1.0)}
    whole = build(CONV, (6, 6, 2), **settings)
    small = replace(BSS2, columns=16)  # 32 circuits
    cut = build(CONV, (6, 6, 2), substrate=small, **settings)
    # Four configurations of the first population alone, one that the others share.
    assert configurations(cut.plan) == [[0, 1, 2, 3], [4], [4], [4]]
    params = whole.init(jax.random.key(8))
    x = jnp.float32(np.random.default_rng(34).random((B, 6, 6, 2)))

    def gradient(network):
        def loss(params):
            scores, _, stats = network.apply(params, {}, x, on="ideal")
            return 100 * (scores * jnp.array([1.0, -2.0])).sum(), stats

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    (g_cut, s_cut), (g_whole, s_whole) = gradient(cut), gradient(whole)
    jax.tree.map(np.testing.assert_array_equal, s_cut, s_whole)
    jax.tree.map(close, g_cut, g_whole)


def test_a_one_dimensional_field_slides_along_its_signal():
    network = build([ConvLIF(outputs=4, window=5, stride=2), LI(outputs=3)], (15, 2))
    assert network.shapes[2] == (6, 4)
    assert network.plan.demands[0].positions == 6


def test_parts_keep_each_runs_input_events_under_the_limit():
    """EuroSAT's first layer: 12,288 inputs, 441 fields of 27, at most 4,096 events a run."""
    first = ConvLIF(outputs=1, window=3, stride=3, shared=False)
    layers = [first, LIF(outputs=128), LI(outputs=10)]
    plan = build(layers, (64, 64, 3)).plan
    assert configurations(plan) == [[0, 1, 2], [3], [4]]
    most = max(piece.columns.stop - piece.columns.start for piece in plan.pieces[:3])
    assert plan.demands[0].input_events == most * 27 <= 4096 == BSS2.max_input_events
    assert plan.place("lif_0").circuits.shape == (128, 4)
    # Overlapping fields share their events; several spikes an input are as many events.
    shared = build([replace(first, stride=1), LI(outputs=2)], (8, 8, 3)).plan
    assert shared.demands[0].input_events == 8 * 8 * 3
    twice = build(layers, (64, 64, 3), Regular(spikes=2)).plan
    assert len(configurations(twice)[0]) == 6 and twice.demands[0].input_events <= 4096


def test_sparse_inputs_of_dense_layers_are_events_and_others_are_not():
    def driven(layer, code):
        text = describe(build([layer, LI(outputs=2)], (6, 6, 1), code).plan)
        assert ("of its raster" in text) == (code != Current())
        return "event by event" in text

    assert driven(LIF(outputs=4), Latency(steps=30))
    assert not driven(LIF(outputs=4), Latency(steps=8))
    assert not driven(ConvLIF(outputs=4, window=3), Latency(steps=30))
    assert not driven(LIF(outputs=4), Rate())
    assert not driven(LIF(outputs=4), Current())


RECURRENT = (
    LIF(outputs=5, recurrent=True, init_mean=0.3, init_std=0.4),
    LI(outputs=2),
)


def test_a_recurrent_network_of_delta_coded_signals_is_its_layers_written_out():
    code = Delta(steps=T, theta=0.125)
    network = build(RECURRENT, (2 * T, 3), code, MeanOverTime(), surrogate=SuperSpike(5.0))
    assert network.shapes == ((2 * T, 3), (6,), (5,), (2,), (2,))
    params = network.init(jax.random.key(8))
    assert params["lif_0"]["weight"].shape == (6, 5)
    x = jnp.float32(np.random.default_rng(35).normal(size=(B, 2 * T, 3)).cumsum(axis=1) / 4)
    raster = twin.delta(np.asarray(x), T, 0.125)
    assert 0.2 < raster.mean() <= 0.5

    def whole(params):
        scores, _, stats = network.apply(params, {}, x, on="float")
        return (scores * jnp.array([10.0, -20.0])).sum(), (scores, stats)

    def by_hand(params):
        drive = jnp.float32(raster) @ params["lif_0"]["weight"]
        surrogate = SuperSpike(5.0)
        z = lif(LIFParams(), drive, params["lif_0"]["recurrent"], surrogate=surrogate)
        scores = li(LIParams(), z @ params["li_0"]["weight"]).mean(0)
        return (scores * jnp.array([10.0, -20.0])).sum(), (scores, z.sum(0))

    got, (scores, stats) = jax.grad(whole, has_aux=True)(params)
    expected, (by_layers, spikes) = jax.grad(by_hand, has_aux=True)(params)
    np.testing.assert_array_equal(stats["lif_0"]["spikes"], spikes)
    assert spikes.sum() > 10
    np.testing.assert_allclose(scores, by_layers, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, got, expected)


def test_the_plan_knows_the_most_spikes_of_a_delta_code():
    """One a step and channel: a signal that always moves too fast to be followed."""
    code = Delta(steps=T, theta=0.01)
    network = build(RECURRENT, (T, 3), code)
    plan, coded = network.plan, network.nodes[0].after
    signals = jnp.broadcast_to(jnp.arange(1.0, T + 1)[:, None], (1, T, 3))
    most = encode(signals, code)
    assert plan.demands[0].input_events == 3 * T == most.sum()
    assert coded.density == 0.5 == most.mean()
    (first, second) = plan.demands
    assert (first.inputs, first.recurrent, second.inputs) == (6 + 5, True, 5)


@pytest.mark.parametrize("shape", [(4,), (6, 6, 1), (T + 1, 3), (T // 2, 3)])
def test_delta_coding_needs_signals_with_a_sample_for_every_step(shape):
    with pytest.raises(ValueError, match=f"delta_0.*takes signals.*multiple of {T} steps"):
        build(RECURRENT, shape, Delta(steps=T))


@pytest.mark.parametrize("decoder", (FirstSpike(), SpikeCount()))
def test_output_spikes_can_be_decoded_and_learned(decoder):
    layers = [LIF(outputs=2, init_mean=0.5, init_std=0.2)]
    network = build(layers, (4,), decoder=decoder, surrogate=SuperSpike(10.0))
    params, x = network.init(jax.random.key(9)), jnp.full((1, 4), 0.8)

    @jax.jit
    @jax.grad
    def gradient(params):
        scores, _, _ = network.apply(params, {}, x, on="ideal")
        return optax.softmax_cross_entropy_with_integer_labels(scores, jnp.array([0])).mean()

    for _ in range(60):
        params = jax.tree.map(lambda p, g: p - 0.05 * jnp.sign(g), params, gradient(params))
    scores, _, stats = network.apply(params, {}, x, on="ideal")
    assert scores[0, 0] > scores[0, 1] and stats["lif_0"]["spikes"].sum() > 0
    with pytest.raises(ValueError, match=f"{decoder.kind}_0.*takes spikes.*lif layer"):
        build([*layers, LI(outputs=2)], (4,), decoder=decoder)


def test_what_a_spiking_network_cannot_have_is_an_error_that_names_the_layer():
    for layers, message in (
        ([Pool(mode="max", window=2), LI(outputs=2)], "pool_0.*spikes are pooled by mean or sum"),
        ([ConvLIF(outputs=2, window=9), LI(outputs=2)], "conv_lif_0 on an input of .*does not fit"),
        ([LIF(outputs=2), ConvLIF(outputs=2, window=1), LI(outputs=2)], "conv_lif_0.*windows need"),
        ([LI(outputs=3), LI(outputs=2)], "li_1.*takes spikes"),
        ([LI(outputs=3), LIF(outputs=2)], "lif_0.*takes spikes"),
        ([LIF(outputs=3)], "max_over_time_0.*takes traces"),
    ):
        with pytest.raises(ValueError, match=message):
            build(layers, (6, 6, 1))
    network = build([LIF(outputs=2), LI(outputs=2)], (4,), Current())
    with pytest.raises(ValueError, match="a chip is sent spikes"):
        network.apply(network.init(jax.random.key(0)), {}, jnp.ones((1, 4)), on="ideal")


def test_soft_clamped_weights_reach_the_synapses_below_the_cap():
    layers = [LIF(outputs=3, init_std=2.0), LI(outputs=2)]
    soft, hard = (build(layers, (4,), weight_clamp=c) for c in ("soft", "hard"))
    params = jax.tree.map(lambda w: 3 * w, soft.init(jax.random.key(1)))
    clamped = jax.tree.map(lambda w: soft_clamp(w, 63 / 64), params)
    x = jnp.full((2, 4), 0.7)
    for on in ("float", "ideal"):
        np.testing.assert_array_equal(
            soft.apply(params, {}, x, on=on)[0], hard.apply(clamped, {}, x, on=on)[0]
        )
    kept, cut = soft.project(params), hard.project(params)
    jax.tree.map(np.testing.assert_array_equal, kept, params)
    assert max(np.abs(w).max() for w in jax.tree.leaves(cut)) == 63 / 64


# --- learning


def brighter_half():
    """Which half of the inputs is brighter."""
    rng = np.random.default_rng(27)
    label = np.arange(32) % 2
    x = rng.uniform(0.1, 0.4, (32, 6))
    x[label == 0, :3] += 0.5
    x[label == 1, 3:] += 0.5
    hidden = LIF(outputs=12, init_mean=0.3, init_std=0.4)
    return [hidden, LI(outputs=2)], Latency(steps=T), MaxOverTime(), x, label


def order_of_moves():
    """Which of two signals, as those of a phone, moves first; in the end both have moved alike."""
    rng = np.random.default_rng(28)
    label = np.arange(32) % 2
    step = np.arange(T)[:, None]
    start = 3 + 7 * np.stack([label, 1 - label], axis=1)[:, None] + rng.integers(-1, 2, (32, 1, 1))
    x = np.where(step >= start, 0.6, 0.0) + rng.normal(0, 0.02, (32, T, 2))
    hidden = LIF(outputs=12, recurrent=True, init_mean=0.1, init_std=0.4)
    return [hidden, LI(outputs=2)], Delta(steps=T, theta=0.2), MeanOverTime(), x, label


@pytest.mark.parametrize("problem", [brighter_half, order_of_moves])
def test_a_small_network_learns_on_a_noisy_chip(problem):
    """Chance is ln 2."""
    layers, code, decoder, x, label = problem()
    network = build(
        layers, x.shape[1:], code, decoder, weight_scale=60.0, surrogate=SuperSpike(10.0)
    )
    chip = sample_chip(jax.random.key(5))
    x = jnp.float32(x)
    params = network.init(jax.random.key(6))
    optimiser = optax.adam(0.05)

    def loss(params, key):
        scores, _, _ = network.apply(params, {}, x, chip, key, on="chip", training=True)
        return optax.softmax_cross_entropy_with_integer_labels(3 * scores, label).mean(), scores

    @jax.jit
    def step(carry, key):
        params, state = carry
        (value, scores), gradient = jax.value_and_grad(loss, has_aux=True)(params, key)
        updates, state = optimiser.update(gradient, state)
        accuracy = (scores.argmax(1) == label).mean()
        return (optax.apply_updates(params, updates), state), (value, accuracy)

    carry = params, optimiser.init(params)
    history = []
    for key in jax.random.split(jax.random.key(7), 40):
        carry, outcome = step(carry, key)
        history.append([float(value) for value in outcome])
    losses, accuracies = np.array(history).T
    assert losses[-5:].mean() < 0.5 * losses[0]
    assert accuracies[-5:].mean() > 0.95


@pytest.mark.parametrize("order", ["exponential", "euler"])
def test_initial_weights_drive_membranes_to_the_threshold(order):
    """Of independent spikes membranes have a variance of 1 - p about their mean, p a step."""
    steps, share, neurons = 100, 0.1, 200
    k_spikes, k_weights = jax.random.split(jax.random.key(0))
    z = jax.random.bernoulli(k_spikes, share, (steps, 50, 64)).astype(jnp.float32)
    layer = LIF(outputs=neurons, integrator=order)
    std = layer.initial_std(Spikes((64,), steps=steps, dt=1e-6, events=share * steps))
    w = std * jax.random.normal(k_weights, (64, neurons))
    v = li(LIParams(layer.tau_mem, layer.tau_syn), z @ w, dt=1e-6, integrator=order)[-1]
    # A step's spikes add up to 1 / (1 - q) of them, q what a current keeps of a step.
    q = 1 - 1e-6 / layer.tau_syn if order == "euler" else np.exp(-1e-6 / layer.tau_syn)
    variance = jnp.mean((v - share * w.sum(axis=0) / (1 - q)) ** 2)
    # 50 x 64 independent inputs: a standard error of some 3 %.
    assert float(variance) == pytest.approx(1 - share, rel=0.12)


def test_layers_say_when_they_hardly_work():
    after = Spikes((3,), steps=30, dt=1e-6)
    hidden, product = LIF(outputs=3), Dense(outputs=3)
    assert "hardly spikes, 0.001" in hidden.complaint({"spikes": 0.001}, after)
    assert "20.0 times in 30 steps" in hidden.complaint({"spikes": 20.0}, after)
    assert hidden.complaint({"spikes": 1.0}, after) == "" == hidden.complaint({}, after)
    assert "30% of its sums" in product.complaint({"sums": 0.3, "outputs": 0.0}, after)
    assert product.complaint({"sums": 0.1, "outputs": 0.0}, after) == ""
