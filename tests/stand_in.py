"""Stand-ins for data sets whose files are not at hand: their shapes and types, random content."""

import numpy as np

from bss2jax import data
from bss2jax.data import Dataset, Split


def random_like(name, train=64, test=32, seed=0):
    """A set with the shapes, types and classes of a shipped one; y says nothing of x.

    Args:
        name: of the shipped set.
        train: samples in the training split.
        test: samples in the test split, and in the validation split where the set has one.
        seed: of the content.
    """
    known = data.spec(name)
    rng = np.random.default_rng(seed)

    def draw(samples):
        # One step beyond the scale for integers, which are cut to whole numbers.
        ends = np.add(known.full_scale, np.issubdtype(known.dtype, np.integer))
        x = (rng.random((samples, *known.shape)) * ends).astype(known.dtype)
        y = rng.integers(0, len(known.classes), samples, np.int32)
        return Split(x, y, rng.integers(0, 10, samples, np.int32) if known.grouped else None)

    splits = dict(zip(known.splits, map(draw, (train, test, test))))
    return Dataset(name, classes=known.classes, full_scale=known.full_scale, **splits)
