"""A network of soft LIF units as spiking neurons on the chip: its codes, circuits and noise.

All as in `networks.conversion`, a thousand times faster, but for what the chip has not:

- The image comes as spikes at even distances, in proportion to its values.
- Synapses are exponential. The readout is an integrator with a membrane as slow as its synapse,
  read through the CADC; the host adds its bias.
- Weights are 6-bit codes, the largest of a layer 63: a layer's neurons have a synaptic input of
  their own strength.
- A unit without input rests at its threshold. Its bias moves the leak potential, as far as that can
  be set. Deviations of potentials are shares of the way from reset to threshold.

Layers are run with all their neurons side by side, each with the circuits and synapses of its place
in its run: what one run after the other, with spikes recorded and replayed, would give. The jitter
of spikes, a seventeenth of a step, is left out: rates do not see it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.chip.chip import Chip, Circuits
from bss2jax.chip.substrate import Substrate
from bss2jax.execute.circuits import gather_place
from bss2jax.execute.populations import cadc_trace
from bss2jax.kernels import coding, noise
from bss2jax.kernels.rates import Curve, firing_state, firing_step
from bss2jax.mapping.populations import SpikingPlan
from bss2jax.networks.layers import ConvSoftLIF, Linear, Pool, Soft
from bss2jax.networks.network import Params

SPEED_UP = 1000  # of the chip over the times of these neurons
_UNIT = 50.0  # LSB from reset to threshold, of the 40 to 70 that are usual on silicon
# How far the leak can be set from the reset, with reset at 70 and threshold at 120 LSB.
# References: calix (leak 50 to 160 LSB).
_LEAK = ((50 - 70) / _UNIT, (160 - 70) / _UNIT)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Layer:
    """A layer as it is on the chip; of its neurons each `[*size]`, of noisy ones `[B, *size]`.

    Attributes:
        weight: codes over their scale, times the strength of each synapse; of a convolution, its
            excitatory and its inhibitory part side by side.
        strength: `[2, *size]` of each neuron of a convolution, else None.
        leak, reset, threshold: in units of the nominal threshold; of the readout, scores.
        keep, share: of its synapse's current, what a step leaves, and takes of what is sent.
        tau_mem: s of the network's own time.
        membrane_noise: std at rest, or None.
    """

    weight: jax.Array
    strength: jax.Array | None
    leak: jax.Array
    reset: jax.Array
    threshold: jax.Array
    keep: jax.Array
    share: float
    tau_mem: jax.Array
    membrane_noise: jax.Array | None


def run(
    stages: Sequence,
    soft: Soft,
    curve: Curve,
    plan: SpikingPlan,
    params: Params,
    x: jax.Array,
    chip: Chip | None = None,
    key: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Shows samples to the converted network on a chip for `soft.steps` steps.

    Args:
        stages: the network's layers in their places.
        soft: neurons, synapses, dt and steps.
        curve: of the neurons.
        plan: where its layers with weights go.
        params: of the trained network, as they are.
        x: `[B, *shape]` values 0..1.
        chip: None for a perfect one, without noise.
        key: draws the membranes to begin with, uniform up to the threshold, and the chip's noise.
            None: from reset, without noise.

    Returns:
        The readout `[T, B, N]`, scores; and for each layer of neurons the rates `[B, *size]` after
        the warm-up, Hz of the network's own time.
    """
    weighted = [stage for stage in stages if not isinstance(stage.layer, Pool)]
    count, places = 3 * len(weighted), plan.places
    keys = iter([None] * count if key is None else jax.random.split(key, count))
    layers: dict[str, _Layer] = {}
    states: dict[str, tuple] = {}
    words: dict[str, jax.Array] = {}
    for stage in weighted:
        name, shape = stage.name, (len(x), *stage.after)
        start, of_trial, of_steps = next(keys), next(keys), next(keys)
        layer = _layer(stage, places[name], soft, curve, params[name], chip, of_trial, len(x))
        if layer.membrane_noise is not None and of_steps is not None:
            words[name] = noise.stream_words(of_steps, soft.steps)
        neurons = firing_state(shape)
        if start is not None and not isinstance(stage.layer, Linear):
            neurons = replace(neurons, v=jax.random.uniform(start, shape))
        layers[name], states[name] = layer, (jnp.zeros(shape), neurons, jnp.zeros(shape))
    sent = coding.regular(x.reshape(len(x), -1), soft.steps, soft.input_rate * soft.dt * soft.steps)

    def step(states, now):
        z, t, words = now
        after = {}
        signal = z.reshape(x.shape) / (soft.input_rate * soft.dt)
        for stage in stages:
            if isinstance(stage.layer, Pool):
                signal = stage.pooled(signal)
                continue
            layer, (current, neurons, count) = layers[stage.name], states[stage.name]
            current = layer.keep * current + layer.share * _sums(stage, layer, signal)
            disturbance = _disturbance(layer, words.get(stage.name), current.shape, soft.dt)
            if isinstance(stage.layer, Linear):
                keep = jnp.exp(-soft.dt / layer.tau_mem)
                v = layer.leak + (neurons.v - layer.leak) * keep + (1 - keep) * current
                v = v + disturbance
                after[stage.name] = (current, replace(neurons, v=v), count)
                return after, v
            # Of a neuron's own way from reset to threshold.
            way = layer.threshold - layer.reset
            j = (layer.leak + soft.gain * current - layer.reset) / way
            neurons, z = firing_step(curve, neurons, j, dt=soft.dt, tau_rc=layer.tau_mem)
            neurons = replace(neurons, v=neurons.v + disturbance / way)
            after[stage.name] = (current, neurons, count + z * (t >= soft.warm_up))
            signal = (soft.amplitude / soft.dt) * z

    states, readout = lax.scan(step, states, (sent, jnp.arange(soft.steps), words))
    seconds = (soft.steps - soft.warm_up) * soft.dt
    rates = {
        stage.name: states[stage.name][2] / seconds
        for stage in weighted
        if not isinstance(stage.layer, Linear)
    }
    last = weighted[-1].name
    readout = cadc_trace(readout, soft.dt / SPEED_UP, soft.readout_scale, substrate=plan.substrate)
    return readout + params[last]["bias"], rates


