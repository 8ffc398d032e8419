"""Chips as files: one npz, versioned, without pickle; and a lab's own measurements of a chip."""

import io
import json
import os
import zipfile
import zlib
from dataclasses import fields, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.hardware.chip import Chip, Mismatch, ideal_chip, sample_chip
from bss2jax.hardware.substrate import BSS2, Substrate

_FORMAT, _VERSION = "bss2jax chip", 1
_SIZES = ("hemispheres", "rows", "columns")
_MEASURED = {"gain": "column_gain", "offset": "offset", "noise_std": "noise_std"}

# What zip and npy readers raise on bytes that are not theirs; RuntimeError where a flag says that
# they are encrypted.
_DAMAGE = (ValueError, EOFError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ChipError(ValueError):
    """A file holds no chip that can be used; the message names the file and what is wrong."""


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
    path, arrays = Path(path), _read_npz(Path(path))
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


def chip_from_measurements(
    path: str | Path, like: Chip | None = None, substrate: Substrate = BSS2
) -> Chip:
    """Makes a chip of what a laboratory measured of its own: some of gain, offset and noise.

    Args:
        path: an npz with arrays, or a csv with a header line and a line a column, named `gain`
            (over the nominal one, 1 = nominal), `offset` (LSB per read) and `noise_std` (LSB).
            `[H, C]`, or flat with the columns of hemisphere 0 first.
        like: what all else is; by default an ideal chip.
        substrate: of which it is.

    Raises:
        ChipError: the file cannot be read, a name is unknown, a shape or a value impossible.
    """
    path = Path(path)
    measured = _read_csv(path) if path.suffix == ".csv" else _read_npz(path)
    known = ", ".join(_MEASURED)
    for name in measured:
        if name not in _MEASURED:
            raise ChipError(f"{path}: {name}: not a measured quantity; known: {known}")
    if not measured:
        raise ChipError(f"{path}: nothing measured in it; expected some of {known}")
    shape = (substrate.hemispheres, substrate.columns)
    arrays = {}
    for name, values in measured.items():
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise ChipError(f"{path}: {name}: expected finite numbers")
        if values.shape not in (shape, (shape[0] * shape[1],)):
            raise ChipError(f"{path}: {name}: got shape {values.shape}, expected {shape} or flat")
        if name != "offset" and (values < 0).any():
            raise ChipError(f"{path}: {name}: got {values.min():g}, expected values >= 0")
        arrays[_MEASURED[name]] = jnp.asarray(values.reshape(shape), jnp.float32)
    gain = np.median(measured.get("gain", 1.0))
    if not 0.1 < gain < 10:
        raise ChipError(
            f"{path}: gain: a median of {gain:g}; gains are relative, 1 = nominal: divide what was "
            f"measured by {substrate.gain:g} num_sends"
        )
    chip = replace(like or ideal_chip(substrate), **arrays)
    # What was measured is all the noise there is.
    silent = {"send_noise": jnp.zeros(shape)} if "noise_std" in measured else {}
    return replace(chip, **silent)


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


def _read_npz(path):
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ChipError(f"{path}: one array, expected an npz file")
        with file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror or 'not an npz file'}") from None
    except ChipError:
        raise
    except _DAMAGE:
        raise ChipError(f"{path}: damaged, or not an npz file") from None


def _read_csv(path):
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            raise ChipError(f"{path}: empty")
        table = np.genfromtxt(io.StringIO(text), delimiter=",", names=True, dtype=np.float64)
    except ChipError:
        raise
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror}") from None
    except ValueError:  # also of bytes that are no UTF-8
        raise ChipError(
            f"{path}: not a csv with a header and as many numbers in each line"
        ) from None
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names}


def _text(sizes):
    return ", ".join(f"{value} {name}" for name, value in sizes.items())
