"""One run of an experiment: trained, written to its directory, stopped and gone on with."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp

from bss2jax import config as configs
from bss2jax import data
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment, plan_text, prepare
from bss2jax.networks.network import Params
from bss2jax.runs import directory as runs
from bss2jax.runs import memory
from bss2jax.runs import tensorboard as events
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.progress import Reporter, say
from bss2jax.runs.signals import Failed, Signals, Stopped
from bss2jax.training import loop
from bss2jax.training.loop import Result
from bss2jax.training.phase import total_steps


def train(
    config: Config,
    text: str = "",
    dataset: data.Dataset | None = None,
    signals: Signals | None = None,
    tensorboard: bool = False,
) -> RunDirectory:
    """Trains as a config says, and writes the run; goes on with what the run's directory holds.

    Args:
        config: the experiment.
        text: of its file, kept verbatim.
        dataset: as in `prepare`.
        signals: looked at between steps; None: no signal is waited for.
        tensorboard: whether metrics are written as events too.

    Returns:
        The run's directory, complete.

    Raises:
        ConfigError, DataError: before anything is compiled or written.
        RunError: the run cannot be written, or its directory is that of another.
        Failed: a step was not finite; what was saved before is kept.
        Stopped: as asked by a signal; what is needed to go on is saved.
        MissingExtra: there is no library to write events.
    """
    if tensorboard:
        events.library()
    begin = time.perf_counter()
    experiment = prepare(config, dataset)
    _check_memory(experiment)
    with runs.opened(config.name, config.run.dir) as directory, ExitStack() as stack:
        start = _start(experiment, text, directory, begin)
        board = stack.enter_context(events.opened(directory)) if tensorboard else None
        if start is None:
            return directory
        params, past = start
        if signals:
            signals.hold()
        schedule = runs.Schedule(config.run.checkpoint_seconds, config.run.checkpoint_steps)
        for number in range(past.phase, len(config.phases)):
            if config.phases[number].on_chip and past.rungs is None:
                past = replace(past, rungs=experiment.rungs(params))
            params = _train_phase(experiment, past, params, directory, schedule, signals, board)
            directory.save(f"phase-{number}", params)
            now = time.perf_counter()
            seconds = (*past.seconds, now - past.phase_begin)
            past = replace(past, phase=number + 1, seconds=seconds, phase_begin=now)
        rungs = past.rungs or experiment.rungs(params)
        if "chip" in experiment.measured_on:
            rungs = rungs | {"chip": experiment.test_result(params, experiment.on_chip)}
        directory.save("final", params)
        directory.write("confusion.json", _confusion(rungs, experiment.classes))
        directory.write(
            "summary.json",
            {
                "name": config.name,
                "test_accuracy": {name: rung.accuracy for name, rung in rungs.items()},
                "test_balanced_accuracy": {
                    name: rung.balanced_accuracy for name, rung in rungs.items()
                },
                "seed": config.seed,
                "chip_seed": config.chip.seed,
                "seconds": {"phases": past.seconds, "total": time.perf_counter() - past.begin},
                "test_samples": len(experiment.test.y),
            },
        )
        directory.prune(0)
    return directory


def resume(
    path: str | Path, signals: Signals | None = None, tensorboard: bool = False
) -> RunDirectory:
    """Goes on with a run that was stopped; its directory may have been moved.

    Args:
        path: of the run.
        signals, tensorboard: as in `train`.

    Raises:
        As `train`, and RunError: there is no run.
    """
    config = replace(stored := _stored(path), run=replace(stored.run, dir=str(path)))
    return train(config, signals=signals, tensorboard=tensorboard)


def read_final(directory: RunDirectory) -> tuple[Experiment, Params]:
    """Reads a finished run back: its experiment and its final parameters.

    Raises:
        ConfigError, DataError, RunError: a file of the run or its data cannot be read.
    """
    directory.environment()  # says if another version wrote it
    experiment = prepare(_stored(directory.path))
    like = jax.eval_shape(experiment.initial)
    return experiment, directory.restore("final", like)


def memory_needed(experiment: Experiment, number: int) -> int:
    """Returns a lower bound of a phase's memory, bytes, known before anything is compiled.

    Raises:
        MemoryError: not even what is worked out beforehand fits.
    """
    phase, samples = experiment.config.phases[number], len(experiment.training.y)
    state, best = _like(experiment, number)
    step = loop.compiled_step(experiment.task, phase, samples)
    order = jax.ShapeDtypeStruct((samples,), jnp.int32)
    bound = memory.at_least(
        step, state, experiment.training, order, 0, experiment.chip, experiment.key
    )
    beside = jax.tree.leaves((best, experiment.validation, experiment.test))
    return bound + sum(leaf.size * leaf.dtype.itemsize for leaf in beside)


def _stored(path):
    """The config that a run was made with."""
    resolved = Path(path) / "resolved.toml"
    if not resolved.is_file():
        raise RunError(f"{path}: no run directory: there is no resolved.toml in it")
    return configs.load(resolved)[0]


def _check_memory(experiment):
    """Raises `ConfigError` where a phase needs more memory than there is."""
    limit = memory.available()
    for number, phase in enumerate(experiment.config.phases):
        try:
            needed = memory_needed(experiment, number)
        except MemoryError as error:
            raise ConfigError(
                f"phases.{number}: needs more memory than there is: {error}"
            ) from None
        if limit and needed > limit:
            raise ConfigError(
                f"phases.{number}: needs at least {needed / 2**30:.1f} GiB of memory, there are "
                f"{limit / 2**30:.1f}; take a smaller batch_size (now {phase.batch_size}), fewer "
                "time steps or smaller layers"
            )


@dataclass(frozen=True)
class _Past:
    """What a run knows besides arrays, and keeps with them.

    Attributes:
        phase: under way.
        rungs: of the ladder: float, ideal and transfer are of the parameters that first meet the
            chip.
        seconds: that each phase before took.
        begin, phase_begin: the time at which the run and its phase would have begun, had nothing
            stopped them.
    """

    phase: int
    rungs: dict[str, Result] | None
    seconds: tuple[float, ...]
    begin: float
    phase_begin: float


def _start(experiment, text, directory, begin):
    """Writes the head of a new run, or reads how far an earlier process got.

    Returns:
        The parameters or the progress of the phase to go on with, and the run's past; None where
        the run is finished.
    """
    config, now = experiment.config, runs.environment()
    new = experiment.initial(), _Past(0, None, (), begin, time.perf_counter())
    before = directory.environment()
    if before is None:
        directory.write("config.toml", text or configs.dump(config))
        directory.write("resolved.toml", configs.dump(config))
        samples, batch = len(experiment.training.y), config.phases[-1].batch_size
        directory.write("plan.txt", plan_text(experiment.task.network, samples, batch))
        directory.write("environment.json", now)
        return new
    different = configs.differences(_stored(directory.path), config)
    if different:
        raise RunError(
            f"run.dir: {directory.path} holds a run of another config: {'; '.join(different)}"
        )
    if directory.finished():
        say(f"{directory.path} is finished; there is nothing left to train")
        return None
    if before.get("format", 1) < runs.FORMAT:
        raise RunError(
            f"{directory.path}: begun in format {before.get('format', 1)}, in which runs could not "
            "be resumed; start it again in another directory"
        )
    for name in ("versions", "backend", "devices"):
        if before.get(name) != now[name]:
            say(f"{name} were {before.get(name)}, are {now[name]}: the last bits may differ")
    found = directory.newest_state(lambda phase: _like(experiment, phase))
    if found is None:
        directory.cut_log(0)
        say(f"{directory.path} was stopped before its first checkpoint; from the start")
        return new
    (state, best), meta, damaged = found
    for reason in damaged:
        say(f"damaged, so an earlier one is used: {reason}")
    directory.cut_log(meta["metrics"])
    progress = loop.Progress(state, best, tuple(meta["rank"]), **meta["progress"])
    past = _Past(
        meta["phase"],
        meta["rungs"] and {name: Result(**rung) for name, rung in meta["rungs"].items()},
        tuple(meta["seconds"]),
        begin - meta["total"],
        time.perf_counter() - meta["phase_total"],
    )
    say(f"{directory.path} goes on after phase {past.phase + 1}, step {progress.step}")
    return progress, past


def _save(past, progress, directory):
    """Saves all that the rest of the run depends on."""
    now = time.perf_counter()
    meta = {
        "phase": past.phase,
        "rungs": past.rungs and {name: asdict(rung) for name, rung in past.rungs.items()},
        "seconds": past.seconds,
        "total": now - past.begin,
        "phase_total": now - past.phase_begin,
        "metrics": directory.logged(),
        "rank": progress.rank,
        "progress": {name: getattr(progress, name) for name in ("step", "epoch", "seconds")},
    }
    directory.save_state(past.phase, progress.step, (progress.state, progress.best), meta)


def _like(experiment, number):
    """The shapes and types of what a checkpoint of a phase holds."""
    phase, samples = experiment.config.phases[number], len(experiment.training.y)

    def start():
        progress = loop.begin(phase, experiment.initial(), samples)
        return progress.state, progress.best

    return jax.eval_shape(start)


def _train_phase(experiment, past, start, directory, schedule, signals, board):
    number, config = past.phase, experiment.config
    phase, samples = config.phases[number], len(experiment.training.y)
    on = phase.on if isinstance(phase.on, str) else "mixed"
    title = f"phase {number + 1}/{len(config.phases)} {on:5}"
    reporter = Reporter(title, total_steps(phase, samples), min(phase.batch_size, samples))

    def on_step(progress):
        reporter.step(progress)
        stop = signals and signals.signal
        if stop or schedule.due(progress.step):
            _save(past, progress, directory)
            directory.prune(config.run.checkpoints)
        if stop:
            where = f"phase {number + 1}, step {progress.step}"
            raise Stopped(
                stop, f"stopped after {where}; `bss2jax train --resume {directory.path}` goes on"
            )

    def on_epoch(epoch, progress, best):
        reporter.epoch(epoch)
        record = epoch.record(number, phase.on)
        directory.log(record)
        if board:
            board.log(record)
        if best:
            directory.save(f"phase-{number}-best", progress.best)

    with reporter:
        try:
            return experiment.train(number, start, on_step=on_step, on_epoch=on_epoch)
        except loop.NonFinite as error:
            directory.write("failure.json", {"phase": number} | vars(error))
            raise Failed(
                f"{directory.path}: phase {number + 1}, {error}; what was saved before is kept"
            ) from None


def _confusion(rungs, classes):
    """Per class what it was taken for, and its accuracy, by rung."""
    return {
        "classes": classes,
        "test_confusion": {name: rung.confusion for name, rung in rungs.items()},
        "test_class_accuracy": {
            name: dict(zip(classes, rung.class_accuracy)) for name, rung in rungs.items()
        },
    }
