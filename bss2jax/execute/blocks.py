"""The blocks of one product: pairs of them run one after the other, their readouts added up.

One `lax.scan` step is a pair of row blocks, and all the column blocks beside them: what the two
hemispheres compute in turn. Noise comes in pairs too, so the even block takes one normal and the
odd block the other. Everything that differs from block to block is a scan input; program size and
compile time do not grow with the number of blocks.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import pytree
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import Substrate
from bss2jax.execute import stripes
from bss2jax.execute.stripes import Stripes, Tables
from bss2jax.kernels import noise
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.dot import dot
from bss2jax.kernels.mesh import PIECES, alike, dealt, pieces
from bss2jax.kernels.stored import stored
from bss2jax.mapping.products import Grid


@dataclass(frozen=True)
class Settings:
    """What is static in a product.

    Attributes:
        num_sends: times each input is sent.
        mask_saturated: whether to say of each readout where it was clipped.
        observe: whether to count clipped readouts.
        substrate: the chip's numbers.
        whole: whether a device runs all blocks of its rows, whatever pieces are spread over.
    """

    num_sends: int
    mask_saturated: bool
    observe: bool
    substrate: Substrate
    whole: bool = False


@pytree
@dataclass(frozen=True, eq=False)
class Clipped:
    """Where clipping changed a value.

    Attributes:
        readouts: how many of the R readouts behind each output, int32 `[M, N]`; None if not
            observed.
        each: every single one of R, bool `[R, M, N]`; None if its gradient is not masked.
        sums: bool `[M, N]`.
    """

    readouts: jax.Array | None
    each: jax.Array | None
    sums: jax.Array


# Compiled also where the caller is not: op by op, XLA does not fuse multiplications and additions
# into one rounding, and the noise would differ in its last bit.
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def run(
    settings: Settings,
    grid: Grid,
    x: jax.Array,
    weights: Stripes,
    tables: Tables | None,
    chip: Chip | None,
    key: jax.Array | None,
    numbers: jax.Array,
) -> tuple[jax.Array, Clipped]:
    """Runs all blocks of a product and adds their readouts up.

    Args:
        settings: what is static.
        grid: how the weight is cut.
        x: `[M, K]` inputs.
        weights: `[R // 2, rows, N]` the row blocks, as they stand on the arrays.
        tables: tables that say where each block is; None for the published order on one chip.
        chip: the chip whose columns read out, or chips with their number in front; None for a
            perfect one.
        key: the random key for the noise, or None.
        numbers: `[M]` uint32, by which the rows of x are given their noise.

    Returns:
        `[M, N]` LSB, and where values were clipped, as far as the settings ask.
    """
    substrate = settings.substrate
    pairs, shape = grid.row_blocks // 2, (len(x), grid.outputs)
    inputs = _cut_inputs(vmm.input_codes(x, substrate), grid)
    columns, words = _disturbances(settings, grid, tables, chip, key)

    # The pairs, then the last block where their number is odd.
    bits = _count_bits(grid) if settings.observe else 0
    sums = jnp.zeros(shape, _packed(grid) if bits else jnp.float32)
    each: list[jax.Array] = []
    if pairs:
        laid = None if columns is None else _of_pairs(columns, pairs)
        drawn = None if words is None else words[:pairs]
        xs = (_of_pairs(inputs, pairs), _of_pairs(weights, pairs), laid, drawn)
        first, _ = alike(sums, xs)
        run_pair = partial(_run_pair, settings, bits, numbers)
        if pieces() > 1 and not settings.mask_saturated and not settings.whole:
            sums, masks = _over_pieces(run_pair, first, xs, pairs), None
        else:
            sums, masks = lax.scan(run_pair, first, xs)
        each += [] if masks is None else [masks.reshape(2 * pairs, *shape)]
    if weights.last is not None and inputs.last is not None:
        normal, _ = _draw(None if words is None else words[-1], numbers, grid.outputs)
        of_last = None if columns is None else columns.last
        last, clipped = _read(settings, inputs.last, weights.last, of_last, normal)
        sums = _added(bits, sums, last, clipped)
        each.append(clipped[None])

    sums = stored(sums)  # else whoever uses y would read out again
    total, readouts = _apart(bits, sums, x, weights) if bits else (sums, None)
    y = jnp.clip(total, substrate.readout_min, substrate.readout_max)
    all_masks = jnp.concatenate(each) if settings.mask_saturated and each else None
    return y, Clipped(readouts, all_masks, y != total)


def _over_pieces(run_pair: Any, none: jax.Array, xs: tuple, pairs: int) -> jax.Array:
    """Runs pairs of row blocks on as many devices as pieces are spread over; returns the sum.

    The sum is of whole numbers, so that it does not matter who adds what. Pairs that fill the last
    devices up are left out of it: an empty block reads out its offset.
    """

    def one(sums: jax.Array, pair: tuple) -> tuple[jax.Array, None]:
        real, given = pair
        return jnp.where(real, run_pair(sums, given)[0], sums), None

    real = dealt(jnp.ones(pairs, bool))
    return lax.psum(lax.scan(one, none, (real, jax.tree.map(dealt, xs)))[0], PIECES)


def _disturbances(
    settings: Settings,
    grid: Grid,
    tables: Tables | None,
    chip: Chip | None,
    key: jax.Array | None,
) -> tuple[Stripes | None, jax.Array | None]:
    """What differs from column to column, and the noise stream of each pair of row blocks."""
    if chip is None:
        return None, None
    chips = stripes.stack(chip)
    columns = stripes.columns(chips, settings.num_sends, grid, tables)
    if key is None:
        return columns, None
    pairs = jnp.arange(-(-grid.row_blocks // 2), dtype=jnp.uint32)
    return columns, jax.vmap(lambda pair: noise.stream(key, pair))(pairs)


def _run_pair(
    settings: Settings, bits: int, numbers: jax.Array, sums: jax.Array, pair: tuple
) -> tuple[jax.Array, jax.Array | None]:
    """Runs an even and an odd row block; one normal of a pair disturbs each."""
    inputs, weights, columns, words = pair
    normals = _draw(words, numbers, weights[0].shape[-1])
    if columns is None:
        columns = (None, None)
    else:
        # In an array of their own: fused into the readouts, every element would look them up.
        columns = lax.optimization_barrier(jnp.stack(columns))
    even, clipped_even = _read(settings, inputs[0], weights[0], columns[0], normals[0])
    odd, clipped_odd = _read(settings, inputs[1], weights[1], columns[1], normals[1])
    sums = _added(bits, _added(bits, sums, even, clipped_even), odd, clipped_odd)
    return sums, jnp.stack([clipped_even, clipped_odd]) if settings.mask_saturated else None


def _draw(
    words: jax.Array | None, numbers: jax.Array, outputs: int
) -> tuple[jax.Array | None, jax.Array | None]:
    if words is None:
        return None, None
    column = jnp.arange(outputs, dtype=jnp.uint32)
    return noise.normal_pair(words, numbers[:, None], column[None])


def _read(
    settings: Settings,
    x: jax.Array,
    w: jax.Array,
    columns: jax.Array | None,
    normal: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Reads out one block: see `stripes.columns` for what columns hold."""
    substrate = settings.substrate
    if columns is None:
        scale = jnp.asarray(vmm.nominal_scale(settings.num_sends, substrate))
        return vmm.readout(dot(x, w), scale, substrate=substrate)
    scale, offset, noise_std, *compression = columns[:, None]  # [1, N] each
    disturbance = None if normal is None else noise_std * normal
    return vmm.readout(dot(x, w), scale, offset, disturbance, *compression, substrate=substrate)


