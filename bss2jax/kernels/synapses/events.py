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
from bss2jax.kernels.mesh import axes_of, over_mesh


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


def _sorted(steps: int, inputs: int, time: jax.Array, index: jax.Array) -> SortedEvents:
    batch = len(time)
    moment = (time * batch + jnp.arange(batch, dtype=jnp.int32)[:, None]).reshape(-1)
    real, index = _real(time, index, steps, inputs).reshape(-1), index.reshape(-1)
    return SortedEvents(
        by_step=_compress(moment, index, real, steps * batch, inputs),
        by_input=_compress(index, moment, real, inputs, steps * batch),
        steps=steps,
        batch=batch,
        inputs=inputs,
    )


def _known(events: Events) -> tuple[jax.Array, jax.Array]:
    """Times and indices of events, int32 `[B, E]` each."""
    time, index = wholes(events.time, "Events.time"), wholes(events.index, "Events.index")
    if time.ndim != 2 or time.shape != index.shape:
        raise ValueError(f"Events: expected [B, E] each, got {time.shape} and {index.shape}")
    return time, index


def _real(time: jax.Array, index: jax.Array, steps: int, inputs: int) -> jax.Array:
    """Which entries lie within the time axis and the inputs."""
    return (time >= 0) & (time < steps) & (index >= 0) & (index < inputs)


def _compress(row: jax.Array, column: jax.Array, real: jax.Array, rows: int, columns: int) -> _Rows:
    """Sorts entries by row; those that are not real come last and belong to no row."""
    if 0 in (rows, columns, len(row)):
        return _Rows(jnp.zeros(0, jnp.int32), jnp.zeros(rows + 1, jnp.int32))
    row = jnp.where(real, row, rows)
    if (rows + 1) * columns < 2**31:
        # One packed key: a sort of pairs is five times slower on a CPU.
        key = lax.sort(jnp.where(real, row * columns + column, rows * columns))
        row, column = key // columns, key % columns
    else:
        row, column = lax.sort((row, column), num_keys=1)
    first = jnp.searchsorted(row, jnp.arange(rows + 1, dtype=jnp.int32)).astype(jnp.int32)
    return _Rows(jnp.where(row < rows, column, 0).astype(jnp.int32), first)


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
