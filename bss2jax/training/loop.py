"""The loop: one jitted step, repeated; phases; evaluation.

Randomness is a function of (seed, phase, step) alone: every key is folded from the phase's key and
the number of the step or epoch it serves.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from bss2jax.hardware.chip import Chip, Mismatch, sample_chip
from bss2jax.hardware.substrate import BSS2, Substrate
from bss2jax.networks.execution import Execution, Network, Params
from bss2jax.training import objective as objectives
from bss2jax.training.augment import augment
from bss2jax.training.phase import (
    Augmentation,
    Objective,
    Phase,
    make_optimizer,
    steps_per_epoch,
    total_steps,
)

# What one key is folded with to serve different purposes.
_ORDER, _STEP, _VALIDATION = 0, 1, 2
_EVALUATION_BATCH = 500


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Samples:
    """Data on the device: `x [S, ...]` in the set's own type, `y [S]` int32 labels."""

    x: jax.Array
    y: jax.Array


@dataclass(frozen=True)
class Task:
    """All that stays the same through a training.

    Attributes:
        network: what is trained.
        full_scale: the value of x that becomes activation 31; one for all, or for each channel.
        mismatch: spreads of the chips that `resample` draws.
        substrate: the chip's numbers.
        objective: what is minimised.
        augmentation: of the training images.
    """

    network: Network
    full_scale: float | tuple[float, ...]
    mismatch: Mismatch = Mismatch()
    substrate: Substrate = BSS2
    objective: Objective = Objective()
    augmentation: Augmentation = Augmentation()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """What a step changes: parameters, optimiser, and the epoch's sums of loss and hits."""

    params: Params
    optimizer: Any
    loss: jax.Array
    correct: jax.Array


