"""A population of any size: what is sent, times synapses, through neurons, with a gradient.

A population knows no chip. Its circuits are gathered from the chips that it is on, and it is
computed as a whole, all its configurations side by side: what they would give one after the other,
with spikes recorded. Where the strengths of its synapses would take too much memory, blocks of
neurons are computed one after the other, and again in the backward pass.

References: hxtorch `snn`; Cramer et al. 2022, 10.1073/pnas.2109194119 (in the loop); Arnold et al.
2025, arXiv 2401.16840 (configurations); DelGrad, 10.1038/s41467-025-63120-y (noise); halco, calix
(the CADC).
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from bss2jax.arrays import along_last, floats, wholes
from bss2jax.chip.substrate import BSS2
from bss2jax.execute.circuits import OnChips
from bss2jax.execute.in_turn import Block, Run, in_turn
from bss2jax.execute.over_pieces import over_pieces
from bss2jax.execute.recording import Recording, check_observed, jitter_spikes, straight_through
from bss2jax.execute.unvectorised import with_gradient
from bss2jax.kernels import noise
from bss2jax.kernels.gradients.nominal import without_gradient
from bss2jax.kernels.gradients.rules import Gradient, Surrogate
from bss2jax.kernels.mesh import axes_of, over_mesh, pieces
from bss2jax.kernels.neurons.base import as_float32
from bss2jax.kernels.neurons.recorded import Trace, Trial
from bss2jax.kernels.stored import stored
from bss2jax.kernels.synapses.base import Sent
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.delays import Delays, delayed
from bss2jax.kernels.synapses.given import Spikes, sent_of
from bss2jax.kernels.synapses.plasticity import ShortTerm
from bss2jax.kernels.synapses.recurrent import Dealt, Plastic, Within, within
from bss2jax.kernels.synapses.signs import by_sign, held

STRENGTHS = 8 * 2**20  # bytes of synapses' strengths that are made at once
_STREAMS = 4
_THRESHOLD, _MEMBRANE, _JITTER, _START = range(_STREAMS)  # numbers of the streams of noise


def population(
    sent: Spikes,
    w: ArrayLike,
    neuron: Any,
    circuits: OnChips | None = None,
    key: jax.Array | None = None,
    *,
    recurrent: ArrayLike | None = None,
    recurrent_drivers: ShortTerm | None = None,
    delays: tuple[Delays | None, Delays | None] = (None, None),
    codes: Codes | None = None,
    gradient: Gradient = Surrogate(),
    observe: tuple[str, ...] = (),
    sample: int | jax.Array = 0,
    steps: int | None = None,
    bias: ArrayLike | None = None,
) -> Recording:
    """Runs a population of neurons, by itself or on chips.

    Forward: weights as the synapses hold them, codes times their strength; neurons with their
    circuits' deviations; thresholds and membranes noisy from trial to trial; spikes that jitter by
    a step. Backward is what a host with the chip in its loop can do: nominal neurons, float
    weights, at the membranes and spikes that the forward pass saw.

    Neurons with receptive fields see the inputs of their position: then what is sent has an axis of
    positions and w holds a position's channels, the same for all (a convolution: `Windows`, or
    `patches`) or its own (locally connected). Their synapses share the strength of their neuron.

    Args:
        sent: `[T, B, K]` spikes, or `[T, B, P, K]` with receptive fields; `Events` of K inputs,
            sorted in each call, or `SortedEvents`; `Lazy` values, coded where they are used;
            `Windows`, for shared weights; `Constant` values. Events and lazy ones have no gradient.
        w: `[K, N]` weights in software units; 1 brings a membrane at rest near the threshold. With
            receptive fields `[K, C]` or `[P, K, C]`.
        neuron: `LIF`, `LI`, `ExactLIF` or a user's own; parameters a number, `[N]` or `[B, N]`.
        circuits: neurons and synapses on chips: see `gather` and `on_chip`. None: nominal.
        key: the random key for trial noise. None: no noise.
        recurrent: `[N, N]` weights within the population.
        recurrent_drivers: short-term plasticity of what these are sent; None: pulses are alike.
        delays: those of links between chips, for what is sent, then a raster, and for `recurrent`.
        codes: what synapses hold; None for plain simulation, with float weights.
        gradient: rule of the backward pass.
        observe: what else to record, of `membrane` and `count`.
        sample: number of the first sample; noise belongs to a sample's number.
        steps: T, where `Events` do not say it.
        bias: `[N]`, with receptive fields `[C]`: what is added to the synapses' in each step.

    Raises:
        ValueError: shapes or names do not fit; circuits are given, and codes are not.
        TypeError: circuits or coded values are differentiated, or the population twice.
    """
    w, neuron = floats(w, "w", 2), as_float32(neuron)
    given, bias = sent_of(sent, w.shape[-2], steps), _checked_bias(bias, w, neuron)
    recurrent = None if recurrent is None else floats(recurrent, "recurrent")
    _check(given, w, recurrent, circuits, codes, observe)
    run = partial(with_gradient, partial(_population, positions=given.positions, codes=codes,
        gradient=gradient, observe=tuple(observe), alone=_alone(given, circuits)))  # fmt: skip
    drivers = _checked_drivers(recurrent_drivers, recurrent, neuron)
    others = circuits, _streams(key), recurrent, drivers, wholes(sample, "sample"), delays, bias
    return over_mesh(run, _places(sent, neuron, observe), given, w, neuron, *others)


@partial(jax.jit, static_argnames=("positions", "codes", "gradient", "observe", "alone"))
def _population(
    sent: Sent,
    w: jax.Array,
    neuron: Any,
    circuits: OnChips | None,
    words: jax.Array | None,
    recurrent: jax.Array | None,
    drivers: ShortTerm | None,
    sample: jax.Array,
    delays: tuple[Delays | None, Delays | None],
    bias: jax.Array | None,
    *,
    positions: int | None,
    codes: Codes | None,
    gradient: Gradient,
    observe: tuple[str, ...],
    alone: bool,
) -> Recording:
    if alone:
        only: Any = sent
        sent, w = only.alone(), w.reshape(w.shape[-2:])
    circuits = without_gradient(circuits, "circuits: a chip's pattern")
    size = w.shape[-1] * (sent.positions or 1)
    whole = Block(
        w, recurrent, _at_run_time(neuron, w), circuits, delays, bias,
        jnp.arange(size, dtype=jnp.int32),
        None if codes is None else codes.unit(lax.stop_gradient(w)),
        None if codes is None or recurrent is None else codes.unit(lax.stop_gradient(recurrent)),
        drivers,
    )  # fmt: skip
    run = partial(_run, codes=codes, gradient=gradient, membrane="membrane" in observe)
    fan_in = w.shape[-2] + (0 if recurrent is None else size)
    substrate = BSS2 if codes is None else codes.substrate
    if neuron.coupled:
        trace = run(whole, sent, words, sample)
    elif pieces() > 1 and not substrate.holds(fan_in, size):
        trace = over_pieces(partial(_in_blocks, run), whole, sent, words, sample)
    else:
        trace = _in_blocks(run, whole, sent, words, sample)
    by_position = partial(_by_position, positions=positions)
    z, v = trace.spikes, trace.membrane
    return Recording(
        by_position(z),
        by_position(v),
        by_position(z.sum(axis=0)) if z is not None and "count" in observe else None,
    )


def _in_blocks(
    run: Run, block: Block, sent: Sent, words: jax.Array | None, sample: jax.Array
) -> Trace:
    """Runs neurons, in as many blocks as let the strengths of one's synapses fit the budget."""
    blocks = 1
    if block.circuits is not None and sent.positions is None and block.recurrent is None:
        blocks = math.ceil(2 * block.w.size * block.w.dtype.itemsize / STRENGTHS)
    if blocks < 2:
        return run(block, sent, words, sample)
    return in_turn(run, block, blocks, sent, words, sample)


