"""Convolutions: the twin's position-by-position arithmetic, and each copy at its own place."""

import math
import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from bss2jax import conv1d, conv2d, expanded_conv1d, ideal_chip, matmul
from bss2jax.execute import convolution
from bss2jax.kernels import unfold
from bss2jax.kernels.synapses import windows
from bss2jax.kernels.synapses.base import product
from bss2jax.kernels.synapses.given import sent_of
from bss2jax.kernels.synapses.windows import Windows

STATIC = ("stride", "padding", "groups", "dilation", "num_sends", "avg", "mask_saturated")
run1d = jax.jit(conv1d, static_argnames=STATIC)
run2d = jax.jit(conv2d, static_argnames=STATIC)
expanded = jax.jit(expanded_conv1d, static_argnames=("stride", "padding", "num_sends"))

# Channels, outputs, window, stride, padding, the same padding as pairs, dilation, groups.
CASES_1D = [
    (1, 4, (5,), 1, 0, [(0, 0)], 1, 1),
    (3, 4, (5,), 2, 2, [(2, 2)], 1, 1),
    (3, 4, (4,), 3, ((1, 3),), [(1, 3)], 2, 1),
    (4, 6, (3,), 2, "SAME", [(0, 1)], 1, 2),
    (4, 8, (3,), 1, "SAME", [(3, 3)], 3, 4),
    (30, 5, (6,), 1, "VALID", [(0, 0)], 1, 1),  # 180 rows: two chunks
]
CASES_2D = [
    (1, 4, (3, 3), (1, 1), 0, [(0, 0), (0, 0)], (1, 1), 1),
    (2, 4, (3, 2), (2, 3), (1, 2), [(1, 1), (2, 2)], (1, 1), 1),
    (4, 6, (3, 3), (2, 2), "SAME", [(0, 1), (1, 1)], (1, 1), 2),
    (2, 3, (2, 3), (1, 2), ((0, 1), (2, 0)), [(0, 1), (2, 0)], (3, 2), 1),
    (15, 5, (3, 3), (1, 1), 1, [(1, 1), (1, 1)], (1, 1), 1),  # 135 rows: two chunks
]
SIZE_1D, SIZE_2D = (20,), (12, 11)


