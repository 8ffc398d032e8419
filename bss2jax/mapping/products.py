"""Where the weights of matrix products go: rows and columns, cut by the size of an array.

A weight `[K, N]` is cut into ranges of 256 columns and 128 signed rows, filled from the front,
columns outer and rows inner. Blocks alternate between the two hemispheres; two at a time are one
configuration of the chip, and configurations run one after the other.

References: grenade `compute/mac.cpp`.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.mapping import pieces
from bss2jax.mapping.pieces import (
    ARRAY,
    CHIP,
    COLUMN,
    COLUMN_STOP,
    CONFIGURATION,
    ROW,
    ROW_STOP,
    Footprint,
)


@dataclass(frozen=True)
class Grid:
    """The blocks of one weight matrix.

    Attributes:
        inputs: K, rows of the weight matrix.
        outputs: N, its columns.
        substrate: the substrate whose sizes the blocks have.
    """

    inputs: int
    outputs: int
    substrate: Substrate = BSS2

    @property
    def row_blocks(self) -> int:
        """Blocks that the rows are cut into."""
        return -(-self.inputs // self.substrate.rows)

    @property
    def column_blocks(self) -> int:
        """Blocks that the columns are cut into."""
        return -(-self.outputs // self.substrate.columns)

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of one block: the array's, or fewer where the matrix is smaller."""
        return min(self.inputs, self.substrate.rows), min(self.outputs, self.substrate.columns)

    @property
    def num_blocks(self) -> int:
        """All blocks."""
        return self.row_blocks * self.column_blocks

    @property
    def configurations(self) -> int:
        """Configurations of the chip, which run one after the other."""
        return -(-self.num_blocks // self.substrate.hemispheres)

    @property
    def utilisation(self) -> float:
        """Share of the synapses of all configurations that carry a weight of the matrix."""
        s = self.substrate
        return (
            self.inputs * self.outputs / (self.configurations * s.hemispheres * s.rows * s.columns)
        )

    def array(self, row_block: int, column_block: int) -> int:
        """Returns the array that a block is on: 0 or 1 by turns, in the order of the blocks."""
        return (column_block * self.row_blocks + row_block) % self.substrate.hemispheres

    @property
    def arrays(self) -> np.ndarray:
        """The same of all blocks, `[R, C]`."""
        numbers = np.arange(self.num_blocks).reshape(self.column_blocks, self.row_blocks).T
        return numbers % self.substrate.hemispheres


@dataclass(frozen=True)
class ProductPlace:
    """Where the blocks of a layer are, for the executor; hashed and compared by a digest.

    Attributes:
        grid: the grid of the matrix of one group.
        chip, array: `[G, R, C]` number of the chip and of the array of each block.
    """

    grid: Grid
    chip: np.ndarray = field(compare=False, repr=False)
    array: np.ndarray = field(compare=False, repr=False)
    digest: bytes = b""

    @cached_property
    def regular(self) -> bool:
        """Whether all blocks are on one chip, on the arrays on which the published order has them.

        Then the pattern is a tile, whatever the size of the matrix.
        """
        one_chip = bool((self.chip == self.chip[:1, :1, :1]).all())
        return one_chip and bool((self.array == self.grid.arrays).all())


@dataclass(frozen=True)
class ProductDemand:
    """What a layer of matrix products asks of the chip.

    Attributes:
        rows: inputs of the matrix of one group.
        columns: outputs of the matrix of one group; where columns are averaged or kernels expanded,
            of the larger matrix that is on the chip.
        vectors: input vectors per sample (positions of a convolution's kernel).
        num_sends: times each input is sent.
        groups: independent matrices, placed one after the other.
        mode: what runs them, such as `dense` or `conv2d`.
        shape: the shape of the logical parameter; by default the matrix's.

    Raises:
        ValueError: the matrix has no row or no column.
    """

    rows: int
    columns: int
    vectors: int = 1
    num_sends: int = 1
    groups: int = 1
    mode: str = "matmul"
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(
                f"a weight matrix needs at least one row and one column, got "
                f"[{self.rows}, {self.columns}]"
            )

    def grid(self, substrate: Substrate) -> Grid:
        """Returns the blocks of one group's matrix."""
        return Grid(self.rows, self.columns, substrate)

    @property
    def size(self) -> int:
        """Outputs of all groups."""
        return self.groups * self.columns

    def joined(self, substrate: Substrate) -> None:
        """Returns None: products have no neurons."""
        del substrate

    def shares(self, substrate: Substrate) -> tuple[int, str]:
        """Returns the pairs of row blocks; of a convolution the positions of a sample."""
        if self.vectors > 1:
            return self.vectors, "positions"
        return max(1, self.grid(substrate).row_blocks // 2), "pairs of row blocks"

    def circuits(self, substrate: Substrate) -> int | None:
        """Returns None: products share their configurations with no other layer."""
        del substrate
        return None

    def pieces(self, substrate: Substrate, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns the layer's pieces in the published order, and no circuits.

        Args:
            substrate: the substrate whose sizes the blocks have.
            first: circuit of no meaning to products.

        Returns:
            Rows of a plan's table, `[n, 11]`, on chip 0, configurations counted from 0; and
            `[0, 2]`.
        """
        del first
        grid = self.grid(substrate)
        per_group = np.arange(grid.num_blocks)
        column_block, row_block = np.divmod(per_group, grid.row_blocks)
        row, column = row_block * substrate.rows, column_block * substrate.columns
        group = np.repeat(np.arange(self.groups), grid.num_blocks)
        block, row, column = (np.tile(a, self.groups) for a in (per_group, row, column))
        configuration, array = np.divmod(block, substrate.hemispheres)
        rows = pieces.table(
            len(group),
            part=np.arange(len(group)),
            configuration=group * grid.configurations + configuration,
            array=array,
            row=row,
            row_stop=np.minimum(row + substrate.rows, self.rows),
            column=group * self.columns + column,
            column_stop=group * self.columns + np.minimum(column + substrate.columns, self.columns),
        )
        return rows, np.zeros((0, 2), np.int32)

    def place(self, rows: np.ndarray, circuits: np.ndarray, substrate: Substrate) -> ProductPlace:
        """Returns where the blocks are.

        Args:
            rows: `[n, 11]` the layer's pieces, in any order.
            circuits: `[m, 2]` of the plan, of no meaning to products.
            substrate: the substrate whose sizes the blocks have.

        Raises:
            ValueError: the pieces are not the blocks that the arrays' sizes cut.
        """
        del circuits
        grid = self.grid(substrate)
        group, column = np.divmod(rows[:, COLUMN], self.columns)
        row_block, column_block = rows[:, ROW] // substrate.rows, column // substrate.columns
        number = (group * grid.column_blocks + column_block) * grid.row_blocks + row_block
        order = np.argsort(number, kind="stable")
        extent = [ROW, ROW_STOP, COLUMN, COLUMN_STOP]
        canonical, _ = self.pieces(substrate)
        if len(rows) != len(canonical) or (rows[order][:, extent] != canonical[:, extent]).any():
            raise ValueError(
                f"pieces: a matrix [{self.rows}, {self.columns}] is cut at every "
                f"{substrate.rows} rows and {substrate.columns} columns, each block once; these "
                "pieces are cut elsewhere"
            )
        shape = (self.groups, grid.column_blocks, grid.row_blocks)
        chip, array = (
            np.ascontiguousarray(rows[order, field].reshape(shape).swapaxes(1, 2))
            for field in (CHIP, ARRAY)
        )
        for table in (chip, array):
            table.setflags(write=False)
        digest = hashlib.sha256(chip.tobytes() + array.tobytes()).digest()
        return ProductPlace(grid, chip, array, digest)

    def spent(self, rows: np.ndarray, axis: float, substrate: Substrate) -> np.ndarray:
        """Returns the time of each piece for one sample; pieces of a configuration run at once.

        Args:
            rows: `[n, 11]` pieces.
            axis: time axis of spiking layers, of no meaning to products.
            substrate: the substrate whose times apply.

        Returns:
            `[n, 3]` s: events; waiting for the next one, and until the membranes have settled;
            readout, with that of the baseline and the reset.

        References: grenade `compute/mac` (timings).
        """
        del axis
        s = substrate
        events = s.event_interval * self.num_sends * (rows[:, ROW_STOP] - rows[:, ROW])
        waiting = (s.wait_between_events - 1) * events + s.settle
        readout = np.full(len(rows), s.baseline_read + s.reset + s.read_result)
        return self.vectors * np.stack([events, waiting, readout], axis=-1)

    def operations(self, rows: np.ndarray) -> int:
        """Returns how many weights pieces `[n, 11]` multiply a sample; sent again counts once."""
        sent, columns = rows[:, ROW_STOP] - rows[:, ROW], rows[:, COLUMN_STOP] - rows[:, COLUMN]
        return self.vectors * int(sent @ columns)

    def fast_seconds(self, axis: float, substrate: Substrate) -> None:
        """Returns None: products have no fast mode."""
        del axis, substrate

    def events(self, rows: np.ndarray) -> int | None:
        """Returns the input events of one sample through these pieces.

        Args:
            rows: `[n, 11]` pieces.
        """
        sent = int((rows[:, ROW_STOP] - rows[:, ROW]).sum())
        return self.vectors * self.num_sends * sent

    def power(self, substrate: Substrate) -> tuple[float, float]:
        """Returns the least and the most power that sources report, W."""
        return substrate.power_min, substrate.power_max

    def footprint(self, row: np.ndarray, circuits: np.ndarray, substrate: Substrate) -> Footprint:
        """Returns what one piece covers: the rows of its columns, from column 0 on.

        Args:
            row: `[11]` the piece.
            circuits: `[m, 2]` of the plan, of no meaning to products.
            substrate: a substrate that is not used, as the piece names its array.

        Returns:
            Its array, column 0 and `[columns]` rows in use.
        """
        del circuits, substrate
        used = np.full(row[COLUMN_STOP] - row[COLUMN], row[ROW_STOP] - row[ROW])
        return [(int(row[ARRAY]), 0, used)]

    def facts(self, rows: np.ndarray, substrate: Substrate) -> dict[str, object]:
        """Returns what `describe` says of the layer."""
        grid = self.grid(substrate)
        return {
            "shape": "x".join(map(str, self.shape or (self.rows, self.columns))),
            "mode": self.mode,
            "blocks": len(rows),
            "configurations": len(np.unique(rows[:, CONFIGURATION])),
            "utilisation": grid.utilisation,
        }

    def costs(self, rows: np.ndarray) -> dict[str, object]:
        """Returns what `describe_cost` says of the layer beside its time."""
        runs = self.vectors * len(np.unique(rows[:, CONFIGURATION]))
        return {"vectors": self.vectors, "sends": self.num_sends, "reads": runs}

    def remarks(self, configurations: int) -> tuple[str, ...]:
        """Returns nothing: all is in the facts."""
        del configurations
        return ()
