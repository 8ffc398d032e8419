"""What a layer asks of the chip: the questions that plans put to it."""

from typing import Any, Protocol

import numpy as np

from bss2jax.chip.substrate import Substrate
from bss2jax.mapping.pieces import Footprint

SPENT = ("events", "waiting", "readout")  # what a piece spends its time on


class Demand(Protocol):
    """What a layer asks of the chip; frozen and hashable.

    Methods take `rows`, `[n, 11]`, the layer's pieces in the plan's table; `row`, `[11]`, one of
    them; and `circuits`, `[m, 2]`, the plan's (chip, circuit).
    """

    @property
    def size(self) -> int:
        """Neurons, or outputs."""
        ...

    def joined(self, substrate: Substrate) -> int | None:
        """Returns the circuits that are joined to a neuron; None of what has no neurons."""
        ...

    def circuits(self, substrate: Substrate) -> int | None:
        """Returns the circuits of a layer that may share its configuration, else None."""
        ...

    def pieces(self, substrate: Substrate, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns the layer's pieces `[n, 11]` from circuit `first` on, and circuits `[m, 2]`."""
        ...

    def place(self, rows: np.ndarray, circuits: np.ndarray, substrate: Substrate) -> Any:
        """Returns the pieces as the executor takes them, hashable."""
        ...

    def spent(self, rows: np.ndarray, axis: float, substrate: Substrate) -> np.ndarray:
        """Returns the time of each piece for one sample, `[n, 3]` s, on each of `SPENT`."""
        ...

    def operations(self, rows: np.ndarray) -> int:
        """Returns how many weights one sample multiplies; of spikes, if each input sends one."""
        ...

    def fast_seconds(self, axis: float, substrate: Substrate) -> float | None:
        """Returns the time of a sample where the host does not start each; None: there is none."""
        ...

    def events(self, rows: np.ndarray) -> int | None:
        """Returns the most input events of one sample, None where they are not known."""
        ...

    def shares(self, substrate: Substrate) -> tuple[int, str]:
        """Returns what of it is dealt to devices that simulate it: how many, and their name."""
        ...

    def power(self, substrate: Substrate) -> tuple[float, float]:
        """Returns the least and the most power of a chip that runs the layer, W."""
        ...

    def footprint(self, row: np.ndarray, circuits: np.ndarray, substrate: Substrate) -> Footprint:
        """Returns what one piece covers on each array."""
        ...

    def facts(self, rows: np.ndarray, substrate: Substrate) -> dict[str, object]:
        """Returns what `describe` says of the layer, by heading."""
        ...

    def costs(self, rows: np.ndarray) -> dict[str, object]:
        """Returns what `describe_cost` says of the layer, by heading."""
        ...

    def remarks(self, configurations: int) -> tuple[str, ...]:
        """Returns lines below the table of a plan with so many configurations."""
        ...
