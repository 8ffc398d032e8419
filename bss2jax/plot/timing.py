"""When the configurations of a plan follow each other."""

from typing import Any

import numpy as np

from bss2jax.mapping.cost import estimate
from bss2jax.mapping.pieces import CONFIGURATION
from bss2jax.mapping.plan import Plan
from bss2jax.plot.style import COLOURS, HATCHES, axes, cycle, time_unit


def schedule(plan: Plan, *, ax: Any = None) -> Any:
    """Draws the configurations of one sample over time: a line a layer, a bar a configuration.

    The chip is paced by the host, as `mapping.cost` estimates it; the time to write weights between
    batches is not shown. Layers that share a configuration have bars at the same time.

    Args:
        plan: the plan of a network, or of a parameter tree.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: time against layer.

    Raises:
        ValueError: the plan has no layer.
    """
    if not plan.names:
        raise ValueError("plan: no layer of it is on the chip")
    times = np.array(estimate(plan).configurations)
    ax = axes(ax, 6.5, 1.6 + 0.4 * len(plan.names))
    factor, unit = time_unit(times.sum())
    ends = factor * np.cumsum(times)
    for i in range(len(plan.names)):
        at = np.unique(plan.rows(i)[:, CONFIGURATION])
        bars = np.column_stack([ends[at] - factor * times[at], factor * times[at]])
        lines = times[at].min() > 0.01 * times.sum()  # room for them
        colour = cycle(COLOURS, i)
        ax.broken_barh(
            bars, (i - 0.35, 0.7), facecolor=colour, hatch=cycle(HATCHES, i),
            edgecolor="white" if lines else colour, linewidth=0.8,
        )  # fmt: skip
    ax.set_yticks(range(len(plan.names)), plan.names)
    ax.set(
        xlim=(0, ends[-1]),
        ylim=(len(plan.names) - 0.5, -0.5),
        xlabel=f"chip time of a sample ({unit})",
        ylabel="layer",
        title=f"{len(times)} configuration{'' if len(times) == 1 else 's'}, {ends[-1]:.4g} {unit}",
    )
    return ax
