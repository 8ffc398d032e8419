"""What a plan guarantees: its pieces as a dataflow graph, on one chip, all, or any number between.

An actor is what one chip holds at once: a configuration of a plan, or a cluster of a mapping. An
iteration is a batch of samples (of crossbars a sample), so that a chip that is set up again for its
next actor is so once a batch. A token is all spikes of an iteration from one actor to another.
Samples follow each other through the pieces. Inside a recurrent group of actors a channel has a
token at the start: spikes arrive an iteration later, unless all of the group run at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy.sparse

from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.binding import search
from bss2jax.mapping.bound import Application, Bound, Tiles, tiles_of
from bss2jax.mapping.cost import estimate, writing_seconds
from bss2jax.mapping.dataflow import Cycle, Dataflow, groups
from bss2jax.mapping.pieces import CONFIGURATION
from bss2jax.mapping.plan import Plan
from bss2jax.mapping.throughput import chip_counts
from bss2jax.text import table


@dataclass(frozen=True, eq=False)
class Guarantee:
    """What so many chips guarantee.

    Attributes:
        bound: the application on its chips.
        samples: samples of an iteration.
    """

    bound: Bound
    samples: int

    @property
    def cycle(self) -> Cycle:
        """The cycle that limits it."""
        return self.bound.cycle

    @cached_property
    def latency(self) -> float:
        """The time from an iteration's start to its last result, s."""
        return self.bound.latency(self.cycle.period)

    @property
    def seconds(self) -> float:
        """Time of a sample, s, that no execution exceeds in the long run."""
        return self.cycle.period / self.samples

    @property
    def limit(self) -> str:
        """The cycle that limits it, by name."""
        return self.cycle.named(self.bound.graph)


def _joined(
    names: tuple[str, ...], times: np.ndarray, source: np.ndarray, target: np.ndarray
) -> Dataflow:
    """Actors and channels; those inside a recurrent group have a token at the start."""
    graph = Dataflow(names, times, source, target, np.zeros(len(source), int))
    group = groups(graph)
    return replace(graph, tokens=(group[source] == group[target]).astype(int))


def application_of(mapping: Mapping, names: Sequence[str] = (), samples: int = 1) -> Application:
    """Returns the clusters of a mapping as actors.

    Args:
        mapping: the mapping.
        names: the names of its populations; by default by number.
        samples: the samples of an iteration.
    """
    load, system, k = mapping.workload, mapping.system, len(mapping.place)
    flow, rates = mapping.flow * samples, load.rates * samples
    source, target = np.nonzero(flow)
    if system.event is None:
        times = np.full(k, samples * (load.seconds + system.substrate.run_overhead))
    else:
        heard = (mapping.counts[:, mapping.place] > 0).T @ rates
        times = system.event * (heard + np.bincount(mapping.cluster, rates, k))
    sent = np.unique(mapping.sent[0])
    sends = np.bincount(mapping.cluster[sent], rates[sent], k)
    graph = _joined(_named(mapping, names), times, source, target)
    return Application(graph, flow[source, target], sends)


def _named(mapping: Mapping, names: Sequence[str]) -> tuple[str, ...]:
    """Names of clusters: their populations, with a number where one is in several clusters."""
    bounds = np.array(mapping.workload.populations)
    names = names or [f"population {i}" for i in range(len(bounds) - 1)]
    population = np.searchsorted(bounds, np.arange(mapping.workload.neurons), side="right") - 1
    pairs = np.unique(np.stack([population, mapping.cluster]), axis=1)
    parts = np.bincount(pairs[0], minlength=len(names))
    seen, told = [0] * len(names), [""] * len(mapping.place)
    for p, cluster in pairs.T.tolist():
        seen[p] += 1
        name = names[p] + (f".{seen[p]}" if parts[p] > 1 else "")
        told[cluster] += ("+" if told[cluster] else "") + name
    return tuple(told)


def application_of_plan(plan: Plan, samples: int = 1) -> Application:
    """Returns the configurations of a plan as actors, each sending to those of the next layer.

    Args:
        plan: the plan of a network.
        samples: the samples of an iteration.
    """
    times, names = np.array(estimate(plan).configurations), [""] * plan.configurations
    at = [np.unique(plan.rows(i)[:, CONFIGURATION]) for i in range(len(plan.names))]
    for name, configurations in zip(plan.names, at):
        for part, c in enumerate(configurations.tolist(), 1):
            own = name + (f".{part}" if len(configurations) > 1 else "")
            names[c] += ("+" if names[c] else "") + own
    pairs = [(a, b) for x, y in pairwise(at) for a in x for b in y if a != b]
    source, target = np.array(sorted(set(pairs)), int).reshape(-1, 2).T
    graph = _joined(tuple(names), samples * times, source, target)
    return Application(graph, np.zeros(len(source)), np.zeros(len(names)))


