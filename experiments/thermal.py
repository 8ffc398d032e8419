"""Heat: how much cooler crossbars are when rows and columns are arranged for it.

    python experiments/thermal.py

The suite of ten workloads, slices in order, on tiles of crossbars of phase-change memory (128 x
128, 10 to 200 kOhm, 1 ohm of wire a cell, 1 V, 10 ns a spike). Weights are drawn, the square of a
uniform number; two clusters a workload are drawn too, and of each the first 1,024 inputs. Three
arrangements: for speed (most active rows and strongest columns on the shortest ways), at random
(20 draws), and cool. Heat reaches 8 cells; the conductance to ambient is such that the hottest
cells of crossbars arranged for speed are warmer by so many K on the mean, and leakage is 21 % of
its energy, or as much as there can be before it heats without end. What is measured is kept.
"""

import argparse
from pathlib import Path

import numpy as np
from mapping import kept, smallest
from study import COLOURS, bars, figure, write

from bss2jax.chip.presets import pcm
from bss2jax.mapping import heat, suite
from bss2jax.mapping.crossbar import SIZE, Crossbar, crossbars, fast
from bss2jax.mapping.heat import Leakage, Runaway, Thermal
from bss2jax.mapping.search import search
from bss2jax.text import table

REACH = 8.0  # cells that heat reaches
RISES = (20.0, 40.0, 60.0, 80.0)  # K of the hottest cells arranged for speed, without leakage
SHARE = 0.21  # of leakage in its energy


