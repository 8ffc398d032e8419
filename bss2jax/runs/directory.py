"""The run directory: what a training leaves behind so that it can be understood and repeated.

A run survives a stop at any point: every file is written aside and renamed, metrics grow line by
line and are cut back to the checkpoint that a training goes on from. One process at a time writes.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from bss2jax.files import place, writing
from bss2jax.runs import checkpoint
from bss2jax.runs.errors import RunError, naming
from bss2jax.runs.lock import LOCK, locked

# Of the run directory. 1: orbax checkpoints, no resuming. 2: .npz checkpoints, resuming. 3: what a
# network has learned is parameters and state; a run may start from a run.
FORMAT = 3
# What a run writes before anything else: a directory with nothing else in it has not begun.
_FIRST = {LOCK, "config.toml", "resolved.toml", "plan.txt", "chip.npz"}
_STATE = re.compile(r"state-(\d+)-(\d+)\.npz")
_PACKAGES = ("bss2jax", "jax", "jaxlib", "numpy", "optax", "flax")


@dataclass(frozen=True)
class RunDirectory:
    """One run's files.

    config.toml, resolved.toml, environment.json, plan.txt, metrics.jsonl (a line an epoch),
    confusion.json, checkpoints/ and summary.json, which is written last; chips.json holds what
    `bss2jax evaluate --chips` measured, chip.npz the chip where it came from a file. Of the
    checkpoints, `phase-0`, `phase-1` ... are the parameters that the phases ended with,
    `phase-0-best` ... those of their best epoch, `final` those of the last phase;
    `state-PHASE-STEP` is all that an unfinished training needs to go on.

    Attributes:
        path: the path of the directory.
    """

    path: Path

    def __post_init__(self) -> None:
        with naming(Path(self.path)):
            object.__setattr__(self, "path", place(self.path))

    def write(self, name: str, content: str | dict[str, Any]) -> None:
        """Writes a file: text as it is, anything else as JSON.

        Raises:
            RunError: it cannot be written.
        """
        if not isinstance(content, str):
            content = json.dumps(content, indent=2) + "\n"
        with naming(self.path / name):
            with writing(self.path / name) as file:
                file.write(content.encode())

    def log(self, figures: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl, or nothing where it cannot be written.

        Raises:
            RunError: it cannot be written.
        """
        path, line = self.path / "metrics.jsonl", json.dumps(figures, allow_nan=False) + "\n"
        with naming(path), open(path, "ab") as file:
            end = file.tell()
            try:
                file.write(line.encode())
                file.flush()
            except OSError:
                # What the buffer still holds may come when the file is closed: cut after that.
                with contextlib.suppress(OSError):
                    file.close()
                os.truncate(path, end)
                raise

    def logged(self) -> int:
        """Returns the length of metrics.jsonl, bytes.

        Raises:
            RunError: it cannot be read.
        """
        path = self.path / "metrics.jsonl"
        with naming(path):
            return path.stat().st_size if path.exists() else 0

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl in order, [] where none is written yet.

        Raises:
            RunError: it cannot be read, or a line is damaged.
        """
        if not self.logged():
            return []
        try:
            return [json.loads(line) for line in self.read("metrics.jsonl").splitlines()]
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.path / 'metrics.jsonl'}: not valid: {error}") from None

    def cut_log(self, length: int) -> None:
        """Takes lines off metrics.jsonl that are younger than the checkpoint.

        Raises:
            RunError: it is shorter than it was then.
        """
        found = self.logged()
        if found < length:
            raise RunError(
                f"{self.path / 'metrics.jsonl'}: has {found} bytes, but had {length} when the "
                "checkpoint was written; lines are missing"
            )
        if found > length:
            with naming(self.path / "metrics.jsonl"):
                os.truncate(self.path / "metrics.jsonl", length)

    def save(self, name: str, tree: Any, meta: dict[str, Any] | None = None) -> None:
        """Saves a tree, as parameters, as the checkpoint of this name, in place of an earlier.

        Args:
            name: the name of the checkpoint.
            tree: a tree of arrays.
            meta: goes along as JSON.

        Raises:
            RunError: it cannot be written.
        """
        path = self._checkpoint(name)
        with naming(path):
            path.parent.mkdir(exist_ok=True)
            checkpoint.save(path, tree, meta)

    def restore(self, name: str, like: Any) -> Any:
        """Reads a checkpoint whose tree has the shapes and types of `like`.

        Raises:
            RunError: there is none, it is damaged, or it holds another tree.
        """
        path = self._checkpoint(name)
        if not path.is_file():
            raise RunError(f"{path}: no such checkpoint; the run has not got so far")
        with naming(path):
            return checkpoint.load(path, like)[0]

    def save_state(self, phase: int, step: int, tree: Any, meta: dict[str, Any]) -> None:
        """Saves a training's state after a step of a phase.

        Args:
            phase, step: number of each, by which the state is found.
            tree: a tree of arrays, the state.
            meta: goes along as JSON.
        """
        self.save(f"state-{phase}-{step}", tree, meta)

    def newest_state(
        self, like: Callable[[int], Any]
    ) -> tuple[Any, dict[str, Any], list[str]] | None:
        """Reads the last state that is whole.

        Args:
            like: `like(phase)` is a tree with the shapes and types of a state in that phase.

        Returns:
            The state, what went along, and what was wrong with each later one; or None where no
            state has been saved.

        Raises:
            RunError: there are some, and none is whole.
        """
        damaged: list[str] = []
        for path in self._states():
            try:
                return *checkpoint.load(path, like(_order(path)[0])), damaged
            except (OSError, ValueError, IndexError) as error:
                damaged.append(f"{path}: {error}")
        if damaged:
            raise RunError(f"no checkpoint can be read; {'; '.join(damaged)}")
        return None

    def prune(self, keep: int) -> None:
        """Removes all saved states but the last `keep`.

        Raises:
            RunError: one cannot be removed.
        """
        for path in self._states()[keep:]:
            with naming(path):
                path.unlink(missing_ok=True)

    def read(self, name: str) -> str:
        """Reads a text file of the run.

        Raises:
            RunError: it cannot be read.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / name}: {error}; is this a run directory?") from None

    def environment(self) -> dict[str, Any] | None:
        """Returns what the run began with, or None where it has not begun.

        Raises:
            RunError: it cannot be read, or another version wrote the run.
        """
        if not self.begun():
            return None
        try:
            found = json.loads(self.read("environment.json"))
            version = found.get("format", 1)
        except (ValueError, AttributeError, RecursionError) as error:
            raise RunError(f"{self.path / 'environment.json'}: not valid: {error}") from None
        if version != FORMAT:
            raise RunError(
                f"{self.path}: a run of format {version!r}, this bss2jax reads format {FORMAT}: "
                f"train {self.path / 'config.toml'} anew, or use the version that wrote the run"
            )
        return found

    def begun(self) -> bool:
        """Returns whether the run has begun."""
        return (self.path / "environment.json").is_file()

    def finished(self) -> bool:
        """Returns whether the run is complete."""
        return (self.path / "summary.json").is_file()

    def require_finished(self) -> None:
        """Refuses a run that is not complete.

        Raises:
            RunError: it is not.
        """
        if not self.finished():
            raise RunError(f"{self.path}: the run is not finished: there is no summary.json")

    def _checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.npz"

    def _states(self) -> list[Path]:
        """The saved states' files, the last one first."""
        folder = self.path / "checkpoints"
        with naming(folder):
            found = list(folder.iterdir()) if folder.is_dir() else []
        return sorted(
            (path for path in found if _STATE.fullmatch(path.name)), key=_order, reverse=True
        )


