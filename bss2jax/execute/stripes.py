"""How a chip's pattern lies beside a weight: stripes of one row block and all its columns.

The executor runs pairs of row blocks, an even and an odd one, with all column blocks beside them.
A plan says for each block the chip and the array whose pattern it meets. In the published order on
one chip that is a tile, whatever the size of the matrix; in any other plan it is gathered by table.
Both lay-outs give the same bits, and everything behind them is the same code.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import pytree
from bss2jax.chip.chip import Chip
from bss2jax.kernels import readout as vmm
from bss2jax.mapping.products import Grid, ProductPlace

# Number of the chip, and of the array, of each block: `[R, C]`, or of groups `[G, R, C]`.
Tables = tuple[jax.Array, jax.Array]
Place = ProductPlace | Tables | None


@pytree
@dataclass(frozen=True, eq=False)
class Stripes:
    """An array of a weight's shape, cut into row blocks, which are kept by parity.

    Attributes:
        even, odd: `[R // 2, ..., N]` the row blocks that run in pairs; `[1, ..., N]` where all are
            alike.
        last: `[..., N]` the last one where their number is odd, or None.
    """

    even: jax.Array
    odd: jax.Array
    last: jax.Array | None


def stack(chip: Chip) -> Chip:
    """Returns chips with their number in front, also where there is one without it."""
    alone = chip.synapse_gain.ndim == 4
    return jax.tree.map(lambda a: a[None], chip) if alone else chip


def tables_of(place: Place, grid: Grid, chip: Chip | None, *, groups: int = 1) -> Tables | None:
    """Returns the tables by which patterns are gathered; None where tiles do.

    Args:
        place: the place, from a plan, or the tables themselves.
        grid: the grid of the weight, of one group.
        chip: the chips that there are.
        groups: independent weights.

    Returns:
        Numbers of chips and of arrays, `[groups, R, C]` each.

    Raises:
        ValueError: the place is another weight's, or on chips that there are not.
    """
    if place is None:
        return None
    if isinstance(place, tuple):
        chips, arrays = place
        return jnp.asarray(chips)[None], jnp.asarray(arrays)[None]
    if place.grid != grid or len(place.chip) != groups:
        raise ValueError(
            f"place: it is that of {len(place.chip)} weights [{place.grid.inputs}, "
            f"{place.grid.outputs}], expected {groups} of [{grid.inputs}, {grid.outputs}]"
        )
    given, last = 1 if chip is None else len(stack(chip).synapse_gain), int(place.chip.max())
    if chip is not None and last >= given:
        raise ValueError(f"place: it is on chips up to chip {last}, {given} given")
    if place.regular and not last:
        return None
    return jnp.asarray(place.chip), jnp.asarray(place.array)


def cut(w: jax.Array, grid: Grid) -> Stripes:
    """Cuts a weight `[K, N]` into row blocks, ragged pairs filled with zeros."""
    rows, pairs = grid.block_shape[0], grid.row_blocks // 2
    split = 2 * pairs * rows
    whole = jnp.pad(w, ((0, max(0, split - grid.inputs)), (0, 0)))
    paired = whole[:split].reshape(pairs, 2, rows, grid.outputs)
    return Stripes(paired[:, 0], paired[:, 1], whole[split:] if grid.row_blocks % 2 else None)


def strengthened(codes: Stripes, chips: Chip, grid: Grid, tables: Tables | None) -> Stripes:
    """Gives the codes of a weight the strengths of the synapses that they are on.

    Args:
        codes: `[R // 2, rows, N]`.
        chips: the chips with their number in front.
        grid: the grid of the weight.
        tables: tables that say where each block is, or None.
    """
    rows = grid.block_shape[0]
    strength = chips.synapse_gain[..., :rows, :] * chips.driver_gain[:, :, None, :rows, None]
    negative = strength[:, :, 1] * chips.inhibitory_gain[:, :, None]
    excitatory = lay_out(strength[:, :, 0], grid, tables)
    inhibitory = lay_out(negative, grid, tables)

    def apply(codes: jax.Array, excitatory: jax.Array, inhibitory: jax.Array) -> jax.Array:
        n = codes.shape[-2]  # of the last block only the rows it uses
        strength = jnp.where(codes > 0, excitatory[..., :n, :], inhibitory[..., :n, :])
        return vmm.strengthened(codes, strength, grid.substrate)

    return jax.tree.map(apply, codes, excitatory, inhibitory)


def columns(chips: Chip, num_sends: int, grid: Grid, tables: Tables | None) -> Stripes:
    """Lays out what each column does at readout.

    Returns:
        `[R // 2, F, N]`: scale, offset and standard deviation of the noise, LSB; and compression,
        1/LSB, where chips have one.
    """
    # Two roundings, then a sum: in one fused operation the last bit would depend on the compiler.
    fixed, of_sends = lax.optimization_barrier(
        (jnp.square(chips.noise_std), num_sends * jnp.square(chips.send_noise))
    )
    scale = vmm.nominal_scale(num_sends, grid.substrate) * chips.column_gain
    what = [scale, chips.offset, jnp.sqrt(fixed + of_sends)]
    if chips.compression is not None:
        what.append(chips.compression)
    return lay_out(jnp.stack(what, axis=2), grid, tables)


def lay_out(pattern: jax.Array, grid: Grid, tables: Tables | None) -> Stripes:
    """Lays a pattern out as the blocks' outputs lie.

    Args:
        pattern: `[K, H, ..., C]` of K chips with H arrays.
        grid: the grid of the weight.
        tables: tables that say where each block is; None for the published order on chip 0.

    Returns:
        `[R // 2, ..., N]` by parity, or `[1, ..., N]` where all row blocks of a parity are alike.
    """
    return _tile(pattern[0], grid) if tables is None else _gather(pattern, grid, tables)


def _tile(pattern: jax.Array, grid: Grid) -> Stripes:
    """Repeats a pattern `[H, ..., C]` over column blocks.

    Neighbouring column blocks of one row block meet the same array where the number of row blocks
    is even, and change between them where it is odd: at most two blocks repeat.
    """
    width, period = grid.block_shape[1], max(1, min(2, grid.column_blocks))
    by_parity = []
    for parity in (0, 1):
        arrays = [grid.array(parity, c) for c in range(period)]
        tile = jnp.concatenate([pattern[h, ..., :width] for h in arrays], axis=-1)
        repeats = -(-grid.outputs // max(1, period * width))
        by_parity.append(jnp.tile(tile, repeats)[..., : grid.outputs])
    # Stacked, so that it is laid out once: fused into its use, every weight would look it up.
    even, odd = lax.optimization_barrier(jnp.stack(by_parity))
    return Stripes(even[None], odd[None], even if grid.row_blocks % 2 else None)


def _gather(pattern: jax.Array, grid: Grid, tables: Tables) -> Stripes:
    """Takes the pattern `[K, H, ..., C]` of each block's chip and array."""
    chip, array = tables
    pattern = pattern[..., : grid.block_shape[1]]

    def take(blocks: slice) -> jax.Array:
        found = pattern[chip[blocks], array[blocks]]  # [r, column blocks, ..., width]
        wide = jnp.moveaxis(found, 1, -2)
        columns = wide.shape[-2] * wide.shape[-1]
        return wide.reshape(*wide.shape[:-2], columns)[..., : grid.outputs]

    paired = grid.row_blocks // 2 * 2
    last = take(slice(paired, None))[0] if grid.row_blocks % 2 else None
    return Stripes(take(slice(0, paired, 2)), take(slice(1, paired, 2)), last)
