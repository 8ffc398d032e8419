"""A quantity of a chip, place by place, as the places lie on it."""

import numpy as np

from bss2jax.chip.chip import Chip
from bss2jax.plot.style import MAP, axes

# What a quantity is called, its unit, and its nominal value, None for noise.
_QUANTITIES = {
    "synapse_gain": ("strength of the synapses", "factor", 1.0),
    "driver_gain": ("pulse length of the drivers", "factor", 1.0),
    "column_gain": ("gain", "factor", 1.0),
    "inhibitory_gain": ("inhibitory over excitatory gain", "factor", 1.0),
    "offset": ("offset", "LSB", 0.0),
    "noise_std": ("noise of a read", "LSB", None),
    "send_noise": ("noise of a send", "LSB", None),
    "compression": ("compression", "1/LSB", None),
    "leak": ("leak potential", "share of leak to threshold", 0.0),
    "reset": ("reset potential", "share of leak to threshold", 0.0),
    "threshold": ("threshold", "share of leak to threshold", 0.0),
    "tau_mem": ("membrane time constant", "factor", 1.0),
    "tau_syn": ("synaptic time constant", "factor", 1.0),
    "strength": ("synaptic input", "factor", 1.0),
    "threshold_noise": ("threshold noise", "share of leak to threshold", None),
    "membrane_noise": ("membrane noise", "share of leak to threshold", None),
}


def chip_map(
    chip: Chip,
    quantity: str = "column_gain",
    *,
    limits: tuple[float, float] | None = None,
    ax=None,
):
    """Draws a quantity of a chip over its places: one hemisphere above, the other below.

    Columns go from left to right. Synapse rows are shown as pairs, excitatory and inhibitory, the
    first next to the neurons, so the lower array mirrors the upper one. The drawing is a scheme.

    Args:
        chip: of which.
        quantity: an attribute of `Chip` or of its `Circuits` with a value for each place.
        limits: of the colours; by default symmetric about the nominal value, or from 0.
        ax: to draw on; by default new axes.

    Returns:
        The axes: column against row, with a colour bar.

    Raises:
        ValueError: there is no such quantity.
    """
    if quantity not in _QUANTITIES:
        raise ValueError(f"quantity: expected one of {', '.join(_QUANTITIES)}, got {quantity!r}")
    title, unit, nominal = _QUANTITIES[quantity]
    there = {name.removeprefix("circuits."): a for name, a in chip.quantities().items()}
    # What costs nothing where there is none is not there.
    place = there.get(quantity, np.zeros_like(chip.offset))
    rows, names = _rows(np.asarray(place), quantity)
    if limits is None:
        limits = _limits(rows, nominal)
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
        ax.axhline(0, color="white", linewidth=2)
    ax.set(
        title=title,
        xlabel="column (index)" if width > 1 else "all columns (a driver serves its row)",
        xlim=(0, width),
        ylim=(y[-1], y[0]),
    )
    if width == 1:
        ax.set_xticks([])
    _label_rows(ax, middle, halves, names)
    bar = ax.figure.colorbar(mesh, ax=ax)
    known = "" if nominal is None else f", nominal {nominal:g}"
    bar.set_label(f"{title} ({unit}){known}", fontsize=8)
    return ax


def _rows(place, quantity):
    """The quantity as rows `[H, rows, C]`, the first next to the neurons, and what rows are."""
    if quantity == "synapse_gain":  # [H, 2, R, C]
        h, signs, r, c = place.shape
        return place.swapaxes(1, 2).reshape(h, r * signs, c), "synapse row (index)"
    if quantity == "strength":  # [2, H, C]
        return place.swapaxes(0, 1), "hemisphere (sign)"
    if quantity == "driver_gain":  # [H, R]
        return place[:, :, None], "signed row (index)"
    return place[:, None, :], "hemisphere (index)"


def _limits(rows, nominal):
    finite = rows[np.isfinite(rows)]
    if nominal is None:
        return 0.0, float(max(finite.max(initial=0.0), 1e-9))
    # A dead synapse in a hundred must not flatten the others.
    reach = np.percentile(np.abs(finite - nominal), 99.5) if finite.size else 0.0
    reach = float(max(reach, 1e-9))
    return nominal - reach, nominal + reach


def _label_rows(ax, rows, halves, names):
    ax.set_ylabel(names)
    if names == "hemisphere (sign)":
        ax.set_yticks(
            [1.5, 0.5, -0.5, -1.5][: 2 * halves],
            ["0 inh.", "0 exc.", "1 exc.", "1 inh."][: 2 * halves],
        )
        return
    if names == "hemisphere (index)":
        ax.set_yticks([0.5, -0.5][:halves], ["0", "1"][:halves])
        return
    step = rows // 2
    up = [(k * step + 0.5, str(k * step)) for k in range(2)] + [(rows - 0.5, str(rows - 1))]
    down = [(-y, label) for y, label in up] if halves > 1 else []
    ax.set_yticks([y for y, _ in up + down], [label for _, label in up + down])