def draw(size, channels, window, groups, outputs, seed=0, w_max=63):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 32, (2, *size, channels)).astype(np.float32)
    w = rng.integers(-w_max, w_max + 1, (*window, channels // groups, outputs))
    return x, w.astype(np.float32)


CASES = [(run1d, SIZE_1D, *case) for case in CASES_1D]
CASES += [(run2d, SIZE_2D, *case) for case in CASES_2D]
NAMES = "run, size, channels, outputs, window, stride, padding, pads, dilation, groups"
each_case = pytest.mark.parametrize(NAMES, CASES)
some_cases = pytest.mark.parametrize(NAMES, CASES[2::3])  # all of the code, in less time


def tuples(window, stride, dilation):
    return (
        (stride,) * len(window) if isinstance(stride, int) else stride,
        (dilation,) * len(window) if isinstance(dilation, int) else dilation,
    )


@each_case
def test_convolution_equals_the_twin_on_a_perfect_chip(
    run, size, channels, outputs, window, stride, padding, pads, dilation, groups
):
    x, w = draw(size, channels, window, groups, outputs)
    y = run(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups)
    strides, dilations = tuples(window, stride, dilation)
    expected = reference.convolve(x, w, reference.matmul, strides, pads, dilations, groups)
    np.testing.assert_array_equal(y, expected)


@each_case
def test_unfolded_convolution_equals_jaxs_own(
    run, size, channels, outputs, window, stride, padding, pads, dilation, groups
):
    x, w = draw(size, channels, window, groups, outputs)
    strides, dilations = tuples(window, stride, dilation)

    def unfolded(x, w):
        inputs, weights = convolution.unfold(x, w, stride, padding, groups, dilation)
        return convolution.join_groups(jnp.einsum("g...k,gkn->g...n", inputs, weights))

    axes = "HW"[: len(window)]
    expected = jax.lax.conv_general_dilated(
        x, w, strides, padding if isinstance(padding, str) else pads, rhs_dilation=dilations,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"), feature_group_count=groups,
    )  # fmt: skip
    y = jax.jit(unfolded)(x, w)
    np.testing.assert_array_equal(y, expected)  # integers: exact in any order
    assert convolution.output_shape(size, window, stride, padding, dilation) == y.shape[1:-1]


@pytest.mark.parametrize(
    "size, channels, outputs, window, stride, padding",
    [(s, *case[:5]) for s, cases in ((SIZE_1D, CASES_1D), (SIZE_2D, CASES_2D)) for case in cases
     if case[6:] in ((1, 1), ((1, 1), 1))],
)  # fmt: skip
def test_a_convolution_without_a_chip_is_the_product_of_its_patches(
    size, channels, outputs, window, stride, padding
):
    x, w = draw(size, channels, window, 1, outputs)
    inputs, weights = convolution.unfold(x, w, stride, padding)
    expected = np.asarray(inputs[0]) @ np.asarray(weights[0])  # whole numbers: exact in any order
    y, pull = jax.vjp(lambda x, w: unfold.convolve(x, w, stride, padding), x, w)
    np.testing.assert_array_equal(y, expected)
    slopes = jax.vjp(lambda x, w: product_of_patches(x, w, stride, padding), x, w)[1](jnp.sign(y))
    for found, wanted in zip(pull(jnp.sign(y)), slopes):
        np.testing.assert_array_equal(found, wanted)  # whole numbers, too


def product_of_patches(x, w, stride, padding):
    inputs, weights = convolution.unfold(x, w, stride, padding)
    return inputs[0] @ weights[0]


def test_gradients_of_a_convolution_have_channels_last():
    """XLA makes those alone products on a CPU where they stand in a loop, as in a training."""

    def loss(x, w):
        return jnp.square(unfold.convolve(x, w, 1, "SAME")).sum()

    x, w = jnp.ones((3, 8, 8, 4)), jnp.ones((3, 3, 4, 5))
    text = jax.jit(jax.grad(loss, (0, 1))).lower(x, w).as_text()
    layouts = re.findall(r"dim_numbers = (.*?), window", text)
    assert layouts == 3 * ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"]


@pytest.mark.parametrize(
    "size, channels, window, stride, padding",
    [((9,), 2, (4,), 3, "SAME"), ((5, 6), 3, (3, 2), (2, 3), (1, 2))],
)
def test_a_product_of_windows_and_its_gradients_are_those_of_the_patches(
    size, channels, window, stride, padding, monkeypatch
):
    monkeypatch.setattr(windows, "_PIECE", 3 * 30)  # two samples at once, of six
    rng = np.random.default_rng(3)
    raster = jnp.float32(rng.integers(0, 3, (2, 3, *size, channels)))
    w = jnp.float32(rng.integers(-63, 64, (math.prod(window) * channels, 4)))

    def unfolded(x, w):
        return Windows(x, window, stride, padding).unfolded() @ w

    def convolved(x, w):
        sent = sent_of(Windows(x, window, stride, padding), len(w))
        return product(sent, w).reshape(*sent.shape[:3], 4)

    expected, pull_unfolded = jax.vjp(unfolded, raster, w)
    y, pull = jax.vjp(convolved, raster, w)
    assert y.shape == (*Windows(raster, window, stride, padding).shape[:-1], 4)
    np.testing.assert_array_equal(y, expected)  # whole numbers: exact in any order
    dy = jnp.float32(rng.integers(-9, 10, y.shape))
    for a, b in zip(pull(dy), pull_unfolded(dy), strict=True):
        assert np.abs(b).max() > 1
        np.testing.assert_array_equal(a, b)


@some_cases
def test_convolution_on_a_mismatched_chip_is_the_product_of_its_patches(
    run, size, channels, outputs, window, stride, padding, pads, dilation, groups, chip, pattern
):
    # Every group begins at hemisphere 0, row 0, so each meets the same places of the chip.
    x, w = draw(size, channels, window, groups, outputs)
    strides, dilations = tuples(window, stride, dilation)
    twin = partial(reference.convolve, stride=strides, pads=pads, dilation=dilations, groups=groups)
    expected = twin(x, w, partial(reference.matmul, chip=pattern))
    uncertain = twin(x, w, partial(reference.uncertain, chip=pattern))
    y = run(x, w, chip, stride=stride, padding=padding, dilation=dilation, groups=groups)
    assert (uncertain > 0).mean() < 0.1
    assert (np.abs(y - expected) <= uncertain).all()


@some_cases
def test_the_gradient_of_a_convolution_is_the_nominal_one(
    run, size, channels, outputs, window, stride, padding, pads, dilation, groups
):
    x, w = draw(size, channels, window, groups, outputs)
    strides, dilations = tuples(window, stride, dilation)
    axes = "HW"[: len(window)]

    def on_chip(x, w):
        return run(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def nominal(x, w):
        return 0.002 * jax.lax.conv_general_dilated(
            x, w, strides, padding if isinstance(padding, str) else pads, rhs_dilation=dilations,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"), feature_group_count=groups,
        )  # fmt: skip

    dy = np.random.default_rng(1).normal(size=jax.eval_shape(nominal, x, w).shape)
    dy = dy.astype(np.float32)
    results = [jax.jit(lambda x, w, f=f: jax.vjp(f, x, w)[1](dy))(x, w) for f in (on_chip, nominal)]
    for a, e in zip(*results):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * np.abs(e).max())


def test_leading_axes_are_samples_and_none_is_needed():
    x, w = draw(SIZE_2D, 2, (3, 3), 1, 4)
    y = run2d(x, w, None)
    np.testing.assert_array_equal(run2d(x[0], w, None), y[0])
    np.testing.assert_array_equal(run2d(x[:, None], w, None)[:, 0], y)


def test_groups_run_one_after_the_other_on_the_same_place_with_their_own_noise():
    # Both groups have the same inputs and weights: equal without noise, not with it.
    x, w = draw(SIZE_1D, 2, (5,), 1, 4, w_max=20)
    x, w = np.concatenate([x, x], -1), np.concatenate([w, w], -1)
    chip = replace(ideal_chip(noise_std=2.0), offset=jnp.linspace(-9, 9, 512).reshape(2, 256))
    quiet = np.asarray(run1d(x, w, chip, groups=2))
    np.testing.assert_array_equal(quiet[..., :4], quiet[..., 4:])
    noisy = np.asarray(run1d(x, w, chip, jax.random.key(0), groups=2))
    assert (noisy[..., :4] != noisy[..., 4:]).mean() > 0.5


def test_positions_and_samples_meet_their_own_noise():
    x, w = np.zeros((50, 30, 1), np.float32), np.zeros((3, 1, 20), np.float32)
    y = np.asarray(run1d(x, w, ideal_chip(noise_std=10.0), jax.random.key(0)))
    assert abs(y.mean() + 0.5) < 5 * 10 / np.sqrt(y.size)
    for a, b in ((y[1:], y[:-1]), (y[:, 1:], y[:, :-1]), (y[..., 1:], y[..., :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_program_size_does_not_grow_with_the_number_of_groups():
    def lines(groups):
        x, w = jnp.zeros((2, 20, 4 * groups)), jnp.zeros((3, 4, 6 * groups))
        return run1d.lower(x, w, None, groups=groups).as_text().count("\n")

    assert lines(2) == lines(16)


def test_num_sends_avg_and_mask_reach_the_product():
    x, w = draw(SIZE_1D, 3, (5,), 1, 4)
    twin = partial(reference.convolve, stride=(1,), pads=[(0, 0)], dilation=(1,))
    expected = twin(x, w, partial(reference.matmul, num_sends=3))
    for avg in (1, 2):
        np.testing.assert_array_equal(run1d(x, w, None, num_sends=3, avg=avg), expected)

    def loss(w, masked):
        return run1d(x, w, None, num_sends=40, mask_saturated=masked).sum()

    assert not np.allclose(jax.grad(loss)(w, True), jax.grad(loss)(w, False))


# --- the expanded convolution

EXPANDED = [  # length, channels, window, outputs, stride, padding, the same padding as a pair
    (40, 1, 5, 8, 1, 0, (0, 0)),
    (40, 1, 5, 100, 1, 2, (2, 2)),  # two copies fit the columns
    (100, 1, 16, 4, 4, 0, (0, 0)),  # 29 copies fit the rows
    (50, 3, 7, 5, 2, ((2, 1),), (2, 1)),
    (20, 16, 8, 6, 1, "SAME", (3, 4)),  # one copy fills all 128 rows
    (9, 2, 3, 4, 1, 0, (0, 0)),  # more copies than positions
]
each_expanded = pytest.mark.parametrize(
    "length, channels, window, outputs, stride, padding, pads", EXPANDED
)


@each_expanded
def test_expanded_equals_conv1d_on_a_perfect_chip(
    length, channels, window, outputs, stride, padding, pads
):
    x, w = draw((length,), channels, (window,), 1, outputs)
    y = expanded(x, w, None, stride=stride, padding=padding)
    np.testing.assert_array_equal(y, run1d(x, w, None, stride=stride, padding=padding))


@each_expanded
def test_each_copy_meets_its_own_place_on_a_mismatched_chip(
    length, channels, window, outputs, stride, padding, pads, chip, pattern
):
    x, w = draw((length,), channels, (window,), 1, outputs)
    twin = partial(reference.expanded_conv1d, stride=stride, pads=pads)
    expected = twin(x, w, partial(reference.matmul, chip=pattern))
    uncertain = twin(x, w, partial(reference.uncertain, chip=pattern))
    y = expanded(x, w, chip, stride=stride, padding=padding)
    assert (uncertain > 0).mean() < 0.1
    assert (np.abs(y - expected) <= uncertain).all()
    copies = convolution.num_expansions(window, channels, outputs, stride)
    if copies > 1:
        assert (np.asarray(y) != run1d(x, w, chip, stride=stride, padding=padding)).any()


def test_copies_lie_beside_each_other_in_columns_and_take_turns():
    # An offset that counts copies shows which one made an output.
    offset = jnp.repeat(jnp.arange(64.0), 4)
    chip = replace(ideal_chip(), offset=jnp.stack([offset, -offset]))
    x, w = np.zeros((1, 100, 1)), np.zeros((3, 1, 4))
    y = np.asarray(expanded(x, w, chip))[0]
    assert convolution.num_expansions(3, 1, 4) == 64
    np.testing.assert_array_equal(y[:, 0], np.arange(98) % 64)


@pytest.mark.parametrize("length, channels, window, outputs, stride, padding, pads", EXPANDED[1::2])
def test_the_gradient_of_expanded_equals_that_of_conv1d(
    length, channels, window, outputs, stride, padding, pads
):
    x, w = draw((length,), channels, (window,), 1, outputs)
    dy = np.random.default_rng(1).normal(
        size=run1d(x, w, None, stride=stride, padding=padding).shape
    )
    results = []
    for function in (expanded, run1d):

        def loss(x, w, function=function):
            return jnp.sum(dy * function(x, w, None, stride=stride, padding=padding))

        results.append(jax.jit(jax.grad(loss, (0, 1)))(x, w))
    for a, e in zip(*results):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * np.abs(e).max())


@pytest.mark.parametrize(
    ("window", "channels", "outputs", "stride", "copies"),
    [
        (5, 1, 8, 1, min(256 // 8, 123 // 1 + 1)),
        (5, 1, 1, 1, 124),
        (5, 1, 1, 7, 123 // 7 + 1),
        (128, 1, 256, 1, 1),
        (32, 4, 1, 1, 1),
        (31, 4, 1, 1, 2),
        (3, 5, 2, 2, (128 - 15) // 10 + 1),  # rows come in fives
    ],
)
def test_the_number_of_copies_is_the_references(window, channels, outputs, stride, copies):
    assert convolution.num_expansions(window, channels, outputs, stride) == copies


# --- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: conv1d(x, np.ones((11, 2, 3)), None), "11 taps.*10"),
        (lambda x: conv1d(x, np.ones((6, 2, 3)), None, dilation=2), "spans 11"),
        (
            lambda x: conv1d(x, np.ones((3, 2, 3)), None, stride=0),
            "stride or dilation: expected .* 1, got 0",
        ),
        (lambda x: conv1d(x, np.ones((3, 2, 3)), None, padding=-1), "padding"),
        (lambda x: conv1d(x, np.ones((3, 2, 3)), None, padding="FULL"), "'FULL'"),
        (lambda x: conv1d(x, np.ones((3, 2, 3)), None, padding=(1, 2)), r"\(1, 2\)"),
        (lambda x: conv1d(x, np.ones((3, 3, 3)), None), "2 channels.*takes 3"),
        (lambda x: conv1d(x, np.ones((3, 1, 3)), None, groups=2), "groups=2"),
        (
            lambda x: conv1d(x, np.ones((3, 2, 3)), None, groups=0),
            "groups: expected .* 1, got 0",
        ),
        (lambda x: conv1d(x, np.ones((3, 3, 2, 3)), None), r"\[k, C, N\]"),
        (lambda x: conv2d(x, np.ones((3, 2, 3)), None), r"\[kh, kw, C, N\]"),
        (lambda x: conv2d(x[0], np.ones((3, 3, 2, 3)), None), r"expected x"),
        (lambda x: expanded_conv1d(x, np.ones((3, 2, 257)), None), "257 columns.*use conv1d"),
        (lambda x: matmul(x, np.ones((3, 2)), None), "do not fit"),
        (lambda x: conv1d(32 * x, np.ones((3, 2, 3)), None), r"x: .*expected 0\.\.31"),
        (lambda x: conv1d(x, 64 * np.ones((3, 2, 3)), None), r"w: .*expected -63\.\.63"),
    ],
)
def test_what_makes_no_convolution_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((4, 10, 2)))


def test_settings_of_groups_are_checked_whatever_ran_before():
    x, w = np.full((2, 8, 4), 10.0), np.full((3, 2, 4), 20.0)
    once = conv1d(x, w, None, groups=2, num_sends=1)
    np.testing.assert_array_equal(conv1d(x, w, None, groups=2, num_sends=np.array(1)), once)
    for wrong in (True, 1.0, [1], 0):
        with pytest.raises(ValueError, match="num_sends: expected an integer"):
            conv1d(x, w, None, groups=2, num_sends=wrong)
