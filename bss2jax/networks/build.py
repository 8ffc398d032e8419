"""From layers to a network, and to its twin of spikes where it is one of rates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.networks.assemble import assemble
from bss2jax.networks.conversion import Conversion, Twin, convert
from bss2jax.networks.graph import Network
from bss2jax.networks.layer import Layer
from bss2jax.networks.signal import Signal, Values


def build(
    layers: Sequence[Layer],
    shape: Sequence[int] | Signal,
    *,
    substrate: Substrate = BSS2,
    conversion: Conversion = Conversion(),
) -> Network:
    """Builds a network of layers for samples of a shape.

    Args:
        layers: the layers, each behind the one before it or behind its `inputs`.
        shape: the shape of one sample: `(features,)`, `(L, C)` or `(H, W, C)`, values of full scale
            1; or another signal, such as `Activations((784,))`.
        substrate: the chip's numbers; a signal knows its own.
        conversion: how a network of rates runs as spikes.

    Raises:
        ValueError: a layer does not fit its input, a name occurs twice or is unknown, no gradient
            would reach trained parameters; says which layer.
    """
    sample: Any = shape if hasattr(shape, "kind") else Values(tuple(shape), substrate)
    network = assemble(tuple(layers), sample)
    spike = [node.layer.rates and "chip" in node.layer.executions for node in network.nodes]
    if not any(spike) or not all("chip" in node.layer.executions for node in network.nodes):
        return network
    spikes = convert(network, conversion, on_chip=True)
    return replace(network, twin=Twin(spikes, conversion))
