"""Convolutions on the chip: unfold the input, then one analog product; positions are samples.

Layouts are JAX's and flax's: channels last, kernels `[*window, C, N]`.

References: hxtorch `perceptron/conv` (unfolding, expanded convolution).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute import stripes
from bss2jax.execute.products import matmul
from bss2jax.execute.stripes import Place
from bss2jax.kernels.dot import dot
from bss2jax.kernels.synapses.fields import Coded, raster_of
from bss2jax.mapping.plan import as_matrix, from_matrix
from bss2jax.mapping.products import Grid

Padding = int | str | Sequence[int | tuple[int, int]]


def conv1d(
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    stride: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    dilation: int = 1,
    **settings: Any,
) -> Any:
    """Convolves a signal with weights on the chip (a cross-correlation, as everywhere).

    Args:
        x: `[B, ..., L, C]` activations 0..31.
        w: `[k, C / groups, N]` weights -63..63.
        chip: as in `matmul`.
        key: for the noise, as in `matmul`.
        stride: positions from one window to the next.
        padding: zeros on both sides; a pair (before, after) in a list; "VALID" or "SAME".
        groups: independent convolutions over equal shares of the channels; each is placed from the
            front of the chip (the reference refuses more than one), or by `place`.
        dilation: positions from one tap to the next (the reference refuses more than one).
        settings: keyword arguments of `matmul`, such as num_sends, avg, sample, observe.

    Returns:
        `[B, ..., L', N]` readout, LSB; with `observe` also what saturated.

    Raises:
        ValueError: as `matmul`; the window does not fit, or groups do not divide channels.
    """
    return _convolve(x, w, chip, key, 1, (stride, padding, groups, dilation), **settings)


def conv2d(
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
    **settings: Any,
) -> Any:
    """Convolves an image with weights on the chip (a cross-correlation, as everywhere).

    Args:
        x: `[B, ..., H, W, C]` activations 0..31.
        w: `[kh, kw, C / groups, N]` weights -63..63.
        chip, key, settings: as in `conv1d`.
        stride, padding, groups, dilation: as in `conv1d`, one number for both axes or one each.

    Returns:
        `[B, ..., H', W', N]` readout, LSB; with `observe` also what saturated.

    Raises:
        ValueError: as `conv1d`.
    """
    return _convolve(x, w, chip, key, 2, (stride, padding, groups, dilation), **settings)


def expanded_conv1d(
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    stride: int = 1,
    padding: Padding = 0,
    substrate: Substrate = BSS2,
    **settings: Any,
) -> jax.Array:
    """Convolves a signal with shifted copies of the kernel side by side on the array.

    One input vector covers several positions, so the chip runs fewer vectors, and each copy of the
    kernel meets the fixed pattern of its own place. On a perfect chip it equals `conv1d` (for
    kernels of at most 128 rows).

    Args:
        x, w, chip, key, stride, padding: as in `conv1d`.
        substrate: the chip's numbers.
        settings: keyword arguments of `matmul`.

    Returns:
        `[B, ..., L', N]` readout, LSB.

    Raises:
        ValueError: as `conv1d`, and where one copy of the kernel does not fit one block.
    """
    vectors, matrix = expand(x, w, stride, padding, substrate)
    y = matmul(vectors, matrix, chip, key, substrate=substrate, **settings)
    positions = output_shape(x.shape[-2:-1], w.shape[:1], stride, padding)[0]
    return join_copies(y, positions, w.shape[-1])


def num_expansions(
    window: int, channels: int, outputs: int, stride: int = 1, substrate: Substrate = BSS2
) -> int:
    """Returns how many shifted copies of a kernel `[window, channels, outputs]` fit one block.

    Args:
        window, channels, outputs: sizes of the kernel.
        stride: positions from one copy to the next.
        substrate: whose blocks they fit.

    Raises:
        ValueError: not even one does.
    """
    rows = substrate.rows // channels
    if window > rows or outputs > substrate.columns:
        raise ValueError(
            f"expanded_conv1d: a kernel of {window} x {channels} rows and {outputs} columns does "
            f"not fit a block of {substrate.rows} x {substrate.columns}; use conv1d"
        )
    return min(substrate.columns // outputs, (rows - window) // stride + 1)


def output_shape(
    size: Sequence[int],
    window: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
) -> tuple[int, ...]:
    """Returns the positions of a window over an input of `size`, per axis.

    Args:
        size: of the input along each axis.
        window: taps along each axis.
        stride, padding, dilation: as in `conv1d`.

    Raises:
        ValueError: the window does not fit, or padding makes no sense.
    """
    window = tuple(window)
    strides, dilations = _each(stride, window), _each(dilation, window)
    pads = _pads(size, window, strides, padding, dilations)
    return tuple(
        _positions(n + before + after, k, s, d)
        for n, k, s, d, (before, after) in zip(size, window, strides, dilations, pads, strict=True)
    )


def convolve(
    x: jax.Array, w: jax.Array, stride: int | Sequence[int] = 1, padding: Padding = 0
) -> jax.Array:
    """Convolves in float32, without a chip: on a CPU three times faster than unfolded.

    Args:
        x: `[B, L, C]` or `[B, H, W, C]`.
        w: `[*window, C, N]`.
        stride, padding: as in `conv1d`.

    Returns:
        `[B, *positions, N]`.

    Raises:
        ValueError: shapes do not match, or the window does not fit.
    """
    window, *_ = _window(x, w, 1)
    steps, size = _each(stride, window), x.shape[1:-1]
    pads = _pads(size, window, steps, padding, (1,) * len(window))
    axes = "HW"[: len(window)]
    return lax.conv_general_dilated(
        x, w, steps, pads, dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Windows:
    """What a window sees of a raster at each of its positions, as `patches`, but never stored.

    Attributes:
        raster: `[T, B, *size, C]`, or `Coded` of values `[B, *size, C]`.
        window: taps along each axis of size.
        stride, padding: as in `conv1d`; tuples, no lists.
    """

    raster: jax.Array | Coded
    window: tuple[int, ...] = field(metadata={"static": True})
    stride: int | tuple[int, ...] = field(default=1, metadata={"static": True})
    padding: Padding = field(default=0, metadata={"static": True})

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions along each axis."""
        return output_shape(self.raster.shape[2:-1], self.window, self.stride, self.padding)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of what they see: (T, B, P, K)."""
        steps, batch, *_, channels = self.raster.shape
        inputs = math.prod(self.window) * channels
        return (steps, batch, math.prod(self.positions), inputs)

    @property
    def ndim(self) -> int:
        """Axes of what they see."""
        return len(self.shape)

    def unfolded(self) -> jax.Array:
        """Returns what they see, `[T, B, P, K]`."""
        seen = patches(raster_of(self.raster), self.window, self.stride, self.padding)
        return seen.reshape(self.shape)


@jax.custom_vjp
def window_product(windows: Windows, w: jax.Array) -> jax.Array:
    """Multiplies what a window sees with the same weights at each position: a convolution.

    Args:
        windows: of a raster. No gradient flows to what is `Coded`.
        w: `[K, N]`, as from `as_matrix`.

    Returns:
        `[T, B, P, N]`.
    """
    x = raster_of(windows.raster)
    kernel = _kernel(windows, w)
    y = convolve(x.reshape(-1, *x.shape[2:]), kernel, windows.stride, windows.padding)
    return y.reshape(*windows.shape[:-1], -1)


def window_product_gradient(
    windows: Windows, w: jax.Array, dy: jax.Array
) -> tuple[Windows | None, jax.Array]:
    """Returns the gradients of windows (None of what is `Coded`) and weights.

    Unfolded after all, in pieces that stay in a processor's cache: on a CPU in a third of the time
    of XLA's gradients of convolutions, and a quarter of that of a raster unfolded as a whole.

    Args:
        windows: as in `window_product`.
        w: `[K, N]`, likewise.
        dy: `[T, B, P, N]` gradient with respect to the product.

    Raises:
        ValueError: a window does not fit the raster.
    """
    x, coded = raster_of(windows.raster), isinstance(windows.raster, Coded)
    matrix = _kernel(windows, w).reshape(w.shape)
    samples, (positions, inputs) = math.prod(x.shape[:2]), windows.shape[2:]
    most = max(1, _PIECE // (positions * inputs))
    piece = next(n for n in range(min(most, samples), 0, -1) if samples % n == 0)

    def add(dw, cut):
        x, dy = cut
        seen, fold = jax.vjp(lambda x: _taps_outermost(windows, x), x)
        dw = dw + dot(seen.T, dy)
        return dw, None if coded else fold(dot(dy, matrix.T))[0]

    cuts = (x.reshape(-1, piece, *x.shape[2:]), dy.reshape(-1, piece * positions, dy.shape[-1]))
    dw, dx = lax.scan(add, jnp.zeros(matrix.shape), cuts)
    dw = as_matrix(dw.reshape(*windows.window, x.shape[-1], -1))
    return None if coded else replace(windows, raster=dx.reshape(x.shape)), dw


window_product.defvjp(
    lambda windows, w: (window_product(windows, w), (windows, w)),
    lambda residuals, dy: window_product_gradient(residuals[0], residuals[1], dy),
)
# Entries of an unfolded piece: half a megabyte.
_PIECE = 2**17


def _kernel(windows, w):
    return from_matrix(w, (*windows.window, windows.raster.shape[-1], w.shape[-1]))


def _taps_outermost(windows, x):
    """What windows see of `[n, *size, C]`: `[n P, K]`, channel innermost, which copies fastest."""
    strides, ones = _each(windows.stride, windows.window), (1,) * len(windows.window)
    x = _pad(x, windows.window, strides, windows.padding, ones)
    span = [(n - 1) * s + 1 for n, s in zip(windows.positions, strides, strict=True)]
    taps = [
        lax.slice(x, (0, *tap, 0), (len(x), *np.add(tap, span), x.shape[-1]), (1, *strides, 1))
        for tap in np.ndindex(*windows.window)
    ]
    return jnp.concatenate(taps, axis=-1).reshape(-1, math.prod(windows.window) * x.shape[-1])


def unfold(
    x: jax.Array,
    w: jax.Array,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> tuple[jax.Array, jax.Array]:
    """Writes a convolution as matrix products: the vectors that meet each group's matrix.

    Args:
        x: `[..., *size, C]`.
        w: `[*window, C / groups, N]`.
        stride, padding, groups, dilation: as in `conv1d`.

    Returns:
        Inputs `[groups, ..., *positions, K]` and weights `[groups, K, N / groups]`, for
        `run_groups`; K runs over channels, then the window.

    Raises:
        ValueError: as `conv1d`.
    """
    window, _, outputs = _window(x, w, groups)
    inputs = patches(x, window, stride, padding, dilation)
    # Channel is outermost, so a group is a contiguous share of it.
    inputs = inputs.reshape(*inputs.shape[:-1], groups, -1)
    weights = w.reshape(*w.shape[:-1], groups, outputs // groups)
    return jnp.moveaxis(inputs, -2, 0), jax.vmap(as_matrix)(jnp.moveaxis(weights, -2, 0))


def patches(
    x: jax.Array,
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
    window = tuple(window)
    strides, dilations = _each(stride, window), _each(dilation, window)
    lead = x.ndim - len(window) - 1
    x = _pad(x, window, strides, padding, dilations)
    for axis, (k, s, d) in enumerate(zip(window, strides, dilations, strict=True)):
        x = _taps(x, lead + axis, k, s, d)
    return x.reshape(*x.shape[: lead + len(window)], -1)


def windows(x: jax.Array, axis: int, k: int, s: int) -> jax.Array:
    """Cuts an axis into windows: `[..., size, ...]` to `[..., positions, k, ...]`.

    What is left at the end is dropped.

    Args:
        x: `[..., size, ...]`.
        axis: which one to cut.
        k: entries of a window.
        s: entries from one window to the next.
    """
    positions = (x.shape[axis] - k) // s + 1
    if k == s:
        x = lax.slice_in_dim(x, 0, positions * k, axis=axis)
        return x.reshape(*x.shape[:axis], positions, k, *x.shape[axis + 1 :])
    span = (positions - 1) * s + 1
    return jnp.stack(
        [lax.slice_in_dim(x, i, i + span, s, axis=axis) for i in range(k)], axis=axis + 1
    )


def run_groups(
    product: Callable[..., Any],
    inputs: jax.Array,
    weights: jax.Array,
    key: jax.Array | None,
    *others: Any,
) -> Any:
    """Runs `product(inputs, weights, key, *others)` group after group.

    Args:
        product: of one group.
        inputs: `[groups, ..., K]`.
        weights: `[groups, K, N]`.
        key: of which each of several groups gets its own; None: none for any.
        others: what else differs between groups, these in front.

    Returns:
        What the product returns, groups in front.
    """
    if len(inputs) == 1:
        one = jax.tree.map(lambda a: a[0], (inputs, weights, others))
        return jax.tree.map(lambda y: y[None], product(one[0], one[1], key, *one[2]))
    numbers = jnp.arange(len(inputs))
    keys = None if key is None else jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
    of_groups = (inputs, weights, keys, *others)
    return lax.scan(lambda _, group: (None, product(*group)), None, of_groups)[1]


def join_groups(y: jax.Array) -> jax.Array:
    """Puts the outputs of groups side by side: `[groups, ..., N]` to `[..., groups * N]`."""
    return jnp.moveaxis(y, 0, -2).reshape(*y.shape[1:-1], -1)


def expand(
    x: jax.Array,
    w: jax.Array,
    stride: int = 1,
    padding: Padding = 0,
    substrate: Substrate = BSS2,
) -> tuple[jax.Array, jax.Array]:
    """Writes a 1-D convolution as one product with shifted copies of the kernel side by side.

    Args: as `expanded_conv1d`.

    Returns:
        Inputs `[..., vectors, K]` and the matrix `[K, copies * N]`; `join_copies` puts the
        product's columns into the order of positions.

    Raises:
        ValueError: as `expanded_conv1d`.
    """
    window, channels, outputs = _window(x, w, 1)
    copies = num_expansions(window[0], channels, outputs, stride, substrate)
    positions = output_shape(x.shape[-2:-1], window, stride, padding)[0]
    vectors = -(-positions // copies)
    span = window[0] + (copies - 1) * stride
    x = _pad(x, window, (stride,), padding, (1,))
    needed = (vectors - 1) * copies * stride + span
    tail = [(0, 0)] * (x.ndim - 2) + [(0, max(0, needed - x.shape[-2])), (0, 0)]
    shifted = [
        jnp.pad(w, ((i * stride, span - window[0] - i * stride), (0, 0), (0, 0)))
        for i in range(copies)
    ]
    kernel = jnp.stack(shifted, axis=-2).reshape(span, channels, copies * outputs)
    inputs, weights = unfold(jnp.pad(x, tail)[..., :needed, :], kernel, copies * stride)
    return inputs[0], weights[0]


def join_copies(y: jax.Array, positions: int, outputs: int) -> jax.Array:
    """Orders the columns of an expanded product by position.

    Args:
        y: `[..., vectors, copies * outputs]`.
        positions: of the convolution; what copies beyond them give is dropped.
        outputs: of the kernel.

    Returns:
        `[..., positions, outputs]`.
    """
    return y.reshape(*y.shape[:-2], -1, outputs)[..., :positions, :]


def _convolve(
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None,
    axes: int,
    geometry: tuple,
    *,
    place: Place = None,
    **settings: Any,
) -> Any:
    if w.ndim != axes + 2:
        kernel = "[k, C, N]" if axes == 1 else "[kh, kw, C, N]"
        raise ValueError(f"w: expected a kernel {kernel}, got shape {w.shape}")
    inputs, weights = unfold(x, w, *geometry)
    substrate, avg = settings.get("substrate", BSS2), settings.get("avg", 1)
    grid = Grid(weights.shape[1], weights.shape[2] * avg, substrate)
    tables = stripes.tables_of(place, grid, chip, groups=len(inputs))

    def product(x: jax.Array, w: jax.Array, key: jax.Array | None, place: Place = None) -> Any:
        return matmul(x, w, chip, key, place=place, **settings)

    y = run_groups(product, inputs, weights, key, *([] if tables is None else [tables]))
    if not settings.get("observe"):
        return join_groups(y)
    return join_groups(y[0]), jax.tree.map(jnp.mean, y[1])


def _window(x, w, groups):
    """Checks the shapes of a convolution; returns (window, channels of a group, outputs)."""
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


def _pad(x, window, stride, padding, dilation):
    lead = x.ndim - len(window) - 1
    pads = _pads(x.shape[lead:-1], window, stride, padding, dilation)
    return jnp.pad(x, [(0, 0)] * lead + list(pads) + [(0, 0)])


def _pads(size, window, stride, padding, dilation):
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f'padding: expected "SAME", "VALID" or numbers, got {padding!r}')
        reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        return lax.padtype_to_pads(size, reach, stride, padding.upper())
    each = _each(padding, window)
    pads = [tuple(p) if isinstance(p, Sequence) else (p, p) for p in each]
    if any(len(p) != 2 or min(p) < 0 for p in pads):
        raise ValueError(f"padding: expected numbers >= 0 or pairs of them, got {padding!r}")
    return pads


def _taps(x, axis, k, s, d):
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
    x = jnp.moveaxis(x.reshape(*x.shape[:axis], -1, s, *x.shape[axis + 1 :]), axis + 1, -1)
    shifted = [lax.slice_in_dim(x, i, i + positions, axis=axis) for i in range(runs)]
    return jnp.concatenate(shifted, axis=-1)[..., :k]


def _positions(size, k, s, d):
    span = (k - 1) * d + 1
    if s < 1 or d < 1 or span > size:
        raise ValueError(
            f"a window of {k} taps (stride {s}, dilation {d}) spans {span} and does not fit an "
            f"input of {size}, padding included"
        )
    return (size - span) // s + 1


def _each(value, window):
    values = (value,) * len(window) if isinstance(value, int) else tuple(value)
    if len(values) != len(window):
        raise ValueError(f"expected one number or {len(window)}, got {value!r}")
    return values
