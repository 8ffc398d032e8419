"""A user's own data in files: arrays in one npz, or a folder of images a class."""

from pathlib import Path
from typing import Any

import numpy as np

from bss2jax.data.dataset import DataError, Dataset, Split
from bss2jax.data.images import SUFFIXES, read_images
from bss2jax.files import read_npz

_EXAMPLE = "numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"
_EVERY = 5  # of a folder without a split, every fifth image tests


def from_npz(path: Path) -> Dataset:
    """Reads a data set from arrays `x_train`, `y_train`, `x_test` and `y_test`.

    There may also be `x_validation` and `y_validation`; `group_train`, which says who a sample is
    from; `classes`, their names, by default the numbers; and `full_scale`, the value that means 1,
    by default the largest number of an integer type, and of floats the largest of `x_train`.

    Args:
        path: the path of the npz file.

    Raises:
        DataError: it cannot be read, or an array is missing or wrong.
    """
    try:
        arrays = read_npz(path)
        splits = {name: _split(arrays, name) for name in ("train", "test", "validation")}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (KeyError, ValueError) as error:
        said = f"no array {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: {said}; expected {_EXAMPLE}") from None
    train, test = splits["train"], splits["test"]
    assert train is not None and test is not None, "only validation may be left out"
    labels = np.concatenate([split.y for split in splits.values() if split is not None])
    classes = arrays.get("classes", np.arange(int(labels.max(initial=0)) + 1))
    scale = np.asarray(arrays.get("full_scale", _full_scale(train.x)))
    return Dataset(
        path.stem, train, test, tuple(map(str, classes)), scale.tolist(), splits["validation"]
    )


def from_folder(path: Path) -> Dataset:
    """Reads a data set from images, a folder a class, all of one size.

    The folders of classes lie in `train` and `test`, and perhaps `validation`; or in the folder
    itself, and then every fifth image of a class tests, by the order of their names.

    Args:
        path: the path of the folder.

    Raises:
        DataError: there are no images, or they differ in size.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    parts = {name: path / name for name in ("train", "test", "validation")}
    given = {name: _by_class(part) for name, part in parts.items() if part.is_dir()}
    if {"train", "test"} <= given.keys():
        classes = tuple(sorted(set().union(*given.values())))
    else:
        found = _by_class(path)
        classes = tuple(sorted(found))
        given = {
            "test": {name: files[::_EVERY] for name, files in found.items()},
            "train": {
                name: [file for i, file in enumerate(files) if i % _EVERY]
                for name, files in found.items()
            },
        }
    if not classes or not all(any(files.values()) for files in given.values()):
        raise DataError(
            f"{path}: no images found; expected {path}/CLASS/*.png, or {path}/train/CLASS/*.png "
            f"and {path}/test/CLASS/*.png"
        )
    try:
        splits = {name: _images(files, classes) for name, files in given.items()}
    except ValueError as error:
        raise DataError(str(error)) from None
    return Dataset(
        path.resolve().name, splits["train"], splits["test"], classes, 255.0,
        splits.get("validation"),
    )  # fmt: skip


def _split(arrays: dict[str, np.ndarray], name: str) -> Split | None:
    """The split of this name; None for a validation split that is not there."""
    if name == "validation" and "x_validation" not in arrays:
        return None
    x, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
    if y.dtype.kind not in "ui":
        raise ValueError(f"y_{name}: got {y.dtype}, expected whole numbers, the classes")
    return Split(x, y.astype(np.int32), arrays.get(f"group_{name}"))


def _full_scale(x: np.ndarray) -> float:
    if x.dtype.kind in "ui":
        return float(np.iinfo(x.dtype).max)
    return float(np.abs(x).max(initial=0)) or 1.0


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """The images of a folder's folders, by the name of these."""
    return {
        inner.name: sorted(f for f in inner.iterdir() if f.suffix.lower() in SUFFIXES)
        for inner in sorted(folder.iterdir())
        if inner.is_dir()
    }


def _images(files: dict[str, list[Path]], classes: tuple[str, ...]) -> Split:
    paths: list[Path] = []
    labels: list[Any] = []
    for label, name in enumerate(classes):
        paths += files.get(name, [])
        labels += [label] * len(files.get(name, []))
    return Split(read_images(paths), np.array(labels, np.int32))
