"""One experiment from its config to its summary: the glue between all the rooms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import data
from bss2jax.chip.chip import Chip, sample_chip
from bss2jax.chip.file import ChipError, load_chip
from bss2jax.chip.substrate import BSS2
from bss2jax.config import Config, ConfigError
from bss2jax.data import DataError
from bss2jax.mapping.describe import describe, describe_cost
from bss2jax.networks.build import build
from bss2jax.networks.layers import Rated
from bss2jax.networks.network import Execution, Network, Params, executions
from bss2jax.training import loop
from bss2jax.training.loop import Result, Samples, Task

# What the run's key is folded with to serve different purposes; phases follow.
_RUN = 0x52554E  # what sets a run's keys apart from those of the chip with the same seed
_INIT, _TEST, _CHIPS, _PHASES = 0, 1, 2, 3
_VALIDATION_SHARE = 0.1
# The rungs of the ladder onto the chip: `transfer` is of what first meets the chip, `chip` of what
# training ends with.
RUNGS = {
    "float": "without rounding, saturation and noise",
    "ideal": "quantised, on a perfect chip",
    "transfer": "moved to the chip, as trained so far",
    "chip": "on the chip, as trained at last",
}


@dataclass(frozen=True)
class Experiment:
    """A config with everything it stands for, before anything is trained or written.

    Attributes:
        config: what it is made of.
        task: network and settings.
        chip: the run's own.
        key: of the run, folded for each purpose.
        training, validation, test: the samples, on the device.
    """

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
        return replace(self, config=config, chip=sample_chip(jax.random.key(seed), config.spreads))

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
        """Measures the same parameters on the rungs of `RUNGS` but the last, with the test set.

        See `measured_on` for what is left out.
        """
        rungs: dict[str, tuple[Execution, Execution | Mapping[str, Execution]]] = {
            "float": ("float", "float"),
            "ideal": ("ideal", "ideal"),
            "transfer": ("chip", self.on_chip),
        }
        return {
            name: self.test_result(params, on)
            for name, (execution, on) in rungs.items()
            if execution in self.measured_on
        }

    @property
    def measured_on(self) -> tuple[Execution, ...]:
        """The executions on which a run is measured: those that its network has.

        A soft LIF network is converted only where a phase asks for it: a sample then takes as many
        products as steps.
        """
        known = self.task.network.executions
        soft = any(isinstance(layer, Rated) for layer in self.config.layers)
        trained = {phase.on for phase in self.config.phases if isinstance(phase.on, str)}
        return ("float",) if soft and trained == {"float"} else known

    def test_result(self, params: Params, on: Execution | Mapping[str, Execution]) -> Result:
        """Measures on the test set, on this run's chip with noise where `on` asks so."""
        key = jax.random.fold_in(self.key, _TEST)
        return loop.evaluate(self.task, params, self.test, self.chip, key, on=on)

    def test_accuracy(self, params: Params, on: Execution | Mapping[str, Execution]) -> float:
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
    for key in ("offset", "full_scale"):
        each = getattr(config.data, key)
        if isinstance(each, tuple) and len(each) != known.shape[-1]:
            raise ConfigError(
                f"data.{key}: got {len(each)} values, expected 1 or one for each of the "
                f"{known.shape[-1]} channels of {name}"
            )
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
    return f"{describe(network.plan)}\n\n{describe_cost(network.plan, samples, batch)}\n"


def over_chips(experiment: Experiment, params: Params, count: int) -> np.ndarray:
    """Measures test accuracy, `[count]`, on chips not seen: the seeds after the run's own.

    Args:
        experiment: whose spreads, test set and execution apply.
        params: of the trained network.
        count: chips.
    """
    first = experiment.config.chip.seed + 1
    keys = jax.vmap(jax.random.key)(jnp.arange(first, first + count))
    draw = jax.vmap(lambda key: sample_chip(key, experiment.config.spreads))
    chips = jax.jit(draw)(keys)
    key = jax.random.fold_in(experiment.key, _CHIPS)
    return loop.accuracy_over_chips(
        experiment.task, params, experiment.test, chips, key, on=experiment.on_chip
    )


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


def _held_out(share, samples):
    """How many of the training samples validate, of a number or a share; None: the usual one."""
    share = _VALIDATION_SHARE if share is None else share
    count = int(share) if share >= 1 else max(1, round(share * samples))
    if count >= samples:
        raise ConfigError(f"data.validation: {count} of {samples} training samples leave none")
    return count


def _on_device(split):
    return Samples(jnp.asarray(split.x), jnp.asarray(split.y, jnp.int32))