def _layer(stage, place, soft, curve, params, chip, key, batch):
    size, last = stage.after, isinstance(stage.layer, Linear)
    weight = _codes(params["weight"], place.substrate)
    leak = 0.0 if last else jnp.clip(1 + soft.gain * params["bias"], *_LEAK)
    tau_mem = soft.tau_syn if last else curve.tau_rc
    unit = _UNIT / soft.readout_scale if last else 1.0
    share = 1 - math.exp(-soft.dt / soft.tau_syn)
    if chip is None:
        whole = lambda value: jnp.broadcast_to(value, size)  # noqa: E731
        return _Layer(
            weight, None, whole(leak), whole(0.0), whole(unit), whole(1 - share), share,
            whole(tau_mem), None,
        )  # fmt: skip
    circuits = _circuits(chip, place, size)
    threshold = 1 + circuits.threshold
    if key is not None:
        rows = math.prod(size)
        normal, _ = noise.normal_pair(noise.stream_words(key, 1)[0], (batch, rows))
        threshold = threshold + circuits.threshold_noise * normal.reshape(batch, *size)
    strength = None
    if isinstance(stage.layer, ConvSoftLIF):
        weight = jnp.concatenate([jnp.maximum(weight, 0), jnp.minimum(weight, 0)], axis=-1)
        strength = circuits.strength
    else:
        each = gather_place(chip, place, len(weight)).strength()
        weight = weight * jnp.where(weight > 0, each[0], each[1])
    membrane = circuits.membrane_noise
    return _Layer(
        weight,
        strength,
        leak + unit * circuits.leak,
        unit * circuits.reset,
        unit * threshold,
        jnp.exp(-soft.dt / (soft.tau_syn * circuits.tau_syn)),
        share,
        tau_mem * circuits.tau_mem,
        None if membrane is None else unit * membrane,
    )


def _circuits(chip, place, size) -> Circuits:
    """The circuits of all neurons of a layer, `[*size]`."""
    neurons = gather_place(chip, place, 0).neurons
    return jax.tree.map(lambda a: a.reshape(*a.shape[:-1], *size), neurons)


def _codes(w, substrate: Substrate):
    """Weights as 6-bit codes, the largest of all the largest code; in the units of w."""
    scale = jnp.abs(w).max() / substrate.weight_max
    return jnp.round(w / jnp.maximum(scale, 1e-12)) * scale


def _sums(stage, layer, signal):
    y = stage.sums(signal, layer.weight)
    if layer.strength is None:
        return y
    excitatory, inhibitory = jnp.split(y, 2, axis=-1)
    return layer.strength[0] * excitatory + layer.strength[1] * inhibitory


def _disturbance(layer, words, shape, dt):
    """What noise adds to membranes in a step, so that at rest they spread as they should."""
    if words is None:
        return 0.0
    normal, _ = noise.normal_pair(words, (shape[0], math.prod(shape[1:])))
    spread = layer.membrane_noise * jnp.sqrt(-jnp.expm1(-2 * dt / layer.tau_mem))
    return spread * normal.reshape(shape)
