"""What the digital processors do with 8-bit readouts, exactly as the reference does it.

References: hxtorch `perceptron/detail/relu.cpp`, `add.cpp`, `argmax.cpp`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bss2jax.chip.substrate import BSS2


@jax.custom_jvp
def relu(y: jax.Array) -> jax.Array:
    """Rectifies a readout: floor, then clip to 0..127.

    Args:
        y: `[..., N]` membrane readout, LSB.

    Returns:
        `[..., N]` float32, integer-valued, 0..127. Gradient: 1[y > 0].
    """
    return jnp.clip(jnp.floor(y), 0, BSS2.readout_max)


@relu.defjvp
def _relu_jvp(primals, tangents):
    (y,), (dy,) = primals, tangents
    return relu(y), jnp.where(y > 0, dy, 0)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def converting_relu(y: jax.Array, shift: int = 1) -> jax.Array:
    """Rectifies, right-shifts and clips to the 5-bit input range.

    Args:
        y: `[..., N]` membrane readout, LSB, -128..127.
        shift: bits to drop.

    Returns:
        `[..., N]` activations 0..31, float32, integer-valued. Gradient: 1[y > 0] / 2^shift.
    """
    return jnp.clip(jnp.floor(relu(y) / 2**shift), 0, BSS2.activation_max)


@converting_relu.defjvp
def _converting_relu_jvp(shift, primals, tangents):
    (y,), (dy,) = primals, tangents
    return converting_relu(y, shift), jnp.where(y > 0, dy / 2**shift, 0)


@jax.custom_jvp
def add(a: jax.Array, b: jax.Array) -> jax.Array:
    """Adds two readouts as saturating int8 numbers: clip(clip(floor a) + clip(floor b)).

    Args:
        a: `[..., N]` LSB.
        b: `[N]`, or any shape broadcastable to that of `a`, LSB: another readout, or a bias.

    Returns:
        `[..., N]` float32, integer-valued, -128..127. Gradient: that of a + b.
    """
    return _int8(_int8(a) + _int8(b))


@add.defjvp
def _add_jvp(primals, tangents):
    (a, b), (da, db) = primals, tangents
    y = add(a, b)
    return y, jnp.broadcast_to(da + db, y.shape).astype(y.dtype)


def argmax(y: jax.Array, axis: int = -1) -> jax.Array:
    """Returns the index of the largest readout along `axis`, int32, as the processor finds it.

    Ties go to the lowest index. There is no gradient.

    Args:
        y: `[..., N]` readout, LSB.
        axis: along which to look.

    Returns:
        `[...]` int32.
    """
    return jax.lax.stop_gradient(jnp.argmax(y, axis=axis).astype(jnp.int32))


def _int8(y):
    return jnp.clip(jnp.floor(y), BSS2.readout_min, BSS2.readout_max)
