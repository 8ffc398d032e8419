"""What the chip costs over a bare matrix product: ratios to `jnp.dot` of the same shape.

    python benchmarks/vmm.py [--batch 512 --inputs 1024 --outputs 1024 --repeats 20]

Pieces are taken away one by one: what is left in the end, bare products of 128 rows that are added
up, is the floor, as a chip's readouts are of no more rows, and each has its own noise. The gradient
is two whole products, with no piece of a chip in it.

2026-11-26, 2 quiet cores of an AMD EPYC, jax 0.10.1, Python 3.11.7, best over best of 60, as
ratios (limits of the project): forward with noise and fixed pattern 1.12 (1.6; the pattern adds
6 %: 10 %), forward and backward .99 (1.15), prepared weights of 1024 x 1024 at batch 64 1.77 (2.0).
Busy, twice at a load of 15 to 20, where times of single runs say little, of the processor's time,
forward and backward: bare blocks with a whole gradient .95 and .86, rounding and readouts .03 and
.04 more, noise .09 and .10, fixed pattern .02 and .00. The pieces are steady, the unit is not:
`jnp.dot`, which waits for its second thread, takes more of it the busier the machine.
Prepared weights, 4096 x 4096 at batch 64, 2026-11-21: 0.40, 0.50, 0.49 (2.0).
"""

import argparse
import os
import platform
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

import bss2jax
from bss2jax import BSS2
from bss2jax.kernels import noise

SENDS = 1
UNPATTERNED = "noise, no fixed pattern"
# What cannot be taken away: partial sums of 128 rows each, and a normal number for each of them.
BLOCKS, NOISE = "bare blocks of 128 rows", "the noise alone"
WHOLE = "bare blocks, gradient whole"  # ours is: two products that know of no blocks
product = partial(bss2jax.matmul, num_sends=SENDS)


