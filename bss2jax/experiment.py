"""One experiment from its config to its summary: the glue between all the rooms."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import config as configs
from bss2jax import data
from bss2jax.config import Config, ConfigError
from bss2jax.data import DataError
from bss2jax.hardware.chip import Chip, sample_chip
from bss2jax.hardware.chip_file import ChipError, load_chip
from bss2jax.hardware.substrate import BSS2
from bss2jax.mapping.circuits import SpikingPlan, describe_populations
from bss2jax.mapping.cost import describe_cost, describe_spiking_cost
from bss2jax.mapping.partition import describe
from bss2jax.networks.execution import Execution, Network, Params, executions
from bss2jax.networks.network import build
from bss2jax.training import loop, memory, runs
from bss2jax.training.loop import Result, Samples, Task
from bss2jax.training.phase import total_steps
from bss2jax.training.progress import Reporter, say
from bss2jax.training.runs import RunDirectory, RunError
from bss2jax.training.stop import Failed, Signals, Stopped

# What the run's key is folded with to serve different purposes; phases follow.
_RUN = 0x52554E  # what sets a run's keys apart from those of the chip with the same seed
_INIT, _TEST, _CHIPS, _PHASES = 0, 1, 2, 3
_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Experiment:
    """A config with everything it stands for, before anything is trained or written."""

    config: Config
    task: Task
    chip: Chip
    key: jax.Array
    training: Samples
    validation: Samples
    test: Samples

    @property
    def classes(self) -> tuple[str, ...]:
        """What each label means."""
        return data.spec(self.config.data.name).classes

    @property
    def on_chip(self) -> Execution | Mapping[str, Execution]:
        """What "on the chip" means in this run: as in its first phase there; else all layers."""
        return next((phase.on for phase in self.config.phases if phase.on_chip), "chip")

    def initial(self) -> Params:
        """Returns the parameters that training starts from."""
        return self.task.network.init(jax.random.fold_in(self.key, _INIT))

    def with_chip(self, seed: int) -> "Experiment":
        """Returns the same experiment on another chip; what precedes the chip stays the same."""
        config = replace(self.config, chip=replace(self.config.chip, seed=seed, file=None))
        return replace(self, config=config, chip=_chip_of(config))

    def train(self, number: int, start: Params | loop.Progress, **callbacks) -> Params:
        """Trains through a phase, or what is left of it; start and callbacks as of `loop.train`."""
        return loop.train(
            self.task,
            self.config.phases[number],
            start,
            self.chip,
            self.training,
            self.validation,
            jax.random.fold_in(self.key, _PHASES + number),
            **callbacks,
        )

    def rungs(self, params: Params) -> dict[str, Result]:
        """Measures the same parameters on the test set as float, ideal, and on the chip.

        A network that has not all three executions leaves the others out.
        """
        rungs = {"float": ("float", "float"), "ideal": ("ideal", "ideal")}
        rungs["transfer"] = ("chip", self.on_chip)
        known = self.task.network.executions
        return {
            name: self.test_result(params, on)
            for name, (execution, on) in rungs.items()
            if execution in known
        }

    def test_result(self, params: Params, on) -> Result:
        """Measures on the test set, on this run's chip with noise where `on` asks so."""
        key = jax.random.fold_in(self.key, _TEST)
        return loop.evaluate(self.task, params, self.test, self.chip, key, on=on)

    def test_accuracy(self, params: Params, on) -> float:
        """Measures accuracy on the test set: see `test_result`."""
        return self.test_result(params, on).accuracy


def network_of(config: Config) -> Network:
    """Builds a config's network and checks that everything in the config fits it.

    Raises:
        ConfigError: a layer does not fit its input, the outputs are not the classes, a phase names
            no layer, or images are needed and the set has none.
    """
    name = config.data.name
    try:
        known = data.spec(name)
    except ValueError as error:
        raise ConfigError(f"data.name: {error}") from None
    try:
        network = build(config.layers, known.shape, spiking=config.spiking, soft=config.soft)
    except ValueError as error:
        raise ConfigError(f"layers: {error}") from None
    if network.shapes[-1] != (len(known.classes),):
        raise ConfigError(
            f"layers: the last one makes outputs of shape {network.shapes[-1]}; "
            f"{name} has {len(known.classes)} classes, so expected ({len(known.classes)},)"
        )
    for i, phase in enumerate(config.phases):
        try:
            executions(network.names, phase.on, network.executions)
        except ValueError as error:
            raise ConfigError(f"phases.{i}.{error}") from None
    if config.augment.any and len(known.shape) != 3:
        raise ConfigError(f"augment: {name} has no images to shift, rotate or flip")
    if config.augment.quarter_turns and known.shape[0] != known.shape[1]:
        raise ConfigError(f"augment.quarter_turns: the images of {name} are not square")
    return network


