"""What is said of a wrong config."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class ConfigError(ValueError):
    """A config is wrong; the message names the key, what it got and what was expected."""


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def dotted(path: Iterable[Any]) -> str:
    """Returns the parts of a key, joined; what cannot be printed is escaped."""
    return ".".join(part if part.isprintable() else repr(part) for part in map(str, path))


def shown(value: Any) -> str:
    """Returns a value as it was got, cut to what a line can take."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
