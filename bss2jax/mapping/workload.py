"""The spike graph of a network: which neuron sends to which, and how often it spikes.

What a mapping is made for. Of sparse arrays, so that a million neurons fit in memory; from a
network of ours (`networks.wiring`), from a file, or from the suite (`mapping.suite`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse


@dataclass(frozen=True, eq=False)
class Workload:
    """Neurons, the synapses between them, and their rates.

    Attributes:
        name: the name of the network.
        rates: `[n]` spikes of each neuron, a sample.
        first: `[n + 1]` where the targets of each neuron begin.
        target: `[m]` neurons that each synapse leads to.
        populations: `[p + 1]` where each population begins, and n.
        outside: `[n]` inputs of each neuron that the host sends, so that no chip has to.
        seconds: time that a sample takes, s.

    Raises:
        ValueError: sizes do not fit, a rate is negative or not finite, a target is no neuron.
    """

    name: str
    rates: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
    target: np.ndarray = field(repr=False)
    populations: tuple[int, ...] = ()
    outside: np.ndarray | None = field(default=None, repr=False)
    seconds: float = 1.0

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "rates", np.asarray(self.rates, float))
        set_(self, "first", np.asarray(self.first, np.int64))
        set_(self, "target", np.asarray(self.target, np.int32))
        set_(self, "populations", tuple(self.populations) or (0, self.neurons))
        if self.outside is None:
            set_(self, "outside", np.zeros(self.neurons, np.int32))
        if not np.isfinite(self.rates).all() or (self.rates < 0).any():
            raise ValueError(f"{self.name}: rates must be finite and not negative")
        if len(self.first) != self.neurons + 1 or self.first[-1] != self.synapses:
            raise ValueError(f"{self.name}: {len(self.first)} starts of {self.neurons} neurons")
        if self.synapses and not 0 <= self.target.min() <= self.target.max() < self.neurons:
            raise ValueError(f"{self.name}: targets must be neurons 0 to {self.neurons - 1}")
        if self.populations[-1] != self.neurons:
            raise ValueError(f"{self.name}: populations end at {self.populations[-1]}")

    @property
    def neurons(self) -> int:
        """How many neurons there are."""
        return len(self.rates)

    @property
    def synapses(self) -> int:
        """How many synapses there are between them."""
        return len(self.target)

    @cached_property
    def source(self) -> np.ndarray:
        """The neuron `[m]` that each synapse comes from."""
        return np.repeat(np.arange(self.neurons, dtype=np.int32), np.diff(self.first))

    @cached_property
    def forward(self) -> scipy.sparse.csr_array:
        """Synapses as ones in a matrix `[n, n]`, sources in rows."""
        ones = np.ones(self.synapses)
        return scipy.sparse.csr_array(
            (ones, self.target, self.first), shape=(self.neurons, self.neurons)
        )

    @cached_property
    def backward(self) -> scipy.sparse.csr_array:
        """The same `[n, n]`, targets in rows."""
        return self.forward.T.tocsr()

    @cached_property
    def fan_in(self) -> np.ndarray:
        """Inputs of each neuron, `[n]`, those of the host included."""
        outside: Any = self.outside  # not None: made so
        return np.bincount(self.target, minlength=self.neurons) + outside

    @cached_property
    def digest(self) -> str:
        """What the workload is, in 16 digits; rates aside."""
        what = self.first.tobytes() + self.target.tobytes() + repr(self.populations).encode()
        return hashlib.sha256(what).hexdigest()[:16]


def of_edges(
    name: str,
    source: np.ndarray,
    target: np.ndarray,
    rates: np.ndarray,
    populations: Sequence[int] = (),
    **rest: object,
) -> Workload:
    """Makes a workload of a list of synapses; several of one pair count once.

    Args:
        name: the name of the network.
        source: `[m]` neurons that synapses come from, in any order.
        target: `[m]` neurons that they lead to.
        rates: `[n]` spikes of each neuron, a sample.
        populations: `[p + 1]` where each begins, and n; empty: one.
        rest: further attributes of `Workload`.

    Raises:
        ValueError: as `Workload`.
    """
    n = len(rates)
    source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
    if len(source) and not (0 <= min(source.min(), target.min()) and source.max() < n):
        raise ValueError(f"{name}: synapses of neurons 0 to {n - 1}, got others")
    ordered = bool((np.diff(source) >= 0).all()) if len(source) else True
    key = source * n + target
    if not ordered or (len(key) > 1 and (np.diff(key) <= 0).any()):
        key = np.unique(key)
        source, target = np.divmod(key, n)
    first = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n))])
    return Workload(name, rates, first, target, tuple(populations), **rest)  # type: ignore[arg-type]


def read(path: str | Path) -> Workload:
    """Reads a workload from a text file, a line a synapse: source, target, and the source's rate.

    Neurons are numbered from 0; columns are separated by blanks or commas; lines with # are
    comments. A neuron that only receives has rate 0.

    Args:
        path: the path of the file.

    Raises:
        ValueError: a line is no such line, or a neuron has two rates; says where.
    """
    where, rows = Path(path), []
    try:
        text = where.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: cannot be read: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = int(words[0]), int(words[1]), float(words[2])
        except (ValueError, IndexError):
            row = -1, -1, 0.0
        if len(words) != 3 or min(row[:2]) < 0 or max(row[:2]) >= 2**31:
            raise ValueError(f"{where}:{number}: expected source, target and rate, got {line!r}")
        rows.append(row)
    if not rows:
        raise ValueError(f"{where}: there is no synapse in it")
    table = np.array(rows)
    source, target = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    rates = np.zeros(max(source.max(), target.max()) + 1)
    rates[source] = table[:, 2]
    wrong = np.flatnonzero(rates[source] != table[:, 2])
    if len(wrong):
        raise ValueError(f"{where}: neuron {source[wrong[0]]} has several rates")
    return of_edges(where.stem, source, target, rates)
