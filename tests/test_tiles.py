"""A step in tiles of samples is the step of the whole batch, in temporaries that do not fault."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small import KEY, TASK, TRAINING, VALIDATION, phase

from bss2jax import Mismatch, sample_chip
from bss2jax.networks import LI, LIF, Latency, Layer, MaxOverTime, build
from bss2jax.training import Objective, Samples, Task, evaluate, loop, tiles
from bss2jax.training import step as steps_of

SPIKING_LAYERS = [Latency(steps=20), LIF(outputs=40), LI(outputs=3), MaxOverTime()]
SPIKES = build(SPIKING_LAYERS, (12,))
SPIKING = Task(SPIKES, 31.0, objective=Objective(scale=3.0, readout=1e-3, bursts=1e-2, weights=1.0))


class Centred(Layer):
    """Values less their mean over the batch."""

    across_samples = True

    def shape(self, *before):
        return before[0]

    def apply(self, params, state, *x, how):
        return x[0] - x[0].mean(axis=0), state, {}


@pytest.fixture
def small_pages(monkeypatch):
    """A bound that tears any batch into tiles."""
    monkeypatch.setattr(tiles, "BOUND", 300_000)


def gradients(task, tile, chip, **settings):
    of_phase = phase(batch_size=96, **settings)
    start, order = task.initial(KEY), steps_of.epoch_order(KEY, 1, 96)
    run = partial(steps_of.gradient, task, of_phase, tile=tile, records=True)
    return jax.jit(run)(start, TRAINING, order, 0, chip, KEY)


# The slow ones are of the same kinds: tiles of the analog network, and noise of samples in tiles.
@pytest.mark.parametrize(
    "task, on, tile",
    [
        (TASK, "float", 8),
        pytest.param(TASK, "chip", 1, marks=pytest.mark.slow),
        pytest.param(SPIKING, "chip", 48, marks=pytest.mark.slow),
    ],
)
def test_a_batch_in_tiles_gives_the_gradient_of_the_whole(task, on, tile):
    chip = sample_chip(jax.random.key(1), Mismatch(), substrate=task.substrate)
    whole = gradients(task, 96, chip, on=on)
    parts = gradients(task, tile, chip, on=on)
    assert_array_equal(parts.labels, whole.labels)
    assert_allclose(parts.scores, whole.scores, atol=1e-5)
    assert_allclose(parts.loss, whole.loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(parts.params), jax.tree.leaves(whole.params)):
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)
    for a, b in zip(jax.tree.leaves(parts.records), jax.tree.leaves(whole.records)):
        assert_allclose(a, b, rtol=1e-5)


def compiled(task, **settings):
    of_phase = phase(batch_size=96, **settings)
    state = loop.begin(of_phase, task.initial(KEY), 96).state
    return steps_of.compiled_step(task, of_phase, state, TRAINING, sample_chip(KEY), KEY)


@pytest.mark.slow  # compiles a step many times
def test_a_step_is_torn_into_tiles_that_are_as_large_as_fits(small_pages):
    found = compiled(replace(SPIKING), on="chip")
    assert 1 < found.tile < 96 and 96 % found.tile == 0
    assert found.temporaries <= tiles.BOUND


@pytest.mark.slow  # compiles two more steps
def test_what_looks_across_samples_is_not_torn(small_pages):
    rate = replace(SPIKING, objective=Objective(scale=3.0, rate=1.0))
    across = replace(SPIKING, network=build([Centred(), *SPIKING_LAYERS], (12,)))
    assert compiled(rate, on="chip").tile == compiled(across, on="chip").tile == 96


def test_an_evaluation_in_tiles_is_that_of_the_whole(monkeypatch):
    start = SPIKING.initial(KEY)
    whole = evaluate(SPIKING, start, VALIDATION, None, None, on="ideal")
    monkeypatch.setattr(tiles, "BOUND", 300_000)
    task = replace(SPIKING)
    parts = evaluate(task, start, VALIDATION, None, None, on="ideal")
    assert [found.tile for found in task.compiled.values()] != [50]
    assert parts.confusion == whole.confusion
    assert_allclose(parts.loss, whole.loss, rtol=1e-6)
    assert parts.saturation.keys() == whole.saturation.keys()


# The slow ones are the same step of other sizes; each takes half a dozen seconds to compile.
@pytest.mark.parametrize(
    "steps, batch",
    [
        (100, 100),
        *(
            pytest.param(*sizes, marks=pytest.mark.slow)
            for sizes in [(30, 100), (100, 60), (100, 160)]
        ),
    ],
)
def test_the_temporaries_of_a_spiking_step_stay_below_what_faults(steps, batch):
    """Above 32 MiB every call faults on fresh pages: that less a tenth is the bound."""
    layers = [Latency(steps=steps), LIF(outputs=256), LI(outputs=10), MaxOverTime()]
    network = build(layers, (784,))
    task = Task(network, 255.0)
    of_phase = phase(on="chip", batch_size=batch)
    data = Samples(jnp.zeros((200, 784), jnp.uint8), jnp.zeros(200, jnp.int32))
    state = jax.eval_shape(lambda: loop.begin(of_phase, task.initial(KEY), 200).state)
    found = steps_of.compiled_step(task, of_phase, state, data, sample_chip(KEY), KEY)
    assert found.temporaries < 28 * 2**20