def _run(
    block: Block,
    sent: Sent,
    words: Any,
    sample: jax.Array,
    *,
    codes: Codes | None,
    gradient: Gradient,
    membrane: bool,
) -> Trace:
    """Runs a block's neurons: spikes and membranes `[T, B, n]`."""
    circuits, neuron = block.circuits, jax.tree.map(_of_samples, block.neuron)
    # Weights as the synapses show them, and what they make of what is sent.
    synapses = partial(held, codes=codes, both=neuron.apart)
    strength = None if circuits is None else circuits.strength
    w, shown = synapses(block.w, block.unit, strength, sent.positions)
    recurrent: Within | None = None
    if block.recurrent is not None:
        strength = None if circuits is None else circuits.recurrent_strength
        back = synapses(block.recurrent, block.recurrent_unit, strength)
        own = within(*back, block.delays[1])
        sizes = len(block.recurrent), len(block.number)
        recurrent = own if sizes[0] == sizes[1] else Dealt(own, *sizes)
        if block.drivers is not None:
            recurrent = Plastic(recurrent, block.drivers)
    drive = _biased(delayed(sent, w, shown, block.delays[0]).astype(w.dtype), block.bias)
    if neuron.apart:
        drive = by_sign(drive, sent.positions)
    # The neurons on their circuits, in one trial a sample.
    samples = sample + jnp.arange(drive.shape[1], dtype=jnp.int32)[:, None]
    address, noisy = (samples, block.number[None]), words is not None and circuits is not None
    normal = stored(noise.normal_pair(words[_THRESHOLD], *address)[0]) if noisy else None
    actual, spread = neuron, None
    if circuits is not None:
        actual, spread = neuron.on(jax.tree.map(_of_samples, circuits.neurons), normal)
    disturbed, anywhere = noisy and spread is not None, words is not None and neuron.starts_anywhere
    trial = Trial(
        *address,
        words=words[_MEMBRANE] if disturbed else None,
        spread=spread if disturbed else None,
        start=noise.uniform(words[_START], *address) if anywhere else None,
    )
    settings: dict[str, Any] = {"membrane": membrane}
    if gradient.models and shown is not None:
        known = _biased(delayed(sent, w, None, block.delays[0]).astype(w.dtype), block.bias)
        settings["known"] = lax.stop_gradient(known)
    trace = gradient.run(neuron, actual, drive, recurrent, trial, **settings)
    # Jitter where spikes are recorded, not where the neurons reset: hence after the time loop.
    if noisy and circuits is not None and neuron.jitters and trace.spikes is not None:
        step = jnp.arange(drive.shape[0], dtype=jnp.int32)[:, None, None]
        u = stored(noise.uniform(words[_JITTER], step, *(axis[None] for axis in address)))
        jitter = circuits.neurons.jitter[None, None]
        moved = jitter_spikes(lax.stop_gradient(trace.spikes), u, jitter, neuron.dt)
        trace = trace._replace(spikes=straight_through(trace.spikes, moved))
    return trace


