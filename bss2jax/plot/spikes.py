"""Spikes and membranes over time."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bss2jax.plot.style import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    axes,
    cycle,
    paper,
    require_shape,
    time_unit,
)

_LEGEND = 8  # more entries say nothing


def raster(
    spikes: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    *,
    dt: float = 1e-6,
    ax: Axes | None = None,
) -> Axes:
    """Draws the spikes of one sample: a row a neuron, populations one above the other.

    Args:
        spikes: `[T, N]`, not 0 where a neuron spikes; or such arrays by the names of populations.
        dt: s a step.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: time against neuron.

    Raises:
        ValueError: an array is not `[T, N]`: take one sample of a batch `[T, B, N]`.
    """
    populations = spikes if isinstance(spikes, Mapping) else {"": spikes}
    arrays = {
        name: require_shape(f"spikes of {name}" if name else "spikes", z, "T N")
        for name, z in populations.items()
    }
    if not arrays:
        raise ValueError("spikes: expected at least one population, got none")
    ax = axes(ax)
    steps = max(len(z) for z in arrays.values())
    factor, unit = time_unit(steps * dt)
    neurons = sum(z.shape[1] for z in arrays.values())
    size, first, middles = float(np.clip(600 / neurons, 3.5, 14)), 0, []
    for i, z in enumerate(arrays.values()):
        step, neuron = np.nonzero(z)
        ax.plot(
            factor * dt * step, first + neuron, "|", color=cycle(COLOURS, i), markersize=size,
            markeredgewidth=1.3,
        )  # fmt: skip
        if first:
            ax.axhline(first - 0.5, color=GREY, linewidth=0.8)
        middles.append(first + (z.shape[1] - 1) / 2)
        first += z.shape[1]
    ax.set(
        xlim=(-0.5 * factor * dt, factor * dt * (steps - 0.5)),
        ylim=(-0.5, neurons - 0.5),
        xlabel=f"time ({unit})",
        ylabel="neuron",
    )
    if "" not in arrays:
        _name(ax, [z.shape[1] for z in arrays.values()], middles, list(arrays))
    return ax


def _name(ax: Axes, counts: Sequence[int], middles: Sequence[float], names: Sequence[str]) -> None:
    """Names the populations of a raster on the right; each counts its neurons from 0 on the left.

    A thin one among others has no room for its numbers.
    """
    marks = {
        middle - (count - 1) / 2 + n: str(n)
        for middle, count in zip(middles, counts)
        for n in (0, count - 1)
        if count >= 0.1 * sum(counts)
    }
    ax.set_yticks(list(marks), list(marks.values()))
    for label in ax.get_yticklabels():  # the last of one and the first of the next lie close
        label.set_verticalalignment("bottom" if label.get_text() == "0" else "top")
    right = ax.secondary_yaxis("right")
    right.set_yticks(middles, names)
    right.tick_params(length=0)
    for i, label in enumerate(right.get_yticklabels()):
        label.set_color(cycle(COLOURS, i))


def traces(
    v: npt.ArrayLike,
    spikes: npt.ArrayLike | None = None,
    *,
    dt: float = 1e-6,
    threshold: float | None = None,
    reset: float | None = None,
    labels: Sequence[str] | None = None,
    unit: str = "software units",
    ax: Axes | None = None,
) -> Axes:
    """Draws membranes over time, with threshold, reset and spikes.

    Args:
        v: `[T]` or `[T, N]` membranes of a sample, in `unit`.
        spikes: the same shape, not 0 where a neuron spikes: a mark at the threshold, or above
            all membranes where none is given.
        dt: s a step; of a CADC trace its period.
        threshold, reset: potentials of all neurons, in `unit`.
        labels: names of the neurons; by default their numbers.
        unit: the membranes' unit, such as `LSB`.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: time against membrane.

    Raises:
        ValueError: shapes do not match.
    """
    v = require_shape("v", v, "T", "T N")
    if spikes is not None and np.shape(spikes) != v.shape:
        raise ValueError(f"spikes: expected the shape of v, {v.shape}, got {np.shape(spikes)}")
    v = v.reshape(len(v), -1)
    neurons = v.shape[1]
    labels = [f"neuron {n}" for n in range(neurons)] if labels is None else labels
    if len(labels) != neurons:
        raise ValueError(f"labels: expected {neurons}, one a neuron, got {len(labels)}")
    ax = axes(ax)
    factor, unit_of_time = time_unit(len(v) * dt)
    time = factor * dt * np.arange(len(v))
    for n in range(neurons):
        ax.plot(
            time, v[:, n], color=cycle(COLOURS, n), linestyle=cycle(LINES, n), label=labels[n]
        )  # fmt: skip
    if spikes is not None:
        height = float(v.max()) if threshold is None else threshold
        _mark(ax, time, np.asarray(spikes).reshape(v.shape) != 0, height, labels)
    for value, name, style in ((threshold, "threshold", "--"), (reset, "reset", ":")):
        if value is not None:
            ax.axhline(value, color=GREY, linestyle=style, linewidth=1, label=name)
    ax.set(xlabel=f"time ({unit_of_time})", ylabel=f"membrane ({unit})")
    if neurons <= _LEGEND:
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _mark(
    ax: Axes, time: np.ndarray, fired: np.ndarray, height: float, labels: Sequence[str]
) -> None:
    """Marks spikes `[T, N]` at a height, each neuron's by its own mark."""
    for n, label in enumerate(labels):
        at = time[fired[:, n]]
        ax.plot(
            at,
            np.full(len(at), height),
            linestyle="none",
            marker=cycle(MARKERS, n),
            color=cycle(COLOURS, n),
            markeredgecolor=paper(),
            label="spikes" if len(labels) == 1 else f"spikes of {label}",
        )
