"""A report of runs as one HTML page that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from bss2jax.files import place, writing
from bss2jax.report.page import render
from bss2jax.report.plastic import read_plastic, render_plastic
from bss2jax.report.record import Record, read_run
from bss2jax.runs.directory import RunError
from bss2jax.runs.plastic import is_run

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
    plastic = [is_run(path) for path in paths]
    if any(plastic) and not all(plastic):
        raise RunError("runs with and without rules on the chip: a page each, please")
    if all(plastic) and paths:
        page = render_plastic([read_plastic(path) for path in paths])
    else:
        page = render([read_run(path) for path in paths])
    out = place(out)
    try:
        with writing(out) as file:
            # Names from files and of directories may be half of a character.
            file.write(page.encode(errors="backslashreplace"))
    except OSError as error:
        raise RunError(f"{out}: {error.strerror or error}") from None
    return out
