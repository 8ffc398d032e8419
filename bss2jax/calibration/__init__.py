"""The experimenter's bench: measure a chip, characterise it, set its cells, say what came out."""

from bss2jax.calibration.calibrate import (
    ADEX,
    CELLS,
    COMPARTMENTS,
    PRODUCTS,
    Calibration,
    calibrate,
    describe_calibration,
)
from bss2jax.calibration.products import (
    Characterisation,
    characterise,
    estimate_mismatch,
    measure_gain_and_noise,
    measure_synapses,
)
from bss2jax.calibration.report import (
    compare_chips,
    describe_characterisation,
    describe_chip,
    describe_sweep,
)

__all__ = [
    "ADEX",
    "CELLS",
    "COMPARTMENTS",
    "PRODUCTS",
    "Calibration",
    "Characterisation",
    "calibrate",
    "characterise",
    "compare_chips",
    "describe_calibration",
    "describe_characterisation",
    "describe_chip",
    "describe_sweep",
    "estimate_mismatch",
    "measure_gain_and_noise",
    "measure_synapses",
]
