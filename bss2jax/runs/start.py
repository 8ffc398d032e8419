"""What a run begins with: drawn parameters, or those that another run ended with."""

from dataclasses import dataclass
from pathlib import Path

import jax

from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment
from bss2jax.model import Model
from bss2jax.runs import checkpoint
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.training.task import Variables


@dataclass(frozen=True)
class Start:
    """Where the training of a run begins.

    Attributes:
        phase: the first one that is trained.
        variables: what it starts from.
        sources: what this comes from outside of the config, as environment.json says it: path and
            sha256 of the run that it starts from, and of the chip's file.
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
    sources = chip_source(experiment)
    if path is None:
        return Start(number, variables, sources)
    key = "start" if experiment.config.phases[number].start is None else f"phases.{number}.start"
    directory = RunDirectory(Path(path))
    try:
        if directory.environment() is None:
            raise RunError(f"{path}: no run directory, or of a run that has not begun")
        if not directory.finished():
            raise RunError(f"{path}: the run is not finished: there is no summary.json")
        like = jax.eval_shape(experiment.initial)
        variables = directory.restore("final", like)
    except RunError as error:
        raise ConfigError(f"{key}: {error}") from None
    sources["start"] = {"path": path, "sha256": checkpoint.digest(variables)}
    return Start(number, variables, sources)


def chip_source(experiment: Model) -> dict[str, dict[str, str]]:
    """Returns the file of the run's chip with the sha256 of what is in it, {} for a drawn chip."""
    file = experiment.config.chip.file
    if file is None:
        return {}
    return {"chip": {"path": file, "sha256": checkpoint.digest(experiment.chip)}}


def require_chip(experiment: Model, directory: RunDirectory) -> None:
    """Refuses a run whose chip file has changed since it began.

    Raises:
        RunError: the file holds another chip.
    """
    before = (directory.environment() or {}).get("sources", {}).get("chip")
    now = chip_source(experiment).get("chip")
    if before and now and before["sha256"] != now["sha256"]:
        raise RunError(
            f"{directory.path}: {now['path']} holds another chip than when the run began; put the "
            "file back, or train anew in another directory"
        )
