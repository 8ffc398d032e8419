"""A training step of a spiking network against the way most libraries write it.

    python benchmarks/spiking.py

784-256-10, T = 100, batch 100, 2 % of the input entries spike. The yardstick is a plain `lax.scan`
over `lif_step` and `li_step` with the products inside and JAX's own differentiation; beside it our
sequence form from the same dense raster, and from the same spikes given as sorted events. All on
the same weights, medians of interleaved repeats. The project's limits: 1.4 times as fast without
events, 4 times with. Peak memory is XLA's count of the compiled step's temporaries.

2026-11-21, 2 shared cores of an AMD EPYC, jax 0.10.1, three runs: plain 65.0, 64.6, 68.8 ms; dense
0.99, 0.98, 0.97 times as fast; events 2.42, 2.26, 2.15 times. Neither limit is met: two thirds of
the dense step are the two large products, which both ways share.
"""

import argparse
import os
import platform
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import bss2jax
from bss2jax import LIFParams, LIParams, SuperSpike

LIF, LI, SURROGATE = LIFParams(), LIParams(), SuperSpike()


def plain(params, raster):
    """The network step by step, as one would write it first."""
    hidden, readout = params
    batch = raster.shape[1]

    def step(state, x):
        lif, li = state
        lif, z = bss2jax.lif_step(LIF, lif, x @ hidden, surrogate=SURROGATE)
        li, v = bss2jax.li_step(LI, li, z @ readout)
        return (lif, li), v

    rest = (
        bss2jax.lif_state(LIF, (batch, hidden.shape[1])),
        bss2jax.li_state(LI, (batch, readout.shape[1])),
    )
    return lax.scan(step, rest, raster)[1]


def ours(params, spikes, steps):
    """The same network in bss2jax's sequence form, from a raster or from events."""
    hidden, readout = params
    z = bss2jax.spiking(spikes, hidden, LIF, steps=steps, quantised=False, surrogate=SURROGATE)
    return bss2jax.integrate(z, readout, LI, quantised=False)


def training_step(network, optimizer):
    """One jitted step: loss of the largest membranes, gradient, Adam."""

    def loss(params, spikes, labels):
        scores = 3.0 * bss2jax.max_over_time(network(params, spikes))
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    @jax.jit
    def step(params, state, spikes, labels):
        value, gradient = jax.value_and_grad(loss)(params, spikes, labels)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value, gradient

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="T")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (args.steps, args.batch, 784)
    raster = jnp.asarray(rng.random(shape) < args.density, jnp.float32)
    most = int(raster.sum(axis=(0, 2)).max())
    events = bss2jax.sort_events(bss2jax.to_events(raster, most), args.steps, 784)
    labels = jnp.asarray(rng.integers(0, 10, args.batch))
    params = (
        jnp.asarray(rng.normal(0, 0.2, (784, 256)), jnp.float32),
        jnp.asarray(rng.normal(0, 0.2, (256, 10)), jnp.float32),
    )
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)
    whole = partial(ours, steps=args.steps)
    cases = {
        "plain scan, autodiff": (plain, raster, None),
        "bss2jax, dense input": (whole, raster, 1.4),
        "bss2jax, events": (whole, events, 4.0),
    }
    rows, gradients = {}, {}
    for name, (network, spikes, limit) in cases.items():
        start = time.perf_counter()
        step = training_step(network, optimizer).lower(params, state, spikes, labels).compile()
        compiled = time.perf_counter() - start
        memory = step.memory_analysis().temp_size_in_bytes / 2**20
        call = partial(step, params, state, spikes, labels)
        gradients[name] = jax.block_until_ready(call())[3]
        rows[name] = [call, limit, compiled, memory, []]
    for _ in range(args.repeats):
        for row in rows.values():
            start = time.perf_counter()
            jax.block_until_ready(row[0]())
            row[4].append(1e3 * (time.perf_counter() - start))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{jax.default_backend()}, jax {jax.__version__}; T {args.steps}, batch {args.batch}, "
        f"input {float(raster.mean()):.1%}"
    )
    reference = "plain scan, autodiff"
    slowest = np.median(rows[reference][4])
    for name, (_, limit, compiled, memory, times) in rows.items():
        difference = max(
            float(jnp.abs(a - b).max() / jnp.abs(b).max())
            for a, b in zip(gradients[name], gradients[reference], strict=True)
        )
        aim = "" if limit is None else f"  (limit {limit})"
        print(
            f"{name:22s} {np.median(times):7.2f} ms  speed {slowest / np.median(times):5.2f}{aim}  "
            f"compile {compiled:.1f} s  temporaries {memory:.0f} MiB  "
            f"gradient differs {difference:.0e}"
        )


if __name__ == "__main__":
    main()
