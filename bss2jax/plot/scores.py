"""How well a network does: per class, per chip, per rung of the ladder."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bss2jax.networks.rungs import RUNGS
from bss2jax.plot.style import COLOURS, MAP, MARKERS, PALE, axes, cycle, ink, paper, require_shape

_NUMBERS = 12  # classes of which counts are written into the squares
_PRINT = "#111111"  # on light squares


def confusion(
    matrix: npt.ArrayLike, classes: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draws what samples were taken for: rows are labels. Colours are of the mistakes alone.

    Args:
        matrix: `[N, N]` counts by label (row) and by what a sample was taken for (column).
        classes: names; by default numbers.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: taken for against label.

    Raises:
        ValueError: the matrix is not square, or there are not as many names.
    """
    matrix = require_shape("matrix", matrix, "N N")
    count = len(matrix)
    if matrix.shape != (count, count):
        raise ValueError(f"matrix: expected [N, N], got shape {matrix.shape}")
    names = [str(i) for i in range(count)] if classes is None else [str(name) for name in classes]
    if len(names) != count:
        raise ValueError(f"classes: expected {count} names, got {len(names)}")
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.ma.masked_array(100 * matrix / np.maximum(totals, 1), np.eye(count, dtype=bool))
    most = float(max(share.max() if count > 1 else 0.0, 1.0))
    size = 2.2 + 0.34 * min(count, 30)
    ax = axes(ax, size + 1.0, size)
    image = ax.imshow(
        share, cmap=matplotlib.colormaps[MAP].with_extremes(bad=PALE), vmin=0, vmax=most
    )
    if count <= _NUMBERS:
        for row, column in np.argwhere(matrix):
            dark = row != column and share[row, column] <= most / 2
            ax.text(
                column, row, f"{matrix[row, column]:g}", ha="center", va="center",
                color="white" if dark else _PRINT, fontsize=7,
            )  # fmt: skip
    long = max(map(len, names)) > 2
    ax.set_xticks(range(count), names, rotation=90 if long else 0, fontsize=8)
    ax.set_yticks(range(count), names, fontsize=8)
    ax.set(xlabel="taken for", ylabel="label")
    ax.figure.colorbar(image, ax=ax, label="share of the label's samples (%)")
    return ax


def accuracy_over_chips(
    accuracy: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    own: Mapping[str, float] | float | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draws the accuracy on every chip, with mean and standard deviation beside.

    Args:
        accuracy: `[chips]` shares 0..1, or such arrays by the names of trainings.
        own: accuracy on the chip of the training, or by name; marked apart.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: training against accuracy.

    Raises:
        ValueError: there is no accuracy, or one is not a share.
    """
    groups = accuracy if isinstance(accuracy, Mapping) else {"": accuracy}
    own = own if isinstance(own, Mapping) or own is None else {next(iter(groups), ""): own}
    arrays = {
        name: require_shape(f"accuracy{name and f' of {name}'}", values, "chips")
        for name, values in groups.items()
    }
    if not arrays:
        raise ValueError("accuracy: expected at least one training, got none")
    for name, values in arrays.items():
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"accuracy{name and f' of {name}'}: expected shares from 0 to 1")
    ax = axes(ax, 2.6 + 1.1 * len(arrays), 3.5)
    for place, (name, values) in enumerate(arrays.items()):
        first, percent = place == 0, 100 * values
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [0.0]
        ax.plot(
            place + np.asarray(spread), percent, MARKERS[0], color=COLOURS[0], alpha=0.7,
            markersize=4, label="a chip" if first else None,
        )  # fmt: skip
        std = percent.std(ddof=1) if len(values) > 1 else 0.0
        ax.errorbar(
            place + 0.3, percent.mean(), std, fmt=MARKERS[1], color=ink(), capsize=4,
            markersize=5, label="mean ± std" if first else None,
        )  # fmt: skip
        if own and name in own:
            ax.plot(
                place, 100 * own[name], MARKERS[3], color=COLOURS[3], markersize=6,
                label="chip of the training" if name == next(iter(own)) else None,
            )  # fmt: skip
    counts = [f"{name}\n{len(v)} chips".strip() for name, v in arrays.items()]
    ax.set_xticks(range(len(arrays)), counts, fontsize=8)
    ax.set(
        xlim=(-0.5, len(arrays) - 0.4), xlabel="training", ylabel="test accuracy (%)"
    )  # fmt: skip
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def ladder(
    accuracy: Mapping[str, float] | Mapping[str, Mapping[str, float]], *, ax: Axes | None = None
) -> Axes:
    """Draws what becomes of the accuracy on the way onto the chip.

    Args:
        accuracy: shares 0..1 by rung: `float`, `ideal`, `transfer` (moved to the chip) and `chip`
            (trained in the loop), as in a run's `summary.json`; or such mappings by run.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: rung against accuracy. A run that lacks a rung has none drawn.

    Raises:
        ValueError: no rung is known.
    """
    several = all(isinstance(value, Mapping) for value in accuracy.values())
    runs: Mapping[str, Any] = accuracy if several else {"": accuracy}
    known = [rung for rung in RUNGS if any(rung in rungs for rungs in runs.values())]
    if not known:
        raise ValueError(f"accuracy: expected some of {', '.join(RUNGS)}, got {list(accuracy)}")
    ax = axes(ax, 2.0 + 1.2 * len(known), 3.5)
    for i, (name, rungs) in enumerate(runs.items()):
        there = [(place, 100 * rungs[r]) for place, r in enumerate(known) if r in rungs]
        x, y = zip(*there) if there else ((), ())
        ax.plot(
            x, y, color=cycle(COLOURS, i), marker=cycle(MARKERS, i), markersize=6,
            label=name or None,
        )  # fmt: skip
        if len(runs) == 1:
            for place, percent in there:
                ax.annotate(
                    f"{percent:.2f}", (place, percent), (0, 7), textcoords="offset points",
                    ha="center", fontsize=8, bbox={"fc": paper(), "ec": "none", "pad": 1},
                )  # fmt: skip
    ax.set_xticks(range(len(known)), [_label(RUNGS[rung].label) for rung in known])
    ax.margins(y=0.2)
    ax.set(
        xlim=(-0.4, len(known) - 0.6), xlabel="execution", ylabel="test accuracy (%)"
    )  # fmt: skip
    ax.grid(axis="y", alpha=0.3)
    if len(runs) > 1:
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _label(text: str) -> str:
    """A label of several words in two lines."""
    return text.replace(" ", "\n", 1)