def main():
    parser = argparse.ArgumentParser(description="Ratios of the analog product to a bare jnp.dot.")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--inputs", type=int, default=1024)
    parser.add_argument("--outputs", type=int, default=1024)
    parser.add_argument("--prepared-size", type=int, default=4096, help="N = K, weights prepared")
    parser.add_argument("--prepared-batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()

    console = Console(width=100, highlight=False)
    console.print(describe_machine())
    x, w, key = draw(args.batch, args.inputs, args.outputs)
    noisy = bss2jax.ideal_chip(noise_std=2)
    drawn = bss2jax.sample_chip(jax.random.key(1))
    forward = {
        "jnp.dot": (jnp.dot, (x, w)),
        BLOCKS: (in_blocks, (x, w)),
        NOISE: (noise_alone, (x, w, key)),
        "no chip, no noise": (product, (x, w, None)),
        # A chip of ones still pays for the pattern; synapses programmed without a chip do not.
        UNPATTERNED: (unpatterned_product, (x, w, noisy, key)),
        "noise, perfect chip": (product, (x, w, noisy, key)),
        "noise, fixed pattern": (product, (x, w, drawn, key)),
        "batched einsum, jax.random.normal": (straw_man, (x, w, key)),
    }
    limits = {"no chip, no noise": 1.6, "noise, perfect chip": 1.6, "noise, fixed pattern": 1.6}
    title = f"forward, batch {args.batch}, {args.inputs} x {args.outputs}"
    ratios = report(console, title, forward, limits, args.repeats)
    added = ratios["noise, fixed pattern"] / ratios[UNPATTERNED] - 1
    console.print(f"fixed pattern adds {added:.1%} to noise alone (limit 10 %)\n")

    for name in (UNPATTERNED, NOISE):  # programmed synapses and noise have no gradient
        del forward[name]
    whole = {"jnp.dot": (jnp.dot, (x, w)), WHOLE: (in_blocks_but_backward, (x, w))}
    training = {name: (gradients(f), inputs) for name, (f, inputs) in (whole | forward).items()}
    report(
        console, title.replace("forward", "forward + backward"), training,
        {name: 1.15 for name in limits}, args.repeats,
    )  # fmt: skip

    n = args.prepared_size
    x, w, key = draw(args.prepared_batch, n, n)
    prepared = {
        "jnp.dot": (jnp.dot, (x, w)),
        "prepared, no noise": (product, (x, bss2jax.program(w, None), None)),
        "prepared, noise": (product, (x, bss2jax.program(w, noisy), noisy, key)),
        "prepared, noise, fixed pattern": (product, (x, bss2jax.program(w, drawn), drawn, key)),
        "not prepared, noise, fixed pattern": (product, (x, w, drawn, key)),
    }
    report(
        console, f"forward, batch {args.prepared_batch}, {n} x {n}", prepared,
        {name: 2.0 for name in prepared if name.startswith("prepared")}, args.repeats,
    )  # fmt: skip


def draw(batch, inputs, outputs):
    kx, kw, key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.randint(kx, (batch, inputs), 0, BSS2.activation_max + 1).astype(jnp.float32)
    w = jnp.clip(15 * jax.random.normal(kw, (inputs, outputs)), -BSS2.weight_max, BSS2.weight_max)
    return x, w, key


def in_blocks(x, w):
    """Products of 128 rows each, added up: what a chip's sums need of a processor."""
    blocks = len(w) // BSS2.rows
    parts = x.reshape(len(x), blocks, BSS2.rows).swapaxes(0, 1), w.reshape(blocks, BSS2.rows, -1)
    nothing = jnp.zeros((len(x), w.shape[1]))
    return lax.scan(lambda y, part: (y + part[0] @ part[1], None), nothing, parts)[0]


@jax.custom_vjp
def in_blocks_but_backward(x, w):
    return in_blocks(x, w)


in_blocks_but_backward.defvjp(
    lambda x, w: (in_blocks(x, w), (x, w)), lambda given, dy: (dy @ given[1].T, given[0].T @ dy)
)


def noise_alone(x, w, key):
    """As many normal numbers as the product's readouts take, added up."""
    sample, column = (jnp.arange(n, dtype=jnp.uint32) for n in (len(x), w.shape[1]))

    def add(y, pair):
        even, odd = noise.normal_pair(noise.stream(key, pair), sample[:, None], column[None])
        return y + even + odd, None

    pairs = jnp.arange(len(w) // BSS2.rows // 2)
    return lax.scan(add, jnp.zeros((len(x), w.shape[1])), pairs)[0]


def unpatterned_product(x, w, chip, key):
    return product(x, bss2jax.program(w, None), chip, key)


def straw_man(x, w, key):
    """The straightforward program: all blocks in one batched product, JAX's own normal noise."""
    blocks = -(-x.shape[1] // BSS2.rows)
    padding = blocks * BSS2.rows - x.shape[1]
    x = jnp.pad(straight_through(jnp.round, x), ((0, 0), (0, padding)))
    w = jnp.pad(straight_through(jnp.round, w), ((0, padding), (0, 0)))
    products = jnp.einsum(
        "bcr,crn->cbn",
        x.reshape(-1, blocks, BSS2.rows),
        w.reshape(blocks, BSS2.rows, -1),
    )
    noise = 2 * jax.random.normal(key, products.shape)
    read = straight_through(
        lambda p: jnp.clip(jnp.floor(p), BSS2.readout_min, BSS2.readout_max),
        products * np.float32(SENDS * BSS2.gain) + noise,
    )
    return jnp.clip(read.sum(0), BSS2.readout_min, BSS2.readout_max)


def straight_through(function, x):
    return x + lax.stop_gradient(function(x) - x)


def gradients(function):
    """Forward and backward, with the output as its own cotangent: three products for `jnp.dot`."""

    def run(x, w, *rest):
        y, pullback = jax.vjp(lambda x, w: function(x, w, *rest), x, w)
        return y, pullback(y)

    return run


def report(console, title, cases, limits, repeats):
    """Times the cases, the first of them as the unit, and prints a table; returns the ratios."""
    compiled, compile_seconds = {}, {}
    for name, (function, inputs) in cases.items():
        start = time.perf_counter()
        # A function of its own, so that no case finds another's program in the cache.
        fresh = jax.jit(lambda *inputs, function=function: function(*inputs))
        compiled[name] = fresh.lower(*inputs).compile()
        compile_seconds[name] = time.perf_counter() - start
    seconds, processor = ({name: [] for name in cases} for _ in range(2))
    for repeat in range(-2, repeats):  # two to warm up
        for name, (_, inputs) in cases.items():
            start, start_processor = time.perf_counter(), time.process_time()
            jax.block_until_ready(compiled[name](*inputs))
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - start_processor)
    best = {name: min(s) for name, s in seconds.items()}
    work = {name: float(np.median(s)) for name, s in processor.items()}
    unit_work = next(iter(work.values()))
    unit = next(iter(best.values()))
    ratios = {name: least / unit for name, least in best.items()}

    table = Table(title=title, title_justify="left")
    table.add_column("case")
    for heading in ("best ms", "ratio", "of processor", "limit", "compile s"):
        table.add_column(heading, justify="right")
    for name, ratio in ratios.items():
        limit = f"{limits[name]:.1f}" if name in limits else ""
        mark = " !" if name in limits and ratio > limits[name] else ""
        table.add_row(
            name, f"{1e3 * best[name]:.2f}", f"{ratio:.2f}{mark}",
            f"{work[name] / unit_work:.2f}", limit, f"{compile_seconds[name]:.2f}",
        )  # fmt: skip
    console.print(table)
    return ratios


def describe_machine():
    device = jax.devices()[0]
    return (
        f"{platform.machine()}, {cpu_name()}, {len(os.sched_getaffinity(0))} cores, "
        f"{device.platform} {device.device_kind}; jax {jax.__version__}, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def cpu_name():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


if __name__ == "__main__":
    main()
