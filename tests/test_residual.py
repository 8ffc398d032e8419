"""Residual blocks, shortcuts and direct coding, against networks of plain layers."""

import tomllib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bss2jax as b
from bss2jax.config.read import parsed
from bss2jax.config.tables import Config
from bss2jax.kernels.gradients.surrogate import Triangle
from bss2jax.mapping.cost import estimate
from bss2jax.networks import (
    LI,
    Concatenate,
    ConvLIF,
    Current,
    Direct,
    Flatten,
    MeanOverTime,
    Pool,
    Residual,
    ShortcutLIF,
    SpikeCount,
    build,
    fold_norms,
    nir,
)

SMALL = b.Substrate(rows=64, columns=128)
TIMES = {"tau_mem": 2e-6, "tau_syn": 1e-6}
CODE, RNG = Direct(steps=3, levels=8), np.random.default_rng(3)
X = jnp.asarray(RNG.random((10, 4, 4, 2)), jnp.float32)


@partial(jax.jit, static_argnames=("network", "on", "training"))
def run(network, params, state, x, chip=None, **how):
    return network.apply(params, state, x, chip, jax.random.key(2), **how)


OTHERS = [(1, "float"), (2, "float"), (2, "ideal"), (1, "chip")]
# Each compiles for seconds; the others pass the same code again.
CASES = [(1, "ideal"), *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]


@pytest.mark.parametrize("stride, on", CASES)
def test_a_shortcut_is_a_convolution_of_what_stands_side_by_side(stride, on):
    """With kernels that are 0 where the shortcut has no synapse.

    Bit by bit, but for strengths on a chip: those of fewer inputs are rounded more finely.
    """
    size = 2 if stride == 1 else 3
    left = ConvLIF(name="left", outputs=2, window=3, padding=1, init_mean=0.3, **TIMES)
    right = ConvLIF(name="right", outputs=2, window=1, init_mean=0.8, inputs=("direct_0",), **TIMES)
    both = {"inputs": ("left", "right"), "name": "end", "window": 3, "padding": 1}
    both |= {"outputs": size, "stride": stride, "weight_scale": "neuron", **TIMES}
    layers = [CODE, left, right]
    ours = build([*layers, ShortcutLIF(**both), SpikeCount()], (4, 4, 2), substrate=SMALL)
    side = Concatenate(inputs=("left", "right"), name="side")
    plain = ConvLIF(**both | {"inputs": ("side",)})
    theirs = build([*layers, side, plain, SpikeCount()], (4, 4, 2), substrate=SMALL)
    params = ours.init(jax.random.key(1))
    w = params["end"]["shortcut"].reshape(-1, size) * 0.3
    params["end"]["shortcut"] = w.reshape(params["end"]["shortcut"].shape)
    centre = jnp.zeros((3, 3, 2, size)).at[1, 1].set(jnp.eye(2) * w if stride == 1 else w)
    kernel = jnp.concatenate([params["end"]["weight"], centre], axis=2)
    chip = b.sample_chip(jax.random.key(1), substrate=SMALL) if on == "chip" else None
    one = run(ours, params, {}, X, chip, on=on)[0]
    other = run(theirs, params | {"end": {"weight": kernel}}, {}, X, chip, on=on)[0]
    assert (one == other).mean() >= (0.97 if on == "chip" else 1) and 0.05 < one.mean() < 2.9


def deep(**settings):
    layers = [
        CODE,
        ConvLIF(outputs=4, window=3, padding=1, norm="batch", **TIMES),
        Residual(outputs=8, stride=2, repeats=2, **TIMES, **settings),
        Pool(mode="mean", window=2),
        LI(outputs=3, **TIMES),
        MeanOverTime(),
    ]
    return build(layers, (4, 4, 2), substrate=SMALL)


MORE = [{"connect": "spikes"}, {"block": "bottleneck"}]
BLOCKS = [{}, *(pytest.param(settings, marks=pytest.mark.slow) for settings in MORE)]  # likewise


@pytest.mark.parametrize("settings", BLOCKS)
def test_blocks_are_layers_that_run_folded_and_are_planned(settings):
    network = deep(**settings)
    ends = [node for node in network.nodes if node.name in ("residual_0_0", "residual_0")]
    assert [len(node.inputs) for node in ends] == [2, 2] and ends[1].after.size == (2, 2, 8)
    params, state = network.init(jax.random.key(0)), network.state()

    for _ in range(150):  # until running means are those of the batch
        state = run(network, params, state, X, on="float", training=True)[1]
    plain, learned, none = fold_norms(network, params, state)
    wanted = jax.eval_shape(plain.init, jax.random.key(0))
    assert none == {} and jax.tree.structure(wanted) == jax.tree.structure(learned)
    normed = run(network, params, state, X, on="float", training=True)[2]
    records = run(plain, learned, {}, X, on="float")[2]
    for name, record in records.items():
        if "spikes" in record:
            assert (record["spikes"] == normed[name]["spikes"]).mean() > 0.99
    if settings == {}:
        fan_ins = [node.layer.demand(*node.before).inputs for node in ends]
        assert fan_ins == [9 * 8 + 4, 9 * 8 + 1]
    found = estimate(network.plan)
    assert (
        found.seconds > 0
        and found.joules[0] > 0
        and network.executions == ("float", "ideal", "chip")
    )


