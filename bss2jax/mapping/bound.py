"""An application bound to tiles: which runs where, in which order, with how much room for tokens.

What a tile does and what passes between tiles become actors and channels of a larger graph, whose
period no execution exceeds that keeps the orders and takes no longer than is said.

- Actors of a tile fire in a fixed order, one after the other, again and again.
- A channel on a tile has room for so many tokens: a channel back, of free places.
- A channel between tiles goes through a connection, which takes a token's time on the busiest link
  (links are divided between connections by what they carry, once an iteration), then the latency.
- A tile that is shared by time (TDMA) gives a slice of each turn of a wheel. Either its work takes
  wheel / slice times longer, and what comes from outside may have to wait for wheel - slice; or
  each firing takes as long as it can alone, which is less where firings are short and wait much.

References: Sriram & Bhattacharyya 2009 (orders); Wiggers et al. 2009 (latency-rate servers).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse

from bss2jax.chip.system import System
from bss2jax.mapping.dataflow import Cycle, Dataflow, critical, periodic


@dataclass(frozen=True, eq=False)
class Application:
    """What is to be bound: a dataflow graph, and what its tokens are made of.

    Attributes:
        graph: the actors and the channels between them.
        sizes: `[m]` events of a token.
        sends: `[n]` events that each actor sends to others, those for several once.
    """

    graph: Dataflow
    sizes: np.ndarray = field(repr=False)
    sends: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Tiles:
    """What applications are bound to.

    Attributes:
        latency: `[k, k]` s, from tile to tile.
        routes: `[k k, L]` sparse, the links on the way from tile to tile, ones.
        rates: `[L]` events a second of the links.
        broadcast: whether every event goes to all tiles in use.
        switch: time to set a tile up for its next actor where it has several, s.
        wheel: time of a turn of the TDMA wheel, s.
        slice: part of it that the application has, s; by default all.
    """

    latency: np.ndarray = field(repr=False)
    routes: scipy.sparse.csr_array = field(repr=False)
    rates: np.ndarray = field(repr=False)
    broadcast: bool = False
    switch: float = 0.0
    wheel: float = 1.0
    slice: float = 1.0

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self.latency)

    @property
    def wait(self) -> float:
        """The longest wait for a slice, s."""
        return self.wheel - self.slice


def tiles_of(system: System, count: int | None = None, switch: float = 0.0) -> Tiles:
    """Returns the first chips of a system as tiles.

    Args:
        system: the system.
        count: how many; by default all.
        switch: time to set a chip up for its next actor, s.
    """
    count = system.chips if count is None else count
    source, target = np.divmod(np.arange(count * count), count)
    way, link = system.topology.routes(source, target)
    shape = (count * count, len(system.topology.ends))
    return Tiles(
        system.between("latency")[:count, :count],
        scipy.sparse.csr_array((np.ones(len(way)), (way, link)), shape=shape),
        system.of_links("rate"), system.cast == "broadcast", switch,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bound:
    """An application on tiles.

    Attributes:
        application: the application.
        tiles: what it is bound to.
        tile: `[n]` tile of each actor.
        orders: actors of each tile, in the order in which they fire.
        room: `[m]` tokens that fit into each channel, at each of its ends if these differ.
        lag: `[n]` iterations by which each actor is behind the first one that has a sample.
        alone: tiles shared by time whose firings are bounded each alone.

    Raises:
        ValueError: an order is not of the actors of its tile.
    """

    application: Application
    tiles: Tiles
    tile: np.ndarray
    orders: tuple[tuple[int, ...], ...]
    room: np.ndarray = field(repr=False)
    lag: np.ndarray = field(default_factory=lambda: np.zeros((), int), repr=False)
    alone: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for number, order in enumerate(self.orders):
            if sorted(order) != np.flatnonzero(self.tile == number).tolist():
                raise ValueError(f"tile {number}: its order {order} is not of its actors")

    @cached_property
    def crossing(self) -> np.ndarray:
        """The channels `[c]` between tiles."""
        graph = self.application.graph
        return np.flatnonzero(self.tile[graph.source] != self.tile[graph.target])

    @cached_property
    def work(self) -> np.ndarray:
        """Time of each actor on its tile alone, setting up included, `[n]`, s."""
        counts = np.bincount(self.tile, minlength=self.tiles.count)
        return self.application.graph.times + self.tiles.switch * (counts[self.tile] > 1)

    @cached_property
    def waits(self) -> np.ndarray:
        """How long what comes from outside a tile may wait for its slice, `[k]`, s."""
        return np.where(np.isin(np.arange(self.tiles.count), list(self.alone)), 0, self.tiles.wait)

    @cached_property
    def shared(self) -> np.ndarray:
        """Time of each actor on its tile, that of others' slices included, `[n]`, s."""
        tiles, work = self.tiles, self.work
        turns = np.ceil(work / tiles.slice - 1e-9)
        alone = np.isin(self.tile, list(self.alone))
        return np.where(alone, work + turns * tiles.wait, work * tiles.wheel / tiles.slice)

    @cached_property
    def transfers(self) -> np.ndarray:
        """Time of a token in each connection, `[c]`, s."""
        return transfers(self.application, self.tiles, self.tile, self.crossing)

    @cached_property
    def away(self) -> np.ndarray:
        """Time of a token from the end of each connection to its target's slice, `[c]`, s."""
        graph, on = self.application.graph, self.crossing
        source, target = self.tile[graph.source[on]], self.tile[graph.target[on]]
        return self.tiles.latency[source, target] + self.waits[target]

    @cached_property
    def cycle(self) -> Cycle:
        """The cycle that limits it.

        Raises:
            Deadlock: its actors wait for each other.
        """
        return critical(self.graph)

    def latency(self, period: float) -> float:
        """Returns the time from the start of a sample to its last result, at a period, s."""
        first, n = periodic(self.graph, period), len(self.tile)
        begins = first[:n] + period * self.lag
        return float((begins + self.graph.times[:n]).max() - begins.min())

    @property
    def graph(self) -> Dataflow:
        """The graph of all that limits it: the application's actors, then connections."""
        return self._parts[0]

    @property
    def places(self) -> np.ndarray:
        """Which channel of the application each channel of `graph` is the free places of, or -1."""
        return self._parts[1]

    @cached_property
    def _parts(self) -> tuple[Dataflow, np.ndarray]:
        app, crossing = self.application.graph, self.crossing
        local = np.setdiff1d(np.arange(app.channels), crossing)
        link = len(app.names) + np.arange(len(crossing))
        none, free = np.zeros(len(crossing), int), self.room - app.tokens
        (s, t), (source, target) = (
            (app.source[e], app.target[e]) for e in (local, crossing)
        )  # fmt: skip
        lists = [
            *(
                (np.array(o), np.roll(o, -1), np.eye(len(o), dtype=int)[-1])
                for o in self.orders
                if o
            ),
            # On a tile: tokens one way, free places the other.
            (s, t, app.tokens[local]),
            (t, s, free[local], local),
            # Between tiles: in, out, and free places of both ends; a connection has one at a time.
            (source, link, none),
            (link, source, self.room[crossing], crossing, self.waits[self.tile[source]]),
            (link, target, app.tokens[crossing], none - 1, self.away),
            (target, link, free[crossing], crossing),
            (link, link, none + 1),
        ]
        columns = [_filled(*entry) for entry in lists]
        ends, heads, tokens, owner, delays = (np.concatenate(c) for c in zip(*columns))
        names = (f"link {app.names[a]} to {app.names[b]}" for a, b in zip(source, target))
        times = np.concatenate([self.shared, self.transfers])
        return Dataflow((*app.names, *names), times, ends, heads, tokens, delays), owner


