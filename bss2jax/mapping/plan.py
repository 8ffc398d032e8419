"""What runs where and when: a plan of explicit pieces for all layers of a network.

Every piece of every layer has a chip, a configuration of it, and an array or neuron circuits. A
plan owns the pieces as one table of integers, which costs, plots and reports are functions of.
`plan_network` puts layers where the published order has them; any other table is a plan too.

Plans are frozen, hashable by a digest that is made once, and static under jit.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.chip.system import System
from bss2jax.mapping.demand import Demand
from bss2jax.mapping.pieces import (
    ARRAY,
    CHIP,
    CIRCUIT,
    CONFIGURATION,
    FIELDS,
    LAYER,
    Piece,
    Pieces,
    summary,
)
from bss2jax.mapping.products import Grid, ProductDemand
from bss2jax.text import Shown, Told

__all__ = ["Demand", "Piece", "Plan", "merge", "plan", "plan_network", "split"]


@dataclass(frozen=True)
class Tree:
    """The parameter tree that a plan was made of.

    Attributes:
        treedef: the structure of the tree.
        shapes: the shapes of its leaves; None for what stays digital (vectors, scalars).
        names: the names of its leaves.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...] | None, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Shown):
    """Where and when every piece of every layer runs.

    Attributes:
        names: the names of the layers on the chip, in the order in which they run.
        demands: the demands of the same layers.
        table: `[n, 11]` int32, a row a piece: see `mapping.pieces.FIELDS`.
        circuits: `[m, 2]` int32 (chip, circuit) of the neurons of populations, joined ones beside
            each other.
        seconds: time axis of spiking layers.
        substrate: the substrate whose sizes and times apply.
        tree: the parameter tree, for `split` and `merge`; None without one.
        system: the system whose chips they are, with links that delay spikes; None of chips without
            links.

    Raises:
        ValueError: two pieces have the same place at the same time.
    """

    names: tuple[str, ...]
    demands: tuple[Demand, ...]
    table: np.ndarray = field(repr=False)
    circuits: np.ndarray = field(repr=False)
    seconds: float = 0.0
    substrate: Substrate = BSS2
    tree: Tree | None = field(default=None, repr=False)
    system: System | None = None

    def __post_init__(self) -> None:
        for name in ("table", "circuits"):
            owned = np.array(getattr(self, name), np.int32)
            owned.setflags(write=False)
            object.__setattr__(self, name, owned)
        if self.table.ndim != 2 or self.table.shape[1] != len(FIELDS):
            raise ValueError(f"table: expected [n, {len(FIELDS)}], got shape {self.table.shape}")
        _check_places(self)

    @cached_property
    def digest(self) -> str:
        """What the plan is, in 64 digits: equal plans have equal ones."""
        what = (self.names, self.demands, self.seconds, self.substrate, self.tree, self.system)
        parts = (repr(what).encode(), self.table.tobytes(), self.circuits.tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Plan) and self.digest == other.digest)

    def shown(self) -> Told:
        return summary(self.names, self.table, self.configurations)

    @property
    def pieces(self) -> Pieces:
        """The pieces, in the order of the table."""
        return Pieces(self.names, self.table, self.circuits)

    @cached_property
    def configurations(self) -> int:
        """Configurations of the chips, one after the other, one pass of a sample."""
        return int(self.table[:, CONFIGURATION].max(initial=-1)) + 1

    @cached_property
    def chips(self) -> int:
        """Chips that the plan needs."""
        return int(self.table[:, CHIP].max(initial=-1)) + 1

    def rows(self, layer: int) -> np.ndarray:
        """Returns the rows of the table that belong to a layer, by its number."""
        return self.table[self.table[:, LAYER] == layer]

    def place(self, name: str) -> Any:
        """Returns where a layer is, hashable, as the executor takes it.

        Args:
            name: the name of the layer.

        Returns:
            A `ProductPlace` or a `PopulationPlace`.

        Raises:
            ValueError: the plan has no such layer.
        """
        if name not in self.names:
            raise ValueError(f"plan: no layer {name!r}; it has {', '.join(self.names)}")
        return self._places[self.names.index(name)]

    def delays(self, dt: float) -> np.ndarray | None:
        """Returns the steps by which links delay spikes from chip to chip, `[chips, chips]` int32.

        Args:
            dt: the length of a step, s.

        Returns:
            Latencies in steps, rounded half up; None of chips without links.
        """
        if self.system is None:
            return None
        latency = self.system.between("latency")[: self.chips, : self.chips]
        return np.floor(latency / dt + 0.5).astype(np.int32)

    @cached_property
    def _places(self) -> tuple[Any, ...]:
        return tuple(
            demand.place(self.rows(i), self.circuits, self.substrate)
            for i, demand in enumerate(self.demands)
        )


