"""Analog products of any size: blocks of the chip's size, run one after the other.

Sums are exact (`kernels.readout.fraction_bits`) and noise has addresses, so a product is the same,
bit by bit, eager or compiled, whole or cut, in batches or sample by sample, on any plan that puts
blocks on the same arrays. `execute.blocks` runs them, `execute.stripes` lays the pattern out.

References: hxtorch `perceptron/mac`, grenade `compute/mac.cpp`; Weis et al. 2020, arXiv 2006.13177.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute import blocks, entrance, stripes
from bss2jax.execute.blocks import Clipped, Settings
from bss2jax.execute.stripes import Place, Programmed, Tables
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.dot import dot
from bss2jax.mapping.products import Grid


def matmul(
    x: ArrayLike,
    w: ArrayLike | Programmed,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    sample: ArrayLike = 0,
    num_sends: int = 1,
    avg: int = 1,
    mask_saturated: bool = False,
    observe: bool = False,
    place: Place = None,
    substrate: Substrate = BSS2,
) -> Any:
    """Multiplies activations with weights of any size on the chip.

    Rows are cut into consecutive chunks of 128; per chunk c

        p_c = clip(floor(float32(x_c W_c) * float32(s g) + offset + noise), -128, 127)

    and y = clip(sum of p_c, -128, 127), a saturating digital addition. On a `chip`, W_c carries the
    strengths of its synapses and drivers and each column's gain of negative weights, rounded to
    multiples of 1/32 LSB, so that x_c W_c is exact in float32; the scale carries each column's
    gain; beyond its linear range a membrane saturates softly (`kernels.readout.compress`).

    Noise has addresses: a readout's depends on the key, its pair of row blocks, its column, and the
    number of its sample and of its row within it, on nothing else.

    Backward is what a host with the chip in its loop can know: dx = (g s dy) W^T and
    dW = x^T (g s dy), with the unrounded x and W and without mismatch, noise or floor. Saturation
    does not stop it, as in the reference, unless `mask_saturated`.

    Args:
        x: `[B, ..., K]` activations 0..31, rounded half to even.
        w: `[K, N]` weights -63..63, rounded half to even; or `Programmed` by `program`, which has
            no gradient and cannot be averaged.
        chip: whose fixed pattern applies; None for a perfect chip, at the least cost. With `place`
            also a stack of chips, their number in front.
        key: for the trial noise of the chip. None: no noise, and no random numbers
            in the graph.
        sample: number of the first sample of x, by which noise is drawn.
        num_sends: times each input is sent; multiplies the gain.
        avg: neighbouring columns that carry the same weights and whose mean is taken.
        mask_saturated: let no gradient through a readout or a sum that was clipped.
        observe: also return what saturated.
        place: where the blocks are, from a plan, or as `[R, C]` numbers of the chip and the array
            of each block; by default in the published order on one chip.
        substrate: the chip's numbers.

    Returns:
        `[B, ..., N]` float32, LSB, integer-valued (unless `avg` > 1), -128..127. With `observe` a
        pair: this, and the shares that `saturation` returns (without `weights` if programmed).

    Raises:
        ValueError: shapes do not match; outside jit, and unless `observe` counts them, values are
            out of range or not finite. Inside jit such values are clipped, and the gradient goes
            straight through.

    References: hxtorch `perceptron/mac`, grenade `compute/mac.cpp`; Weis et al. 2020.
    """
    num_sends, avg = entrance.count("num_sends", num_sends), entrance.count("avg", avg)
    x = entrance.values(x, "x", 0, substrate.activation_max, clipped=observe)
    settings = Settings(num_sends, mask_saturated, observe, substrate)
    if isinstance(w, Programmed):
        if avg != 1:
            raise ValueError("avg: repeat the columns before `program`; what it made is fixed")
        entrance.check_chip(chip, substrate, several=w.tables is not None)
        entrance.check_inner(x.shape, (w.inputs, w.outputs))
        rows, numbers = _rows(lax.stop_gradient(x), sample)
        y, clipped = blocks.run(settings, rows, w, chip, key, numbers)
        y = y.reshape(*x.shape[:-1], w.outputs)
        return (y, _shares(settings, x, clipped)) if observe else y

    limit = substrate.weight_max
    matrix = entrance.values(w, "w", -limit, limit, clipped=observe)
    entrance.check_chip(chip, substrate, several=place is not None)
    entrance.check_inner(x.shape, matrix.shape)
    tables = _tables(place, Grid(len(matrix), matrix.shape[1] * avg, substrate), chip)
    rows, numbers = _rows(x, sample)
    wide = jnp.repeat(matrix, avg, axis=1)
    y, clipped = _product(settings, rows, wide, chip, key, numbers, tables)
    y = y.reshape(*x.shape[:-1], matrix.shape[1], avg)
    y = y.mean(-1) if avg > 1 else y[..., 0]
    if not observe:
        return y
    return y, _shares(settings, x, clipped) | {"weights": saturated_weights(matrix, substrate)}


def program(
    w: ArrayLike,
    chip: Chip | None,
    *,
    place: Place = None,
    substrate: Substrate = BSS2,
) -> Programmed:
    """Rounds a weight, cuts it into blocks and gives it the chip's strengths, once.

    For products with a weight that stays, as in evaluation: `matmul(x, program(w, chip), chip)`.

    Args:
        w: `[K, N]` weights -63..63.
        chip: the chip, or chips, that `matmul` will be given, or None.
        place: where the blocks are, from a plan; by default in the published order on one chip.
        substrate: the chip's numbers.

    Raises:
        ValueError: as `matmul`.
    """
    w = entrance.values(w, "w", -substrate.weight_max, substrate.weight_max)
    entrance.check_chip(chip, substrate, several=place is not None)
    entrance.check_inner(w.shape[:1], w.shape)
    tables = _tables(place, Grid(w.shape[0], w.shape[1], substrate), chip)
    return _program(w, chip, tables, substrate=substrate)


def saturation(
    x: ArrayLike,
    w: ArrayLike,
    chip: Chip | None,
    key: jax.Array | None = None,
    **settings: Any,
) -> dict[str, jax.Array]:
    """Measures what share of the values of a product sits at or beyond a limit of the chip.

    What `matmul(..., observe=True)` returns beside its product.

    Args:
        x, w, chip, key, settings: as in `matmul`.

    Returns:
        Shares 0..1, float32 scalars: `inputs` above 31 or below 0, `weights` at or beyond +-63,
        `outputs` of single readouts clipped by the CADC, `sums` clipped by the digital addition.
    """
    return matmul(x, w, chip, key, observe=True, **settings)[1]


def saturated_weights(w: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Returns the share of weights at or beyond the limits of a synapse, a float32 scalar."""
    return _share(jnp.abs(w) >= substrate.weight_max)


