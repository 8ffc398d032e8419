"""Chips as files: one npz, versioned, without pickle."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.hardware.chip import Chip, Mismatch, ideal_chip, sample_chip
from bss2jax.hardware.measurements import ChipError, read_npz
from bss2jax.hardware.substrate import BSS2, Substrate

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
    path, arrays = Path(path), _arrays(chip)
    _check(arrays, substrate, path)
    sizes = {name: getattr(substrate, name) for name in _SIZES}
    head = json.dumps({"format": _FORMAT, "version": _VERSION, **sizes})
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(aside, "wb") as file:
            np.savez(file, head=np.array(head), **arrays)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
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


def _arrays(chip):
    """All arrays of a chip by name, those of its circuits as `circuits.NAME`."""
    own = {f.name: getattr(chip, f.name) for f in fields(chip) if f.name != "circuits"}
    circuits = {f"circuits.{f.name}": getattr(chip.circuits, f.name) for f in fields(chip.circuits)}
    return {name: np.asarray(a) for name, a in (own | circuits).items() if a is not None}


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
    own = {f.name: getattr(whole, f.name) for f in fields(whole) if f.name != "circuits"}
    circuits = {
        f"circuits.{f.name}": getattr(whole.circuits, f.name) for f in fields(whole.circuits)
    }
    expected = own | circuits
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
