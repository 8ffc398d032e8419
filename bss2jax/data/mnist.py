"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 grey.

References: Y. LeCun, C. Cortes, C. Burges, MNIST handwritten digit database, 2010.
"""

from functools import partial

from bss2jax.data.dataset import Split
from bss2jax.data.idx import original, splits_of

# Where torchvision, Keras and others keep the files.
_FOLDERS = ("mnist/", "MNIST/raw/", "mnist/MNIST/raw/", "raw/", "")
_original = partial(original, _FOLDERS, "https://storage.googleapis.com/cvdf-datasets/mnist/")

# Images and labels of each split, as registered by tensorflow-datasets 4.9.10 too.
FILES = {
    "train": (
        _original(
            "train-images-idx3-ubyte",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _original(
            "train-labels-idx1-ubyte",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "test": (
        _original(
            "t10k-images-idx3-ubyte",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _original(
            "t10k-labels-idx1-ubyte",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
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
    return splits_of(FILES)
