"""Records of CIFAR's binary files: labels, a byte each, then 32x32 pixels of red, green and blue.

References: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; the binary
versions at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bss2jax.data.dataset import Split

_SIDE, _COLOURS = 32, 3


def unpack(archive: Path, members: Sequence[str]) -> list[bytes]:
    """Returns what files in a packed archive hold.

    Args:
        archive: the path of the `.tar.gz`.
        members: paths in it.
    """
    with tarfile.open(archive) as packed:
        return [_content(packed, name) for name in members]


def records(contents: Sequence[bytes], labels: int = 1) -> Split:
    """Reads records, one after the other.

    Args:
        contents: what files hold, in their order.
        labels: how many labels a record has, of which the last is taken.

    Returns:
        A `Split` with x uint8 `[S, 32, 32, 3]`, 0..255.
    """
    size = labels + _COLOURS * _SIDE * _SIDE
    rows = np.concatenate([np.frombuffer(each, np.uint8).reshape(-1, size) for each in contents])
    planes = rows[:, labels:].reshape(-1, _COLOURS, _SIDE, _SIDE)
    x = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return Split(x, rows[:, labels - 1].astype(np.int32))


def _content(packed: tarfile.TarFile, name: str) -> bytes:
    file = packed.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()
