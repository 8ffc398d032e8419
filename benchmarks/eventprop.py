"""An EventProp step against a surrogate's, and against jaxsnn's EventProp.

    python benchmarks/eventprop.py [--repeats 21]

784-256-10, T = 100, batch 100, 2 % of the input entries spike, dense rasters, in tiles of 25
samples whose temporaries stay in the cache. Repeats are interleaved; ratios are medians of those of
each round. Where jaxsnn 0.3 is installed, its EventProp is timed in the same run on the network of
its own example, Yin-Yang 5-100-3, batch 64, up to 24 us (exact times of events, one spike a neuron
at most, with the settings of that example), beside ours in 96 steps of 0.25 us. Both give the
gradient of a loss of the first spikes' times of 3 neurons.
"""

import argparse
import importlib.util
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import bss2jax
from bss2jax import LI, LIF, EventProp, Surrogate

STEPS, BATCH, TILE, SIZES = 100, 100, 25, (784, 256, 10)


def stepped(rule, raster, labels):
    """A jitted step: loss of the largest membranes, gradient, over tiles."""

    def loss(params, x, y):
        z = bss2jax.population(x, params["hidden"], LIF(), gradient=rule).spikes
        v = bss2jax.population(z, params["readout"], LI()).membrane
        scores = 3.0 * bss2jax.max_over_time(v)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).sum()

    @jax.jit
    def step(params):
        def tile(total, cut):
            return jax.tree.map(jnp.add, total, jax.grad(loss)(params, *cut)), None

        zero = jax.tree.map(jnp.zeros_like, params)
        return lax.scan(tile, zero, (raster, labels))[0]

    return step


def yinyang() -> dict:
    """A gradient of jaxsnn and one of ours, 5-100-3, each with its parameters."""
    from jaxsnn.event.loss import first_spike, mse_loss
    from jaxsnn.event.modules import LIF as TheirLIF
    from jaxsnn.event.modules import Linear, Source
    from jaxsnn.event.modules.lif.lif import LIFParameters
    from jaxsnn.event.topology import Topology
    from jaxsnn.event.types import Spike

    key, tau, end, batch = jax.random.key(0), 6e-6, 24e-6, 64
    times = jnp.sort(jax.random.uniform(key, (batch, 5), maxval=2 * tau), axis=1)
    target = jnp.tile(jnp.array([0.8, 1.2, 1.2]) * tau, (batch, 1))
    given = LIFParameters(v_reset=-1000.0, v_th=1.0, tau_syn=tau, tau_mem=2 * tau)
    builder = Topology(t_max=end, backprop_method="eventprop")
    builder.add({
        "inp": Source(5), "lif1": TheirLIF(100, 125, given), "lif2": TheirLIF(3, 103, given),
        "syn1": Linear(mean=3.0, std=1.6, min_delay=0.0),
        "syn2": Linear(mean=0.5, std=0.8, min_delay=0.0),
    })  # fmt: skip
    builder.connect([("inp", "syn1"), ("syn1", "lif1"), ("lif1", "syn2"), ("syn2", "lif2")])
    init, apply = builder.done()
    theirs = init(jax.random.PRNGKey(0))
    inputs = Spike(
        time=times, idx=jnp.tile(jnp.arange(5), (batch, 1)), current=jnp.zeros_like(times),
        layer_idx=jnp.zeros_like(times, int), internal=jnp.ones_like(times, bool),
    )  # fmt: skip
    spikes = {"inp": inputs}

    def their_loss(params):
        first = jax.vmap(first_spike, in_axes=(0, None))(apply(spikes, params)["lif2"], 3)
        return jax.vmap(mse_loss, in_axes=(0, 0, None))(first, target, 2 * tau).mean()

    dt, steps = 0.25e-6, 96
    at = jnp.round(times / dt).astype(int)
    raster = (jnp.arange(steps)[:, None, None] == at[None]).astype(jnp.float32)
    neuron = LIF(2 * tau, tau, reset=-1000.0, dt=dt, integrator="exact")
    ours = {
        "hidden": 3.0 + 1.6 * jax.random.normal(key, (5, 100)),
        "readout": 0.5 + 0.8 * jax.random.normal(key, (100, 3)),
    }

    def our_loss(params):
        z = bss2jax.population(raster, params["hidden"], neuron, gradient=EventProp()).spikes
        z = bss2jax.population(z, params["readout"], neuron, gradient=EventProp()).spikes
        first = -dt * bss2jax.first_spike(z, by_time=True)
        return jnp.square((first - target) / (2 * tau)).sum(axis=1).mean()

    steps_of = {"jaxsnn": (jax.jit(jax.grad(their_loss)), theirs)}
    return steps_of | {"ours": (jax.jit(jax.grad(our_loss)), ours)}


def timed(steps, repeats):
    """Seconds of each step, given with its parameters, in each round, `[rounds]` by name."""
    for step, params in steps.values():
        jax.block_until_ready(step(params))
    found = {name: [] for name in steps}
    for _ in range(repeats):
        for name, (step, params) in steps.items():
            begin = time.perf_counter()
            jax.block_until_ready(step(params))
            found[name].append(time.perf_counter() - begin)
    return {name: np.array(seconds) for name, seconds in found.items()}


def main() -> None:
    line = argparse.ArgumentParser()
    line.add_argument("--repeats", type=int, default=21)
    given = line.parse_args()
    rng = np.random.default_rng(0)
    shape = (BATCH // TILE, STEPS, TILE, SIZES[0])
    raster = jnp.asarray((rng.random(shape) < 0.02).astype(np.float32))
    labels = jnp.asarray(rng.integers(0, SIZES[2], shape[::2]))
    params = {
        "hidden": jnp.asarray(rng.normal(0, 0.1, SIZES[:2]), jnp.float32),
        "readout": jnp.asarray(rng.normal(0, 0.1, SIZES[1:]), jnp.float32),
    }
    rules = {"surrogate": Surrogate(), "EventProp": EventProp()}
    steps = {name: (stepped(rule, raster, labels), params) for name, rule in rules.items()}
    found = timed(steps, given.repeats)
    for name, seconds in found.items():
        print(f"{name:10s} {1e3 * np.median(seconds):7.1f} ms")
    ratio = np.median(found["EventProp"] / found["surrogate"])
    print(f"EventProp over surrogate: {ratio:.2f}, limit 1.2 (jax {jax.__version__})")
    if importlib.util.find_spec("jaxsnn") is None:
        return
    found = timed(yinyang(), given.repeats)
    for name, seconds in found.items():
        print(f"{name:10s} {1e3 * np.median(seconds):7.1f} ms, 5-100-3, batch 64")
    print(f"jaxsnn over ours: {np.median(found['jaxsnn'] / found['ours']):.1f}, limit 2")


if __name__ == "__main__":
    main()
