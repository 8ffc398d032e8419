"""One step of a training: a batch, its gradient, tile by tile of samples, and an update.

Randomness is a function of (seed, phase, step) alone: every key is folded from the phase's key and
the number of the step or epoch it serves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from bss2jax.arrays import pytree
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.kernels.stored import stored
from bss2jax.networks import graph as networks
from bss2jax.networks.graph import Params, Records
from bss2jax.training import dealing
from bss2jax.training import objective as objectives
from bss2jax.training.augment import Place, augment
from bss2jax.training.devices import PIECES, SAMPLES, part_of, part_size, size
from bss2jax.training.phase import Phase, batch_of, make_optimizer, steps_per_epoch
from bss2jax.training.resample import ChipOf, drawn, samples_each
from bss2jax.training.task import Samples, Task, Variables
from bss2jax.training.tiles import Compiled, compile_tiled

# What the key of a phase is folded with to serve different purposes.
ORDER, STEP, VALIDATION = 0, 1, 2


@pytree
@dataclass(frozen=True, eq=False)
class State:
    """What a step changes.

    Attributes:
        variables: the variables of the network.
        optimizer: the optimiser's state.
        loss, correct: sums over the epoch's samples so far.
        taken: int32, the epoch's steps so far that changed the parameters.
    """

    variables: Variables
    optimizer: Any
    loss: jax.Array
    correct: jax.Array
    taken: jax.Array


class Gradient(NamedTuple):
    """What a batch gives: loss, scores `[B, classes]`, labels `[B]`, and what follows from them.

    Attributes:
        loss: mean over the batch, with penalties, nats.
        scores, labels: the scores and labels of the samples.
        weight: `[B]` of each sample, 0 for one that does not count; None where all count alike.
        state: the state of the network, after the batch.
        records: the records of the layers, means over the batch; {} where they were not asked for.
        params: the gradient of the loss.
    """

    loss: jax.Array
    scores: jax.Array
    labels: jax.Array
    weight: jax.Array | None
    state: networks.State
    records: Records
    params: Params


def fresh(variables: Variables, optimizer: Any) -> State:
    """Returns the state at the start of an epoch."""
    nothing = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
    return State(variables, optimizer, *nothing)


def epoch_order(key: jax.Array, epoch: int, samples: int) -> jax.Array:
    """Returns the order `[samples]` of the training samples in an epoch of a phase with a key."""
    return draws.permutation(draws.folded(key, ORDER, epoch), samples)


def compiled_step(
    task: Task, phase: Phase, state: State, training: Samples, chip: Chip, key: jax.Array
) -> Compiled:
    """Returns the compiled step: `step(state, training, order, done, chip, key) -> state, done`.

    Of it, `done` is the number of the phase's steps before this one, then of those after it, on the
    devices, as each number from the host would wait for them; `order` is the epoch's, and the key
    that of the phase.

    Args:
        task, phase: network, settings, execution, optimiser.
        training: all samples, or their shapes; the step is given those of an epoch, as of
            `dealing.of_epoch`.
        state, chip, key: arrays, or shapes, as the step will be given.
    """
    whole = task.network.across_samples or task.objective.rate > 0
    order = jax.ShapeDtypeStruct(training.y.shape, jnp.int32)
    done = jax.ShapeDtypeStruct((), jnp.int32)
    arguments = state, dealing.shapes(task, phase, training), order, done, chip, key
    batch, each = batch_of(phase, len(training.y)), PartitionSpec()
    if task.mesh is not None and task.cuts_batches:
        batch = part_size(batch, size(task.mesh, *SAMPLES))
    if phase.resamples and phase.specimens > 1:
        part, batch = batch, math.gcd(batch, samples_each(phase, batch_of(phase, len(training.y))))
        if whole and batch < part:
            raise ValueError(
                "specimens: a network or an objective that looks across the samples of a batch "
                "meets one chip in a step; expected 1, or a chip for each device"
            )
    make = partial(
        compile_tiled, partial(_step_of, task, phase), batch, *arguments,
        whole=whole, donate=(0,), mesh=task.mesh, specs=(each, _held(task), *[each] * 4),
    )  # fmt: skip
    return task.once(make, phase, *arguments)


def gradient(
    task: Task,
    phase: Phase,
    variables: Variables,
    training: Samples,
    order: jax.Array,
    done: jax.Array | int,
    chip: Chip,
    key: jax.Array,
    *,
    tile: int,
    records: bool = False,
    mesh: Mesh | None = None,
) -> Gradient:
    """Returns what the batch of a step gives.

    Args:
        task, phase: network and settings.
        variables: the variables of the network.
        training: samples, of which the step takes a batch, as of `dealing.of_epoch`.
        order: `[samples]`, of the samples in this epoch.
        done: int32 `[]`, steps of the phase before this one.
        chip: the chip of the run.
        key: the random key of the phase.
        tile: samples that are taken at once, a divisor of the batch.
        records: whether the layers' records are wanted.
        mesh: the devices, within `jax.shard_map`, each of which has a part of the batch: what a
            batch gives is the mean of what they get. None: one device has it all.
    """
    whole = batch_of(phase, len(order))
    first: jax.Array | int = 0
    place: Place = None
    weight: jax.Array | None = None
    if mesh is not None:
        numbers, weight = _own_part(task, phase, whole, mesh)
        place, first = (numbers % whole, whole), numbers[0]
    values, y, chip_of, noise = _drawn(task, phase, training, order, done, chip, key, place)
    batch, epoch = len(y), done // steps_per_epoch(phase, len(order))
    loss = partial(_loss, task, phase, chip_of, noise, epoch, SAMPLES if mesh else (), records)
    of_tile = jax.value_and_grad(loss, has_aux=True)
    if tile == batch:
        taken = *_parts(variables), values, y, first, weight
        (mean, (scores, state, found)), slope = of_tile(*taken)
        return Gradient(mean, scores, y, weight, state, found, slope)

    # Tile by tile, the whole network forward and backward; gradients and losses are added.
    def add(carry: tuple, part: tuple) -> tuple[tuple, tuple]:
        state, mean, slope = carry
        (more, (scores, state, found)), steeper = of_tile(variables.params, state, *part)
        return (state, mean + more, jax.tree.map(jnp.add, slope, steeper)), (scores, found)

    tiles = batch // tile
    firsts = first + tile * jnp.arange(tiles, dtype=jnp.int32)
    cut = partial(_cut, tiles, tile)
    parts = cut(values), cut(y), firsts, None if weight is None else cut(weight)
    flat = jax.tree.map(jnp.zeros_like, variables.params)
    none = variables.state, jnp.zeros((), jnp.float32), flat
    (state, mean, slope), (scores, found) = lax.scan(add, none, parts)
    slope, found = jax.tree.map(lambda g: g / tiles, slope), jax.tree.map(jnp.mean, found)
    return Gradient(mean / tiles, scores.reshape(batch, -1), y, weight, state, found, slope)


def outcome(task: Task, phase: Phase, tile: int) -> Callable[..., tuple]:
    """Returns what computes a batch on all devices, given what `gradient` is.

    It returns loss, how many samples are right, state and gradient. Each device computes them of
    its own part alone; one sum over the devices makes them those of the batch. No other sum is on
    the way: JAX's check of what varies from device to device, which would put them in, is off, so
    that a layer of one's own may scan from zeros.

    Args:
        task, phase: network and settings.
        tile: samples that a device takes at once, a divisor of its part.
    """
    if not task.cuts_batches:
        return partial(_outcome, task, phase, tile)
    every, each = partial(_outcome, task, phase, tile, mesh=task.mesh), PartitionSpec()
    given = each, _held(task), *[each] * 4
    return jax.shard_map(every, mesh=task.mesh, in_specs=given, out_specs=each, check_vma=False)


def update(
    task: Task, phase: Phase, samples: int, state: State, slope: Params
) -> tuple[Params, Any]:
    """Returns the parameters and the optimiser's state after a step along a gradient.

    Args:
        task, phase: network and settings.
        samples: the number of samples in the training data.
        state: before the step.
        slope: the gradient.
    """
    params = state.variables.params
    # Optax counts on JAX's usual promotion of types and ranks, whatever is set.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, optimizer = make_optimizer(phase, samples).update(slope, state.optimizer, params)
        params = optax.apply_updates(params, updates)
    return task.network.project(params), optimizer


def finite(tree: Any) -> jax.Array:
    """Returns whether all numbers of a tree are finite, `[]`."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _own_part(
    task: Task, phase: Phase, batch: int, mesh: Mesh
) -> tuple[jax.Array, jax.Array | None]:
    """A device's part of a batch, as of `part_of`; of one size where it is normalised."""
    numbers, weight = part_of(batch, mesh)
    if weight is not None and task.network.across_samples and phase.has("float"):
        raise ValueError(
            f"batch_size: a norm takes parts of one size, and {batch} samples do not divide over "
            f"{size(mesh, *SAMPLES)} devices"
        )
    return numbers, weight


