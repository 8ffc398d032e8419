"""Ten workloads to compare mappings on, each a function of a seed: sizes and rates of networks.

Structure is that of the networks, images with channels outermost; rates are drawn, lognormal with a
standard deviation of 0.7 and a mean of 10 spikes a second over a second. The suite was fixed before
anything was measured on it.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from bss2jax.mapping.workload import Workload, of_edges

Pairs = tuple[np.ndarray, np.ndarray]


def dense(inputs: int, outputs: int) -> Pairs:
    """Returns synapses (source, target), `[m]` each, from all inputs to all outputs."""
    return np.repeat(np.arange(inputs), outputs), np.tile(np.arange(outputs), inputs)


def windows(
    shape: tuple[int, int, int],
    outputs: int,
    window: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> tuple[Pairs, tuple[int, int, int]]:
    """Returns synapses of a convolution between images `[C, H, W]`, and the size of its output.

    Args:
        shape: channels, height and width of the input.
        outputs: channels.
        window: height and width of the kernel.
        stride: the stride of its positions.
        padding: rows and columns without neurons around the input.
        groups: the number of groups of channels that see only each other.

    Returns:
        Pairs (source, target), `[m]` each, and channels, height and width of the output.
    """  # fmt: skip
    channels, height, width = shape
    rows = (height + 2 * padding - window) // stride + 1
    columns = (width + 2 * padding - window) // stride + 1
    o, y, x, c, dy, dx = np.meshgrid(
        *map(np.arange, (outputs, rows, columns, channels // groups, window, window)),
        indexing="ij", sparse=True,
    )  # fmt: skip
    at_y, at_x = y * stride + dy - padding, x * stride + dx - padding
    inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
    channel = c + o * groups // outputs * (channels // groups)
    source, target = np.broadcast_arrays(
        (channel * height + at_y) * width + at_x, (o * rows + y) * columns + x
    )
    inside = np.broadcast_to(inside, source.shape)
    return (source[inside], target[inside]), (outputs, rows, columns)


def layered(
    name: str, sizes: Sequence[int], between: Sequence[Pairs], rng: np.random.Generator
) -> Workload:
    """Makes a workload of layers, each with synapses from the one before.

    Args:
        name: the name of the workload.
        sizes: neurons of each layer.
        between: synapses, numbered within their layers, from each to the next.
        rng: the generator of the rates.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pairs = [(s + starts[i], t + starts[i + 1]) for i, (s, t) in enumerate(between)]
    source, target = (np.concatenate(side) for side in zip(*pairs))
    order = np.argsort(source * starts[-1] + target, kind="stable")
    rates = lognormal(int(starts[-1]), rng)
    return of_edges(name, source[order], target[order], rates, tuple(starts.tolist()))


def lognormal(neurons: int, rng: np.random.Generator) -> np.ndarray:
    """Draws rates `[neurons]`: mean 10 a second, standard deviation of the logarithm 0.7."""
    return 10 * np.exp(rng.normal(-(0.7**2) / 2, 0.7, neurons))


def _perceptron(name: str, *sizes: int) -> Callable[[np.random.Generator], Workload]:
    return lambda rng: layered(name, sizes, [dense(*two) for two in pairwise(sizes)], rng)


def _images(
    name: str, shape: tuple[int, int, int], kernels: Sequence[tuple[int, ...]], *ends: int
) -> Callable[[np.random.Generator], Workload]:
    """Convolutions (outputs, window, stride, padding, groups) and dense layers behind them."""

    def made(rng: np.random.Generator) -> Workload:
        sizes, between, now = [int(np.prod(shape))], [], shape
        for kernel in kernels:
            pairs, now = windows(now, *kernel)
            between.append(pairs)
            sizes.append(int(np.prod(now)))
        for outputs in ends:
            between.append(dense(sizes[-1], outputs))
            sizes.append(outputs)
        return layered(name, sizes, between, rng)

    return made


def reservoir(neurons: int, share: float, rng: np.random.Generator) -> Workload:
    """Returns a recurrent network in which each neuron sends to a share of all, at random."""
    source, target = np.nonzero(rng.random((neurons, neurons)) < share)
    return of_edges(f"reservoir{neurons}", source, target, lognormal(neurons, rng))


def modular(groups: int, size: int, rng: np.random.Generator) -> Workload:
    """Returns groups of neurons, dense inside (0.3) and sparse between (0.002), in hidden order."""
    n = groups * size
    group = rng.permutation(n) // size
    share = np.where(group[:, None] == group, 0.3, 0.002)
    source, target = np.nonzero(rng.random((n, n)) < share)
    return of_edges(f"modular{groups}x{size}", source, target, lognormal(n, rng))


def sheet(side: int, window: int, rng: np.random.Generator) -> Workload:
    """Returns a recurrent sheet of neurons, each of which sends to those around it."""
    y, x = np.divmod(np.arange(side * side, dtype=np.int32), side)
    reach = window // 2
    pairs = []
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            inside = (y + dy >= 0) & (y + dy < side) & (x + dx >= 0) & (x + dx < side)
            pairs.append((y[inside] * side + x[inside], (y + dy)[inside] * side + (x + dx)[inside]))
    source, target = (np.concatenate(both) for both in zip(*pairs))
    order = np.lexsort((target, source))
    rates = lognormal(side * side, rng)
    return of_edges(f"sheet{side}", source[order], target[order], rates)


_SUITE: dict[str, Callable[[np.random.Generator], Workload]] = {
    "mnist_spiking": _perceptron("mnist_spiking", 784, 256, 10),
    "mlp": _perceptron("mlp", 784, 1024, 512, 10),
    "mnist16_spiking": _perceptron("mnist16_spiking", 256, 246, 10),
    "har_spiking": _perceptron("har_spiking", 18, 110, 6),
    "eurosat": _images("eurosat", (6, 64, 64), [(1, 3, 3)], 128, 10),
    "eurosat_large": _images(
        "eurosat_large", (6, 64, 64), [(32, 4, 4), (64, 3, 2, 1), (128, 3, 2, 1)], 10
    ),
    "lenet": _images(
        "lenet", (1, 28, 28), [(6, 5), (6, 2, 2, 0, 6), (16, 5), (16, 2, 2, 0, 16)],
        120, 84, 10,
    ),
    "smooth": _images("smooth", (1, 64, 64), [(1, 5, 1, 2)]),
    "edges": _images("edges", (1, 32, 32), [(1, 5, 1, 2), (1, 5, 1, 2), (1, 5, 1, 2)]),
    "reservoir": lambda rng: reservoir(1000, 0.1, rng),
}  # fmt: skip
SUITE = tuple(_SUITE)


def workload(name: str, seed: int = 0) -> Workload:
    """Returns a workload of the suite.

    Args:
        name: one of `SUITE`.
        seed: the seed of its rates, and of what else is random in it.

    Raises:
        ValueError: the suite has no such workload.
    """
    if name not in _SUITE:
        raise ValueError(f"workload: no {name!r} in the suite; known: {', '.join(SUITE)}")
    return _SUITE[name](np.random.default_rng([seed, SUITE.index(name)]))
