"""A laboratory's own measurements of a chip, from files: npz or csv, without pickle."""

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bss2jax import files
from bss2jax.chip.quantities import Quantity
from bss2jax.chip.substrate import Substrate


class ChipError(ValueError):
    """A file holds no chip that can be used; the message names the file and what is wrong."""


def read_measurements(
    path: str | Path, quantities: Mapping[str, Quantity], *, substrate: Substrate
) -> dict[str, np.ndarray]:
    """Reads some of a chip's column gain, offset and noise, as `Chip` names them.

    Args:
        path: a file, or a pipe, with an npz of arrays, or text with a header line and a line a
            column, parted by commas, semicolons or tabs. Names are `gain` (over the nominal one,
            1 = nominal), `offset` (LSB per read) and `noise_std` (LSB); `[H, C]`, or flat with the
            columns of hemisphere 0 first.
        quantities: the quantities of a chip, some of which can be measured.
        substrate: the substrate whose array sizes the chip has.

    Returns:
        `[H, C]` float32 arrays.

    Raises:
        ChipError: the file cannot be read, a name is unknown, a shape or a value impossible.
    """
    measured = _read(path)
    names = {q.measured: name for name, q in quantities.items() if q.measured}
    known = ", ".join(sorted(names))
    for name in measured:
        if name not in names:
            raise ChipError(f"{path}: {name}: not a measured quantity; known: {known}")
    if not measured:
        raise ChipError(f"{path}: nothing measured in it; expected some of {known}")
    arrays = {}
    for name, values in measured.items():
        declared = quantities[names[name]]
        shape, least = declared.site.shape(substrate), declared.kind.least
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise ChipError(f"{path}: {name}: expected finite numbers")
        if values.shape not in (shape, (math.prod(shape),)):
            raise ChipError(f"{path}: {name}: got shape {values.shape}, expected {shape} or flat")
        if (values < least).any():
            raise ChipError(f"{path}: {name}: got {values.min():g}, expected values >= {least:g}")
        arrays[names[name]] = values.reshape(shape).astype(np.float32)
    gain = np.median(measured.get("gain", 1.0))
    if not 0.1 < gain < 10:
        raise ChipError(
            f"{path}: gain: a median of {gain:g}; gains are relative, 1 = nominal: divide what was "
            f"measured by {substrate.gain:g} num_sends"
        )
    return arrays


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz file, of any shape; raises `ChipError` where it is none."""
    try:
        return files.read_npz(path)
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ChipError(f"{path}: {error}") from None


def _read(path: str | Path) -> dict[str, np.ndarray]:
    """What stands in a file, or comes out of a pipe: arrays where they are packed, else text."""
    try:
        with open(files.place(path), "rb") as file:
            content = file.read()
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror}") from None
    if content[:2] != b"PK" and Path(path).suffix.lower() != ".npz":
        return _read_csv(path, content)
    try:
        return files.arrays_of(io.BytesIO(content))
    except ValueError as error:
        raise ChipError(f"{path}: {error}") from None


def _read_csv(path: str | Path, content: bytes) -> dict[str, np.ndarray]:
    table: Any
    try:
        lines = files.text_of(content).strip().splitlines()
        if not lines:
            raise ChipError(f"{path}: empty")
        # As spreadsheets write it too: comments above the header, `;` or tabs and decimal commas.
        while lines[0].startswith("#") and "".join(lines[1:2]).lstrip("# ")[:1].isalpha():
            lines.pop(0)
        mark = next((mark for mark in ";\t" if mark in lines[0]), ",")
        text = "\n".join(lines if mark == "," else (line.replace(",", ".") for line in lines))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of nothing but comments
            table = np.genfromtxt(io.StringIO(text), delimiter=mark, names=True, dtype=np.float64)
    except ChipError:
        raise
    except (ValueError, IndexError, UserWarning):  # also of bytes that are no UTF-8
        raise ChipError(
            f"{path}: not a csv with a header and as many numbers in each line"
        ) from None
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names or ()}