def _drawn(
    task: Task,
    phase: Phase,
    training: Samples,
    order: jax.Array,
    done: jax.Array | int,
    chip: Chip,
    key: jax.Array,
    place: Place,
) -> tuple[jax.Array, jax.Array, ChipOf, jax.Array | None]:
    """A step's batch or part of it, changed at random and encoded, labels, chips, noise's key."""
    batch = batch_of(phase, len(order))
    k_augment, k_noise, k_chip = draws.split(draws.folded(key, STEP, done), 3)
    index = done % steps_per_epoch(phase, len(order))
    if place is None:
        index = lax.dynamic_slice_in_dim(order, index * batch, batch)
    x, y = training.x[index], training.y[index]
    if phase.augment and task.augmentation.any:
        x = augment(x, k_augment, task.augmentation, place)
    chip_of: ChipOf = lambda sample: chip  # noqa: E731
    if phase.resamples:
        begin = 0 if place is None else place[0][0]
        chip_of = drawn(task, phase, k_chip, batch, len(y), begin)
    # Stored: else whoever codes or multiplies the images would augment them anew.
    return stored(task.encode(x)), y, chip_of, k_noise if phase.noise else None


def _step_of(task: Task, phase: Phase, tile: int) -> Callable[..., tuple[State, jax.Array]]:
    return partial(_step, task, phase, tile)


