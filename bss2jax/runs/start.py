"""What a run begins with: drawn parameters, or those that another run ended with."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from bss2jax import config as configs
from bss2jax.chip.file import ChipError, save_chip
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment, prepare
from bss2jax.model import Model
from bss2jax.runs import checkpoint
from bss2jax.runs.directory import RunDirectory
from bss2jax.runs.errors import RunError, naming
from bss2jax.training.task import Variables


@dataclass(frozen=True)
class Start:
    """Where the training of a run begins.

    Attributes:
        phase: the first one that is trained.
        variables: what it starts from.
        sources: what this comes from outside of the config, as environment.json says it: path and
            sha256 of the run that it starts from, of the data, and of the chip's file.
    """

    phase: int
    variables: Variables
    sources: dict[str, dict[str, str]]


def first_phase(config: Config) -> tuple[int, str | None]:
    """Returns the number of the first phase that is trained, and the run that it starts from."""
    for number, phase in reversed(list(enumerate(config.phases))):
        if phase.start is not None:
            return number, phase.start
    return 0, config.start


def read_start(experiment: Experiment) -> Start:
    """Returns what training begins with.

    Raises:
        ConfigError: the run to start from is none, is not finished, or has other layers.
    """
    (number, path), variables = first_phase(experiment.config), experiment.initial()
    sources = sources_of(experiment)
    if path is None:
        return Start(number, variables, sources)
    key = "start" if experiment.config.phases[number].start is None else f"phases.{number}.start"
    try:
        variables = _read(Path(path), jax.eval_shape(experiment.initial))
    except RunError as error:
        raise ConfigError(f"{key}: {error}") from None
    sources["start"] = {"path": os.path.abspath(path), "sha256": checkpoint.digest(variables)}
    return Start(number, variables, sources)


def read_config(path: Path, devices: int | None = None) -> tuple[Experiment, Variables]:
    """Returns the experiment of a config, and what it starts from.

    Args:
        path: the config's.
        devices: how many take part; None: as the config says.

    Raises:
        ConfigError, DataError: a file cannot be read, or the config has no start.
    """
    chosen = [f"mesh.devices={devices}"] if devices else []
    experiment = prepare(configs.load(path, chosen)[0])
    if first_phase(experiment.config)[1] is None:
        raise ConfigError(f"{path}: it has no start, so nothing that could be measured; train it")
    return experiment, read_start(experiment).variables


def _read(path: Path, like: Variables) -> Variables:
    """What a finished run has learned, or a file holds that `bss2jax import` wrote."""
    if path.is_file():
        with naming(path):
            return checkpoint.load(path, like)[0]
    directory = RunDirectory(path)
    if directory.environment() is None:
        raise RunError(f"{path}: no run directory, or of a run that has not begun")
    directory.require_finished()
    return directory.restore("final", like)


def chip_source(model: Model) -> dict[str, dict[str, str]]:
    """Returns the file of the run's chip with the sha256 of what is in it, {} for a drawn chip."""
    file = model.config.chip.file
    if file is None:
        return {}
    return {"chip": {"path": os.path.abspath(file), "sha256": checkpoint.digest(model.chip)}}


def sources_of(experiment: Experiment) -> dict[str, dict[str, str]]:
    """Returns path and sha256 of what a run depends on besides its config: data, chip."""
    samples = checkpoint.digest((experiment.training, experiment.validation, experiment.test))
    data = {"path": experiment.config.data.source, "sha256": samples}
    return {"data": data} | chip_source(experiment)


def require_same(sources: dict[str, dict[str, str]], directory: RunDirectory) -> None:
    """Refuses a run of which something has changed since it began.

    Raises:
        RunError: it has.
    """
    before = (directory.environment() or {}).get("sources", {})
    for name, now in sources.items():
        if name in before and before[name]["sha256"] != now["sha256"]:
            what = "another chip" if name == "chip" else "other data"
            raise RunError(
                f"{directory.path}: {now['path']} holds {what} than when the run began; put back "
                "what was there, or train anew in another directory"
            )


def kept(experiment: Experiment, directory: RunDirectory) -> Config:
    """Keeps the chip's file in the run; returns the config that finds all from the run's directory.

    Raises:
        RunError: the chip cannot be written.
    """
    config, chip = absolute(experiment.config), experiment.config.chip
    if chip.file is not None:
        try:
            path, sizes = directory.path / "chip.npz", experiment.config.substrate
            save_chip(experiment.chip, path, substrate=sizes)
        except ChipError as error:
            raise RunError(str(error)) from None
        chip = replace(chip, file="chip.npz")
    return replace(config, chip=chip, run=replace(config.run, dir="."))


def absolute(config: Config) -> Config:
    """Returns a config that names runs to start from, and data, by absolute paths."""

    def path(given: str | None) -> str | None:
        return None if given is None else os.path.abspath(given)

    phases = tuple(replace(phase, start=path(phase.start)) for phase in config.phases)
    data = replace(config.data, file=path(config.data.file), folder=path(config.data.folder))
    return replace(config, data=data, start=path(config.start), phases=phases)


def changed_since(experiment: Experiment, before: dict[str, Any]) -> str | None:
    """Returns what has happened since to the run that this one starts from; None: nothing.

    Args:
        experiment: the experiment of the run.
        before: the run's environment as it was then.
    """
    known = before.get("sources", {}).get("start")
    try:
        now = read_start(experiment).sources.get("start")
    except ConfigError as error:
        return str(error)
    if known is None or now is None or known["sha256"] == now["sha256"]:
        return None
    return f"the final parameters of {now['path']} have changed since the run began"
