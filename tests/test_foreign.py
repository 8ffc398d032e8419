"""The kernels are plain JAX functions: they go into anybody's training loop and library."""

from functools import partial

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

import bss2jax

KEY = jax.random.key(7)
INPUTS, HIDDEN, CLASSES = 20, 24, 3
matmul = partial(bss2jax.matmul, num_sends=4)


@pytest.fixture(scope="module")
def chip():
    return jax.jit(bss2jax.sample_chip)(jax.random.key(1))


@pytest.fixture(scope="module")
def classes():
    """Activations 0..31 around three prototypes, and which one."""
    label = jnp.arange(90) % CLASSES
    prototypes = jax.random.uniform(jax.random.key(2), (CLASSES, INPUTS), maxval=31)
    spread = 4 * jax.random.normal(jax.random.key(3), (90, INPUTS))
    return jnp.clip(jnp.round(prototypes[label] + spread), 0, 31), label


def init(key):
    hidden, scores = jax.random.split(key)
    return {
        "hidden": 15 * jax.random.truncated_normal(hidden, -4, 4, (INPUTS, HIDDEN)),
        "scores": 15 * jax.random.truncated_normal(scores, -4, 4, (HIDDEN, CLASSES)),
    }


def forward(params, x, chip, key):
    hidden, scores = jax.random.split(key)
    x = bss2jax.converting_relu(matmul(x, params["hidden"], chip, hidden), 1)
    return matmul(x, params["scores"], chip, scores)


def cross_entropy(scores, label):
    return optax.softmax_cross_entropy_with_integer_labels(scores / 16, label).mean()


def project(params):
    return jax.tree.map(lambda w: jnp.clip(w, -63, 63), params)


def assert_learned(losses, scores, label):
    assert float(np.mean(losses[-3:])) < 0.3 * float(losses[0])
    assert float((scores.argmax(-1) == label).mean()) > 0.9


def descend(params, chip, classes, steps):
    """A loop written by hand: the gradient's direction, for some steps under `lax.scan`."""
    x, label = classes

    def step(params, key):
        loss, gradient = jax.value_and_grad(
            lambda params: cross_entropy(forward(params, x, chip, key), label)
        )(params)
        return project(jax.tree.map(lambda w, g: w - jnp.sign(g), params, gradient)), loss

    return jax.lax.scan(step, params, jax.random.split(KEY, steps))


def test_a_hand_written_loop_under_jit_grad_and_scan_learns(chip, classes):
    params, losses = jax.jit(partial(descend, steps=30))(init(KEY), chip, classes)
    assert_learned(losses, jax.jit(forward)(params, classes[0], chip, KEY), classes[1])


@pytest.mark.slow  # `test_exact` maps products over chips, the loop above trains one
def test_one_loop_vmapped_over_chips_trains_a_network_for_each(classes):
    chips = jax.jit(jax.vmap(bss2jax.sample_chip))(jax.random.split(jax.random.key(5), 3))
    train = jax.jit(jax.vmap(partial(descend, steps=30), in_axes=(None, 0, None)))
    params, losses = train(init(KEY), chips, classes)
    scores = jax.jit(jax.vmap(forward, (0, None, 0, None)))(params, classes[0], chips, KEY)
    for i in range(3):
        assert_learned(losses[i], scores[i], classes[1])
    assert float(jnp.abs(params["hidden"][0] - params["hidden"][1]).max()) > 0


def test_optax_trains_plain_dicts_of_arrays(chip, classes):
    x, label = classes
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1.0))

    @jax.jit
    def step(params, state, x, label, chip, key):
        loss, gradient = jax.value_and_grad(
            lambda params: cross_entropy(forward(params, x, chip, key), label)
        )(params)
        updates, state = optimizer.update(gradient, state)
        return project(optax.apply_updates(params, updates)), state, loss

    params, losses = init(KEY), []
    state = optimizer.init(params)
    for key in jax.random.split(KEY, 30):
        params, state, loss = step(params, state, x, label, chip, key)
        losses.append(float(loss))
    assert_learned(losses, jax.jit(forward)(params, x, chip, KEY), label)


