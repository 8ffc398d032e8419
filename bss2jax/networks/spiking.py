"""Spiking networks: values are coded as spikes, populations run on the chip, traces are scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip.substrate import Substrate
from bss2jax.execute import convolution
from bss2jax.execute.compat import integrate, spiking
from bss2jax.kernels import coding
from bss2jax.kernels.gradients.surrogate import (
    Arctan,
    Box,
    Gaussian,
    SuperSpike,
    Triangle,
)
from bss2jax.kernels.neurons.li import LIParams
from bss2jax.kernels.neurons.lif import LIFParams
from bss2jax.kernels.synapses.events import Events
from bss2jax.kernels.synapses.lazy import Lazy
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.mapping.plan import as_matrix
from bss2jax.mapping.populations import Population, plan_populations
from bss2jax.networks.layers import LI, LIF, ConvLIF, Firing, Layer, Pool, Spiking
from bss2jax.networks.network import Network, executions, layer_names, require_chip
from bss2jax.networks.stages import Stage, arrange, window_shape

SURROGATES = {
    "superspike": SuperSpike,
    "fast_sigmoid": partial(SuperSpike, 25.0),
    "arctan": Arctan,
    "triangle": Triangle,
    "gaussian": Gaussian,
    "box": Box,
}
TRACE_DECODERS = {
    "max": coding.max_over_time,
    "mean": lambda v: v.mean(axis=0),
    "sum": lambda v: v.sum(axis=0),
    "last": lambda v: v[-1],
}
SPIKE_DECODERS = {"first_spike": coding.first_spike, "spike_count": coding.spike_count}
_ONE_SPIKE = ("latency", "log_latency", "time")
# Sparser inputs are multiplied event by event: on 2 CPU cores a training step of 784-256-10, batch
# 100, took .3 of the dense one's time at a density of 1/30, .7 at 1/12 and 1/8, and 1.5 at 1/5.
_SPARSE = 0.1


def build_spiking(
    layers: Sequence[Layer], shape: Sequence[int], substrate: Substrate, spec: Spiking
) -> Network:
    """Builds a spiking network.

    Args:
        layers, shape, substrate: as in `build`.
        spec: what its populations share.

    Raises:
        ValueError: as `build`.
    """
    names = layer_names(layers)
    _check_kinds(layers, names, spec)
    stages = arrange(SpikingStage, layers, _coded_shape(tuple(shape), spec), _output_shape)
    plan = _plan(stages, spec, substrate)
    limit = substrate.weight_max / spec.weight_scale
    return Network(
        init=partial(_init, stages, limit),
        apply=partial(_apply, stages, plan, spec, limit),
        plan=plan,
        shapes=(tuple(shape), *(stage.after for stage in stages)),
        names=names,
        encode=coding.normalise,
        weight_limit=limit if spec.weight_clamp == "hard" else math.inf,
    )


def encode(
    values: jax.Array, spec: Spiking, key: jax.Array | None, *, as_events: bool = False
) -> Events | jax.Array:
    """Codes values `[B, ...]`, 0..1, as the spikes of a network's inputs.

    Args:
        values: each is an input, clipped, and `time` coding adds one; or, of `delta` coding,
            signals `[B, L, C]` of either sign.
        spec: coding and steps.
        key: of `rate` coding.
        as_events: events for codes of one spike an input, instead of a raster `[T, B, K]`.

    Raises:
        ValueError: `rate` coding without a key, `delta` coding of what is no signal, or events of a
            code of several spikes an input.
    """
    if spec.coding == "delta" and not as_events:
        return coding.delta(values, spec.steps, spec.delta_theta)
    values = jnp.clip(values.reshape(values.shape[0], -1), 0, 1)
    if spec.coding in _ONE_SPIKE:
        events = _one_spike(values, spec)
        return events if as_events else coding.one_spike_raster(events.time, spec.steps)
    if as_events:
        raise ValueError(f"{spec.coding} coding has no events: expected one of {_ONE_SPIKE}")
    spikes = spec.steps if spec.spikes is None else spec.spikes
    match spec.coding:
        case "regular":
            return coding.regular(values, spec.steps, spikes)
        case "current":
            return coding.constant_current(values, spec.steps)
    if key is None:
        raise ValueError("rate coding is random: give a key")
    return coding.poisson(values * (spikes / spec.steps), key, spec.steps)


@dataclass(frozen=True)
class _Code:
    """A code without randomness, of values `[B, ...]`."""

    spec: Spiking

    def __call__(self, values):
        return encode(values, self.spec, None).reshape(self.spec.steps, *values.shape)


def _one_spike(values, spec):
    if spec.coding == "latency":
        return coding.latency(values, spec.steps)
    if spec.coding == "log_latency":
        return coding.log_latency(values, spec.steps, spec.dt, spec.latency_tau, spec.latency_theta)
    events = coding.spike_time(values, spec.dt, spec.early, spec.late)
    bias = coding.spike_time(jnp.zeros((len(values), 1)), spec.dt, spec.bias_time, spec.late)
    return Events(
        jnp.concatenate([events.time, bias.time], axis=1),
        jnp.concatenate([events.index, bias.index + values.shape[1]], axis=1),
    )


@dataclass(frozen=True)
class SpikingStage(Stage):
    """A layer of a spiking network in its place."""

    @property
    def fan_in(self) -> int:
        """Inputs of a neuron, recurrent ones aside."""
        if isinstance(self.layer, ConvLIF):
            return math.prod(self.window) * self.before[-1]
        return math.prod(self.before)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(fan-in, outputs), shared (*window, channels, outputs), else with positions in front."""
        layer = self.layer
        if not isinstance(layer, ConvLIF):
            return (self.fan_in, layer.outputs)
        if layer.shared:
            return (*self.window, self.before[-1], layer.outputs)
        return (math.prod(self.after[:-1]), self.fan_in, layer.outputs)


