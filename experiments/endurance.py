"""Wear: how much longer crossbars last when active rows are on durable cells.

    python experiments/endurance.py
    python experiments/endurance.py --accuracy digits_spiking

The suite of ten workloads, slices in order, on tiles of crossbars of phase-change memory; inputs of
a tile fill as many crossbars of 128 rows as they need. A system lasts until its first cell fails.
Rows: their endurance falls with their place, ten times (and 2, and 100) from the longest to the
shortest way. Cells: each is heated by its own current, after the ladder of wires; Arrhenius' law
spans the same between the coolest and the hottest cell of an array that is all on; of each workload
two clusters are drawn, the first 1,024 inputs of each, with weights that are drawn. Arrangements:
for speed (most active rows on the shortest ways), at random (mean of 20), and ours. With
`--accuracy`, a network is trained, and its synapses die one by one. What is measured is kept.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from mapping import kept, smallest
from study import Study, bars, figure, write
from thermal import drawn

from bss2jax.mapping import heat, objectives, suite, wear
from bss2jax.mapping.crossbar import SIZE, fast
from bss2jax.mapping.search import search
from bss2jax.mapping.wear import Endurance
from bss2jax.text import table

SPANS = (2.0, 10.0, 100.0)


def filled(rates, count):
    """Rates of rows that fill crossbars one after the other, `[count, 128]`."""
    return np.append(rates, np.zeros(count * SIZE - len(rates))).reshape(count, SIZE)


def of_rows(mapping, span, draws=20):
    """Lifetimes of a system by where rows are: the first of all crossbars to fail, s."""
    places, rng = Endurance(span=span).by_row(SIZE), np.random.default_rng(5)
    load, lasts = mapping.workload, {"speed": [], "ours": []}
    by_chance = [[] for _ in range(draws)]
    for chip in mapping.place.tolist():
        rates = load.rates[mapping.counts[:, chip] > 0] / load.seconds
        count = -(-len(rates) // SIZE)
        if not count:
            continue
        held = filled(rates, count)
        lasts["speed"] += [wear.row_lifetime(np.sort(rows), places) for rows in held]
        every = np.tile(places, count)
        order = wear.longest_rows(held.ravel(), every)
        lasts["ours"].append(wear.row_lifetime(held.ravel()[order], every))
        for chance in by_chance:
            chance.append(wear.row_lifetime(rng.permutation(held.ravel()), every))
    chance = np.exp(np.mean([np.log(min(chance)) for chance in by_chance]))
    return {k: float(min(v)) for k, v in lasts.items()} | {"random": float(chance)}


def of_cells(clusters, span, draws=20):
    """The same by where each cell is, heated by its own current."""
    endurance, rng = Endurance(span=span), np.random.default_rng(5)

    def first(crossbar, rows):
        return float(wear.cell_lifetime(crossbar.arranged(*rows), endurance).min())

    every = [c for cluster in clusters for c in cluster]
    dealt = [c for cluster in clusters for c in heat.dealt(cluster)]
    by_chance = [min(first(c, heat.at_random(c, rng)) for c in every) for _ in range(draws)]
    return {
        "speed": min(first(c, fast(c)) for c in every),
        "ours": min(first(c, wear.longest_cells(c, endurance)) for c in dealt),
        "random": float(np.exp(np.mean(np.log(by_chance)))),
    }


def measured(name):
    """All that is reported of a workload."""
    load = suite.workload(name)
    mapping, cells = search(load, smallest(load), method="pacman"), drawn(name, 2)
    return {
        "energy": objectives.energy(mapping),
        "rows": {str(span): of_rows(mapping, span) for span in SPANS},
        "cells": {str(span): of_cells(cells, span, 5) for span in SPANS},
    }


def means(results, model, span):
    """Geometric means over workloads: ours to the arrangement for speed, and to chance."""
    by = [r[model][str(span)] for r in results.values()]
    return [
        float(np.exp(np.mean([np.log(b["ours"] / b[to]) for b in by])))
        for to in ("speed", "random")
    ]


def run_suite(out, names):
    """Writes the table and the figure of the suite."""
    results = {name: kept(out, name, lambda name=name: measured(name)) for name in names}
    rows = []
    for name, result in results.items():
        ratios = [
            result[model]["10.0"]["ours"] / result[model]["10.0"][to]
            for model in ("rows", "cells") for to in ("speed", "random")
        ]  # fmt: skip
        rows.append((name, *(f"{r:.2f}" for r in ratios)))
    for span in SPANS:
        both = [*means(results, "rows", span), *means(results, "cells", span)]
        rows.append((f"geometric mean, span {span:g}", *(f"{r:.2f}" for r in both)))
    header = ("workload, span 10", "rows: to speed", "to random", "cells: to speed", "to random")
    text = "lifetime of ours, times that of other arrangements of the same mapping\n\n"
    write(text + table(header, rows), out, "endurance")
    with figure(out / "endurance.png", width=9.0) as axes:
        by = {
            f"{model}, span 10": [
                r[model]["10.0"]["ours"] / r[model]["10.0"]["speed"] for r in results.values()
            ]
            for model in ("rows", "cells")
        }
        bars(axes, list(results), by, "lifetime, arrangement for speed = 1")


def deaths(weights, rates, kind, rng, span=10.0, spread=0.2):
    """When each synapse of a layer dies, `[K, N]`, s: endurance by row, and lognormal besides."""
    count = -(-len(rates) // SIZE)
    held, places = filled(rates, count).ravel(), np.tile(Endurance(span=span).by_row(SIZE), count)
    if kind == "ours":
        order = wear.longest_rows(held, places)
    elif kind == "random":
        order = rng.permutation(len(held))
    else:
        order = np.concatenate(
            [SIZE * i + np.argsort(r, kind="stable") for i, r in enumerate(filled(rates, count))]
        )
    cycles = np.empty(len(held))
    cycles[order] = places
    lasts = cycles[: len(rates), None] * np.exp(spread * rng.normal(size=weights.shape))
    with np.errstate(divide="ignore"):
        return lasts / rates[:, None]


def run_accuracy(out, name, overrides):
    """Writes how accuracy falls as synapses die, in three arrangements.

    The network is of two layers of synapses; an input is active in a sample where it is not 0.
    """
    study = Study.of(name, overrides, out)
    learned, prepared = study.learned(study.run("trained")), study.experiment
    task, images = prepared.task, prepared.training.x[:1000]
    _, _, records = task.network.apply(
        learned.params, learned.state, task.encode(images), on="float"
    )
    hidden, last = sorted(learned.params, key=lambda layer: "spikes" not in records[layer])
    active = np.asarray(images).reshape(len(images), -1) > 0
    rates = {hidden: active.mean(axis=0), last: np.asarray(records[hidden]["spikes"]).mean(axis=0)}
    dies = {
        kind: {
            layer: deaths(learned.params[layer]["weight"], r, kind, np.random.default_rng(1))
            for layer, r in rates.items()
        }
        for kind in ("speed", "random", "ours")
    }
    first = min(float(d.min()) for d in dies["speed"].values())

    def accuracy(kind, time):
        """Dead synapses have no weight, as those of the virtual chip."""
        params = {
            layer: {**own, "weight": own["weight"] * (dies[kind][layer] > time)}
            for layer, own in learned.params.items()
        }
        dead = np.concatenate([(d <= time).ravel() for d in dies[kind].values()]).mean()
        changed = replace(learned, params=params)
        return 100 * float(dead), 100 * prepared.test_accuracy(changed, "chip")

    rows = []
    for times in TIMES:
        shown = [accuracy(kind, times * first) for kind in dies]
        rows.append((f"{times:g}", *(f"{value:.1f}" for pair in shown for value in pair)))
    header = ["time"]
    for kind in dies:
        header += [f"{kind}: dead, %", "accuracy, %"]
    lasts = {kind: min(float(d.min()) for d in own.values()) / first for kind, own in dies.items()}
    said = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in lasts.items())
    text = f"first cell fails at: {said}\n\n{table(header, rows)}"
    write(text, out, "endurance_accuracy")


TIMES = (0, 1, 2, 3, 5, 8, 12, 20, 30)  # in lifetimes of the arrangement for speed


def main(arguments=None):
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of the config")
    made.add_argument("--accuracy", metavar="CONFIG", help="a network whose synapses die")
    made.add_argument("--only", nargs="+", choices=suite.SUITE, default=list(suite.SUITE))
    made.add_argument("--out", type=Path, default=Path("runs/endurance"))
    parsed = made.parse_args(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    if parsed.accuracy:
        run_accuracy(parsed.out, parsed.accuracy, parsed.overrides)
    else:
        run_suite(parsed.out, parsed.only)


if __name__ == "__main__":
    main()
