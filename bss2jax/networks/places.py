"""Layers in their places: what shapes a sample takes, and what pools do, in any network."""

import math
from collections.abc import Callable, Sequence

import jax

from bss2jax.mapping import convolution
from bss2jax.networks.layers import ConvLIF, ConvSoftLIF, Layer, Pool, pair

Shape = tuple[int, ...]


def shapes_through(
    layers: Sequence[Layer],
    names: Sequence[str],
    shape: Shape,
    output_shape: Callable[[Layer, Shape], Shape],
) -> tuple[Shape, ...]:
    """Returns the shapes of a sample before each layer and after the last.

    Args:
        layers, names: of the network.
        shape: of a sample before the first.
        output_shape: what a layer makes of an input's shape.

    Raises:
        ValueError: a layer does not fit its input; says which.
    """
    shapes = [shape]
    for layer, name in zip(layers, names, strict=True):
        try:
            shapes.append(output_shape(layer, shapes[-1]))
        except ValueError as error:
            raise ValueError(f"layer {name} on an input of {shapes[-1]}: {error}") from None
    return tuple(shapes)


def window_shape(layer: Pool | ConvLIF | ConvSoftLIF, before: Shape) -> Shape:
    """Returns the output shape `(*positions, channels)` of a layer with windows.

    Raises:
        ValueError: the input is no `[L, C]` or `[H, W, C]`, or a window does not fit it.
    """
    if len(before) not in (2, 3):
        raise ValueError("windows need an input [L, C] or [H, W, C]")
    window = pair(layer.window, len(before) - 1)
    if isinstance(layer, Pool):
        stride = layer.stride or layer.window
        return (*convolution.output_shape(before[:-1], window, stride), before[-1])
    positions = convolution.output_shape(before[:-1], window, layer.stride, layer.padding)
    return (*positions, layer.outputs)


def pool(layer: Pool, x: jax.Array, axes: int) -> jax.Array:
    """Returns the maximum or the mean of each window: `[..., *size, C]` to `[..., *positions, C]`.

    Args:
        layer: mode, window and stride.
        x: `[..., *size, C]`.
        axes: how many of them have windows, those before the last.
    """
    window, stride = pair(layer.window, axes), pair(layer.stride or layer.window, axes)
    # Window by window along each axis: fused into a convolution before it, `lax.reduce_window` is
    # miscompiled on the CPU (jax 0.10.1) where windows leave a rest.
    for axis, (k, s) in enumerate(zip(window, stride, strict=True), start=x.ndim - 1 - axes):
        x = convolution.windows(x, axis, k, s)
        x = x.max(axis + 1) if layer.mode == "max" else x.sum(axis + 1)
    return x if layer.mode == "max" else x / math.prod(window)
