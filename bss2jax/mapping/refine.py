"""Better clusters by moving and swapping neurons: Kernighan-Lin, before and after placement.

The cost is that of spikes, each once a destination: rate times `cost[a, b]` from a neuron's cluster
a to each other cluster b that holds a target. With cost 1 between any two this is Kernighan and
Lin's (1970) and Fiduccia and Mattheyses' (1982) refinement of lambda - 1; with the energy between
the chips where the clusters are placed it moves neurons closer together on the system.
"""

from collections.abc import Callable

import numpy as np

from bss2jax.mapping.cluster import Need, TooSmall
from bss2jax.mapping.workload import Workload


class Clusters:
    """Clusters of a workload that are changed neuron by neuron, and what they cost.

    Args:
        workload: the workload whose neurons they are.
        asked: what is asked of the system.
        cluster: `[n]` to begin with.
        cost: `[k, k]` of a spike between clusters, 0 on the diagonal.
    """

    def __init__(
        self, workload: Workload, asked: Need, cluster: np.ndarray, cost: np.ndarray
    ) -> None:
        self.workload, self.asked, self.cost = workload, asked, np.asarray(cost, float)
        self.cluster, k, n = np.array(cluster, np.int32), len(cost), workload.neurons
        key = workload.source.astype(np.int64) * k + self.cluster[workload.target]
        self.count = np.bincount(key, minlength=n * k).reshape(n, k).astype(np.int32)
        self.used = np.bincount(self.cluster, asked.circuits, k).astype(int)
        self.inputs = (self.count > 0).sum(axis=0)
        self._pointers, self._indices = workload.backward.indptr, workload.backward.indices

    def total(self) -> float:
        """Returns the cost, all of it computed."""
        reached = (self.count > 0) * self.cost[self.cluster]
        return float(self.workload.rates @ reached.sum(axis=1))

    def sources(self, neuron: int) -> np.ndarray:
        """Returns the neurons `[s]` that send to one."""
        return self._indices[self._pointers[neuron] : self._pointers[neuron + 1]]

    def change(self, neuron: int, to: int) -> float:
        """Returns by how much the cost would change if a neuron moved to a cluster."""
        at, cost, count = self.cluster[neuron], self.cost, self.count
        sources, rates = self.sources(neuron), self.workload.rates
        own = count[neuron] > 0
        loop = (sources == neuron).any()
        if loop:
            sources, moved = sources[sources != neuron], count[neuron].copy()
            moved[at] -= 1
            moved[to] += 1
            after = moved > 0
        else:
            after = own
        changed = rates[neuron] * (after @ cost[to] - own @ cost[at])
        clusters, rate = self.cluster[sources], rates[sources]
        arrives = (count[sources, to] == 0) * cost[clusters, to]
        leaves = (count[sources, at] == 1) * cost[clusters, at]
        return float(changed + rate @ (arrives - leaves))

    def fits(self, neuron: int, to: int, without: int | None = None) -> bool:
        """Tells whether a cluster takes a neuron, perhaps once another one has left it."""
        limits, circuits = self.asked.limits, self.asked.circuits
        used = self.used[to] + circuits[neuron] - (0 if without is None else circuits[without])
        if used > limits.circuits:
            return False
        if limits.inputs is None:
            return True
        sources, leaving = self.sources(neuron), 0
        if without is not None:
            others = self.sources(without)
            gone = others[self.count[others, to] == 1]
            leaving = len(gone) - len(np.intersect1d(gone, sources))
        new = int((self.count[sources, to] == 0).sum())
        return bool(self.inputs[to] - leaving + new <= limits.inputs)

    def move(self, neuron: int, to: int) -> None:
        """Moves a neuron to a cluster."""
        at, sources, circuits = self.cluster[neuron], self.sources(neuron), self.asked.circuits
        self.count[sources, at] -= 1
        self.count[sources, to] += 1
        self.inputs[at] -= int((self.count[sources, at] == 0).sum())
        self.inputs[to] += int((self.count[sources, to] == 1).sum())
        self.used[at] -= circuits[neuron]
        self.used[to] += circuits[neuron]
        self.cluster[neuron] = to

    def changes(self) -> np.ndarray:
        """Returns by how much the cost would change for each neuron and cluster, `[n, k]`.

        Exact for neurons that do not send to themselves.
        """
        w, cost = self.workload, self.cost
        own = w.rates[:, None] * ((self.count > 0).astype(float) @ cost.T)
        at, n = self.cluster, np.arange(w.neurons)
        row = w.rates[:, None] * cost[at]  # [n, k] of one spike train to each cluster
        arrives = w.backward @ np.where(self.count == 0, row, 0.0)
        last = np.where(self.count == 1, row, 0.0)
        leaves = np.bincount(w.target, last[w.source, at[w.target]], w.neurons)
        return own - own[n, at][:, None] + arrives - leaves[:, None]


