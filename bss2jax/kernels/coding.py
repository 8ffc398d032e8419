"""Values of the world into activations of the chip, and tensors into the chip's ranges."""

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.hardware.substrate import BSS2, Substrate


def encode_activations(
    values: jax.Array, full_scale: float, substrate: Substrate = BSS2
) -> jax.Array:
    """Maps values 0..full_scale linearly to activations 0..31, float32, not yet rounded.

    The product rounds them; an execution without rounding sees what is here.

    Args:
        values: `[...]`, such as uint8 pixels.
        full_scale: the value that becomes 31.
        substrate: whose activation range is filled.
    """
    return jnp.asarray(values, jnp.float32) * jnp.float32(substrate.activation_max / full_scale)


def scale_input(x: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Scales a tensor by 31 / max x; the factor is detached from the gradient.

    References: hxtorch `nn.scale_input`.
    """
    return x * _factor(substrate.activation_max, x.max())


def scale_weight(w: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Scales a tensor by 63 / max |w|; the factor is detached from the gradient.

    References: hxtorch `nn.scale_weight`.
    """
    return w * _factor(substrate.weight_max, jnp.abs(w).max())


def _factor(limit, largest):
    # A tensor of zeros stays one.
    return lax.stop_gradient(jnp.where(largest > 0, limit / jnp.where(largest > 0, largest, 1), 1))
