"""What the plots share: axes, colours and marks that stay apart in print, units of time."""

from typing import TypeVar

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

_T = TypeVar("_T")

# Okabe and Ito's palette, told apart with any colour vision: blue, orange, green, vermilion,
# purple, sky, yellow, black.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "xxxx", "\\\\\\\\", "++++")  # lines: dots make large files
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GREY, PALE = "#6b6b6b", "#e4e4e4"
MAP = "cividis"  # perceptually uniform, alike with and without colour vision


def axes(ax: Axes | None = None, width: float = 6.0, height: float = 3.5) -> Axes:
    """Returns the axes to draw on: those given, or new ones.

    Args:
        ax: the axes that were given, or None.
        width, height: size of new axes, inches.
    """
    if ax is not None:
        return ax
    from matplotlib import pyplot  # which looks for a window

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def ink() -> str:
    """Returns the colour of text and of what is drawn like it, as matplotlib's style sets it."""
    return matplotlib.rcParams["text.color"]


def paper() -> str:
    """Returns the colour of the ground that axes are drawn on, as matplotlib's style sets it."""
    return matplotlib.rcParams["axes.facecolor"]


def cycle(values: tuple[_T, ...], i: int) -> _T:
    """Returns entry i of a palette that begins again at its end."""
    return values[i % len(values)]


def time_unit(seconds: float) -> tuple[float, str]:
    """Returns (factor, unit) in which a span of time, s, is a number of ordinary size."""
    if seconds < 2e-3:
        return 1e6, "µs"
    return (1e3, "ms") if seconds < 2 else (1.0, "s")


def require_shape(name: str, values: npt.ArrayLike, *shapes: str) -> np.ndarray:
    """Returns values as an array, of any shape whose number of axes is one of those given.

    Args:
        name: the argument's name.
        values: array of any shape.
        shapes: such as "T N", an axis a word.

    Raises:
        ValueError: it has another number of axes, or none of anything.
    """
    array = np.asarray(values)
    if array.ndim not in {len(shape.split()) for shape in shapes} or not array.size:
        expected = " or ".join(f"[{', '.join(shape.split())}]" for shape in shapes)
        raise ValueError(f"{name}: expected {expected}, not empty, got shape {array.shape}")
    return array
