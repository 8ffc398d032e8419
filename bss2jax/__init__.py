"""A functional simulator and trainer for the BrainScaleS-2 analog chip, in JAX.

What is importable from here needs only JAX and NumPy; `bss2jax.networks`, `bss2jax.training`,
`bss2jax.data`, `bss2jax.nnx` and `bss2jax.config` are imported by name.
"""

from bss2jax.hardware.chip import Chip, Mismatch, ideal_chip, sample_chip
from bss2jax.hardware.substrate import BSS2, Substrate
from bss2jax.kernels.coding import encode_activations, scale_input, scale_weight
from bss2jax.kernels.digital import add, argmax, converting_relu, relu
from bss2jax.mapping.convolution import conv1d, conv2d, expanded_conv1d
from bss2jax.mapping.execute import Synapses, matmul, program, saturation
from bss2jax.mapping.partition import Plan, describe, merge, plan, split

__version__ = "0.1.0"

__all__ = [
    "BSS2",
    "Chip",
    "Mismatch",
    "Plan",
    "Substrate",
    "Synapses",
    "add",
    "argmax",
    "conv1d",
    "conv2d",
    "converting_relu",
    "describe",
    "encode_activations",
    "expanded_conv1d",
    "ideal_chip",
    "matmul",
    "merge",
    "plan",
    "program",
    "relu",
    "sample_chip",
    "saturation",
    "scale_input",
    "scale_weight",
    "split",
]
