"""The run directory: what a training leaves behind so that it can be understood and repeated."""

import importlib.metadata
import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

_PACKAGES = ("bss2jax", "jax", "jaxlib", "numpy", "optax", "flax", "orbax-checkpoint")


class RunError(RuntimeError):
    """A run directory cannot be made, written or read; the message says which and why."""


@dataclass(frozen=True)
class RunDirectory:
    """One run's files.

    config.toml, resolved.toml, environment.json, plan.txt, metrics.jsonl (a line an epoch),
    checkpoints/ (orbax), confusion.json and summary.json.
    """

    path: Path

    def write(self, name: str, content: str | dict[str, Any]) -> None:
        """Writes a file: text as it is, anything else as JSON."""
        if not isinstance(content, str):
            content = json.dumps(content, indent=2) + "\n"
        try:
            aside = self.path / f".{name}.part"
            aside.write_text(content, encoding="utf-8")
            aside.rename(self.path / name)
        except OSError as error:
            raise RunError(f"{self.path / name}: {error.strerror}") from None

    def log(self, figures: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl."""
        try:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
        except OSError as error:
            raise RunError(f"{self.path / 'metrics.jsonl'}: {error.strerror}") from None

    def save(self, name: str, params: Any) -> None:
        """Saves parameters as the checkpoint of this name, in place of an earlier one."""
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(self.path.absolute() / "checkpoints" / name, params, force=True)
        except OSError as error:
            raise RunError(f"{self.path}: checkpoint {name}: {error.strerror}") from None

    def restore(self, name: str, like: Any) -> Any:
        """Reads a checkpoint whose tree has the shapes and types of `like`.

        Raises:
            RunError: there is none, or it holds another tree.
        """
        path = self.path.absolute() / "checkpoints" / name
        if not path.is_dir():
            raise RunError(f"{path}: no such checkpoint; the run has not got so far")
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                return checkpointer.restore(path, like)
        except (ValueError, KeyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{path}: not a checkpoint of this network: {reason}") from None

    def read(self, name: str) -> str:
        """Reads a text file of the run."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / name}: {error}; is this a run directory?") from None


def create(name: str, directory: str | None = None) -> RunDirectory:
    """Makes a run directory: the one asked for, or `runs/NAME-k` with the first free k.

    Raises:
        RunError: it is not empty, or cannot be made.
    """
    try:
        if directory is not None:
            path = Path(directory)
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise RunError(f"run.dir: {path} is not empty; choose another or remove it")
            return RunDirectory(path)
        k = 0
        while True:
            path = Path("runs") / f"{name}-{k}"
            try:
                path.mkdir(parents=True)
                return RunDirectory(path)
            except FileExistsError:
                k += 1
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None


def environment() -> dict[str, Any]:
    """Returns what a run depended on besides its config: versions, device, commit, command."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "backend": jax.default_backend(),
        "commit": _commit(),
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit():
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