def chips_alone(count: int, switch: float = 0.0) -> Tiles:
    """Returns chips without links: the host takes what one sends to another one.

    Args:
        count: how many there are.
        switch: time to set one up for its next actor, s.
    """
    none = scipy.sparse.csr_array((count * count, 1))
    return Tiles(np.zeros((count, count)), none, np.full(1, np.inf), switch=switch)


def guarantee(application: Application, tiles: Tiles, samples: int = 1) -> Guarantee:
    """Binds an application to tiles, and returns what they guarantee.

    Args:
        application: the application.
        tiles: what it is bound to.
        samples: the samples of an iteration.
    """
    return Guarantee(search(application, tiles), samples)


def of_mapping(mapping: Mapping, names: Sequence[str] = (), batch: int = 1) -> list[Guarantee]:
    """Returns what one chip of a system guarantees, as many as clusters, and some between.

    Args:
        mapping: the mapping of a workload.
        names: the names of its populations; by default by number.
        batch: samples with the same weights, of chips whose neurons run in real time.

    Returns:
        Those of one chip to all, with a different number of actors on the fullest. Where a
        recurrent group of neurons in real time is on several chips, those of all chips alone.
    """
    system, real = mapping.system, mapping.system.event is None
    samples, switch = (batch, writing_seconds(system.substrate)) if real else (1, 0.0)
    application = application_of(mapping, names, samples)
    counts = chip_counts(len(mapping.place))
    if real and application.graph.tokens.any():
        counts = counts[-1:]
    return [guarantee(application, tiles_of(system, n, switch), samples) for n in counts]


def of_plan(plan: Plan, batch: int = 1) -> list[Guarantee]:
    """Returns what one chip guarantees, as many as there are configurations, and some between.

    Args:
        plan: the plan of a network.
        batch: samples with the same weights.
    """
    application, switch = application_of_plan(plan, batch), writing_seconds(plan.substrate)
    return [
        guarantee(application, chips_alone(n, switch), batch)
        for n in chip_counts(plan.configurations)
    ]


def tree(found: Sequence[Guarantee]) -> list[dict[str, object]]:
    """Returns what chips guarantee, as JSON has it; times in s.

    Args:
        found: the guarantees of several numbers of chips.
    """
    return [
        {
            "chips": g.bound.tiles.count,
            "seconds": g.seconds,
            "samples_per_second": 1 / g.seconds,
            "latency": g.latency,
            "places": int(g.bound.room.sum()),
            "critical_cycle": [g.bound.graph.names[i] for i in g.cycle.actors],
        }
        for g in found
    ]


def describe_guarantees(found: Sequence[Guarantee]) -> str:
    """Returns what chips guarantee as a table, and the cycle that limits each.

    Args:
        found: the guarantees of several numbers of chips.
    """
    rows = [
        (
            str(g.bound.tiles.count),
            f"{1e6 * g.seconds:.1f} µs",
            f"{1 / g.seconds:.4g} /s",
            f"{1e3 * g.latency:.3g} ms",
            _shortened(g.limit.split(" -> ")),
        )
        for g in found
    ]
    header = ("chips", "a sample", "throughput", "latency", "limited by the cycle")
    batch = found[0].samples
    note = (
        "guaranteed, if no piece takes longer than planned and links carry no more than\n"
        f"recorded: the most time of a sample, {batch} in a batch, with writing of weights;\n"
        "latency of one"
    )
    return f"{note}\n{table(header, rows, width=80, most=80)}"


def _shortened(names: Sequence[str]) -> str:
    """Names with arrows between; of three or more parts of a layer in a row the first and last."""
    runs: list[list[str]] = []
    for name in names:
        base, dot, part = name.rpartition(".")
        before = f"{base}.{int(part) - 1}" if dot and part.isdecimal() else ""
        if runs and runs[-1][-1] == before:
            runs[-1].append(name)
        else:
            runs.append([name])
    return " -> ".join(
        f"{run[0]} .. {run[-1]}" if len(run) > 2 else " -> ".join(run) for run in runs
    )
