"""A report of runs as one HTML page that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from bss2jax.files import place, writing
from bss2jax.report.page import render
from bss2jax.report.record import Record, read_run
from bss2jax.runs.directory import RunError

__all__ = ["Record", "read_run", "render", "write"]


def write(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Writes the report of some runs, side by side, as one HTML page that needs nothing else.

    Args:
        runs: their directories.
        out: the page's file.

    Returns:
        The path of the page.

    Raises:
        RunError: a directory holds no run or is named twice, or the page cannot be written.
    """
    paths = [Path(run) for run in runs]
    for i, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise RunError(f"{path}: named twice")
    page, out = render([read_run(path) for path in paths]), place(out)
    try:
        with writing(out) as file:
            # Names from files and of directories may be half of a character.
            file.write(page.encode(errors="backslashreplace"))
    except OSError as error:
        raise RunError(f"{out}: {error.strerror or error}") from None
    return out
