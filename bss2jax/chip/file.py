"""Chips as files: one npz, versioned, without pickle."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from bss2jax.chip.chip import QUANTITIES, Chip
from bss2jax.chip.measurements import ChipError, read_npz
from bss2jax.chip.quantities import built
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.files import place, writing

_FORMAT, _VERSION = "bss2jax chip", max(declared.since for declared in QUANTITIES.values())
_SIZES = ("hemispheres", "rows", "columns")


def save_chip(chip: Chip, path: str | Path, *, substrate: Substrate = BSS2) -> None:
    """Writes a chip to a file, in place of an earlier one.

    Args:
        chip: one chip, no stack.
        path: the file, `.npz` by custom.
        substrate: the substrate whose array sizes the chip has; the file keeps its numbers.

    Raises:
        ChipError: the chip is of another substrate, or the file cannot be written.
    """
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in chip.quantities().items()}
    _check(arrays, _VERSION, substrate, path)
    sizes = {name: getattr(substrate, name) for name in _SIZES}
    numbers = {f.name: getattr(substrate, f.name) for f in fields(substrate)}
    head = json.dumps({"format": _FORMAT, "version": _VERSION, **sizes, "substrate": numbers})
    try:
        with writing(place(path)) as file:
            np.savez(file, **arrays, head=np.array(head))
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror}") from None


def load_chip(path: str | Path, *, substrate: Substrate = BSS2) -> Chip:
    """Reads a chip that `save_chip` wrote, bit for bit.

    Quantities that a file is too old to hold are those of an ideal chip.

    Raises:
        ChipError: there is no such file, it is damaged or no chip, of a later version or of another
            substrate.
    """
    arrays, head = _read(path)
    version, sizes = head["version"], {name: head[name] for name in _SIZES}
    expected = {name: getattr(substrate, name) for name in _SIZES}
    if sizes != expected:
        raise ChipError(
            f"{path}: a chip of {_text(sizes)}; the substrate has {_text(expected)}; "
            f"{_remedy(sizes, expected)}"
        )
    _check(arrays, version, substrate, path)
    later = {
        name: declared.ideal(substrate)
        for name, declared in QUANTITIES.items()
        if declared.since > version
    }
    return built(Chip, later | {name: jnp.asarray(array) for name, array in arrays.items()})


def load_substrate(path: str | Path) -> Substrate:
    """Returns the substrate of a chip in a file; numbers that an old file lacks are BSS-2's.

    Raises:
        ChipError: there is no such file, or it is damaged, no chip, or of a later version.
    """
    _, head = _read(path)
    known, kept = {f.name for f in fields(BSS2)}, head.get("substrate", {})
    sizes = {name: head[name] for name in _SIZES}
    try:
        return replace(BSS2, **{n: value for n, value in kept.items() if n in known} | sizes)
    except (AttributeError, ValueError) as error:
        raise ChipError(f"{path}: {error}") from None


def _read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the head of a file, whose version can be read."""
    arrays = read_npz(path)
    try:
        head = json.loads(str(arrays.pop("head")))
        kind, version, _ = head["format"], head["version"], [head[name] for name in _SIZES]
    except (KeyError, TypeError, ValueError):
        raise ChipError(f"{path}: not a chip; `bss2jax chip sample` makes one") from None
    if kind != _FORMAT or version not in range(1, _VERSION + 1):
        raise ChipError(
            f"{path}: {kind!r} of version {version!r}, expected {_FORMAT!r} of version {_VERSION} "
            "or earlier: update bss2jax, or draw a chip with `bss2jax chip sample`"
        )
    return arrays, head


def _check(arrays: dict[str, Any], version: int, substrate: Substrate, path: str | Path) -> None:
    """Refuses arrays that are not those of a chip of this substrate, in a file of this version."""
    known = {name: q for name, q in QUANTITIES.items() if q.since <= version}
    for name, declared in known.items():
        if name not in arrays and not declared.optional:
            raise ChipError(f"{path}: {name} is missing")
    for name, array in arrays.items():
        if name not in known:
            raise ChipError(f"{path}: {name}: not a quantity of a chip")
        shape = known[name].site.shape(substrate)
        if array.shape != shape or array.dtype != np.float32:
            raise ChipError(
                f"{path}: {name}: got {array.dtype} {array.shape}, expected float32 {shape}"
            )
        if not np.isfinite(array).all():
            raise ChipError(f"{path}: {name}: not all values are finite")


def _text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{value} {name}" for name, value in sizes.items())


def _remedy(sizes: dict[str, int], expected: dict[str, int]) -> str:
    """What to set for a chip and a substrate to have the same sizes."""
    differ = [name for name in sizes if sizes[name] != expected[name]]
    have = " ".join(f"substrate.{name}={sizes[name]}" for name in differ)
    want = " ".join(f"substrate.{name}={expected[name]}" for name in differ)
    return f"set {have}, or draw one with `bss2jax chip sample FILE {want}`"
