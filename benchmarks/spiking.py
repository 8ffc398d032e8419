"""A training step of spiking networks against a dense scan whose gradient is written by hand.

    python benchmarks/spiking.py [--only "T 32" recurrent] [--repeats 15]

784-256-10 with 2 % of the input entries spiking, at T = 100 and at T = 32, with 1,024 and 4,096
hidden neurons, and 700-256-20 with recurrence. The yardstick is `by_hand` of `benchmarks/peers`, of
the whole batch; beside it populations from the same dense raster, from events sorted before, and
from events sorted within the step; and the network on a chip, in as many partitions as it takes,
with mismatch and noise, events sorted within the step. All have the same weights; repeats are
interleaved, and the ratio is that of the best times, beside the median of those of each round.

Our step scans over tiles of samples and adds their gradients up: a block of temporaries above
32 MiB is new pages in each call on glibc, and half of the time goes there. So minor faults stand
beside the times.

2026-11-26, 2 quiet cores of an AMD EPYC, jax 0.10.1, `--repeats 10`, of the yardstick: T 100 dense
.80, events .16, sorted within the step .25, on the chip .36 of dense; T 32 .85, .18, .28; recurrent
dense .97, events .60; events with 1,024 hidden neurons .19, with 4,096 .24. Later on that day, with
weights transposed once: T 100 .81, .16, .24, on the chip .34; T 32 .90, .20, .32; recurrent dense
.95, events .55, sorted within the step .61; 1,024 .16, 4,096 .19. Of 40 ms of one core with events
16 are the products of each step, 32 rows of 256 by 256 at 105 GFLOP/s, which XLA gives to one core:
from 128 rows on to two. The yardstick's large products use both: so on quiet cores the ratio is
higher.
"""

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import bss2jax
from bss2jax import LI, LIF, Codes
from bss2jax.training import tiles

sys.path.append(str(Path(__file__).parent / "peers"))
from ours import by_hand, populations

HAND, DENSE, SORTED, SORTING, CHIP = (
    "by hand", "dense", "events", "events, sorting", "chip, sorting",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network and its batch; most of the yardstick's time that each way may take."""

    name: str
    limits: dict[str, float]
    steps: int = 100
    batch: int = 100
    inputs: int = 784
    hidden: int = 256
    outputs: int = 10
    recurrent: bool = False


CASES = (
    Case("784-256-10, T 100, batch 100", {DENSE: 0.95, SORTED: 0.27, SORTING: 0.38, CHIP: 1.5}),
    Case("784-256-10, T 32, batch 256", {DENSE: 0.95, SORTED: 0.22, SORTING: 0.33}, 32, 256),
    Case(
        "700-256-20, recurrent, T 100, batch 64", {DENSE: 1.0, SORTED: 0.56},
        batch=64, inputs=700, outputs=20, recurrent=True,
    ),
    Case("784-1024-10, T 100, batch 100", {SORTED: 0.60}, hidden=1024),
    Case("784-4096-10, T 100, batch 100", {SORTED: 0.60}, hidden=4096),
)  # fmt: skip


def on_chip(chip: Any, key: jax.Array, params: dict, sent: Any, steps: int) -> tuple:
    """The network on a chip: membranes of the readout, and spikes."""
    hidden, readout = params["hidden"], params["readout"]
    first = bss2jax.on_chip(chip, *hidden.shape)
    second = bss2jax.on_chip(chip, *readout.shape)
    noise = jax.random.split(key)
    z = bss2jax.population(sent, hidden, LIF(), first, noise[0], codes=Codes(), steps=steps).spikes
    return bss2jax.population(z, readout, LI(), second, noise[1], codes=Codes()).membrane, z


def step_of(network: Callable, sort: Callable, optimizer: Any) -> Callable:
    """A step over tiles `[tiles, ...]`: loss of the largest membranes, gradient, Adam."""

    def loss(params: dict, sent: Any, labels: jax.Array) -> jax.Array:
        scores = 3.0 * network(params, sort(sent))[0].max(0)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).sum()

    def step(params: dict, state: Any, sent: Any, labels: jax.Array) -> Any:
        def add(total: Any, tile: Any) -> Any:
            return jax.tree.map(jnp.add, total, jax.grad(loss)(params, *tile)), None

        if len(labels) == 1:
            slope = jax.grad(loss)(params, *jax.tree.map(lambda a: a[0], (sent, labels)))
        else:
            slope = lax.scan(add, jax.tree.map(jnp.zeros_like, params), (sent, labels))[0]
        slope = jax.tree.map(lambda g: g / labels.size, slope)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state, slope

    return step


