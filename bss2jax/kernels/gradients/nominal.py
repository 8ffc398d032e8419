"""Gradients that are not there say so: what is differentiated has the nominal gradient, or raises.

Backward is what a host knows of a chip. A silent zero would look like a gradient that has vanished.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def without_gradient(tree: Any, what: str, instead: str = "") -> Any:
    """Returns a tree as it is, of which nothing may be differentiated.

    Args:
        tree: arrays of any shape.
        what: the error's name of it.
        instead: what to do.

    Raises:
        TypeError: a derivative with respect to it is asked for.
    """
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
    return _refusing(_message(what, instead), tree) if traced else tree


def differentiated_once(tree: Any, what: str) -> Any:
    """Returns a tree as it is, on the way into a gradient made by hand, of which there is no other.

    Args:
        tree: arrays of any shape.
        what: the error's name of what has the gradient.

    Raises:
        TypeError: a second derivative is asked for.
    """
    return _refusing(
        f"{what} has no second derivative: its gradient is made by hand, of what the chip showed",
        tree,
    )


def refuse_perturbed(tree: Any, what: str, instead: str = "") -> None:
    """Refuses, in a rule with symbolic zeros, to be differentiated with respect to something.

    Args:
        tree: arguments of any shape, as custom_vjp wraps them.
        what: the error's name of them.
        instead: what to do.

    Raises:
        TypeError: a derivative with respect to it is asked for.
    """
    if any_perturbed(tree):
        raise TypeError(_message(what, instead))


def any_perturbed(tree: Any) -> bool:
    """Tells whether anything is differentiated with respect to, in a rule with symbolic zeros."""
    return any(leaf.perturbed for leaf in jax.tree.leaves(tree, is_leaf=_is_primal))


def moves_of(tree: Any) -> tuple:
    """Tells of each leaf whether it is differentiated, in a rule with symbolic zeros: `()` or None.

    These are structures, not flags, as residuals are arrays.
    """
    leaves = jax.tree.leaves(tree, is_leaf=_is_primal)
    return tuple(() if leaf.perturbed else None for leaf in leaves)


def instantiated(cotangent: Any) -> Any:
    """Returns a cotangent `[...]` of a rule with symbolic zeros, as an array also where it is 0."""
    zero = isinstance(cotangent, SymbolicZero)
    return jnp.zeros(cotangent.shape, cotangent.dtype) if zero else cotangent


def values_of(tree: Any) -> Any:
    """Returns the arguments of a rule with symbolic zeros as they were."""
    return jax.tree.map(lambda leaf: leaf.value, tree, is_leaf=_is_primal)


def _is_primal(leaf: Any) -> bool:
    return hasattr(leaf, "perturbed")


def _message(what: str, instead: str) -> str:
    return f"{what}: has no gradient; {instead or 'jax.lax.stop_gradient says that none is meant'}"


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _refusing(message: str, tree: Any) -> Any:
    return tree


@_refusing.defjvp
def _refuse(message: str, primals: tuple, tangents: tuple) -> Any:
    raise TypeError(message)
