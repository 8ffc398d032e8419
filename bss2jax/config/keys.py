"""What keys a config may have: each with what it takes, its default and its meaning."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from typing import Any

from bss2jax.chip.chip import QUANTITIES, SPREADS, Mismatch
from bss2jax.config.tables import Config
from bss2jax.config.write import inline
from bss2jax.networks import LAYERS
from bss2jax.settings import readers_of
from bss2jax.training.phase import Phase

_ENTRY = r"^    (\S[^:]*): ((?:.*\n?)(?:      +.*\n?)*)"  # of a docstring: names, what they mean

_MANY = 20  # kinds of layers that have a key, of which none is then named


@dataclass(frozen=True)
class Key:
    """A key of a config.

    Attributes:
        name: the key with its tables, N for a number, such as `phases.N.epochs`.
        takes: what it may be set to, in words.
        default: its default as TOML; empty where it has to be given, or is left out.
        required: whether it has to be given.
        meaning: what it does.
        kinds: the kinds of tables that have it; empty where all have.
    """

    name: str
    takes: str
    default: str
    required: bool
    meaning: str
    kinds: tuple[str, ...] = ()

    @property
    def of(self) -> str:
        """What has it, in words, "" for what all have: kinds of layers, or of tables in them."""
        layers: list[Any] = list(LAYERS)
        within = [kind for kind in self.kinds if kind not in {layer.kind for layer in layers}]
        return "every layer" if len(self.kinds) >= _MANY else ", ".join(within or self.kinds)


@cache
def keys() -> tuple[Key, ...]:
    """Returns all keys of configs; those of layers that say the same stand together."""
    together: dict[tuple[Any, ...], Key] = {}
    for key in _of(Config, ""):
        same = dataclasses.astuple(dataclasses.replace(key, kinds=()))
        known = together.get(same)
        kinds = (*(known.kinds if known else ()), *key.kinds)
        together[same] = dataclasses.replace(key, kinds=tuple(dict.fromkeys(kinds)))
    return tuple(together.values())


def matching(pattern: str) -> list[Key]:
    """Returns the keys of a kind of layer, or whose name or meaning fits a pattern.

    Args:
        pattern: a kind, such as `lif`; a name with `*`; or a part of a name or meaning.
    """
    found = [key for key in keys() if pattern in key.kinds]
    if not found:
        found = [k for k in keys() if fnmatch(k.name, pattern) or pattern in k.name]
    return found or [key for key in keys() if pattern.lower() in key.meaning.lower()]


def keys_of(kind: Any, table: str = "") -> dict[str, Key]:
    """Returns the keys of one table by the names that they have in it.

    Args:
        kind: the dataclass that the table is read as.
        table: its name in a config, with a dot behind it.
    """
    return {key.name.removeprefix(table): key for key in _fields(kind, table, ())}


def _of(kind: Any, before: str) -> Iterator[Key]:
    """The keys of a config, those of its tables behind them."""
    for field in dataclasses.fields(kind):
        inner = _hints(kind)[field.name]
        if dataclasses.is_dataclass(inner):
            yield from _fields(inner, f"{field.name}.", ())
        elif field.name == "layers":
            for layer in LAYERS:
                kind_of_layer: Any = layer
                yield from _fields(layer, "layers.N.", (kind_of_layer.kind,))
        elif field.name == "phases":
            yield from _fields(Phase, "phases.N.", ())
        else:
            yield _key(kind, field, before, ())


def _fields(kind: Any, before: str, kinds: tuple[str, ...]) -> Iterator[Key]:
    for field in dataclasses.fields(kind):
        if field.init and not (kinds and field.name == "kind"):
            yield _key(kind, field, before, kinds)
            for choice in _choices(_hints(kind)[field.name]):
                yield from _fields(choice, f"{before}{field.name}.", (*kinds, choice.kind))
            for item in _items(_hints(kind)[field.name]):
                yield from _fields(item, f"{before}{field.name}.N.", kinds)


def _key(kind: Any, field: Any, before: str, kinds: tuple[str, ...]) -> Key:
    missing = dataclasses.MISSING
    required = field.default is missing and field.default_factory is missing
    default = "" if required or field.default is None else _value(field.default)
    spread = next((n for n, s in SPREADS.items() if s.config == f"{before}{field.name}"), None)
    meaning = meanings(kind).get(field.name) or _comments(kind).get(field.name, "")
    if spread is not None:
        meaning, default = _spread(spread), f"{getattr(Mismatch(), spread):g}"
    elif field.name == "preset":
        meaning = "spreads that all others start from: of calibrated chips or not, or none."
    # What follows is an object of Python's.
    takes = re.sub(r", or a [A-Z]\w+$", "", readers_of(kind)[field.name].expected)
    return Key(f"{before}{field.name}", takes, default, required, meaning, kinds)


def _spread(name: str) -> str:
    """What a field of `Mismatch` says of chips, with its unit."""
    declared = SPREADS[name]
    if declared.meaning:
        return f"{declared.meaning}, {declared.unit}."
    (of,) = (q for q in QUANTITIES.values() if q.spread == name)
    return f"{of.kind.varying(of.meaning, of.site)}, {of.kind.unit}."


def _value(value: Any) -> str:
    """A default as TOML: of a choice of tables its kind."""
    return inline(vars(value) if dataclasses.is_dataclass(value) else value)


def _choices(hint: Any) -> list[Any]:
    """The tables among which `kind` chooses, of a field's type."""
    found = [hint, *typing.get_args(hint)]
    inner = [each for one in found for each in typing.get_args(one)]
    tables = [each for each in dict.fromkeys([*found, *inner]) if dataclasses.is_dataclass(each)]
    return [table for table in tables if hasattr(table, "kind")]


def _items(hint: Any) -> list[Any]:
    """The tables that a field is a list of, without a choice among them."""
    listed = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    inner = typing.get_args(listed) if typing.get_origin(listed) is tuple else ()
    return [one for one in inner if dataclasses.is_dataclass(one) and not hasattr(one, "kind")]


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


@cache
def _comments(kind: Any) -> dict[str, str]:
    """What stands behind a class's fields in its source, by name."""
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # of a class that was made, not written
        return {}
    return dict(re.findall(r"^    (\w+): [^#\n]*# (.*)$", source, re.MULTILINE))


@cache
def meanings(kind: Any) -> dict[str, str]:
    """Returns what a class and its bases say of their attributes, by name."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
        for names, meaning in re.findall(_ENTRY, section[1] if section else "", re.M):
            shared = [name.strip() for name in names.split(",")]
            # What several share is read as it stands: each of them in its turn.
            said = f"{f'{names}: ' if shared[1:] else ''}{' '.join(meaning.split())}"
            found |= dict.fromkeys(shared, said)
    return found
