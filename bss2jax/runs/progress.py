"""What a person sees of a training: a bar on a terminal, plain lines otherwise."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bss2jax.training import loop

_REFRESH = 0.5  # seconds; reading the loss waits for the device


def say(text: str) -> None:
    """Prints a line about the run."""
    print(text, flush=True)


class Reporter:
    """Prints the progress of one phase. Use it as a context manager.

    Args:
        title: of the phase.
        steps: that it has.
        batch: samples a step.
    """

    def __init__(self, title: str, steps: int, batch: int) -> None:
        self._title, self._batch = title, batch
        self._next = 0.0
        self._bar = None
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(),
            )
            self._task = self._bar.add_task(title, total=steps, figures="")

    def __enter__(self) -> "Reporter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, progress: loop.Progress) -> None:
        """Takes note of a step; the bar's loss and accuracy are the epoch's running means."""
        if self._bar is None or time.monotonic() < self._next:
            return
        state, seen = progress.state, max(1, int(progress.state.taken)) * self._batch
        figures = _figures(float(state.loss) / seen, float(state.correct) / seen)
        self._bar.update(self._task, completed=progress.step, figures=figures)
        self._next = time.monotonic() + _REFRESH

    def epoch(self, epoch: loop.Epoch) -> None:
        """Prints the figures of an epoch."""
        line = (
            f"{self._title}  epoch {epoch.epoch:3d}  loss {epoch.train_loss:.4f}  "
            f"accuracy {epoch.train_accuracy:.2%}  validation {epoch.validation_accuracy:.2%}  "
            f"{epoch.seconds:.1f} s"
        )
        if epoch.skipped:
            line += f"  {epoch.skipped} steps skipped: not finite"
        if self._bar:
            # A short phase ends before its bar was due: the epoch's figures are the bar's too.
            figures = _figures(epoch.train_loss, epoch.train_accuracy)
            self._bar.update(self._task, completed=epoch.step, figures=figures)
            self._bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)


def _figures(loss: float, accuracy: float) -> str:
    """What a bar says of a training."""
    return f"loss {loss:.3f}  accuracy {accuracy:.1%}"
