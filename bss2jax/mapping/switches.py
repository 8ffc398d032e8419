"""The switches between neuron circuits, and which of them make a morphology of given circuits.

Each circuit has five: its membrane may be joined to that of its right neighbour and of the circuit
in the other row; it may be put on the shared line of its row directly, or through its conductance;
and the line may go on to the right neighbour. So a conductance leads from a circuit that is on a
line through it to the compartment that is on this line directly; lines are in one row each, and two
of them cannot be at one circuit.

References: haldls `Multicompartment`; brainscales2-demos ts_03; pynn-brainscales `SharedLine`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bss2jax.chip.morphology import Morphology
from bss2jax.chip.substrate import BSS2, Substrate

Circuit = tuple[int, int]  # row, column
Span = tuple[int, int, int]  # row, first and last column of a line


@dataclass(frozen=True, eq=False)
class Switches:
    """Which switches are closed, `[rows, columns]` bool each.

    Attributes:
        right: the membrane is joined to that of the right neighbour.
        vertical: the membrane is joined to that of the circuit in the other row.
        direct: the membrane is on the shared line.
        conductance: the membrane is on the shared line through its conductance.
        line: the shared line goes on to the right neighbour.
    """

    right: np.ndarray
    vertical: np.ndarray
    direct: np.ndarray
    conductance: np.ndarray
    line: np.ndarray


def wire(
    morphology: Morphology,
    at: Mapping[str, Sequence[Circuit]],
    *,
    substrate: Substrate = BSS2,
) -> Switches:
    """Returns the switches that make a morphology of circuits.

    Args:
        morphology: the compartments, and who is whose parent.
        at: (row, column) of the circuits of each compartment, by name. The first is on the line of
            the parent, through its conductance; the last, where there are children, on its own.
        substrate: the substrate whose circuits they are.

    Raises:
        ValueError: a connection is impossible; says which, and why.
    """
    shape = (substrate.hemispheres, substrate.columns)
    on = Switches(*(np.zeros(shape, bool) for _ in range(5)))
    owner: dict[Circuit, str] = {}
    for number, name in enumerate(morphology.names):
        circuits = [(row, column) for row, column in at.get(name, ())]
        _check_circuits(morphology, number, circuits, shape, owner)
        owner |= dict.fromkeys(circuits, name)
        _join(on, name, circuits)
    spans = lines(morphology, at)
    for name, span in spans.items():
        row, first, last = span
        for other, its in spans.items():
            if other != name and meet(span, its):
                raise ValueError(
                    f"{name} - {_children(morphology, name)}: the line of row {row} would go from "
                    f"column {first} to {last}, where that of {other} is, {its[1]} to {its[2]}"
                )
        on.line[row, first:last] = True
        on.direct[at[name][-1]] = True
    for one in morphology.compartments[1:]:
        on.conductance[tuple(at[one.name][0])] = True
    return on


def meet(a: Span, b: Span) -> bool:
    """Tells whether two lines have a circuit in common."""
    return a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2]


def lines(morphology: Morphology, at: Mapping[str, Sequence[Circuit]]) -> dict[str, Span]:
    """Returns the line of each compartment that has children: its row, first and last column.

    Args:
        morphology, at: as in `wire`.

    Raises:
        ValueError: a child is in another row than the line.
    """
    spans: dict[str, Span] = {}
    for number, parent in enumerate(morphology.names):
        children = [morphology.names[c] for c in morphology.children(number)]
        if not children:
            continue
        row, own = at[parent][-1]
        for child in children:
            its_row = at[child][0][0]
            if its_row != row:
                raise ValueError(
                    f"{child} - {parent}: the conductance of {child} is in row {its_row}, and the "
                    f"line of {parent} in row {row}; a line joins circuits of one row"
                )
        columns = [own, *(at[child][0][1] for child in children)]
        spans[parent] = (row, min(columns), max(columns))
    return spans


def _check_circuits(
    morphology: Morphology, number: int, circuits: list, shape: tuple, owner: Mapping
) -> None:
    """Refuses circuits that are not there, taken, or too few."""
    name, needed = morphology.names[number], morphology.joined(number)
    if len(circuits) != needed:
        why = ""
        if needed > morphology.compartments[number].circuits:
            parent, children = morphology.compartments[number].parent, _children(morphology, name)
            why = (
                f": one through its conductance on the line of {parent}, another directly on its "
                f"own for {children}; one circuit on a line both ways would bridge the conductance"
            )
        raise ValueError(f"{name}: expected {needed} circuits, got {len(circuits)}{why}")
    for circuit in circuits:
        if not all(0 <= place < size for place, size in zip(circuit, shape, strict=True)):
            raise ValueError(f"{name}: circuit {circuit} is not on the chip of {shape} circuits")
        if circuit in owner:
            raise ValueError(f"{name}: circuit {circuit} is one of {owner[circuit]}")


def _join(on: Switches, name: str, circuits: list[Circuit]) -> None:
    """Closes the switches between neighbouring circuits of a compartment."""
    members, reached = set(circuits), {circuits[0]}
    ahead = [circuits[0]]
    while ahead:
        row, column = ahead.pop()
        for other in ((row, column - 1), (row, column + 1), (1 - row, column)):
            if other in members and other not in reached:
                reached.add(other)
                ahead.append(other)
    if reached != members:
        lost = min(members - reached)
        raise ValueError(
            f"{name}: its circuit {lost} is no neighbour of {circuits[0]} or what is joined to it; "
            "membranes are joined to the right and across the rows"
        )
    for row, column in circuits:
        on.right[row, column] = (row, column + 1) in members
        on.vertical[row, column] = (1 - row, column) in members


def _children(morphology: Morphology, name: str) -> str:
    found = morphology.children(morphology.names.index(name))
    return ", ".join(morphology.names[c] for c in found)
