"""Pictures that commands write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bss2jax.cli.arguments import CallError


def write_picture(draw: Callable[[], Any], path: Path) -> None:
    """Draws a picture and writes it as a PNG, without LaTeX whatever the user's style asks for.

    Args:
        draw: returns the figure.
        path: the path of the file.

    Raises:
        CallError: the file cannot be written.
    """
    import matplotlib

    from bss2jax import plot

    try:
        with matplotlib.rc_context({"text.usetex": False}):
            plot.save(draw(), path)
    except OSError as error:
        raise CallError(f"{path}: {error.strerror or error}") from None
