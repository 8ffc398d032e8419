"""A figure of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bss2jax.data import Dataset
from bss2jax.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 8  # samples of a class


def samples(dataset: Dataset) -> "Figure":
    """Draws the first samples of each class in the training split, a row a class.

    Args:
        dataset: a set of images `[H, W, 1 or 3]`, signals `[T, C]` or vectors `[K]`.

    Returns:
        A matplotlib figure: pictures; curves over time, a colour a channel; or bars.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = require("matplotlib.figure", "plot", "drawing").Figure
    train, counts = dataset.train, np.bincount(dataset.train.y, minlength=len(dataset.classes))
    size = (1.1 * _COLUMNS + 1.6, 1.1 * len(counts))
    figure = figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(counts), _COLUMNS, squeeze=False)
    for label, row in enumerate(axes):
        found = np.flatnonzero(train.y == label)[:_COLUMNS]
        for place, cell in enumerate(row):
            cell.set(xticks=[], yticks=[])
            if place < len(found):
                _draw(cell, train.x[found[place]], dataset.full_scale)
            else:
                cell.axis("off")
        title = f"{dataset.classes[label]}\n{counts[label]}"
        row[0].set_ylabel(title, rotation=0, ha="right", va="center")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as a PNG file.

    Raises:
        OSError: it cannot be written.
    """
    figure.savefig(path, dpi=110, format="png")


def _draw(cell: "Axes", x: np.ndarray, full_scale: float | tuple[float, ...]) -> None:
    values = x / np.asarray(full_scale)
    match x.ndim:
        case 3:
            cell.imshow(np.clip(values, 0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
        case 2:
            cell.plot(values, linewidth=0.6)
            cell.set_ylim(-1.05, 1.05)
        case _:
            cell.bar(np.arange(len(values)), values)
            cell.set_ylim(0, 1)
