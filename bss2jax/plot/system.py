"""Networks on systems of chips: what is where, what passes the links, how a search went."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.objectives import front, loads
from bss2jax.plot.style import (
    COLOURS,
    GREY,
    HATCHES,
    MAP,
    axes,
    cycle,
    ink,
    paper,
    require_shape,
)  # fmt: skip


def link_loads(mapping: Mapping, *, ax: Any = None) -> Any:
    """Draws a system's chips, and its links as wide and as dark as the events that they carry.

    Args:
        mapping: the mapping of a workload.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: the chips where their topology has them.
    """
    from matplotlib.collections import LineCollection

    ax = axes(ax, 5.0, 4.5)
    topology, carried = mapping.system.topology, loads(mapping)
    places = topology.layout()
    shown = np.flatnonzero(topology.present)
    ends = places[topology.ends[shown]]  # [links, 2, 2]
    # Both ways of a link lie beside each other.
    way = ends[:, 1] - ends[:, 0]
    aside = 0.06 * np.column_stack([-way[:, 1], way[:, 0]]) / np.linalg.norm(way, axis=1)[:, None]
    most = max(float(carried.max(initial=0.0)), 1e-300)
    lines = LineCollection(
        ends + aside[:, None], array=carried[shown], cmap=MAP,
        linewidths=0.5 + 4 * carried[shown] / most, zorder=1,
    )  # fmt: skip
    ax.add_collection(lines)
    used = np.isin(np.arange(len(places)), mapping.place)
    switch = np.arange(len(places)) >= topology.chips
    ax.scatter(*places[used].T, s=70, color=COLOURS[0], zorder=2, label="chip in use")
    empty = ~used & ~switch
    ax.scatter(*places[empty].T, s=70, color=paper(), edgecolor=GREY, zorder=2, label="empty chip")
    if switch.any():
        ax.scatter(*places[switch].T, s=50, marker="s", color=ink(), zorder=2, label="switch")
    ax.figure.colorbar(lines, ax=ax, label="events per sample on a link")
    ax.set(aspect="equal", title=f"{mapping.workload.name} on {mapping.system.name}")
    ax.set_axis_off()
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 0))
    return ax


def on_chips(mapping: Mapping, *, ax: Any = None) -> Any:
    """Draws how many neurons of each population are on each chip.

    Args:
        mapping: the mapping of a workload.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: chip against neurons, a colour a population.
    """
    ax = axes(ax, 6.0, 3.0)
    bounds, chips = mapping.workload.populations, np.arange(mapping.system.chips)
    below = np.zeros(len(chips))
    for i, (first, last) in enumerate(pairwise(bounds)):
        counts = np.bincount(mapping.chip[first:last], minlength=len(chips))
        ax.bar(
            chips, counts, bottom=below, color=cycle(COLOURS, i), hatch=cycle(HATCHES, i),
            edgecolor="white", linewidth=0.3, label=f"population {i}",
        )  # fmt: skip
        below += counts
    ax.set(xlabel="chip", ylabel="neuron", title=f"{int((below > 0).sum())} chips in use")
    ax.legend(frameon=False, fontsize=8)
    return ax


def search_progress(values: Sequence[float], names: Sequence[str] = (), *, ax: Any = None) -> Any:
    """Draws what a search tried, and the best so far.

    Args:
        values: the objective of each mapping that was tried, in order.
        names: the names of the values.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: mapping tried against objective.
    """
    ax = axes(ax, 6.0, 3.0)
    at = np.arange(len(values))
    ax.plot(at, values, "o", color=COLOURS[1], label="tried")
    ax.step(at, np.minimum.accumulate(values), where="post", color=COLOURS[0], label="best so far")
    ax.set(xlabel="mapping tried", ylabel="objective")
    if names:
        ax.set_xticks(at, names, rotation=30, ha="right", fontsize=7)
    ax.legend(frameon=False, fontsize=8)
    return ax


def pareto_front(
    values: Any, names: Sequence[str], chosen: int | None = None, *, ax: Any = None
) -> Any:
    """Draws mappings by two objectives, and those that no other one beats in both.

    Args:
        values: `[n, 2]` of each mapping, smaller is better.
        names: the names of the two objectives.
        chosen: the number of the mapping that is marked, or None.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: one objective against the other.
    """
    points = require_shape("values", values, "n 2").astype(float)
    ax, on = axes(ax, 4.5, 3.5), np.flatnonzero(front(points))
    on = on[np.argsort(points[on, 0])]
    ax.plot(*points.T, ".", color=GREY, label="tried")
    ax.step(*points[on].T, where="post", marker="o", color=COLOURS[0], label="Pareto front")
    if chosen is not None:
        ax.plot(*points[chosen], "*", ms=14, color=COLOURS[1], label="found")
    ax.set(xlabel=f"{names[0]} (smaller is better)", ylabel=f"{names[1]} (smaller is better)")
    ax.legend(frameon=False, fontsize=8)
    return ax


def cell_map(values: Any, label: str, *, logarithmic: bool = False, ax: Any = None) -> Any:
    """Draws a quantity of the cells of a crossbar, such as its heat or its lifetime.

    Args:
        values: `[N, M]` of the cells; drivers are left, senses below.
        label: the quantity, with its unit.
        logarithmic: whether the colours are.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: column against row.
    """
    cells = require_shape("values", values, "N M")
    ax = axes(ax, 4.5, 3.8)
    image = ax.imshow(cells, cmap=MAP, norm="log" if logarithmic else None, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel="column (driver at the left)", ylabel="row (sense below)")
    return ax
