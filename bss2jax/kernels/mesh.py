"""Arrays that are spread over devices, by `jax.shard_map` or on a mesh of explicit axes.

What is computed here is the same wherever samples are: gradients made by hand say so to JAX.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

PIECES = "pieces"  # the axis of a mesh whose devices have the pieces of a plan
CHIPS, DATA = "chips", "data"
SAMPLES = (CHIPS, DATA)  # axes that a training's samples are spread over


def alike(*trees: Any) -> Any:
    """Returns arrays that vary over the same axes of `jax.shard_map`, those of any of them.

    So what is the same on all devices, such as weights, has the sum of their gradients.

    Args:
        trees: trees of arrays of any shape.
    """
    leaves = jax.tree.leaves(trees)
    axes = frozenset().union(*map(_varying, leaves))
    if not axes:
        return trees

    def cast(leaf: Any) -> Any:
        missing = tuple(axes - _varying(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, trees)


def over_mesh(function: Callable[..., Any], out: Any, *args: Any) -> Any:
    """Calls a function; on a mesh of explicit axes the compiler places what is inside of it.

    Args:
        function: a function of arrays.
        out: `PartitionSpec` of its results, or a tree of them.
        args: arrays of any shape, or trees of them.
    """
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return function(*args)
    return jax.sharding.auto_axes(function, out_sharding=out)(*args)


def axes_of(array: Any, *numbers: int) -> PartitionSpec:
    """Returns the mesh axes that some axes of an array `[...]` are spread over, in their order.

    Args:
        array: what may be spread.
        numbers: the numbers of its axes.
    """
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return PartitionSpec()
    spec = jax.typeof(array).sharding.spec
    return PartitionSpec(*(spec[i] for i in numbers))


def merged(array: jax.Array) -> jax.Array:
    """Returns an array `[..., K]` as rows `[M, K]`, whose contraction XLA need not transpose.

    On a mesh whose axes the compiler places it is left as it is: samples may be spread over them,
    and rows of steps and samples could not be.

    Args:
        array: steps and samples first.
    """
    if jax.sharding.get_abstract_mesh().auto_axes:
        return array
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def of_samples() -> tuple[str, ...]:
    """Returns the axes of the mesh, within `jax.shard_map`, whose devices have other samples."""
    mesh = jax.sharding.get_abstract_mesh()
    return tuple(axis for axis in SAMPLES if axis in mesh.manual_axes)


# --- pieces of a plan


def pieces() -> int:
    """Returns how many devices have the pieces of a plan here, within `jax.shard_map`; else 1."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[PIECES] if PIECES in mesh.manual_axes else 1


def own(parts: Any) -> Any:
    """Returns a device's part of arrays `[pieces, ...]`, without their first axis."""
    number = lax.axis_index(PIECES)
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, number, keepdims=False), parts)


