"""Clusters as parts of a hypergraph, by mt-kahypar (extra `mapping`).

A neuron and its targets are one edge, of weight its rate: the parts that an edge lies in, less one,
are the chips that its spikes are sent to. References: mt-kahypar (MIT); Ronzani & Silvano 2026.
"""

from functools import cache
from typing import Any, Literal

import numpy as np

from bss2jax.extras import require
from bss2jax.mapping.cluster import Need
from bss2jax.mapping.workload import Workload

Preset = Literal["deterministic", "fast"]


def available() -> bool:
    """Tells whether the extra is installed."""
    import importlib.util

    return importlib.util.find_spec("mtkahypar") is not None


def partition(
    workload: Workload,
    asked: Need,
    clusters: int,
    *,
    preset: Preset = "deterministic",
    cut: Literal["spikes", "broadcast", "graph"] = "spikes",
    threads: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Cuts a workload into clusters that few spikes pass between.

    Args:
        workload: the workload whose neurons they are.
        asked: what is asked of the system; different inputs are left to `refine.repair`.
        clusters: k, how many there shall be.
        preset: `deterministic` gives the same parts for the same seed; `fast` is for many parts
            and does not.
        cut: what is small: `spikes`, each once a destination; `broadcast`, each once if it has
            any; `graph`, each once a synapse.
        threads: the number of threads that work at it.
        seed: the seed of the search.

    Returns:
        `[n]` cluster of each neuron.

    Raises:
        MissingExtra: mt-kahypar is not installed.
        ValueError: no such parts were found.
    """
    if clusters < 2:
        return np.zeros(workload.neurons, np.int32)
    mtkahypar = require("mtkahypar", "mapping", "cutting hypergraphs")
    engine = _engine(threads)
    mtkahypar.set_seed(seed)
    chosen = "DETERMINISTIC" if preset == "deterministic" else "LARGE_K"
    context = engine.context_from_preset(mtkahypar.PresetType.__members__[chosen])
    objective = "KM1" if cut == "spikes" else "CUT"
    room = asked.limits.circuits * clusters / max(1, int(asked.circuits.sum())) - 1
    context.set_partitioning_parameters(
        clusters, max(room, 1e-6), mtkahypar.Objective.__members__[objective]
    )
    context.set_individual_target_block_weights([asked.limits.circuits] * clusters)
    context.logging = False
    # Whole numbers: rates in thousandths of the largest.
    rates = workload.rates
    weight = np.maximum(1, np.rint(1000 * rates / max(rates.max(initial=0), 1e-300))).astype(int)
    if cut == "graph":
        edges, of_edge = _pairs(workload, weight)
        graph = engine.create_graph(
            context, workload.neurons, len(edges), edges, asked.circuits.tolist(), of_edge
        )
        return _parts(graph.partition(context))
    pins = _edges(workload)
    sending = [i for i, edge in enumerate(pins) if len(edge) > 1]
    graph = engine.create_hypergraph(
        context, workload.neurons, len(sending), [pins[i] for i in sending],
        asked.circuits.tolist(), weight[sending].tolist(),
    )  # fmt: skip
    return _parts(graph.partition(context))


def _pairs(workload: Workload, weight: np.ndarray) -> tuple[list[list[int]], list[int]]:
    """The pairs of neurons that synapses join, and the weight of the spikes between them."""
    source, target = workload.source, workload.target
    low, high = np.minimum(source, target), np.maximum(source, target)
    pairs, back = np.unique(low.astype(np.int64) * workload.neurons + high, return_inverse=True)
    of_pair = np.bincount(back, weight[source]).astype(int)
    low, high = np.divmod(pairs, workload.neurons)
    loop = low == high
    return np.column_stack([low, high])[~loop].tolist(), of_pair[~loop].tolist()


def _edges(workload: Workload) -> list[list[int]]:
    """Each neuron and its targets."""
    target, first = workload.target.tolist(), workload.first.tolist()
    edges = []
    for neuron in range(workload.neurons):
        targets = target[first[neuron] : first[neuron + 1]]
        edges.append([neuron, *(t for t in targets if t != neuron)])
    return edges


def _parts(partitioned: Any) -> np.ndarray:
    found = np.asarray(partitioned.get_partition(), np.int32)
    return np.unique(found, return_inverse=True)[1].astype(np.int32)


@cache
def _engine(threads: int) -> Any:
    """The library's state, which it makes once a process; the first number of threads stays."""
    return require("mtkahypar", "mapping", "cutting hypergraphs").initialize(threads)
