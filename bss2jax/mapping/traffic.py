"""Spikes on their ways through a system, event by event: latency, distortion, disorder, losses.

Each event passes the links of its route. A link takes one event after the other, `1 / rate` apart,
in the order in which they arrive, and lets each out `latency` later; what does not fit its queue is
lost. Links are simulated one after the other, upstream ones first, so that a whole link's events
are one array; that is exact where no route turns back to a link that feeds it, as of XY routes and
trees.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.workload import Workload


@dataclass(frozen=True, eq=False)
class Traffic:
    """What became of the spikes that were for other chips, one entry a spike and chip.

    Attributes:
        neuron, chip: `[d]` who sent it, and where to.
        sent: `[d]` s.
        received: `[d]` s; infinite if it was lost.
        events: `[L]` events that each link took.
        waited: `[L]` the longest time that one waited there, s.
    """

    neuron: np.ndarray
    chip: np.ndarray
    sent: np.ndarray
    received: np.ndarray
    events: np.ndarray
    waited: np.ndarray

    @property
    def lost(self) -> int:
        """How many did not arrive."""
        return int((~np.isfinite(self.received)).sum())

    @property
    def latency(self) -> np.ndarray:
        """From sending to arrival, s, of those that arrived."""
        arrived = np.isfinite(self.received)
        return self.received[arrived] - self.sent[arrived]

    def distortion(self) -> np.ndarray:
        """Returns by how much intervals between spikes of a neuron changed on the way, s.

        Returns:
            `[i]`, positive and negative, of all in-order pairs that arrived.
        """
        gap, apart = self._intervals()
        return apart[gap > 0] - gap[gap > 0]

    def disorder(self) -> int:
        """Returns how many spikes arrived after a later one of the same neuron."""
        gap, _ = self._intervals()
        return int((gap <= 0).sum())

    def _intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Between spikes of a neuron that reach a chip one after the other: sent and received."""
        at = np.flatnonzero(np.isfinite(self.received))
        order = at[np.lexsort((self.received[at], self.chip[at], self.neuron[at]))]
        same = (np.diff(self.neuron[order]) == 0) & (np.diff(self.chip[order]) == 0)
        return np.diff(self.sent[order])[same], np.diff(self.received[order])[same]