def drawn(name, clusters, inputs=8 * SIZE):
    """Crossbars of some clusters of a workload, lists of them."""
    load = suite.workload(name)
    rng = np.random.default_rng([7, suite.SUITE.index(name)])
    weights = rng.random(load.synapses) ** 2
    mapping = search(load, smallest(load), method="pacman")
    hearing = np.flatnonzero(mapping.counts[:, mapping.place].any(axis=0))
    chosen = sorted(rng.permutation(hearing)[:clusters].tolist())
    return [
        found[: inputs // SIZE] for found in crossbars(mapping, weights, pcm(1, 1).cell, chosen)
    ]


def dealt_at_random(cluster, rng):
    """The same rows in any crossbar of a cluster, in any order."""
    resistance = np.concatenate([c.resistance for c in cluster])
    rates, order = np.concatenate([c.rates for c in cluster]), rng.permutation(SIZE * len(cluster))
    columns, first = rng.permutation(SIZE), cluster[0]
    return [
        Crossbar(resistance[rows][:, columns], rates[rows], first.volts, first.wires)
        for rows in np.split(order, len(cluster))
    ]


def powers(name, clusters, steps, draws):
    """Power of each crossbar by arrangement, `[crossbars, N, M]` W; several of chance."""
    rng, found = np.random.default_rng(3), {"speed": [], "cool": []}
    by_chance = [[] for _ in range(draws)]
    thermal = Thermal(1.0, REACH**2)
    for cluster in drawn(name, clusters):
        found["speed"] += [c.arranged(*fast(c)).power() for c in cluster]
        found["cool"] += [
            c.arranged(*heat.cool(c, thermal, steps)).power() for c in heat.dealt(cluster)
        ]
        for chance in by_chance:
            chance += [c.power() for c in dealt_at_random(cluster, rng)]
    return {k: np.array(v) for k, v in found.items()} | {"random": np.array(by_chance)}


def rises(power, thermal):
    """Peak, gradient and mean rise of crossbars, means over them."""
    warm = np.array([thermal.rise(p) for p in power])
    return {
        "peak": float(warm.max((1, 2)).mean()),
        "gradient": float(np.ptp(warm.reshape(len(warm), -1), axis=1).mean()),
        "mean": float(warm.mean()),
    }


def leaking(power, thermal, leakage):
    """Leakage, all power, and mean temperature of crossbars, with the loop closed."""
    closed = [heat.closed(thermal, p, leakage) for p in power]
    leaks, warm = (np.array(side) for side in (([c[1] for c in closed]), [c[0] for c in closed]))
    return float(leaks.sum()), float(leaks.sum() + power.sum()), float(warm.mean())


def with_share(power, thermal):
    """Leakage that is a share of the energy, at temperatures that it helps to make."""
    low, high = -12.0, 0.0  # of its logarithm, relative to the mean power of a cell
    for _ in range(14):
        middle = (low + high) / 2
        leakage = Leakage(float(power.mean() * 10**middle), thermal.ambient)
        try:
            leaks, total, _ = leaking(power, thermal, leakage)
            over = leaks / total > SHARE
        except Runaway:
            over = True
        low, high = (low, middle) if over else (middle, high)
    return Leakage(float(power.mean() * 10**low), thermal.ambient)


def measured(name, clusters, steps, draws):
    """All that is reported of a workload."""
    found, unit = powers(name, clusters, steps, draws), Thermal(1.0, REACH**2)
    by = {k: rises(found[k], unit) for k in ("speed", "cool")}
    chance = [rises(p, unit) for p in found["random"]]
    by["random"] = {q: float(np.mean([c[q] for c in chance])) for q in chance[0]}
    by["best random"] = {q: float(np.min([c[q] for c in chance])) for q in chance[0]}
    loops = {}
    for rise in RISES:
        vertical = by["speed"]["peak"] / rise
        thermal = Thermal(vertical, REACH**2 * vertical)
        try:
            leakage = with_share(found["speed"], thermal)
            loops[str(rise)] = {
                k: leaking(found[k], thermal, leakage) for k in ("speed", "cool")
            } | {"random": leaking(found["random"][0], thermal, leakage)}
        except Runaway:
            continue
    return {"crossbars": len(found["speed"]), "by": by, "loops": loops}


def main(arguments=None):
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--only", nargs="+", choices=suite.SUITE, default=list(suite.SUITE))
    made.add_argument("--clusters", type=int, default=2)
    made.add_argument("--steps", type=int, default=300)
    made.add_argument("--draws", type=int, default=20)
    made.add_argument("--out", type=Path, default=Path("runs/thermal"))
    parsed = made.parse_args(arguments)
    out = parsed.out
    out.mkdir(parents=True, exist_ok=True)
    sizes = parsed.clusters, parsed.steps, parsed.draws
    results = {n: kept(out, n, lambda n=n: measured(n, *sizes)) for n in parsed.only}
    rows, shares = [], []
    for name, result in results.items():
        by = result["by"]
        pairs = [(q, to) for q in ("peak", "gradient") for to in ("speed", "best random")]
        share = [by["cool"][q] / by[to][q] - 1 for q, to in pairs]
        share.append(by["cool"]["mean"] / by["speed"]["mean"] - 1)
        shares.append(share)
        rows.append((name, str(result["crossbars"]), *(f"{100 * s:+.0f} %" for s in share)))
    rows.append(("mean", "", *(f"{100 * s:+.0f} %" for s in np.mean(shares, axis=0))))
    header = (
        "workload", "crossbars", "peak, to speed", "to best of random", "gradient, to speed",
        "to best of random", "mean rise, to speed",
    )  # fmt: skip
    lines = ["rises above ambient of the cool arrangement", "", table(header, rows), ""]
    loops = []
    for rise in RISES:
        ratios = []
        for result in results.values():
            if (loop := result["loops"].get(str(rise))) is None:
                continue
            (leaks, total, warm), (less, whole, cooler) = loop["speed"], loop["cool"]
            ratios.append((leaks / total, less / leaks - 1, whole / total - 1, cooler - warm))
        if ratios:
            share, leak, total, kelvin = np.mean(ratios, axis=0)
            changes = f"{100 * leak:+.0f} %", f"{100 * total:+.1f} %", f"{kelvin:+.2f} K"
            loops.append((f"{rise:g} K", f"{100 * share:.0f} %", *changes))
    header = ("peak rise, speed", "leakage's share", "leakage", "all energy", "mean temperature")
    lines += ["the loop with leakage closed, cool to speed, means", "", table(header, loops)]
    write("\n".join(lines), out, "thermal")
    with figure(out / "thermal.png", width=9.0) as axes:
        peaks = {
            kind: [r["by"][kind]["peak"] / r["by"]["speed"]["peak"] for r in results.values()]
            for kind in ("speed", "random", "best random", "cool")
        }
        colours = COLOURS[2], COLOURS[3], COLOURS[1], COLOURS[0]
        bars(axes, list(results), peaks, "peak rise, arrangement for speed = 1", colours)


if __name__ == "__main__":
    main()
