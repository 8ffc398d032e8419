"""The ladder onto the chip: what becomes of a network's accuracy, rung by rung."""

from dataclasses import dataclass

from bss2jax.networks.layer import Execution


@dataclass(frozen=True)
class Rung:
    """One measurement of a network on its way onto the chip.

    Attributes:
        label: what figures and tables call it.
        meaning: the same at length.
        on: the execution that it is measured on.
    """

    label: str
    meaning: str
    on: Execution


# By name, as in a run's summary.json. `transfer` is of what first meets the chip, `chip` of what
# training ends with.
RUNGS = {
    "float": Rung("float", "trained in software, run in floating point", "float"),
    "ideal": Rung("quantised", "the same weights, on a perfect chip", "ideal"),
    "transfer": Rung("moved to the chip", "the same weights, on the run's own chip", "chip"),
    "chip": Rung("trained in the loop", "trained with the chip in the loop, run on it", "chip"),
}
