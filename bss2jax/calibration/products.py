"""Measuring the matrix products of a chip: what is sent in, what is read out, nothing else.

References: brainscales2-demos tp_01 (the sweep); hxtorch `perceptron` (gain and noise).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import pytree
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip, Mismatch
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute.products import matmul
from bss2jax.kernels.readout import nominal_scale

# Deflections that are sure to be linear: within 80 LSB.
_LINEAR = 60.0
_RUNS = 100  # repetitions of a readout


@pytree
@dataclass(frozen=True)
class Characterisation:
    """What a sweep of the weights shows of each column. W weights, H hemispheres, C columns.

    Attributes:
        weights: `[W]` codes, the same at all rows.
        product: `[W]` readout of a nominal column, LSB.
        mean: `[W, H, C]` mean readout over the runs, LSB; half an LSB added, as the CADC truncates.
        std: `[W, H, C]` std over the runs, LSB.
        gain: `[H, C]` slope at positive weights over the nominal one.
        inhibitory_gain: `[H, C]` slope at negative weights over that at positive ones.
        offset: `[H, C]` readout without input, LSB.
        noise_std: `[H, C]` trial noise, LSB, without what truncation adds.
        nonlinearity: `[H, C]` largest deviation from those lines at deflections up to 60 LSB, LSB.
        compression: `[H, C]` soft saturation beyond the linear range, 1/LSB.
    """

    weights: jax.Array
    product: jax.Array
    mean: jax.Array
    std: jax.Array
    gain: jax.Array
    inhibitory_gain: jax.Array
    offset: jax.Array
    noise_std: jax.Array
    nonlinearity: jax.Array
    compression: jax.Array

    @property
    def trial_noise(self) -> jax.Array:
        """`[W]` root mean square over columns of the std over runs, LSB."""
        return jnp.sqrt((self.std**2).mean((1, 2)))

    @property
    def fixed_pattern(self) -> jax.Array:
        """`[W]` std over columns of the means over runs, LSB."""
        return self.mean.std((1, 2))


@partial(jax.jit, static_argnames=("activation", "runs", "num_sends", "substrate"))
def characterise(
    chip: Chip,
    key: jax.Array,
    *,
    activation: int = 9,
    runs: int = 30,
    num_sends: int = 1,
    substrate: Substrate = BSS2,
) -> Characterisation:
    """Sweeps the weights -63..63 of all columns at constant inputs, as tp_01 does.

    Args:
        chip: the chip to measure.
        key: decides the trial noise.
        activation: the input of all rows.
        runs: repetitions of each weight.
        num_sends: times each input is sent.
        substrate: the substrate whose array sizes the chip has.

    Returns:
        A `Characterisation`. A column that gives nothing has gain 0 and no ratio (nan).

    References: brainscales2-demos tp_01.
    """
    swept = _sweep(chip, key, activation, runs, num_sends, substrate)
    return _fitted(*swept, substrate)


def _sweep(
    chip: Chip, key: jax.Array, activation: int, runs: int, num_sends: int, substrate: Substrate
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Weights, what they would give on a nominal chip, and what they give: mean and std."""
    rows = substrate.rows
    weights = jnp.arange(-substrate.weight_max, substrate.weight_max + 1, dtype=jnp.float32)
    x = jnp.full((runs, rows), float(activation), jnp.float32)
    shape = (substrate.hemispheres, substrate.columns)
    settings: dict[str, Any] = {"num_sends": num_sends, "substrate": substrate}

    def at(weight_and_key: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        weight, key = weight_and_key
        w = jnp.full((rows, shape[0] * shape[1]), weight)
        y = matmul(x, w, chip, key, **settings).reshape(runs, *shape)
        return y.mean(0) + 0.5, y.std(0, ddof=1)

    mean, std = jax.lax.map(at, (weights, draws.split(key, len(weights))))
    product = nominal_scale(num_sends, substrate) * rows * activation * weights
    return weights, product, mean, std


def _fitted(
    weights: jax.Array, product: jax.Array, mean: jax.Array, std: jax.Array, substrate: Substrate
) -> Characterisation:
    """Fits what a sweep shows: two lines a column, and how far it is from them."""
    silent = mean[substrate.weight_max]
    in_range = (mean > substrate.readout_min + 8) & (mean < substrate.readout_max - 8)
    linear = in_range & (jnp.abs(mean - silent) < _LINEAR)
    # Least squares of offset and two slopes, column by column.
    basis = jnp.stack([jnp.ones_like(product), jnp.maximum(product, 0), jnp.minimum(product, 0)])
    used = jnp.where(linear[None], basis[:, :, None, None], 0.0)
    normal = jnp.einsum("awhc,bw->hcab", used, basis)
    target = jnp.einsum("awhc,whc->hca", used, mean)
    fit = jnp.linalg.solve(normal, target[..., None])[..., 0]
    offset, positive, negative = jnp.moveaxis(fit, -1, 0)
    deflection = (
        basis[1][:, None, None] * positive + basis[2][:, None, None] * negative
    )  # of a membrane that does not saturate
    residual = jnp.where(linear, mean - offset - deflection, 0.0)
    variance = jnp.where(linear, std**2, 0.0).sum(0) / linear.sum(0, dtype=jnp.float32) - 1 / 12
    # e_measured = e / (1 + c e), so e - e_measured = c e e_measured: least squares again.
    excess = jnp.abs(deflection) - substrate.linear_range
    measured = jnp.abs(mean - offset) - substrate.linear_range
    beyond = jnp.where(in_range & (excess > 5) & (measured > 0), excess * measured, 0.0)
    compression = ((excess - measured) * beyond).sum(0) / jnp.maximum((beyond**2).sum(0), 1e-6)
    return Characterisation(
        weights,
        product,
        mean,
        std,
        gain=positive,
        inhibitory_gain=jnp.where(positive > 0.05, negative / positive, jnp.nan),
        offset=offset,
        noise_std=jnp.sqrt(jnp.maximum(variance, 0.0)),
        nonlinearity=jnp.abs(residual).max(0),
        compression=jnp.maximum(compression, 0.0),
    )


@partial(jax.jit, static_argnames=("num_sends", "substrate"))
def measure_gain_and_noise(
    chip: Chip, key: jax.Array, *, num_sends: int = 1, substrate: Substrate = BSS2
) -> tuple[jax.Array, jax.Array]:
    """Measures the gain and the noise of a chip as a whole, as the reference does.

    Activations 15.5 (16, as a code) and weights 21 everywhere; inputs are kept with probability
    .85^i, for the i whose median output is nearest 63; 50 repetitions.

    Returns:
        Two scalars.
        gain: median of y over the exact product, LSB per activation x weight, `num_sends` included.
        noise: median over columns of the std of y - gain x exact, LSB.

    References: hxtorch `perceptron` (`measure_mock_parameter`).
    """
    k_keep, k_search, k_measure = draws.split(key, 3)
    rows, columns = substrate.rows, substrate.hemispheres * substrate.columns
    shares = 0.85 ** jnp.arange(30, dtype=jnp.float32)[:, None]
    kept = draws.uniform(k_keep, (30, rows)) < shares
    x, w = jnp.where(kept, jnp.float32(15.5), 0.0), jnp.full((rows, columns), 21.0, jnp.float32)
    settings: dict[str, Any] = {"num_sends": num_sends, "substrate": substrate}
    median = jnp.median(matmul(x, w, chip, k_search, **settings), axis=1)
    best = x[jnp.argmin(jnp.abs(median - 63))]
    repeated = jnp.broadcast_to(best, (50, rows))
    y = matmul(repeated, w, chip, k_measure, **settings)
    exact = (jnp.round(repeated) @ w)[:1, :1]
    gain = jnp.median(y) / exact[0, 0]
    return gain, jnp.median((y - gain * exact).std(0))


@partial(jax.jit, static_argnames=("sign", "runs", "substrate"))
def measure_synapses(
    chip: Chip, key: jax.Array, *, sign: int = 1, runs: int = 30, substrate: Substrate = BSS2
) -> jax.Array:
    """Measures every synapse by itself, at the largest input and weight, sent 8 times.

    Args:
        chip, key, runs, substrate: as in `characterise`.
        sign: 1 for the excitatory, -1 for the inhibitory ones.

    Returns:
        `[H, R, C]` strength over the nominal one: of synapse, driver and column together.
    """
    shape = (substrate.hemispheres, substrate.columns)
    weight = float(sign * substrate.weight_max)
    w = jnp.full((substrate.rows, shape[0] * shape[1]), weight, jnp.float32)
    # Each row by itself, and none.
    x = substrate.activation_max * jnp.eye(substrate.rows + 1, substrate.rows, dtype=jnp.float32)

    def run(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return total + matmul(x, w, chip, key, num_sends=8, substrate=substrate), None

    total, _ = jax.lax.scan(
        run, jnp.zeros((len(x), w.shape[1]), jnp.float32), draws.split(key, runs)
    )
    y = total / runs
    nominal = nominal_scale(8, substrate) * substrate.activation_max * weight
    return jnp.moveaxis(((y[:-1] - y[-1]) / nominal).reshape(-1, *shape), 0, 1)


def measure_offset(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Measures the mean readout without input: `[H, C]`, LSB."""
    return _mean_readout(chip, 0.0, key, substrate)


def measure_gain(
    chip: Chip, key: jax.Array, *, sign: int = 1, substrate: Substrate = BSS2
) -> jax.Array:
    """Measures the deflection at weights of one sign, about 40 LSB.

    Args:
        chip: the chip to measure.
        key: decides the trial noise.
        sign: 1 for positive, -1 for negative weights.
        substrate: the substrate whose array sizes the chip has.

    Returns:
        `[H, C]` deflection over the nominal one.
    """
    weight = sign * 20.0
    activation = math.ceil(40 / (nominal_scale(1, substrate) * substrate.rows * 20))
    activation = min(activation, substrate.activation_max)
    k_on, k_off = draws.split(key, 2)
    y = _mean_readout(chip, weight, k_on, substrate, activation)
    nominal = nominal_scale(1, substrate) * substrate.rows * activation * weight
    return (y - _mean_readout(chip, 0.0, k_off, substrate)) / nominal


measure_inhibitory = partial(measure_gain, sign=-1)


def measure_driver(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Measures the strength of each row, the mean of its columns: `[H, R]` over the nominal."""
    return measure_synapses(chip, key, runs=10, substrate=substrate).mean(2)


def estimate_mismatch(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> Mismatch:
    """Estimates the spreads of a chip's matrix products from measurements alone.

    Returns:
        A `Mismatch` whose parameters of matrix products are estimates; the others are 0.
    """
    keys = draws.split(key, 4)
    once, often = (
        characterise(chip, k, activation=a, num_sends=s, substrate=substrate)
        for k, a, s in ((keys[0], 9, 1), (keys[1], 2, 4))
    )
    strength = np.asarray(measure_synapses(chip, keys[2], substrate=substrate), np.float64)
    weak = np.asarray(measure_synapses(chip, keys[3], sign=-1, substrate=substrate), np.float64)
    column = np.median(strength, 1, keepdims=True)
    alive = np.asarray(once.gain) > 0.05
    dead = np.concatenate([s.swapaxes(1, 2)[alive] for s in (strength, weak)]) < 0.05
    relative = np.where(alive[:, None], strength / np.where(alive[:, None], column, 1), np.nan)
    relative = np.where(relative < 0.05, np.nan, relative)
    driver = np.nanmean(relative, 2, keepdims=True)
    variances = np.asarray([(np.asarray(c.noise_std)[alive] ** 2).mean() for c in (once, often)])
    per_send = max(variances[1] - variances[0], 0.0) / 3
    # What one sees is noisy: the variance of two readings at 8 sends, 30 times each, is taken off.
    nominal = nominal_scale(8, substrate) * substrate.activation_max * substrate.weight_max
    reading = np.sqrt(2 * (variances[0] + 7 * per_send + 1 / 12) / 30) / nominal
    synapse = _less(np.nanstd(relative / driver), reading)
    ratio = np.asarray(once.inhibitory_gain)[alive]
    rows = strength.shape[1]
    return Mismatch(
        **{
            **vars(Mismatch.none()),
            "synapse": synapse,
            "driver": _less(np.nanstd(driver), synapse / np.sqrt(strength.shape[2])),
            "gain": _less(np.std(np.asarray(once.gain)[alive]), synapse / np.sqrt(rows)),
            "offset": float(np.std(np.asarray(once.offset))),
            "noise_std": float(np.sqrt(max(variances[0] - per_send, 0.0))),
            "send_noise": float(np.sqrt(per_send)),
            # Over what the synapses of the two signs differ by themselves.
            "inhibitory": _less(np.std(ratio), synapse * np.sqrt(2 / rows)),
            "inhibitory_shift": float(np.mean(ratio) - 1),
            "compression": float(np.sqrt((np.asarray(once.compression)[alive] ** 2).mean())),
            "dead_synapses": float(dead.mean()),
            "dead_neurons": float(1 - alive.mean()),
        }
    )


def _less(std: float | np.floating[Any], by: float) -> float:
    """A std without what another, independent one has added to it."""
    return float(np.sqrt(max(std**2 - by**2, 0.0)))


def _mean_readout(
    chip: Chip, weight: float, key: jax.Array, substrate: Substrate, activation: int = 0
) -> jax.Array:
    shape = (substrate.hemispheres, substrate.columns)
    x = jnp.full((_RUNS, substrate.rows), float(activation), jnp.float32)
    w = jnp.full((substrate.rows, shape[0] * shape[1]), weight, jnp.float32)
    y = matmul(x, w, chip, key, substrate=substrate)
    return y.mean(0).reshape(shape) + 0.5  # the CADC truncates
