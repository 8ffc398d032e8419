"""From a config back to TOML, and in what two configs differ."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import tomli_w

from bss2jax.config.tables import Config, Run
from bss2jax.networks.layer import kind_of
from bss2jax.settings import key_text
from bss2jax.training.devices import Devices


def dump(config: Config) -> str:
    """Returns a config as TOML with every default written out; `load` reads it back."""
    return tomli_w.dumps(without_none(_tree(config)))


def differences(first: Config, second: Config) -> list[str]:
    """Returns the keys in which configs differ, with both values; not where runs and chips are."""
    one, other = differing([_compared(first), _compared(second)])
    return [f"{key}: {one[key]!r}, now {other[key]!r}" for key in one]


def differing(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """Returns the keys in which configs differ, with the values of each; None: it has no such key.

    Where runs go, and on how many devices, is left out.
    """
    trees = [_flat(_tree(replace(config, run=Run(), mesh=Devices()))) for config in configs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    told = [key for key in keys if len({repr(tree.get(key)) for tree in trees}) > 1]
    return [{key: tree.get(key) for key in told} for tree in trees]


def _compared(config: Config) -> Config:
    file = None if config.chip.file is None else "a file"
    return replace(config, chip=replace(config.chip, file=file))


def inline(value: Any) -> str:
    """Returns a value as TOML has it within a line."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = without_none(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(k)} = {inline(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _flat(value: Any, key: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The leaves of nested tables and lists, by key."""
    if not isinstance(value, Mapping | list | tuple):
        return {key_text(key): value}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {k: v for name, item in items for k, v in _flat(item, (*key, name)).items()}


def _tree(config: Config) -> dict[str, Any]:
    """A config as nested tables, in which one's own layers say their kind."""
    layers = [{"kind": kind_of(layer)} | dataclasses.asdict(layer) for layer in config.layers]
    return dataclasses.asdict(config) | {"layers": layers}


def without_none(value: Any) -> Any:
    """Returns nested tables and lists without the keys that are None, which TOML has not."""
    if isinstance(value, Mapping):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [without_none(v) for v in value]
    return value
