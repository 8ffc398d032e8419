"""Networks are graphs of layers: mixed kinds, branches, state, layers of one's own."""

import sys
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bss2jax import config, sample_chip
from bss2jax.networks import (
    LI,
    LIF,
    Activations,
    Add,
    AdEx,
    Concatenate,
    Conv1d,
    Dense,
    Flatten,
    Latency,
    Layer,
    MaxOverTime,
    MeanOverTime,
    Pool,
    Regular,
    Signal,
    SpikeCount,
    Spikes,
    Structured,
    Values,
    build,
)

B = 6


def apply(network, params, x, state=None, **settings):
    run = jax.jit(partial(network.apply, **settings))
    return run(params, state or network.state(), x)


@dataclass(frozen=True, kw_only=True)
class Scaled(Layer):
    """A layer of one's own: each channel times a trained gain; it counts its calls."""

    start: float = 1.0

    def shape(self, *before: Signal) -> Signal:
        return before[0]

    def init(self, key, *before):
        return {"gain": jnp.full(before[0].size[-1], self.start)}

    def state(self, *before):
        return {"calls": jnp.zeros((), jnp.int32)}

    def apply(self, params, state, *x, how):
        record = {"largest": jnp.abs(x[0]).max()}
        return x[0] * params["gain"], {"calls": state["calls"] + 1}, record


MIXED = [
    Conv1d(outputs=4, window=3, activation="converting_relu", bias=True),
    Flatten(),
    Regular(steps=24, spikes=12),
    LIF(outputs=30, init_std=0.4),
    LI(outputs=3),
    MaxOverTime(),
]


# --- analog in front, spiking behind


def test_a_network_may_be_analog_in_front_and_spiking_behind():
    network = build(MIXED, (12, 2))
    params = network.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (B, 12, 2))
    for on in ("float", "ideal"):
        scores, state, records = apply(network, params, x, on=on)
        assert scores.shape == (B, 3) and state == {}
        assert {"lif_0", "li_0"} <= set(records)
    # The same, layer by layer, from networks of one kind.
    front = build(MIXED[:2], (12, 2))
    values = front.apply(params, {}, x, on="ideal")[0] / 31
    behind = build(MIXED[2:], (40,))
    expected = behind.apply(params, {}, values, on="ideal")[0]
    np.testing.assert_array_equal(apply(network, params, x, on="ideal")[0], expected)


@pytest.mark.slow  # trains; a network of both kinds is run
def test_a_mixed_network_learns_in_the_loop_through_both_halves():
    """Four classes by chance lose ln 4 = 1.386; the analog half must move, too."""
    network = build(MIXED, (12, 2))
    rng = np.random.default_rng(0)
    labels = jnp.arange(60) % 3
    prototypes = rng.random((3, 12, 2)).round()
    x = jnp.float32(
        np.clip(0.8 * prototypes[labels] + 0.1 + rng.normal(0, 0.05, (60, 12, 2)), 0, 1)
    )
    chip, params = sample_chip(jax.random.key(3)), network.init(jax.random.key(0))
    adam = {name: optax.adam(0.5 if name == "conv1d_0" else 1e-2) for name in params}
    optimizer = optax.multi_transform(adam, {name: name for name in params})

    def loss(params, key):
        scores, *_ = network.apply(params, {}, x, chip, key, on="chip")
        return optax.softmax_cross_entropy_with_integer_labels(3 * scores, labels).mean()

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(gradient, state, params)
        return (network.project(optax.apply_updates(params, updates)), state), value

    keys = jax.random.split(jax.random.key(5), 40)
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))
    (trained, _), losses = run((params, optimizer.init(params)))
    assert losses[-5:].mean() < 0.5 * np.log(3)
    assert (trained["conv1d_0"]["weight"] != params["conv1d_0"]["weight"]).any()


def test_a_code_without_gradient_is_refused_behind_trained_layers():
    layers = [Dense(outputs=9), Latency(), LIF(outputs=3), SpikeCount()]
    with pytest.raises(ValueError, match="layer latency_0.*no gradient.*regular"):
        build(layers, (5,))


# --- branches


def test_branches_are_added_or_put_side_by_side():
    def layers(join):
        return [
            Dense(outputs=7, name="a", inputs=("input",)),
            Dense(outputs=7, name="b", inputs=("input",)),
            join(inputs=("a", "b")),
            Dense(outputs=2, name="last"),
        ]

    x = jax.random.uniform(jax.random.key(1), (B, 9))
    for join in (Add, Concatenate):
        network = build(layers(join), (9,))
        params = network.init(jax.random.key(0))
        a, b = (
            build([Dense(outputs=7, name=n)], (9,)).apply(params, {}, x, on="float")[0]
            for n in ("a", "b")
        )
        joined = a + b if join is Add else jnp.concatenate([a, b], axis=-1)
        last = build([Dense(outputs=2, name="last")], Activations(joined.shape[1:]))
        expected = last.apply(params, {}, joined, on="float")[0]
        np.testing.assert_allclose(
            apply(network, params, x, on="float")[0], expected, rtol=1e-5, atol=1e-4
        )


