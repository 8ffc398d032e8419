"""What a config stands for before any data are read: a network, its chip, and how it is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from bss2jax import data
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.chip.file import ChipError, load_chip
from bss2jax.chip.presets import system
from bss2jax.config import Config, ConfigError
from bss2jax.config.tables import Placing
from bss2jax.mapping import saved as saved_plan
from bss2jax.mapping.cluster import in_order, need
from bss2jax.networks.across import on_system, specimens, workload_of
from bss2jax.networks.build import build
from bss2jax.networks.graph import Network, executions
from bss2jax.networks.layer import Execution
from bss2jax.networks.rungs import RUNGS
from bss2jax.training.task import Task, Variables

_RUN = 0x52554E  # what sets a run's keys apart from those of the chip with the same seed
_INIT = 0  # what the run's key is folded with; `experiment` has the others


@dataclass(frozen=True)
class Model:
    """A config with its network and its chip.

    Attributes:
        config: what it is made of; its seeds say which chip and which keys.
        task: network and settings, and what has been compiled of them.
    """

    config: Config
    task: Task

    @cached_property
    def chip(self) -> Chip:
        """The run's own chip.

        Raises:
            ConfigError: its file cannot be read.
        """
        chip = self.config.chip
        network = self.task.network
        if chip.file is None:
            key, sizes = jax.random.key(chip.seed), self.config.substrate
            return specimens(network, key, self.config.spreads, substrate=sizes)
        if network.mapped is not None:
            raise ConfigError(
                f"chip.file: it holds one chip, the plan has {network.mapped.chips}; leave it out"
            )
        try:
            return load_chip(chip.file, substrate=self.config.substrate)
        except ChipError as error:
            raise ConfigError(f"chip.file: {error}") from None

    @property
    def key(self) -> jax.Array:
        """The run's key, `[]`, folded for each purpose."""
        return draws.folded(jax.random.key(self.config.seed), _RUN)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each label means."""
        return data.spec(self.config.data.source).classes

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

    @property
    def last_execution(self) -> Execution | Mapping[str, Execution]:
        """The last execution on which the run is measured: on its chip, where it runs on one."""
        return self.on_chip if "chip" in self.measured_on else self.measured_on[-1]

    def initial(self) -> Variables:
        """Returns what training starts from."""
        return self.task.initial(draws.folded(self.key, _INIT))

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

    def valued(self, shares: np.ndarray) -> np.ndarray:
        """Returns samples as the data set has them, of shares of full scale, any shape."""
        values = np.asarray(self.task.offset) + shares * np.asarray(self.task.full_scale)
        return values.astype(np.float32)


def model_of(config: Config) -> Model:
    """Returns the network and the chip of a config; no data are read.

    Raises:
        ConfigError: as `network_of`, or the chip's file cannot be read.
    """
    full_scale = data.spec(config.data.source).full_scale
    model = Model(config, task_of(config, network_of(config), full_scale))
    model.chip  # noqa: B018 - a file that cannot be read is found out now
    return model


def task_of(config: Config, network: Network, full_scale: float | tuple[float, ...]) -> Task:
    """Returns what a training of a config keeps.

    Args:
        config: the experiment.
        network: the config's own.
        full_scale: the largest value of the data set, where the config does not say another.

    Raises:
        ConfigError: settings do not fit the network, such as weights of classes.
    """
    try:
        return Task(
            network,
            config.data.full_scale or full_scale,
            config.spreads,
            config.substrate,
            config.objective,
            config.augment,
            config.data.offset,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def network_of(config: Config) -> Network:
    """Builds a config's network and checks that everything in the config fits it.

    Raises:
        ConfigError: a layer does not fit its input, the outputs are not the classes, a phase names
            no layer, or images are needed and the set has none.
    """
    name = config.data.source
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
        network = build(
            config.layers,
            known.shape,
            substrate=config.substrate,
            conversion=config.conversion,
        )
    except ValueError as error:
        raise ConfigError(f"layers: {error}") from None
    network = placed(network, config.plan)
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
    check_phases(config, network)
    if config.augment.any and len(known.shape) != 3:
        raise ConfigError(f"augment: {name} has no images to shift, rotate or flip")
    if config.augment.quarter_turns and known.shape[0] != known.shape[1]:
        raise ConfigError(f"augment.quarter_turns: the images of {name} are not square")
    return network


def check_phases(config: Config, network: Network) -> None:
    """Refuses phases that name a layer or an execution that the network has not.

    Raises:
        ConfigError: says which phase, and why.
    """
    for i, phase in enumerate(config.phases):
        try:
            executions(network, phase.on)
        except ValueError as error:
            raise ConfigError(f"phases.{i}.{error}") from None


def placed(network: Network, placing: Placing) -> Network:
    """Returns a network on the chips that its config says.

    Args:
        network: on one chip.
        placing: system or file, or neither.

    Raises:
        ConfigError: the system is too small, or the file cannot be read or is of another network.
    """
    if placing.system is None and placing.file is None:
        return network
    try:
        load = workload_of(network)
        if placing.file is None:
            chips = system(placing.system or "")
            chip = in_order(load, need(load, chips))
        else:
            saved = saved_plan.load(placing.file)
            saved.check(load, placing.file)
            chips, chip = saved.system, saved.chip
            if placing.system not in (None, chips.name):
                raise ValueError(f"{placing.file} is of {chips.name}, not of {placing.system}")
        return on_system(network, chips if placing.delay else chips.instant(), chip)
    except ValueError as error:
        raise ConfigError(f"plan: {error}") from None