def refine(
    clusters: Clusters, rounds: int = 10, tell: Callable[[float], None] | None = None
) -> None:
    """Moves and swaps neurons while that makes clusters cheaper, round by round.

    Each round orders neurons by their gain, and takes each move, or swap where the other cluster is
    full, whose gain still holds: a neuron at most once.

    Args:
        clusters: the clusters, which are changed.
        rounds: the most rounds.
        tell: is told the cost after each round.
    """
    cost = clusters.total()
    for _ in range(rounds):
        changes = clusters.changes()
        n = np.arange(len(changes))
        changes[n, clusters.cluster] = np.inf
        best = changes.argmin(axis=1)
        order = np.argsort(changes[n, best], kind="stable")
        least = -1e-12 * abs(cost)  # what is smaller is rounding
        hopeful = order[: np.searchsorted(changes[order, best[order]], _partner(changes, clusters))]
        gained = 0.0
        moved = np.zeros(len(changes), bool)
        for neuron in hopeful.tolist():
            if not moved[neuron]:
                gained += _step(clusters, neuron, int(best[neuron]), changes, moved, least)
        cost += gained
        if tell is not None:
            tell(cost)
        if gained >= -1e-3 * abs(cost):
            break


def _partner(changes: np.ndarray, clusters: Clusters) -> float:
    """Beyond which change no swap can gain: what the best partner could make up for."""
    return max(0.0, -float(changes.min(initial=0.0)))


def _step(
    clusters: Clusters, neuron: int, to: int, changes: np.ndarray, moved: np.ndarray, least: float
) -> float:
    """Moves a neuron, or swaps it with the best one of a full cluster; returns the change made."""
    at = int(clusters.cluster[neuron])
    if clusters.fits(neuron, to):
        change = clusters.change(neuron, to)
        if change < least:
            clusters.move(neuron, to)
            moved[neuron] = True
            return change
        return 0.0
    there = np.flatnonzero((clusters.cluster == to) & ~moved)
    if not len(there):
        return 0.0
    other = int(there[changes[there, at].argmin()])
    if changes[neuron, to] + changes[other, at] >= 0:
        return 0.0
    if not (clusters.fits(neuron, to, other) and clusters.fits(other, at, neuron)):
        return 0.0
    change = clusters.change(neuron, to)
    clusters.move(neuron, to)
    change += clusters.change(other, at)
    if change >= least:
        clusters.move(neuron, at)
        return 0.0
    clusters.move(other, at)
    moved[[neuron, other]] = True
    return change


def repair(clusters: Clusters) -> None:
    """Moves neurons out of clusters that have too many circuits or inputs, the cheapest first.

    Args:
        clusters: the clusters, which are changed; those of its k that are empty may be opened.

    Raises:
        TooSmall: no cluster takes a neuron that has to go.
    """
    limits, circuits = clusters.asked.limits, clusters.asked.circuits
    for at in range(len(clusters.cost)):
        while clusters.used[at] > limits.circuits or (
            limits.inputs is not None and clusters.inputs[at] > limits.inputs
        ):
            members = np.flatnonzero(clusters.cluster == at)
            options = []
            for neuron in members.tolist():
                sources = clusters.sources(neuron)
                freed = int((clusters.count[sources, at] == 1).sum())
                relief = freed if clusters.used[at] <= limits.circuits else circuits[neuron]
                if relief:
                    options.append((-relief, neuron))
            for _, neuron in sorted(options):
                targets = [b for b in range(len(clusters.cost)) if b != at]
                takes = [b for b in targets if clusters.fits(neuron, b)]
                filled = [b for b in takes if clusters.used[b]] or takes[:1]
                if filled:
                    clusters.move(neuron, min(filled, key=lambda b: clusters.change(neuron, b)))
                    break
            else:
                raise TooSmall(
                    f"no chip takes a neuron of cluster {at}, which has {int(clusters.inputs[at])} "
                    f"inputs where {limits.inputs} fit: more chips are needed"
                )
