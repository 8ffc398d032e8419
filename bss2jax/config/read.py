"""From a TOML file and what overrides it to a config."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bss2jax.config.errors import ConfigError
from bss2jax.config.tables import Config
from bss2jax.files import place, text_of
from bss2jax.settings import UNSET, Key, Wrong, nearest, read

_MAX_BYTES = 1_000_000
Kind = TypeVar("Kind")


def load(source: str | Path, overrides: Sequence[str] = ()) -> tuple[Config, str]:
    """Reads a config of a network that is trained.

    Paths in the file start at its directory, paths in overrides where the process is.

    Args:
        source: path of a TOML file, or the name of a shipped config.
        overrides: `key=value`; dots go into tables and lists, as in `phases.0.epochs=2`. The value
            is TOML, or a plain string where it is not; without one, as in `phases.0.max_steps=`,
            the key is set back to its default.

    Returns:
        The config and the text of its file.

    Raises:
        ConfigError: the file cannot be read or is not TOML; a key is unknown, missing, of the
            wrong type or out of range.
    """
    tree, text, where = tree_of(source, overrides)
    if is_plastic(tree):
        raise ConfigError(f"{source}: rules that run on the chip; only train and report take it")
    return parsed(Config, tree, where, overrides), text


def is_plastic(tree: Mapping[str, Any]) -> bool:
    """Returns whether a tree of tables is a config of hybrid plasticity: whether it has rules."""
    return "rules" in tree


def tree_of(source: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str, str]:
    """Reads the tables of a config: see `load` for the arguments.

    Returns:
        The tree with what overrides it, the text of the file, and by what an error calls it.
    """
    path = _find(source)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; that is no config")
        text = text_of(content)
        tree = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:  # also of bytes that are no text, huge integers
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    _place(tree, path.parent)
    for each in overrides:
        override(tree, each)
    _place(tree, Path())
    where = str(path)
    if where in _known():
        where += f", which hides the config that ships as {where!r}"
    return tree, text, where


def shipped(within: str = "") -> dict[str, Path]:
    """Returns the configs that come with the package: name to path.

    Args:
        within: `plastic` for those of hybrid plasticity.
    """
    here = Path(__file__).parent.parent
    for directory in (here / "configs", here.parent / "configs"):
        if directory.is_dir():
            return {path.stem: path for path in sorted((directory / within).glob("*.toml"))}
    return {}


def _known() -> dict[str, Path]:
    """The configs that ship, of either kind."""
    return shipped() | shipped("plastic")


def _find(source: str | Path) -> Path:
    """The file that is meant: by its path, or by the name of what ships."""
    known = _known()
    try:
        path = place(source) if str(source) else Path()
        if path.exists() and not path.is_dir():
            return path
        is_directory = bool(str(source)) and path.is_dir()
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    if str(source) in known:
        return known[str(source)]
    hint = nearest(path.stem, list(known))
    advice = f"{hint}; `bss2jax configs` lists what ships"
    if is_directory:
        raise ConfigError(f"{path}: a directory; expected the TOML file of a config{advice}")
    named = path.suffix or path.name != str(source)
    what = "no such file" if named else "neither a file nor a shipped config"
    raise ConfigError(f"{path if named else source}: {what}{advice}")


def _place(tree: dict[str, Any], folder: Path) -> None:
    """Has the paths in a tree of tables start at a folder; what is no path stays as it is."""
    phases = tree.get("phases")
    places: list[tuple[Any, str]] = [(tree, "start")]
    for key in ("chip.file", "data.file", "data.folder", "run.dir"):
        places.append((tree.get(key.partition(".")[0]), key))
    for i, phase in enumerate(phases if isinstance(phases, list) else []):
        places.append((phase, f"phases.{i}.start"))
    for table, key in places:
        name = key.rpartition(".")[2]
        path = table.get(name) if isinstance(table, dict) else None
        if isinstance(path, str) and path and "\0" not in path:
            try:
                table[name] = str(folder / place(path))
            except OSError as error:
                raise ConfigError(f"{key}: {path!r}: {error.strerror}") from None


def override(tree: Any, given: str) -> None:
    """Sets `key=value` in a tree of tables and lists: see `load`."""
    key, equals, text = given.partition("=")
    parts: list[Any] = key.split(".")
    if not equals or not all(parts) or not key.isprintable():
        raise ConfigError(f"{given!r}: expected key=value, such as phases.0.epochs=2")
    value: Any = UNSET
    if text:
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


def parsed(kind: type[Kind], tree: dict[str, Any], where: str, overrides: Sequence[str]) -> Kind:
    """Returns the config of a tree; what is wrong in an override is not said to be in the file.

    Args:
        kind: the dataclass of the config.
        tree, where: of `tree_of`.
        overrides: as of `load`.

    Raises:
        ConfigError: as of `load`.
    """
    try:
        return read(kind, tree)
    except Wrong as error:
        given = [tuple(each.partition("=")[0].split(".")) for each in overrides]
        heads = {where for key, _ in error.faults if not _within(key, given)}
        raise ConfigError(": ".join([*heads, str(error)])) from None


def _within(key: Key, others: Sequence[tuple[str, ...]]) -> bool:
    """Whether a key, or a part of what it holds, is among others."""
    parts = tuple(map(str, key))
    return any(all(a == b for a, b in zip(parts, other)) for other in others)