def _filled(
    source: np.ndarray,
    target: np.ndarray,
    tokens: np.ndarray,
    owner: np.ndarray | None = None,
    delays: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Channels of a kind, those without places and without delays filled up."""
    n = len(source)
    owner = np.full(n, -1) if owner is None else owner
    return source, target, tokens, owner, np.zeros(n) if delays is None else delays


def loads(application: Application, tiles: Tiles, tile: np.ndarray) -> np.ndarray:
    """Returns the time of each link an iteration, `[L]`, s.

    Args:
        application: the application.
        tiles: what it is bound to.
        tile: `[n]` tile of each actor.
    """
    graph, k = application.graph, tiles.count
    source, target = tile[graph.source], tile[graph.target]
    sizes = application.sizes * (source != target)
    if tiles.broadcast:
        sends = np.bincount(graph.source, sizes, len(tile)) > 0
        used = np.unique(tile)
        source = np.repeat(tile[sends], len(used))
        target = np.tile(used, int(sends.sum()))
        sizes = np.repeat(application.sends[sends], len(used)) * (source != target)
    pairs = np.bincount(source * k + target, sizes, k * k)
    return (tiles.routes.T @ pairs) / tiles.rates


def transfers(
    application: Application, tiles: Tiles, tile: np.ndarray, crossing: np.ndarray
) -> np.ndarray:
    """Returns the time of a token in connections, `[c]`, s.

    Args:
        application, tiles, tile: as of `loads`.
        crossing: `[c]` channels between tiles.
    """
    graph, k = application.graph, tiles.count
    busy = tiles.routes * loads(application, tiles, tile)[None, :]
    slowest = np.asarray(busy.max(axis=1).todense()).ravel()
    return slowest[tile[graph.source[crossing]] * k + tile[graph.target[crossing]]]
