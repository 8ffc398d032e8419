"""Networks of soft LIF units: trained as rates, run as spikes by `networks.conversion`.

On `float` they are rates, in floating point; a key brings the training noise, and that only in
training. On `ideal` and `chip` the network is converted to spiking neurons, all its layers
together, on a perfect chip or on the given one: see `networks.soft_chip`. The gradient is then that
of the soft rates with unquantised weights, without training noise and dropout, each layer at the
rates that were measured before it: what a host with the chip in its loop can do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.chip.substrate import Substrate
from bss2jax.kernels import rates as softlif
from bss2jax.kernels.coding import normalise
from bss2jax.kernels.dot import dot
from bss2jax.kernels.rates import Curve
from bss2jax.kernels.unfold import convolve
from bss2jax.mapping.populations import Population, SpikingPlan, plan_populations
from bss2jax.networks import soft_chip
from bss2jax.networks.layers import ConvSoftLIF, Layer, Linear, Pool, Rated, Soft, SoftLIF
from bss2jax.networks.network import (
    Execution,
    Network,
    executions,
    layer_names,
    require_chip,
)
from bss2jax.networks.stages import Stage, arrange, window_shape


def build_soft(
    layers: Sequence[Layer], shape: Sequence[int], substrate: Substrate, spec: Soft
) -> Network:
    """Builds a network of soft LIF units.

    Args:
        layers, shape, substrate: as in `build`.
        spec: what its units share.

    Raises:
        ValueError: as `build`, or relu units are given noise.
    """
    if spec.units == "relu" and spec.noise != "none":
        raise ValueError(f"soft.noise: relu units have no spikes; expected none, got {spec.noise}")
    stages = stages_of(layers, shape)
    plan = plan_soft(stages, spec, substrate)
    return Network(
        init=partial(_init, stages),
        apply=partial(_apply, stages, spec, plan),
        plan=plan,
        shapes=(stages[0].before, *(stage.after for stage in stages)),
        names=tuple(stage.name for stage in stages),
        encode=normalise,
        weight_limit=math.inf,
        executions=("float",) if spec.units == "relu" else get_args(Execution),
        slow_off_float=True,
    )


def curve_of(spec: Soft) -> Curve:
    """Returns the rate curve of a network's units."""
    return Curve(spec.tau_ref, spec.tau_rc, spec.gamma, spec.amplitude, spec.gain)


