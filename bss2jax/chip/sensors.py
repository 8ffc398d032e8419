"""The correlation sensors of one specimen of the chip: quantities declared as those of `Chip`.

They are no part of `Chip`, of which they would be four fifths: they are drawn where they are used,
from the key that decides the specimen.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bss2jax.arrays import pytree
from bss2jax.chip import draws
from bss2jax.chip.quantities import (
    SENSOR,
    Deviation,
    LogFactor,
    Presets,
    built,
    quantities_of,
    quantity,
    spread,
)
from bss2jax.chip.substrate import BSS2, Substrate


@dataclass(frozen=True)
class SensorMismatch(Presets):
    """How far the correlation sensors of specimens spread; all assumed.

    Of amplitudes and time constants standard deviations of logarithms, as they are lognormal:
    calix accepts up to 1.3 after calibration.
    """

    amplitude: float = spread(0.25, 0.5)
    tau: float = spread(0.175, 0.35)
    baseline: float = spread(2.0, 4.0)


@pytree
@dataclass(frozen=True, eq=False)
class SensorPattern:
    """The fixed pattern of the correlation sensors, `[2, K, N]`: causal, acausal; rows; columns.

    Columns are those of the hemispheres side by side; the branches are apart, as silicon shows
    them to be.
    """

    amplitude: jax.Array = quantity(
        "amplitude of a pair", SENSOR, LogFactor(), key=(draws.number_of("correlation"),)
    )
    tau: jax.Array = quantity(
        "time constant of a pair", SENSOR, LogFactor(), key=(draws.number_of("correlation_tau"),)
    )
    baseline: jax.Array = quantity(
        "offset of a reading", SENSOR, Deviation("LSB"),
        key=(draws.number_of("correlation_baseline"),),
    )  # fmt: skip


def sample_sensors(
    key: jax.Array, mismatch: SensorMismatch = SensorMismatch(), *, substrate: Substrate = BSS2
) -> SensorPattern:
    """Draws the pattern of the sensors of a chip.

    Args:
        key: decides the specimen; that of the chip gives the sensors of that chip.
        mismatch: the spreads.
        substrate: the substrate whose array sizes the chip has.
    """
    key, declared = draws.pinned(key), quantities_of(SensorPattern)
    drawn = {name: q.sample(key, mismatch, substrate) for name, q in declared.items()}
    return built(SensorPattern, {n: jnp.asarray(a, jnp.float32) for n, a in drawn.items()})
