"""UCI HAR: six activities of 30 people with a phone at the waist, 7,352 + 2,947 windows.

A window is 128 steps of 20 ms of nine inertial signals: body acceleration, g, angular velocity,
rad/s, and total acceleration, g, each in x, y, z. Windows of one recording overlap by half. The
split is the official one, by person: 21 and 9. Its README asks for acknowledgement and prohibits
commercial use.

References: D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, A Public Domain Dataset for
Human Activity Recognition Using Smartphones, ESANN 2013; doi 10.24432/C54S4K.
"""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from bss2jax.data import records, spec
from bss2jax.data.archive import Archive
from bss2jax.data.dataset import DataError, Split
from bss2jax.data.files import SourceFile, locate

SIGNALS = tuple(
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)

# The official download is an archive with the original archive in it.
_ORIGINAL = "UCI HAR Dataset.zip"
_ORIGINAL_SHA256 = "2045e435c955214b38145fb5fa00776c72814f01b203fec405152dac7d5bfeb0"

FILE = SourceFile(
    "har/UCI_HAR_Dataset.zip",
    "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
    61005872,
    "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
    repacks=(
        (60999314, _ORIGINAL_SHA256),
        # Packed anew without the 561 features, which nothing here reads.
        (32073504, "3def8d307dc7b8e35d91f4bc8d9399cbdcae00f7eb7160d6689a5281343bb4c4"),
    ),
)


class Har(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """UCI HAR in its original order, prepared without TensorFlow; people as groups 1..30."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return records.info(self, "signals", spec("har"))

    def _split_generators(self, dl_manager):
        del dl_manager  # would download by its own rules; `locate` prefers the files at hand
        path = locate(FILE)
        return {split: self._generate_examples(path, split) for split in ("train", "test")}

    def _generate_examples(self, path, split):
        signals, labels, people = read(path, split)
        for index, (window, label, person) in enumerate(zip(signals, labels, people)):
            yield index, {"signals": window, "label": int(label), "group": int(person)}


def splits() -> tuple[Split, ...]:
    """Builds HAR from its original archive.

    Returns:
        `(train, test)` with x float32 `[S, 128, 9]`, g and rad/s, and the person as group, 1..30.

    Raises:
        DataError: the archive is missing or wrong, or the cache cannot be written.
    """
    return records.decode(Har)


def read(path: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads one split of an archive, the official one, the one inside it, or a repack.

    Args:
        path: of the archive.
        split: `train` or `test`.

    Returns:
        Signals float32 `[S, 128, 9]`, labels int32 `[S]`, 0..5, and people int32 `[S]`, 1..30.

    Raises:
        DataError: a file in it is missing or wrong.
    """
    with Archive(path, path) as archive:
        if _ORIGINAL not in archive.names:
            return _read(archive, path, split)
        inner = archive.read(_ORIGINAL)
    shown = f"{_ORIGINAL} in {path}"
    sha256 = hashlib.sha256(inner).hexdigest()
    if sha256 != _ORIGINAL_SHA256:
        raise DataError(
            f"{shown}: got sha256 {sha256}, expected {_ORIGINAL_SHA256}. Replace the file"
        )
    with Archive(io.BytesIO(inner), shown) as archive:
        return _read(archive, shown, split)


def _read(archive, shown, split):
    folder = f"UCI HAR Dataset/{split}/"

    def column(name, least, most):
        values = _table(archive.read(folder + name), 1, f"{shown}: {folder}{name}")[:, 0]
        if not ((values >= least) & (values <= most) & (values == np.rint(values))).all():
            raise DataError(
                f"{shown}: {folder}{name}: expected whole numbers {least}..{most}. Replace the file"
            )
        return values.astype(np.int32)

    labels = column(f"y_{split}.txt", 1, 6) - 1
    people = column(f"subject_{split}.txt", 1, 30)
    signals = np.empty((len(labels), 128, len(SIGNALS)), np.float32)
    for i, signal in enumerate(SIGNALS):
        name = f"{folder}Inertial Signals/{signal}_{split}.txt"
        values = _table(archive.read(name), 128, f"{shown}: {name}")
        if not len(values) == len(labels) == len(people):
            raise DataError(
                f"{shown}: {name} has {len(values)} windows; there are {len(labels)} labels and "
                f"{len(people)} people, expected as many of each. Replace the file"
            )
        signals[:, :, i] = values
    return signals, labels, people


def _table(content, columns, shown):
    """Numbers in rows of `columns`: float64 `[rows, columns]`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how NumPy says "not a number"
            values = np.fromstring(content.decode("ascii"), sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise DataError(f"{shown}: not a table of numbers: {error}. Replace the file") from error
    rows = len(content.split(b"\n")) - content.endswith(b"\n")
    if values.size == 0 or values.size != rows * columns or not np.isfinite(values).all():
        raise DataError(
            f"{shown}: got {values.size} numbers in {rows} lines, expected {columns} finite ones "
            "a line. Replace the file"
        )
    return values.reshape(rows, columns)
