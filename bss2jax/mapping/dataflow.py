"""Dataflow graphs: how often they can fire, what limits them, and whether they stop for good.

Actors fire once an iteration, when every channel into them has a token, and give one to every
channel out of them as they end. Such a graph, in which both ends of a channel have one rate, is
homogeneous; spikes that are sent once an iteration, as one token, make it so. Its period is

    max over cycles (sum of times and delays) / (sum of tokens)

References: Baccelli et al. 1992 (max-plus); Cochet-Terrasson et al. 1998 (Howard's algorithm).
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components


class Deadlock(ValueError):
    """A graph stops for good; the message names a cycle of actors that wait for each other."""


@dataclass(frozen=True, eq=False)
class Dataflow:
    """Actors, and channels with tokens between them.

    Attributes:
        names: `n` names of the actors.
        times: `[n]` time of a firing, s.
        source: `[m]` actor that each channel comes from.
        target: `[m]` actor that each leads to.
        tokens: `[m]` tokens in each at the start.
        delays: `[m]` time that a token takes on its way, s; by default none.

    Raises:
        ValueError: sizes do not fit, or something is negative.
    """

    names: tuple[str, ...]
    times: np.ndarray = field(repr=False)
    source: np.ndarray = field(repr=False)
    target: np.ndarray = field(repr=False)
    tokens: np.ndarray = field(repr=False)
    delays: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        for name, kind in (("times", float), ("source", int), ("target", int), ("tokens", int)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        delays = np.asarray(self.delays if len(self.delays) else np.zeros(self.channels), float)
        object.__setattr__(self, "delays", delays)
        n, ends = len(self.names), (self.source, self.target)
        sizes = {len(self.source), len(self.target), len(self.tokens), len(delays)}
        if len(self.times) != n or len(sizes) > 1:
            raise ValueError(f"dataflow: {len(self.times)} times of {n} actors, channels {sizes}")
        if any(len(e) and not 0 <= e.min() <= e.max() < n for e in ends):
            raise ValueError(f"dataflow: channels are between actors 0 to {n - 1}, got others")
        if any(len(v) and v.min() < 0 for v in (self.times, self.tokens, delays)):
            raise ValueError("dataflow: times, tokens and delays are not negative")

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return len(self.source)

    @property
    def weights(self) -> np.ndarray:
        """Time `[m]` from the start of a firing to its token's arrival, s."""
        return self.times[self.source] + self.delays


@dataclass(frozen=True)
class Cycle:
    """The cycle that limits a graph.

    Attributes:
        period: time of an iteration, s; 0 where nothing limits it.
        actors: the numbers of its actors, in order.
        channels: the numbers of its channels; each leads from the actor of the same place.
    """

    period: float
    actors: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()

    def named(self, graph: Dataflow) -> str:
        """Returns the names of its actors, joined by arrows, back to the first."""
        if not self.actors:
            return "nothing"
        return " -> ".join(graph.names[i] for i in (*self.actors, self.actors[0]))


def stuck(graph: Dataflow) -> Cycle | None:
    """Returns a cycle without a token, whose actors wait for each other; None: there is none.

    Args:
        graph: the graph.
    """
    empty = np.flatnonzero(graph.tokens == 0)
    inner = empty[_inside(graph, empty)]
    if not len(inner):
        return None
    following = dict(zip(graph.source[inner].tolist(), inner.tolist()))
    seen: list[int] = []
    actor = next(iter(following))
    while actor not in seen:
        seen.append(actor)
        actor = int(graph.target[following[actor]])
    cycle = seen[seen.index(actor) :]
    return Cycle(float("inf"), tuple(cycle), tuple(following[i] for i in cycle))