@dataclass(frozen=True)
class SoftStage(Stage):
    """A layer of a soft LIF network in its place."""

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the layer's weight: (fan-in, outputs), or (*window, channels, outputs)."""
        layer = self.layer
        if isinstance(layer, ConvSoftLIF):
            return (*self.window, self.before[-1], layer.outputs)
        return (math.prod(self.before), layer.outputs)

    @property
    def fan_in(self) -> int:
        """Inputs of a unit."""
        return math.prod(self.weight_shape[:-1])

    def sums(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Multiplies inputs `[B, *before]` by the layer's weights: `[B, *after]`, no bias."""
        layer = self.layer
        if not isinstance(layer, ConvSoftLIF):
            return dot(x.reshape(len(x), -1), w)
        return convolve(x, w, layer.stride, layer.padding)


def stages_of(layers: Sequence[Layer], shape: Sequence[int]) -> tuple[SoftStage, ...]:
    """Puts the layers of a soft LIF network in their places.

    Raises:
        ValueError: a layer does not belong there or does not fit its input; says which.
    """
    names = layer_names(layers)
    for layer, name in zip(layers, names, strict=True):
        last = name == names[-1]
        if last != isinstance(layer, Linear):
            raise ValueError(f"layer {name}: a soft LIF network has one linear layer, its last")
        if not isinstance(layer, Rated | Pool):
            raise ValueError(
                f"layer {name} is {layer.kind}; before the last layer a soft LIF network has "
                "soft_lif, conv_soft_lif and pool"
            )
        if isinstance(layer, Pool) and layer.mode != "mean":
            raise ValueError(f"layer {name}: rates are pooled by their mean, got {layer.mode!r}")
    return arrange(SoftStage, layers, shape, _output_shape)


def plan_soft(stages: Sequence[SoftStage], spec: Soft, substrate: Substrate) -> SpikingPlan:
    """Plans the runs of the converted network.

    Raises:
        ValueError: a layer does not fit the chip, or the times do not fit each other.
    """
    if spec.warm_up >= spec.steps:
        raise ValueError(
            f"soft.warm_up: expected fewer than {spec.steps} steps, got {spec.warm_up}"
        )
    if spec.input_rate * spec.dt > 1:
        raise ValueError(
            f"soft.input_rate: expected at most one spike a step of {spec.dt} s, got "
            f"{spec.input_rate} Hz"
        )
    names, populations = [], []
    for stage in stages:
        if isinstance(stage.layer, Pool):
            continue
        positions = math.prod(stage.after[:-1])
        try:
            place = Population(
                stage.fan_in, math.prod(stage.after), positions=positions, substrate=substrate
            )
        except ValueError as error:
            raise ValueError(f"layer {stage.name}: {error}") from None
        names.append(stage.name)
        populations.append(place)
    seconds = spec.steps * spec.dt / soft_chip.SPEED_UP
    return plan_populations(names, populations, [None] * len(names), seconds, substrate)


def _output_shape(layer, before):
    if isinstance(layer, SoftLIF | Linear):
        return (layer.outputs,)
    return window_shape(layer, before)


def _init(stages, key):
    params, rated = {}, [stage for stage in stages if isinstance(stage.layer, Rated)]
    for stage, layer_key in zip(rated, jax.random.split(key, len(rated)), strict=True):
        std = stage.layer.init / math.sqrt(stage.fan_in)
        params[stage.name] = {
            "weight": std * jax.random.normal(layer_key, stage.weight_shape),
            "bias": jnp.full(stage.layer.outputs, stage.layer.init_bias, jnp.float32),
        }
    return params


def _apply(
    stages, spec, plan, params, state, x, chip=None, key=None, *, sample=0, on, training=False
):
    known = ("float",) if spec.units == "relu" else get_args(Execution)
    each = executions([stage.name for stage in stages], on, known)
    require_chip(each, chip)
    if len(set(each.values())) > 1:
        raise ValueError("on: a soft LIF network runs as a whole: expected one execution")
    if x.shape[1:] != stages[0].before:
        raise ValueError(f"x has samples of {x.shape[1:]}, the network takes {stages[0].before}")
    on, measured = next(iter(each.values())), None
    if on != "float":
        measured = _measured(stages, spec, plan, params, x, chip if on == "chip" else None, key)
        key = None
    count = 2 * len(stages)
    keys = iter([None] * count if key is None or not training else jax.random.split(key, count))
    curve, noise, stats = curve_of(spec), _noise(spec), {}
    for stage in stages:
        if isinstance(stage.layer, Pool):
            x = stage.pooled(x)
            continue
        name, noise_key, drop = stage.name, next(keys), next(keys)
        x = stage.sums(x, params[name]["weight"]) + params[name]["bias"]
        if isinstance(stage.layer, Linear):
            return _seen(x, name, measured), state, stats
        if spec.units == "relu":
            x = jnp.maximum(spec.gain * x, 0)
        else:
            rate = softlif.noisy_rate(1 + spec.gain * x, curve, noise, noise_key)
            rate = _seen(rate, name, measured)
            stats[name] = {"rate": rate.mean()}
            x = spec.amplitude * rate
        if stage.layer.dropout and drop is not None:
            kept = jax.random.bernoulli(drop, 1 - stage.layer.dropout, x.shape)
            x = x * kept / (1 - stage.layer.dropout)


def _measured(stages, spec, plan, params, x, chip, key):
    """The rates of all layers and the scores, as the converted network shows them."""
    params = lax.stop_gradient(params)
    readout, rates = soft_chip.run(stages, spec, curve_of(spec), plan, params, x, chip, key)
    return rates | {stages[-1].name: readout[spec.warm_up :].mean(axis=0)}


def _seen(model, name, measured):
    """What was measured, where anything was, with the gradient of the model."""
    return model if measured is None else model + lax.stop_gradient(measured[name] - model)


def _noise(spec):
    match spec.noise:
        case "gaussian":
            return softlif.Gaussian(spec.noise_std)
        case "alpha":
            return softlif.Alpha(spec.tau_syn)
        case "alpha_membrane":
            return softlif.AlphaMembrane(spec.tau_syn, spec.tau_rc)
    return None
