"""What a window sees as it moves over a signal or an image, and convolutions in float32.

Layouts are JAX's and flax's: channels last, kernels `[*window, C, N]`.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from bss2jax.arrays import count, floats, plain
from bss2jax.kernels.processor import on_cpu

Padding = int | str | Sequence[int | tuple[int, int]]


def output_shape(
    size: Sequence[int],
    window: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
) -> tuple[int, ...]:
    """Returns the positions of a window over an input of `size`, per axis.

    Args:
        size: the size of the input along each axis.
        window: taps along each axis.
        stride, padding, dilation: as in `conv1d`.

    Raises:
        ValueError: the window does not fit, or padding makes no sense.
    """
    window = taps_of(window)
    strides, dilations = each_axis(stride, window), each_axis(dilation, window)
    pads = _pads(size, window, strides, padding, dilations)
    return tuple(
        _positions(n + before + after, k, s, d)
        for n, k, s, d, (before, after) in zip(size, window, strides, dilations, pads, strict=True)
    )


def convolve(
    x: jax.Array, w: jax.Array, stride: int | Sequence[int] = 1, padding: Padding = 0
) -> jax.Array:
    """Convolves without a chip: on a CPU three times faster than unfolded.

    In float32; of factors of bfloat16 in that, but for the sums.

    Args:
        x: `[B, L, C]` or `[B, H, W, C]`.
        w: `[*window, C, N]`, of the same type.
        stride, padding: as in `conv1d`.

    Returns:
        `[B, *positions, N]`.

    Raises:
        ValueError: shapes do not match, or the window does not fit.
    """
    window, *_ = window_of(x, w, 1)
    steps, size = each_axis(stride, window), x.shape[1:-1]
    pads = _pads(size, window, steps, padding, (1,) * len(window))
    run = _convolved if on_cpu() else _channels_last
    return run(x, w, tuple(steps), tuple(pads))


# Backward as forward, with channels last: XLA turns convolutions of other layouts into products for
# a CPU only outside of loops, and inside took sixty times as long (jaxlib 0.10.1). For a GPU
# it knows what gradients of convolutions are.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolved(
    x: jax.Array, w: jax.Array, stride: tuple[int, ...], pads: tuple[tuple[int, int], ...]
) -> jax.Array:
    return _channels_last(x, w, stride, pads)


def _forward(x: jax.Array, w: jax.Array, stride: Any, pads: Any) -> tuple[jax.Array, tuple]:
    return _channels_last(x, w, stride, pads), (x, w)


def _backward(stride: Any, pads: Any, kept: tuple, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradients of x and w: convolutions of dy with the turned window, and of x with dy."""
    x, w = kept
    axes = tuple(range(1, x.ndim - 1))
    one = (1,) * len(axes)
    sizes = [(x.shape[a], w.shape[a - 1], (dy.shape[a] - 1) * s + 1) for a, s in zip(axes, stride)]
    before = [k - 1 - pad for (_, k, _), (pad, _) in zip(sizes, pads)]
    around = [(lo, n + k - 1 - taken - lo) for lo, (n, k, taken) in zip(before, sizes)]
    turned = jnp.flip(w, tuple(a - 1 for a in axes)).swapaxes(-1, -2)
    dx = _channels_last(dy, turned, one, around, spread=stride)
    # Samples in the place of channels, and the other way round.
    around = [(lo, k - 1 + taken - n - lo) for (lo, _), (n, k, taken) in zip(pads, sizes)]
    dw = _channels_last(x.swapaxes(0, -1), jnp.moveaxis(dy, 0, -2), one, around, dilation=stride)
    return dx, jnp.moveaxis(dw, 0, -2)


_convolved.defvjp(_forward, _backward)


def _channels_last(
    x: jax.Array, w: jax.Array, stride: Any, pads: Any, spread: Any = None, dilation: Any = None
) -> jax.Array:
    axes = "HW"[: x.ndim - 2]
    return lax.conv_general_dilated(
        x, w, stride, pads, lhs_dilation=spread, rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        precision=lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
    )  # fmt: skip


