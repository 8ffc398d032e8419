"""The spiking nnx modules are the functions, with their weights inside; they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_array_equal

import bss2jax
from bss2jax.execute.convolution import patches
from bss2jax.kernels.synapses.events import Events, to_raster
from bss2jax.mapping.plan import as_matrix
from bss2jax.nnx import LI, LIF, ConvLIF

T, B, K, N = 12, 3, 10, 6
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def chip():
    return bss2jax.sample_chip(jax.random.key(1))


def raster(*shape, density=0.3):
    return jnp.float32(np.random.default_rng(0).random((T, B, *shape)) < density)


def test_lif_is_spiking_with_recurrence(chip):
    layer = LIF(K, N, recurrent=True, init_mean=0.3, t_ref=2e-6, rngs=nnx.Rngs(0))
    spikes = raster(K)
    z = layer(spikes, chip, KEY)
    assert z.shape == (T, B, N) and 0 < z.sum() < z.size
    expected = bss2jax.spiking(
        spikes, layer.kernel[...], layer.params, chip, KEY,
        recurrent=layer.recurrent_kernel[...], t_ref=2e-6,
    )  # fmt: skip
    assert_array_equal(z, expected)
    with pytest.raises(ValueError, match="neurons would fit"):
        LIF(400, 400, recurrent=True, rngs=nnx.Rngs(0))


def test_lif_takes_events():
    layer = LIF(K, N, init_mean=0.5, rngs=nnx.Rngs(0))
    events = Events(
        jnp.tile(jnp.arange(K, dtype=jnp.int32), (B, 1)), jnp.tile(jnp.arange(K), (B, 1))
    )
    assert_array_equal(layer(events, steps=T), layer(to_raster(events, T, K)))


@pytest.mark.parametrize("shared", (True, False))
def test_conv_lif_is_spiking_of_patches(chip, shared):
    layer = ConvLIF(
        2, 3, (3, 3), (1, 2), padding=1, shared=shared, size=(4, 5), init_mean=0.3, rngs=nnx.Rngs(0)
    )
    spikes = raster(4, 5, 2)
    z = layer(spikes, chip, KEY)
    assert z.shape == (T, B, 4, 3, 3) and 0 < z.sum() < z.size
    seen = patches(spikes, (3, 3), (1, 2), 1).reshape(T, B, 12, 18)
    w = as_matrix(layer.kernel[...]) if shared else layer.kernel[...]
    expected = bss2jax.spiking(seen, w, layer.params, chip, KEY)
    assert_array_equal(z.reshape(T, B, 12, 3), expected)


def test_weights_of_their_own_need_the_inputs_size():
    with pytest.raises(ValueError, match="size"):
        ConvLIF(1, 1, (3,), shared=False, rngs=nnx.Rngs(0))


def test_li_is_integrate(chip):
    layer = LI(K, N, readout_scale=50.0, rngs=nnx.Rngs(0))
    spikes = raster(K)
    expected = bss2jax.integrate(
        spikes, layer.kernel[...], layer.params, chip, KEY, readout_scale=50.0
    )
    assert_array_equal(layer(spikes, chip, KEY), expected)
    assert np.abs(expected).max() > 0


class Classifier(nnx.Module):
    def __init__(self, *, rngs):
        self.hidden = LIF(4, 12, init_mean=0.4, init_std=0.4, rngs=rngs)
        self.readout = LI(12, 2, rngs=rngs)

    def __call__(self, spikes, chip=None, key=None):
        return self.readout(self.hidden(spikes, chip, key), chip).max(axis=0)


def test_a_classifier_of_modules_learns_on_a_chip(chip):
    """Which of two pairs of inputs spikes: chance is ln 2."""
    label = np.arange(16) % 2
    rng = np.random.default_rng(1)
    spikes = rng.random((T, 16, 4)) < np.where(label[:, None] == np.arange(4) // 2, 0.5, 0.05)
    spikes = jnp.float32(spikes)
    model = Classifier(rngs=nnx.Rngs(2))
    optimizer = nnx.Optimizer(model, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, key):
        def loss(model):
            scores = model(spikes, chip, key)
            return optax.softmax_cross_entropy_with_integer_labels(3 * scores, label).mean()

        value, gradient = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradient)
        return value

    losses = [float(step(model, optimizer, key)) for key in jax.random.split(KEY, 30)]
    assert np.mean(losses[-5:]) < 0.5 * np.log(2)
