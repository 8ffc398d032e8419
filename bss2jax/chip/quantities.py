"""What a quantity of a chip is, said once: in the field that declares it.

A field of `Chip` or `Circuits` made by `quantity` says where the quantity is on the chip, what kind
of number it is and which spread it is drawn with; a field of `Mismatch` made by `spread` says how
far it spreads on a calibrated and on an uncalibrated chip. Drawing, presets, config keys, range
checks, files, joining, calibration, chip maps and the table of the documentation go through these
fields; no other place lists quantities.

References: halco (places); calix (cells); Pehle et al. 2022, arXiv 2201.11063 (cells).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.arrays import as_number
from bss2jax.chip import draws
from bss2jax.chip.substrate import Substrate


@dataclass(frozen=True)
class Site:
    """Where on the chip a quantity has its values.

    Attributes:
        name: the name of the place that has a value of its own.
        axes: a letter an axis: H hemispheres, S signs (excitatory, inhibitory), R signed rows,
            C columns; B branches (causal, acausal), P all rows and N all columns of the array.
    """

    name: str
    axes: str

    def shape(self, substrate: Substrate) -> tuple[int, ...]:
        """Returns the shape of the quantity's array on a chip of these sizes."""
        sizes = {"H": substrate.hemispheres, "S": 2, "R": substrate.rows, "C": substrate.columns}
        sizes |= {"B": 2, "P": 2 * substrate.rows, "N": substrate.hemispheres * substrate.columns}
        return tuple(sizes[axis] for axis in self.axes)


SYNAPSE = Site("synapse", "HSRC")
DRIVER = Site("driver", "HR")
COLUMN = Site("column", "HC")
CIRCUIT = Site("circuit", "HC")
INPUT = Site("synaptic input", "SHC")
CHIP = Site("chip", "")
SENSOR = Site("correlation sensor", "BPN")


@dataclass(frozen=True)
class Kind:
    """What kind of number a quantity is.

    Attributes:
        unit: the unit of its values.
        least: the lowest value that it can have.
        nominal: its value on an ideal chip.
    """

    unit: str
    least: float = -inf
    nominal: ClassVar[float] = 0.0

    def draw(self, key: jax.Array, std: float, shift: float, shape: tuple[int, ...]) -> jax.Array:
        """Draws the quantity of a specimen: here normal around the nominal value.

        Args:
            key: a threefry one.
            std: the spread.
            shift: added everywhere.
            shape: the shape of the result.

        Returns:
            A float32 array of any shape.
        """
        drawn = draws.around(key, std, shape, self.nominal + shift)
        return drawn if self.least == -inf else jnp.maximum(drawn, self.least)

    def moved(self, values: jax.Array, by: jax.Array) -> jax.Array:
        """Returns values, of any shape, that a cell has shifted: here by addition."""
        return values + by

    def varying(self, meaning: str, site: Site) -> str:
        """Returns in words what its spread is: here how far it differs from place to place."""
        return f"spread of the {meaning} from {site.name} to {site.name}"


class Deviation(Kind):
    """A deviation from zero, of either sign."""


@dataclass(frozen=True)
class Factor(Kind):
    """A factor, normal around 1 and cut below; a cell shifts its logarithm. See `Kind` for more."""

    unit: str = "factor"
    least: float = 0.0
    nominal: ClassVar[float] = 1.0

    def moved(self, values: jax.Array, by: jax.Array) -> jax.Array:
        return values * jnp.exp(by)


@dataclass(frozen=True)
class LogFactor(Factor):
    """A factor whose logarithm is normal around 0. See `Kind` for more."""

    def draw(self, key: jax.Array, std: float, shift: float, shape: tuple[int, ...]) -> jax.Array:
        return jnp.exp(draws.around(key, std, shape, shift))


@dataclass(frozen=True)
class Amount(Kind):
    """An amount that an ideal chip has none of, half normal. See `Kind` for more."""

    least: float = 0.0

    def draw(self, key: jax.Array, std: float, shift: float, shape: tuple[int, ...]) -> jax.Array:
        return std * jnp.abs(draws.normal(key, shape)) + shift


@dataclass(frozen=True)
class Noise(Kind):
    """A standard deviation from trial to trial, the same at all places. See `Kind` for more."""

    least: float = 0.0

    def draw(self, key: jax.Array, std: float, shift: float, shape: tuple[int, ...]) -> jax.Array:
        return jnp.full(shape, std + shift, jnp.float32)

    def varying(self, meaning: str, site: Site) -> str:
        return f"{meaning} from trial to trial"


