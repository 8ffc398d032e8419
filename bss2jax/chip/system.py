"""Systems of several chips: which there are, the links between them, and what limits each chip.

A system is a value. Its topology says how many chips there are and by which links an event goes
from one to another; its links say how fast, how many events and at what energy; its limits say what
a chip holds. Where a spike goes is a function of these alone, so nothing else knows of XY routes.

References: bss2jax `docs/systems.md` has each number with its source; `System.sources` says them,
and which are assumed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np


class Topology(Protocol):
    """Chips and the links between them; chips and links are numbered from 0 on."""

    @property
    def chips(self) -> int:
        """How many chips there are."""
        ...

    @property
    def ends(self) -> np.ndarray:
        """Nodes `[L, 2]` that each link leads from and to; nodes below `chips` are chips."""
        ...

    @property
    def kinds(self) -> np.ndarray:
        """Which of the system's links each is, `[L]`."""
        ...

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Returns the links on the way between chips: `[n]` from two `[n]`."""
        ...

    def routes(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the links on the ways between chips.

        Args:
            source: `[n]` chips.
            target: `[n]` chips.

        Returns:
            `[m]` which of the n ways, in order, and `[m]` its links in the order of the way.
        """
        ...


def _steps(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which way each of all steps belongs to, and which one of that way it is."""
    way = np.repeat(np.arange(len(lengths)), lengths)
    return way, np.arange(len(way)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


@dataclass(frozen=True)
class Mesh:
    """Chips on a grid, each with links to its neighbours; events go along rows, then columns.

    Attributes:
        rows, columns: of chips, numbered row by row.

    Raises:
        ValueError: there is no chip.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"mesh: expected at least 1 x 1 chips, got {self.rows}x{self.columns}")

    @property
    def chips(self) -> int:
        return self.rows * self.columns

    @cached_property
    def ends(self) -> np.ndarray:
        chip = np.repeat(np.arange(self.chips), 4)  # east, west, south, north of each chip
        step = np.tile([1, -1, self.columns, -self.columns], self.chips)
        return np.column_stack([chip, chip + step])

    @cached_property
    def kinds(self) -> np.ndarray:
        return np.tile([0, 0, 1, 1], self.chips)

    @cached_property
    def present(self) -> np.ndarray:
        """Whether the grid has the link, `[L]`: at its border links lead nowhere."""
        row, column = np.divmod(np.arange(self.chips), self.columns)
        inside = (column + 1 < self.columns, column > 0, row + 1 < self.rows, row > 0)
        return np.column_stack(inside).ravel()

    def at(self, chips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and columns, `[n]` each, of chips `[n]`."""
        row, column = np.divmod(chips, self.columns)
        return row, column

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        (r0, c0), (r1, c1) = self.at(source), self.at(target)
        return np.abs(r0 - r1) + np.abs(c0 - c1)

    def routes(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (r0, c0), (r1, c1) = self.at(source), self.at(target)
        along = np.abs(c1 - c0)
        way, step = _steps(along + np.abs(r1 - r0))
        east, south = np.sign(c1 - c0)[way], np.sign(r1 - r0)[way]
        first = step < along[way]
        row = r0[way] + np.where(first, 0, south * (step - along[way]))
        column = np.where(first, c0[way] + east * step, c1[way])
        direction = np.where(first, (1 - east) // 2, 2 + (1 - south) // 2)
        return way, 4 * (row * self.columns + column) + direction


@dataclass(frozen=True)
class Tree:
    """Chips below switches below switches: an event goes up as far as it must, then down.

    Attributes:
        branches: how many switches or chips hang on each switch, from the root down: `(12,)` is a
            star of 12 chips, `(2, 12)` two of them, joined.

    Raises:
        ValueError: a switch without branches.
    """

    branches: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.branches or min(self.branches) < 1:
            raise ValueError(f"tree: expected branches of at least 1, got {self.branches}")

    @property
    def chips(self) -> int:
        return int(np.prod(self.branches))

    @cached_property
    def _ancestors(self) -> np.ndarray:
        """The node at each depth above each chip, `[chips, depth + 1]`; the chip comes last.

        Chips are numbered first, then switches from the lowest up.
        """
        levels, node, first = [np.arange(self.chips)], np.arange(self.chips), self.chips
        for branches in self.branches[::-1]:
            node = node // branches
            levels.append(first + node)
            first += int(node[-1]) + 1
        return np.column_stack(levels[::-1])

    @cached_property
    def ends(self) -> np.ndarray:
        # Links 2 i and 2 i + 1 lead up from and down to node i; the root has none.
        above = np.zeros(int(self._ancestors.max()), int)
        for depth in range(1, self._ancestors.shape[1]):
            above[self._ancestors[:, depth]] = self._ancestors[:, depth - 1]
        node = np.arange(len(above))
        return np.stack(
            [np.column_stack([node, above]), np.column_stack([above, node])], 1
        ).reshape(-1, 2)

    @cached_property
    def kinds(self) -> np.ndarray:
        depth = self._ancestors.shape[1]
        kind = np.zeros(int(self._ancestors.max()), int)
        for level in range(1, depth):
            kind[self._ancestors[:, level]] = depth - 1 - level
        return np.repeat(kind, 2)

    @property
    def present(self) -> np.ndarray:
        """Whether the tree has the link, `[L]`: all of them."""
        return np.ones(len(self.ends), bool)

    def _common(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How many nodes from the root down both ways share."""
        return (self._ancestors[source] == self._ancestors[target]).sum(axis=1)

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        return 2 * (self._ancestors.shape[1] - self._common(source, target))

    def routes(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        last, common = self._ancestors.shape[1] - 1, self._common(source, target)
        up = last + 1 - common
        way, step = _steps(2 * up)
        rises = step < up[way]
        level = np.where(rises, last - step, common[way] + step - up[way])
        node = self._ancestors[np.where(rises, source[way], target[way]), level]
        return way, 2 * node + ~rises


@dataclass(frozen=True)
class Link:
    """What an event meets on a link.

    Attributes:
        latency: time from one end to the other where nothing waits, s.
        energy: of an event, J.
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
        volts: of a spike on its row.
    """

    on: float
    off: float
    volts: float


Cast = Literal["unicast", "multicast", "broadcast"]


@dataclass(frozen=True)
class System:
    """Several chips with links between them.

    Attributes:
        name: of the preset, with its sizes.
        topology: chips and links.
        entry: what an event meets once, before its first link.
        links: of each kind of the topology's links.
        limits: of a chip and of the system.
        cast: what becomes of an event for several chips: `unicast`, a copy for each from the start;
            `multicast`, one where ways are shared; `broadcast`, a copy for every chip.
        sources: of the numbers, and which are assumed.
        cell: of crossbars of non-volatile memory, or None.
    """

    name: str
    topology: "Mesh | Tree"
    entry: Link
    links: tuple[Link, ...]
    limits: Limits
    cast: Cast = "multicast"
    sources: tuple[str, ...] = ()
    cell: Cell | None = None

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

    @property
    def delay(self) -> float:
        """The longest time from chip to chip where nothing waits, s."""
        return float(self.between("latency").max())


_BSS2 = Limits(circuits=512, rows=128, inputs=2**14, labels=2**15)
_BACKPLANE = (
    "latency inside a backplane: < 1.3 us over four hops (arXiv 2512.03781), so 4 x 0.325 us",
    "512 circuits of 128 signed inputs, 2^14 labels a chip, 2^15 of the system: halco, haldls",
    "assumed: 125 M events/s a link and way (one an FPGA clock), 30 pJ/bit x 32 bit a hop",
    "assumed: the aggregator copies every event to all chips",
)
# Two hops: between chip and aggregator; 32 bits each at 30 pJ.
_LEAF = Link(latency=0.65e-6, energy=2 * 32 * 30e-12, rate=125e6)
_NONE = Link(latency=0.0, energy=0.0)


def star(chips: int = 12) -> System:
    """Returns BrainScaleS-2 chips on one backplane, around an aggregator.

    Args:
        chips: 12 at most on a real one.
    """
    return System(
        f"star{chips}", Tree((chips,)), _NONE, (_LEAF,), _BSS2, "broadcast", _BACKPLANE
    )  # fmt: skip


def case(backplanes: int = 2) -> System:
    """Returns backplanes of 12 BrainScaleS-2 chips each, joined in one case.

    Args:
        backplanes: 2 in a real one.
    """
    bridge = Link(latency=0.325e-6, energy=32 * 30e-12, rate=4 * 125e6)
    extra = "assumed: 0.65 us more between backplanes, over 4 lanes of 125 M events/s"
    return System(
        "case" if backplanes == 2 else f"case({backplanes})", Tree((backplanes, 12)), _NONE,
        (_LEAF, bridge), _BSS2, "broadcast", (*_BACKPLANE, extra),
    )  # fmt: skip


def mesh(rows: int, columns: int) -> System:
    """Returns BrainScaleS-2 chips on a grid, with the links of a backplane between neighbours."""
    link = Link(latency=1.3e-6, energy=4 * 32 * 30e-12, rate=125e6)
    sources = (*_BACKPLANE[1:3], "assumed: a grid of chips, each link with a backplane's 1.3 us")
    return System(
        f"mesh({rows},{columns})", Mesh(rows, columns), _NONE, (link, link), _BSS2, "multicast",
        sources,
    )  # fmt: skip


def wafer() -> System:
    """Returns 384 chips on a wafer, each with the circuits of a BrainScaleS-2 chip."""
    link = Link(latency=20e-9, energy=32 * 1e-12, rate=2.8e9 / 16)
    sources = (
        "384 chips: BrainScaleS-1 guidebook; there a chip has other circuits",
        "assumed: BrainScaleS-2 chips in their place, on a grid of 16 x 24",
        "assumed: 20 ns and 1 pJ/bit to a neighbour; 2.8 Gevent/s (10.3389/fnins.2011.00117) over "
        "16 links",
    )
    return System("wafer", Mesh(16, 24), _NONE, (link, link), _BSS2, "multicast", sources)


_CYCLE = 100e-6
_TILE = Link(latency=2 * _CYCLE, energy=1.627e-12)
_TILE_LINK = Link(latency=2 * _CYCLE, energy=1.627e-12 + 0.80e-12, rate=1 / _CYCLE)
_NOXIM = (
    "SpiNeMap's tool chain (drexel-DISCO/SpiNeMap, power.yaml): 1.627 pJ a router, 0.80 pJ a link "
    "of 0.5 mm and 32 bit, 2 cycles a router of 100 us; leakage left out",
    "128 x 128 crossbars, one flit a spike, XY routes: same",
)


def tiles(rows: int, columns: int) -> System:
    """Returns crossbars on a mesh, as SpiNeMap's tool chain has them; neurons take any fan-in."""
    assumed = "assumed: a neuron may have more than 128 inputs, on crossbars of its own tile"
    return System(
        f"tiles({rows},{columns})", Mesh(rows, columns), _TILE, (_TILE_LINK, _TILE_LINK),
        Limits(128), "multicast", (*_NOXIM, assumed),
    )  # fmt: skip


def crossbars(rows: int, columns: int) -> System:
    """Returns crossbars on a mesh that take 128 different inputs each."""
    return System(
        f"crossbars({rows},{columns})", Mesh(rows, columns), _TILE, (_TILE_LINK, _TILE_LINK),
        Limits(128, inputs=128, queue=4), "multicast", (*_NOXIM, "4 flits of buffer: same"),
    )  # fmt: skip


def rram(rows: int, columns: int) -> System:
    """Returns crossbars of resistive memory (oxide) on a mesh."""
    return _memory("rram", rows, columns, Cell(100e3, 1.7e6, 1.0), "NeuroSim V1.4 Param.cpp")


def pcm(rows: int, columns: int) -> System:
    """Returns crossbars of phase-change memory on a mesh."""
    return _memory("pcm", rows, columns, Cell(10e3, 200e3, 1.0), "assumed, after eSpine")


def _memory(name: str, rows: int, columns: int, cell: Cell, source: str) -> System:
    """Crossbars of cells on a mesh."""
    cells = f"{cell.on:g} and {cell.off:g} ohm: {source}; assumed: {cell.volts:g} V a spike"
    return System(
        f"{name}({rows},{columns})", Mesh(rows, columns), _TILE, (_TILE_LINK, _TILE_LINK),
        Limits(128, inputs=128, queue=4), "multicast", (*_NOXIM, cells), cell,
    )  # fmt: skip


def loihi(rows: int = 4, columns: int = 8) -> System:
    """Returns a mesh of Loihi-like tiles, each of 4 cores of 1,024 neurons."""
    return System(
        f"loihi({rows},{columns})", Mesh(rows, columns), Link(21.1e-9, 111e-12),
        (Link(4.1e-9, 3.0e-12, 1.8e9), Link(6.5e-9, 4.2e-12, 1.8e9)),
        Limits(4096, queue=16), "unicast",
        ("SANA-FE arch/loihi.yaml, after Davies 2018: hops 3.0 pJ, 4.1 ns and 4.2 pJ, 6.5 ns; "
         "message out 111 pJ, 5.1 ns, in 16 ns", "remembered: 1.8 G events/s a switch"),
    )  # fmt: skip


def dynapse(chips: int = 4) -> System:
    """Returns DYNAP-SE-like cores of 256 neurons, 4 a chip."""
    return System(
        f"dynapse({chips})", Tree((chips, 4)), Link(0.0, 883e-12),
        (Link(15.4e-9 / 2, 360e-12 / 2), Link(15.4e-9 / 2, 17e-12 / 2)),
        Limits(256), "unicast",
        ("remembered of Moradi et al. 2018 (arXiv 1708.04198), at 1.8 V: spike 883 pJ, to another "
         "core 360 pJ, hop 17 pJ, 15.4 ns through a chip", "assumed: a tree in place of its grid"),
    )  # fmt: skip


PRESETS: dict[str, Callable[..., System]] = {
    "star": star, "case": case, "mesh": mesh, "wafer": wafer, "tiles": tiles,
    "crossbars": crossbars, "rram": rram, "pcm": pcm, "loihi": loihi, "dynapse": dynapse,
}  # fmt: skip


def system(text: str) -> System:
    """Returns a system by name: `star12`, `case`, `mesh(4,6)`, `wafer`, `tiles(4,4)`, `loihi`, ...

    Args:
        text: a preset's name, with its sizes in brackets or, where there is one, behind it.

    Raises:
        ValueError: no preset has that name, or it takes other sizes.
    """
    match = re.fullmatch(r"\s*([a-z]+)\s*(?:\(\s*(\d+(?:\s*,\s*\d+)*)\s*\)|(\d+))?\s*", text)
    preset = PRESETS.get(match[1]) if match else None
    if match is None or preset is None:
        raise ValueError(
            f"system: no preset {text!r}; known: star12, case, mesh(4,6), wafer, "
            "tiles(4,4), crossbars(4,4), rram(4,4), pcm(4,4), loihi, dynapse"
        )
    sizes = [int(n) for n in (match[2] or match[3] or "").split(",") if n]
    if max(sizes, default=1) > 4096:
        raise ValueError(f"system: {text}: sizes are at most 4096")
    try:
        return preset(*sizes)
    except TypeError:
        raise ValueError(
            f"system: {text}: {match[1]} takes other sizes, such as mesh(4,6)"
        ) from None
