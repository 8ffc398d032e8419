"""What populations learn by themselves: figures over periods, and weights as they were."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bss2jax.chip.substrate import BSS2
from bss2jax.plot.style import COLOURS, LINES, MAP, axes, cycle, require_shape


def over_periods(
    records: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]],
    quantity: str = "rate",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draws a figure of a run of hybrid plasticity, period by period; or of several runs.

    Args:
        records: lines of a run's `metrics.jsonl`, with `periods` and the quantity; or such lines by
            the names of runs.
        quantity: `rate`, `weight`, or what the environment scores, such as `success`.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: periods against the quantity.

    Raises:
        ValueError: there are no lines, or one lacks the quantity.
    """
    runs: Mapping[str, Any] = records if isinstance(records, Mapping) else {"": records}
    ax = axes(ax)
    for i, (name, lines) in enumerate(runs.items()):
        if not lines or any(quantity not in line for line in lines):
            raise ValueError(f"records{name and f' of {name}'}: expected lines with {quantity!r}")
        ax.plot(
            [line["periods"] for line in lines], [line[quantity] for line in lines],
            color=cycle(COLOURS, i), linestyle=cycle(LINES, i), label=name,
        )  # fmt: skip
    units = {"rate": "rate (1/s)", "weight": "mean weight (LSB)"}
    ax.set(xlabel="period", ylabel=units.get(quantity, quantity))
    ax.grid(alpha=0.3)
    if len(runs) > 1:
        ax.legend(frameon=False, fontsize=8)
    return ax


def weight_matrices(
    weights: Mapping[str, npt.ArrayLike], *, figure: Figure | None = None
) -> Figure:
    """Draws the weights of an array as they were at several times, side by side.

    Args:
        weights: `[K, N]` LSB each, by what stands above it.
        figure: the figure to draw on; by default a new one.

    Returns:
        The figure: neurons to the right, rows down.

    Raises:
        ValueError: there are none, or one is no array of two axes.
    """
    if not weights:
        raise ValueError("weights: expected at least one array, got none")
    arrays = {name: require_shape(f"weights of {name}", w, "K N") for name, w in weights.items()}
    if figure is None:
        from matplotlib import pyplot  # which looks for a window

        figure = pyplot.figure(figsize=(2.2 * len(arrays) + 0.6, 2.6), layout="constrained")
    top = max(1.0, *(float(np.max(w)) for w in arrays.values()))
    cells = figure.subplots(1, len(arrays), squeeze=False, sharey=True)[0]
    for cell, (name, w) in zip(cells, arrays.items()):
        shown = cell.imshow(w, cmap=MAP, vmin=0, vmax=min(top, BSS2.weight_max), aspect="auto")
        cell.set(title=name, xlabel="neuron")
    cells[0].set_ylabel("row")
    figure.colorbar(shown, ax=list(cells), label="weight (LSB)")
    return figure
