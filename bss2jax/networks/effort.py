"""What a network of rates costs on digital neuromorphic hardware, as rates and as spikes.

References: Hunsberger and Eliasmith 2016, section 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from bss2jax.networks.graph import Network, Node

# Energy of a synaptic event and of a neuron's update in a step over that of a flop.
_EVENT, _UPDATE = 0.08, 0.25


@dataclass(frozen=True)
class Effort:
    """What a sample costs, in flops: an estimate for digital neuromorphic hardware.

    Attributes:
        rates: as a network of rates: a multiplication and an addition a synapse.
        spikes: `[T]` as a network of spikes, after each step.
    """

    rates: float
    spikes: jax.Array


def effort(network: Network, spikes: dict[str, jax.Array]) -> Effort:
    """Estimates what a sample costs as rates, and as spikes after each step.

    .08 flop a synaptic event and .25 an update of a neuron. The first layer, whose input does not
    spike, is multiplied once either way.

    Args:
        network: the network of rates.
        spikes: for each layer that spikes `[T, *size]`, a sample's mean spikes of each neuron, as
            the records of the converted network have them.
    """
    weighted = [node for node in network.nodes if node.layer.rates]
    flops = [2 * _synapses([node], jnp.ones((1, *node.before[0].size))) for node in weighted]
    events = jnp.zeros(())
    for name, z in spikes.items():
        events = events + (z * synapses_reached(network, name)).reshape(len(z), -1).sum(axis=1)
    neurons = sum(math.prod(node.after.size) for node in weighted if node.name in spikes)
    total = float(sum(flops))
    return Effort(total, float(flops[0]) + jnp.cumsum(_EVENT * events + _UPDATE * neurons))


def synapses_reached(network: Network, name: str) -> jax.Array:
    """Returns how many synapses one spike of each neuron of a layer reaches, `[*size]`.

    A pool has none: its neurons share the synapses of what it feeds.
    """
    at = network.names.index(name)
    count = jax.jit(jax.grad(partial(_synapses, network.nodes[at + 1 :])))
    return count(jnp.zeros((1, *network.nodes[at].after.size)))[0]


def _synapses(nodes: Sequence[Node], z: jax.Array) -> jax.Array:
    """The events that spikes `[1, *size]` cause in the first layer with weights."""
    for node in nodes:
        if node.layer.rates:
            return node.layer.synapses(z, node.before[0]).sum()  # type: ignore[attr-defined]
        z = node.layer.reached(z, node.before[0])  # type: ignore[attr-defined]
    raise ValueError("no layer with weights follows")
