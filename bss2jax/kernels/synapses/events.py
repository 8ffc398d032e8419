"""Spike trains as events, and the product of events with weights.

A raster `[T, B, K]` of a time-to-first-spike code is empty but for one entry a pixel. Multiplying
only the entries that are there is several times faster than the dense product, both ways.
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from bss2jax.arrays import count, floats, pytree, wholes
from bss2jax.kernels.gradients.nominal import without_gradient
from bss2jax.kernels.mesh import axes_of, by_pieces, over_mesh


@pytree
@dataclass(frozen=True, eq=False)
class Events:
    """Spikes of a batch, as many entries for every sample.

    Entries whose time or index is out of range, on either side, are none.

    Attributes:
        time: `[B, E]` int32, step of each event.
        index: `[B, E]` int32, the input that spikes.
    """

    time: jax.Array
    index: jax.Array

    def sent(self, inputs: int, steps: int | None) -> "SortedEvents":
        """Returns them sorted, as something that can be multiplied: see `Given.sent`."""
        if steps is None:
            raise ValueError(
                "steps: Events do not say how long they last; give the number of steps"
            )
        return sort_events(self, steps, inputs)


def to_raster(events: Events, steps: int, inputs: int) -> jax.Array:
    """Returns the dense spike train `[T, B, K]`; simultaneous spikes of an input add up.

    Args:
        events: times and indices, `[B, E]`; those out of range are dropped.
        steps: T.
        inputs: K.
    """
    steps, inputs = count("steps", steps, 0), count("inputs", inputs, 0)
    time, index = _known(events)
    out = PartitionSpec(None, *axes_of(time, 0))
    return over_mesh(partial(_scattered, steps, inputs), out, time, index)


def _scattered(steps: int, inputs: int, time: jax.Array, index: jax.Array) -> jax.Array:
    batch = len(time)
    if 0 in (steps, inputs, *time.shape):
        return jnp.zeros((steps, batch, inputs), jnp.float32)
    sample = jnp.arange(batch, dtype=jnp.int32)[:, None]
    time = jnp.where(_real(time, index, steps, inputs), time, steps)
    raster = jnp.zeros((steps, batch, inputs), jnp.float32)
    return raster.at[time, sample, index].add(1.0, mode="drop")


def to_events(raster: ArrayLike, most: int) -> Events:
    """Returns the events of a raster `[T, B, K]`, at most `most` a sample, the earliest first.

    A raster entry counts as one event if it is not zero.
    """
    raster, most = floats(raster, "raster"), count("most", most, 0)
    if raster.ndim != 3:
        raise ValueError(f"raster: expected [T, B, K], got {raster.shape}")
    steps, batch, inputs = raster.shape
    flat = without_gradient(raster, "a raster that is written as events")
    flat = flat.swapaxes(0, 1).reshape(batch, steps * inputs)
    places = jnp.arange(steps * inputs, dtype=jnp.int32)[None]
    place = jnp.where(flat != 0, places, steps * inputs)
    place = lax.sort(place, dimension=1)[:, :most]
    return Events(place // max(1, inputs), place % max(1, inputs))


@pytree
@dataclass(frozen=True, eq=False)
class _Rows:
    """Compressed rows: the columns of row r are `column[first[r]:first[r + 1]]`."""

    column: jax.Array
    first: jax.Array


@pytree
@dataclass(frozen=True, eq=False)
class SortedEvents:
    """Events in the two orders in which products need them, made once by `sort_events`.

    Attributes:
        by_step: entries in order of (step, sample): which inputs spike then.
        by_input: entries in order of input: at which (step, sample) each spikes.
        steps, batch, inputs: T, B and K.
    """

    by_step: _Rows
    by_input: _Rows
    steps: int = field(metadata={"static": True})
    batch: int = field(metadata={"static": True})
    inputs: int = field(metadata={"static": True})

    @property
    def positions(self) -> None:
        """None: all neurons see all inputs."""
        return None

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by weights `[K, N]`, `to_raster(...) @ w`: `[T, B, N]`.

        Exact but for the order of the sums.
        """
        return _sum_rows(self.by_step, w).reshape(self.steps, self.batch, w.shape[1])

    def gradient(self, w: jax.Array, dy: jax.Array) -> tuple[None, jax.Array]:
        """Returns None, as events have no gradient, and that of weights: see `Sent.gradient`."""
        flat = dy.reshape(self.steps * self.batch, w.shape[1])
        return None, _sum_rows(self.by_input, flat)


def sort_events(events: Events, steps: int, inputs: int) -> SortedEvents:
    """Sorts events for products: most of their cost, and the same for every run of a population.

    Args:
        events: times and indices, `[B, E]`; those out of range are dropped.
        steps: T.
        inputs: K.
    """
    steps, inputs = count("steps", steps, 0), count("inputs", inputs, 0)
    # Sorted as a whole: on no device are the events of some samples only.
    return over_mesh(partial(_sorted, steps, inputs), PartitionSpec(), *_known(events))


