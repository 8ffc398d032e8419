"""Calibration of short-term plasticity: the offsets of the drivers' pulses, and nothing else.

As calix does it: the first amplitude of each driver is measured, and its 4-bit trim is searched
until it lies at the median of its block. Utilization and recovery stay as they are.

References: calix `synapse_driver` (search, median of the block); haldls (bits). The span is
assumed.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip import draws
from bss2jax.kernels.synapses.plasticity import ShortTerm

FULL = 63.0  # LSB of a pulse of full length, at the largest weight
_BITS, _SPAN = 4, 0.24  # of the trim, to either side, of a full pulse
_NOISE, _REPEATS = 1.5, 64  # LSB of a read, and how many there are


@dataclass(frozen=True)
class Offsets:
    """What a calibration of offsets did.

    Attributes:
        drivers: the drivers with their trims set.
        codes: `[K]` of the trims.
        before, after: `[K]` first amplitudes as measured, LSB.
    """

    drivers: ShortTerm
    codes: jax.Array
    before: np.ndarray
    after: np.ndarray


def measure_amplitudes(drivers: ShortTerm, key: jax.Array) -> jax.Array:
    """Returns the amplitudes of a first spike of each driver, `[K]` LSB, a mean of noisy reads."""
    offset = jnp.asarray(drivers.offset)
    first = drivers.amplitudes(jnp.ones((1, offset.shape[0])))[0]
    noise = _NOISE / np.sqrt(_REPEATS) * draws.normal(key, first.shape)
    return FULL * first + noise


def calibrate_offsets(drivers: ShortTerm, key: jax.Array, *, blocks: int = 4) -> Offsets:
    """Sets the trims of drivers, whose offsets are `[K]`.

    Args:
        drivers: as they were drawn: see `drivers_of`.
        key: decides the trial noise.
        blocks: the blocks whose drivers share a block of analog cells: even and odd ones of each
            hemisphere.

    Raises:
        ValueError: offsets are not `[K]`, or do not fall into blocks.
    """
    count = np.size(drivers.offset)
    if np.ndim(drivers.offset) != 1 or count % blocks:
        raise ValueError(f"drivers: expected offsets [K], K a multiple of {blocks}, got {count}")
    keys = iter(draws.split(key, _BITS + 2))
    halves = blocks // 2 or 1
    block = np.arange(count) * halves // count * (blocks // halves) + np.arange(count) % (
        blocks // halves
    )

    def of(codes: jax.Array) -> ShortTerm:
        moved = _SPAN * (2 * codes / (2**_BITS - 1) - 1)
        return replace(drivers, offset=drivers.offset + moved)

    middle = jnp.full(count, 2 ** (_BITS - 1))
    before = measure_amplitudes(of(middle), next(keys))
    medians = jnp.stack([jnp.median(before[block == b]) for b in range(blocks)])
    codes = jnp.zeros_like(middle)
    for bit in reversed(range(_BITS)):
        trial = codes + 2**bit
        # Half a step is left to the next code, so that the last one is the nearest.
        half = FULL * _SPAN / (2**_BITS - 1) * (bit == 0)
        above = measure_amplitudes(of(trial), next(keys)) > medians[block] + half
        codes = jnp.where(above, codes, trial)
    after = measure_amplitudes(of(codes), next(keys))
    return Offsets(of(codes), codes, np.asarray(before), np.asarray(after))
