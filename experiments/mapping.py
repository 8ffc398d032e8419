"""Mapping: the suite of ten workloads, every method, and how far the search scales.

    python experiments/mapping.py suite
    python experiments/mapping.py scale

Each workload goes onto the smallest square mesh of tiles of 128 neurons that holds its slices in
order, as SpiNeMap's tool chain has them: dynamic energy of the interconnect, with ways that several
destinations share counted once; latency where nothing waits, per synapse (0 on the own tile) and
per event between tiles. Rates are drawn (`bss2jax.mapping.suite`); the suite was fixed beforehand.
What is measured is kept, so that the same command goes on.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse
from study import COLOURS, bars, figure, write

from bss2jax.chip.presets import system, tiles
from bss2jax.chip.topology import Mesh
from bss2jax.mapping import cluster, forces, hypergraph, objectives, suite, traffic
from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.search import search
from bss2jax.text import table

BASELINES = (
    "pacman", "pycarl", "first_fit", "random", "kernighan_lin", "spinemap", "sneap",
)  # fmt: skip
QUANTITIES = {
    "energy": objectives.energy,
    "latency": objectives.latency,
    "network": objectives.network_latency,
    "spikes": objectives.spikes,
    "load": objectives.load,
}


def smallest(load):
    """The smallest square mesh that holds slices in order."""
    slices = cluster.sliced(load, cluster.need(load, tiles(64, 64)))
    side = int(np.ceil(np.sqrt(slices.max() + 1)))
    return tiles(side, side)


def measured(out, name, seeds=20):
    """All methods on one workload, each kept when it has been measured."""
    load = suite.workload(name)
    chips = smallest(load)

    def by(method):
        start = time.process_time()
        runs = [
            search(load, chips, method=method, seed=seed)
            for seed in range(seeds if method == "random" else 1)
        ]
        took = (time.process_time() - start) / len(runs)
        figures = {q: float(np.mean([of(r) for r in runs])) for q, of in QUANTITIES.items()}
        return figures | {"seconds": took}

    parts = out / name
    parts.mkdir(exist_ok=True)
    found = {method: kept(parts, method, partial(by, method)) for method in (*BASELINES, "best")}
    return {"neurons": load.neurons, "synapses": load.synapses, "chips": chips.name, "by": found}


def kept(out, name, measure):
    """What was measured before, or is now."""
    path = out / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(measure(), indent=1))
    return json.loads(path.read_text())


def run_suite(out, names):
    """Writes the table and the figure of the suite, or of some of it."""
    results = {name: kept(out, name, partial(measured, out, name)) for name in names}
    rows, changes = [], []
    for name, result in results.items():
        by = result["by"]
        ours, first = by["best"], by["pacman"]
        best = min(by[method]["energy"] for method in BASELINES)
        change = [ours[q] / first[q] - 1 for q in ("energy", "latency", "network")]
        changes.append([*change, ours["energy"] / best - 1])
        energies = [f"{1e9 * by[m]['energy']:.1f}" for m in (*BASELINES, "best")]
        rows.append((name, str(result["neurons"]), result["chips"], *energies))
    text = "dynamic energy of the interconnect, nJ a second\n\n"
    text += table(("workload", "neurons", "system", *BASELINES, "ours"), rows)
    mean = np.mean(changes, axis=0)
    lines = []
    for name, change in zip([*results, "mean"], [*changes, mean]):
        took = f"{results[name]['by']['best']['seconds']:.0f} s" if name in results else ""
        lines.append((name, *(f"{100 * c:+.0f} %" for c in change), took))
    header = (
        "ours", "energy, to in order", "latency of a synapse", "of an event", "energy, to the best",
        "CPU time",
    )  # fmt: skip
    text += "\n\n" + table(header, lines)
    write(text, out, "mapping")
    with figure(out / "mapping.png", width=9.0) as axes:
        shares = {
            "ours" if method == "best" else method: [
                r["by"][method]["energy"] / r["by"]["pacman"]["energy"] for r in results.values()
            ]
            for method in ("pycarl", "random", "spinemap", "sneap", "best")
        }
        colours = (*COLOURS[1:], "#56B4E9", COLOURS[0])
        bars(axes, list(results), shares, "energy, slices in order = 1", colours)
        axes.set_ylim(0, 2.5)


def conv_stack(side, seed=1):
    """Layers as wide as the grid, each with windows of 4 in the next, random weights."""
    rng, at = np.random.default_rng(seed), np.arange(side * side).reshape(side, side)
    pairs = [(at[:-2, : side - o].ravel(), at[1:-1, o:].ravel()) for o in range(4)]
    source, target = (np.concatenate(both) for both in zip(*pairs))
    return scipy.sparse.csr_array((rng.random(len(source)), (source, target)), shape=(side**2,) * 2)


def placed(side):
    """CPU time and cost of a curve and forces on a stack of convolutions as large as the grid."""
    grid, flow = Mesh(side, side), conv_stack(side)
    start = time.process_time()
    place = forces.forced(flow, grid, forces.hilbert(side, side))
    took, (source, target) = time.process_time() - start, flow.tocoo().coords
    cost = float(flow.tocoo().data @ grid.hops(place[source], place[target]))
    return {"seconds": took, "cost": cost}


def million():
    """Wall and CPU time of cutting a sheet of a million neurons, on two threads."""
    load = suite.sheet(1000, 3, np.random.default_rng(0))
    chips = tiles(90, 90)
    asked = cluster.need(load, chips)
    wall, cpu = time.time(), time.process_time()
    parts = hypergraph.partition(load, asked, asked.least, preset="fast", threads=2)
    wall, cpu = time.time() - wall, time.process_time() - cpu
    spikes = {}
    for name, clusters in (("ours", parts), ("in order", cluster.in_order(load, asked))):
        pairs = np.unique(load.source.astype(np.int64) * 8100 + clusters[load.target])
        neuron, to = np.divmod(pairs, 8100)
        spikes[name] = float(load.rates[neuron[to != clusters[neuron]]].sum())
    largest = int(np.bincount(parts).max())
    return {"wall": wall, "cpu": cpu, "largest": largest, **spikes}


def events():
    """CPU time of a million spikes through a mesh, and what became of them."""
    load, found = suite.workload("smooth"), {}
    speed = 1e6 / load.rates[:4096].sum()
    only = replace(load, rates=np.where(np.arange(8192) < 4096, load.rates, 0.0))
    for method in ("pacman", "best"):
        one = search(load, tiles(8, 8), method=method)
        mapping = Mapping(only, one.system, one.cluster, one.place)
        times, neurons = traffic.poisson(only, speed)
        start = time.process_time()
        seen = traffic.simulate(mapping, times, neurons)
        found[method] = {
            "seconds": time.process_time() - start, "spikes": len(times), "for": len(seen.sent),
            "latency": float(seen.latency.mean()),
            "distortion": float(np.abs(seen.distortion()).mean()),
            "disorder": seen.disorder(), "lost": seen.lost,
        }  # fmt: skip
    return found


def backplane():
    """Load of the busiest link of backplanes, slices in order and ours; the host sends inputs."""
    found = {}
    loads = {
        "edges": suite.workload("edges"),
        "smooth": suite.workload("smooth"),
        "modular": suite.modular(20, 100, np.random.default_rng(0)),
    }
    for name, load in loads.items():
        chips = system("star12" if name != "smooth" else "case")
        both = [
            objectives.load(search(load, chips, objectives.load, method=m))
            for m in ("pacman", "best")
        ]
        found[name] = {"system": chips.name, "pacman": both[0], "best": both[1]}
    return found


def run_scale(out):
    """Writes the table of how far the search scales."""
    rows = []
    for side, published in ((64, 42_988), (256, 1.04e6)):
        one = kept(out, f"placed{side}", lambda side=side: placed(side))
        what = f"{side * side} clusters placed along a curve, by forces"
        said = f"cost {one['cost']:.0f}; published {published:.0f}"
        rows.append((what, f"{one['seconds']:.2f} s CPU", said))
    one = kept(out, "million", million)
    said = f"{one['ours']:.3g} spikes between clusters, {one['in order']:.3g} in order"
    took = f"{one['wall']:.0f} s, {one['cpu']:.0f} s CPU"
    rows.append((f"1,000,000 neurons cut, at most {one['largest']} each", took, said))
    for method, one in kept(out, "events", events).items():
        what = f"{one['spikes']} spikes sent, {method}"
        said = (
            f"{one['for']} arrivals, {1e3 * one['latency']:.3f} ms, distortion "
            f"{1e3 * one['distortion']:.4f} ms, {one['disorder']} out of order, {one['lost']} lost"
        )
        rows.append((what, f"{one['seconds']:.1f} s CPU", said))
    for name, one in kept(out, "backplane", backplane).items():
        what = f"busiest link of {one['system']}, {name}"
        said = f"{one['best']:.0f} events a second, {one['pacman']:.0f} in order"
        rows.append((what, f"{100 * (one['best'] / one['pacman'] - 1):+.0f} %", said))
    write(table(("what", "figure", ""), rows), out, "mapping_scale")


def main(arguments=None):
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("what", choices=("suite", "scale"))
    made.add_argument("--only", nargs="+", choices=suite.SUITE, default=list(suite.SUITE))
    made.add_argument("--out", type=Path, default=Path("runs/mapping"))
    parsed = made.parse_args(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    if parsed.what == "suite":
        run_suite(parsed.out, parsed.only)
    else:
        run_scale(parsed.out)


if __name__ == "__main__":
    main()