def patches(
    x: ArrayLike,
    window: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Returns what a window sees at each of its positions.

    Args:
        x: `[..., *size, C]`.
        window: its taps along each axis of size.
        stride, padding, dilation: as in `conv1d`.

    Returns:
        `[..., *positions, K]`; K runs over channels, then the window, as in `as_matrix`.

    Raises:
        ValueError: the window does not fit.
    """
    x, window = floats(x, "x"), taps_of(window)
    strides, dilations = each_axis(stride, window), each_axis(dilation, window)
    lead = x.ndim - len(window) - 1
    x = pad(x, window, strides, padding, dilations)
    for axis, (k, s, d) in enumerate(zip(window, strides, dilations, strict=True)):
        x = _taps(x, lead + axis, k, s, d)
    return x.reshape(*x.shape[: lead + len(window)], math.prod(x.shape[lead + len(window) :]))


def window_of(x: jax.Array, w: jax.Array, groups: int = 1) -> tuple[tuple[int, ...], int, int]:
    """Checks the shapes of a convolution.

    Args:
        x: `[..., *size, C]`.
        w: `[*window, C / groups, N]`.
        groups: independent convolutions over equal shares of the channels.

    Returns:
        The window, the channels of a group, and the outputs.

    Raises:
        ValueError: shapes do not match, or groups do not divide the channels.
    """
    if w.ndim < 3 or x.ndim < w.ndim - 1:
        raise ValueError(
            f"expected x [..., *size, C] and w [*window, C, N], got {x.shape}, {w.shape}"
        )
    *window, channels, outputs = w.shape
    if groups < 1 or x.shape[-1] != channels * groups or outputs % groups:
        raise ValueError(
            f"x has {x.shape[-1]} channels, w takes {channels} and makes {outputs} with "
            f"groups={groups}: x's must be w's times groups, and groups must divide the outputs"
        )
    return tuple(window), channels, outputs


def pad(
    x: jax.Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> jax.Array:
    """Pads `[..., *size, C]` with zeros for a window; one stride and dilation an axis."""
    lead = x.ndim - len(window) - 1
    pads = _pads(x.shape[lead:-1], window, stride, padding, dilation)
    return jnp.pad(x, [(0, 0)] * lead + list(pads) + [(0, 0)])


def taps_of(window: Any) -> tuple[int, ...]:
    """Returns the taps of a window along each axis.

    Raises:
        ValueError: they are no whole numbers >= 1.
    """
    return tuple(count("window", taps) for taps in np.atleast_1d(np.asarray(window)))


def each_axis(value: int | Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """Returns one number for each axis of a window.

    Raises:
        ValueError: there are neither one nor as many.
    """
    values = plain(value) if np.ndim(value) else (value,) * len(window)
    if len(values) != len(window):
        raise ValueError(f"expected one number or {len(window)}, got {value!r}")
    return tuple(count("stride or dilation", each) for each in values)


def _pads(
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Sequence[tuple[int, int]]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f'padding: expected "SAME", "VALID" or numbers, got {padding!r}')
        reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        return lax.padtype_to_pads(size, reach, stride, padding.upper())
    given: Any = plain(padding)
    each = given if isinstance(given, tuple) else (given,) * len(window)
    if len(each) != len(window):
        raise ValueError(f"padding: expected one number or {len(window)}, got {padding!r}")
    pads = [p if isinstance(p, tuple) else (p, p) for p in each]
    if any(len(p) != 2 for p in pads):
        raise ValueError(f"padding: expected numbers >= 0 or pairs of them, got {padding!r}")
    return [(count("padding", p[0], 0), count("padding", p[1], 0)) for p in pads]


def _taps(x: jax.Array, axis: int, k: int, s: int, d: int) -> jax.Array:
    """Moves the window of one axis to the end: `[..., size, ...]` to `[..., positions, ..., k]`."""
    positions = _positions(x.shape[axis], k, s, d)
    if d > 1:
        span = (positions - 1) * s + 1
        taps = [lax.slice_in_dim(x, i * d, i * d + span, s, axis=axis) for i in range(k)]
        return jnp.stack(taps, axis=-1)
    # A window is -(-k // s) neighbouring runs of s taps: few, contiguous copies.
    runs = -(-k // s)
    size = (positions + runs - 1) * s
    missing = [(0, max(0, size - x.shape[axis]) if i == axis else 0) for i in range(x.ndim)]
    x = lax.slice_in_dim(jnp.pad(x, missing), 0, size, axis=axis)
    x = x.reshape(*x.shape[:axis], size // s, s, *x.shape[axis + 1 :])
    x = jnp.moveaxis(x, axis + 1, -1)
    shifted = [lax.slice_in_dim(x, i, i + positions, axis=axis) for i in range(runs)]
    return jnp.concatenate(shifted, axis=-1)[..., :k]


def _positions(size: int, k: int, s: int, d: int) -> int:
    span = (k - 1) * d + 1
    if s < 1 or d < 1 or span > size:
        raise ValueError(
            f"a window of {k} taps (stride {s}, dilation {d}) spans {span} and does not fit an "
            f"input of {size}, padding included"
        )
    return (size - span) // s + 1
