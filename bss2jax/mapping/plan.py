"""Where the parameters of a network go on the chip: plans, and blocks cut by them.

A weight `[K, N]` is cut into ranges of 256 columns and 128 signed rows, filled from the front,
columns outer and rows inner. Blocks alternate between the two hemispheres; two at a time are one
configuration of the chip, and configurations run one after the other.

All of it is arithmetic on shapes: plans are frozen, hashable, and static under jit.

References: grenade `compute/mac.cpp`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.text import table


@dataclass(frozen=True)
class Block:
    """One block's place: which part of the weight, and where and when it is on the chip.

    Attributes:
        row_block, column_block: its number along each side of the weight.
        rows, columns: the part of the weight.
        configuration: when it is on the chip, from 0 on.
        hemisphere: on which array, 0 or 1.
    """

    row_block: int
    column_block: int
    rows: slice
    columns: slice
    configuration: int
    hemisphere: int


@dataclass(frozen=True)
class Placement:
    """The blocks of one weight matrix.

    Attributes:
        inputs: K, rows of the weight matrix.
        outputs: N, its columns.
        substrate: whose sizes the blocks have.

    Raises:
        ValueError: the matrix has no row or no column.
    """

    inputs: int
    outputs: int
    substrate: Substrate = BSS2

    def __post_init__(self):
        if self.inputs < 1 or self.outputs < 1:
            raise ValueError(
                f"a weight matrix needs at least one row and one column, got "
                f"[{self.inputs}, {self.outputs}]"
            )

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

    def hemisphere(self, row_block: int, column_block: int) -> int:
        """Returns the array that a block is on: 0 or 1 by turns, in the order of the blocks."""
        return (column_block * self.row_blocks + row_block) % self.substrate.hemispheres

    def blocks(self) -> list[Block]:
        """Returns every block in the order in which the chip runs them."""
        rows, columns = self.block_shape
        return [
            Block(
                row_block=r,
                column_block=c,
                rows=slice(r * rows, min((r + 1) * rows, self.inputs)),
                columns=slice(c * columns, min((c + 1) * columns, self.outputs)),
                configuration=(c * self.row_blocks + r) // self.substrate.hemispheres,
                hemisphere=self.hemisphere(r, c),
            )
            for c in range(self.column_blocks)
            for r in range(self.row_blocks)
        ]

    def split(self, matrix: jax.Array) -> jax.Array:
        """Cuts `[K, N]` into `[blocks, rows, columns]`, ragged ends filled with zeros."""
        rows, columns = self.block_shape
        padded = jnp.pad(
            matrix,
            (
                (0, self.row_blocks * rows - self.inputs),
                (0, self.column_blocks * columns - self.outputs),
            ),
        )
        grid = padded.reshape(self.row_blocks, rows, self.column_blocks, columns)
        return grid.transpose(2, 0, 1, 3).reshape(self.num_blocks, rows, columns)

    def merge(self, blocks: jax.Array) -> jax.Array:
        """Puts `[blocks, rows, columns]` together to `[K, N]`: the inverse of `split`."""
        rows, columns = self.block_shape
        grid = blocks.reshape(self.column_blocks, self.row_blocks, rows, columns)
        padded = grid.transpose(1, 2, 0, 3).reshape(
            self.row_blocks * rows, self.column_blocks * columns
        )
        return padded[: self.inputs, : self.outputs]


@dataclass(frozen=True)
class LayerPlan:
    """How one parameter gets onto the chip and how often it is used per sample.

    Attributes:
        name: path in the parameter tree.
        shape: of the logical parameter.
        placement: of what is on the chip: the parameter's matrix; where `groups` > 1 that of one
            group; with columns averaged or kernels expanded, the larger matrix made of it.
        order: when it runs, among the layers of a plan.
        mode: what runs it, such as `dense` or `conv2d`.
        vectors: input vectors per sample (positions of a convolution's kernel).
        num_sends: times each input is sent.
        groups: independent matrices, placed one after the other.
    """

    name: str
    shape: tuple[int, ...]
    placement: Placement
    order: int = 0
    mode: str = "matmul"
    vectors: int = 1
    num_sends: int = 1
    groups: int = 1

    @property
    def matrix(self) -> Placement:
        """The blocks of the parameter itself, by which `split` cuts it."""
        return Placement(*matrix_shape(self.shape), self.placement.substrate)

    @property
    def num_blocks(self) -> int:
        """Blocks of all groups."""
        return self.groups * self.placement.num_blocks

    @property
    def configurations(self) -> int:
        """Configurations of all groups."""
        return self.groups * self.placement.configurations


@dataclass(frozen=True)
class Plan:
    """What becomes of each parameter of a tree.

    Attributes:
        layers: a `LayerPlan` for each weight, None for what stays digital (vectors, scalars), in
            the order of the tree's leaves.
        treedef: of the parameter tree.
        substrate: what it is planned for.
    """

    layers: tuple[LayerPlan | None, ...]
    treedef: Any
    substrate: Substrate

    @property
    def weights(self) -> tuple[LayerPlan, ...]:
        """The layers on the chip, in the order in which they run."""
        on_chip = (layer for layer in self.layers if layer is not None)
        return tuple(sorted(on_chip, key=lambda layer: layer.order))

    @property
    def configurations(self) -> int:
        """Configurations of all layers, one pass of a sample."""
        return sum(layer.configurations for layer in self.weights)


def plan(tree: Any, substrate: Substrate = BSS2) -> Plan:
    """Plans where the weights of a parameter tree go on the chip.

    A leaf of two dimensions is a matrix `[K, N]`; one of more is a convolution kernel
    `[*window, C, N]`, placed as the matrix `[C * window, N]`; vectors and scalars stay digital.

    Args:
        tree: pytree of arrays, of `jax.ShapeDtypeStruct`, or of shapes (tuples of ints).
        substrate: the chip's sizes.

    Returns:
        A `Plan`, for `split`, `merge` and `describe`.

    Raises:
        ValueError: a leaf has no shape, or a dimension of size zero.
    """
    paths, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_shape)
    layers: list[LayerPlan | None] = []
    for path, leaf in paths:
        name = jax.tree_util.keystr(path) or "weight"
        shape = _shape(leaf, name)
        if 0 in shape:
            raise ValueError(f"plan: {name} has shape {shape}; every dimension must be at least 1")
        layers.append(
            LayerPlan(_plain(name), shape, Placement(*matrix_shape(shape), substrate), len(layers))
            if len(shape) >= 2
            else None
        )
    return Plan(tuple(layers), treedef, substrate)


def split(params: Any, plan: Plan) -> Any:
    """Cuts every weight of a parameter tree into blocks of the chip's size.

    Args:
        params: the tree that `plan` was made of.
        plan: from `plan`.

    Returns:
        The same tree; each weight is `[blocks, rows, columns]` in the order in which the chip runs
        them, ragged blocks filled with zeros; what stays digital is untouched.

    Raises:
        ValueError: the tree or a shape is not the plan's.
    """
    return _map(lambda layer, w: layer.matrix.split(as_matrix(w)), params, plan, blocks=False)


def merge(blocks: Any, plan: Plan) -> Any:
    """Puts blocks together again: `merge(split(params, plan), plan) == params`, exactly.

    Args:
        blocks: from `split`, or gradients with respect to it.
        plan: the plan they were split by.

    Raises:
        ValueError: the tree or a shape is not the plan's.
    """
    return _map(
        lambda layer, b: from_matrix(layer.matrix.merge(b), layer.shape),
        blocks,
        plan,
        blocks=True,
    )


def describe(plan: Plan) -> str:
    """Returns the plan as a table: layer, shape, mode, blocks, configurations, utilisation."""
    header = ("layer", "shape", "mode", "blocks", "configurations", "utilisation")
    rows = [
        (
            layer.name,
            "x".join(map(str, layer.shape)),
            layer.mode,
            str(layer.num_blocks),
            str(layer.configurations),
            f"{layer.placement.utilisation:.1%}",
        )
        for layer in plan.weights
    ]
    return table(header, rows)


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Returns the (rows, columns) under which a weight of this shape is placed."""
    return math.prod(shape[:-1]), shape[-1]


def as_matrix(weight: jax.Array) -> jax.Array:
    """Lays a weight out as a matrix: `[*window, C, N]` to `[C * window, N]`, channel outermost.

    Channel before window is the order in which the reference unfolds an image.
    """
    return jnp.moveaxis(weight, -2, 0).reshape(matrix_shape(weight.shape))


def from_matrix(matrix: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Undoes `as_matrix`: `[C * window, N]` to `[*window, C, N]`, a weight of this shape."""
    *window, channels, outputs = shape
    return jnp.moveaxis(matrix.reshape(channels, *window, outputs), 0, -2)


def _map(function, tree, plan, *, blocks):
    leaves, treedef = jax.tree.flatten(tree)
    if treedef != plan.treedef:
        raise ValueError(f"the tree is not the one planned: got {treedef}, expected {plan.treedef}")
    out = []
    for layer, leaf in zip(plan.layers, leaves, strict=True):
        if layer is not None:
            place = layer.matrix
            expected = (place.num_blocks, *place.block_shape) if blocks else layer.shape
            if jnp.shape(leaf) != tuple(expected):
                raise ValueError(
                    f"{layer.name}: got shape {jnp.shape(leaf)}, the plan has {tuple(expected)}"
                )
            leaf = function(layer, leaf)
        out.append(leaf)
    return jax.tree.unflatten(treedef, out)


def _is_shape(leaf):
    return isinstance(leaf, tuple) and leaf != () and all(isinstance(n, int) for n in leaf)


def _shape(leaf, name):
    shape = leaf if _is_shape(leaf) else getattr(leaf, "shape", None)
    if shape is None:
        raise ValueError(f"plan: {name} is {leaf!r}; expected an array or a shape")
    return tuple(int(n) for n in shape)


def _plain(keystr):
    """Turns "['fc']['weight']" into "fc.weight"."""
    for mark in ("['", "']", "[", "]"):
        keystr = keystr.replace(mark, ".")
    return ".".join(part for part in keystr.split(".") if part)
