"""Structured neurons against a LIF population on as many circuits, forward and backward.

    python benchmarks/dendrites.py [--inputs 128] [--repeats 11]

512 circuits: 128 neurons of a soma and three branches, with and without plateaus, and 512 LIF
neurons; batch 100, 200 steps, 2 % of the raster spikes, value and gradient of a loss of the spikes
by the weights. Repeats are interleaved; the ratio is the median of those of each round. The
project's limit: 4.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import LIF, Compartments, Morphology, population

STEPS, BATCH, CIRCUITS = 200, 100, 512
NEURONS = {
    "512 LIF": LIF(),
    "128 of four compartments": Compartments.of(Morphology.star(3), LIF()),
    "128 of four, with plateaus": Compartments.of(
        Morphology.star(3, reset=1.5, t_ref=20e-6, holdoff=5e-6), LIF()
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=11)
    given = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), 3)
    sent = jax.random.bernoulli(keys[0], 0.02, (STEPS, BATCH, given.inputs)).astype(jnp.float32)
    w = 0.3 * jax.random.normal(keys[1], (given.inputs, CIRCUITS))
    way = jax.random.uniform(keys[2], (STEPS, 1, CIRCUITS))

    def step(neuron):
        return jax.jit(
            jax.value_and_grad(lambda w: (population(sent, w, neuron).spikes * way).sum())
        )

    steps = {name: step(neuron) for name, neuron in NEURONS.items()}
    times = {name: [] for name in steps}
    for one in steps.values():
        jax.block_until_ready(one(w))
    for _ in range(given.repeats):
        for name, one in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(one(w))
            times[name].append(time.perf_counter() - start)
    plain = np.array(times["512 LIF"])
    for name, each in times.items():
        ratio = np.median(np.array(each) / plain)
        print(f"{name:28} {np.median(each):.3f} s, {ratio:.2f} times 512 LIF")


if __name__ == "__main__":
    main()
