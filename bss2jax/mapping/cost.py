"""What a plan costs on the chip: time, events, host round trips, writing of weights and energy.

A run is a configuration of the arrays (matrix products) or a partition (spiking). Per sample

    products:         t = vectors (rows num_sends (wait x 8 ns) + baseline read + reset + settle
                          + read out), for each configuration
    spiking, paced:   t = time axis + overhead, for each partition: the host starts every sample
    spiking, fast:    t = 10 us + 1.8 us, where the whole network is on the chip at once and
                          decides in this time

Energy is power times time. The sources disagree about the power, so it is a span; 12 mJ per MNIST
image, published for the whole set-up, is not reproduced: the chip alone takes less.

References: grenade `compute/mac` (timings), Cramer et al. 2022 (fast mode, power); for power in
matrix products a project page on Weis et al. 2020, and Stradmann et al. 2021.
"""

from dataclasses import dataclass
from typing import Literal

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.mapping.plan import LayerPlan, Plan
from bss2jax.mapping.populations import SpikingPlan
from bss2jax.text import table

Mode = Literal["paced", "fast"]


@dataclass(frozen=True)
class Cost:
    """What one sample costs.

    Attributes:
        runs: chip time of each configuration or partition, s, in their order.
        events: the most input events sent, None where they are not known beforehand.
        power: least and most, W, of one chip.
    """

    runs: tuple[float, ...]
    events: int | None
    power: tuple[float, float]

    @property
    def seconds(self) -> float:
        """Chip time of a sample through all runs."""
        return sum(self.runs)

    @property
    def joules(self) -> tuple[float, float]:
        """Least and most energy of that time."""
        least, most = self.power
        return least * self.seconds, most * self.seconds


@dataclass(frozen=True)
class EpochCost:
    """What an epoch of training costs, batch by batch, each with weights of its own.

    Attributes:
        chips: one, reused for every run; or one for each run, which then work side by side.
        seconds: chip time.
        writing: time to write weights, s, beside it.
        joules: least and most energy of both times, all chips switched on.
        reconfigurations: how often a chip's weights are written.
        round_trips: how often the host takes results from a chip, or gives it new weights.
        events: the most input events sent, None where they are not known beforehand.
    """

    chips: int
    seconds: float
    writing: float
    joules: tuple[float, float]
    reconfigurations: int
    round_trips: int
    events: int | None


def estimate(plan: Plan) -> Cost:
    """Returns the cost of one sample through all layers of matrix products.

    References: grenade `compute/mac` (timings); a project page on Weis et al. 2020, Stradmann et
    al. 2021 (power).
    """
    runs, events = [], 0
    for layer in plan.weights:
        runs += _configurations(layer)
        sent = sum(block.rows.stop - block.rows.start for block in layer.placement.blocks())
        events += layer.groups * layer.vectors * layer.num_sends * sent
    return Cost(tuple(runs), events, (plan.substrate.power_min, plan.substrate.power_max))


def estimate_spiking(plan: SpikingPlan, mode: Mode = "paced") -> Cost:
    """Returns the cost of one sample through all runs of a spiking plan.

    Args:
        plan: the runs.
        mode: `paced`, the host starts each sample and waits; or `fast`, the chip goes from sample
            to sample by itself and ends each after 10 us, which takes a network of one run that has
            decided by then.

    Raises:
        ValueError: `fast` with more than one run, whose spikes the host must record and replay.

    References: grenade (overhead of a run); Cramer et al. 2022 (fast mode, power).
    """
    s = plan.substrate
    if mode == "fast" and plan.partitions > 1:
        raise ValueError(
            f"mode: fast takes a network of one partition, this one has {plan.partitions}"
        )
    one = plan.seconds + s.run_overhead
    if mode == "fast":
        one = min(plan.seconds, s.fast_run) + s.fast_reset
    # Of the populations that the input reaches: what others are sent depends on the sample.
    known = [
        sent * place.runs
        for sent, place in zip(plan.input_events, plan.populations, strict=True)
        if sent is not None
    ]
    events = sum(known) if known else None
    return Cost((one,) * plan.partitions, events, (s.power_spiking, s.power_spiking))


