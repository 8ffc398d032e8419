"""Which chip each neuron of a workload is on, in a system of chips; and what passes between them.

A mapping is a value: clusters of neurons, and the chip of each cluster. `mapping.cluster` and
`mapping.placement` make them, `mapping.objectives` are functions of one.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bss2jax.chip.system import Limits, System
from bss2jax.mapping.workload import Workload


def circuits_of(fan_in: np.ndarray, limits: Limits) -> np.ndarray:
    """Returns the circuits that neurons take by their fan-in, `[n]` from `[n]`; even above one."""
    if limits.rows is None:
        return np.ones(len(fan_in), int)
    needed = np.maximum(1, -(-fan_in // limits.rows))
    return np.where(needed > 1, needed + needed % 2, needed)


@dataclass(frozen=True, eq=False)
class Mapping:
    """A workload on a system.

    Attributes:
        workload: the workload whose neurons are mapped.
        system: the system whose chips they are on.
        cluster: `[n]` cluster of each neuron.
        place: `[k]` chip of each cluster.
    """

    workload: Workload
    system: System
    cluster: np.ndarray = field(repr=False)
    place: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("cluster", "place"):
            owned = np.array(getattr(self, name), np.int32)
            owned.setflags(write=False)
            object.__setattr__(self, name, owned)

    @cached_property
    def chip(self) -> np.ndarray:
        """The chip of each neuron, `[n]`."""
        return self.place[self.cluster]

    def placed(self, place: np.ndarray) -> "Mapping":
        """Returns the same clusters on other chips, `[k]`."""
        return replace(self, place=place)

    @cached_property
    def counts(self) -> np.ndarray:
        """Targets of each neuron on each chip, `[n, chips]`."""
        w, k = self.workload, self.system.chips
        key = w.source.astype(np.int64) * k + self.chip[w.target]
        return np.bincount(key, minlength=w.neurons * k).reshape(w.neurons, k)

    @cached_property
    def sent(self) -> tuple[np.ndarray, np.ndarray]:
        """Neurons `[d]` and the other chips `[d]` that their spikes are for, in order of both."""
        neuron, chip = np.nonzero(self.counts)
        other = chip != self.chip[neuron]
        return neuron[other], chip[other]

    @cached_property
    def carried(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of all chips that events go to: `broadcast` takes them to every one in use."""
        if self.system.cast != "broadcast":
            return self.sent
        neurons, used = np.unique(self.sent[0]), np.unique(self.chip)
        neuron, chip = np.repeat(neurons, len(used)), np.tile(used, len(neurons))
        other = chip != self.chip[neuron]
        return neuron[other], chip[other]

    @cached_property
    def passes(self) -> tuple[np.ndarray, np.ndarray]:
        """Neurons `[m]` and links `[m]` that one of their events passes; shared ways count once.

        In the order of neurons; of unicast, links occur as often as there are destinations.
        """
        neuron, chip = self.carried
        way, link = self.system.topology.routes(self.chip[neuron], chip)
        neuron = neuron[way]
        if self.system.cast == "unicast":
            return neuron, link
        links = len(self.system.topology.ends)
        return np.divmod(np.unique(neuron.astype(np.int64) * links + link), links)

    @cached_property
    def flow(self) -> np.ndarray:
        """Spikes a sample from cluster to cluster, `[k, k]`, each once a destination."""
        return flow_of(self.workload, self.cluster, len(self.place))

    def check(self) -> None:
        """Refuses a mapping that breaks a limit of the system.

        Raises:
            ValueError: two clusters have one chip, a chip has too many circuits or inputs, or too
                many neurons send to other chips; says by how much.
        """
        limits, chips = self.system.limits, self.system.chips
        if len(self.cluster) != self.workload.neurons:
            raise ValueError(
                f"mapping: it is of {len(self.cluster)} neurons, {self.workload.name} has "
                f"{self.workload.neurons}"
            )
        if len(np.unique(self.place)) != len(self.place) or self.place.max(initial=0) >= chips:
            raise ValueError(f"mapping: every cluster needs one of {chips} chips of its own")
        used = np.bincount(self.chip, circuits_of(self.workload.fan_in, limits), chips)
        _within("circuits", used, limits.circuits)
        if limits.inputs is not None:
            _within("inputs", (self.counts > 0).sum(axis=0), limits.inputs)
        if limits.labels is not None:
            senders = len(np.unique(self.sent[0]))
            if senders > limits.labels:
                raise ValueError(
                    f"mapping: {senders} neurons send to other chips, the system has labels for "
                    f"{limits.labels}: {senders - limits.labels} too many"
                )


def _within(what: str, used: np.ndarray, limit: int) -> None:
    worst = int(used.argmax())
    if used[worst] > limit:
        raise ValueError(
            f"mapping: chip {worst} takes {int(used[worst])} {what}, it has {limit}: "
            f"{int(used[worst]) - limit} too many"
        )


def flow_of(workload: Workload, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Returns the spikes a sample from cluster to cluster, each once a destination.

    Args:
        workload: the workload whose spikes they are.
        cluster: `[n]` cluster of each neuron.
        clusters: k, how many there are.

    Returns:
        `[k, k]`, 0 on the diagonal.
    """
    pairs = np.unique(workload.source.astype(np.int64) * clusters + cluster[workload.target])
    neuron, to = np.divmod(pairs, clusters)
    key = cluster[neuron].astype(np.int64) * clusters + to
    flow = np.bincount(key, workload.rates[neuron], clusters * clusters)
    flow = flow.reshape(clusters, clusters)
    np.fill_diagonal(flow, 0.0)
    return flow
