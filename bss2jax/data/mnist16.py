"""MNIST for one chip: the outer two rows and columns dropped, rescaled to 16x16.

Each new pixel is the mean of the 1.5 x 1.5 old ones that it covers.

References: Cramer et al. 2022, 10.1073/pnas.2109194119 (24x24 rescaled to 16x16; how is not said).
"""

import numpy as np

from bss2jax import data
from bss2jax.data.dataset import Dataset, Split


def splits() -> tuple[Split, ...]:
    """Makes both splits from MNIST: x uint8 `[S, 16, 16, 1]`.

    Raises:
        DataError: as MNIST's.
    """
    return shrunk(data.load("mnist"))


def shrunk(whole: Dataset) -> tuple[Split, ...]:
    """Returns both splits of a set of images of 28x28 pixels, each image as `shrink` makes it."""
    return tuple(Split(shrink(split.x), split.y) for split in (whole.train, whole.test))


def shrink(images: np.ndarray) -> np.ndarray:
    """Crops images `[S, 28, 28, 1]` to their middle 24x24 and averages it to 16x16, uint8."""
    inner = images[:, 2:-2, 2:-2, 0].astype(np.float32)
    # How much of old pixel j lies within new pixel i, over what the new one covers.
    new, old = np.arange(16)[:, None] * 1.5, np.arange(24)
    share = np.clip(np.minimum(new + 1.5, old + 1) - np.maximum(new, old), 0, 1) / 1.5
    share = share.astype(np.float32)
    return np.rint(share @ inner @ share.T).astype(np.uint8)[..., None]
