"""What is known of one run, read from its directory; what is not there is said, not guessed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bss2jax import config as configs
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import network_of
from bss2jax.networks.graph import Network
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.settings import read
from bss2jax.training.loop import Count, Epoch, Figure, Share


@dataclass(frozen=True)
class Seconds:
    """How long each of the phases took, and the run in total, s."""

    phases: tuple[Figure, ...] = ()
    total: Figure | None = None


@dataclass(frozen=True)
class Summary:
    """summary.json: `test_accuracy` by rung, on `test_samples`; `seconds` of phases and in all.

    What its data differ in from the published set is its `data_note`.
    """

    test_accuracy: dict[str, Share]
    test_samples: int | None = None
    seconds: Seconds = Seconds()
    data_note: str = ""


@dataclass(frozen=True)
class Confusion:
    """confusion.json: counts by rung, label (row) and what a sample was taken for (column).

    Attributes:
        classes: the meaning of each label.
        test_confusion: the counts, a row and a column a class.

    Raises:
        ValueError: there are not as many rows and columns as classes.
    """

    classes: tuple[str, ...]
    test_confusion: dict[str, tuple[tuple[Count, ...], ...]]

    def __post_init__(self) -> None:
        for rung, matrix in self.test_confusion.items():
            if {len(self.classes)} != {len(matrix), *map(len, matrix)}:
                raise ValueError(f"test_confusion.{rung}: expected a row and a column a class")


@dataclass(frozen=True)
class Chips:
    """chips.json: `test_accuracy` on chips that the run has not seen, by their `chip_seeds`.

    Raises:
        ValueError: there is no chip, or not a seed for each.
    """

    chip_seeds: tuple[int, ...]
    test_accuracy: tuple[Share, ...]

    def __post_init__(self) -> None:
        if not self.test_accuracy or len(self.chip_seeds) != len(self.test_accuracy):
            raise ValueError("expected at least one chip, and as many seeds as accuracies")


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        path: the run's directory.
        config: the config that it was made with, or None; `config_text` is its file.
        network: where it goes on the chip; None without a config.
        environment: versions, device, commit, command.
        plan: placement and cost as text.
        metrics: the epochs that are done.
        summary, confusion: None where it has not come so far.
        chips: None where `bss2jax evaluate --chips` has not been run on it.
        notes: sentences that say what is missing, and why.
    """

    path: Path
    config: Config | None
    config_text: str
    network: Network | None
    environment: dict[str, Any]
    plan: str
    metrics: tuple[Epoch, ...]
    summary: Summary | None
    confusion: Confusion | None
    chips: Chips | None
    notes: tuple[str, ...]


def read_run(path: str | Path) -> Record:
    """Reads what there is of a run, finished or not.

    Raises:
        RunError: the directory holds no run, or one of a version that cannot be read.
    """
    directory = RunDirectory(Path(path))
    if not (directory.path / "resolved.toml").is_file():
        raise RunError(f"{path}: no run directory: there is no resolved.toml in it")
    notes: list[str] = []
    config = network = None
    config_text = directory.read("resolved.toml")
    try:
        config = configs.load(directory.path / "resolved.toml")[0]
        network = network_of(config)
    except ConfigError as error:
        notes.append(f"resolved.toml cannot be used by this version, so no placement: {error}")
    environment = directory.environment()
    if environment is None:
        notes.append("There is no environment.json: the run has not begun.")
    finished = directory.finished()
    if not finished:
        notes.append("The run is not finished: there is no summary.json.")
    summary = _read(directory, "summary.json", Summary, notes)
    if summary is not None and summary.data_note:
        notes.append(f"The data: {summary.data_note}.")
    chips = _read(directory, "chips.json", Chips, notes)
    if chips is None and network is not None and "chip" not in network.executions:
        notes.append("The network runs on no chip, so there is no ladder onto one.")
    elif chips is None and finished:
        notes.append(
            f"Not yet measured on other chips: `bss2jax evaluate {path} --chips 20` does that."
        )
    return Record(
        directory.path,
        config,
        config_text,
        network,
        environment or {},
        directory.read("plan.txt") if (directory.path / "plan.txt").is_file() else "",
        _read_metrics(directory, notes),
        summary,
        _read(directory, "confusion.json", Confusion, notes),
        chips,
        tuple(notes),
    )


def _read(directory: RunDirectory, name: str, kind: type[Any], notes: list[str]) -> Any:
    """A JSON file of the run; None, and a note, where it cannot be used; None where it is not."""
    if not (directory.path / name).is_file():
        return None
    try:
        return read(kind, json.loads(directory.read(name)), strict=False)
    except (RunError, ValueError, RecursionError) as error:
        notes.append(f"{name} cannot be read: {error}")
        return None


def _read_metrics(directory: RunDirectory, notes: list[str]) -> tuple[Epoch, ...]:
    if not (directory.path / "metrics.jsonl").is_file():
        notes.append("There is no metrics.jsonl: no epoch is done.")
        return ()
    found: list[Epoch] = []
    try:
        for line in directory.read("metrics.jsonl").splitlines():
            found.append(read(Epoch, json.loads(line), strict=False))
    except (RunError, ValueError, RecursionError) as error:
        notes.append(f"metrics.jsonl, line {len(found) + 1}, cannot be read: {error}")
    return tuple(found)
