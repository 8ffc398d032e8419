"""Synapses of both signs apart: a neuron with conductances has a current of each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bss2jax.kernels.synapses.base import Shown
from bss2jax.kernels.synapses.codes import Codes, shown_weights


def held(
    w: jax.Array,
    unit: Any,
    strength: Callable[[], jax.Array] | None,
    positions: int | None = None,
    *,
    codes: Codes | None,
    both: bool,
) -> tuple[jax.Array, Shown | None]:
    """Returns weights, `[..., N]` or of both signs apart `[..., 2 N]`, and as synapses show them.

    Args:
        w: the weights of a population, or some of its neurons.
        unit: software units of an LSB, or None without codes.
        strength: makes the strengths of the synapses; None: all are nominal.
        positions: P of receptive fields, or None.
        codes: what synapses hold; None: the weights as they are.
        both: whether both signs are apart.
    """
    known = None if strength is None or codes is None else strength()
    if both:
        w, known = apart(w), twice(known, positions)
    return w, None if codes is None else shown_weights(w, codes, unit, known, positions)


def apart(w: jax.Array) -> jax.Array:
    """Returns weights `[..., N]` as `[..., 2 N]`: those above 0 of all neurons, then the others."""
    return jnp.concatenate([jnp.maximum(w, 0), jnp.minimum(w, 0)], axis=-1)


def twice(strength: jax.Array | None, positions: int | None) -> jax.Array | None:
    """Returns strengths `[..., N]`, the same of both signs' weights, or None.

    Args:
        strength: `[2, ..., N]` of synapses or of neurons, positions and channels in one axis.
        positions: P of receptive fields, or None.
    """
    if strength is None:
        return None
    by_position = strength.reshape(*strength.shape[:-1], positions or 1, -1)
    both = jnp.concatenate([by_position, by_position], axis=-1)
    return both.reshape(*strength.shape[:-1], -1)


def by_sign(drive: jax.Array, positions: int | None) -> jax.Array:
    """Returns what weights that are apart make, `[T, B, 2, N]`, of `[T, B, P 2 C]`."""
    neurons = drive.shape[-1] // 2
    both = drive.reshape(*drive.shape[:-1], positions or 1, 2, neurons // (positions or 1))
    return jnp.moveaxis(both, -2, 2).reshape(*drive.shape[:-1], 2, neurons)
