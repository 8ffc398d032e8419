"""Decoded arrays of a set in one uncompressed `.npz`, so that training reads a single file."""

import logging
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bss2jax.data.dataset import Spec, Split
from bss2jax.data.files import cache_directory, writing

_log = logging.getLogger(__name__)

# What numpy and zipfile can raise on a broken file; most of it seen by breaking one at random.
_DAMAGED = (
    EOFError,
    KeyError,  # an array is missing
    MemoryError,  # a huge size in a header
    OSError,
    RuntimeError,  # "encrypted", or packed in an unknown way
    ValueError,  # not an array, a wrong type, pickled
    zipfile.BadZipFile,
    zlib.error,
)


def cache_path(name: str, spec: Spec) -> Path:
    """Where the arrays of a set are kept."""
    return cache_directory() / f"{name}-v{spec.version}.npz"


def cached(name: str, spec: Spec, splits: Callable[[], tuple[Split, ...]]) -> tuple[Split, ...]:
    """The splits of a set, from its cache file, or built and stored there.

    A damaged cache file is reported as a warning and rebuilt.

    Args:
        name: of the set.
        spec: its `Spec`; shapes and types are checked against it.
        splits: returns the set's splits in the spec's order; called only if the cache cannot be
            used.

    Returns:
        A tuple of `Split`, in the spec's order.

    Raises:
        DataError: the set cannot be built, or its cache file cannot be written.
    """
    path = cache_path(name, spec)
    found = _read(path, spec)
    if found is not None:
        return found

    _log.info("preparing %s, once, for %s", name, path)
    made = tuple(splits())
    arrays = {
        f"{name}_{field}": values
        for name, split in zip(spec.splits, made, strict=True)
        for field, values in vars(split).items()
        if values is not None
    }
    with writing(path) as file:
        np.savez(file, **arrays)
    return made


def _read(path, spec):
    """The splits stored at `path`; None if there is no such file or it is damaged."""
    fields = ("x", "y", "group") if spec.grouped else ("x", "y")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = tuple(
                Split(*(arrays[f"{name}_{field}"] for field in fields)) for name in spec.splits
            )
        for split in found:
            _check(split, spec)
        return found
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _DAMAGED as error:
        _log.warning("the data cache %s is damaged and is rebuilt (%s)", path, error)
        return None


def _check(split, spec):
    """Raises a ValueError unless shapes, types and labels are those of the spec."""
    integer = np.dtype(np.int32)
    got = (split.x.shape[1:], split.x.dtype, split.y.dtype)
    expected = (spec.shape, np.dtype(spec.dtype), integer)
    if got != expected:
        raise ValueError(f"got sample shape, sample type, label type {got}, expected {expected}")
    if split.group is not None and split.group.dtype != integer:
        raise ValueError(f"got groups of type {split.group.dtype}, expected {integer}")
    if not len(split.y) or split.y.min() < 0 or split.y.max() >= len(spec.classes):
        raise ValueError(f"expected at least one label, all in 0..{len(spec.classes) - 1}")
