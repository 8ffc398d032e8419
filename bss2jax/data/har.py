"""UCI HAR: six activities of 30 people with a phone at the waist, 7,352 + 2,947 windows.

A window is 128 steps of 20 ms of nine inertial signals: body acceleration, g, angular velocity,
rad/s, and total acceleration, g, each in x, y, z. Windows of one recording overlap by half. The
split is the official one, by person: 21 and 9. Its README asks for acknowledgement and prohibits
commercial use.

References: D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, A Public Domain Dataset for
Human Activity Recognition Using Smartphones, ESANN 2013; doi 10.24432/C54S4K.
"""

import io
import zipfile

import numpy as np

from bss2jax.data.dataset import Split
from bss2jax.data.originals import Original, locate

SIGNALS = tuple(
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)

# The official download is an archive with the original archive in it.
_ORIGINAL = "UCI HAR Dataset.zip"

FILE = Original(
    "har/UCI_HAR_Dataset.zip",
    "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
    "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
    repacks=(
        "2045e435c955214b38145fb5fa00776c72814f01b203fec405152dac7d5bfeb0",  # the original inside
        # Packed anew without the 561 features, which nothing here reads.
        "3def8d307dc7b8e35d91f4bc8d9399cbdcae00f7eb7160d6689a5281343bb4c4",
    ),
)


def splits() -> tuple[Split, ...]:
    """Builds HAR from its original archive, in its order.

    Returns:
        `(train, test)` with x float32 `[S, 128, 9]`, g and rad/s, and the person as group, 1..30.

    Raises:
        DataError: the archive is missing or wrong.
    """
    with zipfile.ZipFile(locate(FILE)) as archive:
        if _ORIGINAL in archive.namelist():
            archive = zipfile.ZipFile(io.BytesIO(archive.read(_ORIGINAL)))
        return _split(archive, "train"), _split(archive, "test")


def _split(archive: zipfile.ZipFile, split: str) -> Split:
    def numbers(name: str) -> np.ndarray:
        text = archive.read(f"UCI HAR Dataset/{split}/{name}_{split}.txt").decode()
        return np.fromstring(text, sep=" ")

    signals = [numbers(f"Inertial Signals/{signal}").reshape(-1, 128) for signal in SIGNALS]
    labels, people = numbers("y") - 1, numbers("subject")
    x = np.stack(signals, axis=-1).astype(np.float32)
    return Split(x, labels.astype(np.int32), people.astype(np.int32))
