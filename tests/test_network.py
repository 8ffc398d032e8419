"""Networks: layers in order, one forward pass for three executions, and a plan that fits."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import stats as statistics

from bss2jax import describe, ideal_chip, merge, networks, sample_chip, split
from bss2jax.networks import Activations, Conv1d, Conv2d, Dense, Flatten, Pool, Signs

WEIS = [  # the network of Weis et al. 2020 on MNIST
    Conv2d(outputs=20, window=10, stride=5, padding=1, activation="converting_relu", name="conv"),
    Flatten(),
    Dense(outputs=128, activation="converting_relu", name="hidden"),
    Dense(outputs=10, name="scores"),
]


def build(layers, shape):
    """A network whose input is in units of activations."""
    return networks.build(layers, Activations(shape))


def inputs(shape, batch=4, seed=0):
    x = np.random.default_rng(seed).integers(0, 32, (batch, *shape))
    return x.astype(np.float32)


def codes(network, seed=0, w_max=63):
    """Parameters of integer weights, so that rounding is no matter."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: rng.integers(-w_max, w_max + 1, leaf.shape).astype(np.float32), shapes
    )


def run(network, params, x, chip=None, key=None, *, on):
    scores, _, stats = jax.jit(partial(network.apply, on=on))(params, {}, x, chip, key)
    return scores, stats


# --- building


def test_shapes_pass_from_layer_to_layer():
    network = build(WEIS, (28, 28, 1))
    assert network.shapes == ((28, 28, 1), (5, 5, 20), (500,), (128,), (10,))
    assert network.names == ("conv", "flatten_0", "hidden", "scores")
    params = network.init(jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == {
        "conv": {"weight": (10, 10, 1, 20)},
        "hidden": {"weight": (500, 128)},
        "scores": {"weight": (128, 10)},
    }
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    scores, stats = run(network, params, inputs((28, 28, 1)), on="ideal")
    assert scores.shape == (4, 10)
    assert set(stats) == {"conv", "hidden", "scores"}


@pytest.mark.parametrize(
    ("layers", "shape", "shapes"),
    [
        ([Conv1d(outputs=6, window=5, stride=2, padding="SAME", groups=2)], (21, 4), [(11, 6)]),
        ([Conv1d(outputs=6, window=3, dilation=3, padding=1)], (20, 4), [(16, 6)]),
        ([Conv1d(outputs=6, window=3, expanded=True)], (20, 4), [(18, 6)]),
        ([Conv2d(outputs=6, window=(3, 2), stride=(2, 1))], (9, 8, 2), [(4, 7, 6)]),
        ([Pool(window=2)], (9, 8, 2), [(4, 4, 2)]),
        ([Pool(window=3, stride=1), Pool(window=(2, 4))], (9, 8, 2), [(7, 6, 2), (3, 1, 2)]),
        ([Pool(window=2, mode="mean"), Flatten()], (9, 3), [(4, 3), (12,)]),
        ([Signs(), Conv1d(outputs=4, window=3)], (9, 3), [(9, 6), (7, 4)]),
    ],
)
def test_the_output_has_the_shape_that_was_announced(layers, shape, shapes):
    network = build(layers, shape)
    assert list(network.shapes[1:]) == shapes
    params = network.init(jax.random.key(0))
    for on in ("float", "ideal"):
        scores, _ = run(network, params, inputs(shape), on=on)
        assert scores.shape == (4, *shapes[-1])


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Dense(outputs=3, name="first")], (5, 5, 1), "layer first.*flatten"),
        ([Flatten(), Conv2d(outputs=3, window=3, name="late")], (5, 5, 1), r"layer late.*\(25,\)"),
        ([Conv2d(outputs=3, window=7)], (5, 5, 1), "layer conv2d_0.*7 taps.*5"),
        ([Conv1d(outputs=3, window=3, groups=2)], (9, 3), "layer conv1d_0.*groups=2"),
        ([Conv1d(outputs=3, window=3, expanded=True, avg=2)], (9, 3), "layer conv1d_0.*expanded"),
        ([Conv1d(outputs=3, window=9, expanded=True)], (9, 30), "layer conv1d_0.*does not fit"),
        ([Pool(window=6)], (5, 5, 1), "layer pool_0"),
        ([Pool(window=2)], (5,), "layer pool_0"),
        ([Dense(outputs=3, name="a"), Dense(outputs=3, name="a")], (5,), "'a' occurs twice"),
        ([], (5,), "at least one"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        build(layers, shape)


@pytest.mark.parametrize("name", ["conv[0]", "it's", "a.b", "dense 1", "['x']"])
def test_a_layer_may_have_any_name(name):
    network = build([Dense(outputs=3, name=name), Dense(outputs=2)], (5,))
    assert network.init(jax.random.key(0))[name]["weight"].shape == (5, 3)
    assert set(network.plan.names) == {name, "dense_1"}


# --- initialisation


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in", "shift"),
    [
        (Dense(outputs=200, activation="converting_relu"), (500,), 500, 1),
        (Dense(outputs=200, activation="converting_relu", shift=3), (500,), 500, 3),
        (Dense(outputs=200), (300,), 300, 0),
        (Dense(outputs=200, activation="relu", shift=5), (300,), 300, 0),  # relu shifts nothing
        (Dense(outputs=200, num_sends=1), (300,), 300, 0),  # truncated at 63, 1.5 deviations
        (Conv2d(outputs=200, window=10), (28, 28, 1), 100, 0),
        (Conv2d(outputs=200, window=(3, 4), groups=2), (28, 28, 8), 48, 0),
        (Conv1d(outputs=60, window=9, expanded=True), (100, 12), 108, 0),
    ],
)
def test_initial_weights_and_num_sends_follow_the_formula(layer, shape, fan_in, shift):
    network = build([layer], shape)
    std = 2**shift * math.sqrt(2) / (0.002 * math.sqrt(fan_in))
    num_sends = layer.num_sends or math.ceil(std / 21)
    std /= num_sends
    assert network.plan.demands[0].num_sends == num_sends
    w = np.asarray(network.init(jax.random.key(1))[network.names[0]]["weight"], np.float64)
    assert np.abs(w).max() <= 63
    cut = 63 / std
    _, variance, _, kurtosis = statistics.truncnorm.stats(-cut, cut, moments="mvsk")
    variance *= std**2
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)
    assert abs(w.var() - variance) < 5 * variance * np.sqrt((kurtosis + 2) / w.size)


