"""Spiking populations of any size: runs of the chip under `lax.scan`, one after the other.

Each run holds some of the neurons, has the whole time axis, and its spikes are recorded; the next
population is sent all of them. In the backward pass a run is computed again, so memory holds the
membranes of one run at a time. Neurons with receptive fields are computed side by side instead,
each with the circuits and the noise of its place in its run: what one run after the other gives.

References: hxtorch `snn`; Cramer et al. 2022, 10.1073/pnas.2109194119 (in the loop); Arnold et al.
2025, arXiv 2401.16840 (runs); DelGrad, 10.1038/s41467-025-63120-y (noise); halco, calix (the CADC).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute.convolution import Windows, window_product, window_product_gradient
from bss2jax.kernels import noise
from bss2jax.kernels.dot import dot
from bss2jax.kernels.gradients.surrogate import SuperSpike, Surrogate
from bss2jax.kernels.neurons import lif as neuron
from bss2jax.kernels.neurons.lif import Dynamics, Integrator, LIFParams, LIParams, refractory_steps
from bss2jax.kernels.synapses.events import (
    Events,
    SortedEvents,
    event_product,
    event_product_gradient,
    sort_events,
)
from bss2jax.kernels.synapses.fields import Coded, field_product, field_product_gradient, raster_of
from bss2jax.mapping.populations import Population, joined, synapse_strength

_Prepared = jax.Array | SortedEvents | Coded | Windows
Spikes = _Prepared | Events


def spiking(
    spikes: Spikes,
    w: jax.Array,
    params: LIFParams = LIFParams(),
    chip: Chip | None = None,
    key: jax.Array | None = None,
    *,
    recurrent: jax.Array | None = None,
    steps: int | None = None,
    population: Population | None = None,
    quantised: bool = True,
    weight_scale: float = 60.0,
    dt: float = 1e-6,
    t_ref: float = 0.0,
    integrator: Integrator = "exponential",
    surrogate: Surrogate = SuperSpike(),
) -> jax.Array:
    """Runs a population of LIF neurons on the chip, in as many runs as it needs.

    Forward: weights as 6-bit codes, round(clip(scale w, +-63)) / scale, times the strength of their
    synapses; neurons with their circuits' deviations; thresholds noisy from trial to trial; spikes
    that jitter by a step. Backward is what a host with the chip in its loop can do: the nominal
    neurons with unquantised weights, at the membranes and spikes that the forward pass saw.

    Neurons with receptive fields see the inputs of their position: then `spikes` has an axis of
    positions and w holds a position's channels, the same for all (a convolution: `Windows`, or what
    `patches` makes) or for each position its own (locally connected). Their synapses share the
    strength of their neuron.

    Args:
        spikes: `[T, B, K]`, or `[T, B, P, K]` with receptive fields; or `Events` of K inputs (then
            `steps` is T), sorted here in each call; or `SortedEvents`, where they stay the same; or
            fields `Coded` where they are used; or `Windows`, for shared weights. No gradient flows
            to events and coded values.
        w: `[K, N]` weights in software units; 1 brings a membrane at rest near the threshold. With
            receptive fields `[K, C]` or `[P, K, C]`.
        params: nominal neurons, scalars.
        chip: whose circuits and synapses apply; None for perfect ones.
        key: for the chip's trial noise. None: no noise.
        recurrent: `[N, N]` weights within the population.
        population: where it goes on the chip; by default from circuit 0 in as few runs as fit.
        quantised: round weights to codes. Without, and without chip, this is plain simulation, and
            nothing is cut into runs.
        steps: T, where events do not say it.
        weight_scale: LSB per software unit.
        dt: s a step.
        t_ref: refractory time, s.
        integrator, surrogate: as in `lif_step`.

    Returns:
        `[T, B, N]` spikes, 0.0 or 1.0; with receptive fields `[T, B, P, C]`.

    Raises:
        ValueError: shapes do not match, or the population cannot be placed.

    References: hxtorch `snn`; Cramer et al. 2022; Arnold et al. 2025; DelGrad (noise).
    """
    place = population or _place(spikes, w, recurrent)
    _check(spikes, w, recurrent, place, chip)
    sent = _prepared(spikes, w.shape[-2], _steps(spikes, steps))
    fields = not isinstance(sent, SortedEvents) and sent.ndim == 4
    if fields and place.positions == 1:
        sent, w = _only_field(sent), w.reshape(w.shape[-2:])
    if chip is None and not quantised:
        z = neuron.lif(
            params, _drive(sent, w), recurrent,
            dt=dt, t_ref=t_ref, integrator=integrator, surrogate=surrogate,
        )  # fmt: skip
        return _by_position(z, place, fields)
    settings = _Settings(
        Dynamics(dt, refractory_steps(t_ref, dt), integrator, surrogate),
        weight_scale,
        place,
    )
    on_chip = None if chip is None else _on_chip(chip, place, w.shape[-2], recurrent, params)
    run: Callable = partial(_lif_run, settings)
    if place.positions == 1:
        run = jax.checkpoint(run)

    def one(spikes, w, words):
        return run(spikes, w, recurrent, params, on_chip, words)

    noisy = chip is not None and key is not None
    z = _in_runs(one, sent, w, place, _words(key, place) if noisy else None)
    if chip is not None and key is not None:
        # Where spikes are recorded, not where the neurons reset: hence outside the runs.
        words = noise.stream(jax.random.fold_in(key, 1))
        z = z + lax.stop_gradient(jitter_spikes(z, words, chip.circuits.jitter, dt) - z)
    return _by_position(z, place, fields)


def integrate(
    spikes: Spikes,
    w: jax.Array,
    params: LIParams = LIParams(),
    chip: Chip | None = None,
    key: jax.Array | None = None,
    *,
    steps: int | None = None,
    population: Population | None = None,
    quantised: bool = True,
    weight_scale: float = 60.0,
    readout_scale: float = 40.0,
    dt: float = 1e-6,
    integrator: Integrator = "exponential",
) -> jax.Array:
    """Runs leaky integrators on the chip and reads their membranes through the CADC.

    Args:
        readout_scale: LSB per software unit of membrane; on a chip the trace is sampled every
            1.7 us, truncated to 8 bits and interpolated to the steps.
        key: for the chip's membrane noise. None: no noise.
        Others: as in `spiking`, with dense synapses.

    Returns:
        `[T, B, N]` membrane potential, software units.

    Raises:
        ValueError: as `spiking`, or spikes have receptive fields.
    """
    place = population or _place(spikes, w, None)
    _check(spikes, w, None, place, chip)
    if w.ndim != 2 or place.positions > 1:
        raise ValueError("integrators take dense synapses: spikes [T, B, K] and w [K, N]")
    spikes = _prepared(spikes, w.shape[0], _steps(spikes, steps))
    if chip is None and not quantised:
        return neuron.li(params, _drive(spikes, w), dt=dt, integrator=integrator)
    dynamics = Dynamics(dt, 0, integrator, SuperSpike())
    settings = _Settings(dynamics, weight_scale, place)
    whole = LIFParams(params.tau_mem, params.tau_syn, params.leak, params.leak, math.inf)
    on_chip = None if chip is None else _on_chip(chip, place, w.shape[0], None, whole)

    def one(spikes, w, words):
        return _li_run(settings, spikes, w, whole, on_chip, words)

    noisy = chip is not None and key is not None
    v = _in_runs(one, spikes, w, place, _words(key, place) if noisy else None)
    return v if chip is None else cadc_trace(v, dt, readout_scale, place.substrate)


def cadc_trace(v: jax.Array, dt: float, scale: float, substrate: Substrate = BSS2) -> jax.Array:
    """Reads membrane traces through the CADC: sampled, truncated to 8 bits, interpolated.

    Args:
        v: `[T, B, N]` software units.
        dt: s.
        scale: LSB per software unit.
        substrate: sampling period and range.

    Returns:
        `[T, B, N]` as the host sees it, software units. The gradient passes straight through,
        except where what is read is the limit of the range.
    """
    grid = np.arange(len(v)) * dt
    sampled = np.arange(0, grid[-1] + substrate.cadc_period / 2, substrate.cadc_period)
    sampled = sampled[sampled <= grid[-1] * (1 + 1e-9)]
    codes = jnp.floor(scale * _interpolate(v, grid, sampled))
    codes = jnp.clip(codes, substrate.readout_min, substrate.readout_max)
    read = _interpolate(codes, sampled, grid)
    # In LSB: divided by the scale and multiplied again, a limit may be rounded to the inside.
    inside = (read > substrate.readout_min) & (read < substrate.readout_max)
    through = jnp.where(inside, v, lax.stop_gradient(v))
    return through + lax.stop_gradient(read / scale - v)


@dataclass(frozen=True)
class _Settings:
    dynamics: Dynamics
    weight_scale: float
    place: Population


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _OnChip:
    """A run's synapses and neurons as they are; n are a run's, or with receptive fields all.

    Attributes:
        strength: `[2, K, n]` of each synapse, excitatory and inhibitory; with receptive fields
            `[2, n]`, of each neuron.
        recurrent_strength: `[2, n, n]` or None.
        params: `[n]`.
        threshold_noise, membrane_noise: `[n]`, or None, software units.
    """

    strength: jax.Array
    recurrent_strength: jax.Array | None
    params: LIFParams
    threshold_noise: jax.Array
    membrane_noise: jax.Array | None


def _words(key, place):
    """Noise streams of every run, `[runs, 2, 4]`: one of its trial, one of its steps."""
    streams = jax.vmap(lambda i: noise.stream(key, i))(jnp.arange(2 * place.runs))
    return streams.reshape(place.runs, 2, -1)


def _in_runs(one: Callable, spikes, w, place, words):
    """Cuts neurons into runs, runs them one after the other, joins their outputs `[T, B, N]`."""
    if place.positions > 1:
        return one(spikes, w, words)
    if place.runs == 1:
        return one(spikes, w, None if words is None else words[0])
    n = place.neurons_per_run
    w = jnp.pad(w, ((0, 0), (0, place.runs * n - place.neurons)))
    blocks = jnp.moveaxis(w.reshape(len(w), place.runs, n), 1, 0)
    _, y = lax.scan(lambda _, cut: (None, one(spikes, *cut)), None, (blocks, words))
    y = jnp.moveaxis(y, 0, 2)
    return y.reshape(*y.shape[:2], -1)[..., : place.neurons]


def _by_position(z, place, fields):
    """Gives neurons with receptive fields the axis of their positions."""
    return z.reshape(*z.shape[:2], place.positions, -1) if fields else z


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lif_run(settings, spikes, w, recurrent, params, on_chip, words):
    return _lif_run_forward(settings, spikes, w, recurrent, params, on_chip, words)[0]


def _lif_run_forward(settings, spikes, w, recurrent, params, on_chip, words):
    drive = _quantised_drive(spikes, w, on_chip, settings)
    actual, back = params, recurrent
    if recurrent is not None:
        back = _codes(recurrent, settings)
        if on_chip is not None:
            back = _strengthened(back, on_chip.recurrent_strength)
    if on_chip is not None:
        actual = on_chip.params
        if words is not None:
            normal = _normals(settings.place, _of_trial, words, drive.shape)
            noisy = actual.threshold + on_chip.threshold_noise * normal
            actual = replace(actual, threshold=noisy)
    disturbance = _membrane_noise(settings, on_chip, words, drive.shape)
    u, z = neuron.lif_membrane(settings.dynamics, actual, drive, back, disturbance)
    return z, (spikes, w, recurrent, params, u, z)


def _lif_run_backward(settings, residuals, dz):
    spikes, w, recurrent, params, u, z = residuals
    dx = neuron.lif_gradient(settings.dynamics, params, u, z, dz, recurrent)
    dspikes, dw = _drive_gradient(spikes, w, dx)
    drecurrent = None if recurrent is None else neuron.recurrent_gradient(z, dx)
    return dspikes, dw, drecurrent, None, None, None


_lif_run.defvjp(_lif_run_forward, _lif_run_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _li_run(settings, spikes, w, params, on_chip, words):
    return _li_run_forward(settings, spikes, w, params, on_chip, words)[0]


def _li_run_forward(settings, spikes, w, params, on_chip, words):
    drive = _quantised_drive(spikes, w, on_chip, settings)
    actual = params if on_chip is None else on_chip.params
    disturbance = _membrane_noise(settings, on_chip, words, drive.shape)
    v, _ = neuron.lif_membrane(settings.dynamics, actual, drive, None, disturbance)
    return v, (spikes, w, params)


def _li_run_backward(settings, residuals, dv):
    spikes, w, params = residuals
    dx = neuron.li_gradient(settings.dynamics, params, dv)
    return *_drive_gradient(spikes, w, dx), None, None, None


_li_run.defvjp(_li_run_forward, _li_run_backward)


def _membrane_noise(settings, on_chip, words, shape):
    """What disturbs membranes `[T, B, n]` in each step, so that at rest they spread as they should.

    Of its variance a membrane keeps e^(-2 dt / tau_mem) a step; what the step adds is the rest.
    """
    if on_chip is None or words is None or on_chip.membrane_noise is None:
        return None
    keep = neuron.decay(on_chip.params.tau_mem, settings.dynamics.dt, settings.dynamics.integrator)
    normal = _normals(settings.place, _of_steps, words, shape)
    return on_chip.membrane_noise * jnp.sqrt(1 - keep**2) * normal


def _normals(place, draw, words, shape):
    """Standard normal numbers `[..., n]` for drives `[T, B, n]`, drawn run by run."""
    if words.ndim == 2:
        return draw(words, shape)
    one_run = (*shape[:2], place.neurons_per_run)
    normal = jax.vmap(lambda words: draw(words, one_run))(words)  # [runs, ..., neurons of a run]
    return jnp.moveaxis(normal[place.run_of(), ..., place.in_run()], 0, -1)


def _of_trial(words, shape):
    return noise.normal_pair(words[0], *noise.grid(shape[1:]))[0]


def _of_steps(words, shape):
    steps, batch, n = shape
    # Both numbers of a pair are used: the odd steps' and the even ones'.
    pair = noise.normal_pair(words[1], *noise.grid((-(-steps // 2), batch, n)))
    normal = jnp.stack(pair, axis=1)
    return normal.reshape(-1, batch, n)[:steps]


def jitter_spikes(z: jax.Array, words: jax.Array, jitter: jax.Array, dt: float) -> jax.Array:
    """Moves spikes by a step back or forth so that their times spread as by `jitter`.

    A jitter below one step would be rounded away; instead a spike moves to either side with
    probability E|N(0, jitter)| / (2 dt). Spikes that meet are one; none leaves the time axis.

    Args:
        z: `[T, B, N]`.
        words: `[4]`, from `noise.stream`.
        jitter: `[]` std, s.
        dt: s.
    """
    chance = jnp.minimum(jitter * math.sqrt(2 / math.pi) / (2 * dt), 0.5)
    u = noise.uniform(words, *noise.grid(z.shape))
    first = jnp.arange(len(z))[:, None, None] == 0
    last = jnp.arange(len(z))[:, None, None] == len(z) - 1
    early = jnp.where((u < chance) & ~first, z, 0)
    late = jnp.where((u > 1 - chance) & ~last, z, 0)
    shifted = jnp.roll(early, -1, axis=0) + jnp.roll(late, 1, axis=0)
    return jnp.minimum(z - early - late + shifted, 1.0)


def _codes(w, settings):
    """Weights as the synapses hold them: 6-bit codes, over the scale."""
    codes = jnp.round(settings.weight_scale * w)
    most = settings.place.substrate.weight_max
    return jnp.clip(codes, -most, most) / settings.weight_scale


def _strengthened(codes, strength):
    return codes * jnp.where(codes > 0, strength[0], strength[1])


def _quantised_drive(spikes, w, on_chip, settings):
    """What codes make of spikes, with the strength of each synapse or of each neuron."""
    codes = _codes(w, settings)
    if on_chip is None:
        return _drive(spikes, codes)
    if on_chip.strength.ndim == 3:
        return _drive(spikes, _strengthened(codes, on_chip.strength))
    if codes.ndim == 3:  # [P, K, C]
        strength = on_chip.strength.reshape(2, len(codes), 1, -1)
        return _drive(spikes, _strengthened(codes, strength))
    signs = jnp.concatenate([jnp.maximum(codes, 0), jnp.minimum(codes, 0)], axis=-1)
    excitatory, inhibitory = jnp.split(_products(spikes, signs), 2, axis=-1)  # [T, B, P, C]
    strength = on_chip.strength.reshape(2, *excitatory.shape[2:])
    y = strength[0] * excitatory + strength[1] * inhibitory
    return y.reshape(*y.shape[:2], -1)


def _prepared(spikes: Spikes, inputs: int, steps: int) -> _Prepared:
    """Sorts events once for all runs; a raster stays one."""
    if isinstance(spikes, SortedEvents) and (spikes.steps, spikes.inputs) != (steps, inputs):
        raise ValueError(
            f"events sorted for {spikes.steps} steps and {spikes.inputs} inputs, used for {steps} "
            f"and {inputs}"
        )
    return sort_events(spikes, steps, inputs) if isinstance(spikes, Events) else spikes


def _only_field(fields):
    """A field that is all there is, as the raster `[T, B, K]` of its inputs."""
    return (fields.unfolded() if isinstance(fields, Windows) else raster_of(fields))[:, :, 0]


def _drive(spikes, w):
    """What the synapses add in each step, `[T, B, n]`, positions and channels in one axis."""
    if isinstance(spikes, SortedEvents):
        return event_product(spikes, w)
    return _products(spikes, w).reshape(*spikes.shape[:2], -1)


def _products(spikes, w):
    """The same, `[T, B, P, C]` of fields and `[T B, n]` of a raster."""
    if isinstance(spikes, Windows):
        return window_product(spikes, w)
    if spikes.ndim == 4:
        return field_product(spikes, w)
    return dot(spikes.reshape(-1, spikes.shape[-1]), w)


def _drive_gradient(spikes, w, dx):
    """Gradients with respect to spikes (None for events) and weights."""
    if isinstance(spikes, SortedEvents):
        return None, event_product_gradient(spikes, dx)
    if spikes.ndim == 4:
        dx = dx.reshape(*spikes.shape[:-1], w.shape[-1])
        gradient = (
            window_product_gradient if isinstance(spikes, Windows) else field_product_gradient
        )
        return gradient(spikes, w, dx)
    flat = dx.reshape(-1, dx.shape[-1])
    return dot(dx, w.T), dot(spikes.reshape(-1, spikes.shape[-1]).T, flat)


def _on_chip(chip, place, inputs, recurrent, params):
    """What a run's neurons and synapses are on this chip, from their nominal parameters."""
    circuits = joined(chip.circuits, place)
    distance = params.threshold - params.leak
    distance = jnp.where(jnp.isfinite(distance), distance, 1.0)  # leaky integrators have none
    actual = LIFParams(
        tau_mem=params.tau_mem * circuits.tau_mem,
        tau_syn=params.tau_syn * circuits.tau_syn,
        leak=params.leak + distance * circuits.leak,
        reset=params.reset + distance * circuits.reset,
        threshold=params.threshold + distance * circuits.threshold,
    )
    of_trial, of_steps = distance * circuits.threshold_noise, circuits.membrane_noise
    of_steps = None if of_steps is None else distance * of_steps
    if place.positions > 1:
        of_run = _OnChip(circuits.strength, None, actual, of_trial, of_steps)
        return jax.tree.map(lambda a: a[..., place.in_run()], of_run)
    all_inputs = inputs if recurrent is None else inputs + place.neurons
    strength = synapse_strength(chip, place, all_inputs)
    inner = None if recurrent is None else strength[:, inputs:]
    return _OnChip(strength[:, :inputs], inner, actual, of_trial, of_steps)