def dealt(rows: jax.Array) -> jax.Array:
    """Returns a device's share of rows `[R, ...]`, as many on each; zeros fill the last ones up."""
    devices = pieces()
    each = -(-len(rows) // devices)
    filled = [(0, devices * each - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return own(jnp.pad(rows, filled).reshape(devices, each, *rows.shape[1:]))


def by_pieces(function: Callable[[jax.Array], jax.Array], rows: jax.Array) -> jax.Array:
    """Returns what a function makes of rows `[R, ...]`, each by itself; pieces take some each.

    Args:
        function: a function of any number of rows, without a gradient.
        rows: the same on all devices.
    """
    if pieces() == 1:
        return function(rows)
    return collected(function(dealt(rows)), len(rows))


def collected(rows: jax.Array, size: int) -> jax.Array:
    """Returns the rows `[R, ...]` of all devices, without a gradient, without those that fill up.

    Args:
        rows: the device's own, as many as `dealt` gave.
        size: how many there are of all devices.
    """
    return lax.all_gather(rows, PIECES, tiled=True)[:size]


def spread_out(rows: jax.Array, size: int) -> jax.Array:
    """Returns rows `[R, ...]` of the gradient of what is parted, in their place of `[size, ...]`.

    Others are zero, and these as many times as there are devices: see `parted`.

    Args:
        rows: the device's own, as `dealt` gave them.
        size: how many there are of all devices.
    """
    return _placed(0, size, rows)


@jax.custom_vjp
def shared(tree: Any) -> Any:
    """Returns arrays of floats that each piece uses; their gradients are summed over the pieces.

    All that follows up to `gathered` is of the device's own pieces; what is outside of both is the
    same on all devices of an axis of pieces.

    Args:
        tree: the tree of float arrays, the same on all devices.
    """
    return tree


shared.defvjp(lambda tree: (tree, None), lambda _, slope: (lax.psum(slope, PIECES),))


@jax.custom_vjp
def parted(tree: Any) -> Any:
    """Returns parameters of which each piece uses its own part, without a word between devices.

    Backwards a device takes what it finds so many times as there are devices: the mean of theirs is
    the gradient, as it is of parameters that all devices use alike. So a step needs one sum, of a
    whole batch.

    Args:
        tree: the tree of float arrays, the same on all devices.
    """
    return tree


parted.defvjp(
    lambda tree: (tree, None),
    lambda _, slope: (jax.tree.map(lambda leaf: leaf * pieces(), slope),),
)


@jax.custom_vjp
def own_columns(w: jax.Array) -> jax.Array:
    """Returns a device's part `[..., n]` of weights `[..., N]`, as many on each: see `parted`.

    The last column fills the last devices up.

    Args:
        w: the same on all devices.
    """
    width = -(-w.shape[-1] // pieces())
    filled = [(0, 0)] * (w.ndim - 1) + [(0, width * pieces() - w.shape[-1])]
    first = lax.axis_index(PIECES) * width
    return lax.dynamic_slice_in_dim(jnp.pad(w, filled, mode="edge"), first, width, axis=-1)


own_columns.defvjp(
    lambda w: (own_columns(w), w), lambda w, slope: (_placed(w.ndim - 1, w.shape[-1], slope),)
)


def _placed(axis: int, size: int, slope: jax.Array) -> jax.Array:
    """A device's part of a gradient in its place of all, so many times as there are devices."""
    devices, width = pieces(), slope.shape[axis]
    shape = (*slope.shape[:axis], devices * width, *slope.shape[axis + 1 :])
    first, whole = lax.axis_index(PIECES) * width, jnp.zeros(shape, slope.dtype)
    placed = lax.dynamic_update_slice_in_dim(whole, devices * slope, first, axis)
    return lax.slice_in_dim(placed, 0, size, axis=axis)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def gathered(array: jax.Array, axis: int, size: int) -> jax.Array:
    """Joins what each piece made; backwards a device takes what is of its own.

    Args:
        array: the array of any shape, of as many entries along an axis on each device.
        axis: along which they stand.
        size: how many there are of all devices; what is beyond filled the last ones up.
    """
    # Side by side only afterwards: gathered there, each device would write its own transposed. And
    # by a concatenation, which XLA does once; a transposition it does again for each use.
    by_device = lax.all_gather(array, PIECES, tiled=axis == 0)
    whole = by_device if axis == 0 else jnp.concatenate(list(by_device), axis=axis)
    return lax.slice_in_dim(lax.optimization_barrier(whole), 0, size, axis=axis)


def own_of_sum(array: jax.Array, width: int) -> jax.Array:
    """Returns what is a device's own, `[..., n]`, of the sum of what devices have, `[..., N]`.

    Args:
        array: what the device adds to that of all.
        width: n.
    """
    total = lax.psum(array, PIECES)
    return _taken(total.ndim - 1, width, total)


def _taken(axis: int, width: int, whole: jax.Array) -> jax.Array:
    """A device's own entries along an axis; zeros fill the last ones up."""
    filled = [(0, 0)] * whole.ndim
    filled[axis] = (0, width * lax.axis_size(PIECES) - whole.shape[axis])
    first = lax.axis_index(PIECES) * width
    return lax.dynamic_slice_in_dim(jnp.pad(whole, filled), first, width, axis=axis)


gathered.defvjp(
    lambda array, axis, size: (gathered(array, axis, size), array.shape[axis]),
    lambda axis, size, width, slope: (_taken(axis, width, slope),),
)


def _varying(leaf: Any) -> frozenset:
    aval = jax.typeof(leaf)  # which calls it otherwise from JAX 0.10 on
    return aval.vma if hasattr(aval, "vma") else aval.manual_axis_type.varying
