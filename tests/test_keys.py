"""No random number is used twice: in no two layers, blocks, chips, steps or phases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import Mismatch, Substrate, sample_chip
from bss2jax.kernels import noise
from bss2jax.networks import (
    LI,
    LIF,
    Activations,
    Dense,
    Flatten,
    Latency,
    MaxOverTime,
    build,
)
from bss2jax.training import Augmentation, Phase, Samples, Task, loop

SMALL = Substrate(rows=16, columns=8)
ANALOG = build(
    [
        Flatten(),
        Dense(outputs=20, activation="converting_relu"),  # several blocks of 16 rows, 8 columns
        Dense(outputs=3),
    ],
    Activations((6, 6, 2), SMALL),
)
SPIKING = build(
    [Latency(steps=4), LIF(outputs=12, recurrent=True), LI(outputs=3), MaxOverTime()], (6, 6, 2)
)
NOISY = Mismatch(threshold_noise=0.1, jitter=1e-6)
RNG = np.random.default_rng(0)
DATA = Samples(
    jnp.asarray(RNG.uniform(0, 31, (8, 6, 6, 2)), jnp.float32), jnp.asarray(RNG.integers(0, 3, 8))
)
PHASE = Phase(on="chip", epochs=1, batch_size=4, learning_rate=0.1, chip="resample")


def task_of(network, substrate):
    return Task(network, 31.0, NOISY, substrate, augmentation=Augmentation(shift=1, rotation=5))


def train(task, key):
    """Two steps of one phase; augmentation and chips are drawn too."""
    chip = sample_chip(jax.random.key(9), NOISY, substrate=task.substrate)
    return loop.train(task, PHASE, task.initial(jax.random.key(1)), chip, DATA, DATA, key)


# What spikes has all that draws.
@pytest.mark.parametrize("network", [pytest.param("analog", marks=pytest.mark.slow), "spiking"])
def test_no_key_is_consumed_twice_in_a_step(network):
    with jax.debug_key_reuse(True):
        task = task_of(*{"analog": (ANALOG, SMALL), "spiking": (SPIKING, Substrate())}[network])
        train(task, jax.random.key(5))


@pytest.fixture
def streams(monkeypatch):
    """The words of every noise stream that is made."""
    made, original = [], noise.stream

    def recorded(key, *ids):
        words = original(key, *ids)
        jax.debug.callback(lambda w: made.append(np.array(w)), words)
        return words

    monkeypatch.setattr(noise, "stream", recorded)
    return made


def test_every_block_of_every_layer_step_and_phase_has_noise_of_its_own(streams):
    run, task = jax.random.key(0), task_of(ANALOG, SMALL)  # compiled for both phases at once
    for phase in range(2):
        train(task, jax.random.fold_in(run, phase))
    jax.effects_barrier()
    # Two phases of two steps and one validation. Two row blocks share a stream, one normal of a
    # pair each: 3 streams for the 5 row blocks of the first layer, 1 for the 2 of the second.
    words = np.unique(np.stack(streams), axis=0)
    assert len(words) == len(streams) == 2 * 3 * (3 + 1)
