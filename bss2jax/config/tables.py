"""The tables of a config, each a frozen dataclass, and what their keys may hold."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from bss2jax.config.errors import dotted
from bss2jax.networks import LAYERS, Conversion, Layer
from bss2jax.networks.layer import kind_of, own_class
from bss2jax.training.phase import Augmentation, Objective, Phase

_STRICT = {"extra": "forbid"}
Preset = Literal["calibrated", "uncalibrated", "none"]
Finite = Annotated[float, Gt(-float("inf")), Lt(float("inf"))]
Scale = Annotated[float, Gt(0), Lt(float("inf"))]
Seed = Annotated[int, Ge(0), Lt(2**32)]


def _amount(value: float) -> float:
    if not (0 < value < 1 or (value >= 1 and value == int(value))):
        raise ValueError("a share between 0 and 1, or a whole number of samples")
    return value


def _file_name(value: str) -> str:
    if not value or "/" in value or value.startswith(".") or not value.isprintable():
        raise ValueError("a file name: printable, not empty, without '/' and no '.' in front")
    return value


def _path(value: str) -> str:
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
        said = (f"{dotted(e['loc'])}: {e['msg']}" for e in error.errors())
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