@jax.jit
def _streams(key: jax.Array | None) -> Any:
    """The words `[S, 4]` of each stream of noise, made together: each hash is a loop to compile."""
    if key is None:
        return None
    return jax.vmap(partial(noise.stream, key))(jnp.arange(_STREAMS, dtype=jnp.uint32))


def _checked_bias(bias: ArrayLike | None, w: jax.Array, neuron: Any) -> jax.Array | None:
    """A bias as an array `[N]`, or `[C]`; refuses one that does not fit."""
    if bias is None:
        return None
    found = floats(bias, "bias")
    if found.shape != w.shape[-1:] or neuron.apart:
        expected = "none where signs are apart" if neuron.apart else f"{w.shape[-1:]}"
        raise ValueError(f"bias: expected {expected}, got {found.shape}")
    return found


def _checked_drivers(
    drivers: ShortTerm | None, recurrent: jax.Array | None, neuron: Any
) -> ShortTerm | None:
    """The drivers of recurrent synapses, parameters as arrays; refuses those that do not fit."""
    if drivers is None:
        return None
    if recurrent is None:
        raise ValueError("recurrent_drivers: the population is not recurrent; give `recurrent`")
    if drivers.dt != neuron.dt:
        raise ValueError(
            f"recurrent_drivers: their step is {drivers.dt} s, the neurons' {neuron.dt}"
        )
    found = jax.tree.map(partial(floats, name="recurrent_drivers"), drivers)
    for parameter in jax.tree.leaves(found):
        if parameter.shape not in ((), recurrent.shape[:1]):
            expected = f"a number or {recurrent.shape[:1]}"
            raise ValueError(f"recurrent_drivers: expected {expected}, got {parameter.shape}")
    return found


