"""A trained network of soft LIF units as spiking LIF neurons: the same weights and biases.

Each rate becomes the spikes of a neuron with the same curve, and reaches the next layer through a
synapse that filters it. The first layer sees the image as a current that stays; the last is a sum
of filtered spikes, whose mean over time are the scores.

References: Hunsberger and Eliasmith 2016 (arXiv 1611.05141).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2
from bss2jax.kernels.rates import firing_state, firing_step
from bss2jax.networks import soft_chip
from bss2jax.networks.layers import Layer, Linear, Pool, Soft
from bss2jax.networks.network import Params
from bss2jax.networks.soft import SoftStage, curve_of, plan_soft, stages_of


def run_spikes(
    layers: Sequence[Layer],
    soft: Soft,
    params: Params,
    x: jax.Array,
    key: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Shows samples to the converted network for `soft.steps` steps.

    Spikes reach the next layer's synapses in their own step; pools average them. One run gives the
    readout of all shorter ones.

    Args:
        layers: of the trained network.
        soft: neurons, synapses, dt and steps.
        params: of the trained network, as they are.
        x: `[B, *shape]` values 0..1, as from the network's `encode`.
        key: draws the membranes to begin with, uniform up to the threshold: neurons that were busy
            before, and do not all wait for their first spike. None: from rest.

    Returns:
        The readout `[T, B, N]`, and for each layer of neurons the spikes of each in all steps,
        `[T, *size]`, mean over the samples.

    Raises:
        ValueError: the units are `relu`, which cannot spike, or layers and x do not fit.
    """
    _require_spikes(soft)
    stages = stages_of(layers, x.shape[1:])
    curve, keep = curve_of(soft), math.exp(-soft.dt / soft.tau_syn)
    first = next(stage for stage in stages if not isinstance(stage.layer, Pool))
    current = x
    for stage in stages[: stages.index(first)]:
        current = stage.pooled(current)
    # A current that stays is multiplied once, and needs no synapse.
    constant = first.sums(current, params[first.name]["weight"])
    active = stages[stages.index(first) :]

    def start(stage, key):
        shape = (len(x), *stage.after)
        none, neurons = jnp.zeros(shape), firing_state(shape)
        if key is not None:
            neurons = replace(neurons, v=jax.random.uniform(key, shape))
        return (none, none), neurons

    def step(states, _):
        after, spikes, signal = {}, {}, None
        for stage in active:
            if isinstance(stage.layer, Pool):
                signal = stage.pooled(signal)
                continue
            synapse, neurons = states[stage.name]
            weights = params[stage.name]
            if stage is first:
                drive = constant
            else:
                synapse = _filtered(soft, keep, synapse, stage.sums(signal, weights["weight"]))
                drive = synapse[1]
            drive = drive + weights["bias"]
            if isinstance(stage.layer, Linear):
                return after | {stage.name: (synapse, neurons)}, (drive, spikes)
            neurons, z = firing_step(curve, neurons, 1 + soft.gain * drive, dt=soft.dt)
            after[stage.name], spikes[stage.name] = (synapse, neurons), z.mean(axis=0)
            signal = (soft.amplitude / soft.dt) * z

    weighted = [stage for stage in active if not isinstance(stage.layer, Pool)]
    keys = [None] * len(weighted) if key is None else jax.random.split(key, len(weighted))
    states = {stage.name: start(stage, k) for stage, k in zip(weighted, keys, strict=True)}
    return lax.scan(step, states, length=soft.steps)[1]