def groups(graph: Dataflow, channels: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Returns the group `[n]` of each actor: those that send to each other, in whatever steps.

    Args:
        graph: the graph.
        channels: the channels that count; by default all.
    """
    source, target = graph.source[channels], graph.target[channels]
    matrix = scipy.sparse.csr_array(
        (np.ones(len(source)), (source, target)), shape=(len(graph.names),) * 2
    )
    matrix.sum_duplicates()  # two entries of a place: SciPy 1.13 never comes back
    return connected_components(matrix, connection="strong")[1]


def _inside(graph: Dataflow, channels: np.ndarray) -> np.ndarray:
    """Which of some channels are on a cycle of them, `[len(channels)]`."""
    group = groups(graph, channels)
    return group[graph.source[channels]] == group[graph.target[channels]]


def critical(graph: Dataflow) -> Cycle:
    """Returns the cycle of most time a token, which gives the period, by Howard's algorithm.

    Args:
        graph: the graph.

    Raises:
        Deadlock: a cycle has no token; says which.
    """
    if dead := stuck(graph):
        raise Deadlock(
            f"deadlock: no token in {dead.named(graph)}: each waits for the one before it"
        )
    every = np.arange(graph.channels)
    inner = every[_inside(graph, every)]
    if not len(inner):
        return Cycle(0.0)
    actors, ends = np.unique(
        np.stack([graph.source[inner], graph.target[inner]]), return_inverse=True
    )
    source, target = ends.reshape(2, -1)
    order = np.argsort(source, kind="stable")
    inner, source, target = inner[order], source[order], target[order]
    weights, tokens = graph.weights[inner], graph.tokens[inner].astype(float)
    scale = float(weights.max()) or 1.0
    chosen = _howard(source, target, weights / scale, tokens)
    ratio, _, start = _evaluated(chosen, target, weights / scale, tokens)
    # The best cycle of the last policy; its period anew, of the times themselves.
    node = start[int(ratio.argmax())]
    path: list[int] = []
    while not path or node != path[0]:
        path.append(node)
        node = int(target[chosen[node]])
    edges = chosen[path]
    period = float(weights[edges].sum() / tokens[edges].sum())
    return Cycle(period, tuple(actors[path].tolist()), tuple(inner[edges].tolist()))


def _howard(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray, tokens: np.ndarray
) -> np.ndarray:
    """The channel `[n]` that each actor follows, improved until no other one is better.

    Channels come in the order of their sources; every actor has one.
    """
    starts = np.flatnonzero(np.diff(source, prepend=-1))

    def best(values: np.ndarray) -> np.ndarray:
        """The first channel of each actor with its largest value."""
        most = np.maximum.reduceat(values, starts)
        at = np.flatnonzero(values == most[source])
        return at[np.flatnonzero(np.diff(source[at], prepend=-1))]

    chosen = best(weights)
    for _ in range(100 + 10 * len(starts)):
        ratio, value, _ = _evaluated(chosen, target, weights, tokens)
        # First to a slower cycle, then, among channels to equally slow ones, to a later start.
        there = best(ratio[target])
        better = ratio[target[there]] > ratio + 1e-12
        if not better.any():
            same = ratio[target] > ratio[source] - 1e-12
            gains = weights - ratio[source] * tokens + value[target]
            there = best(np.where(same, gains, -np.inf))
            better = gains[there] > value + 1e-11 * (1 + np.abs(value))
        if not better.any():
            break
        chosen = np.where(better, there, chosen)
    return chosen


def _evaluated(
    chosen: np.ndarray, target: np.ndarray, weights: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Of each actor that follows its channel: period and start of the cycle it meets, and lead."""
    following = target[chosen].tolist()
    time, token = weights[chosen].tolist(), tokens[chosen].tolist()
    n = len(following)
    state, ratio, value, start = [0] * n, [0.0] * n, [0.0] * n, [0] * n
    for root in range(n):
        path, node = [], root
        while state[node] == 0:
            state[node] = 1
            path.append(node)
            node = following[node]
        if state[node] == 1:  # a new cycle
            cycle = path[path.index(node) :]
            ratio[node] = sum(time[i] for i in cycle) / sum(token[i] for i in cycle)
            start[node], state[node] = node, 2
        for i in reversed(path):
            if state[i] == 1:
                after = following[i]
                ratio[i], start[i], state[i] = ratio[after], start[after], 2
                value[i] = time[i] - ratio[i] * token[i] + value[after]
    return np.array(ratio), np.array(value), start


def periodic(graph: Dataflow, period: float) -> np.ndarray:
    """Returns the earliest starts of a schedule in which every actor fires once a period.

    Args:
        graph: the graph.
        period: time of an iteration, s, not below that of `critical`.

    Returns:
        `[n]` s, from 0 on. No firing k of a self-timed execution begins after start + k period.
    """
    starts = np.zeros(len(graph.names))
    leads = graph.weights - period * graph.tokens
    least = 1e-12 * max(float(graph.weights.max(initial=0.0)), period)
    for _ in range(len(starts) + 1):
        arrives = starts[graph.source] + leads
        late = arrives > starts[graph.target] + least
        if not late.any():
            break
        np.maximum.at(starts, graph.target[late], arrives[late])
    return starts
