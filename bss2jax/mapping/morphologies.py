"""Where structured neurons go: one lay-out of a morphology on circuits, repeated over the chip.

The lay-out is searched: compartments are put down one after the other, as near to their parent as
switches let them, in one row or in two, and the first lay-out that takes the fewest circuits is
taken. Copies of one row are in both; there are no digital partial sums, as of any population.

References: grenade (which searches the places of morphologies, too).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bss2jax.chip.morphology import Morphology
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.mapping import pieces
from bss2jax.mapping.pieces import CIRCUIT, CIRCUIT_STOP, Footprint
from bss2jax.mapping.populations import PopulationDemand, PopulationPlace
from bss2jax.mapping.switches import Circuit, Span, meet, wire

_TRIES = 20_000  # places that are looked at for a size


@dataclass(frozen=True)
class Layout:
    """The circuits of one neuron, from column 0 on.

    Attributes:
        morphology: the morphology whose lay-out it is.
        rows: rows of circuits that it takes, 1 or 2.
        width: columns that it takes.
        circuits: (row, column) of the circuits of each compartment, as `wire` takes them.
    """

    morphology: Morphology
    rows: int
    width: int
    circuits: tuple[tuple[Circuit, ...], ...]

    @property
    def size(self) -> int:
        """Circuits of a neuron."""
        return sum(map(len, self.circuits))

    def fits(self, substrate: Substrate = BSS2, first: int = 0) -> int:
        """Returns how many neurons fit a chip, from column `first` on."""
        return (substrate.columns - first) // self.width * (substrate.hemispheres // self.rows)

    def at(
        self, copy: int, *, substrate: Substrate = BSS2, first: int = 0
    ) -> dict[str, tuple[Circuit, ...]]:
        """Returns the circuits of a copy on the chip, by compartment, as `wire` takes them.

        Args:
            copy: number of the neuron on the chip.
            substrate: the substrate whose circuits they are.
            first: the column where the first one starts.
        """
        column, row = divmod(copy, substrate.hemispheres // self.rows)
        start = first + column * self.width
        moved = (tuple((r + row, c + start) for r, c in one) for one in self.circuits)
        return dict(zip(self.morphology.names, moved, strict=True))


@lru_cache(maxsize=64)
def lay_out(morphology: Morphology, *, substrate: Substrate = BSS2) -> Layout:
    """Returns the lay-out of a morphology that takes the fewest circuits, of those found.

    Args:
        morphology: the compartments.
        substrate: the substrate whose circuits they are.

    Raises:
        ValueError: it has more circuits than the chip, or none was found.
    """
    needed = sum(map(morphology.joined, range(len(morphology))))
    most = substrate.hemispheres * substrate.columns
    if needed > most:
        raise ValueError(
            f"morphology: {needed} circuits a neuron, the chip has {most}; take fewer compartments "
            "or circuits"
        )
    for taken in range(needed, min(most, 2 * needed + 8) + 1):
        for rows in range(1, substrate.hemispheres + 1):
            width = taken // rows
            if taken % rows == 0 and width <= substrate.columns:
                found = _search(morphology, rows, width)
                if found is not None:
                    made = Layout(morphology, rows, width, found)
                    wire(morphology, made.at(0, substrate=substrate), substrate=substrate)
                    return made
    raise ValueError(
        "morphology: no lay-out was found on which lines do not cross; take fewer branches that "
        "branch again, or `wire` circuits by hand"
    )


def _search(
    morphology: Morphology, rows: int, width: int
) -> tuple[tuple[Circuit, ...], ...] | None:
    """Puts compartments down, parents first and branch by branch; None where none is found."""
    order = _branch_by_branch(morphology)
    at: dict[int, tuple[Circuit, ...]] = {}
    spans: dict[int, Span] = {}
    used: set[Circuit] = set()
    left = _TRIES

    def place(turn: int) -> bool:
        nonlocal left
        if turn == len(order):
            return True
        number = order[turn]
        parent = None if number == 0 else morphology.parents[number - 1]
        near = (0, 0) if parent is None else at[parent][-1]
        for circuits in _shapes(morphology.joined(number), rows, width, near, parent is None):
            left -= 1
            if left < 0:
                return False
            if used.intersection(circuits):
                continue
            longer = _lines(morphology, spans, number, parent, circuits)
            if longer is None:
                continue
            before = dict(spans)
            spans.update(longer)
            used.update(circuits)
            at[number] = circuits
            if place(turn + 1):
                return True
            spans.clear()
            spans.update(before)
            used.difference_update(circuits)
            del at[number]
        return False

    if not place(0):
        return None
    return tuple(at[number] for number in range(len(morphology)))


def _branch_by_branch(morphology: Morphology) -> list[int]:
    """Numbers of compartments: of children first those without children, then the others."""
    order, ahead = [], [0]
    while ahead:
        number = ahead.pop()
        order.append(number)
        # The last one comes out first.
        ahead += sorted(
            morphology.children(number), key=lambda c: (-len(morphology.children(c)), -c)
        )
    return order


def _shapes(
    count: int, rows: int, width: int, near: Circuit, anywhere: bool
) -> Iterator[tuple[Circuit, ...]]:
    """Neighbouring circuits, the first in the row of a circuit, nearest to it first."""
    columns = sorted(range(width), key=lambda c: (abs(c - near[1]), c < near[1]))
    for column in columns:
        for row in range(rows) if anywhere else (near[0],):
            for step in (1, -1) if count > 1 else (1,):
                if 0 <= column + step * (count - 1) < width:
                    yield tuple((row, column + step * i) for i in range(count))
                half = count // 2
                if rows == 2 and count % 2 == 0 and 0 <= column + step * (half - 1) < width:
                    there = [(row, column + step * i) for i in range(half)]
                    yield (*there, *((1 - row, c) for _, c in there))


def _lines(
    morphology: Morphology,
    spans: Mapping[int, Span],
    number: int,
    parent: int | None,
    circuits: tuple[Circuit, ...],
) -> dict[int, Span] | None:
    """The lines that circuits change, None where two would meet."""
    changed = {}
    if parent is not None:
        row, first, last = spans[parent]
        column = circuits[0][1]
        changed[parent] = (row, min(first, column), max(last, column))
    if morphology.children(number):
        row, column = circuits[-1]
        changed[number] = (row, column, column)
    whole = {**spans, **changed}
    crossed = any(a != b and meet(changed[a], whole[b]) for a in changed for b in whole)
    return None if crossed else changed


@dataclass(frozen=True)
class MorphologyDemand(PopulationDemand):
    """What a population of structured neurons asks of the chip.

    Attributes:
        inputs: fan-in of a compartment that has synapses.
        neurons: how many there are, of all their compartments each.
        layout: the circuits of one.

    Raises:
        ValueError: a compartment has too few circuits for its inputs.
    """

    layout: Layout = Layout(Morphology(), 1, 1, (((0, 0),),))

    def joined(self, substrate: Substrate) -> None:  # type: ignore[override]
        """Returns None: neurons are of circuits that are not alike."""

    def shares(self, substrate: Substrate) -> tuple[int, str]:
        """Returns 1: each device has all neurons."""
        return 1, "neurons"

    def circuits(self, substrate: Substrate) -> int | None:
        """Returns the circuits that it takes, None where it takes several configurations."""
        self._check(substrate)
        beside = substrate.hemispheres // self.layout.rows
        columns = -(-self.neurons // beside) * self.layout.width
        # One more, as it starts at a column.
        return None if columns > substrate.columns else columns * substrate.hemispheres + 1

    def pieces(self, substrate: Substrate, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns a piece for each configuration, and the circuits of all: see `Demand`."""
        self._check(substrate)
        column = -(-first // substrate.hemispheres)
        at_once = self.layout.fits(substrate, column)
        runs, size = -(-self.neurons // at_once), self.layout.size
        places = np.array(
            [
                [c * substrate.hemispheres + r for one in each.values() for r, c in one]
                for each in (
                    self.layout.at(n, substrate=substrate, first=column)
                    for n in range(min(at_once, self.neurons))
                )
            ]
        )
        circuit = places[np.arange(self.neurons) % at_once]
        starts = np.arange(runs) * at_once
        stops = np.minimum(starts + at_once, self.neurons)
        rows = pieces.table(
            runs, part=np.arange(runs), configuration=np.arange(runs), row_stop=self.inputs,
            column=starts, column_stop=stops, circuit=starts * size, circuit_stop=stops * size,
        )  # fmt: skip
        chip = np.zeros(circuit.size, np.int32)
        return rows, np.column_stack([chip, circuit.ravel()]).astype(np.int32)

    def place(
        self, rows: np.ndarray, circuits: np.ndarray, substrate: Substrate
    ) -> PopulationPlace:
        """Returns where each compartment is, `[C n]`, soma after soma, then the others.

        Circuits that have a capacitance, each as often as makes all compartments' numbers equal.

        Args:
            rows, circuits, substrate: as in `Demand`.

        Raises:
            ValueError: a neuron is in no piece, or in several.
        """
        listed, configuration = pieces.neuron_by_neuron(rows, circuits, self.neurons)
        active = [one.circuits for one in self.layout.morphology.compartments]
        width, begin, members = math.lcm(*active), 0, []
        for count, all_of in zip(active, map(len, self.layout.circuits), strict=True):
            members.append(np.tile(listed[:, begin : begin + count, 1], width // count))
            begin += all_of
        number = len(active)
        return PopulationPlace.of(
            self.inputs, substrate, np.tile(listed[:, 0, 0], number), np.concatenate(members),
            np.tile(configuration, number),
        )  # fmt: skip

    def footprint(self, row: np.ndarray, circuits: np.ndarray, substrate: Substrate) -> Footprint:
        """Returns the rows in use of the columns of each array: see `PopulationDemand`."""
        circuit = circuits[row[CIRCUIT] : row[CIRCUIT_STOP], 1]
        of_one: list[int] = []
        for one, all_of in zip(
            self.layout.morphology.compartments, map(len, self.layout.circuits), strict=True
        ):
            left = self.inputs * one.synapses - np.arange(all_of) * substrate.rows
            of_one += list(np.clip(left, 0, substrate.rows))
        rows = np.tile(of_one, len(circuit) // len(of_one))
        return pieces.footprint(circuit, rows, substrate.hemispheres)

    def facts(self, rows: np.ndarray, substrate: Substrate) -> dict[str, object]:
        """Returns what `describe` says of the layer."""
        on_chip = substrate.hemispheres * substrate.columns
        events: object = "-" if self.input_events is None else self.input_events
        return {
            "neurons": self.neurons,
            "compartments": len(self.layout.circuits),
            "fan-in of each": self.inputs,
            "circuits per neuron": self.layout.size,
            "fit a chip": self.layout.fits(substrate),
            "configurations": len(rows),
            "utilisation": self.neurons * self.layout.size / (len(rows) * on_chip),
            "input events": events,
        }

    def _check(self, substrate: Substrate) -> None:
        for one in self.layout.morphology.compartments:
            if one.synapses and self.inputs > one.circuits * substrate.rows:
                raise ValueError(
                    f"{one.name}: {self.inputs} inputs need "
                    f"{-(-self.inputs // substrate.rows)} circuits, got circuits={one.circuits}"
                )
