"""Systems of several chips: which there are, the links between them, and what limits each chip.

A system is a value. Its topology says how many chips there are and by which links an event goes
from one to another; its links say how fast, how many events and at what energy; its limits say what
a chip holds. `chip.presets` has those that there are.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.chip.topology import Topology


@dataclass(frozen=True)
class Link:
    """What an event meets on a link.

    Attributes:
        latency: time from one end to the other where nothing waits, s.
        energy: the energy of an event, J.
        rate: most events a second; infinite where nothing limits them.
    """

    latency: float
    energy: float
    rate: float = float("inf")


@dataclass(frozen=True)
class Limits:
    """What a chip, and the system, can hold.

    Attributes:
        circuits: neuron circuits of a chip, or outputs of a crossbar.
        rows: signed inputs of one circuit; more inputs join circuits. None: a circuit takes any.
        inputs: different neurons that may send to a chip; None: any.
        labels: neurons of the whole system that may send to other chips; None: any.
        queue: events that may wait at a link before some are lost; None: any.
    """

    circuits: int
    rows: int | None = None
    inputs: int | None = None
    labels: int | None = None
    queue: int | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of a crossbar of non-volatile memory.

    Attributes:
        on, off: resistance of its two states, ohm.
        volts: the voltage of a spike on its row.
    """

    on: float
    off: float
    volts: float


Cast = Literal["unicast", "multicast", "broadcast"]


@dataclass(frozen=True)
class System:
    """Several chips with links between them.

    Attributes:
        name: the name of the preset, with its sizes.
        topology: chips and links.
        entry: what an event meets once, before its first link.
        links: the numbers of each kind of the topology's links.
        limits: the limits of a chip and of the system.
        cast: what becomes of an event for several chips: `unicast`, a copy for each from the start;
            `multicast`, one where ways are shared; `broadcast`, a copy for every chip.
        sources: the sources of the numbers, and which are assumed.
        cell: the cell of crossbars of non-volatile memory, or None.
        event: time that a chip takes for a spike that it receives or sends, s; None of chips whose
            neurons run in real time, a sample's, however many spikes there are.
        substrate: the numbers of BrainScaleS-2 chips.
    """

    name: str
    topology: Topology
    entry: Link
    links: tuple[Link, ...]
    limits: Limits
    cast: Cast = "multicast"
    sources: tuple[str, ...] = ()
    cell: Cell | None = None
    event: float | None = None
    substrate: Substrate = BSS2

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return self.topology.chips

    def of_links(self, quantity: str) -> np.ndarray:
        """Returns `latency`, `energy` or `rate`, by name, of each link, `[L]`."""
        return np.array([getattr(link, quantity) for link in self.links])[self.topology.kinds]

    def between(self, quantity: str) -> np.ndarray:
        """Returns `latency` or `energy`, by name, of an event from chip to chip.

        Args:
            quantity: name of it.

        Returns:
            `[chips, chips]`, 0 on the diagonal.
        """
        n = self.chips
        source, target = np.divmod(np.arange(n * n), n)
        way, link = self.topology.routes(source, target)
        total = np.bincount(way, self.of_links(quantity)[link], n * n)
        return (total + getattr(self.entry, quantity) * (source != target)).reshape(n, n)

    def instant(self) -> "System":
        """Returns the same system with links that take no time."""
        entry = replace(self.entry, latency=0.0)
        return replace(self, entry=entry, links=tuple(replace(k, latency=0.0) for k in self.links))

    @property
    def delay(self) -> float:
        """The longest time from chip to chip where nothing waits, s."""
        return float(self.between("latency").max())
