"""A mapping as a file, that `bss2jax map` writes and `plan.file` of a config names."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bss2jax import files
from bss2jax.chip.presets import system
from bss2jax.chip.system import System
from bss2jax.mapping.workload import Workload


@dataclass(frozen=True, eq=False)
class Saved:
    """What a plan's file says.

    Attributes:
        system: the system whose chips they are.
        workload: digest of the spike graph that was mapped.
        chip: `[n]` chip of each neuron, population after population.
    """

    system: System
    workload: str
    chip: np.ndarray

    def check(self, workload: Workload, path: str) -> None:
        """Refuses to be the plan of another network.

        Args:
            workload: the workload of the network.
            path: the path of the file, for the message.

        Raises:
            ValueError: it is.
        """
        if len(self.chip) != workload.neurons:
            raise ValueError(
                f"{path} is of another network: it places {len(self.chip)} neurons, this one has "
                f"{workload.neurons}"
            )
        if self.workload != workload.digest:
            raise ValueError(f"{path} is of another network of {len(self.chip)} neurons")


def save(path: str | Path, saved: Saved) -> None:
    """Writes a plan's file: chips as runs of [chip, neurons].

    Args:
        path: the path of the file.
        saved: what it says.
    """
    starts = np.flatnonzero(np.diff(saved.chip, prepend=-1))
    counts = np.diff(np.append(starts, len(saved.chip)))
    runs = np.column_stack([saved.chip[starts], counts]).tolist()
    tree = {"system": saved.system.name, "workload": saved.workload, "chips": runs}
    with files.writing(Path(path)) as file:
        file.write((json.dumps(tree) + "\n").encode())


def load(path: str | Path) -> Saved:
    """Reads a plan's file.

    Args:
        path: the path of the file.

    Raises:
        ValueError: it cannot be read, or is none.
    """
    try:
        tree = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{path}: not a plan's file: no JSON; `bss2jax map` writes one") from None
    try:
        made, digest = system(tree["system"]), str(tree["workload"])
        runs = np.array(tree["chips"], int).reshape(-1, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a plan's file: {error}; `bss2jax map` writes one") from None
    chips, counts = runs.T
    if min(chips.min(initial=0), counts.min(initial=1) - 1) < 0 or chips.max() >= made.chips:
        raise ValueError(f"{path}: chips 0 to {made.chips - 1} with neurons expected, got others")
    return Saved(made, digest, np.repeat(runs[:, 0], runs[:, 1]))
