"""Chips as files: one npz, versioned, without pickle."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip.chip import Chip, Mismatch, ideal_chip, sample_chip
from bss2jax.chip.measurements import ChipError, read_npz
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.files import writing

_FORMAT, _VERSION = "bss2jax chip", 1
_SIZES = ("hemispheres", "rows", "columns")


def save_chip(chip: Chip, path: str | Path, substrate: Substrate = BSS2) -> None:
    """Writes a chip to a file, in place of an earlier one.

    Args:
        chip: one chip, no stack.
        path: of the file; `.npz` by custom.
        substrate: of which it is.

    Raises:
        ChipError: the chip is of another substrate, or the file cannot be written.
    """
    path = Path(path)
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in chip.quantities().items()}
    _check(arrays, substrate, path)
    sizes = {name: getattr(substrate, name) for name in _SIZES}
    head = json.dumps({"format": _FORMAT, "version": _VERSION, **sizes})
    try:
        with writing(path) as file:
            np.savez(file, **arrays, head=np.array(head))
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror}") from None


def load_chip(path: str | Path, substrate: Substrate = BSS2) -> Chip:
    """Reads a chip that `save_chip` wrote, bit for bit.

    Raises:
        ChipError: there is no such file, it is damaged or no chip, of another version or substrate.
    """
    path, arrays = Path(path), read_npz(Path(path))
    try:
        head = json.loads(str(arrays.pop("head")))
        kind, version = head["format"], head["version"]
        sizes = {name: head[name] for name in _SIZES}
    except (KeyError, TypeError, ValueError):
        raise ChipError(f"{path}: not a chip; `bss2jax chip sample` makes one") from None
    if kind != _FORMAT or version != _VERSION:
        raise ChipError(
            f"{path}: {kind!r} of version {version!r}, expected {_FORMAT!r} of version {_VERSION}"
        )
    expected = {name: getattr(substrate, name) for name in _SIZES}
    if sizes != expected:
        raise ChipError(f"{path}: a chip of {_text(sizes)}; the substrate has {_text(expected)}")
    _check(arrays, substrate, path)
    leaves = {name: jnp.asarray(array) for name, array in arrays.items()}
    return _chip_of(leaves, substrate)


def _chip_of(arrays, substrate):
    like = ideal_chip(substrate)
    circuits = {f.name: arrays.get(f"circuits.{f.name}") for f in fields(like.circuits)}
    own = {f.name: arrays.get(f.name) for f in fields(like) if f.name != "circuits"}
    return Chip(**own, circuits=replace(like.circuits, **circuits))


def _check(arrays, substrate, path):
    """Refuses arrays that are not those of a chip of this substrate."""
    whole = jax.eval_shape(
        lambda key: sample_chip(key, Mismatch(compression=1.0, membrane_noise=1.0), substrate),
        jax.random.key(0),
    )
    expected = whole.quantities()
    for name in expected.keys() - arrays.keys() - {"compression", "circuits.membrane_noise"}:
        raise ChipError(f"{path}: {name} is missing")
    for name, array in arrays.items():
        if name not in expected:
            raise ChipError(f"{path}: {name}: not a quantity of a chip")
        if array.shape != expected[name].shape or array.dtype != np.float32:
            raise ChipError(
                f"{path}: {name}: got {array.dtype} {array.shape}, expected float32 "
                f"{expected[name].shape}"
            )
        if not np.isfinite(array).all():
            raise ChipError(f"{path}: {name}: not all values are finite")


def _text(sizes):
    return ", ".join(f"{value} {name}" for name, value in sizes.items())
