"""The loop: one compiled step, repeated; epochs; a phase, or what is left of it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, Lt

from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.networks.layer import Execution
from bss2jax.training import dealing
from bss2jax.training.devices import everywhere
from bss2jax.training.diagnose import NonFinite, diagnose
from bss2jax.training.evaluate import Result, evaluate
from bss2jax.training.phase import Phase, batch_of, make_optimizer, steps_per_epoch, total_steps
from bss2jax.training.step import VALIDATION, State, compiled_step, epoch_order, fresh
from bss2jax.training.task import Samples, Task, Variables, taken
from bss2jax.training.tiles import Compiled

_LOOK = 1.0  # seconds between looks at whether steps fail; each waits for the device
Count = Annotated[int, Ge(0)]
Figure = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Progress:
    """How far a phase has got: what its rest depends on, besides task, phase, data and key.

    Attributes:
        state: after the last step; the next step consumes it.
        best: what the network knew after the best epoch so far.
        rank: the rank of the best epoch, higher is better: validation accuracy and negative loss.
        step, epoch: how many are done; an epoch is done when it has been evaluated.
        seconds: time spent in the epoch that is not done, s.
    """

    state: State
    best: Variables
    rank: tuple[float, float] = (-1.0, 0.0)
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """What is known at the end of an epoch (or of a phase cut short within one).

    As a line of a run's `metrics.jsonl` it has the same names.

    Attributes:
        phase: its number in the training, from 0 on.
        on: the phase's execution.
        epoch, step: how many are done in the phase.
        seconds: time of the epoch, s, with its validation.
        train_loss, train_accuracy: means over the epoch's steps, nats and 0..1.
        skipped: steps that were not finite and changed nothing.
        validation_loss, validation_accuracy, validation_balanced_accuracy, validation_saturation:
            what the network does with the validation data, as in `Result`.
    """

    phase: Count
    on: str | dict[str, str]
    epoch: Count
    step: Count
    seconds: Figure
    train_loss: Figure
    train_accuracy: Share
    skipped: Count
    validation_loss: Figure
    validation_accuracy: Share
    validation_balanced_accuracy: Share
    validation_saturation: dict[str, dict[str, Figure]]


def begin(phase: Phase, variables: Variables, samples: int) -> Progress:
    """Returns the progress of a phase that has done nothing yet.

    Args:
        phase: its settings.
        variables: the variables to start from; copied, as the steps consume what they are given.
        samples: the number of samples in the training data.
    """
    optimizer = make_optimizer(phase, samples).init(variables.params)
    return Progress(fresh(jax.tree.map(jnp.copy, variables), optimizer), variables)


def train(
    task: Task,
    phase: Phase,
    start: Variables | Progress,
    chip: Chip,
    training: Samples,
    validation: Samples,
    key: jax.Array,
    *,
    number: int = 0,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[Epoch, Progress, bool], None] = lambda epoch, progress, best: None,
) -> Variables:
    """Trains through one phase, or through what is left of it.

    Args:
        task, phase: network and settings; execution, length, optimiser.
        start: what to begin with, which is not changed; or how far this phase got before, which
            is consumed. The rest of a phase gives what the whole would have given, to the bit.
        chip, training, validation: the run's chip, and data on the device.
        key: the random key of this phase; decides order, augmentation and noise.
        number: the number of the phase in the training, for its records.
        on_step: called after each step.
        on_epoch: called after each epoch with its record, the progress, whether it is the best.

    Returns:
        What the phase keeps.

    Raises:
        ValueError: samples or labels do not fit the network.
        NonFinite: a loss, gradient or update is not finite, and the phase skips no such steps.
    """
    training = taken(training, task.network, "training", task.mesh)
    validation = taken(validation, task.network, "validation", task.mesh)
    samples = len(training.y)
    per_epoch, total = steps_per_epoch(phase, samples), total_steps(phase, samples)
    progress = _placed(task, phase, start, samples)
    chip, key, count = everywhere(task.mesh, (chip, key, jnp.int32(progress.step)))
    step = compiled_step(task, phase, progress.state, training, chip, key)
    require_finite = partial(_require_finite, task, phase, step, training, chip, key)
    end_epoch = partial(_end_epoch, task, phase, number, samples, validation, chip, key)
    look = time.monotonic() + _LOOK
    for epoch in range(progress.epoch + 1, -(-total // per_epoch) + 1):
        begun = time.perf_counter() - progress.seconds
        order = epoch_order(key, epoch, samples)
        given = dealing.of_epoch(task, phase, training, order)
        # The steps; the host runs ahead of the device, and looks now and then at what it does.
        for done in range(progress.step, min(epoch * per_epoch, total)):
            state, count = step.call(progress.state, given, order, count, chip, key)
            seconds = time.perf_counter() - begun
            progress = replace(progress, state=state, step=done + 1, seconds=seconds)
            on_step(progress)
            if time.monotonic() > look:
                require_finite(progress, order)
                look = time.monotonic() + _LOOK
        require_finite(progress, order)
        # The epoch is measured, and kept where it is the best.
        record, progress, better = end_epoch(progress, begun)
        on_epoch(record, progress, better)
    return progress.best if phase.keep == "best" else progress.state.variables


def _placed(task: Task, phase: Phase, start: Variables | Progress, samples: int) -> Progress:
    """The progress that a phase starts with, on all devices, whichever it was read on."""
    progress = start if isinstance(start, Progress) else begin(phase, start, samples)
    state, best = everywhere(task.mesh, (progress.state, progress.best))
    return replace(progress, state=state, best=best)


def _require_finite(
    task: Task,
    phase: Phase,
    step: Compiled,
    training: Samples,
    chip: Chip,
    key: jax.Array,
    progress: Progress,
    order: jax.Array,
) -> None:
    """Raises `NonFinite` where a step of the epoch changed nothing, unless such are skipped."""
    first = progress.epoch * steps_per_epoch(phase, len(order))
    taken = int(progress.state.taken)
    if progress.step - first == taken or (phase.on_nonfinite == "skip" and taken):
        return
    raise diagnose(
        task, phase, progress.state, training, order, first + taken, chip, key, tile=step.tile
    )


def _end_epoch(
    task: Task,
    phase: Phase,
    number: int,
    samples: int,
    validation: Samples,
    chip: Chip,
    key: jax.Array,
    progress: Progress,
    begun: float,
) -> tuple[Epoch, Progress, bool]:
    """Measures the network at the end of an epoch.

    Returns:
        The epoch's record, the progress behind it, and whether the epoch is the best so far.

    Raises:
        NonFinite: the loss of the validation data is no number.
    """
    noise = draws.folded(key, VALIDATION) if phase.noise else None
    result = evaluate(task, progress.state.variables, validation, chip, noise, on=phase.on)
    if not math.isfinite(result.loss):
        reason = f"the validation loss is {result.loss:g}"
        raise NonFinite(progress.step, progress.epoch + 1, reason, result.saturation)
    progress = replace(progress, seconds=time.perf_counter() - begun)
    record = _record(number, phase, progress, samples, result)
    return record, *_next_epoch(task, progress, result)


def _record(number: int, phase: Phase, progress: Progress, samples: int, result: Result) -> Epoch:
    """The record of the epoch that the last step ends."""
    state, taken = progress.state, int(progress.state.taken)
    first = progress.epoch * steps_per_epoch(phase, samples)
    seen = taken * batch_of(phase, samples)
    on: Execution | dict[str, Execution] = phase.on if isinstance(phase.on, str) else {**phase.on}
    return Epoch(
        number,
        on,  # type: ignore[arg-type]
        progress.epoch + 1,
        progress.step,
        progress.seconds,
        float(state.loss) / seen,
        float(state.correct) / seen,
        progress.step - first - taken,
        result.loss,
        result.accuracy,
        result.balanced_accuracy,
        result.saturation,
    )


def _next_epoch(task: Task, progress: Progress, result: Result) -> tuple[Progress, bool]:
    """The progress once an epoch has been measured, and whether it is the best so far."""
    rank, variables = (result.accuracy, -result.loss), progress.state.variables
    better = rank > progress.rank
    after = Progress(
        everywhere(task.mesh, fresh(variables, progress.state.optimizer)),
        jax.tree.map(jnp.copy, variables) if better else progress.best,
        max(rank, progress.rank),
        progress.step,
        progress.epoch + 1,
    )
    return after, better