@dataclass(frozen=True)
class Result:
    """What a network does with some samples.

    Attributes:
        loss: mean, nats.
        accuracy: 0..1.
        saturation: the shares that saturate, per layer.
        confusion: samples by label (row) and by what they were taken for (column).
    """

    loss: float
    accuracy: float
    saturation: dict[str, dict[str, float]]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """The accuracy within each class; None for a class without samples."""
        sums = [sum(row) for row in self.confusion]
        return tuple(
            row[i] / n if n else None for i, (row, n) in enumerate(zip(self.confusion, sums))
        )

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the class accuracies: each class counts the same, however large."""
        known = [accuracy for accuracy in self.class_accuracy if accuracy is not None]
        return sum(known) / len(known)


@dataclass(frozen=True)
class Epoch:
    """What is known at the end of an epoch (or of a phase cut short within one)."""

    epoch: int
    step: int
    seconds: float
    train_loss: float
    train_accuracy: float
    validation: Result


def train(
    task: Task,
    phase: Phase,
    params: Params,
    chip: Chip,
    training: Samples,
    validation: Samples,
    key: jax.Array,
    *,
    on_step: Callable[[int, State], None] = lambda step, state: None,
    on_epoch: Callable[[Epoch, Params, bool], None] = lambda epoch, params, best: None,
) -> Params:
    """Trains through one phase.

    Args:
        task: network and settings.
        phase: execution, length, optimiser.
        params: to start from; not changed.
        chip: the run's chip.
        training, validation: data on the device.
        key: of this phase; decides order, augmentation and noise.
        on_step: called after each step with its number from 1 on, and the state.
        on_epoch: called after each epoch with its figures, the parameters, and whether they are the
            best so far on the validation data.

    Returns:
        The parameters that the phase keeps.
    """
    samples = len(training.y)
    per_epoch, total = steps_per_epoch(phase, samples), total_steps(phase, samples)
    optimizer = make_optimizer(phase, samples)
    # The step gives its input's memory to its output; the caller's parameters stay whole.
    params = jax.tree.map(jnp.copy, params)
    state = State(params, optimizer.init(params), jnp.zeros(()), jnp.zeros(()))
    step = jax.jit(partial(_step, task, phase, optimizer), donate_argnums=0)
    noise = jax.random.fold_in(key, _VALIDATION) if phase.noise else None
    best, kept, done = (-1.0, 0.0), params, 0
    for epoch in range(1, phase.epochs + 1):
        start, first = time.perf_counter(), done
        order = _order(jax.random.fold_in(jax.random.fold_in(key, _ORDER), epoch), samples)
        for i in range(min(per_epoch, total - done)):
            step_key = jax.random.fold_in(jax.random.fold_in(key, _STEP), done)
            state = step(state, training, order, i, chip, step_key)
            done += 1
            on_step(done, state)
        seen = (done - first) * min(phase.batch_size, samples)
        result = evaluate(task, state.params, validation, chip, noise, on=phase.on)
        rank = (result.accuracy, -result.loss)
        better = rank > best
        if better or phase.keep == "last":
            best, kept = max(rank, best), jax.tree.map(jnp.copy, state.params)
        figures = Epoch(
            epoch,
            done,
            time.perf_counter() - start,
            float(state.loss) / seen,
            float(state.correct) / seen,
            result,
        )
        on_epoch(figures, state.params, better)
        if done == total:
            break
        state = State(state.params, state.optimizer, jnp.zeros(()), jnp.zeros(()))
    return kept


def evaluate(
    task: Task,
    params: Params,
    samples: Samples,
    chip: Chip | None,
    key: jax.Array | None,
    *,
    on: Execution | Mapping[str, Execution],
) -> Result:
    """Measures a network over samples, in batches.

    Args:
        task: network and settings.
        params: its parameters.
        samples: data on the device.
        chip: the chip it runs on, or None where `on` needs none.
        key: for the chip's noise; None: no noise.
        on: the execution.
    """
    on = on if isinstance(on, str) else tuple(on.items())
    sums = _evaluate(task, on, params, samples, chip, key)
    loss, confusion, saturation = jax.device_get(sums)
    count = len(samples.y)
    shares = jax.tree.map(lambda s: round(float(s), 6), saturation)
    rows = tuple(map(tuple, confusion.tolist()))
    return Result(float(loss) / count, int(np.trace(confusion)) / count, shares, rows)


def accuracy_over_chips(
    task: Task,
    params: Params,
    samples: Samples,
    chips: Chip,
    key: jax.Array,
    *,
    on: Execution | Mapping[str, Execution],
) -> np.ndarray:
    """Measures accuracy on every chip of a stack.

    Args: as `evaluate`; `chips` has a leading axis, as from `jax.vmap(sample_chip)(keys)`.

    Returns:
        `[chips]` accuracies, 0..1.
    """
    on = on if isinstance(on, str) else tuple(on.items())
    keys = jax.random.split(key, len(chips.offset))

    def one(chip_and_key):
        # One chip after the other: batched products are several times slower on a CPU.
        _, confusion, _ = _evaluate(task, on, params, samples, *chip_and_key)
        return jnp.trace(confusion)

    hits = jax.jit(lambda stack: lax.map(one, stack))((chips, keys))
    return np.asarray(hits) / len(samples.y)


def _step(task, phase, optimizer, state, training, order, i, chip, key):
    batch = min(phase.batch_size, len(training.y))
    index = lax.dynamic_slice_in_dim(order, i * batch, batch)
    x, y = training.x[index], training.y[index]
    k_augment, k_noise, k_chip = jax.random.split(key, 3)
    if phase.augment and task.augmentation.any:
        x = augment(x, k_augment, task.augmentation)
    if phase.on_chip and phase.chip == "resample":
        chip = sample_chip(k_chip, task.mismatch, task.substrate)
    values = task.network.encode(x, task.full_scale)
    noise = k_noise if phase.noise else None

    def mean_loss(params):
        scores, stats = task.network.apply(params, values, chip, noise, on=phase.on, training=True)
        loss = objectives.loss(scores, y, task.objective).mean()
        return loss + objectives.penalty(params, stats, task.objective), scores

    (loss, scores), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = _project(optax.apply_updates(state.params, updates), task.network.weight_limit)
    hits = objectives.correct(scores, y).sum()
    return State(params, optimizer_state, state.loss + batch * loss, state.correct + hits)


def _project(params, limit):
    """Keeps weights within what the synapses can hold, as the reference's clamp does."""
    return {
        name: {
            kind: values if kind == "bias" else jnp.clip(values, -limit, limit)
            for kind, values in layer.items()
        }
        for name, layer in params.items()
    }


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(task, on, params, samples, chip, key):
    """Sum of loss, confusion, and mean saturation, over all samples in batches."""
    on = on if isinstance(on, str) else dict(on)
    count = len(samples.y)
    batch = min(_EVALUATION_BATCH, count)
    batches = -(-count // batch)
    index = jnp.arange(batches * batch).reshape(batches, batch)
    keys = None if key is None else jax.random.split(key, batches)

    def one(batch):
        index, key = batch
        x = task.network.encode(samples.x[index % count], task.full_scale)
        y = samples.y[index % count]
        scores, saturation = task.network.apply(params, x, chip, key, on=on)
        real = index < count
        losses = objectives.loss(scores, y, task.objective)
        confusion = objectives.confusion(scores, y, real)
        return jnp.where(real, losses, 0).sum(), confusion, saturation

    loss, confusion, saturation = lax.map(one, (index, keys))
    return loss.sum(), confusion.sum(axis=0), jax.tree.map(jnp.mean, saturation)


@partial(jax.jit, static_argnums=1)
def _order(key, samples):
    return jax.random.permutation(key, samples)