def test_readouts_are_added_as_saturating_numbers():
    network = build([Add(inputs=("input", "input"))], Activations((3,)))
    y = network.apply({}, {}, jnp.array([[100.0, -100.0, 3.5]]), on="ideal")[0]
    np.testing.assert_array_equal(y, [[127, -128, 6]])  # 3 + 3: each is floored first


def test_spikes_of_branches_meet_where_their_time_is_the_same():
    layers = [
        Latency(steps=20, name="early"),
        LIF(outputs=5, name="a", inputs=("early",)),
        LIF(outputs=5, name="b", inputs=("early",)),
        Concatenate(inputs=("a", "b")),
        LI(outputs=2),
        MeanOverTime(),
    ]
    network = build(layers, (8,))
    x = jax.random.uniform(jax.random.key(1), (B, 8))
    assert apply(network, network.init(jax.random.key(0)), x, on="ideal")[0].shape == (B, 2)
    layers[2] = LIF(outputs=5, name="b", inputs=("late",))
    layers.insert(1, Latency(steps=30, name="late", inputs=("input",)))
    with pytest.raises(ValueError, match="same steps and dt"):
        build(layers, (8,))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [Latency(), Dense(outputs=3)],
            "dense_0.*takes values or activations, and is given spikes",
        ),
        ([LIF(outputs=3)], "takes spikes, and is given values.*code"),
        ([Latency(), MaxOverTime()], "takes traces, and is given spikes.*li layer"),
        ([Latency(), LIF(outputs=3), Pool(window=1)], "spikes are pooled by mean or sum"),
        ([Dense(outputs=3), LIF(outputs=2)], "lif_0.*takes spikes"),
        ([Latency(), LIF(outputs=3, recurrent_bias=True)], "recurrent_bias: .*set recurrent"),
        ([Latency(), AdEx(outputs=3, gradient="eventprop")], "gradient: adex neurons"),
        ([Latency(), Structured(outputs=3, bias=True)], "bias: structured neurons have none"),
        ([Flatten(inputs=("nowhere",))], "no layer 'nowhere' before it; known: input"),
        ([Flatten(), Add()], "inputs = "),
        ([Flatten(name="input")], "'input' occurs twice"),
        ([Flatten(name="lost"), Flatten(inputs=("input",))], "lost: no layer takes"),
    ],
)
def test_what_does_not_fit_is_said_where_it_stands(layers, message):
    with pytest.raises(ValueError, match=message):
        build(layers, (6,))


# --- names and keys


def test_an_inserted_layer_leaves_the_others_as_they_were():
    layers = [Flatten(), Dense(outputs=5), Dense(outputs=5)]
    before = build(layers, (6,)).init(jax.random.key(0))
    layers.insert(1, Scaled())
    after = build(layers, (6,)).init(jax.random.key(0))
    assert set(after) - set(before) == {"scaled_0"}
    for name in before:
        np.testing.assert_array_equal(before[name]["weight"], after[name]["weight"])


# --- state, and layers of one's own


def test_a_layer_of_ones_own_has_parameters_state_and_a_record():
    network = build([Scaled(start=2.0), Dense(outputs=2)], (3,))
    params, state = network.init(jax.random.key(0)), network.state()
    x = jnp.full((B, 3), 0.25)
    _, state, records = apply(network, params, x, state, on="ideal")
    _, state, _ = apply(network, params, x, state, on="ideal")
    assert int(state["scaled_0"]["calls"]) == 2
    assert float(records["scaled_0"]["largest"]) == 0.25
    gradient = jax.grad(lambda p: network.apply(p, state, x, on="float")[0].sum())(params)
    assert (gradient["scaled_0"]["gain"] != 0).all()


def test_a_config_names_a_layer_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    text = """
name = "own"
data.name = "digits"
layers = [{kind = "mine:Scaled", start = 0.5}, {kind = "flatten"}, {kind = "dense", outputs = 10}]
phases = [{on = "float", epochs = 1, learning_rate = 1.0}]
"""
    path = tmp_path / "own.toml"
    path.write_text(text)
    parsed, _ = config.load(path)
    assert parsed.layers[0] == Scaled(start=0.5)
    # What is written reads back: the class is named where it really lies.
    again = tmp_path / "again.toml"
    again.write_text(config.dump(parsed).replace(f"{__name__}:", "mine:"))
    assert config.load(again)[0] == parsed
    for wrong, message in (
        ("mine:Nothing", "no 'Nothing'"),
        ("mine:jnp", "no class derived from"),
        ("nowhere.at.all:X", "nowhere.at.all:X: ModuleNotFoundError"),
    ):
        path.write_text(text.replace("mine:Scaled", wrong))
        with pytest.raises(config.ConfigError, match=f"layers.0.*{message}"):
            config.load(path)
    path.write_text(text.replace("start = 0.5", "begin = 0.5"))
    with pytest.raises(config.ConfigError, match="layers.0.*begin"):
        config.load(path)


def test_signals_know_their_kind():
    assert (Values((2, 3)).kind, Activations((2,)).kind) == ("values", "activations")
    assert Spikes((4,), steps=10, dt=1e-6, events=2.0).density == 0.2