class Schedule:
    """Says when a checkpoint is due: at most so many seconds, or steps, after the last."""

    def __init__(self, seconds: float, steps: int | None = None):
        self._seconds, self._steps = seconds, steps
        self._next = time.monotonic() + seconds

    def due(self, step: int) -> bool:
        """Returns whether to save after this step of a phase; the caller then does."""
        now = time.monotonic()
        if now < self._next and not (self._steps and step % self._steps == 0):
            return False
        self._next = now + self._seconds
        return True


@contextlib.contextmanager
def opened(name: str, directory: str | None = None) -> Iterator[RunDirectory]:
    """Opens a run directory for writing, and keeps other processes from it.

    Args:
        name: the name of the run.
        directory: an empty one, one of a run, or one to be made; None: `runs/NAME-k` with the first
            free k.

    Raises:
        RunError: it holds something else, another process writes to it, or it cannot be made.
    """
    path = _first_free(name) if directory is None else RunDirectory(Path(directory)).path
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
    require_place(path)
    with locked(path):
        with naming(path):
            for part in [*path.glob(".*.part"), *path.glob("checkpoints/.*.part")]:
                part.unlink()
        yield RunDirectory(path)


def require_place(path: Path) -> None:
    """Refuses a directory that no run can be written to; leaves none behind.

    Raises:
        RunError: it holds something else than a run, is a file, or cannot be made.
    """
    with naming(path):
        found = {entry.name for entry in path.iterdir()} if path.exists() else set()
    found = {name for name in found if not _is_part(name)}
    if not {"environment.json", "resolved.toml"} <= found and not found <= _FIRST:
        raise RunError(
            f"run.dir: {path} is not empty and holds no run; choose another or remove it"
        )
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK):
        raise RunError(f"run.dir: {path}: {there} cannot be written")
    if path != there:  # rights are not all: some file systems let nobody make anything
        trial = there / path.absolute().relative_to(there.absolute()).parts[0]
        try:
            trial.mkdir()
            trial.rmdir()
        except FileExistsError:  # another process begins
            pass
        except OSError as error:
            raise RunError(f"run.dir: {path}: {error.strerror} in {there}") from None


def _first_free(name: str) -> Path:
    k = 0
    while True:
        path = Path("runs") / f"{name}-{k}"
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            k += 1
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}") from None


def _is_part(name: str) -> bool:
    """Whether a file is what a process that was killed had not yet renamed."""
    return name.startswith(".") and name.endswith(".part")


def _order(path: Path) -> tuple[int, ...]:
    found = _STATE.fullmatch(path.name)
    assert found is not None
    return tuple(map(int, found.groups()))


def environment() -> dict[str, Any]:
    """Returns what a run depended on besides its config: versions, device, commit, command."""
    return {
        "format": FORMAT,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "backend": jax.default_backend(),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout the package runs from, marked if changed, or None."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
