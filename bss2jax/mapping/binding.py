"""Which tile each actor goes to: by load alone, at random, or by what the guarantee becomes.

The search moves actors by the busiest of all tiles and links, which no binding's period is below,
and by the next ones where that is equal; it starts from several bindings, on all tiles and on
fewer, as fewer send less.
"""

import heapq
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bss2jax.mapping.bound import Application, Bound, Tiles, loads
from bss2jax.mapping.buffers import TooSlow, least_room
from bss2jax.mapping.dataflow import Dataflow, groups

_NORM = 16  # of the sum that stands for the largest: high, so that the busiest counts most


def order_of(graph: Dataflow) -> np.ndarray:
    """Returns an order `[n]` in which actors can fire: by their earliest start, the urgent first.

    Args:
        graph: the graph; channels with tokens are no reason to wait.
    """
    n, now = len(graph.names), np.flatnonzero(graph.tokens == 0)
    source, target, weights = graph.source[now], graph.target[now], graph.weights[now]
    head, depth, tail = np.zeros(n), np.zeros(n, int), graph.times.copy()
    for _ in range(n):
        before = depth.sum(), head.sum(), tail.sum()
        np.maximum.at(head, target, head[source] + weights)
        np.maximum.at(depth, target, depth[source] + 1)
        np.maximum.at(tail, source, weights + tail[target])
        if before == (depth.sum(), head.sum(), tail.sum()):
            break
    return np.lexsort((-tail, depth, head))


def bind(application: Application, tiles: Tiles, tile: np.ndarray) -> Bound:
    """Returns an application on its tiles, in orders that do not stop, with room that is enough.

    Args:
        application: the application; samples follow each other through it as close as they can, so
            that channels of the bound one have more tokens.
        tiles: what it is bound to.
        tile: `[n]` tile of each actor.
    """
    order = order_of(application.graph)
    orders = tuple(tuple(order[tile[order] == k].tolist()) for k in range(tiles.count))
    least = float(resources(application, tiles, tile).max())
    # Two free places: one that is filled while the other one is emptied.
    bound = pipelined(Bound(application, tiles, tile, orders, application.graph.tokens + 2), least)
    if bound.cycle.period > least * (1 + 1e-9):
        try:
            bound = replace(bound, room=np.maximum(bound.room, least_room(bound, least)))
        except TooSlow:
            pass
    return tightened(bound)


def tightened(bound: Bound) -> Bound:
    """Returns the same with firings bounded each alone on tiles where that is tighter.

    Args:
        bound: the application on its tiles.
    """
    if not bound.tiles.wait:
        return bound
    for tile in range(bound.tiles.count):
        tried = replace(bound, alone=bound.alone ^ {tile})
        if tried.cycle.period < bound.cycle.period:
            bound = tried
    return bound


def pipelined(bound: Bound, period: float) -> Bound:
    """Returns the same with samples that follow each other a period apart.

    Actors of a tile fire in their order within a period, in the first one in which what they need
    of a sample is there; recurrent groups of actors in the same one.

    Args:
        bound: the application on its tiles.
        period: time of an iteration, s, not below that of any tile.
    """
    app, graph, n = bound.application, bound.application.graph, len(bound.tile)
    work, offset, lag = bound.shared, np.zeros(n), np.zeros(n, int)
    for order in bound.orders:
        offset[list(order)] = np.cumsum(work[list(order)]) - work[list(order)]
    via = np.zeros(graph.channels)
    via[bound.crossing] = bound.transfers + bound.away
    ready = (offset + work)[graph.source] + via - offset[graph.target]
    behind = np.ceil(ready / period - 1e-9).astype(int) - graph.tokens
    group = groups(graph)
    between = group[graph.source] != group[graph.target]
    a, b, behind = graph.source[between], graph.target[between], behind[between]
    for _ in range(n):
        later = lag.copy()
        np.maximum.at(later, b, lag[a] + behind)
        together = np.zeros(n, int)
        np.maximum.at(together, group, later)
        if (together[group] == lag).all():
            break
        lag = together[group]
    more = lag[graph.target] - lag[graph.source]
    tokens = np.maximum(graph.tokens + more, 0)
    retimed = replace(app, graph=replace(graph, tokens=tokens))
    return replace(bound, application=retimed, room=bound.room + more, lag=bound.lag + lag)


def resources(application: Application, tiles: Tiles, tile: np.ndarray) -> np.ndarray:
    """Returns the time of each tile and of each link an iteration, `[k + L]`, s.

    Args:
        application, tiles, tile: as of `bind`.
    """
    counts = np.bincount(tile, minlength=tiles.count)
    alone = np.bincount(tile, application.graph.times, tiles.count)
    work = _work(tiles, alone, counts)
    return np.concatenate([work, loads(application, tiles, tile)])


