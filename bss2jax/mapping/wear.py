"""How long memory cells last, and the rows and crossbars that make a network last longer.

    lifetime of a cell = cycles to failure / activations a second
    of a crossbar and of a system: that of the first cell to fail

Cycles to failure fall with temperature, and cells with short ways to driver and sense are hottest.
Two models: rows whose endurance falls with their place, as their worst cell counts
(`Endurance.by_row`), or cells whose own current heats them (`Endurance.by_heat`).

References: Strukov 2016 (arXiv 1511.07109); eSpine (the idea, its lifetimes by weakest link).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.crossbar import SIZE, Crossbar, Rows, fast

Cycles = Callable[[np.ndarray], np.ndarray]  # to failure, of cells by their power in a pulse, W


@dataclass(frozen=True)
class Endurance:
    """Cycles to failure of cells.

    Attributes:
        cycles: the number of writes that the most durable cells last; assumed.
        span: how many times more they last than the least durable ones; assumed.
        warmest: by how much the hottest cell is warmer than ambient while it conducts, K; assumed.
        ambient: ambient temperature, K.
    """

    cycles: float = 1e10
    span: float = 10.0
    warmest: float = 100.0
    ambient: float = 318.15

    def by_row(self, rows: int) -> np.ndarray:
        """Returns the cycles of the worst cell of each row, `[rows]`: row 0 has the longest way.

        Their logarithm falls with the number of the row, by `span` in all.
        """
        return self.cycles * self.span ** -(np.arange(rows) / max(rows - 1, 1))

    def by_heat(self, crossbar: Crossbar) -> Cycles:
        """Returns the cycles of cells, `[...]`, as a function of their power in a pulse, W.

        Arrhenius' law, with an activation energy that makes the hottest and the coolest cell of the
        same array, all on, differ by `span`.

        Args:
            crossbar: the array.
        """
        least = float(crossbar.resistance.min())
        on = replace(crossbar, resistance=np.full_like(crossbar.resistance, least))
        power = on.currents() ** 2 * least
        scale = self.warmest / power.max()
        hot, cool = self.ambient + self.warmest, self.ambient + scale * power.min()
        # Activation energy by Boltzmann's constant, K.
        over = np.log(self.span) / (1 / cool - 1 / hot)

        def cycles(heat: np.ndarray) -> np.ndarray:
            return self.cycles * np.exp(over * (1 / (self.ambient + scale * heat) - 1 / cool))

        return cycles


def row_lifetime(rates: np.ndarray, endurance: np.ndarray) -> float:
    """Returns the time to the first failure of rows where they are, s.

    Args:
        rates: `[N]` activations a second.
        endurance: `[N]` cycles of their places.
    """
    active = rates > 0
    return float((endurance[active] / rates[active]).min(initial=np.inf))


def longest_rows(rates: np.ndarray, endurance: np.ndarray) -> np.ndarray:
    """Returns the row `[N]` that comes to each place: the most active one to the most durable.

    No other assignment lasts longer, as an exchange shows.

    Args:
        rates: `[N]` activations a second.
        endurance: `[N]` cycles of the places.
    """
    order = np.empty(len(rates), int)
    order[np.argsort(-endurance, kind="stable")] = np.argsort(-rates, kind="stable")
    return order


def bottleneck(values: np.ndarray) -> np.ndarray:
    """Returns the assignment whose least value is largest, exactly: by matchings above a threshold.

    Args:
        values: `[n, n]` of each row in each place.

    Returns:
        `[n]` row that comes to each place.
    """
    levels = np.unique(values)
    low, high = 0, len(levels) - 1

    def matched(level: float) -> np.ndarray:
        return maximum_bipartite_matching(scipy.sparse.csr_array(values >= level), "row")

    best = matched(levels[0])
    while low < high:
        middle = (low + high + 1) // 2
        found = matched(levels[middle])
        if (found >= 0).all():
            low, best = middle, found
        else:
            high = middle - 1
    return best


def cell_lifetime(crossbar: Crossbar, endurance: Endurance) -> np.ndarray:
    """Returns the lifetime of each cell where it is, heated by its own current, `[N, M]`, s.

    Args:
        crossbar: the cells, where they are.
        endurance: the cycles to failure.
    """
    return _lifetimes(crossbar, endurance.by_heat(crossbar))


def _lifetimes(crossbar: Crossbar, cycles: Cycles) -> np.ndarray:
    """Lifetimes of cells where they are, `[N, M]`, s, from cycles as a function of their power."""
    with np.errstate(divide="ignore"):
        heat = crossbar.currents() ** 2 * crossbar.resistance
        return cycles(heat) / crossbar.rates[:, None]


def longest_cells(crossbar: Crossbar, endurance: Endurance, rounds: int = 4) -> Rows:
    """Searches rows and columns whose first cell to fail lasts longest, by bottleneck assignments.

    What a cell would last elsewhere is computed with the drop of voltage of a typical row; rows and
    columns take turns, from the arrangement for speed turned round, as long as that helps.

    Args:
        crossbar: the cells.
        endurance: the cycles to failure.
        rounds: the most turns.
    """
    rows, columns = (side[::-1] for side in fast(crossbar))
    # It is measured with all cells on, so that it is the same however they are arranged.
    cycles = endurance.by_heat(crossbar)
    best, found = -np.inf, (rows, columns)
    for turn in range(2 * rounds):
        now = crossbar.arranged(rows, columns)
        lasts = float(_lifetimes(now, cycles).min())
        if lasts > best:
            best, found = lasts, (rows, columns)
        if turn % 2:
            rows = rows[bottleneck(_elsewhere(now, cycles, axis=1))]
        else:
            columns = columns[bottleneck(_elsewhere(now, cycles, axis=0))]
    return found


def _elsewhere(crossbar: Crossbar, cycles: Cycles, axis: int) -> np.ndarray:
    """What each row (of axis 1) or column would last in each place, `[n, n]`, s."""
    rates = np.maximum(crossbar.rates, 1e-30)[:, None]
    typical = np.median(crossbar.currents() * crossbar.resistance, axis=axis)  # V of a place
    lasts = [(cycles(v**2 / crossbar.resistance) / rates).min(axis=axis) for v in typical]
    return np.stack(lasts, axis=1)


def lifetime(mapping: Mapping, endurance: Endurance | None = None, size: int = SIZE) -> float:
    """Returns the time to the first failure of a system, rows in their best places, s.

    Args:
        mapping: the mapping of a workload to crossbars; inputs of a cluster fill as many as needed.
        endurance: the cycles to failure; by default 10^10, ten times less in the hottest row.
        size: the rows of a crossbar.

    Raises:
        ValueError: the system has no memory cells that wear.
    """
    system, load = mapping.system, mapping.workload
    if system.cell is None:
        raise ValueError(f"lifetime: {system.name} has no cells that wear; pcm and rram have")
    places, rates = (endurance or Endurance()).by_row(size), load.rates / load.seconds
    lasts = [np.inf]
    for chip in mapping.place.tolist():
        heard = -np.sort(-rates[mapping.counts[:, chip] > 0])
        # Each of the crossbars has a row of each durability; the most active take the best.
        level = np.arange(len(heard)) // max(1, -(-len(heard) // size))
        lasts.append(row_lifetime(heard, places[level]))
    return min(lasts)
