"""What tests of several devices compute, in a process that has eight: results as JSON.

`python over_devices.py NAME MESH ...` says how a network on each mesh differs from one device.
"""

import json
import sys
from dataclasses import replace
from functools import cache, partial

import jax
import numpy as np
from jax.sharding import PartitionSpec as P
from small import CHIP, KEY, SMALL, TASK, TRAINING, VALIDATION, phase
from test_tiles import SPIKING

from bss2jax import Mismatch, sample_chip
from bss2jax.networks import LI, LIF, Activations, Dense, Direct, MeanOverTime, build
from bss2jax.training import Objective, accuracy_over_chips, evaluate, loop
from bss2jax.training import step as steps_of
from bss2jax.training.devices import SAMPLES, Devices, part_size, size

RATES = replace(SPIKING, objective=Objective(scale=3.0, readout=1e-3, bursts=1e-2, rate=0.1))
DEEP = build([Dense(outputs=40), Dense(outputs=3)], Activations((12,), SMALL))
NORMED = build(
    [Direct(steps=3), LIF(outputs=20, norm="batch"), LIF(outputs=8, norm="batch"), LI(outputs=3),
     MeanOverTime()], (12,), substrate=SMALL,
)  # fmt: skip
TASKS = {"analog": replace(TASK, network=DEEP), "spiking": RATES}
TASKS["normed"] = replace(SPIKING, network=NORMED)
BATCH = 32  # over 3 devices 11, 11 and 10
ON = phase(on="chip", batch_size=BATCH)
COLLECTIVES = "all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"


def phase_of(task):
    """A batch is normalised on `float` alone."""
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
    taken = task.initial(KEY), TRAINING, steps_of.epoch_order(KEY, 1, 96), 0, chip_of(task), KEY
    parts = 1 if task.mesh is None else size(task.mesh, *SAMPLES)
    step = partial(
        steps_of.gradient, task, phase_of(task), tile=part_size(BATCH, parts), mesh=task.mesh
    )

    def each(*taken):
        of = step(*taken)
        return of.scores, jax.tree.map(lambda leaf: leaf[None], (of.loss, of.params, of.state))

    if task.mesh is not None:
        each = jax.shard_map(
            each, mesh=task.mesh, in_specs=P(), out_specs=P(SAMPLES), check_vma=False
        )
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
    """What a test set gives on a chip, and on five chips."""
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
    """How a training, and what is measured of it, differ, and what devices say to each other."""
    params, epochs, text = trained(on(TASKS[name], mesh))
    expected, before, _ = trained(TASKS[name])
    return {
        "params": apart(params, expected),
        "right": [e["train_accuracy"] for e in epochs] == [e["train_accuracy"] for e in before],
        "collectives": {kind: text.count(f" {kind}(") + text.count(f" {kind}-start(")
                        for kind in COLLECTIVES},
        "measured": measured(on(TASKS[name], "chips=2,data=2,pieces=2")) == measured(TASKS[name]),
    }  # fmt: skip


def memory(name, mesh):
    """What a step needs in temporaries by XLA's plan, on each device of a mesh, relative to one."""

    def temporaries(task):
        whole = replace(ON, batch_size=96)
        state = loop.begin(whole, task.initial(KEY), 96).state
        step = steps_of.compiled_step(task, whole, state, TRAINING, chip_of(task), KEY)
        assert step.tile == 96 // (1 if task.mesh is None else size(task.mesh, *SAMPLES))
        return step.temporaries

    return {"memory": temporaries(on(TASKS[name], mesh)) / temporaries(TASKS[name])}


KINDS = {"batch": compared, "training": compared_training, "memory": memory}

if __name__ == "__main__":
    found = {}
    for given in sys.argv[1:]:
        kind, name, mesh = given.split(":")
        found[given] = KINDS[kind](name, mesh)
    json.dump(found, sys.stdout)
