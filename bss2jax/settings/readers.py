"""Readers of fields: an annotation as a function that takes or refuses a value."""

import dataclasses
import datetime
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.settings.errors import Key, Wrong, nearest, refused

Kind = TypeVar("Kind")


class _Unset:
    def __repr__(self) -> str:
        return "nothing"


# In a table: the value that sets a key back to its default, and takes an item out of a list.
UNSET = _Unset()


@dataclass(frozen=True)
class Where:
    """A condition in an annotation.

    Attributes:
        holds: whether it does, of a value.
        expected: what it asks for, in words.
    """

    holds: Callable[[Any], bool]
    expected: str


@dataclass(frozen=True)
class Reader:
    """How a field is read; in an annotation it replaces that of the type.

    Attributes:
        expected: what the field takes, in words.
        take: `take(value, key)` returns what the field is set to.
    """

    expected: str
    take: Callable[[Any, Key], Any]


def read(kind: type[Kind], table: Any, key: Key = (), *, strict: bool = True) -> Kind:
    """Makes a setting of a table.

    Args:
        kind: the dataclass.
        table: values by the names of its fields; nested tables for nested dataclasses.
        key: where the table stands, for messages.
        strict: whether a name that is no field is refused; else it is passed over.

    Raises:
        Wrong: names are missing or unknown, or values are not what the annotations say.
    """
    if not isinstance(table, Mapping):
        raise refused(key, table, "a table")
    faults: list[tuple[Key, str]] = []
    values, readers = {}, readers_of(kind)  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in readers:
            if strict:
                faults.append(((*key, name), _unknown(name, kind)))
        elif value is not UNSET:
            try:
                values[name] = readers[name].take(value, (*key, name))
            except Wrong as error:
                faults.extend(error.faults)
    for name in _required(kind):
        if name not in table or table[name] is UNSET:
            faults.append(((*key, name), "missing"))
    if faults:
        raise Wrong(*faults)
    try:
        return kind(**values)
    except Wrong as error:
        raise Wrong(*(((*key, *at), said) for at, said in error.faults)) from None
    except ValueError as error:
        raise Wrong((key, str(error))) from None


def tagged(kinds: Sequence[Any], value: Any, key: Key) -> Any:
    """Returns one of several dataclasses, or reads a table into the one that its `kind` names.

    Raises:
        Wrong: it is neither, or as `read`.
    """
    if isinstance(value, tuple(kinds)):
        return _table(type(value), value, key)
    if not isinstance(value, Mapping):
        raise refused(key, value, "a table")
    known, tag = {kind.kind: kind for kind in kinds}, value.get("kind")
    if "kind" not in value:
        raise Wrong(((*key, "kind"), f"missing; expected one of {', '.join(known)}"))
    if tag not in list(known):
        raise refused((*key, "kind"), tag, f"one of {', '.join(known)}{nearest(tag, known)}")
    return read(known[tag], value, key)


@cache
def readers_of(kind: Any) -> dict[str, Reader]:
    """Returns the reader of each field of a dataclass that can be given, by name."""
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError:  # annotations as text, of names that are known within a function only
        hints = {}
    given = [field.name for field in dataclasses.fields(kind) if field.init]
    return {name: reader_of(hints.get(name, Any)) for name in given}


@cache
def reader_of(hint: Any) -> Reader:
    """Returns the reader of a type, with the conditions of its annotation."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _bounded(inner[0], hint.__metadata__)
    if origin is typing.Literal:
        return _choice(inner)
    if origin in (typing.Union, types.UnionType):
        return _either(inner)
    if origin is tuple:
        return _list(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _names(reader_of(inner[1]))
    if hint in _PLAIN:
        return Reader(_PLAIN[hint].expected, _PLAIN[hint].take)
    if dataclasses.is_dataclass(hint):
        return Reader("a table", partial(_table, hint))
    if getattr(hint, "_is_runtime_protocol", False):
        return Reader(f"a {hint.__name__}", partial(_like, hint))
    return Reader("anything", lambda value, key: value)


def _unknown(name: str, kind: Any) -> str:
    known = list(readers_of(kind))
    of = f" of a {kind.kind}" if isinstance(getattr(kind, "kind", None), str) else ""
    return f"unknown key{of}{nearest(name, known)}; known: {', '.join(known)}"


def _required(kind: Any) -> list[str]:
    missing = dataclasses.MISSING
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is missing and field.default_factory is missing
    ]


def _plain(value: Any) -> Any:
    """A number of NumPy or JAX as one of Python's; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except TypeError:  # traced, so not known
            return value
    return value


