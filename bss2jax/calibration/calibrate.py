"""A virtual calibration: sets the analog cells of a chip until its circuits measure alike.

It only does what an experimenter can: stimulate, read out with trial noise, and choose codes of
finite resolution. The chip's own arrays and the transfer of its cells, nonlinear and different from
cell to cell, are on the other side of `configure`.

References: calix (which cells are calibrated, to what spread); Pehle et al. 2022, arXiv 2201.11063
(the cells). Spans, tolerances and transfers are assumed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.calibration import adex, circuits, compartments, products
from bss2jax.chip import draws
from bss2jax.chip.chip import QUANTITIES, Chip
from bss2jax.chip.quantities import COLUMN, DRIVER, Cell
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.neurons.adex import AdEx
from bss2jax.text import table

# The quantity that each cell shifts, and the cells by name, in the order in which they are set.
_SHIFTED = {cell.name: declared for declared in QUANTITIES.values() for cell in declared.cells}
CELLS = {
    cell.name: cell
    for cell in sorted((c for q in QUANTITIES.values() for c in q.cells), key=lambda c: c.number)
}
PRODUCTS = tuple(name for name in CELLS if _SHIFTED[name].site in (DRIVER, COLUMN))
# Those of AdEx neurons depend on the neuron that is wanted.
ADEX = tuple(name for name in CELLS if hasattr(adex, f"measure_{name}"))
# Those of conductances, which structured neurons alone have.
COMPARTMENTS = tuple(name for name in CELLS if hasattr(compartments, f"measure_{name}"))
LIF = tuple(name for name in CELLS if name not in ADEX + COMPARTMENTS)
# Each measurement takes what was set before as it then is.
_ORDER = tuple(turn for name, cell in CELLS.items() for turn in (name, *cell.disturbs))
_CHECKS = 3  # measurements of a search besides those of its bits
Settings = dict[str, jax.Array]  # a code for each cell


@dataclass(frozen=True)
class Calibration:
    """What a calibration did.

    Attributes:
        chip: the chip with its cells set.
        settings: the codes, by quantity.
        before, after: what was measured with all cells in the middle, and at the end; nan where a
            circuit gave no answer.
        unreachable: where the target was missed by more than the tolerance.
    """

    chip: Chip
    settings: Settings
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    unreachable: dict[str, np.ndarray]

    def ratios(self) -> dict[str, float]:
        """Returns the spread of each quantity after over the one before, as measured."""
        spread = np.nanstd  # what gave no answer has none
        return {n: float(spread(self.after[n]) / spread(self.before[n])) for n in self.before}


def middle(*, substrate: Substrate = BSS2) -> Settings:
    """Returns the settings of a chip as it was drawn: every cell at its middle code."""
    shapes = {name: _SHIFTED[name].site.shape(substrate)[-2:] for name in CELLS}
    return {n: jnp.full(shapes[n], 2 ** (cell.bits - 1), jnp.int32) for n, cell in CELLS.items()}


def draw_cells(key: jax.Array, *, substrate: Substrate = BSS2) -> dict[str, jax.Array]:
    """Draws the curvature of each cell's transfer, -.6 to .6: the specimen's, not to be seen.

    Returns:
        For each cell `[H, C]`, of drivers `[H, R]`.
    """
    key = draws.pinned(key)
    return {
        name: draws.uniform(draws.folded(key, CELLS[name].number), codes.shape, low=-0.6, high=0.6)
        for name, codes in middle(substrate=substrate).items()
    }


def configure(chip: Chip, curvature: dict[str, jax.Array], settings: Settings) -> Chip:
    """Returns the chip that a drawn one becomes when its cells are set.

    A code u, 0 to 1, shifts its quantity by 2 span (t(u) - t(middle)), t(u) = u + k u (1 - u):
    monotone, and bent by the curvature k.

    Args:
        chip: as it was drawn.
        curvature: the curvature for each cell `[H, C]`, of drivers `[H, R]`: see `draw_cells`.
        settings: the codes, of the same shapes.
    """

    def shift(cell: Cell) -> jax.Array:
        codes, k = settings[cell.name], curvature[cell.name]
        u, half = codes / (2**cell.bits - 1), 2 ** (cell.bits - 1) / (2**cell.bits - 1)
        return 2 * cell.span * (u + k * u * (1 - u) - half - k * half * (1 - half))

    arrays = chip.quantities()
    moved = {}
    for name, declared in QUANTITIES.items():
        if declared.cells:
            shifts = [shift(cell) for cell in declared.cells]
            by = shifts[0] if len(shifts) == 1 else jnp.stack(shifts)
            moved[name] = declared.kind.moved(arrays[name], by)
    return chip.having(moved)


def calibrate(
    chip: Chip,
    key: jax.Array,
    *,
    cells: Sequence[str] = LIF,
    neuron: AdEx | None = None,
    settings: Settings | None = None,
    substrate: Substrate = BSS2,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Calibrates a chip towards nominal circuits, quantity by quantity.

    Args:
        chip: the chip as it was drawn.
        key: decides the trial noise and the transfers of the cells.
        cells: the quantities to set, of those in `CELLS`, by default those that LIF neurons
            and products have; `ADEX`, `COMPARTMENTS` and `PRODUCTS` are those of others.
        neuron: the neuron that is wanted, where some of `ADEX` are set; potentials in LSB, as
            `AdExScale.neuron` makes them of a model.
        settings: codes to begin with, of an earlier calibration with this key; else middle ones.
        substrate: the substrate whose array sizes the chip has.
        on_step: called after each measurement with the number done and the number of all.

    Returns:
        A `Calibration`, whose chip has the same trial noise and pattern of single synapses.

    Raises:
        ValueError: there is no such quantity, or it is one of a neuron that is not given.
    """
    unknown = [name for name in cells if name not in CELLS]
    if unknown or not cells:
        raise ValueError(f"cells: expected some of {', '.join(CELLS)}, got {tuple(cells)}")
    if neuron is None and any(name in ADEX for name in cells):
        raise ValueError(f"neuron: {', '.join(ADEX)} are set for a neuron; give the one wanted")
    cells = tuple(name for name in CELLS if name in cells)
    k_cells, k_bench = draws.split(key, 2)
    curvature = draw_cells(k_cells, substrate=substrate)
    settings, before, after = middle(substrate=substrate) | (settings or {}), {}, {}
    keys = iter(draws.split(k_bench, len(_ORDER) + 2 * len(CELLS)))
    order = [name for name in _ORDER if name in cells]
    done, total = 0, 2 * len(cells) + sum(CELLS[name].bits + _CHECKS for name in order)

    def measure(name: str, settings: Settings, key: jax.Array) -> jax.Array:
        nonlocal done
        value = _measure(substrate, name, neuron, chip, curvature, settings, key)
        value.block_until_ready()
        on_step(done := done + 1, total)
        return value

    bench = {name: partial(measure, name) for name in cells}
    for name in cells:
        before[name] = np.asarray(bench[name](settings, next(keys)))
    for name in order:
        settings = _search(bench[name], settings, name, next(keys))
    for name in cells:
        after[name] = np.asarray(bench[name](settings, next(keys)))
    unreachable = {
        name: ~(np.abs(after[name] - _target(name)) <= CELLS[name].tolerance) for name in cells
    }
    return Calibration(configure(chip, curvature, settings), settings, before, after, unreachable)


