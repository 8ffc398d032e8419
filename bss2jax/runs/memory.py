"""How much memory a computation needs at least, from its shapes, before anything is compiled."""

import os
from collections.abc import Callable

import jax
from jax.extend import core

# What a compiler writes to memory; the rest it may fuse into what comes before or after.
_STORED = frozenset(
    "dot_general conv_general_dilated scan while gather scatter-add sort reduce_window_sum".split()
)


def at_least(function: Callable, *arguments) -> int:
    """Returns a lower bound of the bytes that a call needs at its fullest moment.

    Counted are arguments, results, and the products, gathers and loops in between, from where they
    are made to where they are last used, directly or through operations that are fused.

    Args:
        function: traceable by JAX; it is not run.
        arguments: arrays, or shapes as from `jax.eval_shape`.
    """
    return _peak(jax.make_jaxpr(function)(*arguments).jaxpr)


def available() -> int | None:
    """Returns the memory of the device, or of this process, in bytes; None: unknown."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limits.append(int(file.read()))
    except (OSError, ValueError):  # no such group, or "max"
        pass
    return min(limits)


def _peak(jaxpr):
    last = {}
    for i, equation in enumerate(jaxpr.eqns):
        last |= {var: i for var in equation.invars if isinstance(var, core.Var)}
    last |= {var: len(jaxpr.eqns) for var in jaxpr.outvars if isinstance(var, core.Var)}
    sizes = {var: _size(var) for var in [*jaxpr.invars, *jaxpr.constvars]}
    live = most = sum(sizes.values())
    for i, equation in enumerate(jaxpr.eqns):
        inner = [_peak(sub) - sum(map(_size, sub.invars)) for sub in _inner(equation)]
        if equation.primitive.name in _STORED or inner:
            sizes |= {var: _size(var) for var in equation.outvars}
            made = sum(_size(var) for var in equation.outvars)
            most = max(most, live + max([made, *inner]))
            live += made
        for var in {var for var in equation.invars if isinstance(var, core.Var)}:
            if last[var] == i and var not in jaxpr.invars:
                live -= sizes.pop(var, 0)
        for var in equation.outvars:
            if var not in last:
                live -= sizes.pop(var, 0)
    return most


def _inner(equation):
    """The jaxprs that an equation runs: the body of a loop, of a function."""
    for value in equation.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, core.Jaxpr):
                yield each


def _size(var):
    shape = var.aval
    return getattr(shape, "size", 0) * getattr(getattr(shape, "dtype", None), "itemsize", 0)
