"""What products refuse at the door: values and chips that make no sense."""

from typing import Any

import jax
import numpy as np

from bss2jax.arrays import floats
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import Substrate


def values(
    given: Any, name: str, low: int, high: int, *, clipped: bool = False, advice: str = ""
) -> jax.Array:
    """Returns what is given as float32, `[...]`, of its own shape, whatever its type.

    Args:
        given: any array `[...]`, or nested sequence of numbers.
        name: the name by which an error calls it.
        low, high: the codes that there are.
        advice: what else helps, for the error.
        clipped: whether values without a code are let through, to be clipped and counted.

    Raises:
        ValueError: the values are known, that is outside jit, and one rounds to no code.
    """
    given = floats(given, name)
    if isinstance(given, jax.core.Tracer):
        return given
    # NumPy, as a constant inside jit is known but jax.numpy would trace its minimum.
    known = np.asarray(given)
    least, most = (known.min(), known.max()) if known.size else (low, high)
    # Rounded as the codes are: 31.5 would be 32.
    if not clipped and not (low <= np.rint(least) and np.rint(most) <= high):
        raise ValueError(
            f"{name}: values from {least:g} to {most:g}, expected {low}..{high}; "
            f"scale or clip them first{advice}"
        )
    return given


def check_inner(x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    """Refuses inputs `[..., K]` that do not fit a weight `[K, N]`.

    Raises:
        ValueError: as said.
    """
    if len(w_shape) != 2:
        raise ValueError(f"w: expected [K, N], got shape {w_shape}")
    if not x_shape or x_shape[-1] != w_shape[0]:
        raise ValueError(f"x {x_shape} and w {w_shape} do not fit: the last of x must be K of w")


def expect_chip(chip: Any, expected: str = "a Chip, such as sample_chip(key)") -> None:
    """Refuses what is no chip.

    Raises:
        ValueError: as said.
    """
    if not isinstance(chip, Chip):
        raise ValueError(f"chip: expected {expected}, got a {type(chip).__name__}")


def check_chip(chip: Chip | None, substrate: Substrate, *, several: bool) -> None:
    """Refuses what is not a chip of the substrate, or several of them where one is expected.

    Raises:
        ValueError: as said.
    """
    if chip is None:
        return
    expect_chip(chip, "a Chip or None")
    expected = (substrate.hemispheres, 2, substrate.rows, substrate.columns)
    shape = chip.synapse_gain.shape
    if shape != expected and not (several and shape[1:] == expected):
        raise ValueError(
            f"chip: its synapses are {shape}, the substrate's {expected}; map over a stack of "
            "chips with jax.vmap, or say by `place` which block is on which"
        )
