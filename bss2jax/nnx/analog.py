"""Analog products as flax nnx modules."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute import convolution
from bss2jax.execute.products import matmul
from bss2jax.kernels import digital
from bss2jax.networks.layers import initial_scale, pair


class Linear(nnx.Module):
    """`bss2jax.matmul` with a kernel, and a bias added as a saturating int8 number.

    Args:
        in_features: K.
        out_features: N.
        bias: add a bias per output, LSB, by `bss2jax.add`.
        num_sends: times each input is sent; None: as often as initial weights within +-63 need.
        avg: neighbouring columns that carry the same weights and whose mean is taken; the bias is
            added to the mean, which it floors.
        shift: bits that the `ConvertingReLU` after this layer drops (0 for another or none). With
            it initial weights fill the range of what follows: see `networks.layers.initial_scale`.
        mask_saturated: let no gradient through readouts that were clipped.
        substrate: the chip's numbers.
        rngs: flax's streams; `params` draws the kernel.

    Attributes:
        kernel: `nnx.Param`, `[K, N]`, LSB, normal and truncated at +-63.
        bias: `nnx.Param`, `[N]`, LSB, zeros; or None.
        num_sends: what was given or found.

    Raises:
        ValueError: a size or a count is below 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        num_sends: int | None = None,
        avg: int = 1,
        shift: int = 1,
        mask_saturated: bool = False,
        substrate: Substrate = BSS2,
        rngs: nnx.Rngs,
    ):
        shape = (in_features, out_features)
        self.kernel, self.num_sends = _kernel(shape, shift, num_sends, substrate, rngs)
        self.bias = _bias(out_features, bias)
        self.avg = avg
        self.mask_saturated = mask_saturated
        self.substrate = substrate

    def __call__(
        self, x: jax.Array, chip: Chip | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Runs the layer.

        Args:
            x: `[..., K]` activations 0..31, rounded half to even.
            chip: whose fixed pattern applies; None for a perfect one.
            key: for the trial noise; None: no noise.

        Returns:
            `[..., N]` float32, LSB, -128..127.

        Raises:
            ValueError: as `bss2jax.matmul`.
        """
        y = matmul(
            x, self.kernel[...], chip, key,
            num_sends=self.num_sends, avg=self.avg,
            mask_saturated=self.mask_saturated, substrate=self.substrate,
        )  # fmt: skip
        return y if self.bias is None else digital.add(y, self.bias[...])


class _Conv(nnx.Module):
    """What `Conv1d` and `Conv2d` share: all but the number of axes and the operation."""

    axes: ClassVar[int]
    operation: ClassVar[Callable[..., jax.Array]]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: convolution.Padding = 0,
        kernel_dilation: int | Sequence[int] = 1,
        feature_group_count: int = 1,
        bias: bool = True,
        num_sends: int | None = None,
        avg: int = 1,
        shift: int = 1,
        mask_saturated: bool = False,
        substrate: Substrate = BSS2,
        rngs: nnx.Rngs,
    ):
        shape = _window_shape(
            kernel_size, self.axes, in_features, out_features, feature_group_count
        )
        self.kernel, self.num_sends = _kernel(shape, shift, num_sends, substrate, rngs)
        self.bias = _bias(out_features, bias)
        self.strides = pair(strides, self.axes)
        self.padding = _hashable(padding)
        self.kernel_dilation = pair(kernel_dilation, self.axes)
        self.feature_group_count = feature_group_count
        self.avg = avg
        self.mask_saturated = mask_saturated
        self.substrate = substrate

    def __call__(
        self, x: jax.Array, chip: Chip | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Runs the layer: x `[..., *size, C]` activations 0..31 to `[..., *size', N]` LSB.

        Args: as `Linear`.

        Raises:
            ValueError: as `bss2jax.conv1d` and `conv2d`.
        """
        y = self.operation(
            x, self.kernel[...], chip, key,
            stride=self.strides, padding=self.padding, groups=self.feature_group_count,
            dilation=self.kernel_dilation, num_sends=self.num_sends, avg=self.avg,
            mask_saturated=self.mask_saturated, substrate=self.substrate,
        )  # fmt: skip
        return y if self.bias is None else y + self.bias[...]


class Conv1d(_Conv):
    """`bss2jax.conv1d` with a kernel, and a bias added as a float.

    Args:
        in_features: C, channels of the signal.
        out_features: N.
        kernel_size: k, taps of the window.
        strides: positions from one window to the next.
        padding: as in `bss2jax.conv1d`; 0 by default, unlike flax.
        kernel_dilation: positions from one tap to the next.
        feature_group_count: independent convolutions over equal shares of the channels.
        bias: add a bias per output, LSB, after the operation.
        num_sends, avg, shift, mask_saturated, substrate, rngs: as in `Linear`.

    Attributes:
        kernel: `nnx.Param`, `[k, C / feature_group_count, N]`, LSB.
        bias, num_sends: as in `Linear`.

    Raises:
        ValueError: as `Linear`; groups do not divide the channels.
    """

    axes = 1
    operation = staticmethod(convolution.conv1d)


class Conv2d(_Conv):
    """`bss2jax.conv2d` with a kernel, and a bias added as a float.

    Args:
        kernel_size, strides, kernel_dilation: one number for both axes, or one for each.
        Others: as in `Conv1d`.

    Attributes:
        kernel: `nnx.Param`, `[kh, kw, C / feature_group_count, N]`, LSB.
        bias, num_sends: as in `Linear`.

    Raises:
        ValueError: as `Conv1d`.
    """

    axes = 2
    operation = staticmethod(convolution.conv2d)


class ExpandedConv1d(nnx.Module):
    """`bss2jax.expanded_conv1d` (shifted kernels side by side), and a bias added as a float.

    Args: as `Conv1d`, without dilation, groups and `avg`.

    Attributes:
        kernel: `nnx.Param`, `[k, C, N]`, LSB.
        bias, num_sends: as in `Linear`.

    Raises:
        ValueError: as `Linear`; one copy of the kernel does not fit a block.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: convolution.Padding = 0,
        bias: bool = True,
        num_sends: int | None = None,
        shift: int = 1,
        mask_saturated: bool = False,
        substrate: Substrate = BSS2,
        rngs: nnx.Rngs,
    ):
        shape = _window_shape(kernel_size, 1, in_features, out_features, 1)
        (self.strides,) = pair(strides, 1)
        window, channels, outputs = shape
        convolution.num_expansions(window, channels, outputs, self.strides, substrate)
        self.kernel, self.num_sends = _kernel(shape, shift, num_sends, substrate, rngs)
        self.bias = _bias(out_features, bias)
        self.padding = _hashable(padding)
        self.mask_saturated = mask_saturated
        self.substrate = substrate

    def __call__(
        self, x: jax.Array, chip: Chip | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Runs the layer: x `[..., L, C]` activations 0..31 to `[..., L', N]` LSB.

        Args: as `Linear`.

        Raises:
            ValueError: as `bss2jax.expanded_conv1d`.
        """
        y = convolution.expanded_conv1d(
            x, self.kernel[...], chip, key,
            stride=self.strides, padding=self.padding, num_sends=self.num_sends,
            mask_saturated=self.mask_saturated, substrate=self.substrate,
        )  # fmt: skip
        return y if self.bias is None else y + self.bias[...]


class ReLU(nnx.Module):
    """`bss2jax.relu`. Digital: takes a chip and a key as every layer does, and needs neither."""

    def __call__(
        self, y: jax.Array, chip: Chip | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Rectifies `[..., N]` readouts, LSB: floor, then clip to 0..127."""
        return digital.relu(y)


class ConvertingReLU(nnx.Module):
    """`bss2jax.converting_relu`. Takes a chip and a key as every layer does, and needs neither.

    Args:
        shift: bits to drop; tell the layer before it, whose initial weights depend on it.
    """

    def __init__(self, shift: int = 1):
        self.shift = shift

    def __call__(
        self, y: jax.Array, chip: Chip | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Turns `[..., N]` readouts, LSB, into activations 0..31."""
        return digital.converting_relu(y, self.shift)


def _kernel(shape, shift, num_sends, substrate, rngs):
    """Draws a kernel that fills the range of what follows; returns (parameter, num_sends)."""
    if min(shape) < 1 or (num_sends is not None and num_sends < 1):
        raise ValueError(
            f"expected sizes and num_sends >= 1, got a kernel {shape} and num_sends={num_sends}"
        )
    std, num_sends = initial_scale(math.prod(shape[:-1]), shift, num_sends, substrate)
    limit = substrate.weight_max / std
    normal = nnx.initializers.truncated_normal(std, lower=-limit, upper=limit)
    return nnx.Param(normal(rngs.params(), shape)), num_sends


def _bias(outputs, wanted):
    return nnx.Param(jnp.zeros(outputs)) if wanted else nnx.data(None)


def _window_shape(kernel_size, axes, inputs, outputs, groups):
    window = pair(kernel_size, axes)
    if len(window) != axes:
        raise ValueError(f"kernel_size: expected one number or {axes}, got {kernel_size!r}")
    if groups < 1 or inputs % groups or outputs % groups:
        raise ValueError(
            f"feature_group_count={groups} must divide in_features={inputs} and "
            f"out_features={outputs}"
        )
    return (*window, inputs // groups, outputs)


def _hashable(padding):
    """Padding as what flax keeps as static: lists become tuples."""
    if isinstance(padding, int | str):
        return padding
    return tuple(p if isinstance(p, int) else tuple(p) for p in padding)
