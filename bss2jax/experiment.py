"""One experiment from its config to its summary: the glue between all the rooms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import data
from bss2jax.chip.chip import Chip, sample_chip
from bss2jax.chip.file import ChipError, load_chip
from bss2jax.chip.substrate import BSS2
from bss2jax.config import ChipSeed, Config, ConfigError
from bss2jax.data import DataError
from bss2jax.mapping.describe import describe, describe_cost
from bss2jax.networks.build import build
from bss2jax.networks.graph import Network, executions
from bss2jax.networks.layer import Execution
from bss2jax.networks.rungs import RUNGS
from bss2jax.training import loop
from bss2jax.training.evaluate import Result, accuracy_over_chips, evaluate
from bss2jax.training.task import Samples, Task, Variables, check

# What the run's key is folded with to serve different purposes; phases follow.
_RUN = 0x52554E  # what sets a run's keys apart from those of the chip with the same seed
_INIT, _TEST, _CHIPS, _PHASES = 0, 1, 2, 3
_VALIDATION_SHARE = 0.1
# What may differ between experiments with the same data and network.
_CHANGEABLE = {"name", "description", "chip", "mismatch", "noise", "start", "phases", "run"}


@dataclass(frozen=True)
class Experiment:
    """A config with everything it stands for, before anything is trained or written.

    Attributes:
        config: what it is made of; its seeds say which chip and which keys.
        task: network and settings, and what has been compiled of them.
        training, validation, test: the samples, on the device.
    """

    config: Config
    task: Task
    training: Samples
    validation: Samples
    test: Samples

    @cached_property
    def chip(self) -> Chip:
        """The run's own chip.

        Raises:
            ConfigError: its file cannot be read.
        """
        chip = self.config.chip
        if chip.file is None:
            return sample_chip(jax.random.key(chip.seed), self.config.spreads)
        try:
            return load_chip(chip.file)
        except ChipError as error:
            raise ConfigError(f"chip.file: {error}") from None

    @property
    def key(self) -> jax.Array:
        """The run's key, `[]`, folded for each purpose."""
        return jax.random.fold_in(jax.random.key(self.config.seed), _RUN)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each label means."""
        return data.spec(self.config.data.name).classes

    @property
    def on_chip(self) -> Execution | Mapping[str, Execution]:
        """What "on the chip" means in this run: as in its first phase there; else all layers."""
        return next((phase.on for phase in self.config.phases if phase.on_chip), "chip")

    @property
    def measured_on(self) -> tuple[Execution, ...]:
        """The executions on which a run is measured: those that its network has.

        A network that is slow off `float` is measured there only where a phase is trained there.
        """
        network = self.task.network
        trained = {phase.on for phase in self.config.phases}
        return ("float",) if network.slow_off_float and trained == {"float"} else network.executions

    def initial(self) -> Variables:
        """Returns what training starts from."""
        return self.task.initial(jax.random.fold_in(self.key, _INIT))

    def changed(self, config: Config) -> "Experiment":
        """Returns the same data and network under another config; what was compiled stays.

        Args:
            config: differs in chips, noise, phases, start, or where the run goes, at most.

        Raises:
            ConfigError: it differs in more, or a phase does not fit the network.
        """
        for name in set(vars(config)) - _CHANGEABLE:
            if getattr(config, name) != getattr(self.config, name):
                raise ConfigError(f"{name}: differs, so the experiment has to be prepared anew")
        _check_phases(config, self.task.network)
        task = self.task
        if config.spreads != task.mismatch:
            task = replace(task, mismatch=config.spreads)
        return replace(self, config=config, task=task)

    def with_chip(self, seed: int) -> "Experiment":
        """Returns the same experiment on another chip; what precedes the chip stays the same."""
        return self.changed(replace(self.config, chip=ChipSeed(seed=seed)))

    def train(self, number: int, start: Variables | loop.Progress, **callbacks: Any) -> Variables:
        """Trains through a phase, or what is left of it; start and callbacks as of `loop.train`."""
        return loop.train(
            self.task,
            self.config.phases[number],
            start,
            self.chip,
            self.training,
            self.validation,
            self.phase_key(number),
            number=number,
            **callbacks,
        )

    def phase_key(self, number: int) -> jax.Array:
        """Returns the key, `[]`, that a phase is trained with."""
        return jax.random.fold_in(self.key, _PHASES + number)

    def execution(self, rung: str) -> Execution | Mapping[str, Execution]:
        """Returns what a rung of the ladder, by name, means in this run."""
        return self.on_chip if RUNGS[rung].on == "chip" else RUNGS[rung].on

    @property
    def first_rungs(self) -> tuple[str, ...]:
        """The rungs of the ladder that are measured of the same parameters: all but the last.

        See `measured_on` for what is left out.
        """
        names = (name for name in RUNGS if name != "chip")
        return tuple(name for name in names if RUNGS[name].on in self.measured_on)

    def test_result(self, variables: Variables, on: Execution | Mapping[str, Execution]) -> Result:
        """Measures on the test set, on this run's chip with noise where `on` asks so."""
        key = jax.random.fold_in(self.key, _TEST)
        return evaluate(self.task, variables, self.test, self.chip, key, on=on)

    def test_accuracy(self, variables: Variables, on: Execution | Mapping[str, Execution]) -> float:
        """Measures accuracy on the test set: see `test_result`."""
        return self.test_result(variables, on).accuracy


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
    for key in ("offset", "full_scale"):
        each = getattr(config.data, key)
        if isinstance(each, tuple) and len(each) != known.shape[-1]:
            raise ConfigError(
                f"data.{key}: got {len(each)} values, expected 1 or one for each of the "
                f"{known.shape[-1]} channels of {name}"
            )
    try:
        network = build(config.layers, known.shape, conversion=config.conversion)
    except ValueError as error:
        raise ConfigError(f"layers: {error}") from None
    last = network.nodes[-1].after
    if last.timed:
        raise ConfigError(
            f"layers: the last one makes {last.kind} over time; end in a decoder, such as "
            "max_over_time or spike_count"
        )
    if network.shapes[-1] != (len(known.classes),):
        raise ConfigError(
            f"layers: the last one makes outputs of shape {network.shapes[-1]}; "
            f"{name} has {len(known.classes)} classes, so expected ({len(known.classes)},)"
        )
    _check_phases(config, network)
    if config.augment.any and len(known.shape) != 3:
        raise ConfigError(f"augment: {name} has no images to shift, rotate or flip")
    if config.augment.quarter_turns and known.shape[0] != known.shape[1]:
        raise ConfigError(f"augment.quarter_turns: the images of {name} are not square")
    return network