def over_epoch(
    cost: Cost, samples: int, batch: int, one_chip: bool = True, substrate: Substrate = BSS2
) -> EpochCost:
    """Returns what an epoch of training costs.

    On one chip each batch passes one run after the other, and the weights of every run are written
    in between. On as many chips as runs, batches follow each other from chip to chip, as fast as
    the slowest run, and weights are written side by side; every chip is on all the time. Analog
    parameters stay as they are from run to run; to change them takes 20 ms more (calix).

    Args:
        cost: of a sample.
        samples: of an epoch.
        batch: samples with the same weights; the last batch may be smaller.
        one_chip: whether one chip does all runs.
        substrate: whose link writes the weights.

    Raises:
        ValueError: samples or batch below 1.
    """
    if samples < 1 or batch < 1:
        raise ValueError(f"expected samples and batch >= 1, got {samples} and {batch}")
    runs, batches = len(cost.runs), -(-samples // batch)
    synapses = substrate.hemispheres * 2 * substrate.rows * substrate.columns
    write = 8 * synapses / substrate.link_rate
    if one_chip:
        chips, seconds, writing = 1, samples * cost.seconds, batches * runs * write
    else:
        # The first batch passes all chips; then one leaves for each that enters.
        fill = min(batch, samples) * (cost.seconds - max(cost.runs))
        chips, seconds, writing = runs, samples * max(cost.runs) + fill, batches * write
    least, most = (chips * power * (seconds + writing) for power in cost.power)
    return EpochCost(
        chips,
        seconds,
        writing,
        (least, most),
        reconfigurations=batches * runs,
        round_trips=2 * batches * runs,
        events=None if cost.events is None else samples * cost.events,
    )


def describe_cost(plan: Plan, samples: int = 60_000, batch: int = 128) -> str:
    """Returns what a plan of matrix products costs as tables: layers, a sample, an epoch.

    Args:
        plan: the blocks.
        samples: of an epoch.
        batch: samples with the same weights.
    """
    rows = [
        (
            layer.name,
            str(layer.vectors),
            str(layer.num_sends),
            str(layer.vectors * layer.configurations),
            f"{sum(_configurations(layer)) * 1e6:.1f} us",
        )
        for layer in plan.weights
    ]
    cost, s = estimate(plan), plan.substrate
    whole = cost.seconds * s.power_system * 1e3
    return (
        table(("layer", "vectors", "sends", "runs", "time"), rows)
        + f"\n\n{_sample_line(cost)}\n"
        + f"the whole mobile system, {s.power_system} W, would take {whole:.1f} mJ in that time; "
        "12 mJ per MNIST image, published\nfor a whole set-up, is not reproduced\n\n"
        + _epoch_table(cost, samples, batch, s)
    )


def describe_spiking_cost(plan: SpikingPlan, samples: int = 60_000, batch: int = 128) -> str:
    """Returns what a spiking plan costs as text: a sample, in both modes, and an epoch.

    Args:
        plan: the runs.
        samples: of an epoch.
        batch: samples with the same weights.
    """
    cost = estimate_spiking(plan)
    text = _sample_line(cost)
    if plan.partitions == 1:
        fast = _sample_line(estimate_spiking(plan, "fast"))
        text += f"\nin fast mode, ended after {1e6 * plan.substrate.fast_run:.0f} us, {fast}"
    return f"{text}\n\n{_epoch_table(cost, samples, batch, plan.substrate)}"


def _configurations(layer: LayerPlan) -> list[float]:
    """Chip time of each configuration of a layer for one sample, s.

    Events of the two hemispheres run side by side, so a configuration takes as long as the more
    rows of its blocks.
    """
    s, place = layer.placement.substrate, layer.placement
    event = s.wait_between_events * s.event_interval * layer.num_sends
    overhead = s.baseline_read + s.reset + s.settle + s.read_result
    rows = [0] * place.configurations
    for block in place.blocks():
        used = block.rows.stop - block.rows.start
        rows[block.configuration] = max(rows[block.configuration], used)
    return layer.groups * [layer.vectors * (overhead + event * used) for used in rows]


def _sample_line(cost):
    least, most = (1e6 * joules for joules in cost.joules)
    energy = f"{least:.3g} uJ" if least == most else f"{least:.0f} to {most:.0f} uJ"
    power = f"{cost.power[0]} W" if least == most else f"{cost.power[0]} to {cost.power[1]} W"
    events = (
        "input events not known" if cost.events is None else f"at most {cost.events} input events"
    )
    return f"per sample: {cost.seconds * 1e6:.1f} us of chip time, {energy} ({power}), {events}"


def _epoch_table(cost, samples, batch, substrate):
    epochs = [over_epoch(cost, samples, batch, True, substrate)]
    if len(cost.runs) > 1:
        epochs.append(over_epoch(cost, samples, batch, False, substrate))
    rows = [
        (
            str(e.chips),
            f"{e.seconds:.2f} s",
            f"{e.writing:.2f} s",
            str(e.reconfigurations),
            str(e.round_trips),
            f"{e.joules[0]:.3g} J" if e.joules[0] == e.joules[1] else f"{e.joules[0]:.3g} to "
            f"{e.joules[1]:.3g} J",
        )
        for e in epochs
    ]  # fmt: skip
    header = ("chips", "chip time", "writing", "reconfigurations", "round trips", "energy")
    title = f"per epoch of {samples} samples in batches of {batch}:"
    return f"{title}\n{table(header, rows)}"
