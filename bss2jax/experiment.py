"""One experiment from its config to its summary: the glue between all the rooms."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import config as configs
from bss2jax import data
from bss2jax.config import Config, ConfigError
from bss2jax.hardware.chip import Chip, sample_chip
from bss2jax.hardware.substrate import BSS2
from bss2jax.mapping.circuits import SpikingPlan, describe_populations
from bss2jax.mapping.cost import describe_cost, describe_spiking_cost
from bss2jax.mapping.partition import describe
from bss2jax.networks.execution import Execution, Network, Params, executions
from bss2jax.networks.network import build
from bss2jax.training import loop, runs
from bss2jax.training.loop import Result, Samples, Task
from bss2jax.training.phase import steps_per_epoch, total_steps
from bss2jax.training.progress import Reporter
from bss2jax.training.runs import RunDirectory, RunError

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
        network = build(config.layers, known.shape, spiking=config.spiking)
    except ValueError as error:
        raise ConfigError(f"layers: {error}") from None
    if network.shapes[-1] != (len(known.classes),):
        raise ConfigError(
            f"layers: the last one makes outputs of shape {network.shapes[-1]}; "
            f"{name} has {len(known.classes)} classes, so expected ({len(known.classes)},)"
        )
    for i, phase in enumerate(config.phases):
        try:
            executions(network.names, phase.on)
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
        DataError: the data cannot be had.
    """
    network = network_of(config)
    dataset = dataset or data.load(config.data.name)
    task = Task(network, dataset.full_scale, config.spreads, BSS2, config.objective, config.augment)
    training, validation = _split(dataset, config.data.validation, config.seed)
    return Experiment(
        config,
        task,
        sample_chip(jax.random.key(config.chip.seed), config.spreads),
        jax.random.fold_in(jax.random.key(config.seed), _RUN),
        training,
        validation,
        _on_device(dataset.test),
    )


def plan_text(network: Network) -> str:
    """Returns a network's placement and cost as text."""
    if isinstance(network.plan, SpikingPlan):
        return f"{describe_populations(network.plan)}\n{describe_spiking_cost(network.plan)}\n"
    return f"{describe(network.plan)}\n\n{describe_cost(network.plan)}\n"


def run(config: Config, text: str = "", dataset: data.Dataset | None = None) -> RunDirectory:
    """Trains as a config says, and writes the run.

    Args:
        config: the experiment.
        text: of its file, kept verbatim.
        dataset: as in `prepare`.

    Returns:
        The run's directory, complete.

    Raises:
        ConfigError, DataError: before anything is written.
        RunError: the run cannot be written.
    """
    begin = time.perf_counter()
    experiment = prepare(config, dataset)
    directory = runs.create(config.name, config.run.dir)
    directory.write("config.toml", text or configs.dump(config))
    directory.write("resolved.toml", configs.dump(config))
    directory.write("environment.json", runs.environment())
    directory.write("plan.txt", plan_text(experiment.task.network))
    # The ladder: float, ideal and transfer are of the parameters that first meet the chip.
    rungs, params, seconds = None, experiment.initial(), []
    for i, phase in enumerate(config.phases):
        if phase.on_chip and rungs is None:
            rungs = _rungs(experiment, params)
        start = time.perf_counter()
        params = _train_phase(experiment, i, params, directory)
        seconds.append(time.perf_counter() - start)
        directory.save(f"phase-{i}", params)
    if rungs is None:
        rungs = _rungs(experiment, params)
    rungs["chip"] = experiment.test_result(params, experiment.on_chip)
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
            "seconds": {"phases": seconds, "total": time.perf_counter() - begin},
            "test_samples": len(experiment.test.y),
        },
    )
    return directory


def resume_final(directory: RunDirectory) -> tuple[Experiment, Params]:
    """Reads a finished run back: its experiment and its final parameters.

    Raises:
        ConfigError, DataError, RunError: a file of the run or its data cannot be read.
    """
    path = directory.path / "resolved.toml"
    if not path.is_file():
        raise RunError(f"{directory.path}: no run directory: there is no resolved.toml in it")
    config, _ = configs.load(path)
    experiment = prepare(config)
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


def _train_phase(experiment, number, params, directory):
    phase, samples = experiment.config.phases[number], len(experiment.training.y)
    on = phase.on if isinstance(phase.on, str) else "mixed"
    title = f"phase {number + 1}/{len(experiment.config.phases)} {on:5}"
    steps = total_steps(phase, samples)
    reporter = Reporter(
        title, steps, min(phase.batch_size, samples), steps_per_epoch(phase, samples)
    )

    def on_epoch(epoch, params, best):
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
        directory.save("last", params)
        if best:
            directory.save("best", params)

    with reporter:
        return loop.train(
            experiment.task,
            phase,
            params,
            experiment.chip,
            experiment.training,
            experiment.validation,
            jax.random.fold_in(experiment.key, _PHASES + number),
            on_step=reporter.step,
            on_epoch=on_epoch,
        )


def _rungs(experiment, params):
    executions = {"float": "float", "ideal": "ideal", "transfer": experiment.on_chip}
    return {name: experiment.test_result(params, on) for name, on in executions.items()}


def _confusion(rungs, classes):
    """Per class what it was taken for, and its accuracy, by rung."""
    return {
        "classes": classes,
        "test_confusion": {name: rung.confusion for name, rung in rungs.items()},
        "test_class_accuracy": {
            name: dict(zip(classes, rung.class_accuracy)) for name, rung in rungs.items()
        },
    }


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
    return Samples(jnp.asarray(split.x), jnp.asarray(split.y))
