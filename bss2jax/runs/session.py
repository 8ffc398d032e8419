"""One run of an experiment: trained, written to its directory, stopped and gone on with."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from signal import SIGPIPE
from typing import Any

import jax
import jax.numpy as jnp

from bss2jax import config as configs
from bss2jax import data
from bss2jax.config import Config
from bss2jax.experiment import Experiment, plan_text, prepare, training_samples
from bss2jax.model import network_of
from bss2jax.runs import directory as runs
from bss2jax.runs import hosts, memory
from bss2jax.runs import tensorboard as events
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.past import Past, begun, progress_meta, progress_of, recalled, save
from bss2jax.runs.progress import Reporter, introduce, introduce_data, say_rung, say_what
from bss2jax.runs.signals import Failed, Signals, Stopped
from bss2jax.runs.start import (
    Start,
    absolute,
    changed_since,
    first_phase,
    kept,
    read_start,
    require_same,
    sources_of,
)
from bss2jax.training.diagnose import NonFinite
from bss2jax.training.evaluate import Result, by_class
from bss2jax.training.loop import Epoch, Progress
from bss2jax.training.task import Variables
from bss2jax.window import Window

_TOLD = 5  # keys in which a config differs from that of a run that are said


def train(
    config: Config,
    text: str = "",
    dataset: data.Dataset | None = None,
    signals: Signals | None = None,
    tensorboard: bool = False,
    window: Window | None = None,
) -> RunDirectory:
    """Trains as a config says, and writes the run; goes on with what the run's directory holds.

    Args:
        config: the experiment.
        text: the text of its file, kept verbatim.
        dataset: as in `prepare`.
        signals: looked at between steps; None: no signal is waited for.
        tensorboard: whether metrics are written as events too.
        window: the window where progress is said; None: the standard output.

    Returns:
        The run's directory, complete.

    Raises:
        ConfigError, DataError: before anything is written.
        RunError: the run cannot be written, or its directory is that of another.
        Failed: a step was not finite; what was saved before is kept.
        Stopped: as asked by a signal; what is needed to go on is saved.
        MissingExtra: there is no library to write events.
    """
    if tensorboard:
        events.library()
    begin, window = time.perf_counter(), window or Window()
    with window.stage("building the network"):
        network = network_of(config)
        # What cannot be is told before anything is loaded or said.
        training_samples(config)
        if config.run.dir is not None and hosts.leads():
            runs.require_place(Path(config.run.dir))
    introduce(config, network, window)
    with window.stage(f"loading {config.data.source}"):
        experiment = prepare(config, dataset, network)
    introduce_data(experiment, window)
    return run(experiment, text, signals, tensorboard, begin, window)


def resume(
    path: str | Path,
    signals: Signals | None = None,
    tensorboard: bool = False,
    window: Window | None = None,
    devices: int | None = None,
) -> RunDirectory:
    """Goes on with a run that was stopped; its directory may have been moved.

    Args:
        path: the path of the run.
        signals, tensorboard, window: as in `train`.
        devices: how many take part; None: as many as before, where there are.

    Raises:
        As `train`, and RunError: there is no run.
    """
    config = stored(path)
    run = replace(config.run, dir=str(path))
    config = replace(config, run=run, mesh=config.mesh.fitted(devices))
    return train(config, "", None, signals, tensorboard, window)


def run(
    experiment: Experiment,
    text: str = "",
    signals: Signals | None = None,
    tensorboard: bool = False,
    begin: float | None = None,
    window: Window | None = None,
) -> RunDirectory:
    """Trains a prepared experiment as `train` does.

    Args:
        experiment: the experiment to train as its config says.
        text, signals, tensorboard, window: as in `train`.
        begin: when the run began, of `time.perf_counter`; by default now.

    Raises:
        As `train`, and RunError: the directory is that of another run.
    """
    config, begin = experiment.config, time.perf_counter() if begin is None else begin
    start, window = None, window or Window()
    begins = config.run.dir is None or not RunDirectory(Path(config.run.dir)).begun()
    if hosts.told(begins):
        # What is wrong with the config is found before anything is written.
        with window.stage("compiling"):
            start = read_start(experiment)
            memory.require(experiment, start.phase)
    with hosts.opened(config.name, config.run.dir) as directory, ExitStack() as stack:
        with window.stage("opening the run"):
            found = None
            if hosts.leads():
                if start is None or directory.begun():
                    found = _resume(experiment, directory, begin, window)
                else:
                    found = _first(experiment, directory, start, text, begin)
            if hosts.joined():
                found = _agreed(experiment, found, begin)
        say_what("run", str(directory.path), window)
        written = tensorboard and hosts.leads()
        board = stack.enter_context(events.opened(directory)) if written else None
        if found is None:
            return directory
        if signals:
            signals.hold()
        session = _Session(experiment, directory, signals, board, window)
        try:
            session.finish(*session.train(*found))
        except BrokenPipeError:
            raise Stopped(
                SIGPIPE,
                "stopped, as nobody reads the output any more; "
                f"`bss2jax train --resume {directory.path}` goes on",
            ) from None
    return directory


def read_final(directory: RunDirectory, devices: int | None = None) -> tuple[Experiment, Variables]:
    """Reads a finished run back: its experiment, and what its network has learned.

    Args:
        directory: the run's.
        devices: as in `resume`.

    Raises:
        ConfigError, DataError, RunError: a file of the run or its data cannot be read, or its chip
            has changed.
    """
    directory.environment()  # says if another version wrote it
    config = stored(directory.path)
    experiment = prepare(replace(config, mesh=config.mesh.fitted(devices)))
    require_same(sources_of(experiment), directory)
    return experiment, directory.restore("final", jax.eval_shape(experiment.initial))


def stored(path: str | Path) -> Config:
    """Returns the config that a run was made with.

    Raises:
        RunError: there is no run.
    """
    resolved = Path(path) / "resolved.toml"
    if not resolved.is_file():
        raise RunError(f"{path}: no run directory: there is no resolved.toml in it")
    return configs.load(resolved)[0]


def _first(
    experiment: Experiment, directory: RunDirectory, start: Start, text: str, begin: float
) -> tuple[Past, Variables | Progress]:
    """Writes the head of a new run."""
    config = experiment.config
    directory.write("config.toml", text or configs.dump(config))
    directory.write("resolved.toml", configs.dump(kept(experiment, directory)))
    samples, batch = len(experiment.training.y), config.phases[-1].batch_size
    directory.write("plan.txt", plan_text(experiment.task.network, samples, batch))
    directory.write("environment.json", runs.environment() | {"sources": start.sources})
    return begun(start.phase, begin), start.variables


def _resume(
    experiment: Experiment, directory: RunDirectory, begin: float, window: Window
) -> tuple[Past, Variables | Progress] | None:
    """Reads how far an earlier process got; None where the run is finished."""
    before, now = directory.environment() or {}, runs.environment()
    different = configs.differences(stored(directory.path), absolute(experiment.config))
    if different:
        more = f"; and {len(different) - _TOLD} more" if different[_TOLD:] else ""
        raise RunError(
            f"run.dir: {directory.path} holds a run of another config: "
            f"{'; '.join(different[:_TOLD])}{more}"
        )
    require_same(sources_of(experiment), directory)
    if directory.finished():
        window.say(f"{directory.path} is finished; there is nothing left to train")
        return None
    for name in ("versions", "backend", "devices"):
        if before.get(name) != now[name]:
            window.say(f"{name} were {before.get(name)}, are {now[name]}: the last bits may differ")
    found = directory.newest_state(
        lambda phase: ((like := memory.progress_like(experiment, phase)).state, like.best)
    )
    if found is None:
        return _anew(experiment, directory, before, begin, window)
    (state, best), meta, damaged = found
    for reason in damaged:
        window.say(f"damaged, so an earlier one is used: {reason}")
    directory.cut_log(meta["metrics"])
    if first_phase(experiment.config)[1] and (changed := changed_since(experiment, before)):
        window.say(f"{changed}; the run goes on from what it has learned")
    progress, past = progress_of(state, best, meta), recalled(meta, begin)
    with window.stage("compiling"):
        memory.require(experiment, past.phase)
    window.say(f"{directory.path} goes on after phase {past.phase + 1}, step {progress.step}")
    return past, progress


def _agreed(
    experiment: Experiment, found: tuple[Past, Variables | Progress] | None, begin: float
) -> tuple[Past, Variables | Progress] | None:
    """Where the leader goes on, for the processes of all hosts; None where nothing is left."""
    meta: dict[str, Any] | None = None
    arrays: Any = None
    if found is not None:
        past, start = found
        meta, arrays = past.meta() | {"progress": None}, start
        if isinstance(start, Progress):
            meta, arrays = meta | progress_meta(start), (start.state, start.best)
    meta = hosts.told(meta)
    if meta is None:
        return None
    under_way = meta["progress"] is not None
    if found is None:
        like = memory.progress_like(experiment, meta["phase"])
        shapes = (like.state, like.best) if under_way else jax.eval_shape(experiment.initial)
        arrays = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    arrays = hosts.shared(arrays)
    past = recalled(meta, begin)
    if not under_way:
        return past, arrays
    state, best = arrays
    return past, progress_of(state, best, meta)


def _anew(
    experiment: Experiment,
    directory: RunDirectory,
    before: dict[str, Any],
    begin: float,
    window: Window,
) -> tuple[Past, Variables]:
    """Begins again with a run that was stopped before its first checkpoint."""
    start = read_start(experiment)
    if changed := changed_since(experiment, before):
        raise RunError(f"{directory.path}: {changed}; train anew in another directory")
    directory.cut_log(0)
    window.say(f"{directory.path} was stopped before its first checkpoint; from the start")
    return begun(start.phase, begin), start.variables


@dataclass(frozen=True)
class _Session:
    """A process that trains a run.

    Attributes:
        experiment: the experiment that it trains.
        directory: the directory that it writes.
        signals: the signals to stop at, or None.
        board: the board where events go, or None.
        window: the window where progress is said.
    """

    experiment: Experiment
    directory: RunDirectory
    signals: Signals | None
    board: events.Events | None
    window: Window

    def train(self, past: Past, start: Variables | Progress) -> tuple[Past, Variables]:
        """Trains what is left of the phases; returns the run's past, and what it has learned."""
        experiment, phases = self.experiment, self.experiment.config.phases
        schedule = runs.Schedule(
            experiment.config.run.checkpoint_seconds, experiment.config.run.checkpoint_steps
        )
        for number in range(past.phase, len(phases)):
            if phases[number].on_chip and past.rungs is None:
                assert isinstance(start, Variables), "progress on the chip comes with rungs"
                past = replace(past, rungs=self._rungs(start))
            start = self._phase(past, start, schedule)
            self.directory.save(f"phase-{number}", start)
            past = replace(past, phase=number + 1, marks=(*past.marks, past.now()))
        assert isinstance(start, Variables)
        return past, start

    def finish(self, past: Past, variables: Variables) -> None:
        """Measures what the run ends with, and writes it."""
        experiment, config = self.experiment, self.experiment.config
        rungs = past.rungs or self._rungs(variables)
        if "chip" in experiment.measured_on:
            rungs = rungs | {"chip": self._rung("chip", variables)}
        self.directory.save("final", variables)
        self.directory.write("confusion.json", by_class(rungs, experiment.classes))
        phases = [after - before for before, after in pairwise(past.marks)]
        self.directory.write(
            "summary.json",
            {
                "name": config.name,
                "test_accuracy": {name: rung.accuracy for name, rung in rungs.items()},
                "test_balanced_accuracy": {n: r.balanced_accuracy for n, r in rungs.items()},
                "seed": config.seed,
                "chip_seed": config.chip.seed,
                "seconds": {"phases": phases, "total": past.now()},
                "test_samples": len(experiment.test.y),
            }
            | ({"data_note": experiment.note} if experiment.note else {}),
        )
        self.directory.prune(0)

    def _rungs(self, variables: Variables) -> dict[str, Result]:
        """Measures all rungs but the last, and says each."""
        self.window.say()
        return {name: self._rung(name, variables) for name in self.experiment.first_rungs}

    def _rung(self, name: str, variables: Variables) -> Result:
        """Measures one rung with the test set, and says it."""
        experiment = self.experiment
        last = ("chip",) if "chip" in experiment.measured_on else ()
        names = (*experiment.first_rungs, *last)
        with self.window.stage(f"measuring {name}, {names.index(name) + 1} of {len(names)}"):
            result = experiment.test_result(variables, experiment.execution(name))
        say_rung(name, result, self.window)
        return result

    def _phase(self, past: Past, start: Variables | Progress, schedule: runs.Schedule) -> Variables:
        """Trains a phase, or what is left of it."""
        number, config, directory = past.phase, self.experiment.config, self.directory
        reporter = Reporter(self.experiment, number, self.window)

        def on_step(progress: Progress) -> None:
            reporter.step(progress)
            stop = self.signals and hosts.leads() and self.signals.signal
            if stop or schedule.due(progress.step):
                save(past, progress, directory)
                directory.prune(config.run.checkpoints)
            if stop:
                where = f"phase {number + 1}, step {progress.step}"
                raise Stopped(
                    stop,
                    f"stopped after {where}; `bss2jax train --resume {directory.path}` goes on",
                )

        def on_epoch(epoch: Epoch, progress: Progress, best: bool) -> None:
            reporter.epoch(epoch)
            directory.log(vars(epoch))
            if self.board:
                self.board.log(vars(epoch))
            if best:
                directory.save(f"phase-{number}-best", progress.best)

        with reporter:
            try:
                return self.experiment.train(number, start, on_step=on_step, on_epoch=on_epoch)
            except NonFinite as error:
                directory.write("failure.json", {"phase": number} | vars(error))
                raise Failed(
                    f"{directory.path}: phase {number + 1}, {error}; what was saved before is kept"
                ) from None