def describe_calibration(done: Calibration) -> str:
    """Returns a calibration as a table, and the circuits that could not be reached."""
    rows = [
        (
            name,
            f"{np.nanstd(done.before[name]):.3g}",
            f"{np.nanstd(done.after[name]):.3g}",
            f"{ratio:.3f}",
            "-" if CELLS[name].limit is None else f"{CELLS[name].limit:.2f}",
            str(int(done.unreachable[name].sum())),
        )
        for name, ratio in done.ratios().items()
    ]
    header = ("quantity", "spread before", "after", "ratio", "limit", "not reached")
    lines = [table(header, rows)]
    for name, where in done.unreachable.items():
        found = [(h, np.flatnonzero(of).tolist()) for h, of in enumerate(where) if of.any()]
        listed = [
            f"{', '.join(map(str, places[:6]))}{', ...' if places[6:] else ''} (hemisphere {h})"
            for h, places in found
        ]
        if listed:
            site = "rows" if _SHIFTED[name].site == DRIVER else "columns"
            lines.append(f"{site} that do not reach {name}: {'; '.join(listed)}")
    return "\n".join(lines)


@partial(jax.jit, static_argnums=(0, 1))
def _measure(
    substrate: Substrate,
    name: str,
    neuron: AdEx | None,
    chip: Chip,
    curvature: dict[str, jax.Array],
    settings: Settings,
    key: jax.Array,
) -> jax.Array:
    """What a cell sets, measured by the function of its name, such as `measure_tau_mem`."""
    actual = configure(chip, curvature, settings)
    if name in ADEX:
        return getattr(adex, f"measure_{name}")(actual, key, neuron=neuron, substrate=substrate)
    bench: Any = products if name in PRODUCTS else circuits
    bench = compartments if name in COMPARTMENTS else bench
    return getattr(bench, f"measure_{name}")(actual, key, substrate=substrate)


def _search(measure: Callable, settings: Settings, name: str, key: jax.Array) -> Settings:
    """Successive approximation: sets each bit, from the highest, while the target is not passed.

    What is too small to be measured counts as below its target.
    """
    cell, keys = CELLS[name], iter(draws.split(key, CELLS[name].bits + _CHECKS))
    codes = jnp.zeros_like(settings[name])
    for bit in reversed(range(cell.bits)):
        trial = codes + 2**bit
        value = measure(settings | {name: trial}, next(keys))
        codes = jnp.where(value > _target(name), codes, trial)
    # The target lies between this code and the next: take the one that measures nearer. Where that
    # is not near enough, and no better than before, the cell stays as it was.
    above = jnp.minimum(codes + 1, 2**cell.bits - 1)

    def error(codes: jax.Array) -> jax.Array:
        value = measure(settings | {name: codes}, next(keys))
        return jnp.where(jnp.isnan(value), jnp.inf, jnp.abs(value - _target(name)))

    low, high, before = error(codes), error(above), error(settings[name])
    found, nearest = jnp.where(high < low, above, codes), jnp.minimum(low, high)
    accepted = (nearest <= cell.tolerance) | (nearest < before) & jnp.isfinite(before)
    return settings | {name: jnp.where(accepted, found, settings[name])}


def _target(name: str) -> float:
    return _SHIFTED[name].kind.nominal