def test_layers_begin_with_different_weights_and_biases_of_zero():
    network = build([Dense(outputs=9, bias=True), Dense(outputs=9, bias=True)], (9,))
    params = network.init(jax.random.key(0))
    first, second = params["dense_0"], params["dense_1"]
    assert not np.allclose(first["weight"], second["weight"])
    assert (first["bias"] == 0).all() and first["bias"].shape == (9,)
    again, other = network.init(jax.random.key(0)), network.init(jax.random.key(1))
    np.testing.assert_array_equal(again["dense_0"]["weight"], first["weight"])
    assert not np.allclose(other["dense_0"]["weight"], first["weight"])


def test_num_sends_of_the_plan_reach_the_product():
    # 2^3 sqrt(2) / (0.002 sqrt(500)) = 253: 13 sends.
    network = build([Dense(outputs=7, activation="converting_relu", shift=3)], (500,))
    params, x = codes(network, w_max=4), inputs((500,))
    assert network.plan.demands[0].num_sends == 13
    y = reference.matmul(x, params["dense_0"]["weight"], num_sends=13)
    scores, _ = run(network, params, x, on="ideal")
    np.testing.assert_array_equal(scores, reference.converting_relu(y, 3))


# --- forward


def twin_of_weis(params, x, chips):
    """The network of Weis et al. layer by layer in NumPy; `chips` names each layer's chip."""
    sends = {"conv": 7, "hidden": 4, "scores": 3}  # 141, 63.2, 62.5 over 21, rounded up

    def product(name):
        return partial(reference.matmul, chip=chips.get(name), num_sends=sends[name])

    w = {name: leaf["weight"] for name, leaf in params.items()}
    y = reference.convolve(x, w["conv"], product("conv"), (5, 5), [(1, 1), (1, 1)], (1, 1))
    x = reference.converting_relu(y, 1).reshape(len(x), -1)
    x = reference.converting_relu(product("hidden")(x, w["hidden"]), 1)
    return product("scores")(x, w["scores"])


