"""Which codes the weights of a network use."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bss2jax.chip.substrate import BSS2
from bss2jax.plot.style import COLOURS, LINES, axes, cycle


def weights(codes: npt.ArrayLike | Mapping[str, npt.ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Draws how often each code of a synapse is used, and says how many are at the limit.

    Args:
        codes: whole numbers -63..63 of any shape, LSB; or such arrays by the names of layers.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: code against share of the layer's synapses.

    Raises:
        ValueError: there are none, or they are no codes.
    """
    most = BSS2.weight_max
    layers = {
        name: np.asarray(c).ravel()
        for name, c in (codes if isinstance(codes, Mapping) else {"": codes}).items()
    }
    for name, c in layers.items():
        if not c.size or (c != np.round(c)).any() or np.abs(c).max() > most:
            raise ValueError(
                f"codes{name and f' of {name}'}: expected whole numbers -{most}..{most}"
            )
    if not layers:
        raise ValueError("codes: expected at least one layer, got none")
    ax = axes(ax)
    edges = np.arange(-most - 0.5, most + 1)
    for i, (name, c) in enumerate(layers.items()):
        share = 100 * np.histogram(c, edges)[0] / c.size
        limit, zero = (100 * float((np.abs(c) == of).mean()) for of in (most, 0))
        said = f"{name}: " if name else ""
        ax.stairs(
            share, edges, color=cycle(COLOURS, i), linestyle=cycle(LINES, i), linewidth=1.3,
            label=f"{said}{(share > 0).sum()} codes, {zero:.1f} % zero, {limit:.1f} % at the limit",
        )  # fmt: skip
    ax.set(
        xlim=(edges[0], edges[-1]),
        xlabel="code (LSB)",
        ylabel="share of synapses (%)",
    )
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1))
    return ax
