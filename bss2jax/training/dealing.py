"""The samples of an epoch, each on the device that takes it: none has, and no process copies, all.

Every process knows the order of an epoch, so each takes out of the data what its own devices need.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bss2jax.training.devices import SAMPLES, everywhere, part_size, size
from bss2jax.training.phase import Phase, batch_of, steps_per_epoch
from bss2jax.training.task import Samples, Task

BY_STEP = PartitionSpec(None, SAMPLES)


def of_epoch(task: Task, phase: Phase, training: Samples, order: jax.Array) -> Samples:
    """Returns the training samples as a step of an epoch takes them.

    Args:
        task, phase: network and settings.
        training: all samples.
        order: `[samples]`, of the epoch.

    Returns:
        `[steps, B, ...]`, spread over devices by B, batches filled up by their first samples; all
        samples on each device, where none has a part of a batch.
    """
    if task.mesh is None or not task.cuts_batches:
        return everywhere(task.mesh, training)
    index = _numbers(task.mesh, phase, np.asarray(order))
    where = NamedSharding(task.mesh, BY_STEP)

    def spread(array: Any) -> jax.Array:
        def of_device(cut: Any) -> Any:
            return array[index[cut[:2]]]

        return jax.make_array_from_callback((*index.shape, *array.shape[1:]), where, of_device)

    return jax.tree.map(spread, training)


def shapes(task: Task, phase: Phase, training: Samples) -> Samples:
    """Returns the shapes of what `of_epoch` returns.

    Args:
        task, phase: network and settings.
        training: all samples, or their shapes.
    """
    if task.mesh is None or not task.cuts_batches:
        return training
    index = _numbers(task.mesh, phase, np.arange(len(training.y)))
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*index.shape, *leaf.shape[1:]), leaf.dtype), training
    )


def _numbers(mesh: Mesh, phase: Phase, order: np.ndarray) -> np.ndarray:
    """Which sample each step has at each place, `[steps, B]`."""
    batch, steps = batch_of(phase, len(order)), steps_per_epoch(phase, len(order))
    parts = size(mesh, *SAMPLES)
    places = np.arange(parts * part_size(batch, parts)) % batch
    return order[: steps * batch].reshape(steps, batch)[:, places]
