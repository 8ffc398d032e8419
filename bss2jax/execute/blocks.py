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

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import Substrate
from bss2jax.execute import stripes
from bss2jax.execute.stripes import Programmed, Stripes
from bss2jax.kernels import noise
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.dot import dot
from bss2jax.mapping.products import Grid


@dataclass(frozen=True)
class Settings:
    """What is static in a product.

    Attributes:
        num_sends: times each input is sent.
        mask_saturated: whether to say of each readout where it was clipped.
        observe: whether to count clipped readouts.
        substrate: the chip's numbers.
    """

    num_sends: int
    mask_saturated: bool
    observe: bool
    substrate: Substrate


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Clipped:
    """Where clipping changed a value.

    Attributes:
        readouts: share of the readouts behind each output, `[M, N]`; None if not observed.
        each: every single one of R, bool `[R, M, N]`; None if its gradient is not masked.
        sums: bool `[M, N]`.
    """

    readouts: jax.Array | None
    each: jax.Array | None
    sums: jax.Array


# Sums of readouts `[M, N]` so far, and how many of each were clipped, or None.
_Sums = tuple[jax.Array, jax.Array | None]


# Compiled also where the caller is not: op by op, XLA does not fuse multiplications and additions
# into one rounding, and the noise would differ in its last bit.
@partial(jax.jit, static_argnums=0, inline=True)
def run(
    settings: Settings,
    x: jax.Array,
    programmed: Programmed,
    chip: Chip | None,
    key: jax.Array | None,
    numbers: jax.Array,
) -> tuple[jax.Array, Clipped]:
    """Runs all blocks of a product and adds their readouts up.

    Args:
        settings: what is static.
        x: `[M, K]` inputs.
        programmed: the weight.
        chip: whose columns read out, or chips with their number in front; None for a perfect one.
        key: for the noise, or None.
        numbers: `[M]` uint32, by which the rows of x are given their noise.

    Returns:
        `[M, N]` LSB, and where values were clipped, as far as the settings ask.
    """
    substrate, weights = settings.substrate, programmed.weights
    grid = Grid(programmed.inputs, programmed.outputs, substrate)
    pairs, shape = grid.row_blocks // 2, (len(x), grid.outputs)
    inputs = _cut_inputs(vmm.input_codes(x, substrate), grid)

    # What differs from column to column, and the noise of each pair.
    columns = words = None
    if chip is not None:
        chips = stripes.stack(chip)
        columns = stripes.columns(chips, settings.num_sends, grid, programmed.tables)
        if key is not None:
            streams = jnp.arange(-(-grid.row_blocks // 2), dtype=jnp.uint32)
            words = jax.vmap(lambda pair: noise.stream(key, pair))(streams)

    # The pairs, then the last block where their number is odd.
    total = jnp.zeros(shape, jnp.float32)
    sums: _Sums = (total, total if settings.observe else None)
    each: list[jax.Array] = []
    if pairs:
        laid = None if columns is None else _of_pairs(columns, pairs)
        drawn = None if words is None else words[:pairs]
        xs = (_of_pairs(inputs, pairs), _of_pairs(weights, pairs), laid, drawn)
        sums, masks = lax.scan(partial(_run_pair, settings, numbers), _varying(sums, xs), xs)
        each += [] if masks is None else [masks.reshape(2 * pairs, *shape)]
    if weights.last is not None and inputs.last is not None:
        normal, _ = _draw(None if words is None else words[-1], numbers, grid.outputs)
        of_last = None if columns is None else columns.last
        last, clipped = _read(settings, inputs.last, weights.last, of_last, normal)
        sums = _added(sums, last, clipped)
        each.append(clipped[None])

    total, count = sums
    y = jnp.clip(total, substrate.readout_min, substrate.readout_max)
    # Once: XLA would draw the noise and read out again in each fusion that uses y.
    y, total, count = lax.optimization_barrier((y, total, count))
    readouts = None if count is None else count / max(1, grid.row_blocks)
    all_masks = jnp.concatenate(each) if settings.mask_saturated and each else None
    return y, Clipped(readouts, all_masks, y != total)


def _run_pair(
    settings: Settings, numbers: jax.Array, sums: _Sums, pair: tuple
) -> tuple[_Sums, jax.Array | None]:
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
    sums = _added(_added(sums, even, clipped_even), odd, clipped_odd)
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
    scale, offset, noise_std, *compression = columns
    disturbance = None if normal is None else noise_std * normal
    return vmm.readout(dot(x, w), scale, offset, disturbance, *compression, substrate=substrate)


def _added(sums: _Sums, readout: jax.Array, clipped: jax.Array) -> _Sums:
    total, count = sums
    return total + readout, None if count is None else count + clipped


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


def _varying(sums: _Sums, blocks: Any) -> _Sums:
    """Makes zeros of data: over several devices, they vary from one to another as sums will."""
    zeros = [jnp.zeros_like(leaf.ravel()[:1], jnp.float32) for leaf in jax.tree.leaves(blocks)]
    return jax.tree.map(lambda total: sum(zeros, total) if total.size else total, sums)
