"""Where a network lies on the chip: two synapse arrays, two rows of neurons between."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bss2jax.chip.substrate import Substrate
from bss2jax.mapping.pieces import CHIP, CONFIGURATION, LAYER
from bss2jax.mapping.plan import Plan
from bss2jax.plot.style import COLOURS, GREY, HATCHES, PALE, axes, cycle, paper

_NEURONS = 20  # height of a neuron row in the drawing, in signed rows


@dataclass(frozen=True)
class Part:
    """Neighbouring columns of one hemisphere that one layer uses in one configuration.

    Attributes:
        layer: its number in the plan.
        name: the name of the layer.
        chip: its number.
        hemisphere: 0 or 1.
        first: the first column.
        rows: `[columns]` signed rows in use, from row 0 on, of each column.
    """

    layer: int
    name: str
    chip: int
    hemisphere: int
    first: int
    rows: np.ndarray


def placement(
    plan: Plan, configuration: int = 0, *, chip: int = 0, legend: bool = True, ax: Any = None
) -> Any:
    """Draws what lies on a chip in one configuration: synapses and neurons, coloured by layer.

    Hemisphere 0 is above, 1 below; the first row lies next to the neurons. The drawing is a scheme.

    Args:
        plan: the plan of a network, or of a parameter tree.
        configuration: number of the one to draw, from 0 on, in the order in which they run.
        chip: number of the chip to draw.
        legend: whether to name the layers.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: column against signed row.

    Raises:
        ValueError: the plan has no such configuration.

    References: grenade `compute/mac.cpp`; Arnold et al. 2025 (joined circuits).
    """
    count = plan.configurations
    if not 0 <= configuration < count:
        raise ValueError(
            f"configuration: expected 0 to {count - 1}, the plan has {count}, got {configuration}"
        )
    ax = axes(ax, 7.0, 4.2)
    s = plan.substrate
    _empty_chip(ax, s)
    named = set()
    for part in parts(plan, configuration):
        if part.chip != chip:
            continue
        look = {
            "facecolor": cycle(COLOURS, part.layer), "hatch": cycle(HATCHES, part.layer),
            "edgecolor": "white", "linewidth": 0, "fill": True,
        }  # fmt: skip
        sign = 1 if part.hemisphere == 0 else -1
        bottom, edges = sign * _NEURONS, part.first + np.arange(len(part.rows) + 1)
        label = None if part.name in named else part.name
        ax.stairs(bottom + sign * part.rows, edges, baseline=bottom, label=label, **look)
        neurons = [edges[0], edges[-1]]
        ax.stairs([bottom], neurons, baseline=0, alpha=0.55, **look)
        named.add(part.name)
    ax.set_title(f"configuration {configuration + 1} of {count}", fontsize=10)
    if legend:
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def placements(plan: Plan, *, most: int = 6, across: int = 2, figure: Any = None) -> np.ndarray:
    """Draws the first configurations of a plan, one beside the other: see `placement`.

    Args:
        plan: the plan of a network.
        most: configurations to draw; of more, the title says how many are left out.
        across: drawings in a row.
        figure: the figure to draw on, or a part of one; by default a new one.

    Returns:
        The axes, an array of as many as there are configurations drawn.

    Raises:
        ValueError: `most` or `across` is below 1.
    """
    if most < 1 or across < 1:
        raise ValueError(f"expected most and across >= 1, got {most} and {across}")
    count = plan.configurations
    shown = min(count, most)
    down, across = grid(plan, most, across)
    if figure is None:
        from matplotlib import pyplot  # which looks for a window

        figure = pyplot.figure(figsize=(3.0 * across + 0.6, 2.0 * down + 0.8), layout="constrained")
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for number, ax in enumerate(cells[:shown]):
        placement(plan, number, legend=False, ax=ax)
        ax.title.set_fontsize(8)
        ax.tick_params(labelsize=7)
        # The outer axes speak for all; what the rows of neurons are is said once a line.
        if number % across:
            ax.set_ylabel("")
        if number + across < shown:
            ax.set_xlabel("")
        if (number + 1) % across and number + 1 < shown:
            for name in list(ax.texts):
                name.remove()
        for name in ax.texts:
            name.set_fontsize(5.5)
    for ax in cells[shown:]:
        ax.axis("off")
    handles = {
        label: handle
        for ax in cells[:shown]
        for handle, label in zip(*ax.get_legend_handles_labels())
    }
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 5),
            frameon=False, fontsize=8,
        )  # fmt: skip
    if count > shown:
        figure.suptitle(f"the first {shown} of {count} configurations", fontsize=10)
    return cells[:shown]


def grid(plan: Plan, most: int = 6, across: int = 2) -> tuple[int, int]:
    """Returns how many drawings `placements` puts below and beside each other.

    Args:
        plan, most, across: as in `placements`.
    """
    shown = max(1, min(plan.configurations, most))
    across = min(across, shown)
    return -(-shown // across), across


def parts(plan: Plan, configuration: int) -> list[Part]:
    """Returns what lies on the chips in a configuration, in the order of layers and pieces."""
    rows = plan.table[plan.table[:, CONFIGURATION] == configuration]
    return [
        Part(int(row[LAYER]), plan.names[row[LAYER]], int(row[CHIP]), array, first, used)
        for row in rows
        for array, first, used in plan.demands[row[LAYER]].footprint(
            row, plan.circuits, plan.substrate
        )
    ]


def _empty_chip(ax: Any, s: Substrate) -> None:
    """Arrays and neuron rows without anything on them, and the axes."""
    for sign in (1, -1)[: s.hemispheres]:
        ax.bar(
            s.columns / 2, sign * s.rows, s.columns, bottom=sign * _NEURONS,
            facecolor=PALE, edgecolor=GREY, linewidth=0.6,
        )  # fmt: skip
        ax.bar(
            s.columns / 2, sign * _NEURONS, s.columns,
            facecolor=paper(), edgecolor=GREY, linewidth=0.6,
        )  # fmt: skip
        where = sign * (_NEURONS / 2)
        name = f"neurons {0 if sign > 0 else 1}"
        ax.text(s.columns * 1.01, where, name, fontsize=7, color=GREY, va="center")
    marks = [0, s.rows // 2, s.rows]
    signs = (1, -1)[: s.hemispheres]
    ax.set_yticks(
        [sign * (_NEURONS + m) for sign in signs for m in marks],
        [str(m) for m in marks] * len(signs),
    )
    whole = _NEURONS + s.rows
    ax.set(
        xlim=(0, s.columns),
        ylim=(-whole if s.hemispheres > 1 else 0, whole),
        xlabel="column",
        ylabel="signed row",
    )
