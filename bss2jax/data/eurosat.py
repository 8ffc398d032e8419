"""EuroSAT: 27,000 satellite images of ten kinds of land, 64x64 RGB.

There is no official split. This one is stratified, 80 % train, 10 % test, 10 % validation: in each
class, images are ordered by the sha256 of the text `0/NAME`, such as `0/Forest_7.jpg`, 0 being the
seed; the first tenth tests, the second validates, the rest trains. So 21,600, 2,700 and 2,700,
whatever the machine and its libraries.

References: P. Helber, B. Bischke, A. Dengel, D. Borth, EuroSAT: A Novel Dataset and Deep Learning
Benchmark for Land Use and Land Cover Classification, IEEE JSTARS 2019; MIT licence; contains
Copernicus Sentinel data.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, UnidentifiedImageError

from bss2jax.data import records, spec
from bss2jax.data.archive import Archive
from bss2jax.data.dataset import DataError, Split
from bss2jax.data.files import SourceFile, locate

SPLIT_SEED = 0
_SPLITS = spec("eurosat").splits
_CLASSES = spec("eurosat").classes

# A copy at a fixed revision, of what was published at https://madm.dfki.de/files/sentinel/.
# Size and sha256 are those that tensorflow-datasets 4.9.10 registers for the latter.
FILE = SourceFile(
    "eurosat/EuroSAT.zip",
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
    94280567,
    "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
    # The same images, packed anew.
    repacks=((92848109, "78896d3e0327a2b799bedae034cff68ca78bd8fee39cb3398559866bf157162a"),),
)


class Eurosat(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """EuroSAT with its split by hash, prepared without TensorFlow; by class, then by number.

    Not registered: tfds has a set of that name.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return records.info(self, "image", spec("eurosat"))

    def _split_generators(self, dl_manager):
        del dl_manager  # would download by its own rules; `locate` prefers the files at hand
        path = locate(FILE)
        return {split: self._generate_examples(path, split) for split in _SPLITS}

    def _generate_examples(self, path, split):
        with Archive(path, path) as archive:
            for label, names in enumerate(images(archive, path)):
                for name in divide(names)[split]:
                    image = decode(archive.read(name), f"{path}: {name}")
                    yield name, {"image": image, "label": label}


def splits() -> tuple[Split, ...]:
    """Builds EuroSAT from its original archive.

    Returns:
        `(train, test, validation)` with x uint8 `[S, 64, 64, 3]`, 0..255.

    Raises:
        DataError: the archive is missing or wrong, or the cache cannot be written.
    """
    return records.decode(Eurosat, _SPLITS)


def images(archive: Archive, shown: Path | str) -> list[list[str]]:
    """The paths of the images of each class, ordered by their number.

    Raises:
        DataError: a class has fewer than ten, too few to split.
    """
    found: list[dict[int, str]] = [{} for _ in _CLASSES]
    for name in archive.names:
        match = re.fullmatch(r"2750/(\w+)/(\w+)_(\d+)\.jpg", name)
        if match and match[1] == match[2] and match[1] in _CLASSES:
            found[_CLASSES.index(match[1])][int(match[3])] = name
    for kind, numbers in zip(_CLASSES, found):
        if len(numbers) < 10:
            raise DataError(
                f"{shown}: got {len(numbers)} images 2750/{kind}/{kind}_N.jpg, expected 10 or "
                "more. Replace the file"
            )
    return [[numbers[n] for n in sorted(numbers)] for numbers in found]


def divide(paths: Sequence[str]) -> dict[str, list[str]]:
    """Divides the images of one class into splits by the rule above; each keeps its order.

    Args:
        paths: of the images, in any order.

    Returns:
        Paths by the name of their split.
    """

    def rank(path):
        name = path.rpartition("/")[2]
        return hashlib.sha256(f"{SPLIT_SEED}/{name}".encode()).digest()

    tenth, ranked = len(paths) // 10, sorted(paths, key=rank)
    test, validation = set(ranked[:tenth]), set(ranked[tenth : 2 * tenth])
    return {
        "train": [path for path in paths if path not in test | validation],
        "test": [path for path in paths if path in test],
        "validation": [path for path in paths if path in validation],
    }


def decode(content: bytes, shown: str) -> np.ndarray:
    """Decodes one JPEG: uint8 `[64, 64, 3]`.

    Raises:
        DataError: it is not one, or has another size.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if (image.size, image.mode) != ((64, 64), "RGB"):
                raise DataError(
                    f"{shown}: got {image.mode} of {image.size}, expected RGB of (64, 64). "
                    "Replace the archive"
                )
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise DataError(f"{shown}: no JPEG: {error}. Replace the archive") from error
