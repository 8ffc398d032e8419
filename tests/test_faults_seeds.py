"""Seeds mean the same everywhere: whatever JAX's precision, default keys and their partitioning."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import bss2jax as b
from bss2jax import networks as n
from bss2jax.chip import draws
from bss2jax.training import Augmentation, Objective, Samples, Task
from bss2jax.training.augment import augment
from bss2jax.training.objective import loss
from bss2jax.training.step import epoch_order

SMALL = b.Substrate(rows=4, columns=6)


def drawn():
    """All that is random, of one seed."""
    key = jax.random.key(1)
    values, images = jnp.full((2, 6), 0.5, jnp.float32), jnp.ones((2, 4, 4, 1), jnp.float32)
    spiking = n.build([n.Rate(steps=4), n.LIF(outputs=4, recurrent=True, dropout=0.3)], (6,))
    analog = n.build([n.Dense(outputs=4)], (6,), substrate=SMALL)
    soft = n.build([n.SoftLIF(outputs=4), n.Linear(outputs=2)], (6,))
    chip = b.sample_chip(jax.random.key(0), substrate=SMALL)
    params = spiking.init(key)
    everywhere = Augmentation(shift=1, rotation=20, flip=True, quarter_turns=True)
    return {
        "chip": chip.synapse_gain,
        "initial": (params, analog.init(key), soft.init(key)),
        "spikes": spiking.apply(params, {}, values, None, key, on="float", training=True)[0],
        "readouts": analog.apply(analog.init(key), {}, values, chip, key, on="chip")[0],
        "poisson": b.poisson(values, key, 6),
        "order": epoch_order(key, 2, 11),
        "augmented": augment(images, key, everywhere),
    }


@pytest.fixture(scope="module")
def expected():
    return jax.tree.map(np.asarray, drawn())


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(partial(jax.enable_x64, True), marks=pytest.mark.slow),
        pytest.param(partial(jax.default_prng_impl, "unsafe_rbg"), marks=pytest.mark.slow),
        pytest.param(partial(jax.threefry_partitionable, False), marks=pytest.mark.slow),
    ],
    ids=["x64", "unsafe_rbg", "partitionable"],
)
def test_a_seed_draws_the_same_bits(mode, expected):
    """3, 4: chip 0 was another under each of these, and so were weights, noise and order."""
    with mode():
        found = drawn()
    jax.tree.map(assert_array_equal, found, expected)
    assert jax.tree.map(lambda a: a.dtype, found) == jax.tree.map(lambda a: a.dtype, expected)


def test_numbers_are_those_of_jax_with_its_default_settings():
    key, shape = jax.random.key(3), (50, 7)
    data = jax.random.key_data
    assert_array_equal(data(draws.split(key, 5)), data(jax.random.split(key, 5)))
    assert_array_equal(draws.permutation(key, 1437), jax.random.permutation(key, 1437))
    assert_array_equal(draws.bernoulli(key, 0.3, shape), jax.random.bernoulli(key, 0.3, shape))
    ours, theirs = draws.truncated_normal, jax.random.truncated_normal
    assert_array_equal(ours(key, -1.3, 1.3, shape), theirs(key, -1.3, 1.3, shape, jnp.float32))


def test_a_key_of_two_words_is_the_same_seed():
    assert_array_equal(
        b.sample_chip(jax.random.PRNGKey(4), substrate=SMALL).offset,
        b.sample_chip(jax.random.key(4), substrate=SMALL).offset,
    )


# --- labels and classes


def test_classes_are_weighed():
    """71: the cross entropy of each sample, times the weight of its class."""
    scores, labels = jnp.array([[1.0, 2.0, 0.5]] * 3), jnp.arange(3)
    weighed = loss(scores, labels, Objective(class_weights=(1.0, 0.0, 3.0)))
    assert_array_equal(weighed, loss(scores, labels, Objective()) * jnp.array([1.0, 0.0, 3.0]))
    network = n.build([n.Dense(outputs=3)], (4,))
    with pytest.raises(ValueError, match="class_weights: got 2"):
        Task(network, 1.0, objective=Objective(class_weights=(1.0, 2.0)))


def test_samples_compare():
    one = Samples(np.ones((2, 3)), np.arange(2))
    assert one == Samples(np.ones((2, 3)), np.arange(2)) and one != Samples(one.x, 1 - one.y)
