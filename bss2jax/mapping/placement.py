"""Which chip each cluster goes to: a quadratic assignment of flows to distances.

    cost = sum over i, j of flow[i, j] distance[place[i], place[j]]

Exact for few clusters, simulated annealing for some, a space-filling curve and forces between
neighbours for many. Particle swarms are there to be compared with: SpiNeMap's papers take them.

References: Koopmans & Beckmann 1957; Jin et al. 2023, 10.1145/3582016.3582038 (curve and forces);
Eberhart & Kennedy 1995 (swarms).
"""

from collections.abc import Callable

import numpy as np

Tell = Callable[[int, float], None]
# Temperatures of annealing, first and last, as shares of the mean cost of a cluster: of 16 pairs
# tried, those that left least of the gap on nug20 and nug30.
_HOT, _COLD = 0.1, 0.005


def cost_of(flow: np.ndarray, distance: np.ndarray, place: np.ndarray) -> float:
    """Returns the cost of a placement.

    Args:
        flow: `[k, k]` from cluster to cluster.
        distance: `[chips, chips]` from chip to chip.
        place: `[k]` chip of each cluster.
    """
    return float((flow * distance[np.ix_(place, place)]).sum())


def random(clusters: int, chips: int, seed: int = 0) -> np.ndarray:
    """Returns different chips for clusters, at random, `[clusters]`.

    Args:
        clusters: how many there are.
        chips: how many there are.
        seed: the seed of the choice.
    """
    return np.random.default_rng(seed).permutation(chips)[:clusters]


def in_order(clusters: int) -> np.ndarray:
    """Returns cluster i on chip i, `[clusters]`: row by row on a grid.

    Args:
        clusters: how many there are.
    """
    return np.arange(clusters)


