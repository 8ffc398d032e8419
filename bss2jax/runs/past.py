"""What a run knows besides a phase's progress, and keeps with it in checkpoints."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from bss2jax.runs.directory import RunDirectory
from bss2jax.training.evaluate import Result
from bss2jax.training.loop import Progress


@dataclass(frozen=True)
class Past:
    """What a run knows besides a phase's progress.

    Attributes:
        phase: number of the phase under way, from 0 on.
        rungs: the rungs of the ladder: float, ideal and transfer are of what first meets the chip.
        begin: the time at which the run would have begun, had nothing stopped it, of this process'
            `time.perf_counter`.
        marks: the times since then, s, at which the first phase began and each one ended.
    """

    phase: int
    rungs: dict[str, Result] | None
    begin: float
    marks: tuple[float, ...]

    def now(self) -> float:
        """Seconds that the run has taken so far."""
        return time.perf_counter() - self.begin

    def meta(self) -> dict[str, Any]:
        """Returns what goes along with a checkpoint, as a tree of JSON."""
        rungs = None if self.rungs is None else {n: asdict(rung) for n, rung in self.rungs.items()}
        return {"phase": self.phase, "rungs": rungs, "seconds": self.now(), "marks": self.marks}


def begun(phase: int, begin: float) -> Past:
    """Returns the past of a run that begins.

    Args:
        phase: number of the first phase that is trained.
        begin: when this process began, of `time.perf_counter`.
    """
    return Past(phase, None, begin, (time.perf_counter() - begin,))


def recalled(meta: dict[str, Any], begin: float) -> Past:
    """Returns the past of a run that goes on.

    Args:
        meta: the head of a checkpoint.
        begin: when this process began.
    """
    rungs = meta["rungs"] and {name: Result(**rung) for name, rung in meta["rungs"].items()}
    return Past(meta["phase"], rungs, begin - meta["seconds"], tuple(meta["marks"]))


def progress_meta(progress: Progress) -> dict[str, Any]:
    """Returns all of a progress but its arrays, as a tree of JSON."""
    numbers = {name: getattr(progress, name) for name in ("step", "epoch", "seconds")}
    return {"rank": progress.rank, "progress": numbers}


def progress_of(state: Any, best: Any, meta: dict[str, Any]) -> Progress:
    """Returns a progress from its arrays and the rest."""
    return Progress(state, best, tuple(meta["rank"]), **meta["progress"])


def save(past: Past, progress: Progress, directory: RunDirectory) -> None:
    """Saves all that the rest of the run depends on."""
    meta = past.meta() | progress_meta(progress) | {"metrics": directory.logged()}
    directory.save_state(past.phase, progress.step, (progress.state, progress.best), meta)