def test_direct_coding_is_a_current_on_float_and_spikes_of_its_levels_elsewhere():
    conv = ConvLIF(outputs=3, window=3, padding=1, init_std=0.8, **TIMES)
    ours, theirs = (build([c, conv, SpikeCount()], (4, 4, 2)) for c in (CODE, Current(steps=3)))
    params = ours.init(jax.random.key(0))
    value = lambda net, x, on="float": run(net, params, {}, x, on=on)[0]  # noqa: E731
    assert jnp.array_equal(value(ours, X), value(theirs, X)) and value(ours, X).max() > 1
    rounded = jnp.round(X * 8) / 8
    assert jnp.array_equal(value(ours, X, "ideal"), value(ours, rounded, "ideal"))
    slope = lambda net: jax.grad(lambda p: run(net, p, {}, X, on="float")[0].sum())(params)  # noqa: E731
    for one, other in zip(jax.tree.leaves(slope(ours)), jax.tree.leaves(slope(theirs))):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


RESNET = """
name = "resnet"
data = { name = "digits" }
layers = [
    { kind = "direct", steps = 2 },
    { kind = "conv_lif", outputs = 4, window = 3, padding = 1, norm = "batch" },
    { kind = "residual", outputs = 4, repeats = REPEATS },
    { kind = "residual", outputs = 8, stride = 2, repeats = REPEATS },
    { kind = "residual", outputs = 16, stride = 2, repeats = REPEATS },
    { kind = "pool", mode = "mean", window = 2 },
    { kind = "li", outputs = 10 },
    { kind = "mean_over_time" },
]
phases = [{ on = "float", epochs = 1, learning_rate = 1e-3 }]
"""


@pytest.mark.parametrize("depth", [8, 20])
def test_deep_networks_take_a_few_lines_of_a_config(depth):
    text = RESNET.replace("REPEATS", str((depth - 2) // 6))
    config = parsed(Config, tomllib.loads(text), "text", ())
    network = build(config.layers, (8, 8, 1))
    weights = [p for own in jax.eval_shape(network.init, jax.random.key(0)).values() for p in own]
    assert weights.count("weight") == depth


def test_shortcuts_go_to_nir(tmp_path):
    network = deep()
    params, state = network.init(jax.random.key(0)), network.state()
    graph = nir.write(network, params, state)
    into = {name for name, end in graph.edges if end == "residual_0_0"}
    assert into == {"residual_0_0_weight", "residual_0_0_shortcut"}


@pytest.mark.parametrize(
    "layer, message",
    [
        (ShortcutLIF(outputs=2, window=1), "takes what its windows see, and a shortcut"),
        (ShortcutLIF(outputs=2, window=2, inputs=("a", "b")), "no stride brings a shortcut of"),
        (Residual(outputs=2, inputs=("a", "b")), "takes the output of one layer, and is given 2"),
        (Residual(outputs=2, inputs=("c",)), "inputs: no layer 'c' before it"),
    ],
)
def test_what_is_no_block_is_refused(layer, message):
    first = ConvLIF(name="a", outputs=2, window=1)
    other = ConvLIF(name="b", outputs=2, window=1, inputs=("direct_0",))
    with pytest.raises(ValueError, match=message):
        build([CODE, first, other, layer, SpikeCount()], (5, 5, 2))


@pytest.mark.slow  # gradients of twenty layers compile for half a minute
@pytest.mark.parametrize("depth", [8, 20])
@pytest.mark.parametrize("connect", ["currents", "spikes", None])
def test_gradients_last_at_the_surrogate_of_the_configs(depth, connect):
    """As `docs/how-to/deep.md` says: within a factor of 4 at height 1, much less at 0.3."""
    ratio = {}
    for height in (1.0, 0.3):
        shared = TIMES | {"tau_mem": 6e-6, "surrogate": Triangle(1.0, height)}
        conv = ConvLIF(outputs=8, window=3, padding=1, norm="batch", **shared)
        body = [conv] * (depth - 2)
        if connect is not None:
            settings = shared | {"repeats": (depth - 2) // 6, "connect": connect}
            body = [Residual(outputs=8 * s, stride=s, **settings) for s in (1, 2, 2)]
        layers = [Direct(steps=4, dt=4e-6), conv, *body, Flatten(), LI(outputs=10), MeanOverTime()]
        network = build(layers, (8, 8, 1))
        params = network.init(jax.random.key(0))
        x = jnp.asarray(b.data.load("digits").train.x[:64] / 16, jnp.float32)
        label = jnp.asarray(b.data.load("digits").train.y[:64], jnp.int32)

        def loss(params, network=network, x=x, label=label):
            scores = run(network, params, network.state(), x, on="float", training=True)[0]
            return -jnp.take_along_axis(jax.nn.log_softmax(3 * scores), label[:, None], 1).mean()

        slope = jax.grad(loss)(params)
        norms = [jnp.linalg.norm(own["weight"]) for own in slope.values() if "gamma" in own]
        ratio[height] = norms[0] / norms[-1]
    assert 0.25 <= ratio[1.0] <= 4 and ratio[0.3] <= 0.25 * ratio[1.0]
