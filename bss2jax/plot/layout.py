"""Where a network lies on the chip in a run: two synapse arrays, two rows of neurons between."""

from dataclasses import dataclass

import numpy as np

from bss2jax.chip.substrate import Substrate
from bss2jax.extras import require
from bss2jax.mapping.plan import Plan
from bss2jax.mapping.populations import SpikingPlan
from bss2jax.plot.style import COLOURS, GREY, HATCHES, PALE, axes, cycle

_NEURONS = 20  # height of a neuron row in the drawing, in signed rows


@dataclass(frozen=True)
class Part:
    """Neighbouring columns of one hemisphere that one layer uses in one run.

    Attributes:
        layer: its number in the plan.
        name: of the layer.
        hemisphere: 0 or 1.
        first: the first column.
        rows: `[columns]` signed rows in use, from row 0 on, of each column.
    """

    layer: int
    name: str
    hemisphere: int
    first: int
    rows: np.ndarray


def placement(plan: Plan | SpikingPlan, run: int = 0, *, legend: bool = True, ax=None):
    """Draws what lies on the chip in one run: synapses and neurons in use, coloured by layer.

    A run is a configuration of the arrays (matrix products) or a partition (spiking). Hemisphere 0
    is above, 1 below; the first row lies next to the neurons. The drawing is a scheme.

    Args:
        plan: of a network, or of a parameter tree.
        run: which, from 0 on, in the order in which they follow each other.
        legend: whether to name the layers.
        ax: to draw on; by default new axes.

    Returns:
        The axes: column against signed row.

    Raises:
        ValueError: the plan has no such run.

    References: grenade `compute/mac.cpp`; Arnold et al. 2025 (joined circuits).
    """
    runs = count_runs(plan)
    if not 0 <= run < runs:
        raise ValueError(f"run: expected 0 to {runs - 1}, the plan has {runs} runs, got {run}")
    ax = axes(ax, 7.0, 4.2)
    s = plan.substrate
    _empty_chip(ax, s)
    named = set()
    for part in parts(plan, run):
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
    what = "run" if isinstance(plan, SpikingPlan) else "configuration"
    ax.set_title(f"{what} {run + 1} of {runs}", fontsize=10)
    if legend:
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def placements(plan: Plan | SpikingPlan, *, most: int = 6, across: int = 2, figure=None):
    """Draws the first runs of a plan, one beside the other: see `placement`.

    Args:
        plan: of a network.
        most: runs to draw; of more, the title says how many are left out.
        across: drawings in a row.
        figure: to draw on, or a part of one; by default a new one.

    Returns:
        The axes, an array of as many as there are runs drawn.

    Raises:
        ValueError: `most` or `across` is below 1.
    """
    if most < 1 or across < 1:
        raise ValueError(f"expected most and across >= 1, got {most} and {across}")
    runs = count_runs(plan)
    shown = min(runs, most)
    down, across = grid(plan, most, across)
    if figure is None:
        pyplot = require("matplotlib.pyplot", "plot", "drawing")
        figure = pyplot.figure(figsize=(3.0 * across + 0.6, 2.0 * down + 0.8), layout="constrained")
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for run, ax in enumerate(cells[:shown]):
        placement(plan, run, legend=False, ax=ax)
        ax.title.set_fontsize(8)
        ax.tick_params(labelsize=7)
        # The outer axes speak for all; what the rows of neurons are is said once a line.
        if run % across:
            ax.set_ylabel("")
        if run + across < shown:
            ax.set_xlabel("")
        if (run + 1) % across and run + 1 < shown:
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
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 5),
        frameon=False, fontsize=8,
    )  # fmt: skip
    if runs > shown:
        figure.suptitle(f"the first {shown} of {runs} runs", fontsize=10)
    return cells[:shown]


def grid(plan: Plan | SpikingPlan, most: int = 6, across: int = 2) -> tuple[int, int]:
    """Returns how many drawings `placements` puts below and beside each other.

    Args:
        plan, most, across: as in `placements`.
    """
    shown = min(count_runs(plan), most)
    across = min(across, shown)
    return -(-shown // across), across


def count_runs(plan: Plan | SpikingPlan) -> int:
    """Returns how many runs follow each other for one sample."""
    return plan.partitions if isinstance(plan, SpikingPlan) else plan.configurations


def parts(plan: Plan | SpikingPlan, run: int) -> list[Part]:
    """Returns what lies on the chip in a run, the layers in order, columns from left to right."""
    return _populations(plan, run) if isinstance(plan, SpikingPlan) else _blocks(plan, run)


def _blocks(plan, run):
    for number, layer in enumerate(plan.weights):
        if run < layer.configurations:
            within = run % layer.placement.configurations
            return [
                Part(number, layer.name, block.hemisphere, 0, _used(block))
                for block in layer.placement.blocks()
                if block.configuration == within
            ]
        run -= layer.configurations


def _populations(plan, run):
    for group in plan.groups:
        runs = max(plan.populations[i].runs for i in group)
        if run < runs:
            return [part for i in group for part in _circuits(plan, i, run)]
        run -= runs


def _used(block):
    columns = block.columns.stop - block.columns.start
    return np.full(columns, block.rows.stop - block.rows.start)


def _circuits(plan, i, run):
    """The circuits of a population in one of its runs, those of each hemisphere one part."""
    place, s = plan.populations[i], plan.substrate
    member = np.arange(place.circuits_per_neuron)
    rows = np.clip(place.inputs - member * s.rows, 0, s.rows)
    rows = np.tile(rows, place.neurons_in(run))
    circuit = place.first_circuit + np.arange(len(rows))
    found = []
    for hemisphere in range(s.hemispheres):
        here = circuit % s.hemispheres == hemisphere
        if here.any():
            first = int(circuit[here][0]) // s.hemispheres
            found.append(Part(i, plan.names[i], hemisphere, first, rows[here]))
    return found


def _empty_chip(ax, s: Substrate):
    """Arrays and neuron rows without anything on them, and the axes."""
    for sign in (1, -1)[: s.hemispheres]:
        ax.bar(
            s.columns / 2, sign * s.rows, s.columns, bottom=sign * _NEURONS,
            facecolor=PALE, edgecolor=GREY, linewidth=0.6,
        )  # fmt: skip
        ax.bar(
            s.columns / 2, sign * _NEURONS, s.columns,
            facecolor="white", edgecolor=GREY, linewidth=0.6,
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
        xlabel="column (index)",
        ylabel="signed row (index)",
    )
