"""Placement of many clusters on a grid: along a space-filling curve, then by forces.

References: Jin et al. 2023, 10.1145/3582016.3582038: clusters in order along a Hilbert curve, then
neighbours swapped while the force between them is positive.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse

from bss2jax.chip.topology import Mesh


def hilbert(rows: int, columns: int) -> np.ndarray:
    """Returns the chips of a grid in the order of a Hilbert curve, `[rows columns]`.

    Of a grid that is no square of a power of two, it is the part of the next one that it covers.

    Args:
        rows, columns: the numbers of the grid.
    """
    order = max(1, (max(rows, columns) - 1).bit_length())
    d = np.arange(4**order)
    x, y, t, s = np.zeros_like(d), np.zeros_like(d), d.copy(), 1
    while s < 2**order:
        right, up = (t >> 1) & 1, (t ^ (t >> 1)) & 1
        turned, mirrored = up == 0, (up == 0) & (right == 1)
        x, y = np.where(mirrored, s - 1 - x, x), np.where(mirrored, s - 1 - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
        x, y, t, s = x + s * right, y + s * up, t >> 2, 2 * s
    inside = (x < columns) & (y < rows)
    return y[inside] * columns + x[inside]


def forced(
    flow: scipy.sparse.csr_array,
    grid: Mesh,
    start: np.ndarray,
    *,
    rounds: int = 200,
    tell: Callable[[int, float], None] | None = None,
) -> np.ndarray:
    """Swaps neighbours on a grid while that shortens ways.

    All pairs of neighbours are looked at side by side, the even and the odd ones of rows and of
    columns in turn; those with the largest force swap. Forces are first those of springs, of energy
    w d^2, which reach over hills of the cost w d, then those of the cost itself. A round that does
    not pay is taken back, and the next one swaps fewer.

    Args:
        flow: `[k, k]` sparse, from cluster to cluster.
        grid: the grid whose chips they go to.
        start: `[k]` chip of each cluster.
        rounds: the most rounds of each kind of force.
        tell: is told the round and the cost.

    Returns:
        `[k]` chip of each cluster.
    """
    flows = _Flows(flow, grid.chips)
    # Empty chips hold clusters without flow.
    at = np.concatenate([start, np.setdiff1d(np.arange(grid.chips), start)]).astype(np.int64)
    position, number = np.stack(grid.at(at)), 0
    least, best = flows.cost(position, 1), position
    for power in (2, 1):
        position = best if power == 1 else position
        cost, share, idle = flows.cost(position, power), 1.0, 0
        for _ in range(rounds):
            moved = position
            for axis, parity in ((0, 0), (0, 1), (1, 0), (1, 1)):
                moved = _swapped(moved, grid, axis, parity, share, flows, power)
            after = flows.cost(moved, power)
            idle = idle + 1 if cost - after < 3e-3 * cost else 0
            share = share if after < cost else share / 3
            position, cost = (moved, after) if after < cost else (position, cost)
            number += 1
            if tell is not None:
                tell(number, cost)
            if idle > 2:
                break
        linear = flows.cost(position, 1)
        least, best = (linear, position) if linear < least else (least, best)
    return (best[0] * grid.columns + best[1])[: len(start)]


class _Flows:
    """Flows between clusters, each from both ends, sorted by the first."""

    def __init__(self, flow: scipy.sparse.csr_array, clusters: int) -> None:
        both = scipy.sparse.csr_array(flow + flow.T).tocoo()
        i, j = both.coords
        apart = i != j
        order = np.argsort(i[apart], kind="stable")
        self.i, self.j, self.w = i[apart][order], j[apart][order], both.data[apart][order]
        self.clusters = clusters

    def cost(self, position: np.ndarray, power: int) -> float:
        """Flows times ways, or squared ways, along both axes."""
        total = 0.0
        for x in position:
            way = x[self.i] - x[self.j]
            total += float(self.w @ (np.abs(way) if power == 1 else way * way)) / 2
        return total

    def of(self, values: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Sums values over the flows of each cluster."""
        return np.bincount(self.i[chosen], values, self.clusters)


def _swapped(
    position: np.ndarray,
    grid: Mesh,
    axis: int,
    parity: int,
    share: float,
    flows: _Flows,
    power: int,
) -> np.ndarray:
    """Swaps the best of the pairs of neighbours that begin at even, or odd, rows or columns."""
    i, j, w = flows.i, flows.j, flows.w
    along, size = position[axis], (grid.rows, grid.columns)[axis]
    side = np.where((along - parity) % 2 == 0, 1, -1)  # where its partner is
    # What a step towards the partner costs: flows from there get nearer, the others farther.
    ahead = (along[j] - along[i]) * side[i]
    force = flows.of(np.where(ahead > 0, -w, w) if power == 1 else w * (1 - 2 * ahead))
    place = position[0] * grid.columns + position[1]
    who = np.empty(grid.chips, np.int64)
    who[place] = np.arange(grid.chips)
    step = (grid.columns, 1)[axis]
    first = np.flatnonzero((along + side < size) & (along + side >= 0) & (side > 0))
    second = who[place[first] + step]
    # Two that send to each other stay as far apart as they are.
    met = np.flatnonzero(place[j] == place[i] + step)
    mutual = flows.of(w[met], met)
    gain = -(force[first] + force[second] + 2 * mutual[first])
    good = np.flatnonzero(gain > 1e-12)
    many = int(np.ceil(share * len(good)))
    if many < len(good):
        good = good[np.argpartition(-gain[good], many)[:many]]
    moved = position.copy()
    moved[axis, first[good]] += 1
    moved[axis, second[good]] -= 1
    return moved
