"""Sets of images in IDX files, as MNIST and those that follow it are published.

References: the IDX format is described at http://yann.lecun.com/exdb/mnist/.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bss2jax.data.dataset import Split
from bss2jax.data.originals import Original, locate, unpacked


def original(
    folders: Sequence[str], mirror: str, name: str, sha256: str, unpacked: str
) -> Original:
    """Returns a file of a set, which may lie in several places, packed or not.

    Args:
        folders: the folders below the data directory where libraries keep it, the first its own.
        mirror: the address of the folder that it is downloaded from.
        name: its name without `.gz`.
        sha256, unpacked: the digests of it packed and unpacked.
    """
    names = (f"{name}.gz", name, name.replace("-idx", ".idx"))
    own, *elsewhere = (folder + each for folder in folders for each in names)
    return Original(own, f"{mirror}{name}.gz", sha256, (), unpacked, tuple(elsewhere))


def splits_of(files: Mapping[str, tuple[Original, Original]]) -> tuple[Split, ...]:
    """Reads splits, each of a file with images and one with labels.

    Returns:
        A tuple of `Split` with x uint8 `[S, H, W, 1]`, 0..255, in the order of the files.

    Raises:
        DataError: a file is missing or wrong.
    """
    return tuple(
        Split(read_idx(locate(images))[..., None], read_idx(locate(labels)).astype(np.int32))
        for images, labels in files.values()
    )


def read_idx(path: Path) -> np.ndarray:
    """Reads IDX, gzipped or not, a uint8 array of any shape.

    Its bytes: 0, 0, 8 (uint8) and the number of axes; the sizes as big-endian uint32; the values.
    """
    content = unpacked(path)
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
