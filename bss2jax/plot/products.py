"""What the columns of a chip make of weights and inputs."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.plot.style import COLOURS, GREY, PALE, axes, require_shape


def vmm(
    product: npt.ArrayLike,
    mean: npt.ArrayLike,
    std: npt.ArrayLike | None = None,
    *,
    substrate: Substrate = BSS2,
    ax: Axes | None = None,
) -> Axes:
    """Draws the characterisation of the matrix product: readouts against weight x input.

    The median column with its trial noise, the span of the columns, and what a nominal column would
    read. `calibration.products.characterise` measures all of it: `vmm(c.product, c.mean, c.std)`.

    Args:
        product: `[W]` weight x input, as the readout of a nominal column, LSB.
        mean: `[W, ...]` mean readouts of the columns over runs, LSB.
        std: an array of the same shape with their std over runs, LSB; None: no error bars.
        substrate: the substrate whose linear range and limits are shown.
        ax: the axes to draw on; by default new axes.

    Returns:
        The axes: weight x input against readout.

    Raises:
        ValueError: shapes do not match.

    References: brainscales2-demos tp_01 (the figure, and the linear range).
    """
    product = require_shape("product", product, "W")
    mean = np.asarray(mean)
    if mean.ndim < 2 or len(mean) != len(product):
        raise ValueError(f"mean: expected [{len(product)}, columns], got shape {mean.shape}")
    if std is not None and np.shape(std) != mean.shape:
        raise ValueError(f"std: expected the shape of mean, {mean.shape}, got {np.shape(std)}")
    columns = mean.reshape(len(mean), -1)
    noise = None if std is None else np.median(np.reshape(std, columns.shape), axis=1)
    low, high = np.percentile(columns, (5, 95), axis=1)
    ax = axes(ax, 7.0)
    ax.axhspan(
        -substrate.linear_range, substrate.linear_range, color=PALE, label="linear range"
    )  # fmt: skip
    ax.fill_between(
        product, low, high, color=COLOURS[0], alpha=0.3, linewidth=0,
        label=f"5 to 95 % of {columns.shape[1]} columns",
    )  # fmt: skip
    ax.errorbar(
        product, np.median(columns, axis=1), noise, fmt=".", color=COLOURS[0], markersize=4,
        elinewidth=1, label="median column" + ("" if std is None else ", noise of a read"),
    )  # fmt: skip
    nominal = np.clip(product, substrate.readout_min, substrate.readout_max)
    ax.plot(product, nominal, "--", color=COLOURS[3], linewidth=1.2, label="nominal column")
    for limit in (substrate.readout_min, substrate.readout_max):
        ax.axhline(limit, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="weight x input, times the nominal gain (LSB)", ylabel="readout (LSB)")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax
