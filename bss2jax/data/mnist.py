"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 grey.

References: Y. LeCun, C. Cortes, C. Burges, MNIST handwritten digit database, 2010; the IDX format
is described at http://yann.lecun.com/exdb/mnist/.
"""

import gzip
from pathlib import Path

import numpy as np

from bss2jax.data.dataset import Split
from bss2jax.data.originals import Original, locate

_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"


def _original(name: str, sha256: str) -> Original:
    return Original(f"mnist/{name}", _MIRROR + name, sha256)


# Images and labels of each split, as registered by tensorflow-datasets 4.9.10 too.
FILES = {
    "train": (
        _original(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        _original(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    "test": (
        _original(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        _original(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}


def splits() -> tuple[Split, ...]:
    """Builds MNIST from its original files.

    Returns:
        `(train, test)` with x uint8 `[S, 28, 28, 1]`, 0..255.

    Raises:
        DataError: an original file is missing or wrong.
    """
    return tuple(
        Split(read_idx(locate(images))[..., None], read_idx(locate(labels)).astype(np.int32))
        for images, labels in FILES.values()
    )


def read_idx(path: Path) -> np.ndarray:
    """Reads gzipped IDX, a uint8 array of any shape.

    Its bytes: 0, 0, 8 (uint8) and the number of axes; the sizes as big-endian uint32; the values.
    """
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
