"""The search for a mapping: methods by name, from the literature's to the best of a portfolio.

Each method is a function of workload, system and what it is to be good at, and gives a mapping that
keeps all limits. `best` starts from several clusters, as none is best for every network (parts of a
hypergraph lose to slices in order where layers are dense), places each, and then moves neurons
between chips by what that costs on the system.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from bss2jax.chip.system import System
from bss2jax.mapping import cluster, forces, hypergraph, objectives, placement
from bss2jax.mapping.assignment import Mapping, flow_of
from bss2jax.mapping.cluster import Need, TooSmall, need
from bss2jax.mapping.refine import Clusters, refine, repair
from bss2jax.mapping.workload import Workload

Tell = Callable[[str, Mapping], None]
# Beyond so many chips placements are not annealed: a step looks at all of them.
_ANNEALED = 400


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is given.

    Attributes:
        workload: the workload to be mapped.
        system: the system that shall hold it.
        asked: what is asked of the system.
        objective: the function, from a mapping to a number, smaller is better.
        seed: the seed of what is random.
        tell: is told what was tried, and the mapping.
    """

    workload: Workload
    system: System
    asked: Need
    objective: objectives.Objective = objectives.energy
    seed: int = 0
    tell: Tell = lambda what, mapping: None

    def mapping(self, clusters: np.ndarray, place: np.ndarray) -> Mapping:
        """Returns a mapping of clusters `[n]` on chips `[k]`."""
        return Mapping(self.workload, self.system, clusters, place)


def on_chips(task: Task, clusters: np.ndarray, steps: int = 6_000) -> Mapping:
    """Places clusters as well as their number allows.

    Args:
        task: the task whose system it is.
        clusters: `[n]`.
        steps: swaps tried where placements are annealed.
    """
    count, system = int(clusters.max(initial=0)) + 1, task.system
    flow = flow_of(task.workload, clusters, count)
    start = placement.in_order(count)
    if system.chips <= _ANNEALED:
        distance = system.between("energy")
        if system.chips <= 8:
            return task.mapping(clusters, placement.enumerated(flow, distance))
        found = placement.anneal(flow, distance, start, steps=steps, seed=task.seed)
        return task.mapping(clusters, found)
    return task.mapping(clusters, _by_forces(flow, system, start))


def _by_forces(flow: np.ndarray, system: System, start: np.ndarray) -> np.ndarray:
    """Along a row, or a Hilbert curve, then by forces: the better one; a tree keeps the order."""
    grid = system.topology.mesh
    if grid is None:
        return start
    sparse = scipy.sparse.csr_array(flow)
    curve = forces.hilbert(grid.rows, grid.columns)[: len(start)]
    places = [forces.forced(sparse, grid, begin) for begin in (start, curve)]
    way = sparse.tocoo()
    i, j = way.coords
    return min(places, key=lambda p: float(way.data @ grid.hops(p[i], p[j])))


def _in_order(task: Task, clusters: np.ndarray) -> Mapping:
    """Clusters on chips as they are numbered."""
    return task.mapping(clusters, placement.in_order(int(clusters.max()) + 1))


def pacman(task: Task) -> Mapping:
    """Maps slices of each population in order, chip by chip, as PACMAN does."""
    return _in_order(task, cluster.sliced(task.workload, task.asked))


def pycarl(task: Task) -> Mapping:
    """Maps neurons in order, chip by chip."""
    return _in_order(task, cluster.in_order(task.workload, task.asked))


def first_fit(task: Task) -> Mapping:
    """Maps each neuron to the fullest chip that takes it, as SpiNeMap's tool chain does."""
    return _in_order(task, cluster.first_fit(task.workload, task.asked))


def random(task: Task) -> Mapping:
    """Maps neurons to clusters and clusters to chips at random."""
    clusters = cluster.shuffled(task.workload, task.asked, task.seed)
    count = int(clusters.max()) + 1
    return task.mapping(clusters, placement.random(count, task.system.chips, task.seed))


