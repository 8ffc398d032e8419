"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 grey.

The builder that comes with tensorflow-datasets extracts its files through TensorFlow; this one
reads them with NumPy.

References: Y. LeCun, C. Cortes, C. Burges, MNIST handwritten digit database, 2010; the IDX format
is described at http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from bss2jax.data import records, spec
from bss2jax.data.dataset import DataError, Split
from bss2jax.data.files import SourceFile, locate

_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"


def _source(name, size, sha256):
    return SourceFile(f"mnist/{name}", _MIRROR + name, size, sha256)


# Images and labels of each split, as registered by tensorflow-datasets 4.9.10 too.
FILES = {
    "train": (
        _source(
            "train-images-idx3-ubyte.gz",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        _source(
            "train-labels-idx1-ubyte.gz",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    "test": (
        _source(
            "t10k-images-idx3-ubyte.gz",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        _source(
            "t10k-labels-idx1-ubyte.gz",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}


class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """MNIST in its original order, prepared without TensorFlow.

    Not registered: tfds has a set of that name.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return records.info(self, "image", spec("mnist"))

    def _split_generators(self, dl_manager):
        del dl_manager  # would download by its own rules; `locate` prefers the files at hand
        paths = {split: [locate(file) for file in files] for split, files in FILES.items()}
        return {split: self._generate_examples(*pair) for split, pair in paths.items()}

    def _generate_examples(self, images_path, labels_path):
        images, labels = read_images(images_path), read_labels(labels_path)
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} has {len(images)} images and {labels_path} {len(labels)} labels; "
                "expected as many of each. Replace both files"
            )
        for index, (image, label) in enumerate(zip(images, labels)):
            yield index, {"image": image, "label": int(label)}


def splits() -> tuple[Split, ...]:
    """Builds MNIST from its original files.

    Returns:
        `(train, test)` with x uint8 `[S, 28, 28, 1]`, 0..255.

    Raises:
        DataError: an original file is missing or wrong, or the cache cannot be written.
    """
    return records.decode(Mnist)


def read_images(path: Path) -> np.ndarray:
    """Reads an IDX file of images: uint8 `[S, 28, 28, 1]`.

    Raises:
        DataError: the file is not one.
    """
    images = _read_idx(path, axes=3)
    if images.shape[1:] != (28, 28):
        raise DataError(
            f"{path}: got images of {images.shape[1:]}, expected (28, 28). Replace the file"
        )
    return images[..., None]


def read_labels(path: Path) -> np.ndarray:
    """Reads an IDX file of labels: uint8 `[S]`, 0..9.

    Raises:
        DataError: the file is not one.
    """
    labels = _read_idx(path, axes=1)
    if labels.size and labels.max() > 9:
        raise DataError(f"{path}: got label {labels.max()}, expected 0..9. Replace the file")
    return labels


def _read_idx(path, axes):
    """Reads gzipped IDX: magic 0, 0, 8 (uint8), axes; sizes as big-endian uint32; the values."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot unpack {path}: {error}. Replace the file") from error

    magic = bytes((0, 0, 8, axes))
    start = 4 + 4 * axes
    if content[:4] != magic or len(content) < start:
        raise DataError(
            f"{path}: got {content[:4].hex(' ')} at the start of {len(content)} bytes, expected "
            f"{magic.hex(' ')} and {axes} sizes: IDX, uint8, {axes} axes. Replace the file"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, offset=4))
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: got {len(content) - start} values, expected {math.prod(shape)} for shape "
            f"{shape}. Replace the file"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
