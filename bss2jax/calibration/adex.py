"""Measuring the exponential and the adaptation of a chip's circuits, for a wanted neuron.

The circuits are set to the neuron's parameters; membranes and adaptation, which the CADC reads
too, are read as in `circuits`: 8 bits, truncated, with the noise of a read, and averaged. One term
is on at a time.

References: haldls (what the CADC reads); Billaudelle et al. 2022, arXiv 2209.09280 (one term at a
time). Nobody published a calibration of these terms: how they are measured here is our own.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.calibration.circuits import fitted_tau
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.neurons.adex import AdEx

_MEMBRANE, _ADAPTATION = -110.0, -30.0  # LSB at the CADC of a membrane of 0, and of no adaptation
_NOISE = 1.0  # LSB of a read, assumed
_REPEATS = 1024
_READS = 60


def measure_tau_w(
    chip: Chip, key: jax.Array, *, neuron: AdEx, substrate: Substrate = BSS2
) -> jax.Array:
    """Fits the decay of an adaptation that was raised and let go: `[H, C]` over the wanted one."""
    wanted = jnp.float32(neuron.tau_w)
    period = wanted / 3.5
    time = period * jnp.arange(_READS, dtype=jnp.float32)[:, None, None]
    keys = draws.split(key, _READS)
    decay = 60.0 * jnp.exp(-time / (wanted * chip.circuits.tau_w))
    trace = jax.vmap(lambda w, key: _read(w, key, substrate, _ADAPTATION))(decay, keys)
    return fitted_tau(trace, period) / wanted


def measure_a(
    chip: Chip, key: jax.Array, *, neuron: AdEx, substrate: Substrate = BSS2
) -> jax.Array:
    """Raises membranes by a current, and reads what adaptation they have: `[H, C]`, as above."""
    k_v, k_w, k_v_rest, k_w_rest = draws.split(key, 4)
    a, c = neuron.a * chip.circuits.a, chip.circuits
    leak = neuron.leak + (neuron.threshold - neuron.leak) * c.leak
    raised = 0.8 * (neuron.threshold - neuron.leak)  # v, as the current is set to make it
    v = _read(leak + raised, k_v, substrate) - _read(leak, k_v_rest, substrate)
    none = _read(jnp.zeros_like(a), k_w_rest, substrate, _ADAPTATION)
    w = _read(a * raised, k_w, substrate, _ADAPTATION) - none
    return w / v / neuron.a


def measure_b(
    chip: Chip, key: jax.Array, *, neuron: AdEx, substrate: Substrate = BSS2
) -> jax.Array:
    """Reads the adaptation after a spike, less that before: `[H, C]` over the wanted step."""
    k_after, k_before = draws.split(key, 2)
    step = neuron.b * chip.circuits.b
    before = _read(jnp.zeros_like(step), k_before, substrate, _ADAPTATION)
    return (_read(step, k_after, substrate, _ADAPTATION) - before) / neuron.b


def measure_delta_t(
    chip: Chip, key: jax.Array, *, neuron: AdEx, substrate: Substrate = BSS2
) -> jax.Array:
    """Measures the slope of the exponential: `[H, C]` over the wanted one; nan without answer."""
    return _exponential(chip, key, neuron, substrate)[0] / neuron.delta_t


def measure_v_t(
    chip: Chip, key: jax.Array, *, neuron: AdEx, substrate: Substrate = BSS2
) -> jax.Array:
    """Measures where the exponential takes off: `[H, C]`, a share of the way from leak."""
    v_t = _exponential(chip, key, neuron, substrate)[1]
    return (v_t - neuron.v_t) / (neuron.threshold - neuron.leak)


def _exponential(
    chip: Chip, key: jax.Array, neuron: AdEx, substrate: Substrate
) -> tuple[jax.Array, jax.Array]:
    """Slope and take-off, `[H, C]` each, from membranes that constant currents hold.

    Without adaptation a membrane rests where leak - v + delta_t e^((v - v_t) / delta_t) + i = 0, up
    to the rheobase, which is searched by bisection; there v = v_t and the exponential is delta_t.
    What a current makes of a membrane beyond its leak is the exponential: at a lower one its
    logarithm is lower by the distance over the slope.
    """
    k_leak, *keys = draws.split(key, 3)
    c, way = chip.circuits, neuron.threshold - neuron.leak
    leak, v_t = neuron.leak + way * c.leak, neuron.v_t + way * c.v_t
    delta = neuron.delta_t * c.delta_t
    rheobase = v_t - leak - delta
    rest = _read(leak, k_leak, substrate)
    seen = []
    for below, key in zip((0.2, 1.2), keys, strict=True):  # LSB below the rheobase
        i = rheobase - below
        v = _read(_held(leak, v_t, delta, i), key, substrate)
        seen.append((v, v - rest - i))
    (high, more), (low, less) = seen
    slope = (high - low) / jnp.log(jnp.maximum(more, 0.1) / jnp.maximum(less, 0.1))
    # At the rheobase leak + i = v_t - delta_t, both of which are now known but for v_t.
    return slope, rest + rheobase + slope


def _held(leak: jax.Array, v_t: jax.Array, delta: jax.Array, i: jax.Array) -> jax.Array:
    """Where a membrane rests below v_t, by Newton's way from the leak."""

    def better(v: jax.Array, _: None) -> tuple[jax.Array, None]:
        rise = delta * jnp.exp((v - v_t) / delta)
        slope = jnp.minimum(rise / delta - 1, -1e-3)
        return jnp.minimum(v - (leak - v + rise + i) / slope, v_t), None

    return jax.lax.scan(better, leak + i, None, length=30)[0]


def _read(
    v: jax.Array, key: jax.Array, substrate: Substrate, centre: float = _MEMBRANE
) -> jax.Array:
    """The mean of many reads of potentials, LSB; half an LSB added, as the CADC truncates."""

    def one(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noisy = centre + v + _NOISE * draws.normal(key, v.shape)
        code = jnp.clip(jnp.floor(noisy), substrate.readout_min, substrate.readout_max)
        return total + code, None

    total, _ = jax.lax.scan(one, jnp.zeros_like(v), draws.split(key, _REPEATS))
    return total * np.float32(1 / _REPEATS) + 0.5 - centre
