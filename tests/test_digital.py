"""The digital side: exactly the reference's 8-bit arithmetic, with the gradients it states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from bss2jax import (
    add,
    argmax,
    converting_relu,
    encode_activations,
    normalise,
    relu,
    scale_input,
    scale_weight,
)
from bss2jax.kernels.coding import split_signs

# Every readout, the quarters between them, and values that no readout has.
READOUTS = np.concatenate([np.arange(-140, 140, 0.25), [-1000.0, 1000.0]]).astype(np.float32)


def derivative(function, y):
    return jax.vmap(jax.grad(function))(jnp.asarray(y))


def test_relu_floors_and_clips_to_0_and_127():
    y = relu(READOUTS)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, reference.relu(READOUTS))


def test_the_gradient_of_relu_is_one_above_zero_saturated_or_not():
    np.testing.assert_array_equal(derivative(relu, READOUTS), READOUTS > 0)


@pytest.mark.parametrize("shift", range(6))
def test_converting_relu_shifts_and_clips_to_0_and_31(shift):
    y = converting_relu(READOUTS, shift)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, reference.converting_relu(READOUTS, shift))


@pytest.mark.parametrize("shift", range(6))
def test_the_gradient_of_converting_relu_is_a_shift_above_zero(shift):
    result = derivative(lambda y: converting_relu(y, shift), READOUTS)
    np.testing.assert_array_equal(result, (READOUTS > 0) / 2**shift)


def test_converting_relu_drops_one_bit_unless_told_otherwise():
    np.testing.assert_array_equal(converting_relu(READOUTS), converting_relu(READOUTS, 1))


def test_add_saturates_both_sides_and_the_sum():
    a, b = np.meshgrid(READOUTS[::7], READOUTS[::7])
    np.testing.assert_array_equal(add(a, b), reference.add(a, b))
    np.testing.assert_array_equal(add(jnp.array([200.0, 200.0]), jnp.array([-100, 100])), [27, 127])


def test_add_broadcasts_a_bias_and_its_gradient_is_that_of_the_plain_sum():
    rng = np.random.default_rng(0)
    a = rng.uniform(-200, 200, (6, 5)).astype(np.float32)
    b = rng.uniform(-200, 200, 5).astype(np.float32)
    weights = rng.normal(size=(6, 5)).astype(np.float32)
    np.testing.assert_array_equal(add(a, b), reference.add(a, b))
    result = jax.grad(lambda a, b: jnp.sum(weights * add(a, b)), (0, 1))(a, b)
    np.testing.assert_allclose(result[0], weights)
    np.testing.assert_allclose(result[1], weights.sum(0), rtol=1e-5)


def test_argmax_takes_the_first_of_equals_and_has_no_gradient():
    y = np.array([[3.0, 7.0, 7.0], [-1.0, -1.0, -5.0]])
    index = argmax(y)
    assert index.dtype == jnp.int32
    np.testing.assert_array_equal(index, [1, 0])
    np.testing.assert_array_equal(argmax(y, axis=0), [0, 0, 0])
    gradient = jax.grad(lambda y: jnp.take(y[0], argmax(y)[0]) + argmax(y).sum())(jnp.asarray(y))
    np.testing.assert_array_equal(gradient, [[0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("function", [relu, converting_relu, lambda y: add(y, y)])
def test_digital_functions_jit_vmap_and_scan(function):
    y = READOUTS[:20].reshape(4, 5)
    expected = function(y)
    np.testing.assert_array_equal(jax.jit(function)(y), expected)
    np.testing.assert_array_equal(jax.vmap(function)(y), expected)
    scanned = jax.lax.scan(lambda carry, y: (carry, function(y)), None, jnp.asarray(y))[1]
    np.testing.assert_array_equal(scanned, expected)


@given(st.integers(0, 2**32), st.floats(1e-3, 1e6))
def test_scaled_tensors_fill_the_range(seed, size):
    x = np.random.default_rng(seed).uniform(0, size, (5, 4)).astype(np.float32)
    w = x - np.float32(size / 2)
    np.testing.assert_allclose(scale_input(x), x * (31 / x.max()), rtol=1e-5)
    np.testing.assert_allclose(scale_weight(w), w * (63 / np.abs(w).max()), rtol=1e-5)


@pytest.mark.parametrize("scale", [scale_input, scale_weight])
def test_the_factor_of_a_scaled_tensor_is_detached(scale):
    x = np.array([0.5, 0.25, 2.0], np.float32)
    limit = {scale_input: 31, scale_weight: 63}[scale]
    gradient = jax.grad(lambda x: scale(x).sum())(x)
    np.testing.assert_allclose(gradient, np.full(3, limit / 2), rtol=1e-6)


@pytest.mark.parametrize("scale", [scale_input, scale_weight])
def test_scaling_a_tensor_of_zeros_leaves_zeros_and_a_finite_gradient(scale):
    zeros = np.zeros(3, np.float32)
    np.testing.assert_array_equal(scale(zeros), zeros)
    assert np.isfinite(jax.grad(lambda x: scale(x).sum())(zeros)).all()


def test_encoded_pixels_reach_from_0_to_31_linearly():
    pixels = np.arange(256, dtype=np.uint8)
    values = encode_activations(pixels, 255)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, np.arange(256) * 31 / 255, rtol=1e-6)
    assert float(jnp.round(values).max()) == 31


def test_each_channel_has_its_full_scale():
    values = np.array([[1.0, 3.0], [0.5, -3.0]])
    codes = encode_activations(values, (1.0, 3.0))
    np.testing.assert_allclose(codes, [[31, 31], [15.5, -31]], rtol=1e-6)
    np.testing.assert_allclose(normalise(values, (1.0, 3.0)), [[1, 1], [0.5, -1]], rtol=1e-6)
    np.testing.assert_allclose(normalise(np.uint8([0, 51, 255]), 255), [0, 0.2, 1], rtol=1e-6)


def test_an_offset_becomes_zero_channel_by_channel():
    values = np.uint8([[10, 20], [30, 60]])
    expected = np.array([[0, 0], [1, 0.5]])
    at = dict(full_scale=(20.0, 80.0), offset=(10.0, 20.0))
    np.testing.assert_allclose(normalise(values, **at), expected, rtol=1e-6)
    np.testing.assert_allclose(encode_activations(values, **at), 31 * expected, rtol=1e-6)


def test_signs_are_split_into_two_unsigned_channels():
    x = np.array([[3.0, -4.0], [-40.0, 33.0]], np.float32)
    expected = [[3, 0, 0, 4], [0, 31, 31, 0]]
    np.testing.assert_array_equal(split_signs(x), expected)
