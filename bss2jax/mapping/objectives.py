"""What a mapping is to be good at: functions from a mapping to a number, smaller is better.

An objective is any such function, and a weighted sum of some is one. The quantities are those of
the field: spikes between clusters counted once a destination (the hypergraph's lambda - 1), energy
of the union of their routes, latency where nothing waits, the load of links.
"""

from collections.abc import Callable
from collections.abc import Mapping as Table
from functools import partial

import numpy as np

from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.crossbar import PULSE

Objective = Callable[[Mapping], float]


def spikes(mapping: Mapping) -> float:
    """Returns the spikes between chips, a sample, each once a destination."""
    neuron, _ = mapping.sent
    return float(mapping.workload.rates[neuron].sum())


def hops(mapping: Mapping) -> float:
    """Returns the links that events pass, a sample; what several destinations share counts once."""
    neuron, _ = mapping.passes
    return float(mapping.workload.rates[neuron].sum())


def energy(mapping: Mapping) -> float:
    """Returns the dynamic energy of all events on their ways, a sample, J."""
    neuron, link = mapping.passes
    rates, system = mapping.workload.rates, mapping.system
    entries = mapping.carried[0] if system.cast == "unicast" else np.unique(mapping.carried[0])
    entering = system.entry.energy * rates[entries].sum()
    return float(entering + rates[neuron] @ system.of_links("energy")[link])


def latency(mapping: Mapping) -> float:
    """Returns the mean time from a spike to a synapse where nothing waits, s; 0 on its own chip."""
    took, counts = mapping.system.between("latency"), mapping.counts
    rates = mapping.workload.rates
    total = rates @ (counts * took[mapping.chip]).sum(axis=1)
    return float(total / max(rates @ counts.sum(axis=1), 1e-300))


def network_latency(mapping: Mapping) -> float:
    """Returns the mean time of an event from chip to chip where nothing waits, s."""
    neuron, chip = mapping.sent
    took = mapping.system.between("latency")[mapping.chip[neuron], chip]
    rates = mapping.workload.rates[neuron]
    return float(rates @ took / max(rates.sum(), 1e-300))


def loads(mapping: Mapping) -> np.ndarray:
    """Returns the events a sample on each link, `[L]`."""
    neuron, link = mapping.passes
    links = len(mapping.system.topology.ends)
    return np.bincount(link, mapping.workload.rates[neuron], links)


def load(mapping: Mapping) -> float:
    """Returns the events a sample on the link that has most."""
    return float(loads(mapping).max(initial=0.0))


def mismatch(mapping: Mapping, deviation: np.ndarray) -> float:
    """Returns how far neurons are from nominal, weighted with their spikes.

    Args:
        mapping: the mapping of a workload.
        deviation: `[chips]` mean absolute deviation of the circuits of each chip.
    """
    return float(mapping.workload.rates @ deviation[mapping.chip])


def heat(mapping: Mapping) -> float:
    """Returns the power of the chip that has most, W: its spikes through cells of mean conductance.

    Raises:
        ValueError: the system has no memory cells.
    """
    cell, load = mapping.system.cell, mapping.workload
    if cell is None:
        raise ValueError(f"heat: {mapping.system.name} has no memory cells; pcm and rram have")
    of_spike = PULSE * cell.volts**2 * (1 / cell.on + 1 / cell.off) / 2
    return float((load.rates @ mapping.counts).max(initial=0.0) * of_spike / load.seconds)


def wear(mapping: Mapping) -> float:
    """Returns the inverse of the time to the first failed cell, 1/s: see `wear.lifetime`."""
    # It brings scipy's graphs along, which nothing else here needs.
    from bss2jax.mapping.wear import lifetime

    return 1 / lifetime(mapping)


OBJECTIVES: dict[str, Objective] = {
    "spikes": spikes, "hops": hops, "energy": energy, "latency": latency, "load": load,
    "heat": heat, "lifetime": wear,
}  # fmt: skip


def weighted(
    weights: Table[str, float],
    known: Table[str, Objective] = OBJECTIVES,
    reference: Mapping | None = None,
) -> Objective:
    """Returns the weighted sum of objectives.

    Args:
        weights: the weights of objectives, by name.
        known: objectives by name; those of a user's own may stand beside `OBJECTIVES`.
        reference: the mapping whose objectives are taken as 1 each; None: they are as they are.

    Raises:
        ValueError: there is no such objective, or none at all.
    """
    unknown = [name for name in weights if name not in known]
    if unknown or not weights:
        what = f"no {unknown[0]!r}" if unknown else "none given"
        raise ValueError(f"objective: {what}; known: {', '.join(known)}")
    units = {name: (known[name](reference) if reference else 1.0) or 1.0 for name in weights}
    return partial(_sum, tuple((w / units[name], known[name]) for name, w in weights.items()))


def _sum(terms: tuple[tuple[float, Objective], ...], mapping: Mapping) -> float:
    return sum(weight * term(mapping) for weight, term in terms)


def terms(text: str) -> dict[str, float]:
    """Returns the weights of an objective as the command line has it: `energy+0.2*lifetime`.

    Args:
        text: names of objectives, each with a weight in front or none, joined by +.

    Raises:
        ValueError: a weight is no number.
    """
    weights: dict[str, float] = {}
    for term in text.split("+"):
        weight, star, name = term.rpartition("*")
        try:
            weights[name.strip()] = float(weight) if star else 1.0
        except ValueError:
            raise ValueError(
                f"objective: expected a number before *, got {term.strip()!r}"
            ) from None
    return weights


def parsed(text: str) -> Objective:
    """Returns an objective as the command line has it, its terms as they are.

    Args:
        text: as of `terms`.

    Raises:
        ValueError: as of `terms` and `weighted`.
    """
    return weighted(terms(text))


def front(values: np.ndarray) -> np.ndarray:
    """Returns which points no other one is better than in everything, `[n]`: the Pareto front.

    Args:
        values: `[n, terms]`, smaller is better; of equal points the first counts.
    """
    better = (values[None] <= values[:, None]).all(-1) & (values[None] < values[:, None]).any(-1)
    same = np.tril((values[None] == values[:, None]).all(-1), -1)
    return ~(better | same).any(axis=1)
