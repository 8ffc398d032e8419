"""When the configurations of a plan follow each other, on one chip or several."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bss2jax.mapping.cost import estimate
from bss2jax.mapping.pieces import CONFIGURATION
from bss2jax.mapping.plan import Plan
from bss2jax.plot.style import COLOURS, HATCHES, PALE, axes, cycle, ink, time_unit

if TYPE_CHECKING:
    from bss2jax.mapping.guarantee import Guarantee


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


def gantt(found: "Guarantee", iterations: int = 3, *, ax: Any = None) -> Any:
    """Draws what each chip does over time, where all takes as long as it may at most.

    Bars are firings of actors, a colour an iteration, pale before the first that is drawn; those of
    the critical cycle are framed.

    Args:
        found: the guarantee of some chips.
        iterations: how many are drawn, once the pipeline is full.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: time against chip.
    """
    # It brings scipy along, which no other plot of a plan needs.
    from bss2jax.mapping.selftimed import execute

    bound, filled = found.bound, int(found.bound.lag.max())
    done = execute(bound, filled + iterations)
    begin, end = done.starts[filled:].min(), done.ends.max()
    factor, unit = time_unit(end - begin)
    ax = axes(ax, 8.0, 1.2 + 0.35 * bound.tiles.count)
    for k, (starts, ends) in enumerate(zip(done.starts, done.ends)):
        for actor in np.flatnonzero(ends > begin).tolist():
            left, right = max(starts[actor], begin) - begin, ends[actor] - begin
            critical = actor in found.cycle.actors
            ax.barh(
                bound.tile[actor], factor * (right - left), left=factor * left, height=0.8,
                color=cycle(COLOURS[:6], k - filled) if k >= filled else PALE,
                edgecolor=ink() if critical else "white", linewidth=1.8 if critical else 0.4,
                zorder=3 if critical else 2,
            )  # fmt: skip
            name = bound.graph.names[actor]
            if right - left > 0.01 * len(name) * (end - begin):  # room for it
                ax.text(
                    factor * left, bound.tile[actor], f" {name}", fontsize=6, va="center", zorder=4
                )
    ax.set_yticks(range(bound.tiles.count))
    ax.set(
        xlim=(0, factor * (end - begin)), ylim=(bound.tiles.count - 0.5, -0.5),
        xlabel=f"time ({unit})", ylabel="chip",
        title=f"an iteration every {factor * found.cycle.period:.4g} {unit} at most",
    )  # fmt: skip
    return ax
