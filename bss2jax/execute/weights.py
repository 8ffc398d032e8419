"""What a product multiplies with: floats with a gradient, or what is on the arrays already.

Each multiplies activations by itself; `matmul` asks for nothing else. On a chip a weight carries
the strengths of its synapses and drivers and each column's gain of negative weights, rounded to
multiples of 1/32 LSB, so that sums are exact in float32; the scale of a readout carries each
column's gain; beyond its linear range a membrane saturates softly (`kernels.readout.compress`).

Noise has addresses: a readout's depends on the key, its pair of row blocks, its column, and the
number of its sample and of its row within it, on nothing else.
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import Substrate
from bss2jax.execute import blocks, entrance, stripes
from bss2jax.execute.blocks import Clipped, Settings
from bss2jax.execute.stripes import Place, Stripes, Tables
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.dot import dot
from bss2jax.mapping.products import Grid

Multiplied = tuple[jax.Array, dict[str, jax.Array] | None]


class Weight(Protocol):
    """A weight of any size that activations are multiplied with."""

    def analog_product(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: ArrayLike,
        avg: int,
    ) -> Multiplied:
        """Multiplies activations.

        Args:
            settings: what is static.
            x: `[B, ..., K]` activations.
            chip: the chip whose fixed pattern applies, or None.
            key: the random key for the noise, or None.
            sample: number of the first sample.
            avg: neighbouring columns of the same weights, whose mean is taken.

        Returns:
            `[B, ..., N]` LSB; and the shares of what saturated, where the settings ask for them.
        """
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Programmed:
    """A weight as it stands on the arrays: rounded, cut into row blocks, with the chip's strengths.

    Made by `program`; good for as many products as the weight does not change.

    Attributes:
        weights: `[R // 2, rows, N]` row blocks by parity; the last one has only the rows it uses.
        tables: where each block is; None for the published order on one chip.
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
        return blocks.run(settings, grid, x, self.weights, self.tables, chip, key, numbers)

    def analog_product(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: ArrayLike,
        avg: int,
    ) -> Multiplied:
        """Multiplies activations, without a gradient: see `Weight.analog_product`."""
        if avg != 1:
            raise ValueError("avg: repeat the columns before `program`; what it made is fixed")
        entrance.check_chip(chip, settings.substrate, several=self.tables is not None)
        entrance.check_inner(x.shape, (self.inputs, self.outputs))
        rows, numbers = _rows(lax.stop_gradient(x), sample)
        y, clipped = self.run(settings, rows, chip, key, numbers)
        shares = _shares(settings, x, clipped) if settings.observe else None
        return y.reshape(*x.shape[:-1], self.outputs), shares


@dataclass(frozen=True, eq=False)
class Floats:
    """A weight that is rounded, cut and put on the arrays in each product.

    Attributes:
        matrix: `[K, N]` float32.
        place: where its blocks are.
    """

    matrix: jax.Array
    place: Place

    def analog_product(
        self,
        settings: Settings,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: ArrayLike,
        avg: int,
    ) -> Multiplied:
        """Multiplies activations, with the gradient of both: see `Weight.analog_product`."""
        matrix, substrate = self.matrix, settings.substrate
        entrance.check_chip(chip, substrate, several=self.place is not None)
        entrance.check_inner(x.shape, matrix.shape)
        tables = _tables(self.place, Grid(len(matrix), matrix.shape[1] * avg, substrate), chip)
        rows, numbers = _rows(x, sample)
        wide = jnp.repeat(matrix, avg, axis=1)
        y, clipped = _product(settings, rows, wide, chip, key, numbers, tables)
        y = y.reshape(*x.shape[:-1], matrix.shape[1], avg)
        y = y.mean(-1) if avg > 1 else y[..., 0]
        if not settings.observe:
            return y, None
        return y, _shares(settings, x, clipped) | {
            "weights": _share(jnp.abs(matrix) >= substrate.weight_max)
        }

    def programmed(self, chip: Chip | None, substrate: Substrate) -> Programmed:
        """Returns the weight as it stands on the arrays: see `program`."""
        w = self.matrix
        entrance.check_chip(chip, substrate, several=self.place is not None)
        entrance.check_inner(w.shape[:1], w.shape)
        tables = _tables(self.place, Grid(w.shape[0], w.shape[1], substrate), chip)
        return _program(w, chip, tables, substrate=substrate)


def floats(w: Any, place: Place, substrate: Substrate, *, clipped: bool = False) -> Floats:
    """Returns what a caller gives as a weight, `[K, N]`.

    Args:
        w: any array or nested sequence of numbers.
        place: where its blocks are.
        substrate: the substrate whose synapses hold it.
        clipped: whether values that no synapse holds are let through, to be counted.

    Raises:
        ValueError: as `matmul`.
    """
    limit = substrate.weight_max
    return Floats(entrance.values(w, "w", -limit, limit, clipped=clipped), place)


def weight_of(w: Any, place: Place, substrate: Substrate, *, clipped: bool = False) -> Weight:
    """Returns what a caller gives as a weight, `[K, N]` floats or `Programmed`: see `floats`."""
    return w if hasattr(w, "analog_product") else floats(w, place, substrate, clipped=clipped)


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
    return programmed.run(replace(settings, mask_saturated=False), x, chip, key, numbers)


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
    y, clipped = programmed.run(settings, x, chip, key, numbers)
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
