"""Whether a training fits into memory, known before it begins, from the very step that it takes."""

import math
import os
from typing import Any

import jax
from jax.sharding import Mesh

from bss2jax.chip import draws
from bss2jax.config import ConfigError
from bss2jax.experiment import Experiment
from bss2jax.training import dealing, loop
from bss2jax.training.devices import SAMPLES, size
from bss2jax.training.evaluate import evaluation_for
from bss2jax.training.step import VALIDATION, compiled_step
from bss2jax.training.tiles import Compiled


def require(experiment: Experiment, first: int = 0) -> None:
    """Compiles what the phases of a run need, and refuses a run that does not fit.

    Raises:
        ConfigError: a phase, from the first one trained on, needs more memory than there is.
    """
    limit = available(experiment.task.mesh) or math.inf
    for number in range(first, len(experiment.config.phases)):
        try:
            needed = _resident(experiment, number)
            # Nothing is compiled for what cannot even be held.
            if needed <= limit:
                needed += _working(experiment, number)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"phases.{number}: needs more memory than there is: {reason}"
            ) from None
        if needed > limit:
            batch = experiment.config.phases[number].batch_size
            each = "" if experiment.task.mesh is None else " on each device"
            raise ConfigError(
                f"phases.{number}: needs at least {needed / 2**30:.1f} GiB of memory{each}, "
                f"there are {limit / 2**30:.1f}; take a smaller batch_size (now {batch}), fewer "
                "time steps or smaller layers"
            )


def needed(experiment: Experiment, number: int) -> int:
    """Returns the bytes of a phase at its fullest, on a device: data, state, what XLA adds."""
    return _resident(experiment, number) + _working(experiment, number)


def available(mesh: Mesh | None = None) -> int | None:
    """Returns the memory of a device, or its share of this process's, in bytes; None: unknown.

    Args:
        mesh: the devices, which on CPUs share the process's memory; None for one.
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limits.append(int(file.read()))
    except (OSError, ValueError):  # no such group, or "max"
        pass
    return min(limits) // (1 if mesh is None else len(mesh.local_devices))


def progress_like(experiment: Experiment, number: int) -> loop.Progress:
    """Returns the shapes and types of a phase's progress: state and best variables."""
    phase, samples = experiment.config.phases[number], len(experiment.training.y)

    def begun() -> tuple:
        progress = loop.begin(phase, experiment.initial(), samples)
        return progress.state, progress.best

    return loop.Progress(*jax.eval_shape(begun))


def _resident(experiment: Experiment, number: int) -> int:
    """Bytes that are there all the time."""
    like = progress_like(experiment, number)
    task, phase = experiment.task, experiment.config.phases[number]
    data: tuple = experiment.training, experiment.validation, experiment.test
    parts = 1
    if task.mesh is not None:  # a device has a part of an epoch, and batches as they come
        data = (dealing.shapes(task, phase, experiment.training),)
        parts = size(task.mesh, *SAMPLES) if task.cuts_batches else 1
    held = _bytes(data) // parts
    return held + _bytes((like.state, like.best, experiment.chip))


def _working(experiment: Experiment, number: int) -> int:
    """Bytes that a step or an evaluation adds."""
    phase, key = experiment.config.phases[number], experiment.phase_key(number)
    task, chip, state = experiment.task, experiment.chip, progress_like(experiment, number).state
    step = compiled_step(task, phase, state, experiment.training, chip, key)
    noise = draws.folded(key, VALIDATION) if phase.noise else None
    taken = state.variables, experiment.validation, chip, noise
    evaluation, part = evaluation_for(task, phase.on, *taken)
    return max(_added(step), _bytes(part) + _added(evaluation))


def _added(compiled: Compiled) -> int:
    return compiled.temporaries + compiled.results


def _bytes(tree: Any) -> int:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
