"""What tests of several devices compute, in a process that has eight: results as JSON.

`python over_devices.py NAME MESH ...` says how a network on each mesh differs from one device.
"""

import json
import math
import sys
from dataclasses import replace
from functools import cache, partial

import jax
import numpy as np
from jax.sharding import PartitionSpec as P
from small import CHIP, KEY, SMALL, TASK, TRAINING, VALIDATION, phase
from test_tiles import SPIKING, SPIKING_LAYERS

from bss2jax import Autodiff, Codes, EventProp, Mismatch, population, sample_chip
from bss2jax.execute.circuits import gather, on_chip
from bss2jax.kernels.neurons.lif import LIF as Neuron
from bss2jax.kernels.synapses.delays import Delays
from bss2jax.kernels.synapses.plasticity import ShortTerm
from bss2jax.kernels.synapses.summed import Joined, Own
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.networks import (
    LI,
    LIF,
    Activations,
    Conv1d,
    Dense,
    Direct,
    Flatten,
    MeanOverTime,
    build,
)
from bss2jax.training import Objective, accuracy_over_chips, dealing, evaluate, loop
from bss2jax.training import step as steps_of
from bss2jax.training.devices import PIECES, SAMPLES, Devices, part_size, size
from bss2jax.training.resample import samples_each

# More than a chip of SMALL: three blocks and positions of a product, a population in three pieces.
RATES = replace(
    SPIKING, network=build(SPIKING_LAYERS, (12,), substrate=SMALL), substrate=SMALL,
    objective=Objective(scale=3.0, readout=1e-3, bursts=1e-2, rate=0.1),
)  # fmt: skip
DEEP = build([Dense(outputs=40), Dense(outputs=3)], Activations((12,), SMALL))
NORMED = build(
    [Direct(steps=3), LIF(outputs=20, norm="batch"), LIF(outputs=8, norm="batch"), LI(outputs=3),
     MeanOverTime()], (12,), substrate=SMALL,
)  # fmt: skip
TASKS = {"analog": replace(TASK, network=DEEP), "spiking": RATES}
IMAGES = [Conv1d(outputs=24, window=2), Flatten(), Dense(outputs=3)]
TASKS["conv"] = replace(TASK, network=build(IMAGES, Activations((4, 3), SMALL)))
TASKS["resampled"] = replace(TASK, network=build([Dense(outputs=3)], Activations((12,), SMALL)))
TASKS["normed"] = replace(SPIKING, network=NORMED, substrate=SMALL)
BATCH = 32  # over 3 devices 11, 11 and 10
ON = phase(on="chip", batch_size=BATCH)
COLLECTIVES = "all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"


def phase_of(task):
    """A batch is normalised on `float` alone; four chips share one of the resampled network's."""
    if task.network is TASKS["resampled"].network:
        return replace(ON, chip="resample", specimens=4)
    return replace(ON, on="float") if task.network.across_samples else ON


def on(task, mesh):
    """A task on the devices of a mesh, such as `data=3,pieces=2`."""
    axes = dict(axis.split("=") for axis in mesh.split(",") if axis)
    return replace(task, mesh=Devices(**{name: int(n) for name, n in axes.items()}).mesh())


@cache
def chip_of(task):
    return sample_chip(jax.random.key(1), Mismatch(), substrate=task.substrate)


def batch(task):
    """Scores, loss and gradient of a batch, noise and mismatch on, of a step of each device."""
    samples = replace(TRAINING, x=TRAINING.x.reshape(96, *task.network.shapes[0]))
    order, of_phase = steps_of.epoch_order(KEY, 1, 96), phase_of(task)
    samples = dealing.of_epoch(task, of_phase, samples, order)
    taken = task.initial(KEY), samples, order, 0, chip_of(task), KEY
    parts = 1 if task.mesh is None else size(task.mesh, *SAMPLES)
    tile = part_size(BATCH, parts)
    if of_phase.specimens > 1:
        tile = math.gcd(tile, samples_each(of_phase, BATCH))
    step = partial(steps_of.gradient, task, of_phase, tile=tile, mesh=task.mesh)

    def each(*taken):
        of = step(*taken)
        return of.scores, jax.tree.map(lambda leaf: leaf[None], (of.loss, of.params, of.state))

    if task.mesh is not None:
        out = P(SAMPLES), P((*SAMPLES, PIECES))
        given = P(), dealing.BY_STEP, P(), P(), P(), P()
        each = jax.shard_map(each, mesh=task.mesh, in_specs=given, out_specs=out, check_vma=False)
    scores, means = jax.device_get(jax.jit(each)(*taken))
    loss, slope, state = jax.tree.map(lambda leaf: leaf.mean(axis=0, dtype=float), means)
    slope = slope, state  # as what a norm keeps has to be that of all devices
    return scores[:BATCH], loss, np.concatenate([np.ravel(x) for x in jax.tree.leaves(slope)])


