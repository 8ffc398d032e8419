"""Spiking networks on several chips at once: their spike graph, their plan, their specimens."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip import draws
from bss2jax.chip.chip import Chip, Mismatch, sample_chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.chip.system import System
from bss2jax.mapping.across import plan_across
from bss2jax.mapping.plan import tree_of
from bss2jax.mapping.workload import Workload, of_edges
from bss2jax.networks.graph import Network, Node


def populations(network: Network) -> list[tuple[Node, str | None]]:
    """Returns the populations of a network, and the one that each is sent spikes by.

    Args:
        network: a network of spiking layers.

    Returns:
        Nodes in order, each with a name; None for what the host sends.

    Raises:
        ValueError: a layer on the chip is no population, or a layer between two changes which
            neuron is where.
    """
    if network.twin is not None:
        raise ValueError("a network of rates does not run on several chips at once")
    found: list[tuple[Node, str | None]] = []
    origin: dict[str, str | None] = {"input": None}
    for node in network.nodes:
        demand = node.layer.demand(*node.before)
        first = node.inputs[0]
        if demand is None:
            kept = len(node.inputs) == 1 and node.after.entries == node.before[0].entries
            kept = kept and not node.layer.reorders
            sends = [origin[name] for name in node.inputs]
            if any(sends) and not kept and node.after.kind == "spikes":
                raise ValueError(
                    f"layer {node.name}: it changes which neuron is where between two populations, "
                    "so delays between chips cannot be said"
                )
            origin[node.name] = sends[0]
            continue
        if demand.joined(node.before[0].substrate) is None:
            raise ValueError(
                f"layer {node.name}: only populations of point neurons run on several chips at once"
            )
        if len(node.inputs) > 1:
            raise ValueError(
                f"layer {node.name}: populations of one projection run on several chips at once"
            )
        found.append((node, origin[first]))
        origin[node.name] = node.name
    return found


def _population(node: Node) -> Any:
    """The layer of a node that `populations` found, which has more methods than any layer."""
    return node.layer


def workload_of(network: Network, rates: Mapping[str, np.ndarray] | None = None) -> Workload:
    """Returns the spike graph of the populations of a network; the host sends its inputs.

    Args:
        network: a network of spiking layers.
        rates: `[N]` spikes a sample of each population, by name; those left out send none.

    Raises:
        ValueError: as `populations`.
    """
    nodes, starts, total = populations(network), {}, 0
    for node, _ in nodes:
        starts[node.name] = total
        total += node.after.entries
    sources, targets, outside = [], [], np.zeros(total, np.int32)
    spikes = np.zeros(total)
    for node, sender in nodes:
        first, size, layer = starts[node.name], node.after.entries, _population(node)
        pairs = [(first, layer.loops(*node.before))]
        if sender is None:
            outside[first : first + size] = layer.fan_in(node.before[0])
        else:
            pairs.append((starts[sender], layer.wires(*node.before)))
        for begin, (source, target) in pairs:
            sources.append(begin + source)
            targets.append(first + target)
        if rates is not None and node.name in rates:
            spikes[first : first + size] = rates[node.name]
    bounds = (*starts.values(), total)
    return of_edges(
        "network", np.concatenate(sources), np.concatenate(targets), spikes, bounds,
        outside=outside, seconds=max(node.after.seconds for node, _ in nodes),
    )  # fmt: skip


def rates_of(records: Mapping[str, Mapping[str, jax.Array]]) -> dict[str, np.ndarray]:
    """Returns the spikes a sample of each population, `[N]` by name, as a network recorded them.

    Args:
        records: the records of `Network.apply`.
    """
    return {
        name: np.asarray(record["spikes"]).mean(axis=0)
        for name, record in records.items()
        if "spikes" in record
    }


def on_system(network: Network, system: System, chip: np.ndarray) -> Network:
    """Returns a network that runs on the chips of a system at once.

    Args:
        network: a network of spiking layers.
        system: the system whose chips they are.
        chip: `[n]` chip of each neuron, population after population.

    Raises:
        ValueError: as `populations` and `plan_across`.
    """
    senders = populations(network)
    nodes = [node for node, _ in senders]
    for node, sender in senders:
        if sender is not None and system.delay > 0 and not _population(node).delayable:
            raise ValueError(
                f"layer {node.name}: receptive fields of spikes that links delay are not "
                "simulated; take plan.delay=false"
            )
    ends = np.cumsum([node.after.entries for node in nodes])
    if ends[-1] != len(chip):
        raise ValueError(f"plan: it has {len(chip)} neurons, the network {ends[-1]}")
    plan = plan_across(
        [node.name for node in nodes], [_population(node).demand(*node.before) for node in nodes],
        np.split(np.asarray(chip), ends[:-1]), system,
        seconds=max(node.after.seconds for node in nodes),
        tree=tree_of(jax.eval_shape(network.init, jax.random.key(0))),
    )  # fmt: skip
    by_name = tuple((node.name, sender) for node, sender in senders)
    return replace(network, mapped=plan, senders=by_name)


def specimens(
    network: Network, key: jax.Array, spreads: Mismatch, *, substrate: Substrate = BSS2
) -> Chip:
    """Draws the chips that a network runs on: one, or those of its system with a leading axis.

    Chip i of a system is drawn of the key folded with i, whatever the system's size.

    Args:
        network: a network whose plan says how many there are.
        key: the random key of the fixed pattern.
        spreads: the spreads of the quantities.
        substrate: the substrate whose sizes they have.
    """
    if network.mapped is None:
        return sample_chip(key, spreads, substrate=substrate)
    numbers = jnp.arange(network.mapped.chips)
    keys = jax.vmap(lambda i: draws.folded(key, i))(numbers)
    return jax.jit(jax.vmap(lambda k: sample_chip(k, spreads, substrate=substrate)))(keys)


def deviations(
    key: jax.Array, spreads: Mismatch, chips: int, *, substrate: Substrate = BSS2
) -> np.ndarray:
    """Returns how far the neuron circuits of a system's chips are from nominal, `[chips]`.

    The mean of the absolute deviations of leak, threshold (shares of the way between them), time
    constants and synaptic input (relative).

    Args:
        key: the random key of the fixed pattern, as of `specimens`.
        spreads: the spreads of the quantities.
        chips: how many there are.
        substrate: the substrate whose sizes they have.
    """

    def one(number: jax.Array) -> jax.Array:
        c = sample_chip(draws.folded(key, number), spreads, substrate=substrate).circuits
        off = (c.leak, c.threshold, c.tau_mem - 1, c.tau_syn - 1, c.strength - 1)
        return jnp.mean(jnp.stack([jnp.abs(quantity).mean() for quantity in off]))

    return np.asarray(jax.lax.map(one, jnp.arange(chips)), float)