def run_on_chip(
    layers: Sequence[Layer],
    soft: Soft,
    params: Params,
    x: jax.Array,
    chip: Chip | None = None,
    key: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Shows samples to the converted network on a chip: see `networks.soft_chip`.

    Args:
        layers, soft, params, x: as in `run_spikes`.
        chip: None for a perfect one, without noise.
        key: draws the membranes to begin with, and the chip's noise. None: from reset, no noise.

    Returns:
        The readout `[T, B, N]`, and for each layer of neurons the rate of each for each sample
        after the warm-up, `[B, *size]`, Hz.

    Raises:
        ValueError: as `run_spikes`, or a layer does not fit the chip.
    """
    _require_spikes(soft)
    stages = stages_of(layers, x.shape[1:])
    plan = plan_soft(stages, soft, BSS2)
    return soft_chip.run(stages, soft, curve_of(soft), plan, params, x, chip, key)


def _require_spikes(soft):
    if soft.units != "soft_lif":
        raise ValueError(f"soft.units: expected soft_lif, got {soft.units}: it has no spikes")


def scores_over_time(readout: jax.Array, warm_up: int = 0) -> jax.Array:
    """Returns what the scores are after each step: the mean of the readout since the warm-up.

    Args:
        readout: `[T, B, N]`.
        warm_up: steps that are left out, fewer than T.

    Returns:
        `[T - warm_up, B, N]`; entry i after warm_up + i + 1 steps.

    Raises:
        ValueError: the warm-up leaves no step.
    """
    if not 0 <= warm_up < len(readout):
        raise ValueError(f"warm_up: expected 0 to {len(readout) - 1} steps, got {warm_up}")
    sums = jnp.cumsum(readout[warm_up:], axis=0)
    return sums / jnp.arange(1, len(sums) + 1, dtype=jnp.float32)[:, None, None]


def synapses_reached(layers: Sequence[Layer], shape: Sequence[int]) -> dict[str, jax.Array]:
    """Returns how many synapses one spike of each neuron reaches, `[*size]` by layer.

    A pool has none: its neurons share the synapses of what it feeds.
    """
    stages, reached = stages_of(layers, shape), {}
    for i, stage in enumerate(stages):
        if not isinstance(stage.layer, Pool | Linear):
            events = jax.jit(jax.grad(partial(_synapses, stages[i + 1 :])))
            reached[stage.name] = events(jnp.zeros((1, *stage.after)))[0]
    return reached


@dataclass(frozen=True)
class Effort:
    """What a sample costs, in flops: an estimate for digital neuromorphic hardware.

    Attributes:
        rates: of the network as rates: a multiplication and an addition a synapse.
        spikes: `[T]` of the spiking network after each step.
    """

    rates: float
    spikes: jax.Array


# Energy of a synaptic event and of a neuron's update in a step over that of a flop.
# References: Hunsberger and Eliasmith 2016, section 4.
_EVENT, _UPDATE = 0.08, 0.25


def effort(layers: Sequence[Layer], shape: Sequence[int], spikes: dict[str, jax.Array]) -> Effort:
    """Estimates what a sample costs as rates, and as spikes after each step.

    .08 flop a synaptic event and .25 an update of a neuron. The first layer, whose input does not
    spike, is multiplied once either way.

    Args:
        layers: of the network.
        shape: of a sample.
        spikes: for each layer `[T, *size]`, as from `run_spikes`.

    Raises:
        ValueError: a pool feeds no layer.
    """
    stages = [stage for stage in stages_of(layers, shape) if not isinstance(stage.layer, Pool)]
    flops = [2 * _connections(stage) for stage in stages]
    reached = synapses_reached(layers, shape)
    events = sum((z * reached[name]).reshape(len(z), -1).sum(axis=1) for name, z in spikes.items())
    neurons = sum(math.prod(stage.after) for stage in stages if stage.name in spikes)
    return Effort(float(sum(flops)), flops[0] + jnp.cumsum(_EVENT * events + _UPDATE * neurons))


def _connections(stage: SoftStage) -> float:
    return float(_synapses((stage,), jnp.ones((1, *stage.before))))


def _synapses(stages, z):
    """The events that spikes `[1, *size]` cause in the first layer with weights."""
    for stage in stages:
        if not isinstance(stage.layer, Pool):
            return stage.sums(z, jnp.ones(stage.weight_shape)).sum()
        # The sum of a window, not its mean: each of its neurons reaches all that it feeds.
        z = stage.pooled(z) * math.prod(stage.window)
    raise ValueError("a pool feeds no layer")


def _filtered(soft, keep, synapse, x):
    """Advances a synapse's two low passes; an exponential one has only the second."""
    before, current = synapse
    if soft.synapse == "alpha":
        before = x = keep * before + (1 - keep) * x
    return before, keep * current + (1 - keep) * x
