"""Weak and strong scaling over virtual devices of this machine, and what a thousand would take.

    python benchmarks/scaling.py [--devices 1 2 4 8] [--repeats 7] [--bandwidth 25e9 --latency 5e-6]

On CPUs the devices share the cores: one device has all of them already for a matrix product, so
that several gain where the rest, noise and neurons, runs on one core. Efficiency is the speed to
that of one device, for each core that could have come in. The processor's time beside it is of all
cores: as many times that of one device as is computed on each, or spent on waking each other. XLA
has as many threads as devices: JAX_NUM_CPU_DEVICES=2 compares two with one on two cores. On a
machine with several GPUs they are measured instead, where JAX_PLATFORMS does not say cpu.

Steps follow each other as in a training, whose host runs ahead of the devices.

The model of many devices is on paper: a step takes what it takes for its share of the samples on
one device, measured here at two batch sizes, and an all-reduce of the gradient: 2 (n - 1) / n of
its bytes through a link of `--bandwidth`, and 2 log2(n) times `--latency`. It assumes devices as
fast as the one measured, nothing hidden behind the computation, no stragglers, and links as given.
"""

import argparse
import math
import os
import time
from dataclasses import replace

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import BSS2, Mismatch, sample_chip
from bss2jax.cli.pages import keep_pages
from bss2jax.networks import LI, LIF, Activations, Dense, Latency, MaxOverTime, build
from bss2jax.training import (
    Objective,
    Phase,
    Samples,
    Task,
    accuracy_over_chips,
    dealing,
    evaluate,
    loop,
)
from bss2jax.training import step as steps
from bss2jax.training.devices import Devices, everywhere

KEY = jax.random.key(0)
AHEAD = 8  # steps between waits
INPUTS, CLASSES = 784, 10
WIDE = build([Dense(outputs=1024), Dense(outputs=CLASSES)], Activations((4096,), BSS2))
SPIKING = [Latency(steps=30), LIF(outputs=256), LI(outputs=CLASSES), MaxOverTime()]
TASKS = {
    "analog": Task(
        build([Dense(outputs=256), Dense(outputs=CLASSES)], Activations((INPUTS,), BSS2)), 31.0
    ),
    "wide": Task(WIDE, 31.0),
    "spiking": Task(build(SPIKING, (INPUTS,)), 31.0, objective=Objective(scale=3.0)),
}


def data(samples, inputs=INPUTS):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 32, (samples, inputs)).astype(np.float32)
    return Samples(jnp.asarray(x), jnp.asarray(rng.integers(0, CLASSES, samples, np.int32)))


def on(name, **axes):
    return replace(TASKS[name], mesh=Devices(**{"data": 1} | axes).mesh())


def step(task, batch):
    """A call that takes steps of a batch on the chip, noise on, and waits for the last one."""
    phase = Phase(on="chip", epochs=1, batch_size=batch, learning_rate=0.1)
    samples, chip = data(batch * AHEAD), sample_chip(KEY, Mismatch(), substrate=task.substrate)
    state = loop.begin(phase, task.initial(KEY), batch * AHEAD).state
    order = steps.epoch_order(KEY, 1, batch * AHEAD)
    begun = state, order, jnp.int32(0), chip, KEY
    state, order_there, first, chip, key = everywhere(task.mesh, begun)
    run = steps.compiled_step(task, phase, state, samples, chip, key)
    samples = dealing.of_epoch(task, phase, samples, order)
    kept = [state]

    def call():
        done = first
        for _ in range(AHEAD):
            kept[0], done = run.call(kept[0], samples, order_there, done, chip, key)
        jax.block_until_ready(kept[0])

    return call, AHEAD


def chips(task, number):
    """A call that measures so many chips with 500 samples."""
    drawn = jax.vmap(lambda key: sample_chip(key, Mismatch()))(jax.random.split(KEY, number))
    variables, samples = task.initial(KEY), data(500)
    return lambda: accuracy_over_chips(task, variables, samples, drawn, KEY, on="chip"), 1


