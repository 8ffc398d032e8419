"""Networks as values: layer specs, what is built of them, and their conversion to spikes.

network = build([LIF(outputs=256), LI(outputs=10)], shape=(28, 28, 1))
params = network.init(jax.random.key(0))
scores, state, records = network.apply(params, network.state(), x, chip, key, on="chip")
"""

from bss2jax.networks.build import build
from bss2jax.networks.conversion import effort, run_on_chip, run_spikes, scores_over_time
from bss2jax.networks.layers import (
    LI,
    LIF,
    Conv1d,
    Conv2d,
    ConvLIF,
    ConvSoftLIF,
    Dense,
    Flatten,
    Layer,
    Linear,
    Pool,
    Signs,
    Soft,
    SoftLIF,
    Spiking,
)
from bss2jax.networks.network import Execution, Network

__all__ = [
    "LI",
    "LIF",
    "Conv1d",
    "Conv2d",
    "ConvLIF",
    "ConvSoftLIF",
    "Dense",
    "Execution",
    "Flatten",
    "Layer",
    "Linear",
    "Network",
    "Pool",
    "Signs",
    "Soft",
    "SoftLIF",
    "Spiking",
    "build",
    "effort",
    "run_on_chip",
    "run_spikes",
    "scores_over_time",
]