def _integer(value: Any, key: Key) -> int:
    value = _plain(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refused(key, value, "an integer")
    if value.bit_length() > 63:
        raise Wrong((key, "got more than the 64 bits of a TOML integer"))
    return value


def _real(value: Any, key: Key) -> float:
    value = _plain(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refused(key, value, "a finite number")
    if isinstance(value, int):
        _integer(value, key)
    if not math.isfinite(value):
        raise refused(key, value, "a finite number")
    return float(value)


def _text(value: Any, key: Key) -> str:
    if not isinstance(value, str):
        raise refused(key, value, text_instead(value))
    if value.encode(errors="ignore").decode() != value:
        raise refused(key, value, "UTF-8 text")
    return value


def text_instead(value: Any) -> str:
    """Returns, in words, the text that may have been meant by a value of another type."""
    if not isinstance(value, bool | int | float | datetime.date | datetime.time):
        return "text"
    word = str(value).lower() if isinstance(value, bool) else str(value)
    return f'text in quotes: "{word}", in a shell \'"{word}"\''


def _truth(value: Any, key: Key) -> bool:
    value = _plain(value)
    if not isinstance(value, bool):
        raise refused(key, value, "true or false")
    return value


def _nothing(value: Any, key: Key) -> None:
    if value is not None and value != "none":
        raise refused(key, value, "none")


_PLAIN = {
    int: Reader("an integer", _integer),
    float: Reader("a finite number", _real),
    str: Reader("text", _text),
    bool: Reader("true or false", _truth),
    types.NoneType: Reader("none", _nothing),
}


def _table(kind: Any, value: Any, key: Key) -> Any:
    """One dataclass: made of a table, or looked at where it is one already."""
    table = value
    if isinstance(value, kind):
        table = {name: getattr(value, name) for name in readers_of(kind)}
    return read(kind, table, key)


def _like(protocol: type, value: Any, key: Key) -> Any:
    if isinstance(value, type) or not isinstance(value, protocol):
        raise refused(key, value, f"a {protocol.__name__}")
    return value


def _choice(known: tuple[Any, ...]) -> Reader:
    words = [repr(one) for one in known]
    expected = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)

    def take(value: Any, key: Key) -> Any:
        if not isinstance(value, str) or value not in known:
            raise refused(key, value, expected + nearest(value, known))
        return value

    return Reader(expected, take)


def _either(hints: tuple[Any, ...]) -> Reader:
    tables: list[Any] = [hint for hint in hints if dataclasses.is_dataclass(hint)]
    readers = [reader_of(hint) for hint in hints]
    words = dict.fromkeys(r.expected for r in readers if r.expected != "none")
    if tables[1:]:
        kinds = ", ".join(table.kind for table in tables)
        words = {
            w if w != "a table" else f"a table whose kind is one of {kinds}": None for w in words
        }
    expected = ", or ".join(words)

    def take(value: Any, key: Key) -> Any:
        if tables and isinstance(value, (Mapping, *tables)):
            return tagged(tables, value, key) if tables[1:] else _table(tables[0], value, key)
        said: list[tuple[Key, str]] = []
        for reader in readers:
            try:
                return reader.take(value, key)
            except Wrong as error:
                said += error.faults
        within = [fault for fault in said if len(fault[0]) > len(key)]
        if len(words) == 1:
            raise Wrong(*(fault for fault in said if not fault[1].endswith("expected none")))
        if within:  # an item of a list, or of a table, is what is wrong
            raise Wrong(*within)
        hints = (text.partition(" (did you ")[1:] for _, text in said)
        raise refused(key, value, expected + next((a + b for a, b in hints if a), ""))

    return Reader(expected, take)


def _list(hints: tuple[Any, ...]) -> Reader:
    endless = hints[1:] == (Ellipsis,)
    readers = [reader_of(hint) for hint in hints if hint is not Ellipsis]
    number = "" if endless else f"{len(readers)} "
    expected = f"a list of {number}{_several(readers[0].expected)}"

    def take(value: Any, key: Key) -> tuple:
        items = value.tolist() if getattr(value, "ndim", 0) == 1 else value
        if not isinstance(items, list | tuple):
            raise refused(key, value, expected)
        items = [item for item in items if item is not UNSET]
        if not endless and len(items) != len(readers):
            raise refused(key, value, expected)
        each = readers * len(items) if endless else readers
        taken: list[Any] = []
        faults: list[tuple[Key, str]] = []
        for i, (reader, item) in enumerate(zip(each, items)):
            try:
                taken.append(reader.take(item, (*key, i)))
            except Wrong as error:
                faults.extend(error.faults)
        if faults:
            raise Wrong(*faults)
        return tuple(taken)

    return Reader(expected, take)


def _several(expected: str) -> str:
    """What each of several takes, in words: `a finite number > 0` as `finite numbers > 0`."""
    plural = re.sub(r"^(?:an? )?(integer|finite number|text|table)\b", r"\1s", expected)
    return plural.replace("that is not", "that are not")


def _names(reader: Reader) -> Reader:
    expected = f"a table with {reader.expected} by name"

    def take(value: Any, key: Key) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise refused(key, value, expected)
        given = {name: each for name, each in value.items() if each is not UNSET}
        return {_text(name, key): reader.take(each, (*key, name)) for name, each in given.items()}

    return Reader(expected, take)


def _bounded(hint: Any, conditions: tuple[Any, ...]) -> Reader:
    """The reader of a type with conditions."""
    for condition in conditions:
        if isinstance(condition, Reader):
            return condition
    reader = reader_of(hint)
    tests = [found for condition in conditions if (found := _test(condition)) is not None]
    expected = " and ".join(dict.fromkeys(test.expected for test in tests if test.expected))
    whole = f"{reader.expected} {expected}".strip()
    if any(isinstance(condition, Where) for condition in conditions):
        whole = expected

    def take(value: Any, key: Key) -> Any:
        taken = reader.take(value, key)
        if not all(test.holds(taken) for test in tests):
            raise refused(key, value, whole)
        return taken

    return Reader(whole, take)


def _test(condition: Any) -> Where | None:
    """A condition of an annotation as a test; None: it is for others."""
    match condition:
        case Where():
            return condition
        case Ge(ge=bound):
            return Where(partial(operator.le, bound), _beyond(">=", bound))
        case Gt(gt=bound):
            return Where(partial(operator.lt, bound), _beyond(">", bound))
        case Le(le=bound):
            return Where(partial(operator.ge, bound), _beyond("<=", bound))
        case Lt(lt=bound):
            return Where(partial(operator.gt, bound), _beyond("<", bound))
        case MinLen(min_length=1):
            return Where(bool, "that is not empty")
    return None


def _beyond(sign: str, bound: Any) -> str:
    number = f"{bound:g}" if isinstance(bound, float) else bound
    return f"{sign} {number}" if math.isfinite(bound) else ""