def measured(task, samples):
    """A call that measures so many samples on a chip, in software that knows its pieces."""
    chip, variables = everywhere(task.mesh, (sample_chip(KEY, Mismatch()), task.initial(KEY)))
    given = data(samples, *task.network.input.size)
    return lambda: evaluate(task, variables, given, chip, KEY, on="chip"), 1


def seconds(calls, repeats):
    """The least time of each call, and processor's time, all in turn, so that load falls on all."""
    for call, _ in calls:
        call()
    found = [[] for _ in calls]
    for _ in range(repeats):
        for (call, parts), times in zip(calls, found):
            begin = time.perf_counter(), time.process_time()
            call()
            ends = time.perf_counter(), time.process_time()
            times.append([(end - start) / parts for start, end in zip(begin, ends)])
    return [[min(times) for times in zip(*each)] for each in found]


def table(title, numbers, calls, work, repeats):
    """Prints times of numbers of devices; work: that of each, relative to one device's."""
    times = seconds(calls, repeats)
    cores = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else len(jax.devices())
    for n, (each, processor), amount in zip(numbers, times, work):
        speed, more = amount * times[0][0] / each, processor / times[0][1] / amount
        print(
            f"{title:24} {n:3} {1e3 * each:9.1f} {speed:7.2f} {speed / min(n, cores):7.2f} "
            f"{1e3 * processor:9.1f} {more:7.2f}",
            flush=True,
        )


def paper(name, batch, bandwidth, latency, repeats):
    """Prints what a step of a batch would take on up to a thousand devices."""
    few = batch // 8
    found = seconds([step(on(name), few), step(on(name), batch)], repeats)
    (less, _), (more, _) = found
    each = (more - less) / (batch - few)
    fixed = max(0.0, less - few * each)
    each = (more - fixed) / batch
    params = TASKS[name].initial(KEY).params
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    print(f"{name}: {1e3 * fixed:.2f} ms a step, {1e6 * each:.1f} µs a sample, {size} bytes")
    for n in (1, 10, 100, 1000):
        reduce = 2 * (n - 1) / n * size / bandwidth + 2 * math.log2(n) * latency
        strong, weak = fixed + each * batch / n + reduce, more + reduce
        print(
            f"  {n:5} devices: {batch} samples in {1e3 * strong:.2f} ms "
            f"({(fixed + each * batch) / strong / n:.1%} of ideal), "
            f"{n * batch} in {1e3 * weak:.2f} ms ({more / weak:.1%})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--bandwidth", type=float, default=25e9, help="bytes/s of a link")
    parser.add_argument("--latency", type=float, default=5e-6, help="seconds of a message")
    args = parser.parse_args()
    keep_pages()  # as the command line does
    numbers, batch = [n for n in args.devices if n <= len(jax.devices())], args.batch
    same, growing = [1] * len(numbers), numbers
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}")
    print(f"{'spread':24} {'n':>3} {'ms':>9} {'speed':>7} {'a core':>7} {'cpu ms':>9} {'to 1':>7}")
    for name in ("analog", "spiking"):
        strong = [step(on(name, data=n), batch) for n in numbers]
        table(f"{name}, samples, strong", numbers, strong, same, args.repeats)
        weak = [step(on(name, data=n), n * batch // 8) for n in numbers]
        table(f"{name}, samples, weak", numbers, weak, growing, args.repeats)
    pieces = [step(on("spiking", pieces=n), batch) for n in numbers]
    table("spiking, pieces, strong", numbers, pieces, same, args.repeats)
    wide = [measured(on("wide", pieces=n), 128) for n in numbers]
    table("wide, pieces, strong", numbers, wide, same, args.repeats)
    many = [chips(on("analog", chips=n), 8) for n in numbers]
    table("analog, chips, strong", numbers, many, same, args.repeats)
    more = [chips(on("analog", chips=n), n) for n in numbers]
    table("analog, chips, weak", numbers, more, growing, args.repeats)
    for name in ("analog", "spiking"):
        paper(name, batch, args.bandwidth, args.latency, args.repeats)


if __name__ == "__main__":
    main()