SHARE = "share of leak to threshold"


@dataclass(frozen=True)
class Cell:
    """An analog cell or trim that each place has of its own; it shifts a quantity.

    Attributes:
        name: names its setting.
        number: its place in the order in which cells are set; decides the specimen's cells.
        bits: resolution: 10 of the analog cells (CapMem), 4 to 6 of trims.
        span: the most it shifts to either side; of factors, of their logarithm. Assumed.
        tolerance: how far from its target a place counts as reached. Assumed.
        limit: spread after over spread before that tests of silicon accept (calix); for matrix
            products assumed.
        disturbs: names of the cells to be set again after it.
    """

    name: str
    number: int
    bits: int
    span: float
    tolerance: float
    limit: float | None = None
    disturbs: tuple[str, ...] = ()


def mean(members: jax.Array) -> jax.Array:
    """Returns `[..., n]`, the mean of the circuits `[..., n, c]` that each neuron is joined of."""
    # One after the other: a sum in any other order would have other bits.
    each = jnp.moveaxis(members, -1, 0)
    total, _ = lax.scan(lambda total, x: (total + x, None), jnp.zeros_like(each[0]), each)
    return total * np.float32(1 / members.shape[-1])


def first(members: jax.Array) -> jax.Array:
    """Returns `[..., n]`, the first of the circuits `[..., n, c]` that each neuron is joined of."""
    return members[..., 0]


def averaged_noise(members: jax.Array) -> jax.Array:
    """Returns `[..., n]`, the root mean square of `[..., n, c]` circuits over the root of c.

    The noise of joined membranes averages out.
    """
    return jnp.sqrt(mean(jnp.square(members)) * np.float32(1 / members.shape[-1]))


@dataclass(frozen=True)
class Quantity:
    """The declaration of one quantity of a chip.

    Attributes:
        meaning: what it is, in a few words.
        site: the place where it is on the chip.
        kind: what kind of number it is, with its unit.
        spread: the field of `Mismatch` that says how far it spreads; by default of the same name.
        shift: the field of `Mismatch` that moves it everywhere, "" where there is none.
        key: numbers that the specimen's key is folded with to draw it; by default one made of its
            name.
        joined: how circuits that are joined to a neuron combine: `[..., n, c]` to `[..., n]`.
        optional: whether the chip has None in its place where its spread is 0; nothing is computed
            then.
        cells: the analog cells that shift it; two are those of the excitatory and the inhibitory
            input.
        measured: its name in a file of a laboratory's measurements, "" where none has it.
        since: the first version of chip files that holds it; in older files it is nominal.
    """

    meaning: str
    site: Site
    kind: Kind
    spread: str = ""
    shift: str = ""
    key: tuple[int, ...] = ()
    joined: Callable[[jax.Array], jax.Array] = mean
    optional: bool = False
    cells: tuple[Cell, ...] = ()
    measured: str = ""
    since: int = 1

    def named(self, name: str) -> "Quantity":
        """Returns the declaration with what its name decides filled in."""
        number = draws.number_of(name) if not self.key else 0
        return replace(self, spread=self.spread or name, key=self.key or (number,))

    def sample(self, key: jax.Array, mismatch: Any, substrate: Substrate) -> jax.Array | None:
        """Draws the quantity of one specimen.

        Args:
            key: the specimen's threefry key.
            mismatch: the spreads, a `Mismatch`.
            substrate: the substrate whose sizes the chip has.

        Returns:
            A float32 array, `[...]` of its site's axes, or None.
        """
        std = getattr(mismatch, self.spread)
        if self.optional and not std:
            return None
        shift = getattr(mismatch, self.shift) if self.shift else 0.0
        shape = self.site.shape(substrate)
        return self.kind.draw(draws.folded(key, *self.key), std, shift, shape)

    def ideal(self, substrate: Substrate) -> jax.Array | None:
        """Returns its values on an ideal chip: float32, `[...]` of its site's axes, or None."""
        if self.optional:
            return None
        return jnp.full(self.site.shape(substrate), self.kind.nominal, jnp.float32)