def test_the_published_network_equals_its_twin_on_a_perfect_chip():
    network = build(WEIS, (28, 28, 1))
    params, x = codes(network, w_max=20), inputs((28, 28, 1), 8)
    assert [d.num_sends for d in network.plan.demands] == [7, 4, 3]
    expected = twin_of_weis(params, x, {})
    scores, _ = run(network, params, x, ideal_chip(), on="chip")
    np.testing.assert_array_equal(scores, expected)
    assert len(np.unique(expected)) > 20


def test_each_layer_runs_on_the_execution_it_is_told():
    # A chip of offsets alone, none of which puts a product on a floor's edge.
    offset = np.random.default_rng(3).normal(0, 5, (2, 256))
    chip = replace(ideal_chip(), offset=jnp.asarray(offset, jnp.float32))
    network = build(WEIS, (28, 28, 1))
    params, x = codes(network, w_max=20), inputs((28, 28, 1), 8)
    pattern, results = reference.pattern(chip), []
    for names in ((), ("conv", "scores"), ("conv", "hidden", "scores")):
        on = dict.fromkeys(names, "chip")
        scores, _ = run(network, params, x, chip, on=on)
        results.append(np.asarray(scores))
        expected = twin_of_weis(params, x, dict.fromkeys(names, pattern))
        np.testing.assert_array_equal(scores, expected)
    scores, _ = run(network, params, x, chip, on="chip")
    np.testing.assert_array_equal(scores, results[-1])
    assert all((results[0] != other).any() for other in results[1:])


def test_float_is_the_plain_formula_and_reports_nothing():
    network = build(
        [
            Conv1d(outputs=4, window=3, activation="converting_relu", shift=2, bias=True, avg=2),
            Pool(window=2, mode="mean"),
            Pool(window=2),
            Flatten(),
            Dense(outputs=5, activation="relu", bias=True),
            Dense(outputs=3, bias=True),
        ],
        (22, 2),
    )
    params = jax.tree.map(
        lambda leaf: leaf + jax.random.normal(jax.random.key(1), leaf.shape),
        network.init(jax.random.key(0)),
    )
    x = np.random.default_rng(0).uniform(0, 31, (4, 22, 2)).astype(np.float32)
    conv, first, last = (params[name] for name in ("conv1d_0", "dense_0", "dense_1"))
    g = [0.002 * demand.num_sends for demand in network.plan.demands]
    y = jax.lax.conv_general_dilated(
        x, conv["weight"], (1,), "VALID", dimension_numbers=("NHC", "HIO", "NHC")
    )
    y = jnp.clip((y * g[0] + conv["bias"]) / 4, 0, 31)
    y = y.reshape(4, 10, 2, 4).mean(2).reshape(4, 5, 2, 4).max(2).reshape(4, -1)
    y = jnp.maximum(y @ first["weight"] * g[1] + first["bias"], 0)
    y = y @ last["weight"] * g[2] + last["bias"]
    scores, stats = run(network, params, x, on="float")
    np.testing.assert_allclose(scores, y, rtol=1e-4, atol=1e-4 * np.abs(y).max())
    assert all(shares == {} for shares in stats.values())


def test_a_dense_bias_is_a_saturating_int8_and_a_convolutions_a_float():
    dense = build([Dense(outputs=3, bias=True)], (4,))
    params = codes(dense, w_max=1) | {}
    params["dense_0"]["bias"] = np.array([0.75, 500.0, -200.0], np.float32)
    y = reference.matmul(inputs((4,)), params["dense_0"]["weight"], num_sends=17)
    scores, _ = run(dense, params, inputs((4,)), on="ideal")
    assert dense.plan.demands[0].num_sends == 17
    np.testing.assert_array_equal(scores, reference.add(y, params["dense_0"]["bias"]))
    conv = build([Conv1d(outputs=3, window=4, bias=True)], (4, 1))
    params["conv1d_0"] = params.pop("dense_0")
    params["conv1d_0"]["weight"] = params["conv1d_0"]["weight"][:, None]
    scores, _ = run(conv, params, inputs((4,))[..., None], on="ideal")
    np.testing.assert_array_equal(scores[:, 0], (y + params["conv1d_0"]["bias"]).astype(np.float32))


