"""Events and rasters say the same; products with events are dense products, both ways."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax.kernels.synapses.base import product
from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.events import Events, sort_events, to_events, to_raster

T, B, K, N, E = 6, 4, 5, 3, 12


def drawn(kind):
    """Events of four samples."""
    rng = np.random.default_rng(8)
    time, index = rng.integers(0, T, (B, E)), rng.integers(0, K, (B, E))
    match kind:
        case "duplicated":
            time[:, E // 2 :], index[:, E // 2 :] = time[:, : E // 2], index[:, : E // 2]
        case "some empty samples":
            time[[0, 2]] = T
        case "some padded":
            time[:, ::3] = T + 2
        case "out of range":  # on either side of time and of index
            time[:, ::4], time[:, 1::4] = -1, T
            index[:, 2::4], index[:, 3::4] = -1, K
            time[:, :4], index[:, :4] = [0, 1, 2, 3], [1, 2, 3, 4]
        case "none":
            time[:] = T
    return Events(jnp.int32(time), jnp.int32(index))


KINDS = ("any", "duplicated", "some empty samples", "some padded", "out of range", "none")


def dense(events):
    """The raster, entry by entry."""
    raster = np.zeros((T, B, K), np.float32)
    for b, (times, indices) in enumerate(zip(events.time, events.index, strict=True)):
        for t, k in zip(times, indices, strict=True):
            if 0 <= t < T and 0 <= k < K:
                raster[t, b, k] += 1
    return raster


@pytest.mark.parametrize("kind", KINDS)
def test_the_raster_has_a_spike_for_every_event(kind):
    np.testing.assert_array_equal(to_raster(drawn(kind), T, K), dense(drawn(kind)))


@pytest.mark.parametrize("density", (0.0, 0.3, 1.0))
def test_raster_to_events_and_back_is_identity(density):
    raster = (np.random.default_rng(9).random((T, B, K)) < density).astype(np.float32)
    events = to_events(jnp.asarray(raster), T * K)
    assert events.time.shape == (B, T * K) and events.time.dtype == jnp.int32
    np.testing.assert_array_equal(to_raster(events, T, K), raster)


def test_too_many_spikes_keep_the_earliest():
    raster = jnp.ones((T, B, K))
    kept = to_raster(to_events(raster, 2 * K), T, K)
    np.testing.assert_array_equal(kept.sum((1, 2)), [B * K, B * K, 0, 0, 0, 0])


@jax.jit
def product_and_gradient(events, w, dy):
    y, backward = jax.vjp(partial(product, sort_events(events, T, K)), w)
    return y, backward(dy)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_event_product_is_the_dense_product_forward_and_backward(kind):
    rng = np.random.default_rng(10)
    w, dy = rng.normal(size=(K, N)), rng.normal(size=(T, B, N))
    y, dw = product_and_gradient(drawn(kind), jnp.float32(w), jnp.float32(dy))
    raster = dense(drawn(kind))
    # At most E terms a sum forward, B E backward: n roundings of sums below 4 n.
    np.testing.assert_allclose(y, raster @ w, atol=4 * E**2 * 2.0**-24)
    np.testing.assert_allclose(
        dw, np.einsum("tbk,tbn->kn", raster, dy), atol=4 * (B * E) ** 2 * 2.0**-24
    )
    if kind == "none":
        assert (y == 0).all() and (dw == 0).all()


def test_a_list_of_no_events_at_all_is_silence():
    none = Events(jnp.zeros((B, 0), jnp.int32), jnp.zeros((B, 0), jnp.int32))
    events = sort_events(none, T, K)
    assert (to_raster(none, T, K) == 0).all()
    y, pull = jax.vjp(partial(product, events), jnp.ones((K, N)))
    assert y.shape == (T, B, N) and (y == 0).all()
    assert (pull(jnp.ones((T, B, N)))[0] == 0).all()


def test_the_order_of_events_does_not_matter():
    events, w = drawn("some padded"), jnp.arange(K * N, dtype=jnp.float32).reshape(K, N)
    turned = Events(events.time[:, ::-1], events.index[:, ::-1])
    dy = jnp.arange(T * B * N, dtype=jnp.float32).reshape(T, B, N)  # integers: sums are exact
    for a, b in zip(product_and_gradient(events, w, dy), product_and_gradient(turned, w, dy)):
        np.testing.assert_array_equal(a, b)


def test_sorting_packed_or_as_pairs_gives_the_same_products():
    """2^13 steps of 8 samples with 2^15 inputs do not fit one 32-bit key: pairs are sorted."""
    steps, batch, inputs, most = 2**13, 8, 2**15, 20
    rng = np.random.default_rng(12)
    time, index = rng.integers(0, T, (batch, most)), rng.integers(0, K, (batch, most))
    time[3], time[:, 5] = steps, steps + 7
    events = Events(jnp.int32(time), jnp.int32(index))
    large = sort_events(events, steps, inputs)
    small = sort_events(replace(events, time=jnp.minimum(events.time, T)), T, K)
    w = jnp.int32(rng.integers(-9, 9, (K, 1))).astype(jnp.float32)  # integers: sums are exact
    dy = jnp.int32(rng.integers(-9, 9, (T, batch, 1))).astype(jnp.float32)
    y = product(large, jnp.zeros((inputs, 1)).at[:K].set(w))
    np.testing.assert_array_equal(y[:T], product(small, w))
    assert (y[T:] == 0).all()
    _, dw = large.gradient(jnp.zeros((inputs, 1)), jnp.ones((steps, batch, 1)).at[:T].set(dy))
    np.testing.assert_array_equal(dw[:K], small.gradient(w, dy)[1])
    assert (dw[K:] == 0).all()


def test_many_samples_are_each_their_own():
    batch = 1000
    rng = np.random.default_rng(13)
    events = Events(
        jnp.int32(rng.integers(0, T + 1, (batch, E))), jnp.int32(rng.integers(0, K, (batch, E)))
    )
    w = jnp.float32(rng.integers(-63, 64, (K, N)))
    y = product(sort_events(events, T, K), w)
    expected = np.asarray(to_raster(events, T, K)) @ np.asarray(w)
    np.testing.assert_array_equal(y, expected)


def test_products_are_mapped_over_weights():
    """A stack of chips shares the events."""
    events = sort_events(drawn("any"), T, K)
    w = jnp.float32(np.random.default_rng(14).integers(-9, 9, (3, K, N)))
    mapped = jax.vmap(partial(product, events))(w)
    for y, each in zip(mapped, w, strict=True):
        np.testing.assert_array_equal(y, product(events, each))


@pytest.mark.parametrize("batch, inputs, steps", [(0, K, T), (B, K, 0), (0, K, 0)])
def test_nothing_makes_nothing(batch, inputs, steps):
    """No samples, or no time: shapes are right and sums are zero."""
    none = Events(jnp.zeros((batch, E), jnp.int32), jnp.zeros((batch, E), jnp.int32))
    w = jnp.ones((inputs, N))
    for sent in (sort_events(none, steps, inputs), Raster(to_raster(none, steps, inputs))):
        y, pull = jax.vjp(lambda w, sent=sent: product(sent, w), w)
        assert y.shape == (steps, batch, N)
        (dw,) = pull(jnp.ones_like(y))
        assert dw.shape == w.shape and (dw == 0).all()
