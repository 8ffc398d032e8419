"""From a TOML file and what overrides it to a config."""

import functools
import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bss2jax.config.errors import ConfigError, dotted, nearest, shown
from bss2jax.config.explain import explain
from bss2jax.config.tables import Config

_MAX_BYTES = 1_000_000


def load(source: str | Path, overrides: Sequence[str] = ()) -> tuple[Config, str]:
    """Reads a config.

    Args:
        source: path of a TOML file, or the name of a shipped config.
        overrides: `key=value`; dots go into tables and lists, as in `phases.0.epochs=2`. The value
            is TOML, or a plain string where it is not.

    Returns:
        The config and the text of its file.

    Raises:
        ConfigError: the file cannot be read or is not TOML; a key is unknown, missing, of the
            wrong type or out of range.
    """
    try:
        path = _find(source)
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; that is no config")
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also of bytes that are no UTF-8, huge integers
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for each in overrides:
        override(tree, each)
    return _parse(tree, str(path)), text


def shipped() -> dict[str, Path]:
    """Returns the configs that come with the package: name to path."""
    here = Path(__file__).parent.parent
    for directory in (here / "configs", here.parent / "configs"):
        if directory.is_dir():
            return {path.stem: path for path in sorted(directory.glob("*.toml"))}
    return {}


def _find(source: str | Path) -> Path:
    path, known = Path(source), shipped()
    if path.is_file() or path.suffix or path.name != str(source):
        if not path.is_file():
            hint = nearest(path.stem, list(known))
            raise ConfigError(f"{path}: no such file{hint}; `bss2jax configs` lists what ships")
        return path
    if str(source) not in known:
        hint = nearest(str(source), list(known))
        raise ConfigError(
            f"{source}: neither a file nor a shipped config{hint}; "
            "`bss2jax configs` lists what ships"
        )
    return known[str(source)]


def override(tree: Any, given: str) -> None:
    """Sets `key=value` in a tree of tables and lists: see `load`."""
    key, equals, text = given.partition("=")
    parts: list[Any] = key.split(".")
    if not equals or not all(parts) or not key.isprintable():
        raise ConfigError(f"{given!r}: expected key=value, such as phases.0.epochs=2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    for i, part in enumerate(parts):
        if isinstance(tree, list):
            if part not in map(str, range(len(tree))):
                at = ".".join(parts[:i])
                raise ConfigError(f"{key}: {at} has items 0 to {len(tree) - 1}, got {part!r}")
            part = int(part)
        elif not isinstance(tree, dict):
            raise ConfigError(f"{key}: {'.'.join(parts[:i])} is a value, not a table")
        if i == len(parts) - 1:
            tree[part] = value
        else:
            tree = tree.setdefault(part, {}) if isinstance(tree, dict) else tree[part]


def _parse(tree: dict[str, Any], where: str) -> Config:
    _check_values(tree, where, ())
    try:
        # Through JSON, where pydantic's strict mode takes a list for a tuple.
        return _adapter().validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        messages = [explain(e, tree) for e in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(dict.fromkeys(messages))}") from None


@functools.cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _check_values(value: Any, where: str, path: tuple[str, ...]) -> None:
    if len(path) > 20:
        raise ConfigError(f"{where}: {dotted(path[:3])}...: nested too deeply")
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            _check_values(item, where, (*path, str(key)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {dotted(path)}: got {value}, expected a finite number")
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ConfigError(f"{where}: {dotted(path)}: got more than the 64 bits of a TOML integer")
    elif isinstance(value, str) and value.encode(errors="ignore").decode() != value:
        raise ConfigError(f"{where}: {dotted(path)}: got {shown(value)}, expected UTF-8 text")
    elif not isinstance(value, str | int | float):
        raise ConfigError(
            f"{where}: {dotted(path)}: got a {type(value).__name__}, expected text or a number"
        )
