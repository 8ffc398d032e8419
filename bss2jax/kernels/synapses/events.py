"""Spike trains as events, and the product of events with weights.

A raster `[T, B, K]` of a time-to-first-spike code is empty but for one entry a pixel. Multiplying
only the entries that are there is several times faster than the dense product, both ways.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import lax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Events:
    """Spikes of a batch, as many entries for every sample; entries at time T or later are none.

    Attributes:
        time: `[B, E]` int32, step of each event.
        index: `[B, E]` int32, the input that spikes.
    """

    time: jax.Array
    index: jax.Array


def to_raster(events: Events, steps: int, inputs: int) -> jax.Array:
    """Returns the dense spike train `[T, B, K]`; simultaneous spikes of an input add up.

    Args:
        events: times and indices, `[B, E]`; those at T or later are dropped.
        steps: T.
        inputs: K.
    """
    batch = events.time.shape[0]
    sample = jnp.arange(batch)[:, None]
    raster = jnp.zeros((steps, batch, inputs))
    return raster.at[events.time, sample, events.index].add(1.0, mode="drop")


def to_events(raster: jax.Array, most: int) -> Events:
    """Returns the events of a raster `[T, B, K]`, at most `most` a sample, the earliest first.

    A raster entry counts as one event if it is not zero.
    """
    steps, batch, inputs = raster.shape
    flat = raster.swapaxes(0, 1).reshape(batch, -1)
    place = jnp.where(flat != 0, jnp.arange(steps * inputs), steps * inputs)
    place = lax.sort(place, dimension=1)[:, :most]
    return Events((place // inputs).astype(jnp.int32), (place % inputs).astype(jnp.int32))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SortedEvents:
    """Events in the two orders in which products need them, made once by `sort_events`.

    Attributes:
        by_step: entries in order of (step, sample): which inputs spike then.
        by_input: entries in order of input: at which (step, sample) each spikes.
        steps, batch, inputs: T, B and K.
    """

    by_step: "_Rows"
    by_input: "_Rows"
    steps: int = field(metadata={"static": True})
    batch: int = field(metadata={"static": True})
    inputs: int = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Rows:
    """Compressed rows: the columns of row r are `column[first[r]:first[r + 1]]`."""

    column: jax.Array
    first: jax.Array


def sort_events(events: Events, steps: int, inputs: int) -> SortedEvents:
    """Sorts events for products: most of their cost, and the same for every run of a population.

    Args:
        events: times and indices, `[B, E]`; indices within 0..K-1.
        steps: T.
        inputs: K.
    """
    batch = events.time.shape[0]
    moment = (events.time * batch + jnp.arange(batch)[:, None]).reshape(-1)
    real = (events.time < steps).reshape(-1)
    index = events.index.reshape(-1)
    return SortedEvents(
        by_step=_compress(moment, index, real, steps * batch, inputs),
        by_input=_compress(index, moment, real, inputs, steps * batch),
        steps=steps,
        batch=batch,
        inputs=inputs,
    )


@jax.custom_vjp
def event_product(events: SortedEvents, w: jax.Array) -> jax.Array:
    """Multiplies a spike train, given as sorted events, with weights: `to_raster(...) @ w`.

    Exact but for the order of the sums. The gradient flows to the weights only; events are data.

    Args:
        events: from `sort_events`.
        w: `[K, N]`.

    Returns:
        `[T, B, N]` what the synapses add in each step.
    """
    return _sum_rows(events.by_step, w).reshape(events.steps, events.batch, -1)


def event_product_gradient(events: SortedEvents, dy: jax.Array) -> jax.Array:
    """Returns the gradient `[K, N]` of the weights from that of the product, `[T, B, N]`."""
    return _sum_rows(events.by_input, dy.reshape(-1, dy.shape[-1]))


event_product.defvjp(
    lambda events, w: (event_product(events, w), events),
    lambda events, dy: (None, event_product_gradient(events, dy)),
)


def _compress(row, column, real, rows, columns):
    """Sorts entries by row; those that are not real come last and belong to no row."""
    row = jnp.where(real, row, rows)
    if (rows + 1) * columns < 2**31:
        # One packed key: a sort of pairs is five times slower on a CPU.
        key = lax.sort(jnp.where(real, row * columns + column, rows * columns))
        row, column = key // columns, key % columns
    else:
        row, column = lax.sort((row, column), num_keys=1)
    first = jnp.searchsorted(row, jnp.arange(rows + 1)).astype(jnp.int32)
    return _Rows(jnp.where(row < rows, column, 0).astype(jnp.int32), first)


def _sum_rows(rows, matrix):
    """Adds up the rows of a matrix that each compressed row names.

    JAX's sparse formats are experimental; this is the one place that uses them.
    """
    from jax.experimental import sparse  # a tenth of a second that few need

    ones = jnp.ones(rows.column.shape, matrix.dtype)
    shape = (len(rows.first) - 1, matrix.shape[0])
    return sparse.BCSR((ones, rows.column, rows.first), shape=shape) @ matrix
