"""Schedules: are guaranteed throughputs true and tight, and are the bindings behind them good?

    python experiments/schedule.py

Random graphs and random bindings, drawn by a seed, are executed event by event; the suite of ten
workloads, slices in order, is bound to meshes of 4 to 24 tiles of 128 neurons: by the search, by
load alone (longest first), and at random (mean of 20). What is measured is kept.
"""

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from mapping import kept, smallest
from study import COLOURS, bars, figure, write

from bss2jax.chip.presets import system, tiles
from bss2jax.mapping import binding, suite
from bss2jax.mapping.bound import Application, Bound, Tiles, tiles_of
from bss2jax.mapping.buffers import least_room
from bss2jax.mapping.dataflow import Dataflow, critical, periodic, stuck
from bss2jax.mapping.guarantee import application_of
from bss2jax.mapping.search import search
from bss2jax.mapping.selftimed import execute
from bss2jax.text import table


def random_graph(rng, most=12):
    """A strongly connected graph that does not stop, with whole times."""
    n = int(rng.integers(2, most))
    ring, extra = rng.permutation(n), int(rng.integers(0, 2 * n))
    source = np.r_[ring, rng.integers(0, n, extra)]
    target = np.r_[np.roll(ring, -1), rng.integers(0, n, extra)]
    rank, tokens = rng.permutation(n), rng.integers(0, 3, len(source))
    tokens[(rank[source] >= rank[target]) & (tokens == 0)] = 1
    times = rng.integers(1, 50, n).astype(float)
    return Dataflow(tuple(map(str, range(n))), times, source, target, tokens)


def recurrent_period(graph):
    """The period of a self-timed execution, firing by firing until its state is one seen before."""
    n, back = len(graph.names), int(graph.tokens.max())
    into = [np.flatnonzero(graph.target == i) for i in range(n)]
    arrivals = list(zip(graph.source.tolist(), graph.tokens.tolist(), graph.weights.tolist()))
    order, history, seen = binding.order_of(graph).tolist(), [], {}
    for k in itertools.count():
        now = [0.0] * n
        history.append(now)
        for i in order:
            for source, tokens, took in (arrivals[e] for e in into[i]):
                if k >= tokens:
                    now[i] = max(now[i], history[k - tokens][source] + took)
        if k >= back:
            state = tuple(x - now[0] for row in history[k - back :] for x in row)
            if state in seen:
                before, begun = seen[state]
                return (now[0] - begun) / (k - before)
            seen[state] = k, now[0]


def random_bound(rng, *, shared=False, most=10):
    """An application on up to four tiles with orders, buffers and links; whole times."""
    n, k = int(rng.integers(3, most)), int(rng.integers(1, 5))
    source, target = rng.integers(0, n, (2, int(rng.integers(n - 1, 2 * n))))
    source, target = source[source != target], target[source != target]
    m = len(source)
    tokens = np.where(source < target, rng.integers(0, 2, m), rng.integers(1, 3, m))
    times = rng.integers(4, 50, n).astype(float)
    graph = Dataflow(tuple(map(str, range(n))), times, source, target, tokens)
    sizes, sends = rng.integers(1, 30, m).astype(float), rng.integers(1, 30, n).astype(float)
    links = tiles_of(system("mesh(2,2)"), k)
    latency = rng.integers(0, 9, (k, k)) * (1.0 - np.eye(k))
    on = Tiles(
        latency, links.routes, np.ones(len(links.rates)), wheel=8.0,
        slice=float(rng.integers(2, 8)) if shared else 8.0,
    )  # fmt: skip
    tile, order = rng.integers(0, k, n), binding.order_of(graph)
    orders = tuple(tuple(order[tile[order] == i].tolist()) for i in range(k))
    room = tokens + rng.integers(1, 4, m)
    return binding.tightened(Bound(Application(graph, sizes, sends), on, tile, orders, room))


def lateness(bound, execution):
    """By how much a firing ended after the schedule that guarantees the period, at most."""
    graph, n, period = bound.graph, len(bound.tile), bound.cycle.period
    # The first slice may have just ended.
    ends = (periodic(graph, period) + graph.times)[:n] + bound.tiles.wait
    return float((execution.ends - ends - period * np.arange(len(execution.ends))[:, None]).max())


def checked(count, *, shared, seed=0):
    """Violations of the guarantee with random times, and shares that the longest times reach."""
    rng, late, reached = np.random.default_rng([seed, shared]), 0, []
    for _ in range(count):
        bound = random_bound(rng, shared=shared)
        phases = rng.uniform(0, 8, bound.tiles.count)
        least = rng.uniform(0.2, 1.0)

        def drawn(_, longest, least=least):
            return longest * rng.uniform(least, 1, len(longest))

        period = bound.cycle.period
        late += lateness(bound, execute(bound, 12, drawn, phases)) > 1e-9 * period
        reached.append(execute(bound, 40).period / period)
    figures = {"late": int(late), "least": min(reached), "mean": float(np.mean(reached))}
    return {"graphs": count} | figures


def least_by_trying(bound, period):
    """The least room by trying all, of few channels."""
    least = np.maximum(bound.application.graph.tokens, 1)
    for more in itertools.count():
        for where in itertools.combinations_with_replacement(range(len(least)), more):
            room = least + np.bincount(np.array(where, int), minlength=len(least))
            tried = replace(bound, room=room)
            if stuck(tried.graph) is None and tried.cycle.period <= period * (1 + 1e-9):
                return int(room.sum())


