"""Networks as values: layers, what is built of them, and their conversion to spikes.

layers = [Latency(steps=30), LIF(outputs=256), LI(outputs=10), MaxOverTime()]
network = build(layers, (28, 28, 1))
params = network.init(jax.random.key(0))
scores, state, records = network.apply(params, network.state(), x, chip, key, on="chip")
"""

from bss2jax.networks.adex import AdEx
from bss2jax.networks.analog import Conv1d, Conv2d, Dense
from bss2jax.networks.build import build
from bss2jax.networks.codes import (
    Current,
    Delta,
    Direct,
    Latency,
    LogLatency,
    Rate,
    Regular,
    SpikeTime,
)
from bss2jax.networks.constants import Constants
from bss2jax.networks.conversion import Conversion, convert, scores_over_time
from bss2jax.networks.currents import ConvCurrents, Currents, Scaled, Threshold
from bss2jax.networks.decoders import (
    Detection,
    FirstSpike,
    LastStep,
    MaxOverTime,
    MeanOverTime,
    SpikeCount,
    SumOverTime,
)
from bss2jax.networks.delay import Delay, DelayedLIF
from bss2jax.networks.direct import DirectLIF
from bss2jax.networks.effort import Effort, effort
from bss2jax.networks.graph import Network, Node
from bss2jax.networks.layer import Execution, How, Layer
from bss2jax.networks.normed import fold_norms
from bss2jax.networks.rates import ConvSoftLIF, Linear, SoftLIF
from bss2jax.networks.receptive import ConvLIF
from bss2jax.networks.residual import Residual, ShortcutLIF
from bss2jax.networks.shapes import Add, Concatenate, Flatten, Pool, Signs
from bss2jax.networks.short_term import Drivers, ShortTerm
from bss2jax.networks.signal import Activations, Signal, Spikes, Traces, Values
from bss2jax.networks.spiking import LI, LIF
from bss2jax.networks.structured import Structured

# The kinds that a config can name without saying where they come from.
LAYERS: tuple[type[Layer], ...] = (
    *(Signs, Flatten, Pool, Add, Concatenate),
    *(Dense, Conv1d, Conv2d),
    *(Latency, LogLatency, SpikeTime, Regular, Rate, Current, Direct, Delta),
    *(ShortTerm, LIF, ConvLIF, ShortcutLIF, Residual, DirectLIF, AdEx, Structured, LI),
    *(Delay, DelayedLIF, Currents, ConvCurrents, Scaled, Threshold),
    *(MaxOverTime, MeanOverTime, SumOverTime, LastStep, FirstSpike, SpikeCount, Detection),
    *(SoftLIF, ConvSoftLIF, Linear),
)

__all__ = [
    "LAYERS",
    "LI",
    "LIF",
    "Activations",
    "AdEx",
    "Add",
    "Concatenate",
    "Constants",
    "Conv1d",
    "Conv2d",
    "ConvCurrents",
    "ConvLIF",
    "ConvSoftLIF",
    "Conversion",
    "Current",
    "Currents",
    "Delay",
    "DelayedLIF",
    "Delta",
    "Dense",
    "Detection",
    "Direct",
    "DirectLIF",
    "Drivers",
    "Effort",
    "Execution",
    "FirstSpike",
    "Flatten",
    "How",
    "LastStep",
    "Latency",
    "Layer",
    "Linear",
    "LogLatency",
    "MaxOverTime",
    "MeanOverTime",
    "Network",
    "Node",
    "Pool",
    "Rate",
    "Regular",
    "Residual",
    "Scaled",
    "ShortTerm",
    "ShortcutLIF",
    "Signal",
    "Signs",
    "SoftLIF",
    "SpikeCount",
    "SpikeTime",
    "Spikes",
    "Structured",
    "SumOverTime",
    "Threshold",
    "Traces",
    "Values",
    "build",
    "convert",
    "effort",
    "fold_norms",
    "scores_over_time",
]