def prepare(config: Config, dataset: data.Dataset | None = None) -> Experiment:
    """Builds all that a config stands for; data go to the device.

    Args:
        config: what to prepare.
        dataset: to use instead of loading `config.data.name`; of the same shapes.

    Raises:
        ConfigError: as `network_of`, or the validation split leaves nothing to train on.
        DataError: the data cannot be had, or a split is empty, of other shapes than the network
            takes, or has values or labels out of range.
    """
    network = network_of(config)
    dataset = dataset or data.load(config.data.name)
    for name in ("train", "validation", "test"):
        if getattr(dataset, name) is not None:
            _check_split(getattr(dataset, name), name, dataset, data.spec(config.data.name))
    task = Task(network, dataset.full_scale, config.spreads, BSS2, config.objective, config.augment)
    training, validation = _split(dataset, config.data.validation, config.seed)
    return Experiment(
        config,
        task,
        _chip_of(config),
        jax.random.fold_in(jax.random.key(config.seed), _RUN),
        training,
        validation,
        _on_device(dataset.test),
    )


def _chip_of(config):
    if config.chip.file is not None:
        try:
            return load_chip(config.chip.file)
        except ChipError as error:
            raise ConfigError(f"chip.file: {error}") from None
    return sample_chip(jax.random.key(config.chip.seed), config.spreads)


def memory_needed(experiment: Experiment, number: int) -> int:
    """Returns a lower bound of a phase's memory, bytes, known before anything is compiled.

    Raises:
        MemoryError: not even what is worked out beforehand fits.
    """
    phase, samples = experiment.config.phases[number], len(experiment.training.y)
    state, best = _like(experiment, number)
    step = loop.make_step(experiment.task, phase, samples)
    order = jax.ShapeDtypeStruct((samples,), jnp.int32)
    bound = memory.at_least(
        step, state, experiment.training, order, 0, experiment.chip, experiment.key
    )
    beside = jax.tree.leaves((best, experiment.validation, experiment.test))
    return bound + sum(leaf.size * leaf.dtype.itemsize for leaf in beside)


def plan_text(network: Network, samples: int = 60_000, batch: int = 128) -> str:
    """Returns a network's placement and cost, of a sample and of an epoch, as text."""
    if isinstance(network.plan, SpikingPlan):
        cost = describe_spiking_cost(network.plan, samples, batch)
        return f"{describe_populations(network.plan)}\n{cost}\n"
    return f"{describe(network.plan)}\n\n{describe_cost(network.plan, samples, batch)}\n"


def run(
    config: Config,
    text: str = "",
    dataset: data.Dataset | None = None,
    signals: Signals | None = None,
) -> RunDirectory:
    """Trains as a config says, and writes the run; goes on with what the run's directory holds.

    Args:
        config: the experiment.
        text: of its file, kept verbatim.
        dataset: as in `prepare`.
        signals: looked at between steps; None: no signal is waited for.

    Returns:
        The run's directory, complete.

    Raises:
        ConfigError, DataError: before anything is compiled or written.
        RunError: the run cannot be written, or its directory is that of another.
        Failed: a step was not finite; what was saved before is kept.
        Stopped: as asked by a signal; what is needed to go on is saved.
    """
    begin = time.perf_counter()
    experiment = prepare(config, dataset)
    _check_memory(experiment)
    with runs.opened(config.name, config.run.dir) as directory:
        start = _start(experiment, text, directory, begin)
        if start is None:
            return directory
        params, past = start
        if signals:
            signals.hold()
        schedule = runs.Schedule(config.run.checkpoint_seconds, config.run.checkpoint_steps)
        for number in range(past.phase, len(config.phases)):
            if config.phases[number].on_chip and past.rungs is None:
                past = replace(past, rungs=experiment.rungs(params))
            params = _train_phase(experiment, past, params, directory, schedule, signals)
            directory.save(f"phase-{number}", params)
            now = time.perf_counter()
            seconds = (*past.seconds, now - past.phase_begin)
            past = replace(past, phase=number + 1, seconds=seconds, phase_begin=now)
        rungs = past.rungs or experiment.rungs(params)
        if "chip" in experiment.task.network.executions:
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


