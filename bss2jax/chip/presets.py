"""Systems that there are, or that others have simulated, each with the sources of its numbers.

References: bss2jax `docs/systems.md` has each number with its source; `System.sources` says them,
and which are assumed.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from bss2jax.chip.system import Cell, Limits, Link, System
from bss2jax.chip.topology import Mesh, Tree

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


def filtered(chips: int = 12) -> System:
    """Returns the same backplane with an aggregator that sends events only where they are heard.

    Args:
        chips: 12 at most on a real one.
    """
    sources = (*_BACKPLANE[:3], "assumed: the aggregator sends events only where they are heard")
    return replace(star(chips), name=f"filtered{chips}", cast="multicast", sources=sources)


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
    "assumed: a tile takes a cycle for each spike that it receives or sends",
)


def tiles(rows: int, columns: int) -> System:
    """Returns crossbars on a mesh, as SpiNeMap's tool chain has them; neurons take any fan-in."""
    assumed = "assumed: a neuron may have more than 128 inputs, on crossbars of its own tile"
    return System(
        f"tiles({rows},{columns})", Mesh(rows, columns), _TILE, (_TILE_LINK, _TILE_LINK),
        Limits(128), "multicast", (*_NOXIM, assumed), event=_CYCLE,
    )  # fmt: skip


def crossbars(rows: int, columns: int) -> System:
    """Returns crossbars on a mesh that take 128 different inputs each."""
    return System(
        f"crossbars({rows},{columns})", Mesh(rows, columns), _TILE, (_TILE_LINK, _TILE_LINK),
        Limits(128, inputs=128, queue=4), "multicast", (*_NOXIM, "4 flits of buffer: same"),
        event=_CYCLE,
    )  # fmt: skip


def rram(rows: int, columns: int) -> System:
    """Returns crossbars of resistive memory (oxide) on a mesh."""
    return _memory("rram", rows, columns, Cell(100e3, 1.7e6, 1.0), "NeuroSim V1.4 Param.cpp")


def pcm(rows: int, columns: int) -> System:
    """Returns crossbars of phase-change memory on a mesh."""
    return _memory("pcm", rows, columns, Cell(10e3, 200e3, 1.0), "assumed, after eSpine")


def pcmtiles(rows: int, columns: int) -> System:
    """Returns tiles of as many crossbars of phase-change memory as neurons of any fan-in need."""
    base, memory = tiles(rows, columns), pcm(rows, columns)
    entry, link = replace(_TILE, latency=2e-9), replace(_TILE_LINK, latency=2e-9, rate=1e9)
    fast = "assumed: a cycle of 1 ns, so that accelerated networks fit, and 10 ns for a spike"
    return replace(
        base, name=f"pcmtiles({rows},{columns})", entry=entry, links=(link, link), event=10e-9,
        cell=memory.cell, sources=(*_NOXIM[:2], base.sources[-1], memory.sources[-1], fast),
    )  # fmt: skip


def _memory(name: str, rows: int, columns: int, cell: Cell, source: str) -> System:
    """Crossbars of cells on a mesh."""
    cells = f"{cell.on:g} and {cell.off:g} ohm: {source}; assumed: {cell.volts:g} V a spike"
    base, called = crossbars(rows, columns), f"{name}({rows},{columns})"
    return replace(base, name=called, sources=(*base.sources, cells), cell=cell)


def loihi(rows: int = 4, columns: int = 8) -> System:
    """Returns a mesh of Loihi-like tiles, each of 4 cores of 1,024 neurons."""
    return System(
        f"loihi({rows},{columns})", Mesh(rows, columns), Link(21.1e-9, 111e-12),
        (Link(4.1e-9, 3.0e-12, 1.8e9), Link(6.5e-9, 4.2e-12, 1.8e9)),
        Limits(4096, queue=16), "unicast",
        ("SANA-FE arch/loihi.yaml, after Davies 2018: hops 3.0 pJ, 4.1 ns and 4.2 pJ, 6.5 ns; "
         "message out 111 pJ, 5.1 ns, in 16 ns", "remembered: 1.8 G events/s a switch"),
        event=16e-9,
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
    "star": star, "filtered": filtered, "case": case, "mesh": mesh, "wafer": wafer, "tiles": tiles,
    "crossbars": crossbars, "rram": rram, "pcm": pcm, "pcmtiles": pcmtiles,
    "loihi": loihi, "dynapse": dynapse,
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
            f"system: no preset {text!r}; known: star12, filtered12, case, "
            "mesh(4,6), wafer, tiles(4,4), crossbars(4,4), rram(4,4), pcm(4,4), pcmtiles(4,4), "
            "loihi, dynapse"
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