def _biased(drive: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Adds `[n]` of neurons, or of channels at each position, to `[T, B, n]`."""
    if bias is None:
        return drive
    return drive + along_last(jnp.tile(bias, drive.shape[-1] // bias.shape[-1]), drive)


def _places(sent: Any, neuron: Any, observe: tuple[str, ...]) -> Any:
    """How a recording is spread over a mesh: by samples, as what is sent."""
    given = getattr(sent, "raster", sent)
    given = getattr(given, "spikes", given)
    if hasattr(given, "ndim") and not hasattr(given, "values"):
        samples = axes_of(given, 1)
    else:  # events, values still to be coded, values that stay
        first = jax.tree.leaves(given)[0]
        samples = axes_of(first, 0) if getattr(first, "ndim", 0) > 1 else PartitionSpec()
    over_time = PartitionSpec(None, *samples)
    parts: Any = (
        over_time if neuron.fires else None,
        over_time if "membrane" in observe or not neuron.fires else None,
        samples if "count" in observe and neuron.fires else None,
    )
    return Recording(*parts)


def _alone(sent: Sent, circuits: OnChips | None) -> bool:
    """Tells whether a position is all there is, and its synapses are dense ones."""
    return sent.positions == 1 and (circuits is None or circuits.inputs is not None)


def _at_run_time(neuron: Any, w: jax.Array) -> Any:
    """Makes parameters depend on data, on a zero.

    Constants would be folded by the compiler, whose exponential differs from the one that runs in
    the last bit; a population would then depend on whether its neurons are arguments.
    """
    if w.size == 0:
        return neuron
    some = lax.optimization_barrier(lax.stop_gradient(w).reshape(-1)[0])
    return jax.tree.map(lambda p: p + jnp.minimum(jnp.abs(some), 0.0), neuron)


def _of_samples(p: jax.Array) -> jax.Array:
    """Gives what neurons `[N]` have an axis of samples."""
    return p[None] if p.ndim == 1 else p


def _by_position(y: jax.Array | None, positions: int | None) -> jax.Array | None:
    """Gives neurons with receptive fields the axis of their positions."""
    if y is None or positions is None:
        return y
    return y.reshape(*y.shape[:-1], positions, y.shape[-1] // positions)


def _check(
    sent: Sent,
    w: jax.Array,
    recurrent: jax.Array | None,
    circuits: OnChips | None,
    codes: Codes | None,
    observe: tuple[str, ...],
) -> None:
    """Refuses shapes that do not belong together, and what cannot be observed."""
    check_observed(observe)
    fields = sent.positions is not None
    if w.ndim not in ((2, 3) if fields else (2,)):
        expected = "[K, C] or [P, K, C]" if fields else "[K, N]"
        raise ValueError(f"w: expected {expected}, got {w.shape}")
    if w.ndim == 3 and sent.positions != len(w):
        raise ValueError(
            f"spikes of {sent.positions} positions and w {w.shape} do not fit: P differs"
        )
    neurons = w.shape[-1]
    if recurrent is not None and (fields or recurrent.shape != (neurons, neurons)):
        expected = "none with receptive fields" if fields else str((neurons, neurons))
        raise ValueError(f"recurrent: expected {expected}, got {recurrent.shape}")
    if circuits is None:
        return
    if not hasattr(circuits, "neurons"):
        raise ValueError(
            f"circuits: expected those of `on_chip` or `gather`, got a {type(circuits).__name__}"
        )
    if codes is None:
        raise ValueError("codes: synapses on a chip hold codes; give Codes(), got None")
    want = (
        w.shape[-2] if not fields or _alone(sent, circuits) else None,
        0 if recurrent is None else neurons,
        neurons * (sent.positions or 1),
    )
    got = (circuits.inputs, circuits.recurrent, len(circuits.chip))
    if want != got:
        raise ValueError(
            f"circuits: they were gathered for {got[2]} neurons of {got[0]} inputs and {got[1]} "
            f"recurrent ones, the weights make {want[2]} of {want[0]} and {want[1]}"
        )
