"""One experiment from its config to its summary: the glue between all the rooms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import data
from bss2jax.chip import draws
from bss2jax.config import ChipSeed, Config, ConfigError
from bss2jax.data import DataError
from bss2jax.mapping.describe import describe, describe_cost
from bss2jax.model import Model, check_phases, network_of, task_of
from bss2jax.networks.across import specimens
from bss2jax.networks.graph import Network
from bss2jax.networks.layer import Execution
from bss2jax.training import loop
from bss2jax.training.evaluate import Result, accuracy_over_chips, evaluate
from bss2jax.training.task import Samples, Variables, check, on_host

# What the run's key is folded with to serve different purposes; phases follow.
_TEST, _CHIPS, _PHASES = 1, 2, 3  # 0 is initialisation
_VALIDATION_SHARE = 0.1
_LOOKED_AT = 100  # samples that are asked whether they have values below 0
# What may differ between experiments with the same data and network.
_CHANGEABLE = {"name", "description", "chip", "mismatch", "noise", "start", "phases", "run"}


@dataclass(frozen=True)
class Experiment(Model):
    """A config with everything it stands for, before anything is trained or written.

    Attributes:
        config, task: what it is made of, as of `Model`.
        training, validation, test: the samples, on the device.
        note: in what the data differ from the published set, as of `Dataset`.
    """

    training: Samples
    validation: Samples
    test: Samples
    note: str = ""

    @property
    def cut(self) -> float:
        """The share of values below 0, of some training samples, that first layers take for 0."""
        signed, cut = {"input"}, False  # the layers whose values may have either sign
        for node in self.task.network.nodes:
            if signed.intersection(node.inputs):
                signed |= {node.name} if node.layer.keeps_signs else set()
                cut |= node.layer.unsigned
        if not cut:
            return 0.0
        some = np.asarray(self.training.x[:_LOOKED_AT])
        return float((some < np.asarray(self.task.offset)).mean())

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
        check_phases(config, self.task.network)
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
        return draws.folded(self.key, _PHASES + number)

    def test_result(self, variables: Variables, on: Execution | Mapping[str, Execution]) -> Result:
        """Measures on the test set, on this run's chip with noise where `on` asks so."""
        key = draws.folded(self.key, _TEST)
        return evaluate(self.task, variables, self.test, self.chip, key, on=on)

    def test_accuracy(self, variables: Variables, on: Execution | Mapping[str, Execution]) -> float:
        """Measures accuracy on the test set: see `test_result`."""
        return self.test_result(variables, on).accuracy


def prepare(
    config: Config, dataset: data.Dataset | None = None, network: Network | None = None
) -> Experiment:
    """Builds all that a config stands for; data go to the device.

    Args:
        config: what to prepare.
        dataset: a data set to use instead of loading `config.data.source`; of the same shapes.
        network: the config's own, where `network_of` has built it already.

    Raises:
        ConfigError: as `network_of`, or the validation split leaves nothing to train on, or there
            are fewer devices than asked for.
        DataError: the data cannot be had, or a split is empty, of other shapes than the network
            takes, or has values or labels out of range.
    """
    network = network or network_of(config)
    dataset = dataset or data.load(config.data.source)
    for name in ("train", "validation", "test"):
        if getattr(dataset, name) is not None:
            _check_split(getattr(dataset, name), f"{dataset.name}: {name}", dataset, network)
    try:
        mesh = config.mesh.mesh()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    task = replace(task_of(config, network, dataset.full_scale), mesh=mesh)
    # Several devices are given what each needs of what is on the host.
    place = _on_device if mesh is None else on_host
    training, validation = map(place, _split(dataset, config.data.validation, config.seed))
    test = place(dataset.test)
    experiment = Experiment(config, task, training, validation, test, dataset.note)
    experiment.chip  # noqa: B018 - a file that cannot be read is found out now
    return experiment


def training_samples(config: Config) -> int:
    """Returns the size of a config's training set without loading it, as far as that tells.

    Of a set with groups, of which whole ones validate, it is that many, less a part of a group.

    Raises:
        ConfigError: the validation split leaves nothing to train on.
    """
    known, share = data.spec(config.data.source), config.data.validation
    if share is None and "validation" in known.splits:
        return known.train
    return known.train - _held_out(share, known.train)


def plan_text(network: Network, samples: int, batch: int) -> str:
    """Returns a network's placement and cost, of a sample and of an epoch, as text.

    Args:
        network: the network whose plan it is.
        samples: the number of samples in an epoch.
        batch: samples with the same weights.
    """
    if network.misfit:
        return f"not on the chip, simulated in floating point only: {network.misfit}\n"
    if not network.plan.names:
        return "not on the chip: no layer of the network has a counterpart there\n"
    return f"{describe(network.plan)}\n\n{describe_cost(network.plan, samples, batch)}\n"


def other_seeds(config: Config, count: int) -> list[int]:
    """Returns the seeds of chips that a run has not seen: those after its own, 0 after the last."""
    return [(config.chip.seed + 1 + i) % 2**32 for i in range(count)]


def over_chips(
    experiment: Experiment, variables: Variables, count: int, **callbacks: Any
) -> np.ndarray:
    """Measures test accuracy, `[count]`, on chips not seen: the seeds after the run's own.

    Args:
        experiment: the experiment whose spreads, test set and execution apply.
        variables: what the network has learned.
        count: chips.
        callbacks: as of `accuracy_over_chips`.
    """
    keys = jax.vmap(jax.random.key)(jnp.array(other_seeds(experiment.config, count), jnp.uint32))
    network, config = experiment.task.network, experiment.config
    draw = jax.vmap(lambda key: specimens(network, key, config.spreads, substrate=config.substrate))
    chips = jax.jit(draw)(keys)
    key = draws.folded(experiment.key, _CHIPS)
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


def _split(dataset: data.Dataset, share: float | None, seed: int) -> tuple[data.Split, data.Split]:
    """The training and the validation split: the set's own, or taken out of the former by a seed.

    Where samples have groups, whole groups validate, until they are as many samples as asked for.
    """
    training = dataset.train
    if share is None and dataset.validation is not None:
        return training, dataset.validation
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
    take = lambda index: data.Split(training.x[index], training.y[index])  # noqa: E731
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
