"""What is said of a run directory that cannot be used."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class RunError(RuntimeError):
    """A run directory cannot be made, written or read; the message says which and why."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has what goes wrong with a file be a `RunError` that names it."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise RunError(f"{path}: {error}") from None