def _shares(settings: Settings, x: jax.Array, clipped: Clipped) -> dict[str, jax.Array]:
    substrate = settings.substrate
    codes, blocks = jnp.round(x), Grid(x.shape[-1], 1, substrate).row_blocks
    return {
        "inputs": _share((codes < 0) | (codes > substrate.activation_max)),
        "outputs": _share(jnp.asarray(clipped.readouts), blocks),
        "sums": _share(clipped.sums),
    }


def _share(counts: jax.Array, most: int = 1) -> jax.Array:
    """The mean, float32, of what may be empty: of yes and no, or of counts up to `most`."""
    # Along rows in integers, whose order XLA may change, so that several are added at once.
    rows = jnp.sum(counts, axis=-1, dtype=jnp.int32)
    total = jnp.sum(rows, dtype=jnp.float32)
    return lax.stop_gradient(total / max(1, counts.size * most))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(
    settings: Settings,
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None,
    numbers: jax.Array,
    tables: Tables | None,
) -> tuple[jax.Array, Clipped]:
    programmed = _program(w, chip, tables, substrate=settings.substrate)
    return blocks.run(replace(settings, mask_saturated=False), x, programmed, chip, key, numbers)


def _product_forward(
    settings: Settings,
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None,
    numbers: jax.Array,
    tables: Tables | None,
) -> tuple[tuple[jax.Array, Clipped], tuple]:
    programmed = _program(w, chip, tables, substrate=settings.substrate)
    y, clipped = blocks.run(settings, x, programmed, chip, key, numbers)
    # The masks stay inside: a primal output would be kept where nothing masks.
    return (y, replace(clipped, each=None)), (x, w, clipped if settings.mask_saturated else None)


def _product_backward(settings: Settings, residuals: tuple, dy: tuple) -> tuple:
    x, w, clipped = residuals
    scaled = dy[0] * vmm.nominal_scale(settings.num_sends, settings.substrate)
    nothing = (None,) * 4
    if clipped is None or clipped.each is None:
        return dot(scaled, w.T), dot(x.T, scaled), *nothing
    open_sums = jnp.where(clipped.sums, 0, scaled)
    grid = Grid(w.shape[0], w.shape[1], settings.substrate)
    rows, count = grid.block_shape[0], grid.row_blocks
    padding = count * rows - grid.inputs
    x_blocks = jnp.pad(x, ((0, 0), (0, padding))).reshape(len(x), count, rows).swapaxes(0, 1)
    w_blocks = jnp.pad(w, ((0, padding), (0, 0))).reshape(count, rows, grid.outputs)

    def step(_: None, block: tuple) -> tuple[None, tuple]:
        x, w, readouts = block
        masked = jnp.where(readouts, 0, open_sums)
        return None, (dot(masked, w.T), dot(x.T, masked))

    _, (dx, dw) = lax.scan(step, None, (x_blocks, w_blocks, clipped.each))
    dx = dx.swapaxes(0, 1).reshape(len(x), count * rows)[:, : grid.inputs]
    return dx, dw.reshape(count * rows, grid.outputs)[: grid.inputs], *nothing


_product.defvjp(_product_forward, _product_backward)


@partial(jax.jit, static_argnames="substrate", inline=True)
def _program(
    w: jax.Array, chip: Chip | None, tables: Tables | None, *, substrate: Substrate
) -> Programmed:
    grid = Grid(w.shape[0], w.shape[1], substrate)
    codes = stripes.cut(vmm.weight_codes(w, substrate), grid)
    if chip is not None:
        codes = stripes.strengthened(codes, stripes.stack(chip), grid, tables)
    return Programmed(codes, tables, grid.inputs)


def _tables(place: Place, grid: Grid, chip: Chip | None) -> Tables | None:
    tables = stripes.tables_of(place, grid, chip)
    return None if tables is None else (tables[0][0], tables[1][0])


def _rows(x: jax.Array, sample: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Returns inputs as rows `[M, K]`, and the number of each among all rows of all samples."""
    samples, *within = x.shape[:-1] or (1,)
    per_sample = math.prod(within)
    count = samples * per_sample
    first = jnp.asarray(sample).astype(jnp.uint32) * jnp.uint32(per_sample)
    return x.reshape(count, x.shape[-1]), first + jnp.arange(count, dtype=jnp.uint32)
