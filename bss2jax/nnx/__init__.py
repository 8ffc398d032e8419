"""The chip's operations as flax nnx modules: parameters inside, the chip an argument.

    class Classifier(nnx.Module):
        def __init__(self, *, rngs):
            self.hidden = bss2jax.nnx.Linear(256, 64, shift=1, rngs=rngs)
            self.activation = bss2jax.nnx.ConvertingReLU(shift=1)
            self.scores = bss2jax.nnx.Linear(64, 10, shift=0, rngs=rngs)

        def __call__(self, x, chip=None, key=None):
            hidden_key, scores_key = (None, None) if key is None else jax.random.split(key)
            x = self.activation(self.hidden(x, chip, hidden_key))
            return self.scores(x, chip, scores_key)

A module is called `layer(x, chip=None, key=None)`. A chip is a value, not a parameter: the same
module runs on any, and `nnx.vmap` maps it over a stack of them. No chip: a perfect one. No key: no
noise; every layer that gets one wants its own, such as `rngs.noise()`.

Names and order follow flax (`kernel`, `strides`, `kernel_dilation`, `feature_group_count`); what
only the chip has is named as in hxtorch (`num_sends`, `avg`), and so is the switch `bias`. Layouts
are flax's: channels last, kernels `[*window, C, N]`.

Weights lie in -63..63 LSB. An optimiser may push them out: inside jit they are then clipped,
outside jit refused. Project them after each update:

    kernels = nnx.state(model, nnx.PathContains("kernel"))
    nnx.update(model, jax.tree.map(lambda w: jnp.clip(w, -63, 63), kernels))

Spiking layers have their weights in software units, within +-63 / weight_scale, and take spikes
with time first: `[T, B, ...]`.

References: hxtorch `perceptron/nn`; flax `nnx/nn/linear.py`.
"""

from bss2jax.nnx.analog import Conv1d, Conv2d, ConvertingReLU, ExpandedConv1d, Linear, ReLU
from bss2jax.nnx.spiking import LI, LIF, ConvLIF

__all__ = [
    "LI",
    "LIF",
    "Conv1d",
    "Conv2d",
    "ConvLIF",
    "ConvertingReLU",
    "ExpandedConv1d",
    "Linear",
    "ReLU",
]
