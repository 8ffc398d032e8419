"""From layer specs to a network."""

from collections.abc import Sequence

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.networks.analog import build_analog
from bss2jax.networks.layers import LI, Firing, Layer, Rated, Soft, Spiking
from bss2jax.networks.network import Network
from bss2jax.networks.soft import build_soft
from bss2jax.networks.spiking import build_spiking


def build(
    layers: Sequence[Layer],
    shape: Sequence[int],
    substrate: Substrate = BSS2,
    spiking: Spiking = Spiking(),
    soft: Soft = Soft(),
) -> Network:
    """Builds a network of layers for samples of a shape.

    Args:
        layers: specs, first to last.
        shape: of one sample: `(features,)`, `(L, C)` or `(H, W, C)`.
        substrate: the chip's numbers.
        spiking: what the populations of a spiking network share.
        soft: what the units of a soft LIF network share.

    Raises:
        ValueError: a layer does not fit its input, or a name occurs twice; says which layer.
    """
    if any(isinstance(layer, Rated) for layer in layers):
        return build_soft(tuple(layers), tuple(shape), substrate, soft)
    if any(isinstance(layer, Firing | LI) for layer in layers):
        return build_spiking(tuple(layers), tuple(shape), substrate, spiking)
    return build_analog(tuple(layers), tuple(shape), substrate)
