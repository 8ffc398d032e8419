"""The fixed pattern of the neuron circuits, quantity by quantity."""

from dataclasses import dataclass

import jax

from bss2jax.arrays import pytree
from bss2jax.chip.quantities import (
    CHIP,
    CIRCUIT,
    INPUT,
    SHARE,
    Cell,
    Deviation,
    Factor,
    Noise,
    averaged_noise,
    first,
    quantity,
)


@pytree
@dataclass(frozen=True, eq=False)
class Circuits:
    """The fixed pattern of the neuron circuits in spiking operation, by place.

    Arrays are `[H, C]`, of the synaptic inputs `[2, H, C]`; see `quantity` for what a declaration
    says. Shares are of the way from leak to threshold.

    References: DelGrad, 10.1038/s41467-025-63120-y.
    """

    leak: jax.Array = quantity(
        "leak potential", CIRCUIT, Deviation(SHARE), key=(1, 0),
        cells=(Cell("leak", number=4, bits=10, span=1.2, tolerance=0.03, limit=0.3),),
    )  # fmt: skip
    reset: jax.Array = quantity(
        "reset potential", CIRCUIT, Deviation(SHARE), key=(1, 1),
        cells=(Cell("reset", number=5, bits=10, span=1.2, tolerance=0.03, limit=0.2),),
    )  # fmt: skip
    threshold: jax.Array = quantity(
        "threshold", CIRCUIT, Deviation(SHARE), key=(1, 2), shift="threshold_shift",
        cells=(Cell("threshold", number=6, bits=10, span=1.2, tolerance=0.03, limit=0.35),),
    )  # fmt: skip
    # A time constant of zero would divide by zero; a tenth of the target is beyond any setting.
    tau_mem: jax.Array = quantity(
        "membrane time constant", CIRCUIT, Factor(least=0.1), key=(1, 3),
        cells=(Cell("tau_mem", number=7, bits=10, span=3.5, tolerance=0.1, limit=0.45),),
    )  # fmt: skip
    tau_syn: jax.Array = quantity(
        "synaptic time constant", CIRCUIT, Factor(least=0.1), key=(1, 4),
        cells=(Cell("tau_syn", number=9, bits=10, span=3.5, tolerance=0.15, limit=0.2),),
    )  # fmt: skip
    strength: jax.Array = quantity(
        "synaptic input", INPUT, Factor(), key=(1, 5),
        cells=(
            Cell("excitatory", number=8, bits=6, span=1.2, tolerance=0.15),
            Cell("inhibitory_strength", number=10, bits=6, span=1.2, tolerance=0.15),
        ),
    )  # fmt: skip
    tau_w: jax.Array = quantity(
        "adaptation time constant", CIRCUIT, Factor(least=0.1), since=2,
        cells=(Cell("tau_w", number=11, bits=10, span=2.0, tolerance=0.05),),
    )  # fmt: skip
    a: jax.Array = quantity(
        "sub-threshold adaptation", CIRCUIT, Factor(), since=2,
        cells=(Cell("a", number=12, bits=10, span=2.0, tolerance=0.03),),
    )  # fmt: skip
    b: jax.Array = quantity(
        "spike-triggered adaptation", CIRCUIT, Factor(), since=2,
        cells=(Cell("b", number=13, bits=10, span=2.0, tolerance=0.05),),
    )  # fmt: skip
    delta_t: jax.Array = quantity(
        "slope of the exponential", CIRCUIT, Factor(least=0.1), since=2,
        cells=(Cell("delta_t", number=14, bits=10, span=2.0, tolerance=0.1),),
    )  # fmt: skip
    v_t: jax.Array = quantity(
        "take-off of the exponential", CIRCUIT, Deviation(SHARE), since=2,
        cells=(Cell("v_t", number=15, bits=10, span=1.2, tolerance=0.02),),
    )  # fmt: skip
    reversal: jax.Array = quantity("reversal potential", INPUT, Deviation(SHARE), since=2)
    # Of joined circuits the first is the one whose conductance leads to the parent.
    tau_icc: jax.Array = quantity(
        "time constant between compartments", CIRCUIT, Factor(least=0.1), since=3, joined=first,
        cells=(Cell("tau_icc", number=16, bits=10, span=2.0, tolerance=0.1, limit=0.5),),
    )  # fmt: skip
    threshold_noise: jax.Array = quantity("threshold noise", CIRCUIT, Noise(SHARE))
    jitter: jax.Array = quantity("jitter of spike times", CHIP, Noise("s"))
    membrane_noise: jax.Array | None = quantity(
        "membrane noise at rest", CIRCUIT, Noise(SHARE), joined=averaged_noise, optional=True
    )