def test_mean_pooling_floors_like_a_readout_and_maximum_pooling_does_nothing():
    x = np.array([[[3.0, -3.0], [4.0, -4.0], [1.0, 0.0], [1.0, 0.0]]])
    weight = {"conv1d_0": {"weight": np.eye(2)[None] * 50}}
    copy = Conv1d(outputs=2, window=1, num_sends=10)  # 50 x 10 x 0.002: passes inputs on
    negate = np.array([[1, 0], [0, -1]])
    weight["conv1d_0"]["weight"] = weight["conv1d_0"]["weight"] @ negate
    for mode, expected in (
        ("mean", [[[3.0, -4.0], [1.0, 0.0]]]),  # 3.5 and -3.5, floored
        ("max", [[[4.0, -3.0], [1.0, 0.0]]]),
    ):
        network = build([copy, Pool(window=2, mode=mode)], (4, 2))
        scores, _ = run(network, weight, np.abs(x), on="ideal")
        np.testing.assert_array_equal(scores, expected)


def test_the_gradient_of_mean_pooling_is_that_of_the_mean():
    network = build([Pool(window=2, mode="mean")], (4, 1))
    x = jnp.array([[[0.0], [0.0], [3.0], [4.0]]])
    for on in ("ideal", "float"):
        gradient = jax.grad(lambda x, on=on: network.apply({}, {}, x, on=on)[0].sum())(x)
        np.testing.assert_array_equal(gradient, np.full((1, 4, 1), 0.5))


def test_an_expanded_layer_equals_an_ordinary_one_on_a_perfect_chip():
    pair = [
        build([Conv1d(outputs=6, window=5, stride=2, expanded=e, name="c")], (41, 3))
        for e in (False, True)
    ]
    params, x = codes(pair[0]), inputs((41, 3))
    plain, expanded = (run(network, params, x, on="ideal")[0] for network in pair)
    np.testing.assert_array_equal(plain, expanded)


# --- noise