@dataclass(frozen=True)
class Spread:
    """The declaration of one field of `Mismatch`, or of another class of `Presets`.

    Attributes:
        uncalibrated: its value for a chip whose analog cells are all set alike.
        source: the place where its values come from.
        meaning, unit: what it is, where it is not the spread of one quantity.
        least, most: its range.
        config: table and key of a config; by default of the same name in `[mismatch]`.
    """

    uncalibrated: float
    source: str = "assumed"
    meaning: str = ""
    unit: str = ""
    least: float = 0.0
    most: float = inf
    config: str = ""

    def checked(self, name: str, value: Any) -> float:
        """Returns a value of the field as Python's own number.

        Args:
            name: what an error calls it.
            value: a number of Python, NumPy or JAX.

        Raises:
            ValueError: it is no finite number, or out of range.
        """
        number = as_number(value)
        if number is None or not (-inf < number < inf and self.least <= number <= self.most):
            low = f" >= {self.least:g}" if self.least > -inf else ""
            expected = low if self.most == inf else f" from {self.least:g} to {self.most:g}"
            raise ValueError(f"{name}: expected a finite number{expected}, got {value!r}")
        return float(number)


@dataclass(frozen=True)
class Presets:
    """How far specimens spread: the presets of a dataclass whose fields `spread` declares.

    Raises:
        ValueError: a value is not finite, or out of the range of its declaration.
    """

    @classmethod
    def calibrated(cls) -> Self:
        """Returns the default: a specimen as its users get it."""
        return cls()

    @classmethod
    def uncalibrated(cls) -> Self:
        """Returns the spreads of a specimen whose analog cells and trims are all set alike."""
        return cls(**{name: each.uncalibrated for name, each in spreads_of(cls).items()})

    @classmethod
    def none(cls) -> Self:
        """Returns no spread and no noise: specimens drawn with it are ideal."""
        return cls(**dict.fromkeys(spreads_of(cls), 0.0))

    def __post_init__(self) -> None:
        for f in fields(self):
            name = f"{type(self).__name__}.{f.name}"
            value = f.metadata["spread"].checked(name, getattr(self, f.name))
            object.__setattr__(self, f.name, value)


def quantity(meaning: str, site: Site, kind: Kind, **more: Any) -> Any:
    """Declares a field of `Chip` or `Circuits`: see `Quantity` for the arguments.

    Args:
        meaning: what the quantity is, in a few words.
        site: the place where it is on the chip.
        kind: what kind of number it is.
        **more: other attributes of the `Quantity`.
    """
    return field(metadata={"quantity": Quantity(meaning, site, kind, **more)})


def spread(calibrated: float, uncalibrated: float | None = None, **more: Any) -> Any:
    """Declares a field of `Mismatch`: see `Spread` for the arguments.

    Args:
        calibrated: its default, the value of a chip as its users get it.
        uncalibrated: its value for a chip that is not calibrated; by default the same.
        **more: other attributes of the `Spread`.
    """
    before = calibrated if uncalibrated is None else uncalibrated
    return field(default=calibrated, metadata={"spread": Spread(before, **more)})


def group(of: type) -> Any:
    """Declares a field of `Chip` that holds quantities of its own: a dataclass of them."""
    return field(metadata={"group": of})


def spreads_of(cls: type) -> dict[str, Spread]:
    """Returns the declared spreads of a dataclass by name, in order."""
    found = {f.name: f.metadata["spread"] for f in fields(cls)}
    return {n: replace(s, config=s.config or f"mismatch.{n}") for n, s in found.items()}


def quantities_of(cls: type) -> dict[str, Quantity]:
    """Returns the declared quantities of a dataclass by name, those of a group as `GROUP.NAME`."""
    found: dict[str, Quantity] = {}
    for f in fields(cls):
        if "group" in f.metadata:
            inner = quantities_of(f.metadata["group"])
            found |= {f"{f.name}.{name}": declared for name, declared in inner.items()}
        else:
            found[f.name] = f.metadata["quantity"].named(f.name)
    return found


def arrays_of(value: Any) -> dict[str, Any]:
    """Returns the arrays of a dataclass of quantities, or None, by the names of `quantities_of`."""
    found: dict[str, Any] = {}
    for f in fields(value):
        inner = getattr(value, f.name)
        if "group" in f.metadata:
            found |= {f"{f.name}.{name}": array for name, array in arrays_of(inner).items()}
        else:
            found[f.name] = inner
    return found


def built(cls: type, arrays: Mapping[str, Any]) -> Any:
    """Returns a dataclass of quantities made of its arrays, by the names of `quantities_of`."""
    whole = {}
    for f in fields(cls):
        if "group" in f.metadata:
            prefix = f"{f.name}."
            inner = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
            whole[f.name] = built(f.metadata["group"], inner)
        else:
            whole[f.name] = arrays.get(f.name)
    return cls(**whole)
