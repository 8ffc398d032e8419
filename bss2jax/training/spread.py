"""Batches of an evaluation over devices: each has one of them at a time, on one of several chips.

A batch on a device is computed as it is where there is one device, so that its results are the
same to the bit; what a device has no batch for, it skips.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from bss2jax.chip.chip import Chip
from bss2jax.training.devices import CHIPS, DATA, everywhere
from bss2jax.training.task import Samples, Task, Variables
from bss2jax.training.tiles import Compiled, compile_tiled

Batch = Callable[..., tuple]  # variables, x, y, counted, chip, key -> sums


def sums(
    task: Task,
    variables: Variables,
    samples: Samples,
    chips: Any,
    keys: jax.Array | None,
    number: int,
    batch: int,
    of_tile: Callable[[int], Batch],
    static: Any,
) -> Iterator[list[tuple]]:
    """Yields what each of some chips does with each batch of samples, chip after chip.

    Args:
        task: with the mesh.
        variables: what the network has learned.
        samples: data on the devices.
        chips: the chips, their number in front; None where none is needed.
        keys: `[number, batches]`; None for no noise.
        number: of chips.
        batch: samples that share a key.
        of_tile: `of_tile(tile)` computes a batch in tiles of so many samples.
        static: what of it is compiled once.
    """
    mesh, count = task.mesh, len(samples.y)
    assert mesh is not None
    here, rounds = mesh.shape[CHIPS], mesh.shape[DATA]
    batches = -(-count // batch)
    variables, samples, chips, keys = everywhere(mesh, (variables, samples, chips, keys))
    for first in range(0, number, here):
        which = np.arange(first, first + here)
        group = jax.tree.map(lambda leaf, of=which % number: leaf[of], chips)
        found: list[Any] = []
        for begin in range(0, batches, rounds):
            of = np.arange(begin, begin + rounds) % batches
            index = np.arange(begin * batch, (begin + rounds) * batch)
            counted = (which < number)[:, None] & (index < count)
            key = None if keys is None else keys[(which % number)[:, None], of]
            arguments = variables, samples, (index % count).astype(np.int32), counted, group, key
            found.append(compiled(task, batch, of_tile, static, *arguments).call(*arguments))
        host = jax.device_get(found)
        for chip in range(min(here, number - first)):
            yield [
                jax.tree.map(lambda leaf, c=chip, d=device: leaf[c, d], part)
                for part in host
                for device in range(rounds)
            ][:batches]


def compiled(
    task: Task, batch: int, of_tile: Callable[[int], Batch], static: Any, *arguments: Any
) -> Compiled:
    """Returns what measures as many batches as there are devices, or did so before.

    Args:
        task, batch, of_tile, static: as of `sums`.
        arguments: variables, samples, index, counted, chips and keys, or the shapes of that.
    """

    def function(tile: int) -> Callable[..., Any]:
        return jax.shard_map(
            partial(_on_device, of_tile(tile)),
            mesh=task.mesh,
            in_specs=(P(), P(), P(DATA), P(CHIPS, DATA), P(CHIPS), P(CHIPS, DATA)),
            out_specs=P(CHIPS, DATA),
            check_vma=False,  # as of the training step: nothing is summed here
        )

    make = partial(compile_tiled, function, batch, *arguments, mesh=task.mesh)
    return task.once(make, "spread", static, *arguments)


def shapes(mesh: Mesh, batch: int, chip: Any, key: jax.Array | None) -> tuple[Any, ...]:
    """Returns the shapes of index, counted, chips and keys that `compiled` takes.

    Args:
        mesh: the devices.
        batch: samples that share a key.
        chip, key: one of each, or None.
    """
    here, at_once = mesh.shape[CHIPS], mesh.shape[DATA]

    def many(of: Any, *lead: int) -> Any:
        wider = lambda leaf: jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype)  # noqa: E731
        return jax.tree.map(wider, of)

    index = jax.ShapeDtypeStruct((at_once * batch,), jnp.int32)
    counted = jax.ShapeDtypeStruct((here, at_once * batch), jnp.bool_)
    return index, counted, many(chip, here), many(key, here, at_once)


def _on_device(
    of_batch: Batch,
    variables: Variables,
    samples: Samples,
    index: jax.Array,
    counted: jax.Array,
    chips: Chip | None,
    keys: jax.Array | None,
) -> tuple:
    chip = jax.tree.map(lambda leaf: leaf[0], chips)
    key = None if keys is None else keys[0, 0]

    def run() -> tuple:
        return of_batch(variables, samples.x[index], samples.y[index], counted[0], chip, key)

    def idle() -> tuple:
        return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(run))

    return jax.tree.map(lambda leaf: leaf[None, None], lax.cond(counted.any(), run, idle))
