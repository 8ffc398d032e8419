"""The tables of a config, each a frozen dataclass, and what their keys may hold."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.chip.chip import SPREADS, Mismatch
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.networks import LAYERS, Conversion, Layer
from bss2jax.networks.layer import own_class
from bss2jax.settings import Checked, Key, Reader, Where, Wrong, read, refused, tagged, text_instead
from bss2jax.training.devices import Devices
from bss2jax.training.phase import Augmentation, Objective, Phase

Preset = Literal["calibrated", "kinked", "uncalibrated", "none"]
Finite = Annotated[float, Gt(-float("inf")), Lt(float("inf"))]
Scale = Annotated[float, Gt(0), Lt(float("inf"))]
Seed = Annotated[int, Ge(0), Lt(2**32)]


Path = Annotated[str, Where(lambda text: bool(text) and "\0" not in text, "a path")]
NpzFile = Annotated[str, Where(lambda text: text.endswith(".npz"), "a path that ends in .npz")]


def _place(value: Any, key: Key) -> str:
    """A path that no file keeps: it may hold half a character, as names of files may."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise refused(key, value, "a path" if isinstance(value, str) else text_instead(value))
    return value


Place = Annotated[str, Reader("a path", _place)]
FileName = Annotated[
    str,
    Where(
        lambda text: bool(text) and text.isprintable() and "/" not in text and text[0] != ".",
        "a file name: printable, not empty, without '/' and no '.' in front",
    ),
]
# Samples, or a share of them: 1 is a sample, and 1.0 would be all.
Amount = Annotated[int, Ge(1)] | Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class Data(Checked):
    """Which data set, and what validates.

    Attributes:
        name: name of a shipped set, `mypackage.module:name` of one's own, or `tfds:name`.
        file: an npz file with one's own arrays, in place of a name.
        folder: a folder with images, a folder a class, in place of a name.
        validation: samples of the training split, or a share of it below 1, whole persons where the
            set says who a sample is from. By default the set's own validation split, which is not
            used otherwise; a tenth of the training split where it has none.
        offset: the value that means 0, in the set's own units; one for all, or one for each
            channel.
        full_scale: what added to the offset means 1, in the set's own units; one for all, or one
            for each channel; by default what the set says. What lies beyond is clipped where a
            chip's inputs are.
    """

    name: Annotated[str, MinLen(1)] | None = None
    file: NpzFile | None = None
    folder: Path | None = None
    validation: Amount | None = None
    offset: Finite | tuple[Finite, ...] = 0.0
    full_scale: Scale | tuple[Scale, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [key for key in ("name", "file", "folder") if getattr(self, key) is not None]
        if not given:
            raise Wrong((("name",), "missing; or give file, or folder"))
        if len(given) > 1:
            raise Wrong(((given[1],), f"given beside {given[0]}; expected one of them"))

    @property
    def source(self) -> str:
        """What `bss2jax.data.load` takes."""
        return self.name or self.file or f"{self.folder}/"


@dataclass(frozen=True, kw_only=True)
class ChipSeed(Checked):
    """Which chip: the seed of its fixed pattern, independent of the run's seed, or a file.

    Attributes:
        seed: the seed of the pattern; other chips of the run are those of the seeds that follow.
        file: the file that `bss2jax chip` wrote; the run's own chip, in place of the seed's.
    """

    seed: Seed = 0
    file: Place | None = None


def declared(table: str, names: Mapping[str, str], *others: tuple[str, Any, Any]) -> Any:
    """Returns a setting with a number, or None, for some fields of `Mismatch`.

    Args:
        table: its name.
        names: the fields of `Mismatch`, and by which name each is given here.
        others: name, type and default of what it holds beside them.
    """
    numbers = [
        (key, Annotated[float, Ge(SPREADS[name].least), Le(SPREADS[name].most)] | None, None)
        for name, key in names.items()
    ]
    return make_dataclass(table, [*others, *numbers], bases=(Checked,), frozen=True, kw_only=True)


def _of(table: str) -> dict[str, str]:
    """The fields of `Mismatch` that stand in a table of configs, and their keys there."""
    places = {name: spread.config.split(".") for name, spread in SPREADS.items()}
    return {name: key for name, (place, key) in places.items() if place == table}


_Mismatch: Any = declared("mismatch", _of("mismatch"), ("preset", Preset, "calibrated"))
_Noise: Any = declared("noise", _of("noise"))


@dataclass(frozen=True, kw_only=True)
class Spreads(_Mismatch):
    """How far chips spread: a `preset` of `bss2jax.Mismatch`, and what differs from it.

    Its other keys are the fields of `Mismatch`, but for the noise, which has a table of its own.
    """


@dataclass(frozen=True, kw_only=True)
class Noise(_Noise):
    """Trial-to-trial noise, by default that of the preset.

    Its keys are those that fields of `Mismatch` are declared with, such as `std` of `noise_std`.
    """


@dataclass(frozen=True, kw_only=True)
class Placing(Checked):
    """Where a spiking network goes that runs on several chips at once; by default on one.

    Attributes:
        system: name of a preset, such as `star12`, `case` or `mesh(2,3)`; neurons fill its chips in
            order.
        file: a plan that `bss2jax map` wrote; it names its system.
        delay: whether spikes between chips come later, by the latency of the links.
    """

    system: Annotated[str, MinLen(1)] | None = None
    file: Path | None = None
    delay: bool = True


@dataclass(frozen=True, kw_only=True)
class Run(Checked):
    """Where the run goes, and how often it saves what it needs to go on after a stop.

    Attributes:
        dir: the directory of the run; by default `runs/NAME-k` with the first free k.
        checkpoint_seconds: the most time between two checkpoints, s.
        checkpoint_steps: the most steps between two checkpoints; by default time alone decides.
        checkpoints: the number of checkpoints that are kept.
    """

    dir: Place | None = None
    checkpoint_seconds: Scale = 30.0
    checkpoint_steps: Annotated[int, Ge(1)] | None = None
    checkpoints: Annotated[int, Ge(1)] = 2


def _layer(value: Any, key: Key) -> Layer:
    """Reads the table of a layer, also of one's own, whose kind is the dotted name of its class."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if isinstance(value, Layer):
        return value
    if not (isinstance(kind, str) and ":" in kind):
        return tagged(LAYERS, value, key)
    try:
        own = own_class(kind)
    except ValueError as error:
        raise Wrong(((*key, "kind"), str(error))) from None
    return read(own, {name: each for name, each in value.items() if name != "kind"}, key)


AnyLayer = Annotated[Layer, Reader("a table", _layer)]


@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """One experiment.

    Attributes:
        name: the name of the experiment, after which the run's directory is called.
        description: one line that `bss2jax configs` and reports show.
        seed: the seed of initialisation, order, validation split, augmentation and noise.
        data: the data set, and what validates.
        chip: the seed or the file of its fixed pattern.
        substrate: the numbers of the chip, where they are to be others than those of BSS-2.
        mismatch, noise: how far chips spread, and what differs from trial to trial.
        layers: the layers of the network, each behind the one before it or behind its `inputs`.
        conversion: how a network of rates runs as spikes.
        plan: the chips of a system that it runs on.
        mesh: the devices that compute it.
        objective, augment: what is minimised, and how images are changed.
        start: the directory of a finished run with the same layers, whose final parameters are
            those that training starts from, or the file that `bss2jax import` wrote; by default
            they are drawn.
        phases: the phases of the training.
        run: the directory of the run, and its checkpoints.
    """

    name: FileName
    description: str = ""
    seed: Seed = 0
    data: Data
    chip: ChipSeed = ChipSeed()
    substrate: Substrate = BSS2
    mismatch: Spreads = Spreads()
    noise: Noise = Noise()
    layers: Annotated[tuple[AnyLayer, ...], MinLen(1)]
    conversion: Conversion = Conversion()
    plan: Placing = Placing()
    mesh: Devices = Devices()
    objective: Objective = Objective()
    augment: Augmentation = Augmentation()
    start: Path | None = None
    phases: Annotated[tuple[Phase, ...], MinLen(1)]
    run: Run = Run()

    def __post_init__(self) -> None:
        super().__post_init__()
        write_spreads(self)

    @property
    def spreads(self) -> Mismatch:
        """What `sample_chip` takes: the spreads and the noise."""
        return spreads_of(self)


def write_spreads(config: Any) -> None:
    """Writes out what a config leaves to its preset, so that it says all of it.

    Args:
        config: the config with the tables `mismatch` and `noise`.
    """
    preset = getattr(Mismatch, config.mismatch.preset)()
    for name, spread in SPREADS.items():
        table, key = spread.config.split(".")
        if getattr(given := getattr(config, table), key) is None:
            whole = dataclasses.replace(given, **{key: getattr(preset, name)})
            object.__setattr__(config, table, whole)


def spreads_of(config: Any) -> Mismatch:
    """Returns what `sample_chip` takes: the spreads and the noise of a config."""
    return Mismatch(**{n: attrgetter(s.config)(config) for n, s in SPREADS.items()})