@dataclass(frozen=True)
class Step:
    """A compiled step: a call, temporaries in bytes, tiles, and seconds to compile it."""

    call: Callable
    temporaries: int
    tiles: int
    seconds: float


def compiled(case: Case, density: float) -> dict[str, Step]:
    """The steps of a case, by name."""
    rng = np.random.default_rng(0)
    shape = case.steps, case.batch, case.inputs
    raster = jnp.asarray(rng.random(shape) < density, jnp.float32)
    labels = jnp.asarray(rng.integers(0, case.outputs, case.batch))
    draw = lambda std, *shape: jnp.asarray(rng.normal(0, std, shape), jnp.float32)  # noqa: E731
    params = {
        "hidden": draw(0.2, case.inputs, case.hidden),
        "readout": draw(0.2, case.hidden, case.outputs),
    }
    if case.recurrent:
        params["recurrent"] = draw(0.05, case.hidden, case.hidden)
    events = bss2jax.to_events(raster, int(raster.sum(axis=(0, 2)).max()))
    sort = partial(bss2jax.sort_events, steps=case.steps, inputs=case.inputs)

    def cut(a: jax.Array, number: int, axis: int = 0) -> jax.Array:
        return jnp.stack(jnp.split(a, number, axis=axis))

    rasters = partial(cut, raster, axis=1)
    unsorted = lambda n: jax.tree.map(lambda a: cut(a, n), events)  # noqa: E731
    ours = partial(populations, steps=case.steps)
    chip = bss2jax.sample_chip(jax.random.key(1))
    on = partial(on_chip, chip, jax.random.key(2), steps=case.steps)
    as_it_is = lambda sent: sent  # noqa: E731
    ways = {
        HAND: (by_hand, as_it_is, rasters),
        DENSE: (ours, as_it_is, rasters),
        SORTED: (ours, as_it_is, lambda n: jax.lax.map(sort, unsorted(n))),
        SORTING: (ours, sort, unsorted),
        CHIP: (on, sort, unsorted),
    }
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)
    steps = {}
    for name, (network, prepare, sent) in ways.items():
        if name == CHIP and CHIP not in case.limits:
            continue
        step = jax.jit(step_of(network, prepare, optimizer))
        for number in (n for n in range(1, case.batch + 1) if case.batch % n == 0):
            begun, given = time.perf_counter(), (params, state, sent(number), cut(labels, number))
            found = step.lower(*given).compile()
            seconds = time.perf_counter() - begun
            temporaries = found.memory_analysis().temp_size_in_bytes
            if name == HAND or temporaries <= tiles.BOUND:
                break
        steps[name] = Step(partial(found, *given), temporaries, number, seconds)
    return steps


def measured(call: Callable) -> tuple[float, int]:
    """Milliseconds and minor faults of a call."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start = time.perf_counter()
    jax.block_until_ready(call())
    elapsed = 1e3 * (time.perf_counter() - start)
    return elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


def report(case: Case, density: float, repeats: int) -> None:
    """Measures the steps of a case, interleaved, and prints a line for each."""
    steps = compiled(case, density)
    slopes = {name: jax.tree.leaves(step.call()[2]) for name, step in steps.items()}
    rounds = np.array([[measured(s.call) for s in steps.values()] for _ in range(repeats + 2)][2:])
    print(case.name)
    for i, (name, step) in enumerate(steps.items()):
        ms, faults = rounds[:, i, 0], rounds[:, i, 1]
        # On a chip the limit is of what the same network takes as plain simulation.
        unit = rounds[:, 1 if name == CHIP else 0, 0]
        pairs = zip(slopes[name], slopes[HAND], strict=True)
        differs = max(float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in pairs)
        same = "" if name == CHIP else f"  gradient differs {differs:.0e}"
        limit = f"at most {case.limits[name]:.2f}" if name in case.limits else ""
        print(
            f"  {name:15s} best {ms.min():6.1f}  median {np.median(ms):6.1f} ms  of "
            f"{'dense  ' if name == CHIP else 'by hand'} {ms.min() / unit.min():4.2f} (median "
            f"{np.median(ms / unit):4.2f}) {limit:12s}  faults {np.median(faults):6.0f}  "
            f"tiles {step.tiles:2d}  temporaries {step.temporaries / 2**20:5.1f} MiB  "
            f"compiled in {step.seconds:3.1f} s{same}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the networks' names")
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{jax.default_backend()}, jax {jax.__version__}; input {args.density:.0%}"
    )
    for case in CASES:
        if any(part in case.name for part in args.only):
            report(case, args.density, args.repeats)


if __name__ == "__main__":
    main()