def _work(tiles: Tiles, times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Time of tiles an iteration, s, of the times and the numbers of their actors."""
    return (times + tiles.switch * counts * (counts > 1)) * tiles.wheel / tiles.slice


def balanced(application: Application, tiles: Tiles, count: int | None = None) -> np.ndarray:
    """Returns tiles `[n]` by load alone: the longest actor first, each to the least loaded tile.

    Args:
        application: the application.
        tiles: what it is bound to.
        count: the number of the tiles that are used; by default all.
    """
    times = application.graph.times
    heap = [(0.0, k) for k in range(tiles.count if count is None else count)]
    tile = np.zeros(len(times), int)
    for actor in np.argsort(-times, kind="stable").tolist():
        load, k = heapq.heappop(heap)
        tile[actor] = k
        heapq.heappush(heap, (load + times[actor], k))
    return tile


def at_random(application: Application, tiles: Tiles, seed: int = 0) -> np.ndarray:
    """Returns tiles `[n]` drawn one by one."""
    return np.random.default_rng(seed).integers(0, tiles.count, len(application.graph.times))


def in_order(application: Application, count: int) -> np.ndarray:
    """Returns tiles `[n]`: actors one behind the other, cut where equal shares of the work end."""
    times = application.graph.times
    middle = np.cumsum(times) - times / 2
    return np.minimum((middle * count / max(times.sum(), 1e-300)).astype(int), count - 1)


def search(application: Application, tiles: Tiles, start: np.ndarray | None = None) -> Bound:
    """Binds an application so that its guaranteed period is short.

    Args:
        application: the application.
        tiles: what it is bound to.
        start: `[n]` tiles of a binding to go on from, alone; by default several are tried.
    """
    starts: Iterable[np.ndarray] = [start] if start is not None else _starts(application, tiles)
    # s an event, from tile to tile, on each link.
    ways = tiles.routes.toarray().reshape(tiles.count, tiles.count, -1) / tiles.rates
    found = [_improved(application, tiles, ways, s) for s in starts]
    found.sort(key=lambda tile: float(resources(application, tiles, tile).max()))
    bounds = [bind(application, tiles, tile) for tile in found[:3]]
    return min(bounds, key=lambda bound: bound.cycle.period)


def _starts(application: Application, tiles: Tiles) -> list[np.ndarray]:
    """By load and in order, on all tiles and on fewer."""
    most = min(tiles.count, len(application.graph.times))
    counts = sorted(
        {most, *(2**i for i in range(most.bit_length())), (most + 1) // 2, 3 * most // 4 or 1}
    )
    return [
        make
        for count in counts
        for make in (balanced(application, tiles, count), in_order(application, count))
    ]


def _improved(
    application: Application, tiles: Tiles, ways: np.ndarray, tile: np.ndarray
) -> np.ndarray:
    """Moves actors of the busiest tile or link while that helps."""
    # Broadcasts count as sent one by one here; `bind` computes the period of what they are.
    tile, tiles = np.array(tile), replace(tiles, broadcast=False)
    for _ in range(4 * len(tile)):
        of = resources(application, tiles, tile)
        best = (_busiest(of[None])[0] * (1 - 1e-9), -1, -1)
        for actor in _concerned(application, tiles, tile, int(of.argmax())):
            costs = _busiest(_after(application, tiles, ways, tile, actor, of))
            to = int(costs.argmin())
            best = min(best, (float(costs[to]), actor, to))
        if best[1] < 0:
            break
        tile[best[1]] = best[2]
    return tile


def _busiest(times: np.ndarray) -> np.ndarray:
    """The largest of each row, `[q]`; the next ones count where rows differ little."""
    most = np.maximum(times.max(axis=1), 1e-300)
    return most * ((times / most[:, None]) ** _NORM).sum(axis=1) ** (1 / _NORM)


def _after(
    application: Application, tiles: Tiles, ways: np.ndarray, tile: np.ndarray, actor: int,
    of: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Times of tiles and links `[k, k + L]` with an actor on each of the tiles instead."""
    graph, k, at = application.graph, tiles.count, tile[actor]
    sends, hears = graph.source == actor, graph.target == actor
    out = np.bincount(tile[graph.target[sends]], application.sizes[sends], k)
    back = np.bincount(tile[graph.source[hears]], application.sizes[hears], k)
    moved = np.einsum("t,qtl->ql", out, ways) + np.einsum("t,tql->ql", back, ways)
    after = np.repeat(of[None], k, axis=0)
    after[:, k:] += moved - moved[at]
    change = np.eye(k) - np.eye(k)[at]
    work = np.bincount(tile, graph.times, k) + graph.times[actor] * change
    counts = np.bincount(tile, minlength=k) + change
    after[:, :k] = _work(tiles, work, counts)
    return after


def _concerned(application: Application, tiles: Tiles, tile: np.ndarray, busiest: int) -> list[int]:
    """The actors, at most 24, that the busiest tile has, or whose events load the busiest link."""
    graph = application.graph
    if busiest < tiles.count:
        return np.flatnonzero(tile == busiest)[:24].tolist()
    link = busiest - tiles.count
    over = tiles.routes[:, [link]].toarray().ravel() > 0
    source, target = tile[graph.source], tile[graph.target]
    passing = over[source * tiles.count + target] & (source != target)
    share = np.bincount(graph.source[passing], application.sizes[passing], len(tile))
    share += np.bincount(graph.target[passing], application.sizes[passing], len(tile))
    order = np.argsort(-share, kind="stable")[:24]
    return order[share[order] > 0].tolist()
