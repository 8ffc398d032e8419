"""Measuring the neuron circuits of a chip: membranes and spikes, nothing else.

Every circuit is a neuron of its own. Membranes are read by the CADC, every 1.7 us, truncated to 8
bits, with the noise of a readout, and averaged over repetitions.

References: calix (what is measured, and with which stimuli); halco (the CADC).
"""

import jax
import jax.numpy as jnp

from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.neurons.functional import LIParams, li

# Nominal neurons: those of `LIFParams`, whose threshold is one unit above leak and reset.
TAU_MEM, TAU_SYN = 6e-6, 5.7e-6
_SCALE = 60.0  # LSB per unit: what lies between leak and threshold
_CENTRE = -30.0  # LSB at which the leak should be
_NOISE = 1.0  # LSB of a read, assumed
_REPEATS = 64
_STILL = 1024  # of potentials that stand still: 1.7 ms, and 1/30 LSB
_INPUT = 2.0  # units of one strong input


def read_membranes(
    v: jax.Array, key: jax.Array, substrate: Substrate, repeats: int = _REPEATS
) -> jax.Array:
    """Returns the mean of some reads of membranes, in units; half an LSB added, as it truncates.

    Args:
        v: `[...]` membranes, in units.
        key: decides the noise of the reads.
        substrate: the substrate whose CADC reads.
        repeats: how many reads there are.
    """

    def one(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noisy = _CENTRE + _SCALE * v + _NOISE * draws.normal(key, v.shape)
        code = jnp.clip(jnp.floor(noisy), substrate.readout_min, substrate.readout_max)
        return total + code, None

    total, _ = jax.lax.scan(one, jnp.zeros_like(v), draws.split(key, repeats))
    return (total / repeats + 0.5 - _CENTRE) / _SCALE


def measure_leak(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Reads membranes at rest: `[H, C]`, in units, 0 = nominal."""
    return read_membranes(chip.circuits.leak, key, substrate, _STILL)


def measure_reset(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Reads membranes of neurons held in their refractory state: `[H, C]`, in units."""
    return read_membranes(chip.circuits.reset, key, substrate, _STILL)


def measure_threshold(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Raises the membranes by a constant current and reads where half of the trials spike.

    The current is searched by bisection, 32 trials a step, up to 3 units.

    Returns:
        `[H, C]` deviation from the nominal threshold, in units.
    """
    c = chip.circuits
    k_search, k_read = draws.split(key, 2)

    def halve(
        bounds: tuple[jax.Array, jax.Array], key: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        low, high = bounds
        current = (low + high) / 2
        noise = c.threshold_noise * draws.normal(key, (32, *current.shape))
        fires = (c.leak + current > 1.0 + c.threshold + noise).mean(0) > 0.5
        return (jnp.where(fires, low, current), jnp.where(fires, current, high)), None

    bounds = jnp.zeros_like(c.leak), jnp.full_like(c.leak, 3.0)
    (low, high), _ = jax.lax.scan(halve, bounds, draws.split(k_search, 12))
    return read_membranes(c.leak + (low + high) / 2, k_read, substrate, _STILL) - 1.0


def measure_tau_mem(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Fits the decay of membranes that were raised and let go: `[H, C]` over the nominal one."""
    return _decay(chip, TAU_MEM, chip.circuits.tau_mem, key, substrate)


def measure_synaptic_input(
    chip: Chip, key: jax.Array, *, sign: int = 1, substrate: Substrate = BSS2
) -> tuple[jax.Array, jax.Array]:
    """Sends one strong input and takes the moments of the response.

    A response of two exponentials has its mean at tau_mem + tau_syn and the area strength tau_syn.

    Args:
        chip: the chip to measure.
        key: decides the trial noise.
        sign: 1 for an excitatory, -1 for an inhibitory input.
        substrate: the substrate whose array sizes the chip has.

    Returns:
        `[H, C]` time constants, and strengths, over the nominal ones; nan where the response is too
        small to tell, below a sixth of the nominal one.
    """
    k_tau, k_rest, k_trace = draws.split(key, 3)
    c, steps, reads = chip.circuits, 32, 40
    dt = substrate.cadc_period / steps
    strength = c.strength[0 if sign > 0 else 1].reshape(-1)
    drive = jnp.zeros((reads * steps, 1, strength.size), jnp.float32).at[0].set(sign * _INPUT)
    params = LIParams(
        TAU_MEM * c.tau_mem.reshape(-1), TAU_SYN * c.tau_syn.reshape(-1), c.leak.reshape(-1)
    )
    v = li(params, drive * strength, dt=dt)[::steps, 0].reshape(reads, *c.leak.shape)
    rest = read_membranes(c.leak, k_rest, substrate, 32 * _REPEATS)
    response = read_membranes(v, k_trace, substrate) - rest
    time = substrate.cadc_period * jnp.arange(reads, dtype=jnp.float32)[:, None, None]
    area = sign * response.sum(0)
    nominal = _INPUT * TAU_SYN / substrate.cadc_period
    area = jnp.where(area > nominal / 6, area, jnp.nan)
    mean = sign * (response * time).sum(0) / area
    tau_mem = measure_tau_mem(chip, k_tau, substrate=substrate) * TAU_MEM
    tau_syn = jnp.maximum(mean - tau_mem, 0.05 * TAU_SYN)
    return tau_syn / TAU_SYN, area * substrate.cadc_period / (_INPUT * tau_syn)


def measure_tau_syn(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Measures the time constants of excitatory inputs: `[H, C]` over the nominal one."""
    return measure_synaptic_input(chip, key, substrate=substrate)[0]


def measure_excitatory(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Measures the strength of excitatory inputs: `[H, C]` over the nominal one."""
    return measure_synaptic_input(chip, key, substrate=substrate)[1]


def measure_inhibitory_strength(
    chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2
) -> jax.Array:
    """Measures the strength of inhibitory inputs: `[H, C]` over the nominal one."""
    return measure_synaptic_input(chip, key, sign=-1, substrate=substrate)[1]


def _decay(
    chip: Chip, nominal: float, factor: jax.Array, key: jax.Array, substrate: Substrate
) -> jax.Array:
    """Time constants `[H, C]` over the nominal one, of what was raised by one unit and let go."""
    period = substrate.cadc_period * max(round(nominal / (3.5 * substrate.cadc_period)), 1)
    time = period * jnp.arange(60, dtype=jnp.float32)[:, None, None]
    trace = read_membranes(chip.circuits.leak + jnp.exp(-time / (nominal * factor)), key, substrate)
    return fitted_tau(trace, period) / nominal


def fitted_tau(trace: jax.Array, period: float | jax.Array) -> jax.Array:
    """Returns the time constants, s, of what decays.

    Reads of an exponential that falls by q from one to the next add up to the first over 1 - q. The
    last of them are taken for the rest.

    Args:
        trace: `[reads, ...]` more than 12 of them.
        period: s from one to the next.
    """
    raised = trace - trace[-12:].mean(0)
    q = 1 - raised[0] / raised.sum(0)
    return -period / jnp.log(jnp.clip(q, 1e-3, 1 - 1e-3))
