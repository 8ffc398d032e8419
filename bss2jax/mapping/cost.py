"""What a plan costs on the chip: time and energy per sample, from the reference's own timings.

    t = vectors x configurations x (rows x num_sends x (wait x 8 ns) + baseline read + reset
        + settle + read out)

A first estimate for matrix products: one chip, reused for every configuration, without the host.
"""

from dataclasses import dataclass

from bss2jax.mapping.circuits import SpikingPlan
from bss2jax.mapping.partition import LayerPlan, Plan, table


@dataclass(frozen=True)
class Cost:
    """Time and energy of one sample.

    Attributes:
        seconds: chip time.
        joules: the span of energies, (least, most), as the sources disagree about the power.
    """

    seconds: float
    joules: tuple[float, float]


def layer_seconds(layer: LayerPlan) -> float:
    """Returns the chip time of one layer for one sample, in seconds.

    References: grenade `compute/mac` (timings); events of the two hemispheres run side by side,
    so a configuration takes as long as the more rows of its blocks.
    """
    s, place = layer.placement.substrate, layer.placement
    event = s.wait_between_events * s.event_interval * layer.num_sends
    overhead = s.baseline_read + s.reset + s.settle + s.read_result
    rows = [0] * place.configurations
    for block in place.blocks():
        used = block.rows.stop - block.rows.start
        rows[block.configuration] = max(rows[block.configuration], used)
    return layer.groups * layer.vectors * sum(overhead + event * used for used in rows)


def estimate(plan: Plan) -> Cost:
    """Returns the cost of one sample through all layers of a plan."""
    seconds = sum(layer_seconds(layer) for layer in plan.weights)
    return Cost(seconds, (seconds * plan.substrate.power_min, seconds * plan.substrate.power_max))


def estimate_spiking(plan: SpikingPlan) -> Cost:
    """Returns the cost of one sample through all runs of a spiking plan, paced by the host.

    References: grenade (overhead of a run); Cramer et al. 2022 (power).
    """
    s = plan.substrate
    seconds = plan.partitions * (plan.seconds + s.run_overhead)
    return Cost(seconds, (seconds * s.power_spiking, seconds * s.power_spiking))


def describe_spiking_cost(plan: SpikingPlan) -> str:
    """Returns chip time and energy per sample of a spiking plan as a line of text."""
    cost = estimate_spiking(plan)
    return (
        f"per sample: {cost.seconds * 1e6:.1f} us of chip time, {cost.joules[0] * 1e6:.0f} uJ "
        f"({plan.substrate.power_spiking} W)"
    )


def describe_cost(plan: Plan) -> str:
    """Returns chip time and energy per sample as a table: layer, vectors, sends, runs, time."""
    rows = [
        (
            layer.name,
            str(layer.vectors),
            str(layer.num_sends),
            str(layer.vectors * layer.configurations),
            f"{layer_seconds(layer) * 1e6:.1f} us",
        )
        for layer in plan.weights
    ]
    cost = estimate(plan)
    least, most = (1e6 * joules for joules in cost.joules)
    return (
        table(("layer", "vectors", "sends", "runs", "time"), rows)
        + f"\n\nper sample: {cost.seconds * 1e6:.1f} us of chip time, {least:.0f} to {most:.0f} uJ "
        f"({plan.substrate.power_min} to {plan.substrate.power_max} W)"
    )
