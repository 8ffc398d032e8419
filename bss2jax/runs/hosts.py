"""Processes on several hosts that train one run: the first of them, which leads, writes it.

Each computes the same steps in the same order, on its own devices. What the leader has read of a
run, and where it goes on, it tells the others, who write none; to go on, or to start from another
run, they read its files too.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bss2jax.runs import directory as runs
from bss2jax.runs.directory import RunDirectory
from bss2jax.runs.errors import RunError


@dataclass(frozen=True)
class Follower(RunDirectory):
    """The run's directory as those see it who do not lead: nothing is written."""

    def write(self, name: str, content: str | dict[str, Any]) -> None:
        """Does nothing."""

    def log(self, figures: dict[str, Any]) -> None:
        """Does nothing."""

    def save(self, name: str, tree: Any, meta: dict[str, Any] | None = None) -> None:
        """Does nothing."""

    def prune(self, keep: int) -> None:
        """Does nothing."""

    def logged(self) -> int:
        """Returns 0."""
        return 0


def join(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Joins the processes of a run; before JAX has touched a device.

    Without arguments SLURM, Kubernetes or Open MPI say who takes part.

    Args:
        coordinator: host and port of the leader.
        processes: how many there are.
        process: the number of this one, 0 for the leader.

    Raises:
        RunError: nothing says who takes part, or the leader is not found.
    """
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"--distributed: {reason}; start it by srun, by Kubernetes or mpirun, or give "
            "--coordinator HOST:PORT, --processes N and --process NUMBER to each process"
        ) from None


def joined() -> bool:
    """Returns whether this is one of several processes of a run."""
    return jax.distributed.is_initialized()


def leads() -> bool:
    """Returns whether this process writes the run."""
    return not joined() or jax.process_index() == 0


@contextmanager
def opened(name: str, directory: str | None) -> Iterator[RunDirectory]:
    """Opens the run's directory, for the leader to write.

    Args:
        name, directory: as of `runs.directory.opened`.

    Raises:
        RunError: as of `runs.directory.opened`.
    """
    if leads():
        with runs.opened(name, directory) as run:
            yield run
    else:
        yield Follower(Path(directory or name))


def told(value: Any) -> Any:
    """Returns what the leader has, a tree of JSON; others give what they like."""
    if not joined():
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    (length,) = _of_leader(np.array([len(text)], np.int32))
    given = np.zeros(length, np.uint8)
    given[: len(text)] = text[:length]
    return json.loads(_of_leader(given).tobytes())


def shared(tree: Any) -> Any:
    """Returns the leader's arrays; others give some of the same shapes and types."""
    return tree if not joined() else jax.tree.map(jax.numpy.asarray, _of_leader(tree))


def _of_leader(tree: Any) -> Any:
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)