def enumerated(flow: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Finds the best placement of few clusters by trying all: 9 at most.

    Args:
        flow: `[k, k]` not negative.
        distance: `[chips, chips]` not negative.

    Returns:
        `[k]` chip of each cluster; the first of the best ones.

    Raises:
        ValueError: there are more than 9 clusters or chips.
    """
    k, chips = len(flow), len(distance)
    if k > 9 or chips > 9:
        raise ValueError(f"placement: all ways are tried up to 9 chips, got {k} on {chips}")
    bound = cost_of(flow, distance, anneal(flow, distance, chains=4, steps=500)) * (1 + 1e-12)
    both = flow + flow.T
    places, costs = np.zeros((1, 0), int), np.zeros(1)
    away = (distance + distance.T) / 2
    symmetric = bool(np.allclose(distance, distance.T))
    for i in range(k):
        old, new = np.divmod(np.arange(len(places) * chips), chips)
        free = ~(places[old] == new[:, None]).any(axis=1)
        old, new = old[free], new[free]
        at = places[old]
        if symmetric:
            added = (both[i, :i] * away[new[:, None], at]).sum(axis=1)
        else:
            out, back = distance[new[:, None], at], distance[at, new[:, None]]
            added = (flow[i, :i] * out + flow[:i, i] * back).sum(axis=1)
        added += flow[i, i] * distance[new, new]
        total = costs[old] + added
        # No cost is negative: what is dearer than a known placement stays so.
        kept = total <= bound + 1e-9 * abs(bound)
        places, costs = np.column_stack([at, new])[kept], total[kept]
    return places[int(costs.argmin())]


def anneal(
    flow: np.ndarray,
    distance: np.ndarray,
    start: np.ndarray | None = None,
    *,
    steps: int = 12_000,
    chains: int = 8,
    seed: int = 0,
    tell: Tell | None = None,
) -> np.ndarray:
    """Searches placements by simulated annealing of swaps, in several chains side by side.

    Args:
        flow: `[k, k]` from cluster to cluster.
        distance: `[chips, chips]` from chip to chip.
        start: `[k]` chips to begin with, in the first chain; the others begin at random.
        steps: swaps that each chain tries.
        chains: how many there are.
        seed: the seed of the search.
        tell: is told the step and the least cost so far, a hundred times.

    Returns:
        `[k]` chip of each cluster: the best seen.
    """
    k, chips, rng = len(flow), len(distance), np.random.default_rng(seed)
    # Empty chips are clusters without flow: then all moves are swaps.
    both = np.zeros((chips, chips))
    both[:k, :k] = flow + flow.T
    np.fill_diagonal(both, 0.0)
    d = (distance + distance.T) / 2 if not np.allclose(distance, distance.T) else distance
    exact = d is distance
    at = np.array([rng.permutation(chips) for _ in range(chains)])
    if start is not None:
        at[0] = np.concatenate([start, np.setdiff1d(np.arange(chips), start)])
    if chips < 2:
        return at[0, :k]
    chain = np.arange(chains)
    cost = np.array([(both * d[np.ix_(p, p)]).sum() / 2 for p in at])
    best, best_cost = at.copy(), cost.copy()
    heat = max(_HOT * float(cost.mean()) / max(k, 1), 1e-300)
    cool = (_COLD / _HOT) ** (1 / max(1, steps))
    # Swaps without a cluster in them change nothing.
    first = rng.integers(0, k, (steps, chains))
    second = (first + rng.integers(1, chips, (steps, chains))) % chips
    chances = np.log(rng.random((steps, chains)))
    for step in range(steps):
        i, j = first[step], second[step]
        pi, pj = at[chain, i], at[chain, j]
        change = _change(both, d, at, i, j)
        taken = chances[step] * heat < -change
        at[chain[taken], i[taken]], at[chain[taken], j[taken]] = pj[taken], pi[taken]
        cost = cost + change * taken
        better = cost < best_cost
        if better.any():
            best[better], best_cost[better] = at[better], cost[better]
        heat *= cool
        if tell is not None and step % max(1, steps // 100) == 0:
            tell(step, float(best_cost.min()))
    ends = [*best[:, :k], *([] if exact or start is None else [start])]
    return min(ends, key=lambda p: cost_of(flow, distance, p))


def _change(
    flow: np.ndarray, distance: np.ndarray, at: np.ndarray, i: np.ndarray, j: np.ndarray
) -> np.ndarray:
    """What the cost of each chain changes by, `[chains]`, where clusters i and j are swapped."""
    chain = np.arange(len(at))
    pi, pj = at[chain, i], at[chain, j]
    nearer = distance[pj[:, None], at] - distance[pi[:, None], at]
    change = ((flow[i] - flow[j]) * nearer).sum(axis=1)
    # Their own distance stays: what the sum above has of i and j is taken out.
    return change + flow[i, j] * (distance[pi, pj] * 2 - distance[pi, pi] - distance[pj, pj])


def swarm(
    flow: np.ndarray,
    distance: np.ndarray,
    *,
    particles: int = 100,
    steps: int = 100,
    seed: int = 0,
    tell: Tell | None = None,
) -> np.ndarray:
    """Searches placements by a discrete particle swarm: coordinates are ranks of a permutation.

    Args:
        flow: `[k, k]` from cluster to cluster.
        distance: `[chips, chips]` from chip to chip.
        particles: the number of particles in the swarm.
        steps: the number of steps of each.
        seed: the seed of the search.
        tell: is told the step and the least cost so far.

    Returns:
        `[k]` chip of each cluster: the best seen.

    References: the code beside Jin et al. 2023 (inertia 0.9, pull 2 and 2).
    """
    k, chips, rng = len(flow), len(distance), np.random.default_rng(seed)
    most = chips - np.arange(k)  # the free chips when cluster i is placed
    x = np.floor(rng.random((particles, k)) * most)
    v = np.zeros((particles, k))
    own, own_cost = x.copy(), np.full(particles, np.inf)
    swarm_best, swarm_cost = x[0], np.inf
    for step in range(steps):
        places = _decoded(x.astype(int), chips)
        cost = np.array([cost_of(flow, distance, place) for place in places])
        better = cost < own_cost
        own[better], own_cost[better] = x[better], cost[better]
        if own_cost.min() < swarm_cost:
            swarm_best, swarm_cost = own[own_cost.argmin()].copy(), float(own_cost.min())
        if tell is not None:
            tell(step, swarm_cost)
        r = rng.random((2, particles, k))
        v = 0.9 * v + 2 * r[0] * (own - x) + 2 * r[1] * (swarm_best - x)
        x = np.clip(np.rint(x + v), 0, most - 1)
    return _decoded(swarm_best[None].astype(int), chips)[0]


def _decoded(ranks: np.ndarray, chips: int) -> np.ndarray:
    """Chips `[particles, k]`: each rank counts among the chips that are still free."""
    places = np.zeros_like(ranks)
    for p, row in enumerate(ranks.tolist()):
        free = list(range(chips))
        places[p] = [free.pop(rank) for rank in row]
    return places