def trained(task):
    """Parameters after two epochs of three steps, the last epoch's record, and the step's text."""
    last = []
    taken = task.initial(KEY), chip_of(task), TRAINING, VALIDATION, KEY
    kept = loop.train(
        task, replace(phase_of(task), keep="last"), *taken,
        on_epoch=lambda epoch, *_: last.append(vars(epoch) | {"seconds": 0}),
    )  # fmt: skip
    texts = [each.call.as_text() for each in task.compiled.values()]
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(kept)]), last, texts[0]


def measured(task):
    """What a test set gives on a chip, and on five chips: accuracies, losses, confusions."""
    keys, start = jax.random.split(KEY, 5), task.initial(KEY)
    chips = jax.vmap(lambda key: sample_chip(key, Mismatch(), substrate=task.substrate))(keys)
    one = evaluate(task, start, VALIDATION, CHIP, KEY, on="chip")
    return one, accuracy_over_chips(task, start, VALIDATION, chips, KEY, on="chip").tolist()


def apart(several, one):
    return float(np.linalg.norm(several - one) / np.linalg.norm(one))


def compared(name, mesh):
    """How a batch on a mesh differs from one on a device."""
    scores, loss, slope = batch(on(TASKS[name], mesh))
    expected = alone(name)
    return {
        "scores": scores.tobytes() == expected[0].tobytes(),
        "loss": apart(loss, expected[1]),
        "gradient": apart(slope, expected[2]),
    }


@cache
def alone(name):
    return batch(TASKS[name])


def compared_training(name, mesh):
    """How a training differs, and what devices say to each other."""
    params, epochs, text = trained(on(TASKS[name], mesh))
    expected, before, _ = trained(TASKS[name])
    return {
        "params": apart(params, expected),
        "right": [e["train_accuracy"] for e in epochs] == [e["train_accuracy"] for e in before],
        "collectives": {kind: text.count(f" {kind}(") + text.count(f" {kind}-start(")
                        for kind in COLLECTIVES},
    }  # fmt: skip


def compared_measured(name, mesh):
    """Whether what is measured on a mesh is the same."""
    return {"measured": measured(on(TASKS[name], mesh)) == measured_alone(name)}


@cache
def measured_alone(name):
    return measured(TASKS[name])


