"""What `bss2jax.NAME` offers: chips, and functions of arrays that need only JAX and NumPy."""

from bss2jax.chip.chip import Chip, Mismatch, ideal_chip, sample_chip
from bss2jax.chip.file import ChipError, load_chip, save_chip
from bss2jax.chip.morphology import Compartment, Morphology
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute.circuits import gather, on_chip
from bss2jax.execute.convolution import conv1d, conv2d, expanded_conv1d, patches
from bss2jax.execute.populations import population
from bss2jax.execute.products import matmul, program, saturation
from bss2jax.execute.recording import Recording, cadc_trace
from bss2jax.execute.weights import Programmed
from bss2jax.kernels.coding import (
    constant_current,
    delta,
    encode_activations,
    first_spike,
    latency,
    log_latency,
    max_over_time,
    normalise,
    poisson,
    regular,
    scale_input,
    scale_weight,
    soft_clamp,
    spike_count,
    spike_time,
)
from bss2jax.kernels.digital import add, argmax, converting_relu, relu
from bss2jax.kernels.gradients.rules import Autodiff, EventProp, Surrogate
from bss2jax.kernels.gradients.surrogate import (
    Arctan,
    Box,
    Gaussian,
    SuperSpike,
    Triangle,
    spike,
)
from bss2jax.kernels.neurons.adex import AdEx, AdExState
from bss2jax.kernels.neurons.compartments import Compartments, CompartmentsState
from bss2jax.kernels.neurons.exact import ExactLIF
from bss2jax.kernels.neurons.functional import (
    LIFParams,
    LIParams,
    li,
    li_state,
    li_step,
    lif,
    lif_state,
    lif_step,
)
from bss2jax.kernels.neurons.li import LI, LIState
from bss2jax.kernels.neurons.lif import LIF, LIFState
from bss2jax.kernels.neurons.units import FIRING_PATTERNS, AdExModel, AdExScale
from bss2jax.kernels.rates import Curve, lif_rate, noisy_rate, soft_lif_rate
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.correlation import Correlation, Sensors
from bss2jax.kernels.synapses.events import Events, SortedEvents, sort_events, to_events, to_raster
from bss2jax.kernels.synapses.lazy import Constant, Lazy
from bss2jax.kernels.synapses.plasticity import ShortTerm
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.mapping.describe import describe
from bss2jax.mapping.morphologies import lay_out
from bss2jax.mapping.plan import Plan, merge, plan, split
from bss2jax.mapping.populations import Population
from bss2jax.mapping.switches import wire

__all__ = [
    "BSS2",
    "FIRING_PATTERNS",
    "LI",
    "LIF",
    "AdEx",
    "AdExModel",
    "AdExScale",
    "AdExState",
    "Arctan",
    "Autodiff",
    "Box",
    "Chip",
    "ChipError",
    "Codes",
    "Compartment",
    "Compartments",
    "CompartmentsState",
    "Constant",
    "Correlation",
    "Curve",
    "EventProp",
    "Events",
    "ExactLIF",
    "Gaussian",
    "LIFParams",
    "LIFState",
    "LIParams",
    "LIState",
    "Lazy",
    "Mismatch",
    "Morphology",
    "Plan",
    "Population",
    "Programmed",
    "Recording",
    "Sensors",
    "ShortTerm",
    "SortedEvents",
    "Substrate",
    "SuperSpike",
    "Surrogate",
    "Triangle",
    "Windows",
    "add",
    "argmax",
    "cadc_trace",
    "constant_current",
    "conv1d",
    "conv2d",
    "converting_relu",
    "delta",
    "describe",
    "encode_activations",
    "expanded_conv1d",
    "first_spike",
    "gather",
    "ideal_chip",
    "latency",
    "lay_out",
    "li",
    "li_state",
    "li_step",
    "lif",
    "lif_rate",
    "lif_state",
    "lif_step",
    "load_chip",
    "log_latency",
    "matmul",
    "max_over_time",
    "merge",
    "noisy_rate",
    "normalise",
    "on_chip",
    "patches",
    "plan",
    "poisson",
    "population",
    "program",
    "regular",
    "relu",
    "sample_chip",
    "saturation",
    "save_chip",
    "scale_input",
    "scale_weight",
    "soft_clamp",
    "soft_lif_rate",
    "sort_events",
    "spike",
    "spike_count",
    "spike_time",
    "split",
    "to_events",
    "to_raster",
    "wire",
]