def _fields(stage, x):
    """What each position sees of `[..., *before]`: `[..., P, K]`."""
    layer = stage.layer
    seen = convolution.patches(x, stage.window, layer.stride, layer.padding)
    return seen.reshape(*x.shape[: x.ndim - len(stage.before)], -1, stage.fan_in)


def _check_kinds(layers, names, spec):
    """Refuses layers that a spiking network cannot have, or not there."""
    last = LIF if spec.decoder in SPIKE_DECODERS else LI
    for layer, name in zip(layers[:-1], names, strict=False):
        if not isinstance(layer, Firing | Pool):
            raise ValueError(
                f"layer {name} is {layer.kind}; before the last layer a spiking network has lif, "
                "conv_lif and pool"
            )
        if isinstance(layer, Pool) and layer.mode != "mean":
            raise ValueError(f"layer {name}: spikes are pooled by their mean, got {layer.mode!r}")
    if not isinstance(layers[-1], last):
        raise ValueError(
            f"layer {names[-1]} is {layers[-1].kind}; a spiking network decoded by "
            f"{spec.decoder!r} ends in {'lif' if last is LIF else 'li'}"
        )


def _coded_shape(shape, spec):
    """The shape of a sample's inputs, once it is coded."""
    if spec.coding == "time":
        # A bias among the inputs leaves them without rows and columns.
        return ((1 + spec.signed) * math.prod(shape) + 1,)
    if spec.coding != "delta":
        return (*shape[:-1], 2 * shape[-1]) if spec.signed else shape
    if spec.signed:
        raise ValueError("spiking.signed: delta codes either sign already")
    if len(shape) != 2 or shape[0] % spec.steps:
        raise ValueError(
            f"spiking.coding: delta takes signals (L, C), L samples that are a multiple of "
            f"spiking.steps, {spec.steps}; got samples of {shape}"
        )
    return (2 * shape[1],)


def _output_shape(layer, shape):
    return (layer.outputs,) if isinstance(layer, LIF | LI) else window_shape(layer, shape)


def _plan(stages, spec, substrate):
    of_an_input = _events_of_an_input(spec)
    populations, events = [], []
    for i, stage in enumerate(stages):
        if isinstance(stage.layer, Pool):
            continue
        try:
            place, sent = _place(stage, substrate, of_an_input if i == 0 else None)
        except ValueError as error:
            raise ValueError(f"layer {stage.name}: {error}") from None
        populations.append(place)
        events.append(sent)
    names = [stage.name for stage in stages if not isinstance(stage.layer, Pool)]
    density = None if of_an_input is None else of_an_input / spec.steps
    driven = (
        spec.coding in _ONE_SPIKE and isinstance(stages[0].layer, LIF | LI) and density <= _SPARSE
    )
    seconds = spec.steps * spec.dt
    return plan_populations(names, populations, events, seconds, substrate, density, driven)


