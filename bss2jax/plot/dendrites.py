"""Structured neurons: where their compartments are on the chip, and what happens in them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bss2jax.mapping.morphologies import Layout
from bss2jax.mapping.switches import lines
from bss2jax.plot.style import COLOURS, GREY, LINES, MAP, axes, cycle, ink, require_shape, time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def morphology(layout: Layout, *, copies: int = 1, ax: "Axes | None" = None) -> "Axes":
    """Draws structured neurons on their circuits, with the switches that are closed.

    Squares are circuits, bars between them joined membranes; along the outer side of a row goes the
    shared line, which a circuit is on directly or through its conductance (a zigzag). An open
    square is a circuit without capacitance.

    Args:
        layout: the lay-out of a morphology, of `lay_out`.
        copies: how many neurons to draw, side by side.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: column against row.

    Raises:
        ValueError: copies is below 1, or more than fit a chip.
    """
    if not 1 <= copies <= layout.fits():
        raise ValueError(f"copies: expected 1 to {layout.fits()}, got {copies}")
    places = [layout.at(copy) for copy in range(copies)]
    columns = 1 + max(c for at in places for one in at.values() for _, c in one)
    ax = axes(ax, min(1.0 + 0.6 * columns, 12.0), 2.6)
    for copy, at in enumerate(places):
        for number, one in enumerate(layout.morphology.compartments):
            colour, label = cycle(COLOURS, number), one.name if not copy else None
            circuits = list(at[one.name])
            for n, (row, column) in enumerate(circuits):
                full = colour if n < one.circuits else "none"
                ax.plot(column, -row, "s", markersize=13, markerfacecolor=full,
                        markeredgecolor=colour, label=None if n else label)  # fmt: skip
                for other in circuits[:n]:
                    if abs(other[0] - row) + abs(other[1] - column) == 1:
                        ax.plot([other[1], column], [-other[0], -row], color=colour, linewidth=4)
            if number:
                row, column = circuits[0]
                up = _outside(row)
                zigzag = column + 0.08 * np.array([0, 1, -1, 1, -1, 0])
                ax.plot(zigzag, -row + up * np.linspace(0.16, 0.5, 6), color=colour, linewidth=1)
        for name, (row, first, last) in lines(layout.morphology, at).items():
            up = _outside(row)
            ax.plot([first, last], 2 * [-row + 0.5 * up], color=ink(), linewidth=1.5)
            own = at[name][-1][1]
            ax.plot([own, own], [-row + 0.16 * up, -row + 0.5 * up], color=ink(), linewidth=1.5)
    ax.set(
        xlim=(-0.6, columns - 0.4),
        ylim=(-1.7, 0.7),
        yticks=[0, -1],
        xlabel="column",
        ylabel="row (of circuits)",
    )
    ax.set_yticklabels(["0", "1"])
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), markerscale=0.6)
    return ax


def compartments(
    v: npt.ArrayLike,
    spikes: npt.ArrayLike | None = None,
    *,
    names: tuple[str, ...] = (),
    dt: float = 1e-6,
    unit: str = "software units",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the membranes of one neuron's compartments over time.

    Args:
        v: `[T, C]` membranes, in `unit`.
        spikes: `[T, C]`, not 0 where a compartment fires; or None.
        names: the names of the compartments, the soma first; by default their numbers.
        dt: s a step.
        unit: the membranes' unit.
        ax: the axes to draw on; by default new ones.

    Raises:
        ValueError: shapes do not fit.
    """
    v = require_shape("v", v, "T C")
    if spikes is not None:
        spikes = require_shape("spikes", spikes, "T C")
        if spikes.shape != v.shape:
            raise ValueError(f"spikes: expected {v.shape} as the membranes, got {spikes.shape}")
    ax = axes(ax)
    factor, name = time_unit(len(v) * dt)
    time = factor * dt * np.arange(len(v))
    for c in range(v.shape[1]):
        label = names[c] if c < len(names) else f"compartment {c}"
        look: Any = {"color": cycle(COLOURS, c), "linestyle": cycle(LINES, c)}
        ax.plot(time, v[:, c], label=label, linewidth=1.2, **look)
        if spikes is not None:
            fired = np.flatnonzero(spikes[:, c])
            ax.plot(time[fired], v[fired, c], "v", color=look["color"], markersize=6)
    ax.set(xlabel=f"time ({name})", ylabel=f"membrane ({unit})", xlim=(0, time[-1]))
    ax.legend(frameon=False, fontsize=8)
    return ax


def attenuation(
    peaks: npt.ArrayLike, *, names: tuple[str, ...] = (), ax: "Axes | None" = None
) -> "Axes":
    """Draws how high the PSP of an input at one compartment is in each of them.

    Args:
        peaks: `[C, C]` height at a compartment (column) of an input at another (row).
        names: the names of the compartments; by default their numbers.
        ax: the axes to draw on; by default new ones.

    Raises:
        ValueError: it is no square.
    """
    peaks = require_shape("peaks", peaks, "C C")
    number = len(peaks)
    if peaks.shape != (number, number):
        raise ValueError(f"peaks: expected a square, got {peaks.shape}")
    ax = axes(ax, 4.6, 4.0)
    image = ax.imshow(peaks, cmap=MAP, vmin=0)
    for row, column in np.ndindex(*peaks.shape):
        dark = peaks[row, column] < 0.6 * peaks.max()
        ax.text(column, row, f"{peaks[row, column]:.2g}", ha="center", va="center", fontsize=8,
                color="white" if dark else "black")  # fmt: skip
    labels = [names[c] if c < len(names) else str(c) for c in range(number)]
    ax.set_xticks(range(number), labels, fontsize=8)
    ax.set_yticks(range(number), labels, fontsize=8)
    ax.set(xlabel="peak at (compartment)", ylabel="input at (compartment)")
    ax.figure.colorbar(image, ax=ax, shrink=0.8).outline.set_edgecolor(GREY)
    return ax


def _outside(row: int) -> int:
    """The side of a row on which its line is drawn."""
    return 1 if row == 0 else -1
