"""What a plan costs on the chip: time, events, host round trips, writing of weights and energy.

A layer knows what its pieces take, and pieces of one configuration run side by side. Per sample

    products:         t = vectors (rows num_sends (wait x 8 ns) + baseline read + reset + settle
                          + read out), for each configuration
    spiking, paced:   t = time axis + overhead, for each configuration: the host starts each sample
    spiking, fast:    t = 10 us + 1.8 us, where the whole network is on the chip at once and
                          decides in this time

Energy is power times time. The sources disagree about the power, so it is a span; 12 mJ per MNIST
image, published for the whole set-up, is not reproduced: the chip alone takes less.

References: grenade `compute/mac` (timings), Cramer et al. 2022 (fast mode, power); for power in
matrix products a project page on Weis et al. 2020, and Stradmann et al. 2021.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.mapping.demand import SPENT
from bss2jax.mapping.pieces import CHIP, CONFIGURATION
from bss2jax.mapping.plan import Plan

Mode = Literal["paced", "fast"]


@dataclass(frozen=True)
class Cost:
    """What one sample costs.

    Attributes:
        configurations: chip time of each configuration, s, in their order.
        events: the most input events sent, None where they are not known beforehand.
        power: least and most, W, of all chips at work; of a mixed network, their means over time.
    """

    configurations: tuple[float, ...]
    events: int | None
    power: tuple[float, float]

    @property
    def seconds(self) -> float:
        """Chip time of a sample through all configurations."""
        return sum(self.configurations)

    @property
    def joules(self) -> tuple[float, float]:
        """Least and most energy of that time."""
        least, most = self.power
        return least * self.seconds, most * self.seconds


@dataclass(frozen=True)
class EpochCost:
    """What an epoch of training costs, batch by batch, each with weights of its own.

    Attributes:
        chips: one, reused for every configuration; or one for each, which then work side by side.
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


def estimate(plan: Plan, *, mode: Mode = "paced") -> Cost:
    """Returns the cost of one sample through all layers.

    Args:
        plan: the plan of any layers.
        mode: `paced`, the host starts each sample and waits; or `fast`, the chip goes from sample
            to sample by itself and ends each after 10 us, which takes a spiking network of one
            configuration that has decided by then.

    Raises:
        ValueError: `fast` with more than one configuration, whose spikes the host must record and
            replay, or with layers that have no such mode.

    References: grenade (overheads, timings of products); Cramer et al. 2022 (fast mode, power).
    """
    seconds, power = spent(plan).sum(-1), np.zeros((plan.configurations, 2))
    events = []
    for layer, demand in enumerate(plan.demands):
        rows = plan.rows(layer)
        power[rows[:, CONFIGURATION]] = demand.power(plan.substrate)
        # Of populations that the input reaches: what others are sent depends on the sample.
        events.append(demand.events(rows))
    # Chips of one configuration are on side by side; spikes pass links between populations.
    pairs = np.unique(plan.table[:, [CONFIGURATION, CHIP]], axis=0)
    power *= np.bincount(pairs[:, 0], minlength=plan.configurations)[:, None]
    if plan.system is not None and plan.chips > 1:
        seconds[-1] += (len(plan.names) - 1) * plan.system.delay
    if mode == "fast":
        one = fast_seconds(plan)
        if one is None:
            raise ValueError(
                "mode: fast takes a spiking network of one configuration, this one has "
                f"{plan.configurations}"
            )
        seconds = np.full(1, one)
    known = [sent for sent in events if sent is not None]
    return Cost(tuple(seconds.tolist()), sum(known) if known else None, _mean(power, seconds))


def spent(plan: Plan) -> np.ndarray:
    """Returns what each configuration spends its time on for one sample, that of its longest piece.

    Args:
        plan: the plan of any layers.

    Returns:
        `[configurations, 3]` s, on each of `mapping.demand.SPENT`.
    """
    found = np.zeros((plan.configurations, len(SPENT)))
    for layer, demand in enumerate(plan.demands):
        rows = plan.rows(layer)
        times = demand.spent(rows, plan.seconds, plan.substrate)
        # In order, so that the longest of a configuration is written last.
        order = np.argsort(times.sum(-1), kind="stable")
        at, times = rows[order, CONFIGURATION], times[order]
        longer = times.sum(-1) > found[at].sum(-1)
        found[at[longer]] = times[longer]
    return found


def fast_seconds(plan: Plan) -> float | None:
    """Returns the time of a sample that the host does not start, s; None: see `estimate`."""
    times = [demand.fast_seconds(plan.seconds, plan.substrate) for demand in plan.demands]
    known = [time for time in times if time is not None]
    return max(known) if plan.configurations == 1 and len(known) == len(times) else None


def _mean(power: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """The power of all configurations, weighted by their time where it is not one."""
    same = bool((power == power[:1]).all())
    least, most = power[:1].sum(0) if same else seconds @ power / seconds.sum()
    return float(least), float(most)


def writing_seconds(substrate: Substrate) -> float:
    """Returns the time to write all weights of a chip, s."""
    synapses = substrate.hemispheres * 2 * substrate.rows * substrate.columns
    return 8 * synapses / substrate.link_rate


def over_epoch(
    cost: Cost, samples: int, batch: int, *, one_chip: bool = True, substrate: Substrate = BSS2
) -> EpochCost:
    """Returns what an epoch of training costs.

    On one chip each batch passes one configuration after the other, and the weights of each are
    written in between. On as many chips as configurations, batches follow each other from chip to
    chip, as fast as the slowest, and weights are written side by side; every chip is on all the
    time. Analog parameters stay as they are; to change them takes 20 ms more (calix).

    Args:
        cost: the cost of a sample.
        samples: the number of samples in an epoch.
        batch: samples with the same weights; the last batch may be smaller.
        one_chip: whether one chip does all configurations.
        substrate: the substrate whose link writes the weights.

    Raises:
        ValueError: samples or batch below 1.
    """
    if samples < 1 or batch < 1:
        raise ValueError(f"expected samples and batch >= 1, got {samples} and {batch}")
    count, batches = len(cost.configurations), -(-samples // batch)
    write = writing_seconds(substrate)
    if one_chip:
        chips, seconds, writing = 1, samples * cost.seconds, batches * count * write
    else:
        # The first batch passes all chips; then one leaves for each that enters.
        fill = min(batch, samples) * (cost.seconds - max(cost.configurations))
        chips, seconds, writing = count, samples * max(cost.configurations) + fill, batches * write
    least, most = (chips * power * (seconds + writing) for power in cost.power)
    return EpochCost(
        chips,
        seconds,
        writing,
        (least, most),
        reconfigurations=batches * count,
        round_trips=2 * batches * count,
        events=None if cost.events is None else samples * cost.events,
    )
