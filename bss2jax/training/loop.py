"""The loop: one jitted step, repeated; phases; evaluation.

Randomness is a function of (seed, phase, step) alone: every key is folded from the phase's key and
the number of the step or epoch it serves.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from bss2jax.chip.chip import Chip, Mismatch, sample_chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.networks.network import Execution, Network, Params
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
_LOOK = 1.0  # seconds between looks at whether steps fail; each waits for the device


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
        full_scale: what becomes activation 31; one for all, or for each channel.
        mismatch: spreads of the chips that `resample` draws.
        substrate: the chip's numbers.
        objective: what is minimised.
        augmentation: of the training images.
        offset: the value, in the unit of x, that becomes activation 0; one or one a channel.
    """

    network: Network
    full_scale: float | tuple[float, ...]
    mismatch: Mismatch = Mismatch()
    substrate: Substrate = BSS2
    objective: Objective = Objective()
    augmentation: Augmentation = Augmentation()
    offset: float | tuple[float, ...] = 0.0

    def encode(self, x: jax.Array) -> jax.Array:
        """Turns samples `[B, ...]` into what the network's `apply` takes."""
        return self.network.encode(x, self.full_scale, offset=self.offset)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """What a step changes.

    Attributes:
        params: of the network.
        optimizer: its state.
        loss, correct: sums over the epoch's samples so far.
        taken: int32, the epoch's steps so far that changed the parameters.
        epoch: int32, the phase's whole epochs before this one.
    """

    params: Params
    optimizer: Any
    loss: jax.Array
    correct: jax.Array
    taken: jax.Array
    epoch: jax.Array


@dataclass(frozen=True)
class Progress:
    """How far a phase has got: what its rest depends on, besides task, phase, data and key.

    Attributes:
        state: after the last step; the next step consumes it.
        best: parameters of the best epoch so far.
        rank: of the best epoch, higher is better: validation accuracy and negative loss.
        step, epoch: how many are done; an epoch is done when it has been evaluated.
        seconds: time spent in the epoch that is not done, s.
    """

    state: State
    best: Params
    rank: tuple[float, float] = (-1.0, 0.0)
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0


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
    """What is known at the end of an epoch (or of a phase cut short within one).

    Attributes:
        epoch, step: how many are done in the phase.
        seconds: time of the epoch, s, with its validation.
        train_loss, train_accuracy: means over the epoch's steps, nats and 0..1.
        skipped: steps that were not finite and changed nothing.
        validation: what the network does with the validation data.
    """

    epoch: int
    step: int
    seconds: float
    train_loss: float
    train_accuracy: float
    skipped: int
    validation: Result

    def record(self, phase: int, on: Execution | Mapping[str, Execution]) -> dict[str, Any]:
        """Returns it flat, as a line of a run's `metrics.jsonl`.

        Args:
            phase: its number in the training, from 0 on.
            on: the phase's execution.
        """
        figures = asdict(self)
        validation = figures.pop("validation")
        del validation["confusion"]
        validation["balanced_accuracy"] = self.validation.balanced_accuracy
        named = {f"validation_{name}": value for name, value in validation.items()}
        return {"phase": phase, "on": on} | figures | named


def make_step(task: Task, phase: Phase, samples: int) -> Callable[..., State]:
    """Returns the step of a phase: `step(state, training, order, i, chip, key) -> state`.

    Args:
        task: network and settings.
        phase: execution and optimiser.
        samples: in the training data.

    Of the step, `order` `[samples]` is the epoch's, of which batch i is taken; `key` is that of the
    step.
    """
    return partial(_step, task, phase, make_optimizer(phase, samples))


class NonFinite(ArithmeticError):
    """A step's loss, gradient or update is not finite.

    Args: as its attributes.

    Attributes:
        step, epoch: which, in the phase, from 1 on.
        reason: what is not finite, and in which layer that began.
        saturation: shares that saturate in that batch, per layer; of float layers none.
    """

    def __init__(self, step, epoch, reason, saturation):
        shares = "; ".join(
            f"{layer} " + ", ".join(f"{name} {share:.4g}" for name, share in each.items())
            for layer, each in saturation.items()
            if each
        )
        super().__init__(
            f"step {step} (epoch {epoch}): {reason}; shares in that batch: {shares or 'none'}"
        )
        self.step, self.epoch, self.reason, self.saturation = step, epoch, reason, saturation


def begin(phase: Phase, params: Params, samples: int) -> Progress:
    """Returns the progress of a phase that has done nothing yet.

    Args:
        phase: its settings.
        params: to start from; copied, as the steps consume what they are given.
        samples: in the training data.
    """
    optimizer = make_optimizer(phase, samples).init(params)
    return Progress(_fresh(jax.tree.map(jnp.copy, params), optimizer, 0), params)


