"""What a network does with samples: loss, accuracy, who is taken for whom, what saturates."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.networks.layer import Execution
from bss2jax.training import objective as objectives
from bss2jax.training import spread
from bss2jax.training.devices import for_chips
from bss2jax.training.phase import ByLayer
from bss2jax.training.task import Samples, Task, Variables, taken
from bss2jax.training.tiles import Compiled, compile_tiled

BATCH = 500  # samples that share a key


@dataclass(frozen=True)
class Result:
    """What a network does with some samples.

    Attributes:
        loss: mean, nats.
        accuracy: 0..1.
        saturation: the shares that saturate, per layer.
        confusion: samples by label (row) and by what they were taken for (column).
    """

    loss: float
    accuracy: float
    saturation: dict[str, dict[str, float]]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """The accuracy within each class; None for a class without samples."""
        sums = [sum(row) for row in self.confusion]
        return tuple(
            row[i] / n if n else None for i, (row, n) in enumerate(zip(self.confusion, sums))
        )

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the class accuracies: each class counts the same, however large."""
        known = [accuracy for accuracy in self.class_accuracy if accuracy is not None]
        return sum(known) / len(known)


def evaluate(
    task: Task,
    variables: Variables,
    samples: Samples,
    chip: Chip | None,
    key: jax.Array | None,
    *,
    on: Execution | Mapping[str, Execution],
) -> Result:
    """Measures a network over samples, in batches.

    Args:
        task: network and settings.
        variables: what it has learned.
        samples: data on the device.
        chip: the chip it runs on, or None where `on` needs none.
        key: the random key for the chip's noise; None: no noise.
        on: the execution.

    Raises:
        ValueError: the samples or their labels do not fit the network.
    """
    samples = taken(samples, task.network, "samples", task.mesh)
    count = len(samples.y)
    batch = min(BATCH, count)
    keys = None if key is None else draws.split(key, -(-count // batch))
    if task.mesh is not None:
        # On the host, from which devices are given theirs: there are as many calls as leaves.
        chips = jax.tree.map(lambda leaf: leaf[None], jax.device_get(chip))
        each = None if keys is None else keys[None]
        return _result(
            next(_over_devices(task, task.mesh, variables, samples, chips, each, 1, on)), count
        )
    sums = []
    for i, first in enumerate(range(0, count, batch)):
        # The last batch is filled with samples that do not count.
        index = np.arange(first, first + batch)
        x, y = samples.x[index % count], samples.y[index % count]
        counted = jnp.asarray(index < count)
        arguments = variables, x, y, counted, chip, None if keys is None else keys[i]
        sums.append(compiled_evaluation(task, on, *arguments).call(*arguments))
    return _result(jax.device_get(sums), count)


def _over_devices(
    task: Task,
    mesh: Mesh,
    variables: Variables,
    samples: Samples,
    chips: Any,
    keys: jax.Array | None,
    number: int,
    on: Execution | Mapping[str, Execution],
) -> Iterator[list[tuple]]:
    static, batch = _static(on), min(BATCH, len(samples.y))
    of_tile = partial(_batch_of, task, static)
    return spread.sums(task, mesh, variables, samples, chips, keys, number, batch, of_tile, static)


def _result(sums: list[tuple], count: int) -> Result:
    """What a network does with so many samples, from what it does with their batches."""
    losses, confusions, records = zip(*sums)
    confusion = np.sum(confusions, axis=0)
    shares = jax.tree.map(lambda *of: round(float(np.mean(of)), 6), *records)
    rows = tuple(map(tuple, confusion.tolist()))
    return Result(float(np.sum(losses)) / count, int(np.trace(confusion)) / count, shares, rows)


def by_class(results: Mapping[str, Result], classes: tuple[str, ...]) -> dict[str, Any]:
    """Returns what samples were taken for and the accuracy within each class, as a run keeps it.

    Args:
        results: by rung of the ladder.
        classes: the meaning of each label.
    """
    return {
        "classes": classes,
        "test_confusion": {name: result.confusion for name, result in results.items()},
        "test_class_accuracy": {
            name: dict(zip(classes, result.class_accuracy)) for name, result in results.items()
        },
    }


def accuracy_over_chips(
    task: Task,
    variables: Variables,
    samples: Samples,
    chips: Chip,
    key: jax.Array,
    *,
    on: Execution | Mapping[str, Execution],
    on_chip: Callable[[int, float], None] = lambda done, accuracy: None,
) -> np.ndarray:
    """Measures accuracy on every chip of a stack.

    Args:
        task, variables, samples, on: as of `evaluate`.
        chips: the chips with a leading axis, as from `jax.vmap(sample_chip)(keys)`.
        key: the random key for the chips' noise, split among them.
        on_chip: called after each chip with the number of chips done and the chip's accuracy.

    Returns:
        `[chips]` accuracies, 0..1.
    """
    keys = draws.split(key, len(chips.offset))
    if task.mesh is not None:
        mesh = for_chips(task.mesh, len(keys))
        samples = taken(samples, task.network, "samples", mesh)
        count = len(samples.y)
        batches = -(-count // min(BATCH, count))
        of_each = _split_each(keys, batches)
        found: list[float] = []
        for sums in _over_devices(task, mesh, variables, samples, chips, of_each, len(keys), on):
            found.append(_result(sums, count).accuracy)
            on_chip(len(found), found[-1])
        return np.array(found)
    # One chip after the other: batched products are several times slower on a CPU.
    by_chip = (jax.tree.map(lambda leaf, i=i: leaf[i], chips) for i in range(len(keys)))
    found = []
    for each in zip(by_chip, keys):
        found.append(evaluate(task, variables, samples, *each, on=on).accuracy)
        on_chip(len(found), found[-1])
    return np.array(found)


def evaluation_for(
    task: Task,
    on: Execution | Mapping[str, Execution],
    variables: Variables,
    samples: Samples,
    chip: Chip | None,
    key: jax.Array | None,
) -> tuple[Compiled, Any]:
    """Returns what measures samples, and the shapes of those that it is given at once.

    Args:
        task, variables, samples, chip, key, on: as of `evaluate`, or their shapes.
    """
    batch, shape = min(BATCH, len(samples.y)), jax.ShapeDtypeStruct
    if task.mesh is not None:
        static = _static(on)
        given = spread.shapes(task.mesh, samples, batch, chip, key)
        taken = variables, *given
        return spread.compiled(
            task, task.mesh, batch, partial(_batch_of, task, static), static, *taken
        ), given
    part = (
        shape((batch, *samples.x.shape[1:]), samples.x.dtype),
        shape((batch,), samples.y.dtype),
        shape((batch,), jnp.bool_),
    )
    return compiled_evaluation(task, on, variables, *part, chip, key), part


@partial(jax.jit, static_argnums=1)
def _split_each(keys: jax.Array, number: int) -> jax.Array:
    return jax.vmap(lambda key: draws.split(key, number))(keys)


def compiled_evaluation(
    task: Task,
    on: Execution | Mapping[str, Execution],
    *arguments: Any,
) -> Compiled:
    """Returns what measures a batch: it takes variables, x, y, counted, chip and key.

    Its results are the summed loss, the confusion, and means of the layers' records.

    Args:
        task, on: network, settings and execution.
        arguments: what it takes, or the shapes of that: `x [B, ...]` and `y [B]` of samples,
            counted `[B]` which of them count, the others as of `evaluate`.
    """
    static = _static(on)
    batch = arguments[1].shape[0]
    make = partial(compile_tiled, partial(_batch_of, task, static), batch, *arguments)
    return task.once(make, static, *arguments)


def _static(on: Execution | Mapping[str, Execution]) -> Execution | ByLayer:
    return on if isinstance(on, str) else ByLayer(on)


def _batch_of(task: Task, on: Execution | ByLayer, tile: int) -> Callable[..., tuple]:
    return partial(_batch, task, on, tile)


def _batch(
    task: Task,
    on: Execution | ByLayer,
    tile: int,
    variables: Variables,
    x: jax.Array,
    y: jax.Array,
    counted: jax.Array,
    chip: Chip | None,
    key: jax.Array | None,
) -> tuple:
    """Sum of the losses, confusion and mean records of a batch, tile by tile."""

    def one(part: tuple) -> tuple:
        x, y, counted, sample = part
        scores, _, records = task.network.apply(
            variables.params, variables.state, task.encode(x), chip, key, sample=sample, on=on
        )
        losses = objectives.loss(scores, y, task.objective)
        confusion = objectives.confusion(scores, y, counted)
        return jnp.where(counted, losses, 0).sum(), confusion, jax.tree.map(jnp.mean, records)

    if tile == len(y):
        return one((x, y, counted, 0))
    tiles = len(y) // tile
    parts = jax.tree.map(lambda a: a.reshape(tiles, tile, *a.shape[1:]), (x, y, counted))
    losses, confusion, records = lax.map(one, (*parts, tile * jnp.arange(tiles, dtype=jnp.int32)))
    return losses.sum(), confusion.sum(axis=0), jax.tree.map(jnp.mean, records)
