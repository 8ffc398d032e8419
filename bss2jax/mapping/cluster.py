"""Clusters of neurons that fit a chip: in order, by first fit, or at random.

A cluster is what one chip holds: circuits, and different inputs where the chip limits them.
`mapping.hypergraph` and `mapping.refine` make better ones.

References: PACMAN (slices of populations in order), SpiNeMap's tool chain (first fit by fill).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bss2jax.chip.system import Limits, System
from bss2jax.mapping.assignment import circuits_of
from bss2jax.mapping.workload import Workload


class TooSmall(ValueError):
    """A system does not hold a workload; the message says how much is missing."""


@dataclass(frozen=True)
class Need:
    """What a workload asks of the chips of a system.

    Attributes:
        circuits: `[n]` of each neuron.
        limits: the limits of a chip.
        chips: how many there are.
    """

    circuits: np.ndarray
    limits: Limits
    chips: int

    @property
    def least(self) -> int:
        """The fewest chips that hold all circuits."""
        return -(-int(self.circuits.sum()) // self.limits.circuits)


def need(workload: Workload, system: System) -> Need:
    """Returns what a workload asks of a system.

    Args:
        workload: the workload to be mapped.
        system: the system that shall hold it.

    Raises:
        TooSmall: it cannot, however it is mapped; says what is missing.
    """
    limits = system.limits
    circuits = circuits_of(workload.fan_in, limits)
    asked = Need(circuits, limits, system.chips)
    most, fan_in = int(circuits.max(initial=0)), int(workload.fan_in.max(initial=0))
    if most > limits.circuits:
        raise TooSmall(
            f"{workload.name}: a neuron of fan-in {fan_in} needs {most} circuits, a chip of "
            f"{system.name} has {limits.circuits}"
        )
    if limits.inputs is not None and fan_in > limits.inputs:
        raise TooSmall(
            f"{workload.name}: a neuron has {fan_in} inputs, a chip of {system.name} takes "
            f"{limits.inputs}: {fan_in - limits.inputs} too many"
        )
    # Circuits that are left over beside large neurons hold none.
    per_chip = limits.circuits // most * most if (circuits == most).all() else limits.circuits
    chips = -(-int(circuits.sum()) // per_chip) if workload.neurons else 0
    if chips > system.chips:
        raise TooSmall(
            f"{workload.name} needs {int(circuits.sum())} circuits, so {chips} chips; "
            f"{system.name} has {system.chips}: {chips - system.chips} too few. Take fewer "
            "neurons, fewer inputs a neuron (sparse connections), or a larger system"
        )
    return asked


def in_order(workload: Workload, asked: Need) -> np.ndarray:
    """Fills cluster after cluster with neurons as they are numbered.

    Args:
        workload: the workload whose neurons they are.
        asked: what is asked of the system.

    Returns:
        `[n]` cluster of each neuron.

    Raises:
        TooSmall: it takes more clusters than there are chips.
    """
    return _filled(workload, asked, {0})


def sliced(workload: Workload, asked: Need) -> np.ndarray:
    """Cuts each population in order into clusters of its own, as PACMAN does.

    Args:
        workload: the workload whose neurons they are.
        asked: what is asked of the system.

    Returns:
        `[n]` cluster of each neuron.

    Raises:
        TooSmall: as `in_order`.
    """
    return _filled(workload, asked, set(workload.populations))


def _filled(workload: Workload, asked: Need, opens: set[int]) -> np.ndarray:
    """In order, with a new cluster at some neurons and wherever one is full."""
    cluster, number, used = np.zeros(workload.neurons, np.int32), -1, 0
    if asked.limits.inputs is None and (asked.circuits == asked.circuits[:1]).all():
        size = asked.limits.circuits // int(asked.circuits[0])
        for begin, end in _spans(sorted(opens | {0, workload.neurons})):
            local = np.arange(end - begin) // size
            cluster[begin:end] = number + 1 + local
            number += 1 + int(local[-1])
        return _counted(cluster, asked)
    heard = np.zeros(workload.neurons, bool)
    backward = workload.backward
    for neuron, circuits in enumerate(asked.circuits.tolist()):
        sources = backward.indices[backward.indptr[neuron] : backward.indptr[neuron + 1]]
        new = sources[~heard[sources]]
        full = used + circuits > asked.limits.circuits
        if asked.limits.inputs is not None:
            full |= int(heard.sum()) + len(new) > asked.limits.inputs
        if neuron in opens or full or number < 0:
            number, used, new = number + 1, 0, sources
            heard[:] = False
        cluster[neuron], used = number, used + circuits
        heard[new] = True
    return _counted(cluster, asked)


def _spans(bounds: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def _counted(cluster: np.ndarray, asked: Need) -> np.ndarray:
    count = int(cluster.max(initial=-1)) + 1
    if count > asked.chips:
        raise TooSmall(
            f"these clusters take {count} chips, the system has {asked.chips}: "
            f"{count - asked.chips} too few"
        )
    return cluster


def first_fit(workload: Workload, asked: Need, order: np.ndarray | None = None) -> np.ndarray:
    """Puts each neuron into the fullest cluster that still takes it.

    Args:
        workload: the workload whose neurons they are.
        asked: what is asked of the system.
        order: `[n]` in which neurons come; by default as they are numbered.

    Returns:
        `[n]` cluster of each neuron.

    Raises:
        TooSmall: as `in_order`.
    """
    n, limit = workload.neurons, asked.limits.inputs
    cluster, used = np.zeros(n, np.int32), np.zeros(0, int)
    heard = np.zeros((0, n), bool)
    backward = workload.backward
    for neuron in range(n) if order is None else order.tolist():
        circuits = asked.circuits[neuron]
        sources = backward.indices[backward.indptr[neuron] : backward.indptr[neuron + 1]]
        takes = used + circuits <= asked.limits.circuits
        if limit is not None and len(used):
            takes &= heard.sum(1) + (~heard[:, sources]).sum(1) <= limit
        if takes.any():
            chosen = int(np.where(takes, used, -1).argmax())
        else:
            chosen = len(used)
            used = np.append(used, 0)
            if limit is not None:
                heard = np.concatenate([heard, np.zeros((1, n), bool)])
        cluster[neuron] = chosen
        used[chosen] += circuits
        if limit is not None:
            heard[chosen, sources] = True
    return _counted(cluster, asked)


def shuffled(workload: Workload, asked: Need, seed: int = 0) -> np.ndarray:
    """Puts neurons into clusters by first fit in a random order.

    Args:
        workload: the workload whose neurons they are.
        asked: what is asked of the system.
        seed: the seed of the order.

    Returns:
        `[n]` cluster of each neuron.

    Raises:
        TooSmall: as `in_order`.
    """
    rng = np.random.default_rng(seed)
    if asked.limits.inputs is None and (asked.circuits == asked.circuits[:1]).all():
        size = asked.limits.circuits // int(asked.circuits[0])
        return _counted((rng.permutation(workload.neurons) // size).astype(np.int32), asked)
    return first_fit(workload, asked, rng.permutation(workload.neurons))