def _check_places(plan: Plan) -> None:
    """Refuses two pieces on one array, or two neurons on one circuit, at the same time."""
    rows = plan.table
    products = rows[rows[:, ARRAY] >= 0][:, [CONFIGURATION, CHIP, ARRAY]]
    populations = rows[rows[:, CIRCUIT] >= 0]
    spans = populations[:, CIRCUIT + 1] - populations[:, CIRCUIT]
    at = np.concatenate(
        [np.zeros(0, int), *map(np.arange, *populations[:, CIRCUIT : CIRCUIT + 2].T)]
    )
    circuits = np.column_stack([np.repeat(populations[:, CONFIGURATION], spans), plan.circuits[at]])
    for what, used in (("array", products), ("circuit", circuits)):
        # One number for the three, as sorting rows takes ten times as long.
        sizes = used.max(axis=0, initial=0) + 1
        key = np.sort(np.ravel_multi_index(tuple(used.T), tuple(sizes)))
        again = key[1:][key[1:] == key[:-1]]
        if len(again):
            configuration, chip, number = np.unravel_index(again[0], sizes)
            times = np.unique(again, return_counts=True)[1].max() + 1
            raise ValueError(
                f"plan: {what} {number} of chip {chip} is used {times} times in "
                f"configuration {configuration}"
            )


def plan_network(
    names: Sequence[str],
    demands: Sequence[Demand],
    *,
    seconds: float = 0.0,
    substrate: Substrate = BSS2,
    tree: Tree | None = None,
) -> Plan:
    """Plans layers in the published order, on one chip that is set up again and again.

    Neighbouring populations of one configuration each share one where their circuits fit the chip.

    Args:
        names: the names of the layers on the chip, in the order in which they run.
        demands: the demands of the same layers.
        seconds: time axis of spiking layers.
        substrate: the substrate whose sizes and times apply.
        tree: the parameter tree, for `split` and `merge`.
    """
    on_chip = substrate.hemispheres * substrate.columns
    tables, lists = [np.zeros((0, len(FIELDS)), np.int32)], [np.zeros((0, 2), np.int32)]
    configuration, used, listed = -1, on_chip, 0
    for layer, demand in enumerate(demands):
        try:
            wanted = demand.circuits(substrate)
        except ValueError as error:
            raise ValueError(f"layer {names[layer]}: {error}") from None
        joins = wanted is not None and used + wanted <= on_chip
        rows, circuits = demand.pieces(substrate, used if joins else 0)
        rows[:, LAYER] = layer
        rows[:, CONFIGURATION] += configuration + (not joins)
        rows[:, CIRCUIT:][rows[:, CIRCUIT] >= 0] += listed
        configuration, listed = int(rows[:, CONFIGURATION].max()), listed + len(circuits)
        used = on_chip if wanted is None else wanted + (used if joins else 0)
        tables.append(rows)
        lists.append(circuits)
    return Plan(
        tuple(names), tuple(demands), np.concatenate(tables), np.concatenate(lists), seconds,
        substrate, tree,
    )  # fmt: skip


def plan(tree: Any, substrate: Substrate = BSS2) -> Plan:
    """Plans where the weights of a parameter tree go on the chip.

    A leaf of two dimensions is a matrix `[K, N]`; one of more is a convolution kernel
    `[*window, C, N]`, placed as the matrix `[C * window, N]`; vectors and scalars stay digital.

    Args:
        tree: pytree of arrays, of `jax.ShapeDtypeStruct`, or of shapes (tuples of ints).
        substrate: the substrate whose sizes apply.

    Returns:
        A `Plan`, for `split`, `merge` and `describe`.

    Raises:
        ValueError: a leaf has no shape, or a dimension of size zero.
    """
    known = tree_of(tree)
    placed = [(n, s) for n, s in zip(known.names, known.shapes, strict=True) if s is not None]
    demands = [ProductDemand(*matrix_shape(shape), shape=shape) for _, shape in placed]
    return plan_network([name for name, _ in placed], demands, substrate=substrate, tree=known)