def _check_phases(config: Config, network: Network) -> None:
    for i, phase in enumerate(config.phases):
        try:
            executions(network, phase.on)
        except ValueError as error:
            raise ConfigError(f"phases.{i}.{error}") from None


def prepare(
    config: Config, dataset: data.Dataset | None = None, network: Network | None = None
) -> Experiment:
    """Builds all that a config stands for; data go to the device.

    Args:
        config: what to prepare.
        dataset: to use instead of loading `config.data.name`; of the same shapes.
        network: the config's own, where `network_of` has built it already.

    Raises:
        ConfigError: as `network_of`, or the validation split leaves nothing to train on.
        DataError: the data cannot be had, or a split is empty, of other shapes than the network
            takes, or has values or labels out of range.
    """
    network = network or network_of(config)
    dataset = dataset or data.load(config.data.name)
    for name in ("train", "validation", "test"):
        if getattr(dataset, name) is not None:
            _check_split(getattr(dataset, name), f"{dataset.name}: {name}", dataset, network)
    task = Task(
        network,
        config.data.full_scale or dataset.full_scale,
        config.spreads,
        BSS2,
        config.objective,
        config.augment,
        config.data.offset,
    )
    training, validation = _split(dataset, config.data.validation, config.seed)
    experiment = Experiment(config, task, training, validation, _on_device(dataset.test))
    experiment.chip  # noqa: B018 - a file that cannot be read is found out now
    return experiment