def _step(
    task: Task,
    phase: Phase,
    tile: int,
    state: State,
    training: Samples,
    order: jax.Array,
    done: jax.Array,
    chip: Chip,
    key: jax.Array,
) -> tuple[State, jax.Array]:
    """Takes a step; one that is not finite changes nothing but is not counted.

    Unless such steps are skipped, no later step changes anything either: the host looks only now
    and then, and finds the parameters as they were.
    """
    found = outcome(task, phase, tile)(state.variables, training, order, done, chip, key)
    mean, correct, kept, slope = found
    params, optimizer = update(task, phase, len(order), state, slope)
    good = finite((mean, slope, params))
    if phase.on_nonfinite == "stop":
        good &= state.taken == done % steps_per_epoch(phase, len(order))
    after = State(
        Variables(params, kept),
        optimizer,
        state.loss + batch_of(phase, len(order)) * mean,
        state.correct + correct,
        state.taken + 1,
    )
    return jax.tree.map(lambda new, old: jnp.where(good, new, old), after, state), done + 1


def _loss(
    task: Task,
    phase: Phase,
    chip_of: ChipOf,
    noise: jax.Array | None,
    epoch: jax.Array | int,
    axes: tuple[str, ...],
    records: bool,
    params: Params,
    state: networks.State,
    x: jax.Array,
    y: jax.Array,
    sample: jax.Array | int,
    weight: jax.Array | None,
) -> tuple[jax.Array, tuple]:
    """The mean loss of some samples, of which one has a number; scores, state and records."""
    scores, state, found = task.network.apply(
        params, state, x, chip_of(sample), noise, sample=sample, on=phase.on, training=True,
        precision=phase.precision,
    )  # fmt: skip
    part = objectives.Part(weight, axes)
    mean = part.mean(objectives.loss(scores, y, task.objective))
    mean += objectives.penalty(params, found, task.objective, epoch, part)
    return mean, (scores, state, jax.tree.map(jnp.mean, found) if records else {})


def _cut(tiles: int, tile: int, values: jax.Array) -> jax.Array:
    return values.reshape(tiles, tile, *values.shape[1:])


def _outcome(
    task: Task,
    phase: Phase,
    tile: int,
    variables: Variables,
    training: Samples,
    order: jax.Array,
    done: jax.Array,
    chip: Chip,
    key: jax.Array,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array, networks.State, Params]:
    """Loss, how many samples are right, state and gradient of a batch: see `outcome`."""
    taken = variables, training, order, done, chip, key
    of = gradient(task, phase, *taken, tile=tile, mesh=mesh)
    right = objectives.correct(of.scores, of.labels)
    if of.weight is not None:
        right &= of.weight > 0
    correct = right.sum(dtype=jnp.float32)
    if mesh is None:
        return of.loss, correct, of.state, of.params
    # Of devices that have the same samples one counts; what pieces find of a gradient is a mean.
    correct = jnp.where(lax.axis_index(PIECES) == 0, correct, 0)
    means = jax.tree.map(lambda leaf: leaf / mesh.size, (of.loss, of.params))
    (mean, slope), correct = lax.psum((means, correct), (*SAMPLES, PIECES))
    return mean, correct, of.state, slope


def _parts(variables: Variables) -> tuple[Params, networks.State]:
    return variables.params, variables.state


def _held(task: Task) -> PartitionSpec:
    """How the samples of an epoch are spread."""
    return dealing.BY_STEP if task.cuts_batches else PartitionSpec()
