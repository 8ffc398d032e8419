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
import zipfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from bss2jax.data import spec
from bss2jax.data.dataset import Split
from bss2jax.data.originals import Original, locate

SPLIT_SEED = 0
_SPLITS = spec("eurosat").splits
_CLASSES = spec("eurosat").classes

# A copy at a fixed revision, of what was published at https://madm.dfki.de/files/sentinel/.
# The sha256 is that which tensorflow-datasets 4.9.10 registers for the latter.
FILE = Original(
    "eurosat/EuroSAT.zip",
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
    "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
    # The same images, packed anew.
    repacks=("78896d3e0327a2b799bedae034cff68ca78bd8fee39cb3398559866bf157162a",),
)


def splits() -> tuple[Split, ...]:
    """Builds EuroSAT from its original archive; each split by class, then by number.

    Returns:
        `(train, test, validation)` with x uint8 `[S, 64, 64, 3]`, 0..255.

    Raises:
        DataError: the archive is missing or wrong.
    """
    images: dict[str, list[np.ndarray]] = {split: [] for split in _SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in _SPLITS}
    with zipfile.ZipFile(locate(FILE)) as archive:
        for label, kind in enumerate(_CLASSES):
            for split, paths in divide(_images(archive, kind)).items():
                images[split] += [_decode(archive.read(path)) for path in paths]
                labels[split] += [label] * len(paths)
    return tuple(Split(np.stack(images[s]), np.array(labels[s], np.int32)) for s in _SPLITS)


def _images(archive: zipfile.ZipFile, kind: str) -> list[str]:
    """The paths of the images of a class, such as `2750/Forest/Forest_7.jpg`, by number."""
    paths = [path for path in archive.namelist() if path.startswith(f"2750/{kind}/{kind}_")]
    return sorted(paths, key=lambda path: int(re.findall(r"\d+", path)[-1]))


def _decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def divide(paths: Sequence[str]) -> dict[str, list[str]]:
    """Divides the images of one class into splits by the rule above; each keeps its order.

    Args:
        paths: the images' paths, in any order.

    Returns:
        Paths by the name of their split.
    """

    def rank(path: str) -> bytes:
        name = path.rpartition("/")[2]
        return hashlib.sha256(f"{SPLIT_SEED}/{name}".encode()).digest()

    tenth, ranked = len(paths) // 10, sorted(paths, key=rank)
    test, validation = set(ranked[:tenth]), set(ranked[tenth : 2 * tenth])
    return {
        "train": [path for path in paths if path not in test | validation],
        "test": [path for path in paths if path in test],
        "validation": [path for path in paths if path in validation],
    }
