"""Decoded arrays of a set in one uncompressed `.npz`, so that training reads a single file."""

import logging
import zipfile
import zlib

import numpy as np

from bss2jax.data.dataset import Split
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


def cached(name, spec, splits):
    """The splits of a set, from its cache file, or built and stored there.

    A damaged cache file is reported as a warning and rebuilt.

    Args:
        name: of the set.
        spec: its `Spec`; shapes and types are checked against it.
        splits: `() -> (train, test)`; called only if the cache cannot be used.

    Returns:
        `(train, test)`, each a `Split`.

    Raises:
        DataError: the set cannot be built, or its cache file cannot be written.
    """
    path = cache_directory() / f"{name}-v{spec.version}.npz"
    found = _read(path, spec)
    if found is not None:
        return found

    _log.info("preparing %s, once, for %s", name, path)
    train, test = splits()
    with writing(path) as file:
        np.savez(file, train_x=train.x, train_y=train.y, test_x=test.x, test_y=test.y)
    return train, test


def _read(path, spec):
    """The splits stored at `path`; None if there is no such file or it is damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            train = Split(arrays["train_x"], arrays["train_y"])
            test = Split(arrays["test_x"], arrays["test_y"])
        _check(train, spec)
        _check(test, spec)
        return train, test
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _DAMAGED as error:
        _log.warning("the data cache %s is damaged and is rebuilt (%s)", path, error)
        return None


def _check(split, spec):
    """Raises a ValueError unless shapes, types and labels are those of the spec."""
    got = (split.x.shape[1:], split.x.dtype, split.y.dtype)
    expected = (spec.shape, np.dtype(spec.dtype), np.dtype(np.int32))
    if got != expected:
        raise ValueError(f"got sample shape, sample type, label type {got}, expected {expected}")
    if not len(split.y) or split.y.min() < 0 or split.y.max() >= len(spec.classes):
        raise ValueError(f"expected at least one label, all in 0..{len(spec.classes) - 1}")
