"""Data sets as plain NumPy arrays: `load("mnist").train.x`.

Each set has a module of its name with `splits() -> (train, test)`, or `(train, test, validation)`
where its `Spec` says so. It is imported at first use: it may need scikit-learn or pillow, which
importing this package does not. A set that comes from files is prepared once and then read from the
array cache (`cache.py`). A user's own set is named by its place, `load("mypackage.module:name")`,
or by its file or folder, `load("mine.npz")`, `load("images/")`; one of TensorFlow Datasets by its
name there, `load("tfds:kmnist")`.

Environment:
    BSS2JAX_DATA: directory with the original files (`mnist/train-images-idx3-ubyte.gz`, ...). Files
        that are not there are downloaded.
    BSS2JAX_CACHE: where downloads and decoded arrays are kept; default `~/.cache/bss2jax`.
"""

import hashlib
import os
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from bss2jax.data.cache import cache_path, cached
from bss2jax.data.dataset import DataError, Dataset, Spec, Split
from bss2jax.data.own import from_folder, from_npz
from bss2jax.data.specs import SPECS
from bss2jax.extras import named, own_code
from bss2jax.settings import nearest

__all__ = [
    "DataError",
    "Dataset",
    "Spec",
    "Split",
    "from_folder",
    "from_npz",
    "load",
    "names",
    "prepared",
    "spec",
]


def names() -> tuple[str, ...]:
    """The names `load` knows, sorted."""
    return tuple(sorted(SPECS))


def load(name: str) -> Dataset:
    """Loads a data set, preparing it first if this machine has never done so.

    Args:
        name: one of `names()`, or the place of a user's own: `mypackage.module:name`, in the
            current directory or on `sys.path`, is a `Dataset`, or a function that returns one; a
            path that ends in `.npz` or is a folder, see `from_npz` and `from_folder`; or
            `tfds:name`, a set of TensorFlow Datasets.

    Raises:
        ValueError: no set has this name, or the place holds none.
        DataError: a file is missing, wrong, or cannot be written.
    """
    if _is_own(name):
        return _own(name, _stamp(name))
    known = spec(name)

    def splits() -> tuple[Split, ...]:
        return import_module(f"bss2jax.data.{name}").splits()

    train, test, *rest = splits() if known.version is None else cached(name, known, splits)
    return _dataset(name, known, train, test, *rest)


def prepared(name: str) -> Path | None:
    """The file with a set's arrays, if this machine has prepared it; else None.

    Raises:
        ValueError: no set has this name.
        DataError: `$BSS2JAX_CACHE` names no directory.
    """
    known = spec(name)
    if known.version is None:
        return None
    try:
        path = cache_path(name, known)
    except DataError:
        if os.environ.get("BSS2JAX_CACHE"):
            raise
        return None  # a user without a home has prepared nothing there
    return path if os.path.isfile(path) else None


def spec(name: str) -> Spec:
    """What is known of a set without reading any file; a user's own is loaded for it.

    Raises:
        ValueError: no set has this name, or the place holds none.
    """
    if _is_own(name):
        return _own(name, _stamp(name)).spec()
    if name in SPECS:
        return SPECS[name]
    raise ValueError(
        f"no data set {name!r}: expected one of {', '.join(names())}{nearest(name, names())}; "
        "your own is named as mine.npz, a folder of images, or mypackage.module:name, one of "
        "TensorFlow Datasets as tfds:name"
    )


def _is_own(name: str) -> bool:
    """Whether a set is a user's own, or one of TensorFlow Datasets."""
    return (
        ":" in name or name.endswith((".npz", "/")) or (name not in SPECS and os.path.isdir(name))
    )


def _stamp(name: str) -> int:
    """When a set's file was changed, ns; 0 for what is no file."""
    return os.stat(name).st_mtime_ns if os.path.isfile(name) else 0


@lru_cache(maxsize=1)
def _own(place: str, stamp: int) -> Dataset:
    """A user's own set, or one of TensorFlow Datasets; what makes it is called once."""
    if place.endswith(".npz"):
        return from_npz(Path(place))
    if place.endswith("/") or ":" not in place:
        return from_folder(Path(place))
    if place.startswith("tfds:"):
        return import_module("bss2jax.data.tfds").dataset(place.removeprefix("tfds:"))
    found = named(place)
    if callable(found):
        with own_code(place):
            found = found()
    if not isinstance(found, Dataset):
        raise ValueError(f"{place}: got {found!r:.40}, expected a bss2jax.data.Dataset")
    return found


def _dataset(
    name: str, known: Spec, train: Split, test: Split, validation: Split | None = None
) -> Dataset:
    note = ""
    if known.copies:
        note = dict(known.copies).get(hashlib.sha256(test.x.tobytes()).hexdigest(), "")
    return Dataset(name, train, test, known.classes, known.full_scale, validation, note)