def _place(stage, substrate, of_an_input):
    """A layer's population, and the most events that a run of it is sent, None if not known."""
    layer = stage.layer
    if not isinstance(layer, ConvLIF):
        recurrent = isinstance(layer, LIF) and layer.recurrent
        fan_in = stage.fan_in + layer.outputs * recurrent
        place = Population(fan_in, layer.outputs, recurrent, substrate=substrate)
        return place, of_an_input and round(stage.fan_in * of_an_input)
    positions = math.prod(stage.after[:-1])
    whole = Population(
        stage.fan_in, positions * layer.outputs, positions=positions, substrate=substrate
    )
    if of_an_input is None:
        return whole, None
    # Numbered from 1: what lies in the padding is 0.
    inputs = np.arange(1, math.prod(stage.before) + 1, dtype=np.int32).reshape(stage.before)
    fields = np.asarray(_fields(stage, jnp.asarray(inputs)))
    for at_once in range(whole.positions_per_run, 0, -1):
        place = Population(
            stage.fan_in, positions * layer.outputs, positions=positions,
            parts=-(-positions // at_once), substrate=substrate,
        )  # fmt: skip
        at_once = place.positions_per_run
        runs = (fields[first : first + at_once] for first in range(0, positions, at_once))
        sent = round(max(len(np.setdiff1d(run, 0)) for run in runs) * of_an_input)
        if sent <= substrate.max_input_events:
            break
    return place, sent


def _events_of_an_input(spec):
    """The most events that an input is, on average where they are random."""
    if spec.coding == "current":
        return None
    if spec.coding == "delta":
        return spec.steps / 2  # of a channel's ON and OFF input one spikes in a step, at most
    spikes = spec.steps if spec.spikes is None else min(spec.spikes, spec.steps)
    # Of a signed value's two inputs one is silent; `time` codes that, too.
    silent = spec.signed and spec.coding != "time"
    return (1 if spec.coding in _ONE_SPIKE else spikes) / (2 if silent else 1)


def _init(stages, limit, key):
    """Draws every population's weights, software units: normal, cut at what a synapse holds."""
    params, weighted = {}, [stage for stage in stages if not isinstance(stage.layer, Pool)]
    for stage, layer_key in zip(weighted, jax.random.split(key, len(weighted)), strict=True):
        layer, (k_weight, k_recurrent) = stage.layer, jax.random.split(layer_key)
        normal = layer.init_std * jax.random.normal(k_weight, stage.weight_shape)
        params[stage.name] = {"weight": jnp.clip(layer.init_mean + normal, -limit, limit)}
        if isinstance(layer, LIF) and layer.recurrent:
            normal = layer.init_std * jax.random.normal(k_recurrent, (layer.outputs,) * 2)
            params[stage.name]["recurrent"] = jnp.clip(normal, -limit, limit)
    return params


def _apply(
    stages, plan, spec, limit, params, state, x, chip=None, key=None, *, sample=0, on,
    training=False,
):  # fmt: skip
    each = executions([stage.name for stage in stages], on)
    require_chip(each, chip)
    if spec.coding == "current" and each[stages[0].name] != "float":
        raise ValueError("a chip is sent spikes: current coding is for layers on float")
    if spec.signed:
        x = jnp.concatenate([x, -x], axis=-1)  # the code takes what is below 0 for 0
    keys = iter([None] * 3 * len(stages) if key is None else jax.random.split(key, 3 * len(stages)))
    if isinstance(stages[0].layer, ConvLIF) and spec.coding != "rate":
        # Each value becomes the same spikes in every field that sees it.
        z = Lazy(x, spec.steps, _Code(spec))
        next(keys)
    else:
        z = encode(x, spec, next(keys), as_events=plan.event_driven)
    parameter = () if spec.surrogate_parameter is None else (spec.surrogate_parameter,)
    surrogate = SURROGATES[spec.surrogate](*parameter)
    places, stats = plan.places, {}
    for stage in stages:
        layer, name = stage.layer, stage.name
        if isinstance(layer, Pool):
            z = stage.pooled(z.reshape(*z.shape[:2], *stage.before))
            continue
        weights = params[name]
        if spec.weight_clamp == "soft":
            weights = {kind: coding.soft_clamp(w, limit) for kind, w in weights.items()}
        here, noise = (chip, next(keys)) if each[name] == "chip" else (None, None)
        settings = {
            "steps": spec.steps, "population": places[name], "quantised": each[name] != "float",
            "weight_scale": spec.weight_scale, "dt": spec.dt, "integrator": spec.integrator,
        }  # fmt: skip
        if isinstance(layer, LI):
            neuron = LIParams(layer.tau_mem, layer.tau_syn)
            z, w = _flat(z), weights["weight"]
            v = integrate(z, w, neuron, here, noise, readout_scale=spec.readout_scale, **settings)
            stats[name] = {"amplitude": jnp.abs(v).max(axis=0)}
            return TRACE_DECODERS[spec.decoder](v), state, stats
        neuron = LIFParams(layer.tau_mem, layer.tau_syn)
        settings |= {"t_ref": layer.t_ref, "surrogate": surrogate}
        if isinstance(layer, ConvLIF):
            z = z if isinstance(z, Lazy) else z.reshape(*z.shape[:2], *stage.before)
            w = weights["weight"]
            if layer.shared:
                seen = Windows(z, stage.window, layer.stride, layer.padding)
                w = as_matrix(w)
            elif isinstance(z, Lazy):
                seen = replace(z, values=_fields(stage, z.values))
            else:
                seen = _fields(stage, z)
            z = spiking(seen, w, neuron, here, noise, **settings)
            z = z.reshape(*z.shape[:2], *stage.after)
        else:
            back = weights.get("recurrent")
            w = weights["weight"]
            z = spiking(_flat(z), w, neuron, here, noise, recurrent=back, **settings)
        drop = next(keys)
        if training and layer.dropout and drop is not None:
            kept = jax.random.bernoulli(drop, 1 - layer.dropout, stage.after)
            z = z * kept / (1 - layer.dropout)
        stats[name] = {"spikes": z.sum(axis=0).reshape(z.shape[1], -1)}
    return SPIKE_DECODERS[spec.decoder](z), state, stats


def _flat(z):
    """All inputs of a raster in one axis; events are so already."""
    return z if isinstance(z, Events) else z.reshape(*z.shape[:2], -1)
