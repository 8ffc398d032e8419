"""One chip, named by `key=value` as configs are."""

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bss2jax.chip.chip import SPREADS, Mismatch
from bss2jax.config.errors import ConfigError, nearest, shown
from bss2jax.config.read import override
from bss2jax.config.tables import Preset

_PRESETS = typing.get_args(Preset)


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
    for each in overrides:
        override(tree, each)
    seed, preset = tree.pop("seed", 0), tree.pop("preset", "calibrated")
    measured, known = tree.pop("measured", None), ["seed", "preset", "measured", *SPREADS]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed: got {shown(seed)}, expected an integer from 0 to 4294967295")
    if preset not in _PRESETS:
        hint = nearest(str(preset), _PRESETS)
        raise ConfigError(
            f"preset: got {shown(preset)}, expected one of {', '.join(_PRESETS)}{hint}"
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