def kernighan_lin(task: Task) -> Mapping:
    """Maps clusters that swaps of neurons made cheap, in their order."""
    return _in_order(task, _swapped(task))


def spinemap(task: Task) -> Mapping:
    """Maps clusters that swaps of neurons made cheap, placed by a particle swarm."""
    clusters = _swapped(task)
    flow = flow_of(task.workload, clusters, int(clusters.max()) + 1)
    particles = 50 if len(flow) > 64 else 100
    found = placement.swarm(
        flow, task.system.between("energy"), particles=particles, steps=100, seed=task.seed
    )
    return task.mapping(clusters, found)


def sneap(task: Task) -> Mapping:
    """Maps parts of the graph, by synapses cut (for METIS, mt-kahypar), placed by annealing."""
    asked, load = task.asked, task.workload
    clusters = hypergraph.partition(load, asked, asked.least, cut="graph", seed=task.seed)
    return on_chips(task, _kept(task, clusters))


def by_hypergraph(task: Task) -> Mapping:
    """Maps parts of the hypergraph of spikes, placed as well as their number allows."""
    asked, load = task.asked, task.workload
    cut = hypergraph.partition(load, asked, asked.least, seed=task.seed)
    return on_chips(task, _kept(task, cut))


def _swapped(task: Task) -> np.ndarray:
    """In order, then refined: any two clusters are as far apart."""
    start = cluster.in_order(task.workload, task.asked)
    count = int(start.max()) + 1
    made = Clusters(task.workload, task.asked, start, 1.0 - np.eye(count))
    refine(made)
    return np.unique(made.cluster, return_inverse=True)[1].astype(np.int32)


def _kept(task: Task, clusters: np.ndarray) -> np.ndarray:
    """Clusters within the limits of a chip."""
    made = Clusters(task.workload, task.asked, clusters, 1.0 - np.eye(task.system.chips))
    repair(made)
    return np.unique(made.cluster, return_inverse=True)[1].astype(np.int32)


def starts(task: Task) -> Iterator[tuple[str, np.ndarray]]:
    """Yields clusters `[n]` to start from, with their names; those that fit the system."""
    load, asked = task.workload, task.asked
    for name, make in (("slices", cluster.sliced), ("in order", cluster.in_order)):
        try:
            yield name, make(load, asked)
        except TooSmall:
            continue
    if hypergraph.available():
        kinds: Iterable = (
            ("spikes", "broadcast") if task.system.cast == "broadcast" else ("spikes",)
        )
        for kind in kinds:
            try:
                cut = hypergraph.partition(load, asked, asked.least, cut=kind, seed=task.seed)
                yield f"hypergraph, {kind}", _kept(task, cut)
            except TooSmall:
                continue
    else:
        yield "swapped", _swapped(task)


def reference(workload: Workload, system: System) -> Mapping:
    """Returns the first mapping that the search starts from: slices in order, where these fit.

    Args:
        workload: the workload to be mapped.
        system: the system that shall hold it.

    Raises:
        TooSmall: no start fits the system.
    """
    task = Task(workload, system, need(workload, system))
    for _, clusters in starts(task):
        return _in_order(task, clusters)
    raise TooSmall(f"{workload.name}: no clusters of it fit {system.name}")


def best(task: Task) -> Mapping:
    """Maps by the best of several starts, each improved on the system it is placed on.

    Raises:
        TooSmall: no start fits the system.
    """
    found: list[tuple[float, Mapping]] = []

    def seen(what: str, mapping: Mapping) -> None:
        found.append((task.objective(mapping), mapping))
        task.tell(what, mapping)

    for name, clusters in starts(task):
        mapping = on_chips(task, clusters)
        seen(name, mapping)
        for round_ in range(3):
            before = task.objective(mapping)
            mapping = improved(task, mapping)
            seen(f"{name}, moved {round_ + 1}", mapping)
            if task.objective(mapping) > 0.99 * before:
                break
    if not found:
        raise TooSmall(f"{task.workload.name}: no clusters of it fit {task.system.name}")
    return min(found, key=lambda one: one[0])[1]