def _place(spikes, w, recurrent):
    inputs, neurons = w.shape[-2:]
    if recurrent is not None:
        return Population(inputs + neurons, neurons, recurrent=True)
    if getattr(spikes, "ndim", 3) == 4:
        positions = spikes.shape[2]
        return Population(inputs, positions * neurons, positions=positions)
    return Population(inputs, neurons)


def _check(spikes, w, recurrent, place, chip):
    """Refuses shapes that do not belong together."""
    raster = not isinstance(spikes, Events | SortedEvents)
    fields = raster and spikes.ndim == 4
    if raster and spikes.ndim not in (3, 4):
        raise ValueError(f"spikes: expected [T, B, K] or [T, B, P, K], got {spikes.shape}")
    if w.ndim not in ((2, 3) if fields else (2,)):
        expected = "[K, C] or [P, K, C]" if fields else "[K, N]"
        raise ValueError(f"w: expected {expected}, got {w.shape}")
    if raster and spikes.shape[-1] != w.shape[-2]:
        raise ValueError(f"spikes {spikes.shape} and w {w.shape} do not fit: K differs")
    if w.ndim == 3 and spikes.shape[2] != len(w):
        raise ValueError(f"spikes {spikes.shape} and w {w.shape} do not fit: P differs")
    inputs, neurons = w.shape[-2:]
    if recurrent is not None and (fields or recurrent.shape != (neurons, neurons)):
        expected = "none with receptive fields" if fields else (neurons, neurons)
        raise ValueError(f"recurrent: expected {expected}, got {recurrent.shape}")
    fan_in = inputs if recurrent is None else inputs + neurons
    positions = spikes.shape[2] if fields else 1
    got = (place.inputs, place.positions, place.neurons)
    if got != (fan_in, positions, positions * neurons):
        raise ValueError(
            f"population: it has {place.neurons} neurons of fan-in {place.inputs} at "
            f"{place.positions} positions, the weights make {positions * neurons} of {fan_in} at "
            f"{positions}"
        )
    expected = (place.substrate.hemispheres, 2, place.substrate.rows, place.substrate.columns)
    if chip is not None and chip.synapse_gain.shape != expected:
        raise ValueError(
            f"chip: its synapses are {chip.synapse_gain.shape}, the population's substrate has "
            f"{expected}"
        )


def _steps(spikes, steps):
    if isinstance(spikes, SortedEvents):
        return spikes.steps if steps is None else steps
    if isinstance(spikes, Events):
        if steps is None:
            raise ValueError(
                "steps: Events do not say how long they last; give the number of steps"
            )
        return steps
    if steps not in (None, spikes.shape[0]):
        raise ValueError(f"steps: got {steps}, the spikes last {spikes.shape[0]}")
    return spikes.shape[0]


def _interpolate(v, at, to):
    """Values `[T, ...]` known at times `at`, linearly between them; the last one is held."""
    if len(at) == 1:
        return jnp.broadcast_to(v, (len(to), *v.shape[1:]))
    right = np.clip(np.searchsorted(at, to), 1, len(at) - 1)
    share = np.clip((to - at[right - 1]) / (at[right] - at[right - 1]), 0, 1).astype(np.float32)
    share = share.reshape(-1, *[1] * (v.ndim - 1))
    # In this form equal values give just themselves: a limit of the range stays one.
    return v[right - 1] + (v[right] - v[right - 1]) * share