def train(
    task: Task,
    phase: Phase,
    start: Params | Progress,
    chip: Chip,
    training: Samples,
    validation: Samples,
    key: jax.Array,
    *,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[Epoch, Progress, bool], None] = lambda epoch, progress, best: None,
) -> Params:
    """Trains through one phase, or through what is left of it.

    Args:
        task: network and settings.
        phase: execution, length, optimiser.
        start: parameters, which are not changed; or how far this phase got before, which is
            consumed. The rest of a phase gives what the whole would have given, to the bit.
        chip: the run's chip.
        training, validation: data on the device.
        key: of this phase; decides order, augmentation and noise.
        on_step: called after each step.
        on_epoch: called after each epoch with its figures, the progress, and whether the epoch is
            the best so far on the validation data.

    Returns:
        The parameters that the phase keeps.

    Raises:
        NonFinite: a loss, gradient or update is not finite, and the phase skips no such steps.
    """
    samples = len(training.y)
    per_epoch, total = steps_per_epoch(phase, samples), total_steps(phase, samples)
    progress = start if isinstance(start, Progress) else begin(phase, start, samples)
    optimizer = make_optimizer(phase, samples)
    step = compiled_step(task, phase, samples)
    noise = jax.random.fold_in(key, _VALIDATION) if phase.noise else None
    look = time.monotonic() + _LOOK

    def check(progress, first):
        taken = int(progress.state.taken)
        if progress.step - first == taken or (phase.on_nonfinite == "skip" and taken):
            return
        step_key = jax.random.fold_in(jax.random.fold_in(key, _STEP), first + taken)
        found = _diagnose(
            task, phase, optimizer, progress.state, training, order, taken, chip, step_key
        )
        raise NonFinite(first + taken + 1, first // per_epoch + 1, *found)

    for epoch in range(progress.epoch + 1, -(-total // per_epoch) + 1):
        begun = time.perf_counter() - progress.seconds
        first, end = (epoch - 1) * per_epoch, min(epoch * per_epoch, total)
        order = _order(jax.random.fold_in(jax.random.fold_in(key, _ORDER), epoch), samples)
        for done in range(progress.step, end):
            step_key = jax.random.fold_in(jax.random.fold_in(key, _STEP), done)
            state = step(progress.state, training, order, done - first, chip, step_key)
            seconds = time.perf_counter() - begun
            progress = replace(progress, state=state, step=done + 1, seconds=seconds)
            on_step(progress)
            if time.monotonic() > look:
                check(progress, first)
                look = time.monotonic() + _LOOK
        check(progress, first)
        taken = int(progress.state.taken)
        seen = taken * min(phase.batch_size, samples)
        result = evaluate(task, progress.state.params, validation, chip, noise, on=phase.on)
        if not math.isfinite(result.loss):
            reason = f"the validation loss is {result.loss:g}"
            raise NonFinite(progress.step, epoch, reason, result.saturation)
        rank = (result.accuracy, -result.loss)
        better = rank > progress.rank
        figures = Epoch(
            epoch,
            progress.step,
            time.perf_counter() - begun,
            float(progress.state.loss) / seen,
            float(progress.state.correct) / seen,
            progress.step - first - taken,
            result,
        )
        params = progress.state.params
        progress = replace(
            progress,
            state=_fresh(params, progress.state.optimizer, epoch),
            best=jax.tree.map(jnp.copy, params) if better else progress.best,
            rank=max(rank, progress.rank),
            epoch=epoch,
            seconds=0.0,
        )
        on_epoch(figures, progress, better)
    return progress.best if phase.keep == "best" else progress.state.params


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
    static = on if isinstance(on, str) else tuple(on.items())
    sums = _evaluate(task, static, params, samples, chip, key)
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
    static = on if isinstance(on, str) else tuple(on.items())
    keys = jax.random.split(key, len(chips.offset))

    def one(chip_and_key):
        # One chip after the other: batched products are several times slower on a CPU.
        _, confusion, _ = _evaluate(task, static, params, samples, *chip_and_key)
        return jnp.trace(confusion)

    hits = jax.jit(lambda stack: lax.map(one, stack))((chips, keys))
    return np.asarray(hits) / len(samples.y)


@lru_cache(maxsize=8)
def compiled_step(task: Task, phase: Phase, samples: int) -> Callable[..., State]:
    """Returns the compiled step of a phase: one for all chips and keys it is trained with.

    Args:
        task, phase, samples: as of `make_step`.
    """
    return jax.jit(make_step(task, phase, samples), donate_argnums=0)


def _fresh(params, optimizer, epoch):
    """The state at the start of an epoch, so many after the first."""
    none = jnp.zeros((), jnp.int32)
    return State(params, optimizer, jnp.zeros(()), jnp.zeros(()), none, jnp.int32(epoch))


def _step(task, phase, optimizer, state, training, order, i, chip, key):
    """Takes step i of an epoch; one that is not finite changes nothing but is not counted.

    Unless such steps are skipped, no later step changes anything either: the host looks only now
    and then, and finds the parameters as they were.
    """
    batch = min(phase.batch_size, len(training.y))
    loss, scores, y, _, gradient = _gradient(task, phase, state, training, order, i, chip, key)
    params, optimizer_state = _update(task, optimizer, state, gradient)
    good = _finite((loss, gradient, params))
    if phase.on_nonfinite == "stop":
        good &= state.taken == i
    loss, hits = batch * loss, objectives.correct(scores, y).sum()
    after = replace(
        state,
        params=params,
        optimizer=optimizer_state,
        loss=state.loss + loss,
        correct=state.correct + hits,
        taken=state.taken + 1,
    )
    return jax.tree.map(lambda new, old: jnp.where(good, new, old), after, state)


def _gradient(task, phase, state, training, order, i, chip, key):
    """Loss, scores, labels, statistics and gradient of batch i of an epoch."""
    batch = min(phase.batch_size, len(training.y))
    index = lax.dynamic_slice_in_dim(order, i * batch, batch)
    x, y = training.x[index], training.y[index]
    k_augment, k_noise, k_chip = jax.random.split(key, 3)
    if phase.augment and task.augmentation.any:
        x = augment(x, k_augment, task.augmentation)
    if phase.on_chip and phase.chip == "resample":
        chip = sample_chip(k_chip, task.mismatch, substrate=task.substrate)
    values = task.encode(x)
    noise = k_noise if phase.noise else None

    def mean_loss(params):
        scores, _, stats = task.network.apply(
            params, {}, values, chip, noise, on=phase.on, training=True
        )
        loss = objectives.loss(scores, y, task.objective).mean()
        loss += objectives.penalty(params, stats, task.objective, state.epoch)
        return loss, (scores, stats)

    (loss, (scores, stats)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    return loss, scores, y, stats, gradient


def _update(task, optimizer, state, gradient):
    """The parameters and the optimiser's state after a step along a gradient."""
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = _project(optax.apply_updates(state.params, updates), task.network.weight_limit)
    return params, optimizer_state


def _finite(tree):
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _diagnose(task, phase, optimizer, state, training, order, i, chip, key):
    """What is not finite in a step that failed, in words, and what saturates in its batch."""
    batch = min(phase.batch_size, len(training.y))
    x = training.x[order[i * batch : (i + 1) * batch]]
    run = jax.jit(partial(_gradient, task, phase))
    loss, scores, _, stats, gradient = run(state, training, order, i, chip, key)
    params, _ = _update(task, optimizer, state, gradient)
    saturation = jax.tree.map(lambda share: float(jnp.mean(share)), stats)
    layers = [name for name in task.network.names if name in state.params]

    def broken(tree):
        return [name for name in layers if not _finite(tree[name])]

    said = f"the loss is {float(loss):g}, the gradient "
    said += f"is not finite in {', '.join(broken(gradient))}" if broken(gradient) else "is finite"
    # In the order in which a step computes: the first that is not finite began it.
    if not _finite(x):
        reason = "the input of the network is not finite"
    elif broken(state.params):
        reason = f"it began in layer {broken(state.params)[0]}, with its parameters"
    elif not _finite(scores):
        reason = f"it began in layer {layers[-1]}, with its scores"
    elif not _finite(loss):
        reason = f"it began in the objective, after layer {layers[-1]}"
    elif broken(gradient):
        # Backwards: the last layer comes first.
        reason = f"it began in layer {broken(gradient)[-1]}, with its gradient"
    else:
        reason = f"it began in layer {broken(params)[0]}, with the optimiser's update"
    return f"{said}; {reason}", saturation


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
        x = task.encode(samples.x[index % count])
        y = samples.y[index % count]
        scores, _, saturation = task.network.apply(params, {}, x, chip, key, on=on)
        real = index < count
        losses = objectives.loss(scores, y, task.objective)
        confusion = objectives.confusion(scores, y, real)
        return jnp.where(real, losses, 0).sum(), confusion, saturation

    loss, confusion, saturation = lax.map(one, (index, keys))
    return loss.sum(), confusion.sum(axis=0), jax.tree.map(jnp.mean, saturation)


@partial(jax.jit, static_argnums=1)
def _order(key, samples):
    return jax.random.permutation(key, samples)
