"""The Yin-Yang set: points in a circle that is halved by a curve and has two dots; generated.

Four values, x, y, 1 - x and 1 - y, each 0..1; 5,000 training and 1,000 test samples; classes yin,
yang and dot, as many of each.

References: Kriener, Goeltz and Petrovici 2022, arXiv 2102.08211.
"""

import numpy as np

from bss2jax.data.dataset import Split

_RADIUS, _DOT = 0.5, 0.1
_SEEDS, _SAMPLES = (42, 40), (5000, 1000)


def splits() -> tuple[Split, ...]:
    """Draws the training and the test split, each from its fixed seed: x float32 `[S, 4]`."""
    return tuple(_draw(seed, samples) for seed, samples in zip(_SEEDS, _SAMPLES, strict=True))


def classify(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the class of points within the circle: 0 yin, 1 yang, 2 dot.

    Args:
        x, y: `[S]`, 0..1.

    Returns:
        `[S]` int32.
    """
    left = np.hypot(x - _RADIUS / 2, y - _RADIUS)
    right = np.hypot(x - 3 * _RADIUS / 2, y - _RADIUS)
    dot = (left <= _DOT) | (right <= _DOT)
    upper = (y > _RADIUS) & (right > _RADIUS / 2)
    yin = (left <= _RADIUS / 2) | upper
    return np.where(dot, 2, np.where(yin, 0, 1)).astype(np.int32)


def _draw(seed: int, samples: int) -> Split:
    """Draws points until every class has its share: the classes differ in area."""
    rng = np.random.default_rng(seed)
    share = [samples // 3 + (k < samples % 3) for k in range(3)]
    points: list[tuple[float, ...]] = []
    labels: list[int] = []
    counts = [0, 0, 0]
    while len(labels) < samples:
        x, y = rng.random(2)
        if np.hypot(x - _RADIUS, y - _RADIUS) > _RADIUS:
            continue
        label = int(classify(x, y))
        if counts[label] < share[label]:
            counts[label] += 1
            points.append((x, y, 1 - x, 1 - y))
            labels.append(label)
    return Split(np.array(points, np.float32), np.array(labels, np.int32))