def poisson(workload: Workload, seconds: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws spikes of all neurons at their rates.

    Args:
        workload: the workload whose rates they are, a sample.
        seconds: how long; the workload says how long a sample is.
        seed: the seed of the draw.

    Returns:
        Times `[e]`, s, in order, and neurons `[e]`.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(workload.rates * (seconds / workload.seconds))
    neuron = np.repeat(np.arange(workload.neurons), counts)
    times = rng.random(len(neuron)) * seconds
    order = np.argsort(times, kind="stable")
    return times[order], neuron[order]


@dataclass(frozen=True, eq=False)
class _Ways:
    """The way of one event of each neuron.

    Attributes:
        first: `[n + 1]` where the steps of each neuron begin.
        link: `[s]` that a step passes.
        before: `[s]` the neuron's step before it, counted from its first; -1 for none.
        neuron, chip, last: `[d]` where spikes are for, and the step that ends there.
    """

    first: np.ndarray
    link: np.ndarray
    before: np.ndarray
    neuron: np.ndarray
    chip: np.ndarray
    last: np.ndarray


def _ways(mapping: Mapping) -> _Ways:
    topology, n = mapping.system.topology, mapping.workload.neurons
    ends, nodes = topology.ends, int(topology.ends.max(initial=0)) + 1
    real = mapping.sent
    if mapping.system.cast == "unicast":
        way, link = topology.routes(mapping.chip[real[0]], real[1])
        owner = real[0][way]
        starts = np.diff(way, prepend=-1) > 0
        first = np.searchsorted(owner, np.arange(n + 1))
        local = np.arange(len(owner)) - first[owner]
        stops = np.flatnonzero(np.append(starts[1:], True)) if len(starts) else np.zeros(0, int)
        return _Ways(first, link, np.where(starts, -1, local - 1), *real, local[stops])
    # The union of ways from one chip is a tree: a node is entered by one link.
    owner, link = mapping.passes
    first = np.searchsorted(owner, np.arange(n + 1))
    local = np.arange(len(owner)) - first[owner]
    entered, left = owner * nodes + ends[link, 1], owner * nodes + ends[link, 0]
    order = np.argsort(entered, kind="stable")

    def entering(key: np.ndarray) -> np.ndarray:
        if not len(order):
            return np.zeros(len(key), int) - 1
        at = order[np.minimum(np.searchsorted(entered[order], key), len(order) - 1)]
        return np.where(entered[at] == key, local[at], -1)

    return _Ways(first, link, entering(left), *real, entering(real[0] * nodes + real[1]))


def _levels(ways: _Ways, links: int) -> np.ndarray:
    """How many links may feed each one, one after the other, `[links]`.

    Raises:
        ValueError: links feed each other in a circle.
    """
    inner = np.flatnonzero(ways.before >= 0)
    owner = np.repeat(np.arange(len(ways.first) - 1), np.diff(ways.first))
    upstream = ways.link[ways.first[owner[inner]] + ways.before[inner]]
    pairs = np.unique(upstream.astype(np.int64) * links + ways.link[inner])
    above, below = np.divmod(pairs, links)
    level = np.zeros(links, int)
    for _ in range(links + 1):
        raised = level.copy()
        np.maximum.at(raised, below, level[above] + 1)
        if (raised == level).all():
            return level
        level = raised
    raise ValueError("traffic: routes of this topology feed each other in a circle")


def simulate(mapping: Mapping, times: np.ndarray, neurons: np.ndarray) -> Traffic:
    """Sends spikes through a system.

    Args:
        mapping: the mapping of their neurons.
        times: `[e]` of the spikes, s, in order.
        neurons: `[e]` that send them.

    Returns:
        What became of each.

    Raises:
        ValueError: times are not in order, or links feed each other in a circle.
    """
    if len(times) != len(neurons) or (np.diff(times) < 0).any():
        raise ValueError("traffic: expected times in order, and a neuron for each")
    ways, system = _ways(mapping), mapping.system
    steps = np.diff(ways.first)[neurons]
    base = np.cumsum(steps) - steps
    event = np.repeat(np.arange(len(times)), steps)
    within = np.arange(len(event)) - base[event]
    step = ways.first[neurons[event]] + within
    link = ways.link[step]
    before = np.where(ways.before[step] < 0, -1, base[event] + ways.before[step])
    out, links = np.full(len(event), np.inf), len(system.topology.ends)
    latency, gap = system.of_links("latency"), 1 / system.of_links("rate")
    events, waited = np.zeros(links, int), np.zeros(links)
    begin = times + system.entry.latency
    for at, chosen in _by_link(link, _levels(ways, links)):
        arrive = np.where(before[at] < 0, begin[event[at]], out[before[at]])
        at, arrive = at[np.isfinite(arrive)], arrive[np.isfinite(arrive)]
        order = np.argsort(arrive, kind="stable")
        at, arrive = at[order], arrive[order]
        start = _served(arrive, gap[chosen], system.limits.queue)
        out[at] = start + latency[chosen]
        taken = np.isfinite(start)
        events[chosen] = taken.sum()
        waited[chosen] = (start[taken] - arrive[taken]).max(initial=0.0)
    # Where they were for.
    at = np.searchsorted(ways.neuron, np.arange(mapping.workload.neurons + 1))
    targets = np.diff(at)[neurons]
    which = np.repeat(np.arange(len(times)), targets)
    there = at[neurons[which]] + np.arange(len(which)) - (np.cumsum(targets) - targets)[which]
    received = out[base[which] + ways.last[there]]
    return Traffic(neurons[which], ways.chip[there], times[which], received, events, waited)


def _by_link(link: np.ndarray, level: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """The steps of each link, upstream links first."""
    order = np.argsort(link, kind="stable")
    bounds = np.searchsorted(link[order], np.arange(len(level) + 1))
    for chosen in np.argsort(level, kind="stable").tolist():
        if bounds[chosen] < bounds[chosen + 1]:
            yield order[bounds[chosen] : bounds[chosen + 1]], chosen


def _served(arrive: np.ndarray, gap: float, queue: int | None) -> np.ndarray:
    """When a link takes each of the events that arrive in order, infinite for those it loses."""
    if gap == 0:
        return arrive
    number = np.arange(len(arrive))
    start = np.maximum(arrive, gap * number + np.maximum.accumulate(arrive - gap * number))
    if queue is None:
        return start
    waiting = number - np.minimum(number, np.searchsorted(start, arrive, side="right"))
    if waiting.max(initial=0) < queue:
        return start
    taken: list[float] = []
    free, head, kept = -np.inf, 0, np.full(len(arrive), np.inf)
    for i, now in enumerate(arrive.tolist()):
        while head < len(taken) and taken[head] <= now:
            head += 1
        if len(taken) - head < queue:
            free = max(now, free)
            kept[i] = free
            taken.append(free)
            free += gap
    return kept
