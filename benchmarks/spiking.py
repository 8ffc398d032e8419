"""A training step of spiking networks against the way most libraries write it.

    python benchmarks/spiking.py [--batches 60 100 160] [--repeats 15]

784-256-10, T = 100, 2 % of the input entries spike; and 700-256-20 with recurrence, batch 64. The
yardstick is a plain `lax.scan` over `lif_step` and `li_step` with the products inside and JAX's own
differentiation; beside it populations from the same dense raster, and from the same spikes given as
sorted events. All have the same weights; repeats are interleaved and the ratio is the median of
those of each round. Our step scans over tiles of samples and adds their gradients up: a block of
temporaries above 32 MiB is new pages in each call on glibc, and half of the time goes there. So
minor faults stand beside the times. The project's limits: .30 with events and 1.0 without;
recurrent with events .58.
"""

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import bss2jax
from bss2jax import LI, LIF

TEMPORARIES = 12 * 2**20  # bytes that a tile may take


def plain(params: dict, raster: jax.Array, steps: int) -> jax.Array:
    """The network step by step, as one would write it first."""
    hidden, readout, recurrent = params["hidden"], params["readout"], params.get("recurrent")
    batch = raster.shape[1]

    def step(state: Any, x: jax.Array) -> Any:
        lif, z, li = state
        drive = x @ hidden if recurrent is None else x @ hidden + z @ recurrent
        lif, z = bss2jax.lif_step(bss2jax.LIFParams(), lif, drive)
        li, v = bss2jax.li_step(bss2jax.LIParams(), li, z @ readout)
        return (lif, None if recurrent is None else z, li), v

    rest = (
        bss2jax.lif_state(bss2jax.LIFParams(), (batch, hidden.shape[1])),
        None if recurrent is None else jnp.zeros((batch, hidden.shape[1])),
        bss2jax.li_state(bss2jax.LIParams(), (batch, readout.shape[1])),
    )
    return lax.scan(step, rest, raster)[1]


def populations(params: dict, spikes: Any, steps: int) -> jax.Array:
    """The same network as two populations, from a raster or from events."""
    hidden = bss2jax.population(
        spikes, params["hidden"], LIF(), recurrent=params.get("recurrent"), steps=steps
    )
    return bss2jax.population(hidden.spikes, params["readout"], LI()).membrane


def training_step(network: Callable, optimizer: optax.GradientTransformation) -> Callable:
    """One step over tiles: loss of the largest membranes, gradient, Adam."""

    def loss(params: dict, spikes: Any, labels: jax.Array) -> jax.Array:
        scores = 3.0 * bss2jax.max_over_time(network(params, spikes))
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).sum()

    @jax.jit
    def step(params: dict, state: Any, spikes: Any, labels: jax.Array) -> Any:
        def tile(total: Any, cut: Any) -> Any:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(loss)(params, *cut)), None

        tiles = len(jax.tree.leaves(labels)[0])
        if tiles == 1:
            value, gradient = jax.value_and_grad(loss)(
                params, *jax.tree.map(lambda a: a[0], (spikes, labels))
            )
        else:
            zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
            (value, gradient), _ = lax.scan(tile, zero, (spikes, labels))
        value, gradient = jax.tree.map(lambda g: g / labels.size, (value, gradient))
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value, gradient

    return step


def tiles_of(batch: int, steps: int, neurons: int) -> int:
    """The fewest equal tiles of a batch whose temporaries, four rasters, are small enough."""
    each = 4 * 4 * steps * neurons
    fits = (n for n in range(1, batch + 1) if batch % n == 0 and batch // n * each <= TEMPORARIES)
    return next(fits, batch)


def cases(shape: dict, batch: int, args: argparse.Namespace) -> dict:
    """The compiled steps of one network and batch, by name: a call and its temporaries."""
    rng, steps, inputs = np.random.default_rng(0), args.steps, shape["inputs"]
    raster = jnp.asarray(rng.random((steps, batch, inputs)) < args.density, jnp.float32)
    labels = jnp.asarray(rng.integers(0, shape["outputs"], batch))
    params = {
        "hidden": jnp.asarray(rng.normal(0, 0.2, (inputs, 256)), jnp.float32),
        "readout": jnp.asarray(rng.normal(0, 0.2, (256, shape["outputs"])), jnp.float32),
    }
    if shape["recurrent"]:
        params["recurrent"] = jnp.asarray(rng.normal(0, 0.05, (256, 256)), jnp.float32)
    tiles = tiles_of(batch, steps, 256)
    cut = jnp.stack(jnp.split(raster, tiles, axis=1))
    most = int(raster.sum(axis=(0, 2)).max())
    events = [bss2jax.sort_events(bss2jax.to_events(r, most), steps, inputs) for r in cut]
    given = {
        "plain scan, autodiff": (plain, raster[None], labels[None]),
        "populations, dense": (populations, cut, labels.reshape(tiles, -1)),
        "populations, events": (
            populations, jax.tree.map(lambda *a: jnp.stack(a), *events), labels.reshape(tiles, -1),
        ),
    }  # fmt: skip
    optimizer, compiled = optax.adam(1e-3), {}
    state = optimizer.init(params)
    for name, (network, spikes, labels) in given.items():
        step = training_step(partial(network, steps=steps), optimizer)
        step = step.lower(params, state, spikes, labels).compile()
        memory = step.memory_analysis().temp_size_in_bytes / 2**20
        compiled[name] = partial(step, params, state, spikes, labels), memory, len(labels)
    return compiled


def measured(call: Callable) -> tuple[float, int]:
    """Milliseconds and minor faults of a call."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start = time.perf_counter()
    jax.block_until_ready(call())
    elapsed = 1e3 * (time.perf_counter() - start)
    return elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


def report(title: str, compiled: dict, repeats: int) -> None:
    """Measures the steps of one network, interleaved, and prints a line for each."""
    gradients = {name: call()[3] for name, (call, *_) in compiled.items()}
    rounds = np.array(
        [[measured(call) for call, *_ in compiled.values()] for _ in range(repeats + 2)][2:]
    )
    reference = jax.tree.leaves(gradients["plain scan, autodiff"])
    print(title)
    for i, (name, (_, memory, tiles)) in enumerate(compiled.items()):
        times, faults = rounds[:, i, 0], rounds[:, i, 1]
        ours = jax.tree.leaves(gradients[name])
        difference = max(
            float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
            for a, b in zip(ours, reference, strict=True)
        )
        print(
            f"  {name:22s} best {times.min():6.1f}  median {np.median(times):6.1f} ms  of plain "
            f"{np.median(times / rounds[:, 0, 0]):4.2f}  faults {np.median(faults):6.0f}  "
            f"tiles {tiles}  temporaries {memory:5.1f} MiB  gradient differs {difference:.0e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="T")
    parser.add_argument("--batches", type=int, nargs="*", default=[60, 100, 160])
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{jax.default_backend()}, jax {jax.__version__}; T {args.steps}, input {args.density:.0%}"
    )
    feedforward = {"inputs": 784, "outputs": 10, "recurrent": False}
    for batch in args.batches:
        report(f"784-256-10, batch {batch}", cases(feedforward, batch, args), args.repeats)
    recurrent = {"inputs": 700, "outputs": 20, "recurrent": True}
    report("700-256-20 recurrent, batch 64", cases(recurrent, 64, args), args.repeats)


if __name__ == "__main__":
    main()
