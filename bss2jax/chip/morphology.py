"""What a structured neuron is made of: compartments of circuits, and conductances between them.

A compartment is one or more circuits whose membranes are joined; a conductance leads from it to its
parent. How switches make that on the chip is the mapping's business.

    text = '''
    soma = {}
    apical = {parent = "soma", tau_icc = 5e-6}
    '''
    morphology = Morphology.from_toml(text)

References: haldls `Multicompartment`; calix `multicomp` (range of tau_icc); Schemmel et al. 2017,
10.1109/IJCNN.2017.7966124 (circuit).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.settings import Checked, Wrong, nearest, read

Name = Annotated[str, MinLen(1)]
TauIcc = Annotated[float, Ge(1e-7), Le(3e-5)]  # s, what calix sets
_Seconds = Annotated[float, Gt(0), Lt(1)]
_Pause = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class Compartment(Checked):
    """A compartment, and the conductance to its parent.

    Attributes:
        name: its name within the neuron.
        parent: name of the compartment that its conductance leads to; the first, the soma, has
            none.
        tau_icc: capacitance of one circuit over that conductance, s, .1 to 30 us.
        circuits: circuits whose membranes are joined. Where switches need one more, it is joined
            without capacitance and leak.
        synapses: whether inputs go here.
        spikes: whether it has a threshold.
        tau_mem: membrane time constant, s; by default that of the neuron.
        leak, reset, threshold: leak, reset and threshold potential; by default those of the neuron.
        t_ref: how long a spike holds the membrane at reset, s: where that lies above threshold, the
            length of the plateau.
        holdoff: how long after that it cannot fire, s.

    Raises:
        ValueError: a setting is out of range.
    """

    name: Name
    parent: Name | None = None
    tau_icc: TauIcc = 5e-6
    circuits: Annotated[int, Ge(1), Le(512)] = 1
    synapses: bool = True
    spikes: bool = True
    tau_mem: _Seconds | None = None
    leak: float | None = None
    reset: float | None = None
    threshold: float | None = None
    t_ref: _Pause = 0.0
    holdoff: _Pause = 0.0


@dataclass(frozen=True)
class Morphology(Checked):
    """The compartments of a neuron, a tree: the first is the soma, parents come before children.

    Attributes:
        compartments: all of them, at least one.

    Raises:
        ValueError: a name occurs twice, a parent is unknown or comes later, or there is another
            compartment without a parent.
    """

    compartments: Annotated[tuple[Compartment, ...], MinLen(1)] = (Compartment(name="soma"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        known: list[str] = []
        for number, one in enumerate(self.compartments):
            if one.name in known:
                raise Wrong((("compartments", number, "name"), f"{one.name!r} occurs twice"))
            expected = "none of the first compartment" if not known else "one before it"
            if (one.parent is None) != (not known) or (known and one.parent not in known):
                raise Wrong(
                    (
                        ("compartments", number, "parent"),
                        f"{one.name} has {one.parent!r}, expected {expected}"
                        + (f": {', '.join(known)}{nearest(one.parent, known)}" if known else ""),
                    )
                )
            known.append(one.name)

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> "Morphology":
        """Returns a morphology of tables by name, each with the fields of a `Compartment`.

        Raises:
            ValueError: a field is unknown or out of range, or as the class.
        """
        return cls(tuple(read(Compartment, {"name": n, **t}, (n,)) for n, t in tables.items()))

    @classmethod
    def from_toml(cls, text: str) -> "Morphology":
        """Returns a morphology of a text such as `soma = {}`: see the module.

        Raises:
            ValueError: it is not TOML, or as `of`.
        """
        return cls.of(tomllib.loads(text))

    @classmethod
    def chain(cls, length: int, **settings: Any) -> "Morphology":
        """Returns a chain of equal compartments, soma first.

        Args:
            length: how many there are.
            **settings: fields of all of them.
        """
        names = ["soma", *(f"c{n}" for n in range(1, length))]
        made = [
            Compartment(name=name, parent=names[n - 1] if n else None, **settings)
            for n, name in enumerate(names)
        ]
        return cls(tuple(made))

    @classmethod
    def star(cls, branches: int, soma: Compartment | None = None, **branch: Any) -> "Morphology":
        """Returns a soma with equal branches.

        Args:
            branches: how many there are.
            soma: the soma; None: of defaults.
            **branch: fields of the branches.
        """
        first = soma or Compartment(name="soma")
        made = [Compartment(name=f"b{n}", parent=first.name, **branch) for n in range(branches)]
        return cls((first, *made))

    def __len__(self) -> int:
        return len(self.compartments)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the compartments."""
        return tuple(one.name for one in self.compartments)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """The number of the parent of each compartment but the first."""
        found = (one.parent for one in self.compartments[1:])
        return tuple(self.names.index(parent) for parent in found if parent is not None)

    def children(self, number: int) -> tuple[int, ...]:
        """Returns the numbers of the compartments whose parent is the one of this number."""
        return tuple(n for n, parent in enumerate(self.parents, 1) if parent == number)

    def joined(self, number: int) -> int:
        """Returns the circuits of a compartment on the chip, one without capacitance included.

        A circuit is on a shared line either directly or through its conductance: a compartment
        with a parent and children needs both.
        """
        both = number > 0 and bool(self.children(number))
        return max(self.compartments[number].circuits, 1 + both)

    def changed(self, **settings: Any) -> "Morphology":
        """Returns a morphology of which all compartments have other settings."""
        return Morphology(tuple(replace(one, **settings) for one in self.compartments))
