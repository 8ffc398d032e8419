"""One chip, named by `key=value` as configs are."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bss2jax.chip.chip import SPREADS, Mismatch
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.config.errors import ConfigError
from bss2jax.config.read import override
from bss2jax.config.tables import Path, Preset, Seed, declared
from bss2jax.settings import read

_Table: Any = declared(
    "chip",
    {name: name for name in SPREADS},
    ("seed", Seed, 0),
    ("preset", Preset, "calibrated"),
    ("measured", Path | None, None),
    ("substrate", Substrate, BSS2),
)


@dataclass(frozen=True)
class Specimen:
    """One chip to draw.

    Attributes:
        seed: its number.
        mismatch: its spreads.
        measured: a file with what was measured of it, or None.
        substrate: the substrate whose array sizes and numbers it has.
    """

    seed: int
    mismatch: Mismatch
    measured: str | None
    substrate: Substrate = BSS2


def load_specimen(overrides: Sequence[str]) -> Specimen:
    """Reads a chip from `key=value`.

    The keys are `seed`, `preset`, `measured`, the fields of `Mismatch`, and `substrate.KEY` as in a
    config.

    Raises:
        ConfigError: a key is unknown, or a value out of range.
    """
    tree: dict[str, Any] = {}
    for each in overrides:
        override(tree, each)
    try:
        table = read(_Table, tree)
        given = {name: value for name in SPREADS if (value := getattr(table, name)) is not None}
        mismatch = dataclasses.replace(getattr(Mismatch, table.preset)(), **given)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Specimen(table.seed, mismatch, table.measured, table.substrate)