def test_noise_needs_a_key_and_the_chip_and_differs_from_layer_to_layer():
    # With weights of zero the scores are the last layer's noise.
    chip = ideal_chip(noise_std=10.0)
    one = build([Dense(outputs=50)], (50,))
    two = build([Dense(outputs=50), Dense(outputs=50)], (50,))
    x, key = np.zeros((40, 50), np.float32), jax.random.key(0)

    def noise(network, **arguments):
        params = codes(network, w_max=0)
        return np.asarray(run(network, params, x, chip, **arguments)[0]).ravel()

    first, second = noise(one, key=key, on="chip"), noise(two, key=key, on="chip")
    # Both are 2000 readouts of std 10: the mean is -0.5, the correlation 0, at 5 sigma.
    for y in (first, second):
        assert abs(y.mean() + 0.5) < 5 * 10 / np.sqrt(2000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(2000)
    np.testing.assert_array_equal(noise(two, key=key, on="chip"), second)
    assert (noise(two, key=jax.random.key(1), on="chip") != second).mean() > 0.5
    for quiet in ({"on": "chip"}, {"key": key, "on": "ideal"}, {"key": key, "on": "float"}):
        assert (noise(two, **quiet) == 0).all()


def test_networks_map_over_chips():
    network = build([Dense(outputs=9, activation="converting_relu"), Dense(outputs=5)], (20,))
    params, x = codes(network, w_max=20), inputs((20,))
    chips = jax.vmap(sample_chip)(jax.random.split(jax.random.key(0), 3))
    apply = jax.jit(lambda chip: network.apply(params, {}, x, chip, on="chip")[0])
    mapped = np.asarray(jax.vmap(apply)(chips))
    rows = [apply(jax.tree.map(lambda leaf, i=i: leaf[i], chips)) for i in range(3)]
    # A batched product may sum in another order, and flip a readout on an edge: rare.
    assert (mapped != np.stack(rows)).mean() < 0.05
    assert (mapped[0] != mapped[1]).any()


# --- shares that saturate


def test_shares_of_saturated_values_by_hand():
    # 25 x 20 x 10 sends is 10 LSB: columns of 12, 13 and -13 such weights read 120, 130, -130.
    network = build([Dense(outputs=4, num_sends=10, name="a"), Dense(outputs=2, name="b")], (16,))
    w = np.zeros((16, 4), np.float32)
    w[:12, 0] = w[:13, 1] = 20
    w[:13, 2] = -20
    w[15, 3] = 63
    x = np.full((2, 16), 25.0, np.float32)
    x[:, 15] = 0
    params = {"a": {"weight": w}, "b": {"weight": np.full((4, 2), -63, np.float32)}}
    scores, stats = run(network, params, x, on="ideal")
    expected = {"inputs": 0.0, "weights": 1 / 64, "outputs": 2 / 4, "sums": 0.0}
    assert {name: float(share) for name, share in stats["a"].items()} == expected
    # Layer b gets 120, 127, -128, 0: three of four inputs have no code.
    assert float(stats["b"]["inputs"]) == 3 / 4
    assert float(stats["b"]["weights"]) == 1.0
    assert scores.shape == (2, 2)


@pytest.mark.parametrize("layer", [Conv1d(outputs=4, window=3), Dense(outputs=4)])
def test_the_shares_add_no_gradient(layer):
    network = build([layer], (9, 2) if isinstance(layer, Conv1d) else (9,))
    params, x = codes(network), inputs(network.shapes[0])

    def total(params):
        return sum(jax.tree.leaves(network.apply(params, {}, x, on="ideal")[2]))

    assert all((leaf == 0).all() for leaf in jax.tree.leaves(jax.grad(total)(params)))


@pytest.mark.parametrize("settings", [{}, {"groups": 2}, {"expanded": True}, {"avg": 2}])
def test_the_share_of_saturated_weights_is_that_of_the_layers_own(settings):
    network = build([Conv1d(outputs=4, window=3, name="c", **settings)], (20, 2))
    weight = np.zeros(network.init(jax.random.key(0))["c"]["weight"].shape, np.float32)
    weight[0] = 63  # one tap of three
    _, stats = run(network, {"c": {"weight": weight}}, inputs((20, 2)), on="ideal")
    np.testing.assert_allclose(stats["c"]["weights"], 1 / 3, rtol=1e-6)


# --- the plan


def test_the_plan_knows_what_the_layers_do():
    network = build(
        [
            Conv1d(outputs=6, window=5, groups=2, padding=2, name="grouped"),
            Conv1d(outputs=4, window=3, expanded=True, name="shifted"),
            Flatten(),
            Dense(outputs=150, avg=2, bias=True, name="wide"),
        ],
        (40, 4),
    )
    layers = dict(zip(network.plan.names, network.plan.demands))
    grouped, shifted, wide = (layers[name] for name in ("grouped", "shifted", "wide"))
    assert (grouped.mode, grouped.groups, grouped.vectors) == ("conv1d", 2, 40)
    assert (grouped.rows, grouped.columns) == (10, 3)
    # (128 - 18) // 6 + 1 = 19 copies of 18 rows, each 6 further; 38 positions in two vectors.
    assert (shifted.mode, shifted.vectors) == ("expanded_conv1d", 2)
    assert (shifted.rows, shifted.columns) == (6 * (3 + 18), 19 * 4)
    assert (wide.mode, wide.vectors) == ("dense", 1)
    assert (wide.rows, wide.columns) == (152, 300)
    text = describe(network.plan)
    assert all(word in text for word in ("grouped", "expanded_conv1d", "152x150"))
    assert network.plan.configurations == 2 + 1 + 2
    hash(network.plan)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Dense(outputs=300, bias=True), (300,)),
        (Conv2d(outputs=5, window=3), (9, 9, 20)),
        (Conv1d(outputs=4, window=3, groups=2), (10, 4)),
        (Dense(outputs=3, avg=2), (5,)),
        (Conv1d(outputs=4, window=3, expanded=True), (10, 1)),
    ],
)
def test_parameters_split_and_merge_by_the_networks_own_plan(layer, shape):
    network = build([layer], shape)
    params = network.init(jax.random.key(0))
    again = merge(split(params, network.plan), network.plan)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params)):
        np.testing.assert_array_equal(a, b)


