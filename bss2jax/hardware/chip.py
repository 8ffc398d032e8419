"""One specimen of the chip: its fixed pattern, by physical place, as a pytree.

The spreads of the default chip are assumed (nobody published them per quantity); they stand until
the virtual chip is fitted to silicon.
"""

from dataclasses import dataclass, fields
from numbers import Real

import jax
import jax.numpy as jnp

from bss2jax.hardware.substrate import BSS2, Substrate


@dataclass(frozen=True)
class Mismatch:
    """How far specimens spread, as standard deviations. The default is an assumed typical chip.

    Attributes:
        synapse: of one synapse's strength, relative; excitatory and inhibitory drawn apart.
        driver: of one synapse driver's pulse, relative, shared by a signed row.
        gain: of one column's gain, relative.
        offset: of one column's readout offset, LSB per read.
        noise_std: trial-to-trial noise of one readout, LSB; not a spread over specimens, but it
            belongs to what is injected.
    """

    synapse: float = 0.10
    driver: float = 0.0
    gain: float = 0.05
    offset: float = 3.0
    noise_std: float = 2.0  # hxtorch mock parameter

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, Real) and 0 <= value < float("inf")):
                raise ValueError(
                    f"Mismatch.{field.name}: expected a finite number >= 0, got {value!r}"
                )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Chip:
    """The fixed pattern of one chip: what differs from place to place and stays.

    H hemispheres, R signed rows, C columns; the two signs are (excitatory, inhibitory). Layers and
    blocks that run one after the other on the same array meet the same pattern. A stack of chips
    is this same pytree with a leading axis: draw one with `jax.vmap(sample_chip)(keys)`.

    Attributes:
        synapse_gain: `[H, 2, R, C]` strength of each synapse, 1 = nominal.
        driver_gain: `[H, R]` pulse length of each row's driver, 1 = nominal.
        column_gain: `[H, C]` gain of each column's neuron and readout, 1 = nominal.
        offset: `[H, C]` added to each readout, LSB.
        noise_std: `[H, C]` standard deviation of each readout from trial to trial, LSB.
    """

    synapse_gain: jax.Array
    driver_gain: jax.Array
    column_gain: jax.Array
    offset: jax.Array
    noise_std: jax.Array


def ideal_chip(substrate: Substrate = BSS2, noise_std: float = 0.0) -> Chip:
    """Returns a chip without fixed pattern.

    With `noise_std=2` and a key in the product it is the reference's software mode.

    Args:
        substrate: whose sizes the chip has.
        noise_std: trial noise of every readout, LSB.
    """
    mismatch = Mismatch(synapse=0, driver=0, gain=0, offset=0, noise_std=noise_std)
    return sample_chip(jax.random.key(0), mismatch, substrate)


def sample_chip(
    key: jax.Array, mismatch: Mismatch = Mismatch(), substrate: Substrate = BSS2
) -> Chip:
    """Draws a chip: every quantity normal around its nominal value, gains cut at 0.

    Args:
        key: decides the specimen; `jax.random.key(n)` is chip number n everywhere in bss2jax.
        mismatch: the spreads.
        substrate: whose sizes the chip has.

    Returns:
        A `Chip` of float32 arrays.
    """
    h, r, c = substrate.hemispheres, substrate.rows, substrate.columns
    k_synapse, k_driver, k_gain, k_offset = jax.random.split(key, 4)

    def gains(key, std, shape):
        return jnp.maximum(1.0 + std * jax.random.normal(key, shape), 0.0)

    return Chip(
        synapse_gain=gains(k_synapse, mismatch.synapse, (h, 2, r, c)),
        driver_gain=gains(k_driver, mismatch.driver, (h, r)),
        column_gain=gains(k_gain, mismatch.gain, (h, c)),
        offset=mismatch.offset * jax.random.normal(k_offset, (h, c)),
        noise_std=jnp.full((h, c), mismatch.noise_std, jnp.float32),
    )
