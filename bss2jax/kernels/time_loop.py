"""The loop over the steps of a sequence: a scan, or on a GPU one kernel.

A scan launches a kernel in each step and takes the state of all neurons through memory between two
steps. Where a step does the same to each element, `fused` runs all of them in one kernel, whose
states stay in registers. It is chosen here and nowhere else.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from jax import lax

from bss2jax.kernels.processor import on_gpu

SWITCH = "BSS2JAX_GPU_KERNELS"  # 0: scans on a GPU, too


def over_time(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    fixed: Any,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
) -> Any:
    """Returns what each step makes, as `lax.scan(partial(step, fixed), carry, xs)[1]` does.

    Args:
        step: `step(fixed, carry, x)` returns the next carry and what is kept. It has no arrays but
            its arguments.
        fixed: a tree of what is the same in all steps.
        carry: a tree of arrays `[B, N]` before the first step.
        xs: a tree of arrays `[T, ...]`.
        reverse: whether the last step comes first.
    """

    def scanned(fixed: Any, carry: Any, xs: Any) -> Any:
        return lax.scan(partial(step, fixed), carry, xs, reverse=reverse)[1]

    if not fuses():
        return scanned(fixed, carry, xs)
    from bss2jax.kernels import fused  # Pallas is not loaded where there is no GPU

    kernel = fused.loop(step, fixed, carry, xs, reverse=reverse)
    if kernel is None:
        return scanned(fixed, carry, xs)
    return lax.platform_dependent(fixed, carry, xs, cuda=kernel, default=scanned)


def fuses() -> bool:
    """Returns whether loops over time are kernels here: on a GPU, unless `SWITCH` is 0."""
    return on_gpu() and os.environ.get(SWITCH, "1") != "0"
