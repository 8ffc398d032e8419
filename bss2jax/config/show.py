"""A config as it stands: each key with its meaning, range and default, without those that idle."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from bss2jax.chip.chip import QUANTITIES, SPREADS, Mismatch
from bss2jax.chip.quantities import CHIP, CIRCUIT, COLUMN, DRIVER, INPUT
from bss2jax.config.keys import Key, keys_of
from bss2jax.config.tables import Config
from bss2jax.config.write import inline
from bss2jax.networks.layer import kind_of

_WIDTH = 78


def resolved(config: Config) -> str:
    """Returns a config as TOML that `load` reads back, with a comment above each key.

    Keys that do nothing in this config, and have their default, are left out: `decay` of a schedule
    that does not, mismatch of neurons where there are none. Keys that are not set are comments.

    Args:
        config: as it was read, with what overrides it.
    """
    tables: list[str] = []
    top: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "layers":
            for i, layer in enumerate(value):
                lines = [f'kind = "{kind_of(layer)}"', *_lines(layer, config, "layers")]
                tables.append("\n".join([f"[[layers]] # {i}", *lines]))
        elif field.name == "phases":
            for i, phase in enumerate(value):
                lines = [*_lines(phase, config, "phases")]
                tables.append("\n".join([f"[[phases]] # {i}", *lines]))
        elif dataclasses.is_dataclass(value):
            lines = [*_lines(value, config, field.name)]
            if lines:
                tables.append("\n".join([f"[{field.name}]", *lines]))
        else:
            top += _line(field.name, keys_of(Config)[field.name], value)
    return "\n\n".join(["\n".join(top), *tables]) + "\n"


def _lines(table: Any, config: Config, name: str) -> Iterator[str]:
    """The keys of a table that matter."""
    preset = getattr(Mismatch, config.mismatch.preset)()
    usual = {spread.config: getattr(preset, key) for key, spread in SPREADS.items()}
    for key, described in keys_of(type(table), f"{name}.").items():
        if key == "kind" or "." in key:  # what a choice of tables has within it stands in its line
            continue
        value, default = getattr(table, key), usual.get(f"{name}.{key}", _default(table, key))
        if value != default or _matters(name, key, table, config):
            yield from _line(key, described, value)


def _line(name: str, key: Key, value: Any) -> list[str]:
    """A comment, then the key with its value; of what is not set the key is a comment too."""
    default = f"; default {key.default}" if key.default else ""
    said = f"{key.meaning[:1].upper()}{key.meaning[1:]} [{key.takes}{default}]"
    comment = textwrap.wrap(said, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    if value is None:
        return [*comment, f"# {name} ="]
    if dataclasses.is_dataclass(value):
        value = vars(value)  # with its kind
    return [*comment, f"{name} = {inline(value)}"]


def _default(table: Any, name: str) -> Any:
    return next((f.default for f in dataclasses.fields(table) if f.name == name), None)


def _matters(name: str, key: str, table: Any, config: Config) -> bool:
    """Whether a key does anything, by its table and the rest of the config."""
    families = {layer.family for layer in config.layers}
    spikes = bool(families - {"analog", ""})
    match name:
        case "mismatch" | "noise":
            return _acts(f"{name}.{key}", families)
        case "layers":
            return key not in ("name", "inputs")
        case "data":
            return key not in ("name", "file", "folder")
        case "substrate":
            return False
        case "augment":
            return config.augment.any
        case "conversion":
            return any(layer.rates for layer in config.layers)
        case "objective":
            return spikes or key == "scale"
        case "phases":
            return {
                "decay": table.schedule == "exponential",
                "weight_decay": table.optimizer == "adamw",
                "augment": config.augment.any,
                "noise": table.on_chip,
                "chip": table.on_chip,
            }.get(key, True)
    return True


def _acts(key: str, families: set[str]) -> bool:
    """Whether a spread acts on layers of some families: on neurons, on products, or on both."""
    spread = next((name for name, s in SPREADS.items() if s.config == key), None)
    sites = {q.site for q in QUANTITIES.values() if spread in (q.spread, q.shift)}
    if sites and sites <= {CIRCUIT, INPUT, CHIP}:
        return bool(families - {"analog", ""})
    if sites and sites <= {COLUMN, DRIVER}:
        return "analog" in families
    return True
