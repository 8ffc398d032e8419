"""What a person sees of a command: lines that stay, and on a terminal one line that moves."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from bss2jax.text import table

Part = str | tuple[str, str]  # text, or text with the style that a terminal gives it

_REFRESH = 4  # times a second that a terminal's moving line is drawn
_PATIENCE = 2.0  # seconds after which a stage is named where there is no such line
_PAUSE = 10.0  # seconds between two lines of a bar there


class Bar(Protocol):
    """What a piece of work of known length says of itself."""

    def update(self, done: int, total: int | None = None, figures: str = "") -> None:
        """Takes note of how much is done, of how much, and of figures that stand behind the bar."""


class Window:
    """Where a command says what goes on and what came out.

    Lines go to the standard output. Stages and bars are a moving line where that is a terminal, and
    lines of the standard error, few of them, where it is a file or a pipe.

    Args:
        level: -1 for results alone, 0 as usual, 1 for details too.
    """

    def __init__(self, level: int = 0) -> None:
        self.level = level
        self.terminal = sys.stdout.isatty()
        self._live: Any = None

    def say(self, *parts: Part) -> None:
        """Prints a line, unless results alone are wanted."""
        if self.level >= 0:
            self._print(*parts)

    def detail(self, *parts: Part) -> None:
        """Prints a line where details are wanted."""
        if self.level > 0:
            self._print(*parts)

    def result(self, *parts: Part) -> None:
        """Prints a line, always."""
        self._print(*parts)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints rows of text under a header, within the columns of a terminal."""
        width = shutil.get_terminal_size().columns if self.terminal else None
        head, rule, *lines = table(header, rows, width).splitlines()
        self._print((head, "bold"))
        self._print((rule, "dim"))
        for line in lines:
            self._print(line)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Names what goes on while its body runs, which takes nobody knows how long."""
        begun = time.perf_counter()
        with self._moving(name, None) if self.terminal else self._patient(name):
            yield
        self.detail((f"{name}, {time.perf_counter() - begun:.1f} s", "dim"))

    @contextmanager
    def bar(self, name: str, total: int = 1) -> Iterator[Bar]:
        """Shows how much of a piece of work is done while its body runs."""
        if self.level >= 0 and self.terminal:
            with self._moving(name, total) as bar:
                yield bar
        else:
            yield _Lines(name, total, self.level < 0)

    def _print(self, *parts: Part) -> None:
        if not self.terminal:
            print("".join(part if isinstance(part, str) else part[0] for part in parts), flush=True)
            return
        from rich.console import Console
        from rich.text import Text

        console = self._live.console if self._live else Console()
        console.print(Text.assemble(*parts), soft_wrap=True, highlight=False)

    @contextmanager
    def _moving(self, name: str, total: int | None) -> Iterator["_Moving"]:
        """A line that moves as long as the body runs, and then is gone."""
        from rich.console import Console
        from rich.progress import Progress

        before, quiet = self._live, self.level < 0
        if before is not None:
            before.stop()
        columns = _bar_columns() if total else _stage_columns()
        self._live = Progress(
            *columns, console=Console(quiet=quiet), transient=True, refresh_per_second=_REFRESH,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        task = self._live.add_task(name, total=total, figures="")
        self._live.start()
        try:
            yield _Moving(self._live, task)
        finally:
            self._live.stop()
            self._live = before
            if before is not None:
                before.start()

    @contextmanager
    def _patient(self, name: str) -> Iterator[None]:
        """A line once the body has run for long."""
        timer = threading.Timer(_PATIENCE, lambda: print(f"{name} ...", file=sys.stderr))
        timer.daemon = True
        if self.level >= 0:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()


class _Moving:
    """A bar on a terminal."""

    def __init__(self, live: Any, task: Any) -> None:
        self._live, self._task = live, task

    def update(self, done: int, total: int | None = None, figures: str = "") -> None:
        self._live.update(self._task, completed=done, total=total, figures=figures)


class _Lines:
    """A bar as lines of the standard error, one every now and then."""

    def __init__(self, name: str, total: int, quiet: bool) -> None:
        self._name, self._total, self._quiet = name, total, quiet
        self._next = time.monotonic() + _PAUSE

    def update(self, done: int, total: int | None = None, figures: str = "") -> None:
        self._total = total or self._total
        if not self._quiet and time.monotonic() >= self._next:
            print(f"{self._name} {done}/{self._total} {figures}".rstrip(), file=sys.stderr)
            self._next = time.monotonic() + _PAUSE


def _stage_columns() -> list[Any]:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    return [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]


def _bar_columns() -> list[Any]:
    """Columns that leave 27 of a terminal's 80 places to the figures."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    ]
