"""Pieces: the parts of layers that a plan puts on arrays and circuits, and the table of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bss2jax.text import Told

# Columns of a plan's table, int32, one row a piece. Rows and columns are those of the layer's
# weights; the columns of a population are its neurons, whose circuits begin and end at two places
# of the plan's list of circuits. A population has no array, a product no circuits: -1.
FIELDS = (
    *("layer", "part", "chip", "configuration", "array"),
    *("row", "row_stop", "column", "column_stop", "circuit", "circuit_stop"),
)
(
    LAYER,
    PART,
    CHIP,
    CONFIGURATION,
    ARRAY,
    ROW,
    ROW_STOP,
    COLUMN,
    COLUMN_STOP,
    CIRCUIT,
    CIRCUIT_STOP,
) = range(len(FIELDS))

# Of each array that a piece lies on: (array, first column, `[columns]` rows in use).
Footprint = list[tuple[int, int, np.ndarray]]


@dataclass(frozen=True)
class Piece:
    """A part of a layer in its place.

    Attributes:
        layer: name of the layer.
        part: number of the piece within its layer.
        chip: number of the chip.
        configuration: number of the set-up in which the piece runs, from 0 on.
        array: synapse array of a product's block; None for a population, which may lie on both.
        rows: part of the inputs.
        columns: part of the outputs, or neurons.
        circuits: neuron circuits of a population, neuron by neuron; () for a product.
    """

    layer: str
    part: int
    chip: int
    configuration: int
    array: int | None
    rows: slice
    columns: slice
    circuits: tuple[int, ...] = ()


def table(count: int, **columns: int | np.ndarray) -> np.ndarray:
    """Returns rows of a plan's table, `[count, 11]` int32.

    Args:
        count: the number of pieces.
        columns: one number, or `[count]` numbers, for some of `FIELDS`; the others are 0, array and
            circuits -1.
    """
    rows = np.zeros((count, len(FIELDS)), np.int32)
    rows[:, [ARRAY, CIRCUIT, CIRCUIT_STOP]] = -1
    for name, values in columns.items():
        rows[:, FIELDS.index(name)] = values
    return rows


def summary(names: Sequence[str], rows: np.ndarray, configurations: int) -> Told:
    """Returns what a plan says of itself: pieces and configurations of each layer.

    Args:
        names: the names of the plan's layers.
        rows: `[n, 11]` of its table.
        configurations: the number of configurations of the plan.
    """
    told = []
    for i, name in enumerate(names):
        at = np.unique(rows[rows[:, LAYER] == i][:, CONFIGURATION])
        span = f"{at[0] + 1} to {at[-1] + 1}" if len(at) > 1 else "".join(map(str, at + 1))
        told.append((name, str(int((rows[:, LAYER] == i).sum())), span))
    title = f"Plan({len(rows)} pieces, {configurations} configurations)"
    return title, ("layer", "pieces", "configurations"), told


def neuron_by_neuron(
    rows: np.ndarray, circuits: np.ndarray, neurons: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the neurons of a population are that pieces hold in any order.

    Args:
        rows: `[n, 11]` the population's pieces.
        circuits: `[m, 2]` the plan's (chip, circuit).
        neurons: N.

    Returns:
        (chip, circuit) of each of a neuron's circuits `[N, c, 2]`, and its configuration `[N]`.

    Raises:
        ValueError: a neuron is in no piece, or in several.
    """
    rows = rows[np.argsort(rows[:, COLUMN], kind="stable")]
    ends = [0, *rows[:, COLUMN_STOP]]
    if ends[:-1] != list(rows[:, COLUMN]) or ends[-1] != neurons:
        raise ValueError(f"pieces: expected each of {neurons} neurons once")
    listed = np.concatenate([circuits[a:b] for a, b in rows[:, [CIRCUIT, CIRCUIT_STOP]]])
    counts = rows[:, COLUMN_STOP] - rows[:, COLUMN]
    return listed.reshape(neurons, -1, 2), np.repeat(rows[:, CONFIGURATION], counts)


def footprint(circuit: np.ndarray, rows: np.ndarray, arrays: int) -> Footprint:
    """Returns the rows in use of the columns of each array on which circuits lie.

    Circuit i is on array i mod `arrays`, column i div `arrays`.

    Args:
        circuit: `[m]` the circuits.
        rows: `[m]` rows in use below each.
        arrays: how many there are on a chip.
    """
    found = []
    for array in range(arrays):
        here = circuit % arrays == array
        if here.any():
            columns = circuit[here] // arrays
            covered = np.zeros(np.ptp(columns) + 1, int)
            covered[columns - columns.min()] = rows[here]
            found.append((array, int(columns.min()), covered))
    return found


class Pieces(Sequence[Piece]):
    """The rows of a plan's table as pieces, made when they are looked at.

    Args:
        names: the names of the plan's layers.
        rows: `[n, 11]` of its table.
        circuits: `[m, 2]` its list of (chip, circuit).
    """

    def __init__(self, names: Sequence[str], rows: np.ndarray, circuits: np.ndarray) -> None:
        self._names, self._rows, self._circuits = names, rows, circuits

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Pieces(self._names, self._rows[index], self._circuits)
        row = [int(n) for n in self._rows[index]]
        return Piece(
            self._names[row[LAYER]],
            row[PART],
            row[CHIP],
            row[CONFIGURATION],
            None if row[ARRAY] < 0 else row[ARRAY],
            slice(row[ROW], row[ROW_STOP]),
            slice(row[COLUMN], row[COLUMN_STOP]),
            tuple(self._circuits[max(0, row[CIRCUIT]) : max(0, row[CIRCUIT_STOP]), 1].tolist()),
        )
