"""When the runs of a plan follow each other."""

from bss2jax.mapping.cost import estimate, estimate_spiking
from bss2jax.mapping.plan import Plan
from bss2jax.mapping.populations import SpikingPlan
from bss2jax.plot.style import COLOURS, HATCHES, axes, cycle, time_unit


def schedule(plan: Plan | SpikingPlan, *, ax=None):
    """Draws the runs of one sample over the chip's time: a line a layer, a bar a run.

    The chip is paced by the host, as `mapping.cost` estimates it; the time to write weights between
    batches is not shown. Spiking populations that share a run have bars at the same time.

    Args:
        plan: of a network, or of a parameter tree.
        ax: to draw on; by default new axes.

    Returns:
        The axes: time against layer.
    """
    if isinstance(plan, SpikingPlan):
        names, runs = plan.names, estimate_spiking(plan).runs
        counts = [(group, max(plan.populations[i].runs for i in group)) for group in plan.groups]
    else:
        names, runs = tuple(layer.name for layer in plan.weights), estimate(plan).runs
        counts = [((i,), layer.configurations) for i, layer in enumerate(plan.weights)]
    ax = axes(ax, 6.5, 1.6 + 0.4 * len(names))
    factor, unit = time_unit(sum(runs))
    begin, number = 0.0, 0
    for group, count in counts:
        bars = []
        for seconds in runs[number : number + count]:
            bars.append((factor * begin, factor * seconds))
            begin += seconds
        number += count
        lines = min(seconds for _, seconds in bars) > 0.01 * factor * sum(runs)  # room for them
        for i in group:
            colour = cycle(COLOURS, i)
            ax.broken_barh(
                bars, (i - 0.35, 0.7), facecolor=colour, hatch=cycle(HATCHES, i),
                edgecolor="white" if lines else colour, linewidth=0.8,
            )  # fmt: skip
    ax.set_yticks(range(len(names)), names)
    ax.set(
        xlim=(0, factor * begin),
        ylim=(len(names) - 0.5, -0.5),
        xlabel=f"chip time of a sample ({unit})",
        ylabel="layer (name)",
        title=f"{len(runs)} run{'' if len(runs) == 1 else 's'}, {factor * begin:.4g} {unit}",
    )
    return ax
