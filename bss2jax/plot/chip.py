"""A quantity of a chip, place by place, as the places lie on it."""

from typing import Any

import numpy as np

from bss2jax.chip.chip import QUANTITIES, Chip
from bss2jax.chip.quantities import CHIP, DRIVER, INPUT, SYNAPSE, Kind, Site
from bss2jax.plot.style import MAP, axes, paper

# What has a value for each place, by the attribute's own name, and what its rows are called.
_MAPPED = {n.split(".")[-1]: (n, q) for n, q in QUANTITIES.items() if q.site is not CHIP}
_ROWS = {
    SYNAPSE: "synapse row",
    DRIVER: "signed row",
    INPUT: "hemisphere (sign)",
}


def chip_map(
    chip: Chip,
    quantity: str = "column_gain",
    *,
    limits: tuple[float, float] | None = None,
    ax: Any = None,
) -> Any:
    """Draws a quantity of a chip over its places: one hemisphere above, the other below.

    Columns go from left to right. Synapse rows are shown as pairs, excitatory and inhibitory, the
    first next to the neurons, so the lower array mirrors the upper one. The drawing is a scheme.

    Args:
        chip: the chip whose quantity is drawn.
        quantity: an attribute of `Chip` or of its `Circuits` with a value for each place.
        limits: the limits of the colours; by default symmetric about the nominal value, or from 0.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: column against row, with a colour bar.

    Raises:
        ValueError: there is no such quantity, or it is a stack of chips.
    """
    if quantity not in _MAPPED:
        raise ValueError(f"quantity: expected one of {', '.join(_MAPPED)}, got {quantity!r}")
    name, declared = _MAPPED[quantity]
    kind, names = declared.kind, _ROWS.get(declared.site, "hemisphere")
    # Where its spread is 0, a chip may have no array of a quantity.
    place = chip.quantities().get(name, np.zeros_like(chip.offset))
    if np.ndim(place) != len(declared.site.axes):
        raise ValueError(f"chip: expected one chip, got {name} of shape {np.shape(place)}")
    rows = _rows(np.asarray(place), declared.site)
    if limits is None:
        limits = _limits(rows, kind)
    halves = len(rows)
    stacked = np.concatenate([rows[0][::-1], *rows[1:]])
    height, width = stacked.shape
    middle = len(rows[0])
    ax = axes(ax, 7.0, 3.4 if height > 2 * halves else 2.6)
    # Edges: the upper array counts upwards from the middle, the lower one downwards.
    y = middle - np.arange(height + 1)
    mesh = ax.pcolormesh(
        np.arange(width + 1), y, stacked, cmap=MAP, vmin=limits[0], vmax=limits[1], rasterized=True
    )
    if halves > 1:
        ax.axhline(0, color=paper(), linewidth=2)
    ax.set(
        title=declared.meaning,
        xlabel="column" if width > 1 else "all columns (a driver serves its row)",
        xlim=(0, width),
        ylim=(y[-1], y[0]),
    )
    if width == 1:
        ax.set_xticks([])
    _label_rows(ax, middle, halves, names)
    bar = ax.figure.colorbar(mesh, ax=ax)
    known = f", nominal {kind.nominal:g}" if kind.nominal > kind.least else ""
    bar.set_label(f"{declared.meaning} ({kind.unit}){known}", fontsize=8)
    return ax


def _rows(place: np.ndarray, site: Site) -> np.ndarray:
    """The quantity as `[H, rows, columns]`: the first row next to the neurons, signs in turn."""
    order = [site.axes.index(axis) for axis in "HRSC" if axis in site.axes]
    columns = place.shape[site.axes.index("C")] if "C" in site.axes else 1
    return place.transpose(order).reshape(place.shape[site.axes.index("H")], -1, columns)


def _limits(rows: np.ndarray, kind: Kind) -> tuple[float, float]:
    finite = rows[np.isfinite(rows)]
    if kind.nominal == kind.least:  # such as noise, which is never below its nominal value
        return 0.0, float(max(finite.max(initial=0.0), 1e-9))
    # A dead synapse in a hundred must not flatten the others.
    reach = np.percentile(np.abs(finite - kind.nominal), 99.5) if finite.size else 0.0
    reach = float(max(reach, 1e-9))
    return kind.nominal - reach, kind.nominal + reach


def _label_rows(ax: Any, rows: int, halves: int, names: str) -> None:
    ax.set_ylabel(names)
    if names == "hemisphere (sign)":
        ax.set_yticks(
            [1.5, 0.5, -0.5, -1.5][: 2 * halves],
            ["0 inh.", "0 exc.", "1 exc.", "1 inh."][: 2 * halves],
        )
        return
    if names == "hemisphere":
        ax.set_yticks([0.5, -0.5][:halves], ["0", "1"][:halves])
        return
    step = rows // 2
    up = [(k * step + 0.5, str(k * step)) for k in range(2)] + [(rows - 0.5, str(rows - 1))]
    down = [(-y, label) for y, label in up] if halves > 1 else []
    ax.set_yticks([y for y, _ in up + down], [label for _, label in up + down])
