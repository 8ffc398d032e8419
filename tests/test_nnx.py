"""The flax nnx modules are the functions, with their parameters inside."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_array_equal

import bss2jax
from bss2jax.nnx import Conv1d, Conv2d, ConvertingReLU, ExpandedConv1d, Linear, ReLU

KEY = jax.random.key(7)
SMALL = bss2jax.Substrate(rows=16, columns=8)


@pytest.fixture(scope="module")
def chip():
    return jax.jit(bss2jax.sample_chip)(jax.random.key(1))


@nnx.jit
def run(layer, x, chip=None, key=None):
    return layer(x, chip, key)


def activations(*shape, seed=0):
    return jax.random.randint(jax.random.key(seed), shape, 0, 32).astype(jnp.float32)


def with_bias(layer):
    """Gives a layer a bias that is neither zero nor whole."""
    layer.bias[...] = jnp.linspace(-40.3, 40.3, layer.bias.shape[0])
    return layer


def assert_same(layer, function, x, chip):
    """On a noisy chip with mismatch a layer equals the function of its parameters, to the bit."""
    expected = jax.jit(function)(layer.kernel[...], layer.bias[...], x, chip, KEY)
    assert_array_equal(run(layer, x, chip, KEY), expected)


def test_linear_is_matmul_and_a_saturating_bias(chip):
    layer = with_bias(Linear(300, 20, avg=2, num_sends=3, rngs=nnx.Rngs(0)))

    def function(kernel, bias, x, chip, key):
        y = bss2jax.matmul(x, kernel, chip, key, num_sends=3, avg=2)
        return bss2jax.add(y, bias)

    assert_same(layer, function, activations(4, 2, 300), chip)


def test_conv1d_is_conv1d_and_a_float_bias(chip):
    layer = with_bias(
        Conv1d(4, 6, 5, 2, padding=[(2, 1)], kernel_dilation=2, feature_group_count=2,
               avg=2, num_sends=2, rngs=nnx.Rngs(0))
    )  # fmt: skip

    def function(kernel, bias, x, chip, key):
        settings = {"stride": 2, "padding": [(2, 1)], "dilation": 2, "groups": 2, "avg": 2}
        y = bss2jax.conv1d(x, kernel, chip, key, num_sends=2, **settings)
        return y + bias

    assert_same(layer, function, activations(3, 30, 4), chip)


def test_conv2d_is_conv2d_and_a_float_bias(chip):
    layer = with_bias(
        Conv2d(2, 6, (3, 4), strides=(2, 1), padding="SAME", kernel_dilation=(1, 2),
               feature_group_count=2, avg=2, num_sends=2, rngs=nnx.Rngs(0))
    )  # fmt: skip

    def function(kernel, bias, x, chip, key):
        settings = {"stride": (2, 1), "padding": "SAME", "dilation": (1, 2), "groups": 2, "avg": 2}
        y = bss2jax.conv2d(x, kernel, chip, key, num_sends=2, **settings)
        return y + bias

    assert_same(layer, function, activations(3, 9, 8, 2), chip)


def test_expanded_conv1d_is_expanded_conv1d_and_a_float_bias(chip):
    layer = with_bias(ExpandedConv1d(2, 6, 5, 2, padding=1, num_sends=2, rngs=nnx.Rngs(0)))

    def function(kernel, bias, x, chip, key):
        y = bss2jax.expanded_conv1d(x, kernel, chip, key, stride=2, padding=1, num_sends=2)
        return y + bias

    assert_same(layer, function, activations(3, 60, 2), chip)


def test_activations_are_the_functions(chip):
    y = jnp.linspace(-140.0, 140.0, 57)
    assert_array_equal(ReLU()(y, chip, KEY), bss2jax.relu(y))
    assert_array_equal(ConvertingReLU()(y), bss2jax.converting_relu(y, 1))
    assert_array_equal(ConvertingReLU(2)(y, chip, KEY), bss2jax.converting_relu(y, 2))


def test_gradients_are_those_of_the_functions(chip):
    layer, x = Linear(40, 9, bias=False, mask_saturated=True, rngs=nnx.Rngs(0)), activations(5, 40)

    def loss_of_function(w, x):
        settings = {"num_sends": layer.num_sends, "mask_saturated": True}
        return (bss2jax.matmul(x, w, chip, KEY, **settings) ** 2).sum()

    gradient = nnx.jit(nnx.grad(lambda layer, x: (layer(x, chip, KEY) ** 2).sum()))(layer, x)
    expected = jax.jit(jax.grad(loss_of_function))(layer.kernel[...], x)
    assert float(jnp.abs(expected).max()) > 0
    assert_array_equal(gradient["kernel"][...], expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("make", "kernel"),
    [
        (partial(Linear, 20, 6), (20, 6)),
        (partial(Conv1d, 4, 6, 3, feature_group_count=2), (3, 2, 6)),
        (partial(Conv2d, 4, 6, (3, 2)), (3, 2, 4, 6)),
        (partial(ExpandedConv1d, 4, 6, 3), (3, 4, 6)),
    ],
)
def test_parameters_are_params_and_nothing_else_is_state(make, kernel, bias):
    state = nnx.to_pure_dict(nnx.state(make(bias=bias, rngs=nnx.Rngs(0)), nnx.Param))
    shapes = jax.tree.map(jnp.shape, state, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    assert shapes == ({"kernel": kernel, "bias": (6,)} if bias else {"kernel": kernel})
    assert not jax.tree.leaves(nnx.state(make(bias=bias, rngs=nnx.Rngs(0)), nnx.Not(nnx.Param)))


@pytest.mark.parametrize(("shift", "num_sends"), [(0, None), (2, None), (1, 9)])
def test_initial_kernel_has_the_gain_aware_deviation(shift, num_sends):
    """std = 2^shift sqrt(2) / (g sqrt(K)), brought to at most 21 by num_sends."""
    layer = Linear(400, 500, shift=shift, num_sends=num_sends, rngs=nnx.Rngs(0))
    std = 2**shift * np.sqrt(2) / (0.002 * np.sqrt(400))
    sends = num_sends or int(np.ceil(std / 21))
    assert layer.num_sends == sends
    # The error of a standard deviation over n draws is std / sqrt(2 n); five of them. Truncation
    # at three deviations, the nearest that 63 can be, takes 1.4 %.
    relative = float(layer.kernel[...].std()) / (std / sends) - 1
    bound = 5 / np.sqrt(2 * 400 * 500)
    assert -0.014 - bound < relative < bound
    assert float(jnp.abs(layer.kernel[...]).max()) <= 63


def test_automatic_num_sends_keeps_the_initial_kernel_in_range_for_any_fan_in():
    for window, channels in ((1, 1), (3, 1), (9, 20)):
        layer = Conv1d(channels, 64, window, rngs=nnx.Rngs(0))
        assert float(jnp.abs(layer.kernel[...]).max()) <= 63


def test_rngs_decide_the_kernel():
    def kernel(seed):
        return Linear(5, 4, rngs=nnx.Rngs(params=seed)).kernel[...]

    assert_array_equal(kernel(3), kernel(3))
    assert float(jnp.abs(kernel(3) - kernel(4)).max()) > 0


@pytest.mark.parametrize(
    ("make", "size", "positions"),
    [
        (partial(Linear, 40, 20), (40,), (20,)),
        (partial(Conv1d, 3, 9, 6), (20, 3), (15, 9)),
        (partial(Conv2d, 3, 9, 3), (7, 7, 3), (5, 5, 9)),
        (partial(ExpandedConv1d, 2, 3, 4), (9, 2), (6, 3)),
    ],
)
def test_every_layer_runs_on_another_substrate(make, size, positions):
    chip = bss2jax.ideal_chip(substrate=SMALL, noise_std=2)
    layer = make(substrate=SMALL, rngs=nnx.Rngs(0))
    assert run(layer, activations(2, *size), chip, KEY).shape == (2, *positions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(Linear, 0, 4), "sizes and num_sends >= 1"),
        (partial(Linear, 4, 4, num_sends=0), "sizes and num_sends >= 1"),
        (partial(Conv1d, 3, 4, 2, feature_group_count=2), "feature_group_count=2 must divide"),
        (partial(Conv2d, 3, 4, (2, 2, 2)), "kernel_size: expected one number or 2"),
        (partial(ExpandedConv1d, 3, 4, 60), "does not fit a block"),
    ],
)
def test_impossible_layers_are_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make(rngs=nnx.Rngs(0))


def test_a_wrong_input_is_refused_with_the_functions_message():
    with pytest.raises(ValueError, match="do not fit"):
        Linear(5, 4, rngs=nnx.Rngs(0))(activations(3, 6))


class Classifier(nnx.Module):
    """A convolution and two products, each with a key of its own."""

    def __init__(self, *, rngs):
        self.features = Conv1d(1, 6, 4, 2, rngs=rngs)
        self.activation = ConvertingReLU(1)
        self.hidden = Linear(7 * 6, 16, rngs=rngs)
        self.scores = Linear(16, 2, shift=0, rngs=rngs)

    def __call__(self, x, chip=None, key=None):
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        x = self.activation(self.features(x, chip, keys[0])).reshape(x.shape[0], -1)
        return self.scores(self.activation(self.hidden(x, chip, keys[1])), chip, keys[2])


def two_classes():
    """Signals whose first half is the louder one, or whose second half is."""
    x, label = activations(128, 16, 1), jnp.arange(128) % 2
    quiet = (jnp.arange(16) < 8) == (label[:, None] == 1)
    return jnp.where(quiet[..., None], x / 3, x), label


@nnx.jit
def step(model, optimizer, x, label, chip, key):
    def loss(model):
        scores = model(x, chip, key) / 16
        return optax.softmax_cross_entropy_with_integer_labels(scores, label).mean()

    value, gradient = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradient)
    kernels = nnx.state(model, nnx.PathContains("kernel"))
    nnx.update(model, jax.tree.map(lambda w: jnp.clip(w, -63, 63), kernels))
    return value


def test_an_nnx_optimizer_trains_on_a_noisy_mismatched_chip(chip):
    x, label = two_classes()
    model, noise = Classifier(rngs=nnx.Rngs(0)), nnx.Rngs(noise=5)
    optimizer = nnx.Optimizer(model, optax.adam(1.0), wrt=nnx.Param)
    losses = [float(step(model, optimizer, x, label, chip, noise.noise())) for _ in range(40)]
    correct = run(model, x, chip, noise.noise()).argmax(-1) == label
    assert np.mean(losses[-5:]) < 0.3 * losses[0]
    assert float(correct.mean()) > 0.9


def test_jit_changes_nothing(chip):
    x, layer = activations(3, 40), Linear(40, 6, rngs=nnx.Rngs(0))
    assert_array_equal(run(layer, x), layer(x))
    assert_array_equal(run(layer, x, chip, KEY), layer(x, chip, KEY))


def test_split_then_merge_is_the_same_model(chip):
    x, model = activations(3, 16, 1), Classifier(rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    hash(graph)  # static under jit
    apply = jax.jit(lambda state, x: nnx.merge(graph, state)(x, chip, KEY))
    assert_array_equal(apply(state, x), run(model, x, chip, KEY))


def test_a_layer_with_padding_in_lists_has_a_hashable_graph():
    layer = Conv2d(1, 2, [3, 3], [1, 2], padding=[[1, 0], 1], rngs=nnx.Rngs(0))
    hash(nnx.split(layer)[0])
    assert run(layer, activations(2, 8, 8, 1)).shape == (2, 7, 4, 2)


def test_vmap_runs_one_layer_on_a_stack_of_chips():
    x, layer = activations(3, 40), Linear(40, 6, rngs=nnx.Rngs(0))
    keys = jax.random.split(jax.random.key(3), 4)
    chips = jax.jit(jax.vmap(bss2jax.sample_chip))(keys)
    stack = nnx.vmap(lambda layer, chip, key: layer(x, chip, key), in_axes=(None, 0, 0))
    y = nnx.jit(stack)(layer, chips, keys)
    for i in range(4):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], chips)
        assert_array_equal(y[i], run(layer, x, one, keys[i]))
