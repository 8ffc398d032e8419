"""One specimen of the chip: its fixed pattern, by physical place, as a pytree.

The spreads of the default chip are assumed (nobody published them per quantity); they stand until
the virtual chip is fitted to silicon.
"""

from dataclasses import dataclass, fields, replace
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
        leak, reset: of a neuron circuit's potentials, as a share of the way from leak to threshold.
        threshold: of its threshold, likewise.
        threshold_shift: by how much all thresholds lie too high, likewise.
        tau_mem, tau_syn: of its time constants, relative.
        strength: of its synaptic input, relative; excitatory and inhibitory drawn apart.
        threshold_noise: trial-to-trial noise of its threshold, as a share of the same way.
        jitter: trial-to-trial noise of a spike's time, s.

    References: DelGrad, 10.1038/s41467-025-63120-y (threshold, jitter); the others are assumed.
    """

    synapse: float = 0.10
    driver: float = 0.0
    gain: float = 0.05
    offset: float = 3.0
    noise_std: float = 2.0  # hxtorch mock parameter

    leak: float = 0.03
    reset: float = 0.03
    threshold: float = 0.031
    threshold_shift: float = 0.05
    tau_mem: float = 0.10
    tau_syn: float = 0.10
    strength: float = 0.10
    threshold_noise: float = 0.015
    jitter: float = 60e-9

    @classmethod
    def none(cls) -> "Mismatch":
        """Returns no spread and no noise: chips drawn with it are ideal."""
        return cls(**{field.name: 0.0 for field in fields(cls)})

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, Real) and 0 <= value < float("inf")):
                raise ValueError(
                    f"Mismatch.{field.name}: expected a finite number >= 0, got {value!r}"
                )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Circuits:
    """The fixed pattern of the neuron circuits in spiking operation, by place: each `[H, C]`.

    Attributes:
        leak, reset, threshold: deviations, as shares of the way from leak to threshold.
        tau_mem, tau_syn: factors, 1 = nominal.
        strength: `[2, H, C]` factor of excitatory and of inhibitory input, 1 = nominal.
        threshold_noise: std from trial to trial, a share of the same way.
        jitter: `[]` std of a spike's time from trial to trial, s.
    """

    leak: jax.Array
    reset: jax.Array
    threshold: jax.Array
    tau_mem: jax.Array
    tau_syn: jax.Array
    strength: jax.Array
    threshold_noise: jax.Array
    jitter: jax.Array


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
        circuits: what the neuron circuits do in spiking operation.
    """

    synapse_gain: jax.Array
    driver_gain: jax.Array
    column_gain: jax.Array
    offset: jax.Array
    noise_std: jax.Array
    circuits: Circuits


def ideal_chip(substrate: Substrate = BSS2, noise_std: float = 0.0) -> Chip:
    """Returns a chip without fixed pattern.

    With `noise_std=2` and a key in the product it is the reference's software mode.

    Args:
        substrate: whose sizes the chip has.
        noise_std: trial noise of every readout, LSB.
    """
    return sample_chip(jax.random.key(0), replace(Mismatch.none(), noise_std=noise_std), substrate)


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
    return Chip(
        synapse_gain=_factors(k_synapse, mismatch.synapse, (h, 2, r, c)),
        driver_gain=_factors(k_driver, mismatch.driver, (h, r)),
        column_gain=_factors(k_gain, mismatch.gain, (h, c)),
        offset=mismatch.offset * jax.random.normal(k_offset, (h, c)),
        noise_std=jnp.full((h, c), mismatch.noise_std, jnp.float32),
        # Folded, not split: the pattern of the products does not depend on what else there is.
        circuits=_sample_circuits(jax.random.fold_in(key, 1), mismatch, (h, c)),
    )


def _sample_circuits(key, mismatch, shape):
    keys = iter(jax.random.split(key, 6))

    def deviation(std):
        return std * jax.random.normal(next(keys), shape)

    return Circuits(
        leak=deviation(mismatch.leak),
        reset=deviation(mismatch.reset),
        threshold=mismatch.threshold_shift + deviation(mismatch.threshold),
        tau_mem=_time_factors(next(keys), mismatch.tau_mem, shape),
        tau_syn=_time_factors(next(keys), mismatch.tau_syn, shape),
        strength=_factors(next(keys), mismatch.strength, (2, *shape)),
        threshold_noise=jnp.full(shape, mismatch.threshold_noise, jnp.float32),
        jitter=jnp.float32(mismatch.jitter),
    )


def _factors(key, std, shape):
    return jnp.maximum(1.0 + std * jax.random.normal(key, shape), 0.0)


def _time_factors(key, std, shape):
    # A time constant of zero would divide by zero; a tenth of the target is beyond any setting.
    return jnp.maximum(1.0 + std * jax.random.normal(key, shape), 0.1)
