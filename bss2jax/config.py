"""Experiment configs: TOML, read strictly into frozen dataclasses."""

import dataclasses
import difflib
import functools
import json
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, make_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Tag,
    TypeAdapter,
    ValidationError,
)

from bss2jax.chip.chip import SPREADS, Mismatch
from bss2jax.networks import LAYERS, Conversion, Layer
from bss2jax.networks.layer import kind_of, own_class
from bss2jax.training.phase import Augmentation, Objective, Phase

_STRICT = {"extra": "forbid"}
_MAX_BYTES = 1_000_000
# What to say in the words of TOML, where pydantic has others.
_EXPECTED = {
    "dataclass_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list",
    "too_short": "{min_length} or more items",
    "too_long": "{max_length} items or fewer",
    "string_too_short": "some text",
}
Preset = Literal["calibrated", "uncalibrated", "none"]
_PRESETS = typing.get_args(Preset)
Finite = Annotated[float, Gt(-float("inf")), Lt(float("inf"))]
Scale = Annotated[float, Gt(0), Lt(float("inf"))]
Seed = Annotated[int, Ge(0), Lt(2**32)]


class ConfigError(ValueError):
    """A config is wrong; the message names the key, what it got and what was expected."""


def _amount(value):
    if not (0 < value < 1 or (value >= 1 and value == int(value))):
        raise ValueError("a share between 0 and 1, or a whole number of samples")
    return value


def _file_name(value):
    if not value or "/" in value or value.startswith(".") or not value.isprintable():
        raise ValueError("a file name: printable, not empty, without '/' and no '.' in front")
    return value


def _path(value):
    if not value or "\0" in value:
        raise ValueError("a path")
    return value


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which data set, and what validates.

    Attributes:
        name: of the set.
        validation: samples of the training split, or a share of it below 1, whole persons where the
            set says who a sample is from. By default the set's own validation split, which is not
            used otherwise; a tenth of the training split where it has none.
        offset, full_scale: the value that means 0, and what added to it means 1, in the set's own
            units; one for all, or one for each channel. By default 0 and what the set says. What
            lies beyond is clipped where a chip's inputs are.
    """

    __pydantic_config__ = _STRICT

    name: Annotated[str, MinLen(1)]
    validation: Annotated[float, AfterValidator(_amount)] | None = None
    offset: Finite | tuple[Finite, ...] = 0.0
    full_scale: Scale | tuple[Scale, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ChipSeed:
    """Which chip: the seed of its fixed pattern, independent of the run's seed, or a file.

    Attributes:
        seed: of the pattern; other chips of the run are those of the seeds that follow.
        file: that `bss2jax chip` wrote; the run's own chip, in place of the seed's.
    """

    __pydantic_config__ = _STRICT

    seed: Seed = 0
    file: Annotated[str, AfterValidator(_path)] | None = None


def _declared(table: str, *others: tuple[str, Any, Any]) -> Any:
    """A dataclass with a number, or None, for each field of `Mismatch` that is in a table."""
    numbers = [
        (key, Annotated[float, Ge(spread.least), Le(spread.most)] | None, None)
        for spread in SPREADS.values()
        for place, key in [spread.config.split(".")]
        if place == table
    ]
    return make_dataclass(table, [*others, *numbers], frozen=True, kw_only=True)


_Mismatch: Any = _declared("mismatch", ("preset", Preset, "calibrated"))
_Noise: Any = _declared("noise")


@dataclass(frozen=True, kw_only=True)
class Spreads(_Mismatch):
    """How far chips spread: a `preset` of `bss2jax.Mismatch`, and what differs from it.

    Its other keys are the fields of `Mismatch`, but for the noise, which has a table of its own.
    """

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, kw_only=True)
class Noise(_Noise):
    """Trial-to-trial noise, by default that of the preset.

    Its keys are those that fields of `Mismatch` are declared with, such as `std` of `noise_std`.
    """

    __pydantic_config__ = _STRICT


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where the run goes, and how often it saves what it needs to go on after a stop.

    Attributes:
        dir: by default `runs/NAME-k` with the first free k.
        checkpoint_seconds, checkpoint_steps: the most time, and steps, between two checkpoints.
        checkpoints: how many are kept.
    """

    __pydantic_config__ = _STRICT

    dir: Annotated[str, AfterValidator(_path)] | None = None
    checkpoint_seconds: Annotated[float, Gt(0), Lt(float("inf"))] = 30.0
    checkpoint_steps: Annotated[int, Ge(1)] | None = None
    checkpoints: Annotated[int, Ge(1)] = 2


def _kind(table: Any) -> str | None:
    """What a layer's table is read as: its kind, or `own` where that is a class's dotted name."""
    kind = table.get("kind") if isinstance(table, Mapping) else getattr(table, "kind", "own")
    return "own" if isinstance(kind, str) and ":" in kind else kind