def tree_of(tree: Any) -> Tree:
    """Returns what a plan keeps of a parameter tree: see `plan` for the argument and errors."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_shape)
    shapes: list[tuple[int, ...] | None] = []
    names = []
    for path, leaf in paths:
        name = jax.tree_util.keystr(path) or "weight"
        shape = _shape(leaf, name)
        if 0 in shape:
            raise ValueError(f"plan: {name} has shape {shape}; every dimension must be at least 1")
        shapes.append(shape if len(shape) >= 2 else None)
        names.append(_plain(name))
    return Tree(treedef, tuple(shapes), tuple(names))


def split(params: Any, plan: Plan) -> Any:
    """Cuts every weight of a parameter tree into blocks of the chip's size.

    Args:
        params: the tree that the plan was made of.
        plan: the plan, from `plan`, or a network's.

    Returns:
        The same tree; each weight is `[blocks, rows, columns]` in the published order, ragged
        blocks filled with zeros; what stays digital is untouched.

    Raises:
        ValueError: the tree or a shape is not the plan's.
    """
    return _map(lambda grid, w, _: _cut(grid, as_matrix(w)), params, plan, blocks=False)


def merge(blocks: Any, plan: Plan) -> Any:
    """Puts blocks together again: `merge(split(params, plan), plan) == params`, exactly.

    Args:
        blocks: the blocks, from `split`, or gradients with respect to it.
        plan: the plan they were split by.

    Raises:
        ValueError: the tree or a shape is not the plan's.
    """
    return _map(
        lambda grid, b, shape: from_matrix(_join(grid, b), shape), blocks, plan, blocks=True
    )


def _cut(grid: Grid, matrix: jax.Array) -> jax.Array:
    rows, columns = grid.block_shape
    padding = (grid.row_blocks * rows - grid.inputs, grid.column_blocks * columns - grid.outputs)
    padded = jnp.pad(matrix, [(0, n) for n in padding])
    blocks = padded.reshape(grid.row_blocks, rows, grid.column_blocks, columns)
    return blocks.transpose(2, 0, 1, 3).reshape(grid.num_blocks, rows, columns)


def _join(grid: Grid, blocks: jax.Array) -> jax.Array:
    rows, columns = grid.block_shape
    wide = blocks.reshape(grid.column_blocks, grid.row_blocks, rows, columns).transpose(1, 2, 0, 3)
    whole = wide.reshape(grid.row_blocks * rows, grid.column_blocks * columns)
    return whole[: grid.inputs, : grid.outputs]


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


def _map(function: Callable, tree: Any, plan: Plan, *, blocks: bool) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    if plan.tree is None:
        raise ValueError("plan: it was made of demands, not of a parameter tree")
    if treedef != plan.tree.treedef:
        raise ValueError(
            f"the tree is not the one planned: got {treedef}, expected {plan.tree.treedef}"
        )
    out = []
    for name, shape, leaf in zip(plan.tree.names, plan.tree.shapes, leaves, strict=True):
        if shape is not None:
            grid = Grid(*matrix_shape(shape), plan.substrate)
            expected = (grid.num_blocks, *grid.block_shape) if blocks else shape
            if jnp.shape(leaf) != expected:
                raise ValueError(f"{name}: got shape {jnp.shape(leaf)}, the plan has {expected}")
            leaf = function(grid, leaf, shape)
        out.append(leaf)
    return jax.tree.unflatten(treedef, out)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, tuple) and leaf != () and all(isinstance(n, int) for n in leaf)


def _shape(leaf: Any, name: str) -> tuple[int, ...]:
    shape = leaf if _is_shape(leaf) else getattr(leaf, "shape", None)
    if shape is None:
        raise ValueError(f"plan: {name} is {leaf!r}; expected an array or a shape")
    return tuple(int(n) for n in shape)


def _plain(keystr: str) -> str:
    """Turns "['fc']['weight']" into "fc.weight"."""
    for mark in ("['", "']", "[", "]"):
        keystr = keystr.replace(mark, ".")
    return ".".join(part for part in keystr.split(".") if part)
