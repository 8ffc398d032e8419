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
from bss2jax.training.devices import CHIPS, DATA, cut, everywhere
from bss2jax.training.task import Samples, Task, Variables, on_host
from bss2jax.training.tiles import Compiled, compile_tiled

# Of variables, x, y, counted, chips and words of keys.
SPECS = P(), P(DATA), P(DATA), P(CHIPS, DATA), P(CHIPS), P(CHIPS, DATA)
Batch = Callable[..., tuple]  # variables, x, y, counted, chip, key -> sums


def sums(
    task: Task,
    mesh: Mesh,
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
        task: network and settings.
        mesh: the devices.
        variables: what the network has learned.
        samples: data, of which each device is given its batches.
        chips: the chips, their number in front; None where none is needed.
        keys: `[number, batches]`; None for no noise.
        number: the number of chips.
        batch: samples that share a key.
        of_tile: `of_tile(tile)` computes a batch in tiles of so many samples.
        static: hashable settings of `of_tile`, by which what is compiled is found again.
    """
    here, rounds, count = mesh.shape[CHIPS], mesh.shape[DATA], len(samples.y)
    batches = -(-count // batch)
    variables, data = everywhere(mesh, variables), on_host(samples)
    # Where a device takes its own of them; each array that is cut there is a call.
    chips = jax.device_get(chips)
    words = None if keys is None else np.asarray(jax.random.key_data(keys))
    for first in range(0, number, here):
        which = np.arange(first, first + here)
        group = jax.tree.map(lambda leaf, of=which % number: leaf[of], chips)
        found: list[Any] = []
        for begin in range(0, batches, rounds):
            of = np.arange(begin, begin + rounds) % batches
            index = np.arange(begin * batch, (begin + rounds) * batch)
            counted = (which < number)[:, None] & (index < count)
            word = None if words is None else words[(which % number)[:, None], of]
            x, y = data.x[index % count], data.y[index % count]
            given = variables, x, y, counted, group, word
            arguments = tuple(cut(mesh, *each) for each in zip(SPECS, given))
            found.append(compiled(task, mesh, batch, of_tile, static, *arguments).call(*arguments))
        host = jax.device_get(found)
        for chip in range(min(here, number - first)):
            yield [
                jax.tree.map(lambda leaf, c=chip, d=device: leaf[c, d], part)
                for part in host
                for device in range(rounds)
            ][:batches]


def compiled(
    task: Task,
    mesh: Mesh,
    batch: int,
    of_tile: Callable[[int], Batch],
    static: Any,
    *arguments: Any,
) -> Compiled:
    """Returns what measures as many batches as there are devices, or did so before.

    Args:
        task, mesh, batch, of_tile, static: as of `sums`.
        arguments: variables, x, y, counted, chips and words of threefry keys, or the shapes of
            that.
    """

    def function(tile: int) -> Callable[..., Any]:
        return jax.shard_map(
            partial(_on_device, of_tile(tile)),
            mesh=mesh,
            in_specs=SPECS,
            out_specs=P(CHIPS, DATA),
            check_vma=False,  # as of the training step: nothing is summed here
        )

    make = partial(compile_tiled, function, batch, *arguments, mesh=mesh, specs=SPECS)
    return task.once(make, mesh, static, *arguments)


def shapes(
    mesh: Mesh, samples: Samples, batch: int, chip: Any, key: jax.Array | None
) -> tuple[Any, ...]:
    """Returns the shapes of x, y, counted, chips and words of keys that `compiled` takes.

    Args:
        mesh: the devices.
        samples: all of them, or their shapes.
        batch: samples that share a key.
        chip, key: one of each, or None.
    """
    here, at_once = mesh.shape[CHIPS], mesh.shape[DATA]

    def many(of: Any, *lead: int) -> Any:
        wider = lambda leaf: jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype)  # noqa: E731
        return jax.tree.map(wider, of)

    x, y = (
        jax.ShapeDtypeStruct((at_once * batch, *leaf.shape[1:]), leaf.dtype)
        for leaf in (samples.x, samples.y)
    )
    counted = jax.ShapeDtypeStruct((here, at_once * batch), jnp.bool_)
    words = None if key is None else jax.ShapeDtypeStruct((here, at_once, 2), jnp.uint32)
    return x, y, counted, many(chip, here), words


def _on_device(
    of_batch: Batch,
    variables: Variables,
    x: jax.Array,
    y: jax.Array,
    counted: jax.Array,
    chips: Chip | None,
    words: jax.Array | None,
) -> tuple:
    chip = jax.tree.map(lambda leaf: leaf[0], chips)
    key = None
    if words is not None:
        key = jax.random.wrap_key_data(words[0, 0], impl="threefry2x32")

    def run() -> tuple:
        return of_batch(variables, x, y, counted[0], chip, key)

    def idle() -> tuple:
        return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(run))

    return jax.tree.map(lambda leaf: leaf[None, None], lax.cond(counted.any(), run, idle))
