"""Spiking networks: values are coded as spikes, populations run on the chip, traces are scored."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from bss2jax.hardware.substrate import Substrate
from bss2jax.kernels import coding
from bss2jax.kernels.events import Events
from bss2jax.kernels.neuron import LIFParams, LIParams
from bss2jax.kernels.surrogate import Arctan, Box, FastSigmoid, Gaussian, SuperSpike, Triangle
from bss2jax.mapping.circuits import Population, plan_populations
from bss2jax.mapping.spiking import integrate, spiking
from bss2jax.networks.execution import Network, executions, layer_names, require_chip
from bss2jax.networks.layers import LI, LIF, Layer, Spiking

SURROGATES = {
    "superspike": SuperSpike,
    "fast_sigmoid": FastSigmoid,
    "arctan": Arctan,
    "triangle": Triangle,
    "gaussian": Gaussian,
    "box": Box,
}
DECODERS = {
    "max": coding.max_over_time,
    "mean": lambda v: v.mean(axis=0),
    "sum": lambda v: v.sum(axis=0),
    "last": lambda v: v[-1],
}


def inputs_of(shape: Sequence[int], spec: Spiking) -> int:
    """Returns how many inputs the coding makes of a sample."""
    return math.prod(shape) + (spec.coding == "time")


def _plan(layers, names, shape, spec, substrate):
    inputs, populations, events = inputs_of(shape, spec), [], []
    first_events = None if spec.coding == "rate" else inputs
    for layer, name in zip(layers, names, strict=True):
        recurrent = isinstance(layer, LIF) and layer.recurrent
        fan_in = inputs + layer.outputs * recurrent
        try:
            populations.append(Population(fan_in, layer.outputs, recurrent, substrate=substrate))
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from None
        events.append(first_events if not events else None)
        inputs = layer.outputs
    return plan_populations(names, populations, events, spec.steps * spec.dt, substrate)


def _init(layers, names, inputs, spec, substrate, key):
    """Draws every population's weights, software units: normal, cut at what a synapse holds."""
    params, limit = {}, substrate.weight_max / spec.weight_scale
    for layer, name, layer_key in zip(
        layers, names, jax.random.split(key, len(layers)), strict=True
    ):
        k_weight, k_recurrent = jax.random.split(layer_key)
        normal = layer.init_std * jax.random.normal(k_weight, (inputs, layer.outputs))
        params[name] = {"weight": jnp.clip(layer.init_mean + normal, -limit, limit)}
        if isinstance(layer, LIF) and layer.recurrent:
            normal = layer.init_std * jax.random.normal(k_recurrent, (layer.outputs,) * 2)
            params[name]["recurrent"] = jnp.clip(normal, -limit, limit)
        inputs = layer.outputs
    return params


def encode(values: jax.Array, spec: Spiking, key: jax.Array | None) -> Events | jax.Array:
    """Codes values `[B, ...]`, 0..1, as the spikes of a network's inputs.

    Raises:
        ValueError: `rate` coding without a key.
    """
    values = values.reshape(values.shape[0], -1)
    match spec.coding:
        case "latency":
            return coding.latency(values, spec.steps)
        case "log_latency":
            return coding.log_latency(
                values, spec.steps, spec.dt, spec.latency_tau, spec.latency_theta
            )
        case "time":
            events = coding.spike_time(values, spec.dt, spec.early, spec.late)
            bias = coding.spike_time(
                jnp.zeros((len(values), 1)), spec.dt, spec.bias_time, spec.late
            )
            return Events(
                jnp.concatenate([events.time, bias.time], axis=1),
                jnp.concatenate([events.index, bias.index + values.shape[1]], axis=1),
            )
    if key is None:
        raise ValueError("rate coding is random: give a key")
    return coding.poisson(values, key, spec.steps)


def _apply(layers, plan, spec, params, x, chip=None, key=None, *, on, training=False):
    each = executions(plan.names, on)
    require_chip(each, chip)
    keys = iter([None] * 3 * len(layers) if key is None else jax.random.split(key, 3 * len(layers)))
    spikes = encode(x, spec, next(keys))
    parameter = () if spec.surrogate_parameter is None else (spec.surrogate_parameter,)
    surrogate = SURROGATES[spec.surrogate](*parameter)
    stats, scores = {}, None
    for layer, name, place in zip(layers, plan.names, plan.populations, strict=True):
        on, weights = each[name], params[name]
        settings = {
            "steps": spec.steps, "population": place, "quantised": on != "float",
            "weight_scale": spec.weight_scale, "dt": spec.dt, "integrator": spec.integrator,
        }  # fmt: skip
        here, noise = (chip, next(keys)) if on == "chip" else (None, None)
        if isinstance(layer, LI):
            neuron = LIParams(layer.tau_mem, layer.tau_syn)
            v = integrate(
                spikes,
                weights["weight"],
                neuron,
                here,
                readout_scale=spec.readout_scale,
                **settings,
            )
            stats[name] = {"amplitude": jnp.abs(v).max(axis=0)}
            scores = DECODERS[spec.decoder](v)
            break
        spikes = spiking(
            spikes, weights["weight"], LIFParams(layer.tau_mem, layer.tau_syn), here, noise,
            recurrent=weights.get("recurrent"), t_ref=layer.t_ref, surrogate=surrogate, **settings,
        )  # fmt: skip
        drop = next(keys)
        if training and layer.dropout and drop is not None:
            kept = jax.random.bernoulli(drop, 1 - layer.dropout, (layer.outputs,))
            spikes = spikes * kept / (1 - layer.dropout)
        stats[name] = {"spikes": spikes.sum(axis=0)}
    return scores, stats


def build_spiking(
    layers: Sequence[Layer], shape: Sequence[int], substrate: Substrate, spec: Spiking
) -> Network:
    """Builds a spiking network: see `build`."""
    layers, shape = tuple(layers), tuple(shape)
    for i, layer in enumerate(layers):
        last = i == len(layers) - 1
        if not isinstance(layer, LI if last else LIF):
            expected = "the last layer to be li" if last else "lif before the last layer"
            raise ValueError(f"layer {i} is {layer.kind}; a spiking network needs {expected}")
    names = layer_names(layers)
    plan = _plan(layers, names, shape, spec, substrate)
    return Network(
        init=partial(_init, layers, names, inputs_of(shape, spec), spec, substrate),
        apply=partial(_apply, layers, plan, spec),
        plan=plan,
        shapes=(shape, *((layer.outputs,) for layer in layers)),
        names=names,
        encode=_values,
        weight_limit=substrate.weight_max / spec.weight_scale,
    )


def _values(x, full_scale):
    return jnp.asarray(x, jnp.float32) / full_scale