@cache
def populations():
    """Populations of several chips each, by what is special: what runs one, and its weights."""
    rng = np.random.default_rng(0)
    drawn = partial(rng.normal, 0.6, 0.6)
    chips = [sample_chip(jax.random.key(n), Mismatch(), substrate=SMALL) for n in range(2)]
    both = jax.tree.map(lambda *leaves: np.stack(leaves), *chips)
    chip, circuits = np.arange(12) % 2, np.arange(12) // 2 * 2
    loop = gather(both, chip, circuits[:, None] + np.arange(2), inputs=6, recurrent=12)
    between = np.array([[0, 1], [2, 0]], np.int32)
    delays = Delays(*map(jax.numpy.asarray, (between, chip, chip)), (0, 1, 2))
    raster = jax.numpy.asarray(rng.random((9, 4, 6)) < 0.4, jax.numpy.float32)
    image = raster.reshape(9, 4, 3, 2)
    windows, codes = Windows(image, (2,)), Codes(30.0, SMALL)
    own = Own(jax.numpy.asarray(rng.random((9, 4, 2, 11)) < 0.4, jax.numpy.float32))

    def run(sent, circuits, w, recurrent=None, tau=6e-6, **settings):
        return population(sent, w, Neuron(tau_mem=tau), circuits, KEY, codes=codes,
                          recurrent=recurrent, observe=("membrane",), **settings)  # fmt: skip

    weights = jax.numpy.asarray(drawn((6, 12)), jax.numpy.float32)
    within = jax.numpy.asarray(0.5 * drawn((12, 12)), jax.numpy.float32)
    kernel = jax.numpy.asarray(drawn((2, 4, 11)), jax.numpy.float32)
    tau = jax.numpy.full(12, 6e-6)
    return {
        "delayed": (partial(run, raster, loop, delays=(None, delays)), (weights, within)),
        "trained": (partial(run, raster, loop), (weights, within, tau)),
        # Sources that never recover: what they send are halves of halves, whose sums are exact.
        "tired": (
            lambda w, back, share: run(
                raster, loop, w, back, delays=(None, delays),
                recurrent_drivers=ShortTerm(share, jax.numpy.float32(1e6)),
            ),
            (weights, within, jax.numpy.full(12, 0.5)),
        ),
        "autodiff": (partial(run, raster, loop, gradient=Autodiff()), (weights, within)),
        "eventprop": (partial(run, raster, loop, gradient=EventProp()), (weights, within)),
        "joined": (
            partial(run, Joined((windows, own)),
                    on_chip(chips[0], 5, 22, positions=2, substrate=SMALL)),
            (kernel[0, :, :].repeat(2, axis=0)[:5],),
        ),
    }  # fmt: skip


def compared_populations(names, mesh):
    """How populations dealt to devices differ, by name, in spikes, membranes and gradients."""
    found, devices = {}, on(TASK, mesh).mesh
    for name in names.split("+"):
        run, weights = populations()[name]

        def loss(weights, run=run):
            seen = run(*weights)
            target = jax.numpy.sin(jax.numpy.arange(seen.spikes.size)).reshape(seen.spikes.shape)
            return (seen.spikes * target).sum(), seen

        def of(weights, loss=loss):
            return jax.tree.map(lambda leaf: leaf[None], jax.grad(loss, has_aux=True)(weights))

        several = jax.shard_map(
            of, mesh=devices, in_specs=P(), out_specs=P(PIECES), check_vma=False
        )
        (slope, seen), (expected, known) = jax.device_get(
            [jax.jit(f)(weights) for f in (several, of)]
        )
        assert known.spikes.sum() > 0
        same = jax.tree.map(lambda a, b: bool((a == b).all()), seen, known)
        found[f"{name} scores"] = all(jax.tree.leaves(same))
        found[name] = max(apart(a.mean(axis=0), b[0]) for a, b in zip(slope, expected))
    return found


def memory(name, mesh):
    """What a step needs in temporaries by XLA's plan, on each device of a mesh, relative to one.

    And whether each device has no more than its part of an epoch's samples.
    """

    def temporaries(task):
        whole = replace(ON, batch_size=96)
        state = loop.begin(whole, task.initial(KEY), 96).state
        step = steps_of.compiled_step(task, whole, state, TRAINING, chip_of(task), KEY)
        assert step.tile == 96 // (1 if task.mesh is None else size(task.mesh, *SAMPLES))
        return step.temporaries

    several = on(TASKS[name], mesh)
    held = dealing.of_epoch(several, ON, TRAINING, steps_of.epoch_order(KEY, 1, 96)).x
    parts = size(several.mesh, *SAMPLES)
    return {
        "memory": temporaries(several) / temporaries(TASKS[name]),
        "of its own": all(part.data.size * parts == held.size for part in held.addressable_shards),
    }


KINDS = {"batch": compared, "training": compared_training, "memory": memory}
KINDS |= {"populations": compared_populations, "measured": compared_measured}

if __name__ == "__main__":
    found = {}
    for given in sys.argv[1:]:
        kind, name, mesh = given.split(":")
        found[given] = KINDS[kind](name, mesh)
    json.dump(found, sys.stdout)
