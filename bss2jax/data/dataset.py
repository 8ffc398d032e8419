"""What a data set is once loaded: two splits of NumPy arrays and what its values mean."""

from dataclasses import dataclass

import numpy as np


class DataError(RuntimeError):
    """A data file is missing, wrong or cannot be written; the message says which and what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels.

    Attributes:
        x: `[S, ...]` samples in the set's own type; images are uint8 `[S, H, W, C]`.
        y: `[S]` int32 class labels, 0..classes-1.
    """

    x: np.ndarray
    y: np.ndarray

    def __post_init__(self):
        if self.y.shape != self.x.shape[:1]:
            raise ValueError(
                f"x has shape {self.x.shape} and y {self.y.shape}; expected y of shape "
                f"{self.x.shape[:1]}, one label a sample"
            )


@dataclass(frozen=True)
class Spec:
    """What is known of a set before any file is read.

    Attributes:
        shape: of one sample, without the batch axis.
        dtype: of the samples.
        classes: what each label means.
        full_scale: the value of x that means 1.0.
        version: of the cached arrays; raised when what is stored changes. None: the set is embedded
            in a package and needs no cache.
    """

    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    full_scale: float
    version: int | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded set; `x / full_scale` is the value as a number up to 1.0."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    full_scale: float

    @property
    def shape(self):
        """The shape of one sample, without the batch axis."""
        return self.train.x.shape[1:]
