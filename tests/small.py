"""A network so small that training it takes no time, for what tests of training share."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import Mismatch, Substrate, sample_chip
from bss2jax.networks import Activations, Dense, build
from bss2jax.training import Phase, Samples, Task, Variables, loop

SMALL = Substrate(rows=16, columns=8)
NETWORK = build([Dense(outputs=3)], Activations((12,), SMALL))
TASK = Task(NETWORK, 31.0, Mismatch(), SMALL)
CHIP = sample_chip(jax.random.key(1), TASK.mismatch, substrate=SMALL)
KEY = jax.random.key(0)


def clusters(samples, seed):
    """Three classes of 12 values around three centres, with some overlap."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).uniform(0, 31, (3, 12))
    y = rng.integers(0, 3, samples, np.int32)
    x = np.clip(centres[y] + rng.normal(0, 8, (samples, 12)), 0, 31)
    return Samples(jnp.asarray(x, jnp.float32), jnp.asarray(y))


TRAINING, VALIDATION = clusters(96, 1), clusters(50, 2)
START = Variables(NETWORK.init(jax.random.key(3)), {})


def phase(**settings):
    return Phase(**{"on": "ideal", "epochs": 2, "batch_size": 32, "learning_rate": 0.5} | settings)


def train(key=KEY, task=TASK, start=START, training=TRAINING, **settings):
    """Trains through one phase; returns what was kept and what was reported."""
    epochs, steps = [], []
    kept = loop.train(
        task,
        phase(**settings),
        start,
        CHIP,
        training,
        VALIDATION,
        key,
        on_step=lambda progress: steps.append((progress.step, float(progress.state.loss))),
        on_epoch=lambda epoch, progress, best: epochs.append(
            (epoch, weight(progress.state.variables), best)
        ),
    )
    return kept, epochs, steps


def weight(variables):
    return np.asarray(variables.params["dense_0"]["weight"])


def untimed(epochs):
    return [replace(epoch, seconds=0.0) for epoch, _, _ in epochs]


# A rate so small that no weight moves: the loss of a step shows what the step has seen. One batch
# of all samples, so that their order changes no more than the last bits of a sum.
STILL = {"learning_rate": 1e-20, "batch_size": 96, "on": "chip", "optimizer": "sgd"}