@partial(jax.jit, static_argnums=(0, 1))
def _sorted(steps: int, inputs: int, time: jax.Array, index: jax.Array) -> SortedEvents:
    batch = len(time)
    if 0 in (steps, inputs, *time.shape):
        none = jnp.zeros(0, jnp.int32)
        by_step, by_input = (
            _Rows(none, jnp.zeros(rows + 1, jnp.int32)) for rows in (steps * batch, inputs)
        )
        return SortedEvents(by_step, by_input, steps, batch, inputs)
    real = _real(time, index, steps, inputs)
    step, spiking = _in_order(time, index, real, steps, inputs)
    by_step = _dealt(step, spiking, steps)
    spiking, step = _in_order(index, time, real, inputs, steps)
    by_input = _dealt(spiking, step * batch + jnp.arange(batch, dtype=jnp.int32)[:, None], inputs)
    # The samples of a step are a row each, those of an input are one row.
    by_input = _Rows(by_input.column, by_input.first[::batch])
    return SortedEvents(by_step, by_input, steps, batch, inputs)


def sort_each(time: jax.Array, steps: int) -> SortedEvents:
    """Sorts spikes of inputs that send at most one: by input they are in order as they come.

    Args:
        time: `[B, K]` int32, step of each input's spike; out of range for none.
        steps: T.
    """
    return over_mesh(partial(_sorted_each, steps), PartitionSpec(), time)


@partial(jax.jit, static_argnums=0)
def _sorted_each(steps: int, time: jax.Array) -> SortedEvents:
    batch, inputs = time.shape
    if 0 in (steps, *time.shape):
        return _sorted(steps, inputs, time, time)
    sample, index = (lax.broadcasted_iota(jnp.int32, time.shape, axis) for axis in (0, 1))
    real = _real(time, index, steps, inputs)
    by_step = _dealt(*_in_order(time, index, real, steps, inputs), steps)
    before = _running(real.astype(jnp.int32))  # with each spike, those of its input
    first = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(before[-1])])
    place = jnp.where(real, first[:-1] + before - 1, time.size)
    column = jnp.zeros(time.size, jnp.int32).at[place].set(time * batch + sample, mode="drop")
    return SortedEvents(by_step, _Rows(column, first), steps, batch, inputs)


def _known(events: Events) -> tuple[jax.Array, jax.Array]:
    """Times and indices of events, int32 `[B, E]` each."""
    time, index = wholes(events.time, "Events.time"), wholes(events.index, "Events.index")
    if time.ndim != 2 or time.shape != index.shape:
        raise ValueError(f"Events: expected [B, E] each, got {time.shape} and {index.shape}")
    return time, index


def _real(time: jax.Array, index: jax.Array, steps: int, inputs: int) -> jax.Array:
    """Which entries lie within the time axis and the inputs."""
    return (time >= 0) & (time < steps) & (index >= 0) & (index < inputs)


def _in_order(
    group: jax.Array, other: jax.Array, real: jax.Array, groups: int, others: int
) -> tuple[jax.Array, jax.Array]:
    """Sorts the entries of each sample by group, `[B, E]`; those not real come last, in none."""
    group, other = jnp.where(real, group, groups), jnp.where(real, other, 0)
    bits = max(0, others - 1).bit_length()
    if (groups + 1) << bits < 2**31:
        # One packed key: a sort of pairs is five times slower on a CPU.
        key = by_pieces(partial(lax.sort, dimension=1), (group << bits) | other)
        return key >> bits, key & (2**bits - 1)
    group, other = lax.sort((group, other), dimension=1, num_keys=1)
    return group, other


def _dealt(group: jax.Array, column: jax.Array, groups: int) -> _Rows:
    """Deals the entries of samples, `[B, E]` in order of groups, to a row a (group, sample).

    Samples sorted apart and then dealt take less time than one sort of all entries on a CPU.
    """
    batch, entries = group.shape
    row = group * batch + jnp.arange(batch, dtype=jnp.int32)[:, None]  # of no group: past the last
    counts = jnp.zeros(groups * batch, jnp.int32).at[row.ravel()].add(1, mode="drop")
    counts = counts.reshape(groups, batch)
    own, within = _running(counts), _running(counts.T)  # [G, B] over groups, [B, G] over samples
    ends = (own.sum(axis=1, dtype=jnp.int32) - within[-1])[:, None] + within.T
    # From an entry's place among those of its sample to its place among all.
    place = (ends - own).ravel().at[row].get(mode="clip")
    place += jnp.arange(entries, dtype=jnp.int32)[None]
    place = jnp.where(group < groups, place, batch * entries)
    flat = jnp.zeros(batch * entries, jnp.int32).at[place.ravel()].set(column.ravel(), mode="drop")
    return _Rows(flat, jnp.concatenate([jnp.zeros(1, jnp.int32), ends.ravel()]))


def _running(x: jax.Array) -> jax.Array:
    """Running sums along the first axis of `[n, m]`, in a sixth of `jnp.cumsum`'s time on a CPU."""

    def add(total: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        return total + row, total + row

    return lax.scan(add, jnp.zeros_like(x[0]), x)[1]


def _sum_rows(rows: _Rows, matrix: jax.Array) -> jax.Array:
    """Adds up the rows of a matrix that each compressed row names.

    JAX's sparse formats are experimental; this is the one place that uses them.
    """
    from jax.experimental import sparse  # a tenth of a second that few need

    if 0 in (*rows.column.shape, len(rows.first) - 1, *matrix.shape):
        return jnp.zeros((len(rows.first) - 1, matrix.shape[1]), matrix.dtype)
    ones = jnp.ones(rows.column.shape, matrix.dtype)
    shape = (len(rows.first) - 1, matrix.shape[0])
    return sparse.BCSR((ones, rows.column, rows.first), shape=shape) @ matrix
