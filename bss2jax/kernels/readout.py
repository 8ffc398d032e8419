"""The analog vector-matrix product of one block of rows, from codes to 8-bit readout.

    p = clip(floor(compress(float32(x W) * float32(s g)) + offset + noise), -128, 127)

References: hxtorch `perceptron/mac` software mode; Weis et al. 2020.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip.substrate import Substrate
from bss2jax.kernels.dot import dot

_MOST_STRENGTH = 2.0


def input_codes(x: jax.Array, substrate: Substrate) -> jax.Array:
    """Rounds inputs `[...]` half to even and clips them to the 5-bit range 0..31."""
    return jnp.clip(jnp.round(x), 0, substrate.activation_max)


def weight_codes(w: jax.Array, substrate: Substrate) -> jax.Array:
    """Rounds weights `[...]` half to even and clips them to the signed 6-bit range -63..63."""
    return jnp.clip(jnp.round(w), -substrate.weight_max, substrate.weight_max)


def fraction_bits(substrate: Substrate) -> int:
    """Returns b: weights with their strengths are multiples of 2^-b LSB, so sums are exact.

    A sum of products is a multiple of 2^-b too, and float32 holds it to the last bit, in whatever
    order or parts it is added up, as long as it stays below 2^24 such units:

        activation_max  x  2 weight_max  x  rows  x  2^b  <=  2^24

    The 2 is the largest strength that a synapse may have. On BSS-2: 31 x 126 x 128 = 499,968, and
    b = 5. It moves weights by 0.4 % of what mismatch moves them.
    """
    largest = substrate.activation_max * _MOST_STRENGTH * substrate.weight_max * substrate.rows
    return max(0, int(math.log2(2**24 / largest)))


def strengthened(codes: jax.Array, strength: jax.Array, substrate: Substrate) -> jax.Array:
    """Multiplies weight codes with strengths cut at 2; multiples of 2^-b: see `fraction_bits`.

    Args:
        codes: `[..., K, N]` -63..63.
        strength: `[..., K, N]` factors, 1 = nominal.
        substrate: the substrate whose ranges decide b.
    """
    unit = 2.0 ** fraction_bits(substrate)
    limited = jnp.clip(strength, -_MOST_STRENGTH, _MOST_STRENGTH)
    return jnp.round(codes * limited * unit) / unit


def nominal_scale(num_sends: int, substrate: Substrate) -> np.float32:
    """Returns LSB of readout per unit of x W: one float32, as products sit on the floor's edge."""
    return np.float32(num_sends * substrate.gain)


def readout(
    product: jax.Array,
    scale: jax.Array,
    offset: jax.Array | None = None,
    noise: jax.Array | None = None,
    compression: jax.Array | None = None,
    *,
    substrate: Substrate,
) -> tuple[jax.Array, jax.Array]:
    """Reads out the membranes of one block: scale, compress, add, floor, clip.

    Args:
        product: `[B, N]` codes times weights, exact in float32: see `fraction_bits`.
        scale: `[]` or `[N]` float32, LSB per unit of `product`.
        offset: `[N]` LSB, or None.
        noise: `[B, N]` LSB, or None.
        compression: `[N]` 1/LSB, or None: see `compress`.
        substrate: the substrate whose readout range clips.

    Returns:
        The readout `[B, N]`, LSB, integer-valued float32, and where it was clipped, bool `[B, N]`.
    """
    voltage = product * scale
    if compression is not None:
        voltage = compress(voltage, compression, substrate)
    if offset is not None:
        voltage = voltage + offset
    if noise is not None:
        voltage = voltage + noise
    # Floor, not round: the CADC truncates.
    code = jnp.floor(voltage)
    clipped = jnp.clip(code, substrate.readout_min, substrate.readout_max)
    return clipped, code != clipped


def compress(voltage: jax.Array, compression: jax.Array, substrate: Substrate) -> jax.Array:
    """Saturates softly: beyond the linear range an excess e becomes e / (1 + c |e|).

    Args:
        voltage: `[B, N]` deflection of each membrane, LSB.
        compression: `[N]` each column's c, 1/LSB; it ends 1 / c beyond the linear range.
        substrate: the substrate whose linear range it is.

    References: brainscales2-demos tp_01 (that columns saturate differently); the form is assumed.
    """
    linear = jnp.clip(voltage, -substrate.linear_range, substrate.linear_range)
    excess = voltage - linear
    return linear + excess / (1.0 + compression * jnp.abs(excess))


def float_product(x: jax.Array, w: jax.Array, *, num_sends: int, substrate: Substrate) -> jax.Array:
    """The product without rounding, floor, saturation and noise, at the same gain, LSB.

    Args:
        x: `[..., K]` activations.
        w: `[K, N]` weights.
        num_sends: times each input is sent.
        substrate: the substrate whose gain applies.
    """
    return dot(x, w) * nominal_scale(num_sends, substrate)