# --- errors of apply


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": "chip"}, "needs a chip"),
        ({"on": {"dense_0": "chip"}}, "needs a chip"),
        ({"on": "simulated"}, "'simulated'"),
        ({"on": {"dense_9": "ideal"}}, "'dense_9'.*dense_0"),
        ({"on": {"dense_0": "perfect"}}, "'perfect'"),
        ({"x": np.zeros((4, 6)), "on": "ideal"}, r"\(6,\).*\(5,\)"),
    ],
)
def test_apply_refuses_what_it_cannot_run(arguments, message):
    network = build([Dense(outputs=3)], (5,))
    with pytest.raises(ValueError, match=message):
        network.apply(codes(network), {}, **({"x": np.zeros((4, 5))} | arguments))


# --- it learns


def test_a_small_network_learns_in_the_loop_on_a_noisy_chip():
    # Four classes of 16 pixels, each its own noisy prototype. At chance the loss is ln 4 = 1.39;
    # separable as they are, 40 steps of plain gradient descent must take off more than half.
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    prototypes = rng.integers(0, 2, (4, 16)) * 24
    x = np.clip(prototypes[labels] + rng.normal(0, 3, (80, 16)), 0, 31).astype(np.float32)
    network = build([Dense(outputs=24, activation="converting_relu"), Dense(outputs=4)], (16,))
    chip = sample_chip(jax.random.key(1))

    def loss(params, key):
        scores, _, _ = network.apply(params, {}, x, chip, key, on="chip")
        return -jnp.take_along_axis(jax.nn.log_softmax(scores / 8), labels[:, None], 1).mean()

    def step(params, key):
        value, gradient = jax.value_and_grad(loss)(params, key)
        descend = lambda p, g: jnp.clip(p - 100.0 * g, -63, 63)  # noqa: E731
        return jax.tree.map(descend, params, gradient), value

    params = network.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(2), 40)
    params, losses = jax.jit(lambda p, keys: jax.lax.scan(step, p, keys))(params, keys)
    assert float(losses[-5:].mean()) < 0.5 * min(float(losses[0]), math.log(4))


@pytest.mark.parametrize("on", ["float", "ideal"])
def test_signed_values_keep_their_sign_through_the_network(on):
    # +x on one row and -x on the next, with opposite weights: the product is of x itself.
    network = build([Signs(), Dense(outputs=1, num_sends=1)], (1,))
    params = {"dense_0": {"weight": jnp.array([[50.0], [-50.0]])}}
    x = jnp.array([[20.0], [-20.0], [-31.0], [0.0]])
    y = network.apply(params, {}, x, on=on)[0]
    np.testing.assert_allclose(y, 50 * 0.002 * x, rtol=1e-5, atol=0 if on == "float" else 1)


# Both ways meet the windows that leave a rest; the other sizes with the other way are slow.
@pytest.mark.parametrize(
    "window, stride, mode",
    [
        *((6, None, "max"), (6, None, "mean"), (3, 2, "max"), (4, 1, "mean"), (2, 3, "max")),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((3, 2, "mean"), (4, 1, "max"), (2, 3, "mean"))
        ),
    ],
)
def test_pooling_after_a_convolution_is_the_same_compiled(window, stride, mode):
    # jax 0.10.1 miscompiles `lax.reduce_window` here where the windows leave a rest.
    layers = [
        Conv1d(outputs=64, window=7, stride=3, num_sends=5, activation="converting_relu", shift=2),
        Pool(window=window, stride=stride, mode=mode),
    ]
    network = build(layers, (128, 9))
    params = network.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (4, 128, 9), maxval=31)
    run = lambda x: network.apply(params, {}, x, on="ideal")[0]  # noqa: E731
    before = np.asarray(build(layers[:1], (128, 9)).apply(params, {}, x, on="ideal")[0])
    starts = range(0, 41 - window + 1, stride or window)
    reduce = getattr(np, mode)
    expected = np.stack([reduce(before[:, i : i + window], axis=1) for i in starts], axis=1)
    np.testing.assert_allclose(jax.jit(run)(x), np.floor(expected + 1e-4), atol=1e-4)
    np.testing.assert_array_equal(run(x), jax.jit(run)(x))
