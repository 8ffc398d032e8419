"""What a network takes the points of the Yin-Yang circle for."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from bss2jax.data import yinyang
from bss2jax.plot.style import COLOURS, GREY, MARKERS, axes, ink

_NAMES = ("yin", "yang", "dot")
# Two of the palette and a pale grey: dark, middle and light, so that print keeps them apart.
_COLOURS = (COLOURS[0], COLOURS[1], "#f2f2f2")


def class_map(
    classify: Callable[[np.ndarray], npt.ArrayLike],
    x: npt.ArrayLike | None = None,
    y: npt.ArrayLike | None = None,
    *,
    resolution: int = 150,
    ax: Axes | None = None,
) -> Axes:
    """Draws the Yin-Yang class map: what each point of the circle is taken for, true borders above.

    Args:
        classify: `classify(values)` of values `[S, 4]`, which are x, y, 1 - x and 1 - y, returns
            scores `[S, 3]`, of which the largest counts, or labels `[S]`.
        x: `[S, 2 or 4]` samples to mark, or None.
        y: `[S]` their labels. Samples that are taken for another class have a cross.
        resolution: points along the diameter.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: the two coordinates.

    Raises:
        ValueError: `classify` returns something else, or there are not as many labels as samples.
    """
    samples = [np.asarray(values) for values in (x, y) if values is not None]
    if len(samples) == 1 or len({len(values) for values in samples}) > 1:
        raise ValueError("x and y: expected as many labels as samples, or neither")
    edges = np.linspace(0, 1, resolution + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    across, up = np.meshgrid(centres, centres)
    inside = np.hypot(across - 0.5, up - 0.5) <= 0.5
    taken = np.ma.masked_all(inside.shape)
    taken[inside] = _labels(classify, np.stack([across[inside], up[inside]], axis=1))
    colours = ListedColormap(_COLOURS)
    ax = axes(ax, 5.4, 4.0)
    ax.pcolormesh(edges, edges, taken, cmap=colours, vmin=-0.5, vmax=2.5, rasterized=True)
    fine = np.linspace(0, 1, 401)
    true = yinyang.classify(*np.meshgrid(fine, fine)).astype(float)
    true[np.hypot(*np.meshgrid(fine - 0.5, fine - 0.5)) > 0.5] = np.nan
    ax.contour(fine, fine, true, levels=[0.5, 1.5], colors=ink(), linewidths=0.8)
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(0.5 + 0.5 * np.cos(turn), 0.5 + 0.5 * np.sin(turn), color=ink(), linewidth=0.8)
    for name, colour in zip(_NAMES, _COLOURS, strict=True):
        ax.plot([], [], "s", color=colour, markeredgecolor=GREY, markersize=9, label=name)
    if samples:
        _mark(ax, classify, *samples)
    ax.set(
        aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02),
        xlabel="x (input value)", ylabel="y (input value)",
    )  # fmt: skip
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), title="taken for")
    return ax


def _labels(classify: Callable[[np.ndarray], npt.ArrayLike], points: np.ndarray) -> np.ndarray:
    """The labels `[S]` of points `[S, 2]`."""
    found = np.asarray(classify(np.concatenate([points, 1 - points], axis=1).astype(np.float32)))
    if found.shape not in ((len(points),), (len(points), len(_NAMES))):
        raise ValueError(
            f"classify: expected labels [{len(points)}] or scores [{len(points)}, {len(_NAMES)}], "
            f"got shape {found.shape}"
        )
    return found if found.ndim == 1 else found.argmax(axis=1)


def _mark(
    ax: Axes,
    classify: Callable[[np.ndarray], npt.ArrayLike],
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    points = x[:, :2]
    wrong = _labels(classify, points) != y
    for label, (name, colour) in enumerate(zip(_NAMES, _COLOURS, strict=True)):
        here = points[(y == label) & ~wrong]
        ax.plot(
            *here.T, MARKERS[label], color=colour, markeredgecolor="black", markeredgewidth=0.6,
            markersize=4, label=f"{name}, right",
        )  # fmt: skip
    ax.plot(*points[wrong].T, "x", color=ink(), markersize=6, label="wrong")
