"""What the digital processors do with 8-bit readouts, exactly as the reference does it.

References: hxtorch `perceptron/detail/relu.cpp`, `add.cpp`, `argmax.cpp`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bss2jax.arrays import count, floats
from bss2jax.chip.substrate import BSS2, Substrate


def relu(y: ArrayLike, *, substrate: Substrate = BSS2) -> jax.Array:
    """Rectifies a readout: floor, then clip to 0..127.

    Args:
        y: `[..., N]` membrane readout, LSB.
        substrate: the substrate whose readout range clips.

    Returns:
        `[..., N]` float32, integer-valued, 0..127. Gradient: 1[y > 0].
    """
    return _relu(substrate, floats(y, "y"))


def converting_relu(y: ArrayLike, shift: int = 1, *, substrate: Substrate = BSS2) -> jax.Array:
    """Rectifies, right-shifts and clips to the 5-bit input range.

    Args:
        y: `[..., N]` membrane readout, LSB, -128..127.
        shift: bits to drop.
        substrate: the substrate whose readout and input ranges clip.

    Returns:
        `[..., N]` activations 0..31, float32, integer-valued. Gradient: 1[y > 0] / 2^shift.
    """
    return _converting_relu(substrate, count("shift", shift, 0), floats(y, "y"))


def add(a: ArrayLike, b: ArrayLike, *, substrate: Substrate = BSS2) -> jax.Array:
    """Adds two readouts as saturating int8 numbers: clip(clip(floor a) + clip(floor b)).

    Args:
        a: `[..., N]` LSB.
        b: `[N]`, or any shape broadcastable to that of `a`, LSB: another readout, or a bias.
        substrate: the substrate whose readout range clips.

    Returns:
        `[..., N]` float32, integer-valued, -128..127. Gradient: that of a + b.
    """
    a, b = floats(a, "a"), floats(b, "b")
    axes = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (axes - x.ndim) + x.shape) for x in (a, b))
    return _add(substrate, a, b)


def argmax(y: ArrayLike, axis: int = -1) -> jax.Array:
    """Returns the index of the largest readout along `axis`, int32, as the processor finds it.

    Ties go to the lowest index. There is no gradient.

    Args:
        y: `[..., N]` readout, LSB.
        axis: along which to look.

    Returns:
        `[...]` int32.
    """
    return jnp.argmax(floats(y, "y"), axis=axis).astype(jnp.int32)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _relu(substrate: Substrate, y: jax.Array) -> jax.Array:
    return jnp.clip(jnp.floor(y), 0, substrate.readout_max)


@_relu.defjvp
def _relu_jvp(substrate: Substrate, primals: tuple, tangents: tuple) -> tuple:
    (y,), (dy,) = primals, tangents
    return _relu(substrate, y), jnp.where(y > 0, dy, 0)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _converting_relu(substrate: Substrate, shift: int, y: jax.Array) -> jax.Array:
    return jnp.clip(jnp.floor(_relu(substrate, y) / 2**shift), 0, substrate.activation_max)


@_converting_relu.defjvp
def _converting_relu_jvp(
    substrate: Substrate, shift: int, primals: tuple, tangents: tuple
) -> tuple:
    (y,), (dy,) = primals, tangents
    return _converting_relu(substrate, shift, y), jnp.where(y > 0, dy / 2**shift, 0)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _add(substrate: Substrate, a: jax.Array, b: jax.Array) -> jax.Array:
    return _int8(substrate, _int8(substrate, a) + _int8(substrate, b))


@_add.defjvp
def _add_jvp(substrate: Substrate, primals: tuple, tangents: tuple) -> tuple:
    (a, b), (da, db) = primals, tangents
    return _add(substrate, a, b), jnp.broadcast_to(da + db, jnp.broadcast_shapes(a.shape, b.shape))


def _int8(substrate: Substrate, y: jax.Array) -> jax.Array:
    return jnp.clip(jnp.floor(y), substrate.readout_min, substrate.readout_max)
