"""The metrics of a run as events for TensorBoard. Needs tensorboardX: the `tensorboard` extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from bss2jax.extras import require
from bss2jax.runs.directory import RunDirectory, RunError


class Events:
    """Writes what is logged of each epoch; steps count through all phases."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._phase, self._before, self._step = 0, 0, 0

    def log(self, figures: dict[str, Any]) -> None:
        """Writes a record of metrics.jsonl: its numbers, by train, validation and layer."""
        if figures["phase"] != self._phase:
            self._phase, self._before = figures["phase"], self._step
        self._step = self._before + figures["step"]
        for name, value in _scalars(figures):
            self._writer.add_scalar(name, value, self._step)
        self._writer.flush()


def library() -> ModuleType:
    """Imports what writes events.

    Raises:
        MissingExtra: it is not installed.
    """
    return require("tensorboardX", "tensorboard", "--tensorboard")


@contextmanager
def opened(directory: RunDirectory) -> Iterator[Events]:
    """Opens `tensorboard/` in a run's directory, and writes anew what metrics.jsonl holds.

    Args:
        directory: the directory of the run; its metrics end where training goes on.

    Raises:
        MissingExtra: the library is not installed.
        RunError: the events cannot be written.
    """
    path = directory.path / "tensorboard"
    try:
        for old in path.glob("events.out.tfevents.*"):
            old.unlink()
        writer = library().SummaryWriter(str(path))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    with writer:
        events = Events(writer)
        for line in directory.lines():
            events.log(line)
        yield events


def _scalars(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Names and numbers: train_loss as train/loss, a layer's shares as saturation/LAYER/KIND."""
    for name, value in figures.items():
        split, _, quantity = name.partition("_")
        if quantity == "saturation":
            for layer, shares in value.items():
                for kind, share in shares.items():
                    yield f"saturation/{layer}/{kind}", share
        elif split in ("train", "validation"):
            yield f"{split}/{quantity}", value
    yield "seconds/epoch", figures["seconds"]
