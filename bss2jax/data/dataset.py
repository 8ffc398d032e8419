"""What a data set is once loaded: two splits of NumPy arrays and what its values mean."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt

from bss2jax.settings.readers import reader_of

_Scale = Annotated[float, Gt(0)]


class DataError(RuntimeError):
    """A data file is missing, wrong or cannot be written; the message says which and what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels.

    Attributes:
        x: `[S, ...]` samples in the set's own type; images are uint8 `[S, H, W, C]`.
        y: `[S]` integer class labels, 0..classes-1.
        group: `[S]` int32 who or what a sample comes from, such as a person; None where the set
            does not say. Samples of one group resemble each other.

    Raises:
        ValueError: there is not one label, or group, a sample.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y", "group"):
            values = getattr(self, name)
            if values is None:
                continue
            values = np.asarray(values)
            # In this machine's byte order, which is the only one that JAX takes.
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
            object.__setattr__(self, name, values)
            if values.shape[:1] != self.x.shape[:1] or (name != "x" and values.ndim != 1):
                raise ValueError(
                    f"x has shape {self.x.shape} and {name} {values.shape}; expected {name} of "
                    f"shape {self.x.shape[:1]}, one a sample"
                )


@dataclass(frozen=True)
class Spec:
    """What is known of a set before any sample is read.

    Attributes:
        shape: the shape of one sample, without the batch axis.
        dtype: the samples' type.
        classes: the meaning of each label.
        full_scale: the value of x that means 1.0; one for all, or one for each channel.
        train: number of samples in its training split.
        version: the version of the cached arrays, raised when what is stored changes; None where
            the set needs no cache.
        splits: the names of its splits, in the order that they are made.
        grouped: whether the splits say which group a sample belongs to.
        copies: the sha256 of the test samples of copies that are not quite the published set, and
            in what each differs.
    """

    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    full_scale: float | tuple[float, ...]
    train: int
    version: int | None = None
    splits: tuple[str, ...] = ("train", "test")
    grouped: bool = False
    copies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded set; `x / full_scale` is the value as a number up to 1.0.

    Attributes:
        name: the set's name.
        train, test: the two splits that every set has.
        classes: the meaning of each label.
        full_scale: the value of x that means 1.0; one for all, or one for each channel.
        validation: the split that validates; None where the set has none of its own.
        note: in what it differs from the published set, for who reads results on it; "": nothing.

    Raises:
        ValueError: the full scale is no number above 0, or none for each channel.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    full_scale: float | tuple[float, ...]
    validation: Split | None = None
    note: str = ""

    def __post_init__(self) -> None:
        scale = reader_of(_Scale | tuple[_Scale, ...]).take(self.full_scale, ("full_scale",))
        object.__setattr__(self, "full_scale", scale)
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis."""
        return self.train.x.shape[1:]

    def spec(self) -> Spec:
        """Returns what could have been known of the set before it was loaded."""
        return Spec(
            self.shape,
            self.train.x.dtype.name,
            self.classes,
            self.full_scale,
            train=len(self.train.y),
            splits=("train", "test", "validation")[: 2 + (self.validation is not None)],
            grouped=self.train.group is not None,
        )