def _own_layer(table: Any) -> Any:
    """Reads the table of one's own layer."""
    if not isinstance(table, Mapping):
        raise ValueError("a table")
    kind = table["kind"]
    own = TypeAdapter(own_class(kind))
    rest = {key: value for key, value in table.items() if key != "kind"}
    try:
        # Through JSON, as in `_parse`.
        return own.validate_json(json.dumps(rest), strict=True)
    except ValidationError as error:
        said = (f"{_key(e['loc'])}: {e['msg']}" for e in error.errors())
        raise ValueError(f"a table of {kind}: {'; '.join(said)}") from None


if TYPE_CHECKING:
    AnyLayer = Layer
else:
    AnyLayer = Annotated[
        typing.Union[
            (
                *(Annotated[layer, Tag(kind_of(layer))] for layer in LAYERS),
                Annotated[Any, BeforeValidator(_own_layer), Tag("own")],
            )
        ],
        Discriminator(_kind),
    ]


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment.

    Attributes:
        name: names the run directory.
        description: one line for `bss2jax configs`.
        seed: of initialisation, order, validation split, augmentation and noise.
        data: which set, and what validates.
        chip: the seed or the file of its fixed pattern.
        mismatch, noise: how far chips spread, and what differs from trial to trial.
        layers: of the network, each behind the one before it or behind its `inputs`.
        conversion: how a network of rates runs as spikes.
        objective, augment: what is minimised, and how images are changed.
        start: the directory of a finished run with the same layers, whose final parameters are
            those that training starts from; by default they are drawn.
        phases: of the training.
        run: where it goes.
    """

    __pydantic_config__ = _STRICT

    name: Annotated[str, AfterValidator(_file_name)]
    description: str = ""
    seed: Seed = 0
    data: Data
    chip: ChipSeed = ChipSeed()
    mismatch: Spreads = Spreads()
    noise: Noise = Noise()
    layers: Annotated[tuple[AnyLayer, ...], MinLen(1)]
    conversion: Conversion = Conversion()
    objective: Objective = Objective()
    augment: Augmentation = Augmentation()
    start: Annotated[str, AfterValidator(_path)] | None = None
    phases: Annotated[tuple[Phase, ...], MinLen(1)]
    run: Run = Run()

    def __post_init__(self) -> None:
        # What was left to the preset is written out: the config says all of it.
        preset = getattr(Mismatch, self.mismatch.preset)()
        for name, spread in SPREADS.items():
            table, key = spread.config.split(".")
            if getattr(given := getattr(self, table), key) is None:
                whole = dataclasses.replace(given, **{key: getattr(preset, name)})
                object.__setattr__(self, table, whole)

    @property
    def spreads(self) -> Mismatch:
        """What `sample_chip` takes: the spreads and the noise."""
        return Mismatch(**{n: attrgetter(s.config)(self) for n, s in SPREADS.items()})


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
    for override in overrides:
        _override(tree, override)
    return _parse(tree, str(path)), text


@dataclass(frozen=True)
class Specimen:
    """One chip to draw.

    Attributes:
        seed: its number.
        mismatch: its spreads.
        measured: a file with what was measured of it, or None.
    """

    seed: int
    mismatch: Mismatch
    measured: str | None


def load_specimen(overrides: Sequence[str]) -> Specimen:
    """Reads a chip from `key=value`: `seed`, `preset`, `measured`, and the fields of `Mismatch`.

    Raises:
        ConfigError: a key is unknown, or a value out of range.
    """
    tree: dict[str, Any] = {}
    for override in overrides:
        _override(tree, override)
    seed, preset = tree.pop("seed", 0), tree.pop("preset", "calibrated")
    measured, known = tree.pop("measured", None), ["seed", "preset", "measured", *SPREADS]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed: got {_show(seed)}, expected an integer from 0 to 4294967295")
    if preset not in _PRESETS:
        hint = nearest(str(preset), _PRESETS)
        raise ConfigError(
            f"preset: got {_show(preset)}, expected one of {', '.join(_PRESETS)}{hint}"
        )
    for key in tree:
        if key not in known:
            hint = nearest(key, known)
            raise ConfigError(f"{key}: unknown key{hint}; known: {', '.join(known)}")
    try:
        mismatch = dataclasses.replace(getattr(Mismatch, preset)(), **tree)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Specimen(seed, mismatch, None if measured is None else str(measured))


def dump(config: Config) -> str:
    """Returns a config as TOML with every default written out; `load` reads it back."""
    return tomli_w.dumps(_without_none(_tree(config)))


def differences(first: Config, second: Config) -> list[str]:
    """Returns the keys in which two configs differ, with both values; where runs go is left out."""
    trees = [_flat(_tree(replace(config, run=Run()))) for config in (first, second)]
    keys = dict.fromkeys([*trees[0], *trees[1]])
    one, other = ({key: tree.get(key) for key in keys} for tree in trees)
    return [f"{key}: {one[key]!r}, now {other[key]!r}" for key in keys if one[key] != other[key]]


def shipped() -> dict[str, Path]:
    """Returns the configs that come with the package: name to path."""
    here = Path(__file__).parent
    for directory in (here / "configs", here.parent / "configs"):
        if directory.is_dir():
            return {path.stem: path for path in sorted(directory.glob("*.toml"))}
    return {}


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _find(source):
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


def _override(tree, override):
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts) or not key.isprintable():
        raise ConfigError(f"{override!r}: expected key=value, such as phases.0.epochs=2")
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


def _parse(tree, where):
    _check_values(tree, where, ())
    try:
        # Through JSON, where pydantic's strict mode takes a list for a tuple.
        return _adapter().validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        messages = [_explain(e, tree) for e in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(dict.fromkeys(messages))}") from None


@functools.cache
def _adapter():
    return TypeAdapter(Config)


def _check_values(value, where, path):
    if len(path) > 20:
        raise ConfigError(f"{where}: {_key(path[:3])}...: nested too deeply")
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            _check_values(item, where, (*path, str(key)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {_key(path)}: got {value}, expected a finite number")
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ConfigError(f"{where}: {_key(path)}: got more than the 64 bits of a TOML integer")
    elif isinstance(value, str) and value.encode(errors="ignore").decode() != value:
        raise ConfigError(f"{where}: {_key(path)}: got {_show(value)}, expected UTF-8 text")
    elif not isinstance(value, str | int | float):
        raise ConfigError(
            f"{where}: {_key(path)}: got a {type(value).__name__}, expected text or a number"
        )


def _explain(error, tree):
    """One pydantic error as `key: what it got, what was expected`."""
    path, kind, value = [], error["type"], tree
    for part in error["loc"]:
        # Locations also name the alternatives of a union, which are no keys.
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif not (kind == "missing" and part == error["loc"][-1]):
            continue
        path.append(part)
    key, got = _key(path), _show(error["input"])
    context = error.get("ctx", {})
    if kind == "missing":
        return f"{key}: missing"
    if kind == "unexpected_keyword_argument":
        known = _known_names(path[:-1], tree)
        return f"{key}: unknown key{nearest(str(path[-1]), known)}; known: {', '.join(known)}"
    if kind == "union_tag_invalid":
        tags = [tag.strip("'") for tag in context["expected_tags"].split(", ") if tag != "'own'"]
        hint = nearest(context["tag"], tags)
        return f"{key}.kind: got {_show(value['kind'])}, expected one of {', '.join(tags)}{hint}"
    if kind == "union_tag_not_found":
        return f"{key}.kind: missing"
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        hint = nearest(str(error["input"]), choices)
        return f"{key}: got {got}, expected {context['expected']}{hint}"
    if kind in _EXPECTED:
        return f"{key}: got {got}, expected {_EXPECTED[kind].format(**context)}"
    expected = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{key}: got {got}, expected {expected.removeprefix('a valid ')}"


def _names(kind):
    return [field.name for field in dataclasses.fields(kind)]


def _key(path):
    """Joins the parts of a key; what cannot be printed is escaped."""
    return ".".join(part if part.isprintable() else repr(part) for part in map(str, path))


def _show(value):
    """A value as it was got, cut to what a line can take."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _known_names(path, tree):
    """The keys that exist at a path of the config."""
    kind = Config
    for part in path:
        tree = tree[part]
        if not isinstance(part, int):
            kind = typing.get_type_hints(_table(kind, {}))[part]
        if isinstance(tree, dict):
            kind = _table(kind, tree)
    return _names(kind) if dataclasses.is_dataclass(kind) else []


def _table(kind, tree):
    """The dataclass that a table is read into, of all that a type allows; None: there is none."""
    candidates = [kind]
    while candidates:
        found = candidates.pop(0)
        if dataclasses.is_dataclass(found):
            tag = getattr(found, "kind", None)
            if tag is None or not isinstance(tree, dict) or tree.get("kind", tag) == tag:
                return found
        candidates.extend(typing.get_args(found))
    return None


def _flat(value, key=()):
    """The leaves of nested tables and lists, by key."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {_key(key): value}
    return {k: v for name, item in items for k, v in _flat(item, (*key, name)).items()}


def _tree(config: Config) -> dict[str, Any]:
    """A config as nested tables, in which one's own layers say their kind."""
    layers = [{"kind": kind_of(layer)} | dataclasses.asdict(layer) for layer in config.layers]
    return dataclasses.asdict(config) | {"layers": layers}


def _without_none(value):
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_none(v) for v in value]
    return value
