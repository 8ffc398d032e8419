"""Vectorised calls whose large arrays differ, such as chips side by side: one after the other.

`jax.vmap` makes each array as much larger as there are chips. On a CPU these fall out of the caches
and, above 32 MiB, come as new pages at each call (see `training/tiles.py`); and XLA's product of a
batch of matrices is slower than one after the other. On a GPU all run at once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.custom_batching import custom_vmap

from bss2jax.kernels.gradients.nominal import instantiated, moves_of, values_of
from bss2jax.kernels.processor import on_cpu

_LEAST = 2**12  # entries of the largest array of a call that is worth a step of a loop


def unvectorised(function: Callable[..., Any], own: Any, *others: Any) -> Any:
    """Calls a function; where `jax.vmap` vectorises large arrays, with one element after the other.

    Its gradient is the function's.

    Args:
        function: the function, of arrays of any shape, or trees of them.
        own: the first argument, a tree of arrays `[...]`: elements are taken in turn where it is
            vectorised.
        others: the further arguments, trees of arrays `[...]`.

    Returns:
        What the function returns.
    """
    in_turn = custom_vmap(function)

    @in_turn.def_vmap
    def rule(size: int, mapped: Any, *args: Any) -> tuple[Any, Any]:
        over = jax.tree.leaves(mapped)

        def each(run: Callable[..., Any], how: Callable[..., Any], *args: Any) -> Any:
            """Runs over elements, of the leaves that have the axis."""
            given, tree = jax.tree.flatten(args)

            def of_one(some: list[jax.Array]) -> Any:
                rest = iter(some)
                leaves = (next(rest) if is_over else a for a, is_over in zip(given, over))
                return run(*jax.tree.unflatten(tree, leaves))

            return how(of_one)([a for a, is_over in zip(given, over) if is_over])

        together = partial(each, function, jax.vmap)
        there = jax.tree.leaves((args[0], jax.eval_shape(together, *args)))
        large = any(a.size >= _LEAST * size for a in there)
        if large and any(jax.tree.leaves(mapped[0])) and on_cpu():
            found = each(partial(unvectorised, function), lambda f: partial(lax.map, f), *args)
        else:
            found = unvectorised(together, *args)
        return found, jax.tree.map(lambda _: True, found)

    # `custom_vmap` alone cannot be differentiated in reverse, as second derivatives do.
    call = jax.custom_vjp(in_turn)
    call.defvjp(
        lambda *args: (in_turn(*args), args), lambda args, dy: jax.vjp(function, *args)[1](dy)
    )
    return call(own, *others)


def with_gradient(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function as `unvectorised` does; its gradient is of what that call left.

    What `unvectorised` differentiates it calls again. Here what each element left waits for its
    turn on the way back; what was given is not kept once more.

    Args:
        function: the function, of arrays of any shape, or trees of them.
        args: its arguments.

    Returns:
        What the function returns.
    """
    given, tree = jax.tree.flatten(args)
    left: list[Any] = []  # how to go back from what a call leaves, the same each time it is traced

    def of_leaves(leaves: list[jax.Array]) -> Any:
        return function(*jax.tree.unflatten(tree, leaves))

    def forward(wrapped: list[Any]) -> tuple[Any, tuple]:
        moves, values = moves_of(wrapped), values_of(wrapped)

        def of(leaves: list[jax.Array]) -> tuple[Any, list[jax.Array]]:
            def of_moving(moving: list[jax.Array]) -> Any:
                rest = iter(moving)
                return of_leaves(
                    [leaf if m is None else next(rest) for leaf, m in zip(leaves, moves)]
                )

            y, pull = jax.vjp(of_moving, [leaf for leaf, m in zip(leaves, moves) if m is not None])
            # What was given is not kept once more for each element.
            number = {id(leaf): i for i, leaf in enumerate(leaves)}
            kept, pull = jax.tree.flatten(pull)
            left[:] = pull, [number.get(id(leaf)) for leaf in kept]
            return y, [leaf for leaf in kept if id(leaf) not in number]

        y, kept = unvectorised(of, values)
        return y, (moves, kept, values)

    def backward(residuals: tuple, dy: Any) -> tuple[list]:
        moves, kept, values = residuals

        def of(kept: list[jax.Array], values: list[jax.Array], dy: Any) -> list[jax.Array]:
            (pull, numbers), rest = left, iter(kept)
            leaves = [next(rest) if i is None else values[i] for i in numbers]
            return jax.tree.unflatten(pull, leaves)(dy)[0]

        slopes = iter(unvectorised(of, kept, values, jax.tree.map(instantiated, dy)))
        return ([None if m is None else next(slopes) for m in moves],)

    call = jax.custom_vjp(partial(unvectorised, of_leaves))
    call.defvjp(forward, backward, symbolic_zeros=True)
    return call(given)
