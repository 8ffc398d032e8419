"""A figure of a data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bss2jax.data import Dataset
from bss2jax.files import place
from bss2jax.plot.style import COLOURS, ink

_COLUMNS = 8  # samples of a class


def samples(dataset: Dataset) -> Figure:
    """Draws the first samples of each class in the training split, a row a class.

    Args:
        dataset: a set of images `[H, W, 1 or 3]`, signals `[T, C]` or vectors `[K]`.

    Returns:
        A matplotlib figure: pictures; curves over time, a colour a channel; or bars.
    """
    train, counts = dataset.train, np.bincount(dataset.train.y, minlength=len(dataset.classes))
    size = (1.1 * _COLUMNS + 1.6, 1.1 * len(counts))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(counts), _COLUMNS, squeeze=False)
    for label, row in enumerate(axes):
        found = np.flatnonzero(train.y == label)[:_COLUMNS]
        for column, cell in enumerate(row):
            cell.set(xticks=[], yticks=[])
            if column < len(found):
                _draw(cell, train.x[found[column]], dataset.full_scale)
            else:
                cell.axis("off")
        title = f"{dataset.classes[label]}\n{counts[label]}"
        row[0].set_ylabel(title, rotation=0, ha="right", va="center")
    return figure


def predictions(
    x: np.ndarray,
    y: np.ndarray,
    taken_for: np.ndarray,
    classes: Sequence[str],
    full_scale: float | tuple[float, ...] = 1.0,
    *,
    across: int = 8,
    figure: Figure | None = None,
) -> Figure:
    """Draws samples with what they are, and what they were taken for where that is wrong.

    Args:
        x: `[S, ...]` images `[H, W, 1 or 3]`, signals `[T, C]` or vectors `[K]`.
        y: `[S]` labels.
        taken_for: `[S]` the labels that the network gave.
        classes: the meaning of each label.
        full_scale: the largest value of x; one for all channels, or one a channel.
        across: samples in a row.
        figure: the figure to draw on; by default a new one.

    Raises:
        ValueError: there are no samples, or not as many labels.
    """
    if not len(x) or not len(x) == len(y) == len(taken_for):
        raise ValueError(f"x, y, taken_for: got {len(x)}, {len(y)} and {len(taken_for)} entries")
    down = -(-len(x) // across)
    figure = figure or Figure(figsize=(across, 1.3 * down), layout="constrained")
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for cell, sample, label, taken in zip(cells, x, y, taken_for):
        _draw(cell, np.asarray(sample), full_scale)
        cell.set(xticks=[], yticks=[])
        right = label == taken
        said = classes[label] if right else f"{classes[label]} as {classes[taken]}"
        cell.set_title(said, fontsize=8, color=ink() if right else COLOURS[3])
    for cell in cells[len(x) :]:
        cell.axis("off")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG file.

    Raises:
        OSError: it cannot be written.
    """
    figure.savefig(place(path), dpi=110, format="png")


def _draw(cell: Axes, x: np.ndarray, full_scale: float | tuple[float, ...]) -> None:
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
