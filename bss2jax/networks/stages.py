"""Layers in their places: what shapes a sample takes, and what pools do, in any network."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax

from bss2jax.execute import convolution
from bss2jax.networks.layers import ConvLIF, ConvSoftLIF, Layer, Pool, pair
from bss2jax.networks.network import layer_names

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """A layer in its place, of this name, with the shapes of a sample before and after it."""

    layer: Layer
    name: str
    before: Shape
    after: Shape

    @property
    def window(self) -> tuple[int, ...]:
        """The layer's window, an entry for each axis of the input but the channels."""
        return pair(self.layer.window, len(self.before) - 1)

    def pooled(self, x: jax.Array) -> jax.Array:
        """Maximum or mean of each window of a pool: `[..., *before]` to `[..., *after]`."""
        layer, axes = self.layer, len(self.before) - 1
        stride = pair(layer.stride or layer.window, axes)
        # Window by window along each axis: fused into a convolution before it, `lax.reduce_window`
        # is miscompiled on the CPU (jax 0.10.1) where windows leave a rest.
        for axis, (k, s) in enumerate(zip(self.window, stride, strict=True), x.ndim - 1 - axes):
            x = convolution.windows(x, axis, k, s)
            x = x.max(axis + 1) if layer.mode == "max" else x.sum(axis + 1)
        return x if layer.mode == "max" else x / math.prod(self.window)


_Stage = TypeVar("_Stage", bound=Stage)


def arrange(
    kind: Callable[[Layer, str, Shape, Shape], _Stage],
    layers: Sequence[Layer],
    shape: Sequence[int],
    output_shape: Callable[[Layer, Shape], Shape],
) -> tuple[_Stage, ...]:
    """Puts the layers of a network in their places, one after the other.

    Args:
        kind: of stage, of such a network.
        layers: of the network.
        shape: of a sample before the first.
        output_shape: what a layer makes of an input's shape.

    Raises:
        ValueError: a layer does not fit its input, or a name occurs twice; says which.
    """
    names, shapes = layer_names(layers), [tuple(shape)]
    for layer, name in zip(layers, names, strict=True):
        try:
            shapes.append(output_shape(layer, shapes[-1]))
        except ValueError as error:
            raise ValueError(f"layer {name} on an input of {shapes[-1]}: {error}") from None
    return tuple(map(kind, layers, names, shapes, shapes[1:]))


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
