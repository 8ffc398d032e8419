"""Arrays between NIR, channels first and outputs first, and layers, channels and outputs last."""

from typing import Any

import numpy as np

Shape = tuple[int, ...]


def ours(shape: Shape) -> Shape:
    """Returns the shape of a signal with channels last.

    Raises:
        ValueError: it has more axes than channels, height and width.
    """
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise ValueError(f"shape {shape}: expected (N,), (C, L) or (C, H, W)")
    return (*shape[1:], shape[0])


def theirs(size: Shape) -> Shape:
    """Returns the shape of a signal with channels first."""
    return (size[-1], *size[:-1])


def of_neurons(values: Any, shape: Shape) -> np.ndarray:
    """Returns constants of neurons, `[N]` float32, in the order of a layer.

    Args:
        values: an array of the shape of the neurons, or one for all.
        shape: the shape of the neurons, channels first.

    Raises:
        ValueError: values have another shape.
    """
    array = np.asarray(values)
    if array.size == 1:
        array = np.broadcast_to(array.reshape(()), shape)
    if array.shape != shape:
        raise ValueError(f"got {array.shape} constants for {shape} neurons")
    return np.moveaxis(array, 0, -1).ravel().astype(np.float32)


def to_neurons(values: Any, size: Shape) -> np.ndarray:
    """Undoes `of_neurons`: `[N]` to channels first.

    Args:
        values: `[N]`, in the order of a layer.
        size: the size of the neurons, channels last.
    """
    return np.moveaxis(np.asarray(values).reshape(size), -1, 0)


def of_weight(weight: Any) -> np.ndarray:
    """Returns weights `[N, K]`, or `[N, C, *window]`, with outputs last, float32."""
    array = np.asarray(weight, np.float32)
    if array.ndim == 2:
        return array.T
    return np.moveaxis(array, (0, 1), (-1, -2))


def to_weight(weight: Any) -> np.ndarray:
    """Undoes `of_weight`: `[N, K]` or `[N, C, *window]`."""
    array = np.asarray(weight)
    if array.ndim == 2:
        return np.ascontiguousarray(array.T)
    return np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1)))
