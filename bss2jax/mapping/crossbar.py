"""Crossbars of memory cells with wires: the current and the power of each cell.

Spikes are rare, so one row is driven at a time and conducts alone. Each of its cells is in series
with its own piece of the bit line, and the word line is a ladder, solved exactly:

    (v[j-1] - v[j]) / r_row = g[j] v[j] + (v[j] - v[j+1]) / r_row
    g[j] = 1 / (R[j] + r_column (N - i))

Drivers are left, senses below: rows of high number and columns of low number have the shortest ways
and carry most current.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from bss2jax.chip.system import Cell
from bss2jax.mapping.assignment import Mapping

SIZE = 128  # rows and columns of a crossbar: NeuroSim's sub-array, SpiNeMap's tile
PULSE = 10e-9  # a spike's length on a row, s: NeuroSim V1.4
Rows = tuple[np.ndarray, np.ndarray]  # which row, and which column, comes to each place


@dataclass(frozen=True)
class Wires:
    """Resistance of the wires between two neighbouring cells.

    Attributes:
        row: resistance of a word line, ohm.
        column: resistance of a bit line, ohm.
    """

    row: float = 1.0
    column: float = 1.0


@dataclass(frozen=True, eq=False)
class Crossbar:
    """Cells, the spikes of their rows, and what drives them.

    Attributes:
        resistance: `[N, M]` of the cells, ohm.
        rates: `[N]` spikes a second of the rows.
        volts: the voltage of a spike.
        wires: the wires between cells.
    """

    resistance: np.ndarray = field(repr=False)
    rates: np.ndarray = field(repr=False)
    volts: float = 1.0
    wires: Wires = Wires()

    def arranged(self, rows: np.ndarray, columns: np.ndarray) -> "Crossbar":
        """Returns the same cells in other places.

        Args:
            rows: `[N]` the row that comes to each place.
            columns: `[M]` the column that comes to each place.
        """
        return replace(
            self, resistance=self.resistance[np.ix_(rows, columns)], rates=self.rates[rows]
        )

    def currents(self) -> np.ndarray:
        """Returns the current of each cell while its row is driven, `[N, M]`, A."""
        r, (n, m) = self.wires.row, self.resistance.shape
        below = self.wires.column * (n - np.arange(n))[:, None]
        g = 1 / (self.resistance + below)
        if r == 0:
            return g * self.volts
        # From the far end: the conductance into each node, of what is on and behind it.
        into = np.zeros((n, m))
        behind = np.zeros(n)
        for j in range(m - 1, -1, -1):
            into[:, j] = g[:, j] + behind
            behind = into[:, j] / (1 + r * into[:, j])
        volts = self.volts / np.cumprod(1 + r * into, axis=1)
        return g * volts

    def power(self) -> np.ndarray:
        """Returns the mean power of each cell, `[N, M]`, W."""
        return self.rates[:, None] * PULSE * self.currents() ** 2 * self.resistance


def fast(crossbar: Crossbar) -> Rows:
    """Returns the arrangement for speed: most active rows and strongest columns on short ways."""
    rows = np.argsort(crossbar.rates, kind="stable")
    columns = np.argsort(-(1 / crossbar.resistance).sum(axis=0), kind="stable")
    return rows, columns


def crossbars(
    mapping: Mapping,
    weights: np.ndarray,
    cell: Cell,
    clusters: Iterable[int] | None = None,
    *,
    wires: Wires | None = None,
    size: int = SIZE,
) -> Iterator[list[Crossbar]]:
    """Yields the crossbars of clusters: as many as their different inputs need, `size` each.

    Args:
        mapping: the mapping of a workload, whose clusters have at most `size` neurons.
        weights: `[synapses]` shares 0..1 of the largest conductance, in the workload's order.
        cell: the cells; those without a synapse are off.
        clusters: numbers of the clusters; by default all that hear any neuron.
        wires: the wires between cells; by default 1 ohm.
        size: rows and columns of a crossbar.
    """
    load, low, high = mapping.workload, 1 / cell.off, 1 / cell.on
    matrix = load.forward.copy()
    matrix.data = low + np.asarray(weights, float) * (high - low)
    if clusters is None:
        clusters = np.flatnonzero(mapping.counts[:, mapping.place].any(axis=0)).tolist()
    for cluster in clusters:
        neurons = np.flatnonzero(mapping.cluster == cluster)
        inputs = np.flatnonzero(mapping.counts[:, mapping.place[cluster]])
        held = np.full((-(-len(inputs) // size) * size, size), low)
        own = matrix[inputs][:, neurons].toarray()
        held[: len(inputs), : len(neurons)] = np.where(own > 0, own, low)
        rates = np.zeros(len(held))
        rates[: len(inputs)] = load.rates[inputs] / load.seconds
        yield [
            Crossbar(1 / held[i : i + size], rates[i : i + size], cell.volts, wires or Wires())
            for i in range(0, len(held), size)
        ]
