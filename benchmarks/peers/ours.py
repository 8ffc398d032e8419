"""The yardstick, a scan with its gradient written by hand, and bss2jax: dense, and with events."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from workload import ALPHA, GAIN, KEEP_I, KEEP_U, RATE, SCALE, Case

import bss2jax
from bss2jax import LI, LIF

TEMPORARIES = 14 * 2**20  # bytes that a tile of samples may take


# --- by hand: products of all steps at once, loops over time with what is needed, and no more


@jax.custom_vjp
def lif(drive: jax.Array, recurrent: jax.Array | None) -> jax.Array:
    """Returns spikes `[T, B, N]` of a drive `[T, B, N]`."""
    return _lif_forward(drive, recurrent)[0]


def _lif_forward(drive: jax.Array, recurrent: jax.Array | None) -> tuple:
    def step(carry: Any, x: jax.Array) -> Any:
        u, i, z = carry
        i = KEEP_I * i + x + (0 if recurrent is None else z @ recurrent)
        u = KEEP_U * u + GAIN * i
        z = (u > 1).astype(u.dtype)
        return (u * (1 - z), i, z), u

    zero = jnp.zeros_like(drive[0])
    u = lax.scan(step, (zero, zero, zero), drive)[1]
    z = (u > 1).astype(u.dtype)
    return z, (u, recurrent)


def _lif_backward(residuals: tuple, dz: jax.Array) -> tuple:
    u, recurrent = residuals

    def step(carry: Any, at: Any) -> Any:
        later, di, back = carry
        u, dz = at
        dz = dz + (0 if recurrent is None else back @ recurrent.T)
        slope = 1 / (ALPHA * jnp.abs(u - 1) + 1) ** 2
        du = dz * slope + KEEP_U * later * (u <= 1)
        dx = KEEP_I * di + GAIN * du
        return (du, dx, dx), dx

    zero = jnp.zeros_like(u[0])
    dx = lax.scan(step, (zero, zero, zero), (u, dz), reverse=True)[1]
    if recurrent is None:
        return dx, None
    z = (u[:-1] > 1).astype(u.dtype)
    return dx, jnp.tensordot(z, dx[1:], ((0, 1), (0, 1)))


lif.defvjp(_lif_forward, _lif_backward)


def by_hand(params: dict, raster: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns membranes of the readout `[T, B, O]`, and spikes `[T, B, N]`."""
    spikes = lif(raster @ params["hidden"], params.get("recurrent"))
    time = jnp.arange(len(raster))
    # A readout without spikes is linear: the sum over time is one product.
    past = jnp.tril(time[:, None] - time)
    falls = GAIN * (KEEP_I ** (past + 1) - KEEP_U ** (past + 1)) / (KEEP_I - KEEP_U)
    kernel = jnp.where(time[:, None] >= time, falls, 0)
    return jnp.tensordot(kernel, spikes @ params["readout"], 1), spikes


# --- bss2jax


def populations(params: dict, sent: Any, steps: int) -> tuple[jax.Array, jax.Array]:
    """Returns the same, of two populations."""
    hidden = bss2jax.population(
        sent, params["hidden"], LIF(tau_mem=6e-6, tau_syn=5.7e-6, dt=1e-6),
        recurrent=params.get("recurrent"), steps=steps,
    )  # fmt: skip
    readout = LI(tau_mem=6e-6, tau_syn=5.7e-6, dt=1e-6)
    return bss2jax.population(hidden.spikes, params["readout"], readout).membrane, hidden.spikes


# --- the training that all JAX libraries share


class Training:
    """A network of JAX, trained on one batch; compiled at the first step.

    Args:
        case: the batch.
        network: `network(params, sent) -> (membranes, spikes)`.
        params: a tree of weights; None: those of the case, by name.
        tiles: what is sent, tile by tile of samples; None: the raster of all.
        rate: the rate of learning.
    """

    def __init__(
        self,
        case: Case,
        network: Callable,
        params: Any = None,
        tiles: list | None = None,
        rate: float = RATE,
    ) -> None:
        self.network = network
        weights = jax.tree.map(jnp.asarray, case.weights() if params is None else params)
        labels = jnp.asarray(case.labels())
        tiles = [jnp.asarray(case.spikes())] if tiles is None else tiles
        self.sent = jax.tree.map(lambda *a: jnp.stack(a), *tiles)
        self.labels = labels.reshape(len(tiles), -1)
        optimizer = optax.adam(rate)
        self.state = weights, optimizer.init(weights)
        # Of recurrent ones two tiles at once: XLA runs the loops of both, on a core each, whose
        # products are too small for two.
        step = jax.jit(partial(_step, network, optimizer, 2 if case.recurrent else 1))
        self.compiled = step.lower(*self.state, self.sent, self.labels).compile()

    def outputs(self) -> tuple:
        """Returns spikes `[T, B, N]`, None where the library keeps them, and scores `[B, O]`."""
        run = jax.jit(jax.vmap(self.network, (None, 0)))
        membranes, spikes = run(self.state[0], self.sent)  # [tiles, T, b, ...]
        join = lambda a: None if a is None else jnp.concatenate(list(a), axis=1)  # noqa: E731
        return join(spikes), SCALE * join(membranes).max(0)

    def step(self) -> None:
        """Takes a step of the training."""
        self.state = jax.block_until_ready(self.compiled(*self.state, self.sent, self.labels))


def _loss(network: Callable, params: Any, sent: Any, labels: jax.Array) -> jax.Array:
    scores = SCALE * network(params, sent)[0].max(0)
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).sum()


def _step(
    network: Callable,
    optimizer: Any,
    at_once: int,
    params: Any,
    state: Any,
    sent: Any,
    labels: jax.Array,
) -> tuple:
    slope_of = jax.grad(partial(_loss, network))

    def add(total: Any, tile: Any) -> tuple:
        return jax.tree.map(jnp.add, total, slope_of(params, *tile)), None

    if len(labels) == 1:
        slope = slope_of(params, *jax.tree.map(lambda a: a[0], (sent, labels)))
    else:
        none = jax.tree.map(jnp.zeros_like, params)
        slope = lax.scan(add, none, (sent, labels), unroll=at_once)[0]
    slope = jax.tree.map(lambda g: g / labels.size, slope)
    updates, state = optimizer.update(slope, state, params)
    return optax.apply_updates(params, updates), state


def hand(case: Case) -> Training:
    return Training(case, by_hand, tiles=_halves(case))


def _tiles(case: Case, most: int = TEMPORARIES) -> list[jax.Array]:
    """The raster in the fewest equal tiles whose temporaries, four rasters, are small enough."""
    each = 4 * 4 * case.steps * 256
    fits = (n for n in range(1, case.batch + 1) if case.batch % n == 0)
    number = next((n for n in fits if case.batch // n * each <= most), case.batch)
    return jnp.split(jnp.asarray(case.spikes()), number, axis=1)


def _halves(case: Case) -> list[jax.Array]:
    """Tiles of which two at once have room: rasters take more than events."""
    return _tiles(case, TEMPORARIES // 2 if case.recurrent else TEMPORARIES)


def dense(case: Case) -> Training:
    return Training(case, partial(populations, steps=case.steps), tiles=_halves(case))


def events(case: Case) -> Training:
    rasters = _tiles(case)
    most = max(int(tile.sum(axis=(0, 2)).max()) for tile in rasters)
    tiles = [
        bss2jax.sort_events(bss2jax.to_events(tile, most), case.steps, case.inputs)
        for tile in rasters
    ]
    return Training(case, partial(populations, steps=case.steps), tiles=tiles)