def improved(task: Task, mapping: Mapping) -> Mapping:
    """Returns a mapping with neurons moved between chips by what that costs, and placed again.

    Args:
        task: the task whose workload and system they are.
        mapping: the mapping to begin with.
    """
    cost = task.system.between("energy")
    made = Clusters(task.workload, task.asked, mapping.chip, cost)
    refine(made)
    used, clusters = np.unique(made.cluster, return_inverse=True)
    kept = task.mapping(clusters.astype(np.int32), used)
    if not 8 < task.system.chips <= _ANNEALED:
        return kept
    flow = flow_of(task.workload, kept.cluster, len(used))
    again = placement.anneal(flow, cost, used, steps=6_000, seed=task.seed)
    return min((kept, kept.placed(again)), key=task.objective)


def polished(task: Task, mapping: Mapping, tries: int) -> Mapping:
    """Returns a mapping with neurons moved or swapped by chance where the objective gains.

    For objectives that cost between chips says nothing of: heat, lifetime, mismatch, sums.

    Args:
        task: the task whose objective it is.
        mapping: the mapping to begin with.
        tries: moves and swaps that are tried.
    """
    # Limits alone are asked of these clusters, not what spikes cost.
    made = Clusters(task.workload, task.asked, mapping.chip, 1.0 - np.eye(task.system.chips))
    rng, best = np.random.default_rng(task.seed), task.objective(mapping)
    for number in range(tries):
        neuron, to = (int(rng.integers(n)) for n in (len(made.cluster), task.system.chips))
        at = int(made.cluster[neuron])
        moved = [(neuron, at, to)]
        if to == at:
            continue
        if not made.fits(neuron, to):
            # An empty chip takes any neuron, so that this one is not.
            other = int(rng.choice(np.flatnonzero(made.cluster == to)))
            if not (made.fits(neuron, to, other) and made.fits(other, at, neuron)):
                continue
            moved.append((other, to, at))
        for one, _, target in moved:
            made.move(one, target)
        used, clusters = np.unique(made.cluster, return_inverse=True)
        tried = task.mapping(clusters, used)
        if (value := task.objective(tried)) < best:
            best, mapping = value, tried
            task.tell(f"move {number + 1}", tried)
        else:
            for one, source, _ in moved[::-1]:
                made.move(one, source)
    return mapping


METHODS: dict[str, Callable[[Task], Mapping]] = {
    "best": best, "pacman": pacman, "pycarl": pycarl, "first_fit": first_fit, "random": random,
    "kernighan_lin": kernighan_lin, "spinemap": spinemap, "sneap": sneap,
    "hypergraph": by_hypergraph,
}  # fmt: skip


def search(
    workload: Workload,
    system: System,
    objective: objectives.Objective = objectives.energy,
    method: str = "best",
    *,
    seed: int = 0,
    tries: int = 0,
    tell: Tell = lambda what, mapping: None,
) -> Mapping:
    """Maps a workload to a system.

    Args:
        workload: the workload to be mapped.
        system: the system that shall hold it.
        objective: the function, from a mapping to a number, smaller is better.
        method: one of `METHODS`.
        seed: the seed of what is random: the same one gives the same mapping.
        tries: moves of neurons tried by chance after the method, for objectives besides energy.
        tell: is told what was tried, and the mapping.

    Returns:
        A mapping within all limits.

    Raises:
        ValueError: there is no such method, or a limit cannot be kept; `TooSmall` says by how much.
    """
    if method not in METHODS:
        raise ValueError(f"method: no {method!r}; known: {', '.join(METHODS)}")
    task = Task(workload, system, need(workload, system), objective, seed, tell)
    found = METHODS[method](task)
    if tries:
        found = polished(task, found, tries)
    found.check()
    return found
