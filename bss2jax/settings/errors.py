"""What is said of a wrong setting: its key, what was got, what was expected, the nearest name."""

import datetime
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

Key = tuple[str | int, ...]


class Wrong(ValueError):
    """Settings are wrong.

    Args:
        faults: the key of each fault, and what was got and expected there.

    Attributes:
        faults: the same.
    """

    def __init__(self, *faults: tuple[Key, str]) -> None:
        said = (f"{key_text(key)}: {text}" if key else text for key, text in faults)
        super().__init__("; ".join(dict.fromkeys(said)))
        self.faults = faults


def refused(key: Key, value: Any, expected: str) -> Wrong:
    """Returns the error of a value that is not what was expected."""
    return Wrong((key, f"got {shown(value)}, expected {expected}"))


def nearest(name: Any, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Returns ` (did you mean 'x'?)` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    if not close:  # of other capitals
        close = [one for one in known if one.lower() == str(name).lower()]
    return f" (did you mean {close[0]!r}?)" if close else ""


def key_text(key: Key) -> str:
    """Joins the parts of a key; what cannot be printed is escaped."""
    return ".".join(part if part.isprintable() else repr(part) for part in map(str, key))


def shown(value: Any) -> str:
    """Returns a value as it was got, cut to what a line can take."""
    if isinstance(value, datetime.date | datetime.time):
        return f"a {type(value).__name__}, {value}"
    try:
        text = " ".join(repr(value).split())
    except (RecursionError, ValueError):  # nested too deeply; an integer of more than 4300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