def _count_bits(grid: Grid) -> int:
    """Returns how far left of a sum of readouts the number of clipped ones stands beside it.

    Both in one integer: a second array would be a second loop, that draws the noise again.
    """
    s = grid.substrate
    bits = (2 * max(-s.readout_min, s.readout_max) * max(1, grid.row_blocks)).bit_length()
    if bits + grid.row_blocks.bit_length() > 31:
        raise ValueError(f"observe: {grid.inputs} inputs are too many to count what saturates")
    return bits


def _packed(grid: Grid) -> type:
    """Returns the type that holds sums and numbers in one: float32, which knows NaN, if it can."""
    return jnp.float32 if _count_bits(grid) + grid.row_blocks.bit_length() <= 24 else jnp.int32


def _added(bits: int, sums: jax.Array, readout: jax.Array, clipped: jax.Array) -> jax.Array:
    if not bits:
        return sums + readout
    one = jnp.asarray(1 << bits, sums.dtype)
    return sums + readout.astype(sums.dtype) + jnp.where(clipped, one, 0)


def _apart(
    bits: int, sums: jax.Array, x: jax.Array, weights: Stripes
) -> tuple[jax.Array, jax.Array]:
    """Takes sums of readouts, and the numbers of clipped ones beside them, apart."""
    if sums.dtype == jnp.float32:  # whole numbers below 2^24
        count = jnp.floor((sums + 2.0 ** (bits - 1)) * 2.0**-bits)
        return sums - count * 2.0**bits, count.astype(jnp.int32)
    readouts = (sums + 2 ** (bits - 1)) >> bits
    total = (sums - (readouts << bits)).astype(jnp.float32)
    # Integers hide what is not a number.
    lost = jnp.isnan(x).any(axis=1, keepdims=True)
    for leaf in jax.tree.leaves(weights):
        lost |= jnp.isnan(leaf).any()
    return jnp.where(lost, jnp.nan, total), readouts


def _cut_inputs(codes: jax.Array, grid: Grid) -> Stripes:
    """Cuts inputs `[M, K]` as their weight is cut: `[R // 2, M, rows]` by parity."""
    rows, pairs = grid.block_shape[0], grid.row_blocks // 2
    split = 2 * pairs * rows
    whole = jnp.pad(codes, ((0, 0), (0, max(0, split - grid.inputs))))
    paired = whole[:, :split].reshape(len(codes), pairs, 2, rows)
    even, odd = (paired[:, :, parity].swapaxes(0, 1) for parity in (0, 1))
    return Stripes(even, odd, whole[:, split:] if grid.row_blocks % 2 else None)


def _of_pairs(laid: Stripes, pairs: int) -> tuple[jax.Array, jax.Array]:
    even, odd = (jnp.broadcast_to(a, (pairs, *a.shape[1:])) for a in (laid.even, laid.odd))
    return even, odd