def test_a_linen_module_of_kernels_learns(chip, classes):
    class Classifier(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x, chip):
            for name, outputs in (("hidden", HIDDEN), ("scores", CLASSES)):
                normal = flax.linen.initializers.truncated_normal(15.0)
                kernel = self.param(name, normal, (x.shape[-1], outputs))
                y = matmul(x, kernel, chip, self.make_rng("noise"))
                x = bss2jax.converting_relu(y, 1)
            return y

    x, label = classes
    model, optimizer = Classifier(), optax.adam(1.0)
    params = jax.jit(model.init)({"params": KEY, "noise": KEY}, x, chip)

    @jax.jit
    def step(params, state, x, label, chip, key):
        loss, gradient = jax.value_and_grad(
            lambda params: cross_entropy(model.apply(params, x, chip, rngs={"noise": key}), label)
        )(params)
        updates, state = optimizer.update(gradient, state)
        return project(optax.apply_updates(params, updates)), state, loss

    losses, state = [], optimizer.init(params)
    for key in jax.random.split(KEY, 30):
        params, state, loss = step(params, state, x, label, chip, key)
        losses.append(float(loss))
    scores = jax.jit(model.apply)(params, x, chip, rngs={"noise": KEY})
    assert_learned(losses, scores, label)


class Classifier(equinox.Module):
    """An equinox module is a pytree of its weights."""

    hidden: jax.Array
    scores: jax.Array

    def __call__(self, x, chip, key):
        return forward({"hidden": self.hidden, "scores": self.scores}, x, chip, key)


def test_an_equinox_module_of_kernels_learns(chip, classes):
    x, label = classes
    model, optimizer = Classifier(**init(KEY)), optax.adam(1.0)
    state = optimizer.init(equinox.filter(model, equinox.is_array))

    @equinox.filter_jit
    def step(model, state, x, label, chip, key):
        loss, gradient = equinox.filter_value_and_grad(
            lambda model: cross_entropy(model(x, chip, key), label)
        )(model)
        updates, state = optimizer.update(gradient, state)
        return project(equinox.apply_updates(model, updates)), state, loss

    losses = []
    for key in jax.random.split(KEY, 30):
        model, state, loss = step(model, state, x, label, chip, key)
        losses.append(float(loss))
    assert_learned(losses, equinox.filter_jit(model)(x, chip, KEY), label)


def test_an_equinox_module_vmapped_over_samples_equals_the_direct_call(chip, classes):
    """Without noise: a key given to vmap would be the same for every sample."""
    model, x = Classifier(**init(KEY)), classes[0]

    @equinox.filter_jit
    def hidden(model, x):
        return jax.vmap(lambda x: matmul(x, model.hidden, chip))(x)

    assert_array_equal(hidden(model, x), matmul(x, model.hidden, chip))


def test_vmap_over_chips_equals_one_chip_after_the_other(classes):
    x, w = classes[0], init(KEY)["hidden"]
    keys = jax.random.split(jax.random.key(5), 3)
    chips = jax.jit(jax.vmap(bss2jax.sample_chip))(keys)
    product = jax.jit(matmul)
    y = jax.jit(jax.vmap(matmul, (None, None, 0, 0)))(x, w, chips, keys)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], chips)
        assert_array_equal(y[i], product(x, w, one, keys[i]))


def test_checkpointed_gradients_are_the_same(chip, classes):
    def loss(forward, params, x, label):
        return cross_entropy(forward(params, x, chip, KEY), label)

    plain = jax.jit(jax.grad(partial(loss, forward)))(init(KEY), *classes)
    again = jax.jit(jax.grad(partial(loss, jax.checkpoint(forward))))(init(KEY), *classes)
    jax.tree.map(assert_array_equal, plain, again)


def test_a_weight_that_jit_closes_over_is_a_constant(chip, classes):
    x, w = classes[0], init(KEY)["hidden"]
    assert_array_equal(jax.jit(lambda x: matmul(x, w, chip))(x), matmul(x, w, chip))
