"""Decoded arrays of a set in one uncompressed `.npz`, so that training reads a single file."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bss2jax.data.dataset import DataError, Spec, Split
from bss2jax.data.originals import cache_directory
from bss2jax.files import read_npz, writing

_log = logging.getLogger(__name__)


def cache_path(name: str, spec: Spec) -> Path:
    """Where the arrays of a set are kept."""
    return cache_directory() / f"{name}-v{spec.version}.npz"


def cached(name: str, spec: Spec, splits: Callable[[], tuple[Split, ...]]) -> tuple[Split, ...]:
    """The splits of a set, from its cache file, which is made if there is none.

    A damaged cache file is reported as a warning and rebuilt.

    Args:
        name: the set's name.
        spec: what is known of the set; shapes and types are checked against it.
        splits: makes the set's splits in the spec's order; called only if the cache cannot be used.

    Returns:
        A tuple of `Split`, in the spec's order.

    Raises:
        DataError: the set cannot be built, or its cache file cannot be read or written.
    """
    path = cache_path(name, spec)
    try:
        return _read(path, spec)
    except (FileNotFoundError, NotADirectoryError):
        _log.info("preparing %s, once, for %s", name, path)
    except ValueError as error:
        _log.warning("the data cache %s is rebuilt: %s", path, error)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}. Make it readable, or set BSS2JAX_CACHE to "
            "another directory"
        ) from None
    arrays = {
        f"{split_name}_{field}": values
        for split_name, split in zip(spec.splits, splits(), strict=True)
        for field, values in vars(split).items()
        if values is not None
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path) as file:
            np.savez(file, **arrays)
        return _read(path, spec)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}. Make room there, or set "
            "BSS2JAX_CACHE to a directory that can be written"
        ) from None


def _read(path: Path, spec: Spec) -> tuple[Split, ...]:
    fields = {"x": ((None, *spec.shape), spec.dtype), "y": ((None,), "int32")}
    if spec.grouped:
        fields["group"] = ((None,), "int32")
    expected = {f"{name}_{field}": fields[field] for name in spec.splits for field in fields}
    arrays = read_npz(path, expected)
    return tuple(Split(*(arrays[f"{name}_{field}"] for field in fields)) for name in spec.splits)