def training_samples(config: Config) -> int:
    """Returns the size of a config's training set without loading it, as far as that tells.

    Of a set with groups, of which whole ones validate, it is that many, less a part of a group.

    Raises:
        ConfigError: the validation split leaves nothing to train on.
    """
    known, share = data.spec(config.data.name), config.data.validation
    if share is None and "validation" in known.splits:
        return known.train
    return known.train - _held_out(share, known.train)


def plan_text(network: Network, samples: int, batch: int) -> str:
    """Returns a network's placement and cost, of a sample and of an epoch, as text.

    Args:
        network: whose plan it is.
        samples: of an epoch.
        batch: samples with the same weights.
    """
    if network.misfit:
        return f"not on the chip, simulated in floating point only: {network.misfit}\n"
    if not network.plan.names:
        return "not on the chip: no layer of the network has a counterpart there\n"
    return f"{describe(network.plan)}\n\n{describe_cost(network.plan, samples, batch)}\n"


def over_chips(
    experiment: Experiment, variables: Variables, count: int, **callbacks: Any
) -> np.ndarray:
    """Measures test accuracy, `[count]`, on chips not seen: the seeds after the run's own.

    Args:
        experiment: whose spreads, test set and execution apply.
        variables: what the network has learned.
        count: chips.
        callbacks: as of `accuracy_over_chips`.
    """
    first = experiment.config.chip.seed + 1
    keys = jax.vmap(jax.random.key)(jnp.arange(first, first + count))
    draw = jax.vmap(lambda key: sample_chip(key, experiment.config.spreads))
    chips = jax.jit(draw)(keys)
    key = jax.random.fold_in(experiment.key, _CHIPS)
    return accuracy_over_chips(
        experiment.task,
        variables,
        experiment.test,
        chips,
        key,
        on=experiment.on_chip,
        **callbacks,
    )


def _check_split(split: data.Split, where: str, dataset: data.Dataset, network: Network) -> None:
    """Raises `DataError` where the samples or labels of a split are not what its set promises."""
    try:
        check(split, network, where)
    except ValueError as error:
        raise DataError(str(error)) from None
    # Measured values may be negative, or beyond full scale, and are clipped; images may not.
    least, most = split.x.min(), split.x.max()
    if not np.isfinite([least, most]).all():
        raise DataError(f"{where}.x: got {least} to {most}, expected finite numbers")
    if split.x.dtype.kind != "f" and (least < 0 or most > np.max(dataset.full_scale)):
        raise DataError(f"{where}.x: got {least} to {most}, expected 0 to {dataset.full_scale}")


def _split(dataset: data.Dataset, share: float | None, seed: int) -> tuple[Samples, Samples]:
    """The training and the validation split: the set's own, or taken out of the former by a seed.

    Where samples have groups, whole groups validate, until they are as many samples as asked for.
    """
    training = dataset.train
    if share is None and dataset.validation is not None:
        return _on_device(training), _on_device(dataset.validation)
    samples = len(training.y)
    count = _held_out(share, samples)
    rng = np.random.default_rng(seed)
    if training.group is None:
        order = rng.permutation(samples)
    else:
        groups = rng.permutation(np.unique(training.group))
        order = np.concatenate([np.flatnonzero(training.group == group) for group in groups])
        ends = np.cumsum([np.count_nonzero(training.group == group) for group in groups])
        count = _held_out(next(int(end) for end in ends if end >= count), samples)
    held, rest = order[:count], order[count:]
    take = lambda index: _on_device(data.Split(training.x[index], training.y[index]))  # noqa: E731
    return take(rest), take(held)


def _held_out(share: float | None, samples: int) -> int:
    """How many of the training samples validate, of a number or a share; None: the usual one."""
    share = _VALIDATION_SHARE if share is None else share
    count = int(share) if share >= 1 else max(1, round(share * samples))
    if count >= samples:
        raise ConfigError(f"data.validation: {count} of {samples} training samples leave none")
    return count


def _on_device(split: data.Split) -> Samples:
    return Samples(jnp.asarray(split.x), jnp.asarray(split.y, jnp.int32))
