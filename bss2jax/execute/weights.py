"""What a product multiplies with: floats with a gradient, or what is on the arrays already.

Each multiplies activations by itself; `matmul` asks for nothing else. On a chip a weight carries
the strengths of its synapses and drivers and each column's gain of negative weights, rounded to
multiples of 1/32 LSB, so that sums are exact in float32; the scale of a readout carries each
column's gain; beyond its linear range a membrane saturates softly (`kernels.readout.compress`).

Noise has addresses: a readout's depends on the key, its pair of row blocks, its column, and the
number of its sample and of its row within it, on nothing else.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from bss2jax.arrays import pytree
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import Substrate
from bss2jax.execute import blocks, entrance, stripes
from bss2jax.execute.blocks import Clipped, Settings
from bss2jax.execute.shares import at_limit, shares
from bss2jax.execute.stripes import Place, Stripes, Tables
from bss2jax.execute.unvectorised import unvectorised
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.dot import dot, dot_of_rows
from bss2jax.kernels.gradients.nominal import (
    differentiated_once,
    instantiated,
    refuse_perturbed,
    values_of,
    without_gradient,
)
from bss2jax.kernels.mesh import (
    alike,
    axes_of,
    collected,
    dealt,
    gathered,
    over_mesh,
    parted,
    pieces,
    shared,
    spread_out,
)
from bss2jax.mapping.products import Grid

_KEPT = "; bss2jax.training.keep_in_range() behind an optimiser keeps weights there"
_UNPROGRAMMED = "give `matmul` the weight itself"
Multiplied = tuple[jax.Array, dict[str, jax.Array] | None]


class Weight(Protocol):
    """A weight of any size that activations are multiplied with."""

    def analog_product(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: jax.Array,
        avg: int,
    ) -> Multiplied:
        """Multiplies activations.

        Args:
            settings: what is static.
            x: `[B, ..., K]` activations.
            chip: the chip whose fixed pattern applies, or None.
            key: the random key for the noise, or None.
            sample: number of the first sample, an int32 scalar.
            avg: neighbouring columns of the same weights, whose mean is taken.

        Returns:
            `[B, ..., N]` LSB; and the shares of what saturated, where the settings ask for them.
        """
        ...


@pytree
@dataclass(frozen=True, eq=False)
class Programmed:
    """A weight as it stands on the arrays: rounded, cut into row blocks, with the chip's strengths.

    Made by `program`; good for as many products as the weight does not change.

    Attributes:
        weights: `[R // 2, rows, N]` row blocks by parity; the last one has only the rows it uses.
        tables: tables that say where each block is; None for the published order on one chip.
        inputs: K, rows of the weight.
    """

    weights: Stripes
    tables: Tables | None
    inputs: int = field(metadata={"static": True})

    @property
    def outputs(self) -> int:
        """N, columns of the weight."""
        return self.weights.even.shape[-1]

    def run(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        numbers: jax.Array,
    ) -> tuple[jax.Array, Clipped]:
        """Multiplies rows `[M, K]`: see `blocks.run`."""
        grid = Grid(self.inputs, self.outputs, settings.substrate)
        run = partial(_run, settings, grid)
        return unvectorised(run, (self.weights, self.tables, chip), x, key, numbers)

    def analog_product(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: jax.Array,
        avg: int,
    ) -> Multiplied:
        """Multiplies activations, without a gradient: see `Weight.analog_product`."""
        if avg != 1:
            raise ValueError("avg: repeat the columns before `program`; what it made is fixed")
        entrance.check_chip(chip, settings.substrate, several=self.tables is not None)
        entrance.check_inner(x.shape, (self.inputs, self.outputs))
        x = without_gradient(x, "x of a Programmed weight", _UNPROGRAMMED)
        return _over_mesh(_programmed_product, settings, x, self, chip, key, sample)


@dataclass(frozen=True, eq=False)
class Floats:
    """A weight that is rounded, cut and put on the arrays in each product.

    Attributes:
        matrix: `[K, N]` float32.
        place: the place where its blocks are.
    """

    matrix: jax.Array
    place: Place

    def analog_product(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: jax.Array,
        avg: int,
    ) -> Multiplied:
        """Multiplies activations, with the gradient of both: see `Weight.analog_product`."""
        matrix, substrate = self.matrix, settings.substrate
        entrance.check_chip(chip, substrate, several=self.place is not None)
        entrance.check_inner(x.shape, matrix.shape)
        tables = _tables(self.place, Grid(len(matrix), matrix.shape[1] * avg, substrate), chip)
        product = partial(_floats_product, avg)
        return _over_mesh(product, settings, x, matrix, chip, key, sample, tables)

    def programmed(self, chip: Chip | None, substrate: Substrate) -> Programmed:
        """Returns the weight as it stands on the arrays: see `program`."""
        w, chip = without_gradient((self.matrix, chip), "what `program` is given", _UNPROGRAMMED)
        entrance.check_chip(chip, substrate, several=self.place is not None)
        entrance.check_inner(w.shape[:1], w.shape)
        tables = _tables(self.place, Grid(w.shape[0], w.shape[1], substrate), chip)
        return _program(w, chip, tables, substrate=substrate)


def floats(w: Any, place: Place, substrate: Substrate, *, clipped: bool = False) -> Floats:
    """Returns what a caller gives as a weight, `[K, N]`.

    Args:
        w: any array or nested sequence of numbers.
        place: the place where its blocks are.
        substrate: the substrate whose synapses hold it.
        clipped: whether values that no synapse holds are let through, to be counted.

    Raises:
        ValueError: as `matmul`.
    """
    limit = substrate.weight_max
    matrix = entrance.values(w, "w", -limit, limit, clipped=clipped, advice=_KEPT)
    return Floats(matrix, place)


def _over_mesh(
    product: Callable[..., Multiplied], settings: Settings, x: jax.Array, *others: Any
) -> Multiplied:
    """Calls a product, whose outputs are spread over devices as its inputs are."""
    spread = axes_of(x, *range(x.ndim - 1))
    out = spread, PartitionSpec() if settings.observe else None
    return over_mesh(partial(product, settings), out, x, *others)


@partial(jax.jit, static_argnums=0)
def _programmed_product(
    settings: Settings, x: jax.Array, w: Programmed, chip: Any, key: Any, sample: jax.Array
) -> Multiplied:
    rows, numbers = _rows(x, sample)
    y, clipped = w.run(settings, rows, chip, key, numbers)
    found = shares(settings, x, clipped) if settings.observe else None
    return y.reshape(*x.shape[:-1], w.outputs), found


@partial(jax.jit, static_argnums=(0, 1))
def _floats_product(
    avg: int,
    settings: Settings,
    x: jax.Array,
    w: jax.Array,
    chip: Any,
    key: Any,
    sample: jax.Array,
    tables: Tables | None,
) -> Multiplied:
    rows, numbers = _rows(x, sample)
    wide = jnp.repeat(w, avg, axis=1)
    pairs = Grid(len(wide), wide.shape[1], settings.substrate).row_blocks // 2
    if x.ndim > 2 and max(1, pairs) < pieces():
        y, clipped = _by_rows(settings, rows, wide, chip, key, numbers, tables)
    else:
        y, clipped = _product(settings, *alike(rows, wide, chip, key, numbers, tables))
    y = y.reshape(*x.shape[:-1], w.shape[1], avg)
    y = y.mean(-1) if avg > 1 else y[..., 0]
    if not settings.observe:
        return y, None
    share = at_limit(w, settings.substrate.weight_max)
    return y, shares(settings, x, clipped) | {"weights": share}


def _by_rows(
    settings: Settings, x: jax.Array, w: jax.Array, chip: Any, key: Any, numbers: Any, tables: Any
) -> tuple[jax.Array, Clipped]:
    """A product of many rows and few blocks, as of a convolution: rows are dealt to pieces."""
    mine, own_numbers = dealt(shared(x)), dealt(numbers)
    alone = replace(settings, whole=True)
    y, clipped = _product(alone, mine, parted(w), chip, key, own_numbers, tables)
    counts = jax.tree.map(lambda each: collected(each, len(x)), replace(clipped, each=None))
    return gathered(y, 0, len(x)), counts


def weight_of(w: Any, place: Place, substrate: Substrate, *, clipped: bool = False) -> Weight:
    """Returns what a caller gives as a weight, `[K, N]` floats or `Programmed`: see `floats`."""
    return w if hasattr(w, "analog_product") else floats(w, place, substrate, clipped=clipped)


def _run(
    settings: Settings, grid: Grid, placed: tuple, x: jax.Array, key: Any, numbers: jax.Array
) -> tuple[jax.Array, Clipped]:
    weights, tables, chip = placed
    return blocks.run(settings, grid, x, weights, tables, chip, key, numbers)


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
    settings = replace(settings, mask_saturated=False)
    return unvectorised(partial(_programmed, settings), (w, chip, tables), x, key, numbers)


def _programmed(
    settings: Settings, placed: tuple, x: jax.Array, key: Any, numbers: jax.Array
) -> tuple[jax.Array, Clipped]:
    """Puts weights on the arrays, and multiplies rows."""
    w, chip, tables = placed
    programmed = _program(w, chip, tables, substrate=settings.substrate)
    return programmed.run(settings, x, chip, key, numbers)


def _product_forward(
    settings: Settings, x: Any, w: Any, chip: Any, *others: Any
) -> tuple[tuple[jax.Array, Clipped], tuple]:
    refuse_perturbed(chip, "chip: the pattern of one in a product")
    x, w, chip, *others = values_of((x, w, chip, *others))
    if not settings.mask_saturated:
        # By itself, so that its own gradient is what another derivative finds.
        return _product(settings, x, w, chip, *others), (x, w, None)
    x, w = differentiated_once((x, w), "a product with mask_saturated")
    key, numbers, tables = others
    y, clipped = unvectorised(partial(_programmed, settings), (w, chip, tables), x, key, numbers)
    # The masks stay inside: a primal output would be kept where nothing masks.
    return (y, replace(clipped, each=None)), (x, w, clipped)


def _product_backward(settings: Settings, residuals: tuple, dy: tuple) -> tuple:
    x, w, clipped = residuals
    scaled = instantiated(dy[0]) * vmm.nominal_scale(settings.num_sends, settings.substrate)
    nothing = (None,) * 4
    if clipped is None or clipped.each is None:
        return *unvectorised(partial(_slopes, settings), (x, w, scaled)), *nothing
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


def _slopes(
    settings: Settings, of: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The gradients of inputs `[M, K]` and weights `[K, N]`; rows of K are dealt to pieces."""
    x, w, dy = of
    if settings.whole or pieces() == 1:
        return dot(dy, w.T), dot_of_rows(x, dy)
    xs, ws = dealt(x.T), dealt(w)
    return gathered(dot(dy, ws.T), 1, len(w)), spread_out(dot(xs, dy), len(w))


_product.defvjp(_product_forward, _product_backward, symbolic_zeros=True)


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


def _rows(x: jax.Array, sample: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns inputs as rows `[M, K]`, and the number of each among all rows of all samples."""
    samples, *within = x.shape[:-1] or (1,)
    per_sample = math.prod(within)
    count = samples * per_sample
    first = sample.astype(jnp.uint32) * jnp.uint32(per_sample)
    return x.reshape(count, x.shape[-1]), first + jnp.arange(count, dtype=jnp.uint32)
