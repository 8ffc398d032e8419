"""What a network takes on one chip that is set up again and again, on all of its chips, or between.

Chips that run at once take the time axis once, and a link's latency from population to population;
with fewer chips than loads, loads follow each other in rounds, and the host replays spikes.
"""

from dataclasses import dataclass
from typing import Any

from bss2jax.chip.substrate import Substrate
from bss2jax.mapping.assignment import Mapping, circuits_of
from bss2jax.mapping.objectives import energy, loads
from bss2jax.text import table


@dataclass(frozen=True)
class Throughput:
    """What a sample takes with so many chips.

    Attributes:
        chips: the chips that work at once.
        rounds: one after the other, of a sample.
        seconds: chip time of a sample.
        joules: the energy of chips and of links.
    """

    chips: int
    rounds: int
    seconds: float
    joules: float


def throughput(mapping: Mapping, chips: int, *, stages: int, substrate: Substrate) -> Throughput:
    """Returns what a sample takes on some of the chips that a mapping has.

    Args:
        mapping: the mapping of a network's populations.
        chips: the chips that there are, from 1 on.
        stages: populations that spikes pass one after the other.
        substrate: the substrate whose times and power apply.
    """
    load = len(mapping.place)
    rounds = -(-load // chips)
    passing = (stages - 1) * mapping.system.delay if rounds == 1 < load else 0.0
    seconds = rounds * (mapping.workload.seconds + substrate.run_overhead) + passing
    links = energy(mapping) if rounds == 1 else 0.0
    busy = min(chips, load)
    return Throughput(busy, rounds, seconds, busy * substrate.power_spiking * seconds + links)


def check_rates(mapping: Mapping) -> None:
    """Refuses traffic that a link cannot carry.

    Raises:
        ValueError: it cannot; says how much is too much.
    """
    carried = loads(mapping) / mapping.workload.seconds
    over = carried - mapping.system.of_links("rate")
    worst = int(over.argmax())
    if over[worst] > 0:
        begin, end = mapping.system.topology.ends[worst]
        raise ValueError(
            f"{mapping.system.name}: the link from node {begin} to {end} has {carried[worst]:.3g} "
            f"events a second to carry, {over[worst]:.3g} more than it can"
        )


def tree(mapping: Mapping, *, stages: int) -> dict[str, Any]:
    """Returns what a network takes on a system, as nested dicts that JSON can hold.

    Args:
        mapping: the mapping of its populations.
        stages: populations that spikes pass one after the other.
    """
    system, used, carried = mapping.system, len(mapping.place), loads(mapping)
    circuits = circuits_of(mapping.workload.fan_in, system.limits).sum()
    times = [
        throughput(mapping, chips, stages=stages, substrate=system.substrate)
        for chips in chip_counts(used)
    ]  # fmt: skip
    return {
        "name": system.name,
        "chips": system.chips,
        "used": used,
        "circuits_in_use": float(circuits / (used * system.limits.circuits)),
        "events": float(carried.sum()),
        "events_on_busiest_link": float(carried.max(initial=0)),
        "link_joules": energy(mapping),
        "delay": system.delay,
        "by_chips": [vars(t) for t in times],
        "sources": list(system.sources),
    }


def describe_system(mapping: Mapping, *, stages: int) -> str:
    """Returns what a network takes on a system, as text.

    Args:
        mapping: the mapping of its populations.
        stages: populations that spikes pass one after the other.
    """
    of = tree(mapping, stages=stages)
    rows = [
        (
            str(t["chips"]),
            str(t["rounds"]),
            f"{1e6 * t['seconds']:.1f} us",
            f"{of['by_chips'][0]['seconds'] / t['seconds']:.2f}",
            f"{1 / t['seconds']:.0f} /s",
            f"{1e6 * t['joules']:.1f} uJ",
        )
        for t in of["by_chips"]
    ]
    lines = [
        f"{of['name']}: {of['used']} of {of['chips']} chips, {of['circuits_in_use']:.1%} of their "
        "circuits in use",
        f"{of['events']:.1f} events a sample over links, {of['events_on_busiest_link']:.1f} over "
        f"the busiest, {1e9 * of['link_joules']:.3g} nJ; a link delays by {1e6 * of['delay']:.2f} "
        "us at most",
        "",
        table(("chips", "rounds", "a sample", "speed-up", "throughput", "energy"), rows),
        "",
        *of["sources"],
    ]
    return "\n".join(lines)


def chip_counts(loads: int) -> list[int]:
    """Returns the numbers of chips that differ: one, all, and between the least of so many rounds.

    Args:
        loads: what one chip holds at once, how many of these there are.
    """
    rounds = sorted({-(-loads // chips) for chips in range(1, loads + 1)}, reverse=True)
    return [-(-loads // r) for r in rounds]
