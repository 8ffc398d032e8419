"""Traffic of spikes through a system: against a queue of events, and its limits."""

import heapq
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from test_systems import random_workload, small_system

from bss2jax.chip.presets import system
from bss2jax.mapping import objectives, traffic
from bss2jax.mapping.search import search


def one_after_the_other(mapping, times, neurons):
    """Latency by (spike, chip), from a heap of events; lost ones are absent."""
    topology, limits = mapping.system.topology, mapping.system.limits
    latency, gap = mapping.system.of_links("latency"), 1 / mapping.system.of_links("rate")
    routes, trees = {}, {}
    for neuron, chip in zip(*mapping.sent):
        here = np.array([mapping.chip[neuron]])
        links = topology.routes(here, np.array([chip]))[1].tolist()
        routes[neuron, chip] = links
        tree = trees.setdefault(neuron, {})
        for before, link in zip([None, *links], links):
            tree[link] = before
    free, waiting = np.full(len(topology.ends), -np.inf), {}
    heap, left = [], {}
    entry = mapping.system.entry.latency
    for spike, (time, neuron) in enumerate(zip(times, neurons)):
        for link, before in trees.get(neuron, {}).items():
            if before is None:
                heapq.heappush(heap, (time + entry, spike, neuron, link))
    while heap:
        now, spike, neuron, link = heapq.heappop(heap)
        line = waiting.setdefault(link, deque())
        while line and line[0] <= now:
            line.popleft()
        if limits.queue is not None and len(line) >= limits.queue:
            continue
        start = max(now, free[link])
        line.append(start)
        free[link] = start + gap[link]
        left[spike, link] = start + latency[link]
        for after, before in trees[neuron].items():
            if before == link:
                heapq.heappush(heap, (left[spike, link], spike, neuron, after))
    took = {}
    for spike, (time, neuron) in enumerate(zip(times, neurons)):
        for (sender, chip), links in routes.items():
            if sender == neuron and (spike, links[-1]) in left:
                took[spike, int(chip)] = left[spike, links[-1]] - time
    return took


def uneven(topology):
    """The same chips and routes, with links of a kind each: no two events come at one time."""

    class Uneven(type(topology)):
        kinds = np.arange(len(topology.ends))

    return Uneven(*(getattr(topology, name) for name in topology.__dataclass_fields__))


@pytest.mark.parametrize(
    "name, queue", [("crossbars(3,3)", None), ("crossbars(3,3)", 2), ("case", 1)]
)
def test_links_taken_as_arrays_are_a_queue_of_events(name, queue):
    load = random_workload(2, neurons=27, share=0.2)
    chips = small_system(name, circuits=3, inputs=None, queue=queue)
    # Busy links: an event each 2 ms or so.
    rates = np.random.default_rng(0).uniform(400, 600, len(chips.topology.ends))
    slow = tuple(replace(chips.links[0], rate=rate) for rate in rates)
    chips = replace(chips, topology=uneven(chips.topology), links=slow, cast="multicast")
    found = search(load, chips, method="pycarl")
    times, neurons = traffic.poisson(replace(load, rates=20 * load.rates), 0.3, seed=1)
    seen = traffic.simulate(found, times, neurons)
    want = one_after_the_other(found, times.tolist(), neurons.tolist())
    spike = np.searchsorted(times, seen.sent)
    arrived = np.isfinite(seen.received)
    got = {(s, c): t for s, c, t in zip(spike[arrived], seen.chip[arrived], seen.latency)}
    assert len(times) > 100 and got.keys() == want.keys()
    assert all(got[key] == pytest.approx(want[key], abs=1e-12) for key in got)
    assert (seen.lost > 0) == (queue is not None)
    assert seen.waited.max() > 2e-3


def test_without_limits_spikes_take_their_way_and_keep_their_intervals():
    load = random_workload(4, neurons=27, share=0.2)
    free = tuple(replace(link, rate=np.inf) for link in system("crossbars(3,3)").links)
    chips = replace(small_system(circuits=3, inputs=None), links=free)
    for cast in ("unicast", "multicast", "broadcast"):
        found = search(load, replace(chips, cast=cast), method="pacman")
        seen = traffic.simulate(found, *traffic.poisson(load, 20.0))
        took = found.system.between("latency")[found.chip[seen.neuron], seen.chip]
        assert np.abs(seen.latency - took).max() < 1e-9
        assert np.abs(seen.distortion()).max() < 1e-9
        assert seen.disorder() == seen.lost == 0


def test_distortion_rises_with_load_and_the_better_mapping_has_less():
    load = random_workload(6, neurons=90, share=0.05)
    chips = small_system(circuits=10, inputs=None, queue=None)
    before, best = (search(load, chips, method=method) for method in ("pacman", "hypergraph"))
    means = []
    for speed in (1.0, 5.0, 20.0):
        times, neurons = traffic.poisson(replace(load, rates=load.rates * speed), 4.0)
        both = [traffic.simulate(m, times, neurons) for m in (before, best)]
        means.append([np.abs(seen.distortion()).mean() for seen in both])
    assert (np.diff(means, axis=0) > 0).all()
    assert objectives.energy(best) < objectives.energy(before)
    assert all(ours < theirs for theirs, ours in means)