def compared_rooms(count, seed=0):
    """How often the least room is that of trying all, up to six actors."""
    rng, same, tried = np.random.default_rng(seed), 0, 0
    while tried < count:
        bound = random_bound(rng, most=7)
        if 1 <= bound.application.graph.channels <= 6:
            enough = replace(bound, room=bound.room + 20).cycle.period
            period = enough * rng.choice([1.0, 1.2, 1.5])
            same += int(least_room(bound, period).sum()) == least_by_trying(bound, period)
            tried += 1
    return {"graphs": count, "same": same}


def compared_periods(count, seed=0):
    """The largest difference between the critical cycle and an execution, relative."""
    rng = np.random.default_rng(seed)
    graphs = [random_graph(rng) for _ in range(count)]
    off = [abs(critical(g).period / recurrent_period(g) - 1) for g in graphs]
    return {"graphs": count, "largest": max(off)}


GRIDS = {4: (2, 2), 9: (3, 3), 16: (4, 4), 24: (4, 6)}


def bound_suite(name):
    """Guaranteed periods of a workload on meshes, and the time to bind it and to bind it again."""
    load, found = suite.workload(name), {}
    application = application_of(search(load, smallest(load), method="pacman"))
    actors = len(application.graph.names)
    for count, grid in GRIDS.items():
        if count > actors:
            continue
        on = tiles_of(tiles(*grid))

        def period(tile, on=on):
            return binding.bind(application, on, tile).cycle.period

        def by_chance(seed, on=on):
            return binding.at_random(application, on, seed)

        begin = time.process_time()
        ours = binding.search(application, on)
        took = time.process_time() - begin
        # The last tile is lost: what was there goes to others.
        fewer, tile = tiles_of(tiles(*grid), count - 1), ours.tile.copy()
        tile[tile == count - 1] = 0
        begin = time.process_time()
        binding.search(application, fewer, tile)
        again = time.process_time() - begin
        found[str(count)] = {
            "ours": ours.cycle.period, "simulated": execute(ours, 60).period,
            "load": period(binding.balanced(application, on)),
            "random": float(np.mean([period(by_chance(s)) for s in range(20)])),
            "seconds": took, "again": again,
        }  # fmt: skip
    return {"actors": actors, "channels": application.graph.channels, "by": found}


def main(arguments=None):
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--only", nargs="+", choices=suite.SUITE, default=list(suite.SUITE))
    made.add_argument("--graphs", type=int, default=1000)
    made.add_argument("--out", type=Path, default=Path("runs/schedule"))
    parsed = made.parse_args(arguments)
    out, count = parsed.out, parsed.graphs
    out.mkdir(parents=True, exist_ok=True)
    periods = kept(out, "periods", lambda: compared_periods(count))
    rooms = kept(out, "rooms", lambda: compared_rooms(count // 5))
    lines = [
        f"{periods['graphs']} random graphs: critical cycle and executed period differ by "
        f"{periods['largest']:.1e} at most",
        f"{rooms['graphs']} random bindings of up to 6 actors: least room as by trying all in "
        f"{rooms['same']}",
    ]
    for shared, what in ((False, "orders, buffers, links"), (True, "the same and TDMA")):
        one = kept(
            out, f"checked{int(shared)}", lambda shared=shared: checked(count, shared=shared)
        )
        lines.append(
            f"{one['graphs']} random bindings, {what}: {one['late']} executions later than "
            f"guaranteed; with the longest times the bound is reached to {one['least']:.4f}, "
            f"{one['mean']:.4f} on the mean"
        )
    results = {name: kept(out, name, lambda name=name: bound_suite(name)) for name in parsed.only}
    rows, by = [], {"random": [], "load": []}
    for name, result in results.items():
        for tiles_, one in result["by"].items():
            for other, ratios in by.items():
                ratios.append(one[other] / one["ours"])
            periods_ = (f"{one[what]:.3f}" for what in ("ours", "load", "random"))
            reached = f"{one['simulated'] / one['ours']:.3f}"
            took = (f"{one[what]:.2f} s" for what in ("seconds", "again"))
            rows.append((name, str(result["actors"]), tiles_, *periods_, reached, *took))
    means = {other: float(np.exp(np.mean(np.log(ratios)))) for other, ratios in by.items()}
    header = (
        "workload", "actors", "tiles", "ours, s", "load, s", "random, s", "reached", "CPU", "again",
    )  # fmt: skip
    lines += [
        "", "guaranteed period of a sample of 1 s of spikes", "", table(header, rows), "",
        f"throughput of ours, geometric mean: {means['random']:.2f} times that of random bindings, "
        f"{means['load']:.2f} times that of load alone",
    ]  # fmt: skip
    write("\n".join(lines), out, "schedule")
    with figure(out / "schedule.png", width=9.0) as axes:
        ratios = {"random binding": by["random"], "load alone": by["load"]}
        names = [f"{r[0]}, {r[2]}" for r in rows]
        bars(axes, names, ratios, "throughput of ours, times that of", COLOURS[1::-1])


if __name__ == "__main__":
    main()