def resume(path: str | Path, signals: Signals | None = None) -> RunDirectory:
    """Goes on with a run that was stopped; its directory may have been moved.

    Raises:
        As `run`, and RunError: there is no run.
    """
    config = replace(stored := _stored(path), run=replace(stored.run, dir=str(path)))
    return run(config, signals=signals)


def resume_final(directory: RunDirectory) -> tuple[Experiment, Params]:
    """Reads a finished run back: its experiment and its final parameters.

    Raises:
        ConfigError, DataError, RunError: a file of the run or its data cannot be read.
    """
    directory.environment()  # says if another version wrote it
    experiment = prepare(_stored(directory.path))
    like = jax.eval_shape(experiment.initial)
    return experiment, directory.restore("final", like)


def over_chips(experiment: Experiment, params: Params, count: int) -> np.ndarray:
    """Measures test accuracy, `[count]`, on chips not seen: the seeds after the run's own."""
    first = experiment.config.chip.seed + 1
    keys = jax.vmap(jax.random.key)(jnp.arange(first, first + count))
    chips = jax.vmap(lambda key: sample_chip(key, experiment.config.spreads))(keys)
    key = jax.random.fold_in(experiment.key, _CHIPS)
    return loop.accuracy_over_chips(
        experiment.task, params, experiment.test, chips, key, on=experiment.on_chip
    )


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


def _train_phase(experiment, past, start, directory, schedule, signals):
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
        figures = asdict(epoch)
        validation = figures.pop("validation")
        del validation["confusion"]
        validation["balanced_accuracy"] = epoch.validation.balanced_accuracy
        directory.log(
            {"phase": number, "on": phase.on}
            | figures
            | {f"validation_{name}": value for name, value in validation.items()}
        )
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


def _check_split(split, name, dataset, known):
    """Raises `DataError` where the samples or labels of a split are not what its set promises."""
    x, y, where = split.x, split.y, f"{dataset.name}: {name}"
    if x.shape[1:] != known.shape or not len(x):
        shape = ", ".join(map(str, known.shape))
        raise DataError(f"{where}.x: got shape {x.shape}, expected (S, {shape}) with S >= 1")
    if x.dtype.kind not in "uif" or y.dtype.kind not in "ui":
        raise DataError(f"{where}: got x of {x.dtype} and y of {y.dtype}, expected numbers and int")
    # Measured values may be negative, or beyond full scale, and are clipped; images may not.
    least, most = x.min(), x.max()
    if not np.isfinite([least, most]).all():
        raise DataError(f"{where}.x: got {least} to {most}, expected finite numbers")
    if x.dtype.kind != "f" and (least < 0 or most > np.max(dataset.full_scale)):
        raise DataError(f"{where}.x: got {least} to {most}, expected 0 to {dataset.full_scale}")
    if y.min() < 0 or y.max() >= len(known.classes):
        raise DataError(
            f"{where}.y: got labels {y.min()} to {y.max()}, expected 0 to {len(known.classes) - 1}"
        )


def _split(dataset, share, seed):
    """The training and the validation split: the set's own, or taken out of the former by a seed.

    Where samples have groups, whole groups validate, until they are as many samples as asked for.
    """
    training = dataset.train
    if share is None and dataset.validation is not None:
        return _on_device(training), _on_device(dataset.validation)
    share = _VALIDATION_SHARE if share is None else share
    samples = len(training.y)
    count = int(share) if share >= 1 else max(1, round(share * samples))
    rng = np.random.default_rng(seed)
    if training.group is None:
        order = rng.permutation(samples)
    else:
        groups = rng.permutation(np.unique(training.group))
        order = np.concatenate([np.flatnonzero(training.group == group) for group in groups])
        ends = np.cumsum([np.count_nonzero(training.group == group) for group in groups])
        count = next((int(end) for end in ends if end >= count), count)
    if count >= samples:
        raise ConfigError(f"data.validation: {count} of {samples} training samples leave none")
    held, rest = order[:count], order[count:]
    take = lambda index: _on_device(data.Split(training.x[index], training.y[index]))  # noqa: E731
    return take(rest), take(held)


def _on_device(split):
    return Samples(jnp.asarray(split.x), jnp.asarray(split.y, jnp.int32))
