"""A laboratory's own measurements of a chip, from files: npz or csv, without pickle."""

import io
from pathlib import Path

import numpy as np

from bss2jax import files
from bss2jax.chip.substrate import Substrate

_MEASURED = {"gain": "column_gain", "offset": "offset", "noise_std": "noise_std"}


class ChipError(ValueError):
    """A file holds no chip that can be used; the message names the file and what is wrong."""


def read_measurements(path: str | Path, substrate: Substrate) -> dict[str, np.ndarray]:
    """Reads some of a chip's column gain, offset and noise, as `Chip` names them.

    Args:
        path: an npz with arrays, or a csv with a header line and a line a column, named `gain`
            (over the nominal one, 1 = nominal), `offset` (LSB per read) and `noise_std` (LSB).
            `[H, C]`, or flat with the columns of hemisphere 0 first.
        substrate: of which it is.

    Returns:
        `[H, C]` float32 arrays.

    Raises:
        ChipError: the file cannot be read, a name is unknown, a shape or a value impossible.
    """
    path = Path(path)
    measured = _read_csv(path) if path.suffix == ".csv" else read_npz(path)
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
        arrays[_MEASURED[name]] = values.reshape(shape).astype(np.float32)
    gain = np.median(measured.get("gain", 1.0))
    if not 0.1 < gain < 10:
        raise ChipError(
            f"{path}: gain: a median of {gain:g}; gains are relative, 1 = nominal: divide what was "
            f"measured by {substrate.gain:g} num_sends"
        )
    return arrays


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz file, of any shape; raises `ChipError` where it is none."""
    try:
        return files.read_npz(path)
    except OSError as error:
        raise ChipError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ChipError(f"{path}: {error}") from None


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
