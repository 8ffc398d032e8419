"""What is bound to tiles, executed event by event: each firing as soon as it may.

Nothing here knows of the graph that gives the guarantee: tiles have orders and wheels, channels
have places, connections take tokens one by one.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bss2jax.mapping.bound import Bound
from bss2jax.mapping.dataflow import Deadlock

# Of the number of an iteration and the longest times of all actors, the times that they take.
Draw = Callable[[int, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Execution:
    """When actors fired.

    Attributes:
        starts, ends: `[iterations, n]` s.
    """

    starts: np.ndarray
    ends: np.ndarray

    @property
    def period(self) -> float:
        """Time of an iteration in the second half, s: of the slowest actor."""
        half = len(self.ends) // 2
        return float((self.ends[-1] - self.ends[half - 1]).max() / (len(self.ends) - half))


def execute(
    bound: Bound, iterations: int, draw: Draw | None = None, phases: np.ndarray | None = None
) -> Execution:
    """Executes iterations of what is bound to tiles.

    Args:
        bound: the application on its tiles.
        iterations: how many.
        draw: a function of an iteration's number and the longest times of actors and connections:
            the times that these take, `[n + c]`; by default the longest.
        phases: `[k]` when the slice of each tile begins, s; by default 0.

    Raises:
        Deadlock: it stops; says in front of which actors.
    """
    state = _State(
        bound, iterations, draw, np.zeros(bound.tiles.count) if phases is None else phases
    )
    for tile in range(bound.tiles.count):
        state.try_tile(tile, 0.0)
    while state.heap:
        now, _, done = heapq.heappop(state.heap)
        done(now)
    if np.isnan(state.ends).any():
        graph = bound.application.graph
        heads = [
            o[f % len(o)]
            for o, f in zip(bound.orders, state.fired)
            if o and f < iterations * len(o)
        ]
        raise Deadlock(
            f"deadlock: tiles wait in front of {', '.join(graph.names[i] for i in heads)}"
        )
    return Execution(state.starts, state.ends)


class _State:
    """Tokens, free places, and what comes next."""

    def __init__(
        self, bound: Bound, iterations: int, draw: Draw | None, phases: np.ndarray
    ) -> None:
        graph = bound.application.graph
        n, m = len(graph.names), graph.channels
        self.bound, self.iterations, self.phases = bound, iterations, phases
        self.heap: list[tuple[float, int, Callable[[float], None]]] = []
        self.number = 0
        self.starts = np.full((iterations, n), np.nan)
        self.ends = np.full((iterations, n), np.nan)
        self.fired = [0] * bound.tiles.count
        self.busy = [False] * bound.tiles.count
        self.tokens, self.places = graph.tokens.tolist(), (bound.room - graph.tokens).tolist()
        self.out, self.sending, self.sent = bound.room.tolist(), [False] * m, [0] * m
        self.waiting = [0] * m
        self.crosses = {e: i for i, e in enumerate(bound.crossing.tolist())}
        self.inputs: list[list[int]] = [
            np.flatnonzero(graph.target == i).tolist() for i in range(n)
        ]
        self.outputs: list[list[int]] = [
            np.flatnonzero(graph.source == i).tolist() for i in range(n)
        ]
        longest = np.concatenate([bound.work, bound.transfers])
        draws = (longest if draw is None else draw(k, longest) for k in range(iterations))
        self.times = np.stack(list(draws)).tolist()

    def later(self, time: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self.heap, (time, self.number, what))
        self.number += 1

    def try_tile(self, tile: int, now: float) -> None:
        """Starts the next actor of a tile if it is free and all that it needs is there."""
        order, fired = self.bound.orders[tile], self.fired[tile]
        if self.busy[tile] or fired >= self.iterations * len(order):
            return
        iteration, actor = fired // len(order), order[fired % len(order)]
        places = [self.out if e in self.crosses else self.places for e in self.outputs[actor]]
        if not all(self.tokens[e] for e in self.inputs[actor]):
            return
        # A token that an actor sends itself leaves its own place free only as it ends.
        if not all(free[e] for free, e in zip(places, self.outputs[actor])):
            return
        for e in self.inputs[actor]:
            self.tokens[e] -= 1
        for free, e in zip(places, self.outputs[actor]):
            free[e] -= 1
        self.busy[tile], self.fired[tile] = True, fired + 1
        self.starts[iteration, actor] = now
        end = self._end(tile, now, self.times[iteration][actor])
        self.later(end, lambda then: self._ended(tile, iteration, actor, then))

    def _end(self, tile: int, start: float, work: float) -> float:
        """When work ends that a tile does in its slices only."""
        wheel, part = self.bound.tiles.wheel, self.bound.tiles.slice
        if part >= wheel:
            return start + work
        at = (start - self.phases[tile]) % wheel
        left = max(0.0, part - at)
        if work <= left:
            return start + work
        turns = np.ceil((work - left) / part - 1e-9) - 1
        return float(start + wheel - at + turns * wheel + (work - left - turns * part))

    def _ended(self, tile: int, iteration: int, actor: int, now: float) -> None:
        self.ends[iteration, actor], self.busy[tile] = now, False
        for e in self.inputs[actor]:
            self.places[e] += 1
            if e in self.crosses:
                self.try_connection(e, now)
        for e in self.outputs[actor]:
            if e in self.crosses:
                self.waiting[e] += 1
                self.try_connection(e, now)
            else:
                self.tokens[e] += 1
        self.try_tile(tile, now)

    def try_connection(self, e: int, now: float) -> None:
        """Sends the next token of a channel between tiles, if there is one and a place for it."""
        if self.sending[e] or not self.waiting[e] or not self.places[e]:
            return
        self.sending[e] = True
        self.waiting[e] -= 1
        self.places[e] -= 1
        n = len(self.bound.application.graph.names)
        took = self.times[self.sent[e]][n + self.crosses[e]]
        self.sent[e] += 1
        self.later(now + took, lambda then: self._sent(e, then))

    def _sent(self, e: int, now: float) -> None:
        graph, tile = self.bound.application.graph, self.bound.tile
        source, target = tile[graph.source[e]], tile[graph.target[e]]
        self.sending[e] = False
        self.out[e] += 1
        arrival = now + self.bound.tiles.latency[source, target]
        self.later(arrival, lambda then: self._arrived(e, then))
        self.try_connection(e, now)
        self.try_tile(int(source), now)

    def _arrived(self, e: int, now: float) -> None:
        self.tokens[e] += 1
        self.try_tile(int(self.bound.tile[self.bound.application.graph.target[e]]), now)
