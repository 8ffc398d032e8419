"""Arrays that are spread over devices, by `jax.shard_map` or on a mesh of explicit axes.

What is computed here is the same wherever samples are: gradients made by hand say so to JAX.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec


def alike(*trees: Any) -> Any:
    """Returns arrays that vary over the same axes of `jax.shard_map`, those of any of them.

    So what is the same on all devices, such as weights, has the sum of their gradients.

    Args:
        trees: of arrays of any shape.
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
        function: of arrays.
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
        numbers: of its axes.
    """
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return PartitionSpec()
    spec = jax.typeof(array).sharding.spec
    return PartitionSpec(*(spec[i] for i in numbers))


def _varying(leaf: Any) -> frozenset:
    aval = jax.typeof(leaf)  # which calls it otherwise from JAX 0.10 on
    return aval.vma if hasattr(aval, "vma") else aval.manual_axis_type.varying
