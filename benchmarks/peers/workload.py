"""What all are given: networks, spikes, labels, constants, and a reference in NumPy.

    i <- i e^(-dt/tau_syn) + x w + z v        dt = 1, tau_syn = 5.7, z of the step before
    u <- u e^(-dt/tau_mem) + (1 - e^(-dt/tau_mem)) i     tau_mem = 6
    z  = 1[u > 1];  u <- 0 where z            surrogate 1/(50 |u - 1| + 1)^2, none through the reset

A readout is the same without spikes. Scores are 3 times its largest membranes over time, the loss
is their cross entropy, the optimiser Adam at 1e-3.
"""

from dataclasses import dataclass

import numpy as np

KEEP_U, KEEP_I = float(np.exp(-1 / 6.0)), float(np.exp(-1 / 5.7))
GAIN = 1 - KEEP_U
ALPHA, SCALE, RATE = 50.0, 3.0, 1e-3
HIDDEN = 256


@dataclass(frozen=True)
class Case:
    """A network and its batch.

    Attributes:
        inputs, outputs: of the network, with 256 neurons between.
        steps, batch: T and B.
        recurrent: whether its neurons are connected with each other.
        density: the share of inputs that spike in a step.
    """

    inputs: int
    outputs: int
    steps: int
    batch: int
    recurrent: bool = False
    density: float = 0.02

    def __str__(self) -> str:
        kind = "recurrent " if self.recurrent else ""
        return (
            f"{kind}{self.inputs}-{HIDDEN}-{self.outputs}, T {self.steps}, batch {self.batch}, "
            f"{self.density:.0%} of the inputs spike"
        )

    def spikes(self) -> np.ndarray:
        """Returns what is sent, `[T, B, K]` float32."""
        rng = np.random.default_rng(1)
        return (rng.random((self.steps, self.batch, self.inputs)) < self.density).astype(np.float32)

    def labels(self) -> np.ndarray:
        """Returns `[B]` int32."""
        return np.random.default_rng(2).integers(0, self.outputs, self.batch).astype(np.int32)

    def weights(self) -> dict[str, np.ndarray]:
        """Returns `hidden` `[K, N]`, `readout` `[N, O]`, and perhaps `recurrent` `[N, N]`."""
        rng = np.random.default_rng(3)
        shapes = {"hidden": (self.inputs, HIDDEN), "readout": (HIDDEN, self.outputs)}
        shapes |= {"recurrent": (HIDDEN, HIDDEN)} if self.recurrent else {}
        std = {"hidden": 0.2, "readout": 0.2, "recurrent": 0.05}
        return {n: rng.normal(0, std[n], shape).astype(np.float32) for n, shape in shapes.items()}


CASES = {
    "T100": Case(784, 10, 100, 100),
    "T32": Case(784, 10, 32, 256),
    "recurrent": Case(700, 20, 100, 64, recurrent=True),
}


@dataclass(frozen=True)
class Equations:
    """In what a library's equations differ from those above.

    Attributes:
        subtracts: a spike takes the threshold off, in place of the reset to 0.
        late: a membrane that spikes is given the current as it was before the step.
        delayed: readouts are sent spikes a step later.
    """

    subtracts: bool = False
    late: bool = False
    delayed: bool = False

    def __str__(self) -> str:
        told = {
            "spikes subtract the threshold": self.subtracts,
            "currents act a step later": self.late,
            "spikes arrive a step later": self.delayed,
        }
        return "; ".join(words for words, said in told.items() if said)


def reference(case: Case, equations: Equations) -> tuple[np.ndarray, np.ndarray]:
    """Returns hidden spikes `[T, B, N]` and scores `[B, O]`, from the equations, in float64."""
    x, w = case.spikes().astype(float), {n: a.astype(float) for n, a in case.weights().items()}
    i, u, z = (np.zeros((case.batch, HIDDEN)) for _ in range(3))
    j, v = (np.zeros((case.batch, case.outputs)) for _ in range(2))
    spikes, most = [], np.full((case.batch, case.outputs), -np.inf)
    for sent in x:
        before = i, z
        i = KEEP_I * i + sent @ w["hidden"] + (z @ w["recurrent"] if case.recurrent else 0)
        u = KEEP_U * u + GAIN * (before[0] if equations.late else i)
        z = (u > 1).astype(float)
        u = u - z if equations.subtracts else u * (1 - z)
        j = KEEP_I * j + (before[1] if equations.delayed else z) @ w["readout"]
        v = KEEP_U * v + GAIN * j
        most = np.maximum(most, v)
        spikes.append(z)
    return np.stack(spikes), SCALE * most


def loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean cross entropy of scores `[B, O]`, nats."""
    shifted = scores.astype(float) - scores.max(-1, keepdims=True)
    right = np.take_along_axis(shifted, labels[:, None], -1)[:, 0]
    return float((np.log(np.exp(shifted).sum(-1)) - right).mean())
