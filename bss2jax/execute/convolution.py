"""Convolutions on the chip: unfold the input, then one analog product; positions are samples.

Layouts are JAX's and flax's: channels last, kernels `[*window, C, N]`.

References: hxtorch `perceptron/conv` (unfolding, expanded convolution).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from bss2jax.arrays import count, floats, wholes
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute import stripes
from bss2jax.execute.products import matmul
from bss2jax.execute.stripes import Place
from bss2jax.kernels.mesh import axes_of, over_mesh
from bss2jax.kernels.unfold import Padding, output_shape, pad, patches, window_of
from bss2jax.mapping.plan import as_matrix
from bss2jax.mapping.products import Grid


def conv1d(
    x: ArrayLike,
    w: ArrayLike,
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
        key: the random key for the noise, as in `matmul`.
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
    x: ArrayLike,
    w: ArrayLike,
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
    x: ArrayLike,
    w: ArrayLike,
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
    x, w = floats(x, "x"), floats(w, "w")
    positions = output_shape(x.shape[-2:-1], w.shape[:1], stride, padding)[0]
    sample = wholes(settings.pop("sample", 0), "sample")

    def expanded(x: jax.Array, w: jax.Array, chip: Any, key: Any, sample: jax.Array) -> jax.Array:
        vectors, matrix = expand(x, w, stride, padding, substrate)
        y = matmul(vectors, matrix, chip, key, sample=sample, substrate=substrate, **settings)
        return join_copies(y, positions, w.shape[-1])

    return over_mesh(expanded, axes_of(x, *range(x.ndim - 2)), x, w, chip, key, sample)


def num_expansions(
    window: int, channels: int, outputs: int, stride: int = 1, substrate: Substrate = BSS2
) -> int:
    """Returns how many shifted copies of a kernel `[window, channels, outputs]` fit one block.

    Args:
        window, channels, outputs: sizes of the kernel.
        stride: positions from one copy to the next.
        substrate: the substrate whose blocks they fit.

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
    window, _, outputs = window_of(x, w, groups)
    inputs = patches(x, window, stride, padding, dilation)
    # Channel is outermost, so a group is a contiguous share of it.
    inputs = inputs.reshape(*inputs.shape[:-1], groups, inputs.shape[-1] // groups)
    weights = w.reshape(*w.shape[:-1], groups, outputs // groups)
    return jnp.moveaxis(inputs, -2, 0), jax.vmap(as_matrix)(jnp.moveaxis(weights, -2, 0))


def windows(x: jax.Array, axis: int, k: int, s: int) -> jax.Array:
    """Cuts an axis into windows: `[..., size, ...]` to `[..., positions, k, ...]`.

    What is left at the end is dropped.

    Args:
        x: `[..., size, ...]`.
        axis: the axis to cut.
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
        product: the product of one group.
        inputs: `[groups, ..., K]`.
        weights: `[groups, K, N]`.
        key: the random key of which each of several groups gets its own; None: none for any.
        others: what else differs between groups, these in front.

    Returns:
        What the product returns, groups in front.
    """
    if len(inputs) == 1:
        one = jax.tree.map(lambda a: a[0], (inputs, weights, others))
        return jax.tree.map(lambda y: y[None], product(one[0], one[1], key, *one[2]))
    keys = None if key is None else draws.split(key, len(inputs))
    of_groups = (inputs, weights, keys, *others)
    return lax.scan(lambda _, group: (None, product(*group)), None, of_groups)[1]


def join_groups(y: jax.Array) -> jax.Array:
    """Puts the outputs of groups side by side: `[groups, ..., N]` to `[..., groups * N]`."""
    return jnp.moveaxis(y, 0, -2).reshape(*y.shape[1:-1], len(y) * y.shape[-1])


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
    window, channels, outputs = window_of(x, w, 1)
    copies = num_expansions(window[0], channels, outputs, stride, substrate)
    positions = output_shape(x.shape[-2:-1], window, stride, padding)[0]
    vectors = -(-positions // copies)
    span = window[0] + (copies - 1) * stride
    x = pad(x, window, (stride,), padding, (1,))
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
        positions: the positions of the convolution; what copies beyond them give is dropped.
        outputs: the outputs of the kernel.

    Returns:
        `[..., positions, outputs]`.
    """
    # Outputs of copies, all vectors in one axis; without outputs as many as there are positions.
    each = y.shape[-2] * y.shape[-1] // outputs if outputs else positions
    return y.reshape(*y.shape[:-2], each, outputs)[..., :positions, :]


def _convolve(
    x: ArrayLike,
    w: ArrayLike,
    chip: Chip | None,
    key: jax.Array | None,
    axes: int,
    geometry: tuple,
    *,
    place: Place = None,
    **settings: Any,
) -> Any:
    x, w = floats(x, "x"), floats(w, "w")
    stride, padding, groups, dilation = geometry
    geometry = (stride, padding, count("groups", groups), dilation)
    if w.ndim != axes + 2:
        kernel = "[k, C, N]" if axes == 1 else "[kh, kw, C, N]"
        raise ValueError(f"w: expected a kernel {kernel}, got shape {w.shape}")
    window_of(x, w, geometry[2])
    settings |= {name: count(name, settings.get(name, 1)) for name in ("num_sends", "avg")}
    run = partial(_by_groups, geometry, place, settings)
    spread = axes_of(x, *range(x.ndim - axes - 1))
    out = (spread, PartitionSpec()) if settings.get("observe") else spread
    return over_mesh(run, out, x, w, chip, key, wholes(settings.pop("sample", 0), "sample"))


def _by_groups(
    geometry: tuple,
    place: Place,
    settings: dict[str, Any],
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None,
    sample: jax.Array,
) -> Any:
    inputs, weights = unfold(x, w, *geometry)
    substrate = settings.get("substrate", BSS2)
    grid = Grid(weights.shape[1], weights.shape[2] * settings["avg"], substrate)
    tables = stripes.tables_of(place, grid, chip, groups=len(inputs))

    # Values of a single group are checked where they are known; several are scanned.
    run = _groups if len(inputs) == 1 else _scanned
    y = run(tuple(settings.items()), inputs, weights, chip, key, sample, tables)
    if not settings.get("observe"):
        return join_groups(y)
    return join_groups(y[0]), jax.tree.map(jnp.mean, y[1])


def _groups(
    settings: tuple[tuple[str, Any], ...],
    inputs: jax.Array,
    weights: jax.Array,
    chip: Chip | None,
    key: jax.Array | None,
    sample: jax.Array,
    tables: Any,
) -> Any:
    def product(x: jax.Array, w: jax.Array, key: jax.Array | None, place: Place = None) -> Any:
        return matmul(x, w, chip, key, sample=sample, place=place, **dict(settings))

    return run_groups(product, inputs, weights, key, *([] if tables is None else [tables]))


_scanned = jax.jit(_groups, static_argnums=0)
