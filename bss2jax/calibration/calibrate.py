"""A virtual calibration: sets the analog cells of a chip until its circuits measure alike.

It only does what an experimenter can: stimulate, read out with trial noise, and choose codes of
finite resolution. The chip's own arrays and the transfer of its cells, nonlinear and different from
cell to cell, are on the other side of `configure`.

References: calix (which cells are calibrated, to what spread); Pehle et al. 2022, arXiv 2201.11063
(the cells). Spans, tolerances and transfers are assumed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.calibration import circuits
from bss2jax.calibration.products import measure_synapses
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute.products import matmul
from bss2jax.kernels.readout import nominal_scale
from bss2jax.text import table

_RUNS = 100  # repetitions of a readout


@dataclass(frozen=True)
class Cell:
    """An analog cell or trim that each circuit has of its own.

    Attributes:
        bits: resolution: 10 of the analog cells (CapMem), 4 to 6 of trims.
        span: the most it shifts to either side; of factors, of their logarithm. Assumed.
        factor: whether it multiplies the quantity.
        tolerance: how far from its target a circuit counts as reached. Assumed.
        limit: spread after over spread before that tests of silicon accept (calix); for matrix
            products assumed.
    """

    bits: int
    span: float
    factor: bool
    tolerance: float
    limit: float | None


CELLS = {
    "offset": Cell(10, 70.0, False, 1.0, 0.3),
    "gain": Cell(10, 1.2, True, 0.03, 0.3),
    "driver": Cell(5, 0.4, True, 0.06, 0.3),
    "inhibitory": Cell(10, 1.2, True, 0.03, 0.3),
    "leak": Cell(10, 1.2, False, 0.03, 0.3),
    "reset": Cell(10, 1.2, False, 0.03, 0.2),
    "threshold": Cell(10, 1.2, False, 0.03, 0.35),
    "tau_mem": Cell(10, 3.5, True, 0.1, 0.45),
    "excitatory": Cell(6, 1.2, True, 0.15, None),
    "tau_syn": Cell(10, 3.5, True, 0.15, 0.2),
    "inhibitory_strength": Cell(6, 1.2, True, 0.15, None),
}
PRODUCTS = ("offset", "gain", "driver", "inhibitory")
# Each measurement takes what was set before as it then is. Drivers are told apart by all columns
# together, which takes equal ones, and move their gain a little.
_ORDER = ("offset", "gain", "driver", "gain", *list(CELLS)[3:])
Settings = dict[str, jax.Array]  # a code for each cell


@dataclass(frozen=True)
class Calibration:
    """What a calibration did.

    Attributes:
        chip: with its cells set.
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


def middle(substrate: Substrate = BSS2) -> Settings:
    """Returns the settings of a chip as it was drawn: every cell at its middle code."""
    columns = (substrate.hemispheres, substrate.columns)
    shapes = dict.fromkeys(CELLS, columns) | {"driver": (substrate.hemispheres, substrate.rows)}
    return {n: jnp.full(shapes[n], 2 ** (cell.bits - 1), jnp.int32) for n, cell in CELLS.items()}


def draw_cells(key: jax.Array, substrate: Substrate = BSS2) -> dict[str, jax.Array]:
    """Draws the curvature of each cell's transfer, -.6 to .6: the specimen's, not to be seen.

    Returns:
        For each cell `[H, C]`, of drivers `[H, R]`.
    """
    keys = jax.random.split(key, len(CELLS))
    return {
        name: jax.random.uniform(k, codes.shape, minval=-0.6, maxval=0.6)
        for k, (name, codes) in zip(keys, middle(substrate).items())
    }


def configure(chip: Chip, curvature: dict[str, jax.Array], settings: Settings) -> Chip:
    """Returns the chip that a drawn one becomes when its cells are set.

    A code u, 0 to 1, shifts its quantity by 2 span (t(u) - t(middle)), t(u) = u + k u (1 - u):
    monotone, and bent by the curvature k.

    Args:
        chip: as it was drawn.
        curvature: for each cell `[H, C]`, of drivers `[H, R]`: see `draw_cells`.
        settings: the codes, of the same shapes.
    """
    moved = {}
    for name, codes in settings.items():
        cell, k = CELLS[name], curvature[name]
        u, half = codes / (2**cell.bits - 1), 2 ** (cell.bits - 1) / (2**cell.bits - 1)
        value = 2 * cell.span * (u + k * u * (1 - u) - half - k * half * (1 - half))
        moved[name] = jnp.exp(value) if cell.factor else value
    c = chip.circuits
    strength = jnp.stack([moved["excitatory"], moved["inhibitory_strength"]])
    return replace(
        chip,
        driver_gain=chip.driver_gain * moved["driver"],
        offset=chip.offset + moved["offset"],
        column_gain=chip.column_gain * moved["gain"],
        inhibitory_gain=chip.inhibitory_gain * moved["inhibitory"],
        circuits=replace(
            c,
            leak=c.leak + moved["leak"],
            reset=c.reset + moved["reset"],
            threshold=c.threshold + moved["threshold"],
            tau_mem=c.tau_mem * moved["tau_mem"],
            tau_syn=c.tau_syn * moved["tau_syn"],
            strength=c.strength * strength,
        ),
    )


def calibrate(
    chip: Chip,
    key: jax.Array,
    substrate: Substrate = BSS2,
    *,
    cells: Sequence[str] = tuple(CELLS),
) -> Calibration:
    """Calibrates a chip towards nominal circuits, quantity by quantity.

    Args:
        chip: as it was drawn.
        key: of the trial noise, and of its cells' transfers.
        substrate: of which it is.
        cells: the quantities to set, of those in `CELLS`, by default all; `PRODUCTS` are those of
            matrix products.

    Returns:
        A `Calibration`, whose chip has the same trial noise and pattern of single synapses.

    Raises:
        ValueError: there is no such quantity.
    """
    unknown = [name for name in cells if name not in CELLS]
    if unknown or not cells:
        raise ValueError(f"cells: expected some of {', '.join(CELLS)}, got {tuple(cells)}")
    cells = tuple(name for name in CELLS if name in cells)
    k_cells, k_bench = jax.random.split(key)
    curvature = draw_cells(k_cells, substrate)
    settings, before, after = middle(substrate), {}, {}
    bench = {name: partial(_measure, substrate, name, chip, curvature) for name in cells}
    keys = iter(jax.random.split(k_bench, len(_ORDER) + 2 * len(CELLS)))
    for name in cells:
        before[name] = np.asarray(bench[name](settings, next(keys)))
    for name in filter(cells.__contains__, _ORDER):
        settings = _search(bench[name], settings, name, next(keys))
    for name in cells:
        after[name] = np.asarray(bench[name](settings, next(keys)))
    unreachable = {
        name: ~(np.abs(after[name] - _target(CELLS[name])) <= CELLS[name].tolerance)
        for name in cells
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
        places = [f"{h}.{i}" for h, i in np.argwhere(where)[:12]]
        if places:
            more = ", ..." if where.sum() > len(places) else ""
            lines.append(f"not reached, {name} (hemisphere.place): {', '.join(places)}{more}")
    return "\n".join(lines)


@partial(jax.jit, static_argnums=(0, 1))
def _measure(substrate, name, chip, curvature, settings, key):
    return _MEASURE[name](configure(chip, curvature, settings), key, substrate)


def _search(measure: Callable, settings: Settings, name: str, key: jax.Array) -> Settings:
    """Successive approximation: sets each bit, from the highest, while the target is not passed.

    What is too small to be measured counts as below its target.
    """
    cell, keys = CELLS[name], iter(jax.random.split(key, CELLS[name].bits + 3))
    codes = jnp.zeros_like(settings[name])
    for bit in reversed(range(cell.bits)):
        trial = codes + 2**bit
        value = measure(settings | {name: trial}, next(keys))
        codes = jnp.where(value > _target(cell), codes, trial)
    # The target lies between this code and the next: take the one that measures nearer. Where that
    # is not near enough, and no better than before, the cell stays as it was.
    above = jnp.minimum(codes + 1, 2**cell.bits - 1)

    def error(codes):
        value = measure(settings | {name: codes}, next(keys))
        return jnp.where(jnp.isnan(value), jnp.inf, jnp.abs(value - _target(cell)))

    low, high, before = error(codes), error(above), error(settings[name])
    found, nearest = jnp.where(high < low, above, codes), jnp.minimum(low, high)
    accepted = (nearest <= cell.tolerance) | (nearest < before) & jnp.isfinite(before)
    return settings | {name: jnp.where(accepted, found, settings[name])}


def _target(cell):
    return 1.0 if cell.factor else 0.0


def _measure_driver(chip, key, substrate):
    """`[H, R]` strength of each row over the nominal: the mean of its columns."""
    return measure_synapses(chip, key, runs=10, substrate=substrate).mean(2)


def _measure_offset(chip, key, substrate):
    """`[H, C]` mean readout without input, LSB."""
    return _mean_readout(chip, 0.0, key, substrate)


def _measure_gain(sign, chip, key, substrate):
    """`[H, C]` deflection at a weight of one sign, about 40 LSB, over the nominal one."""
    weight = sign * 20.0
    activation = math.ceil(40 / (nominal_scale(1, substrate) * substrate.rows * 20))
    activation = min(activation, substrate.activation_max)
    k_on, k_off = jax.random.split(key)
    y = _mean_readout(chip, weight, k_on, substrate, activation)
    nominal = nominal_scale(1, substrate) * substrate.rows * activation * weight
    return (y - _mean_readout(chip, 0.0, k_off, substrate)) / nominal


def _mean_readout(chip, weight, key, substrate, activation=0):
    shape = (substrate.hemispheres, substrate.columns)
    x = jnp.full((_RUNS, substrate.rows), float(activation))
    w = jnp.full((substrate.rows, shape[0] * shape[1]), weight)
    y = matmul(x, w, chip, key, substrate=substrate)
    return y.mean(0).reshape(shape) + 0.5  # the CADC truncates


def _measure_synaptic(sign, part, chip, key, substrate):
    return circuits.measure_synaptic_input(chip, key, sign, substrate)[part]


_MEASURE = {
    "driver": _measure_driver,
    "offset": _measure_offset,
    "gain": partial(_measure_gain, 1),
    "inhibitory": partial(_measure_gain, -1),
    "leak": circuits.measure_leak,
    "reset": circuits.measure_reset,
    "threshold": circuits.measure_threshold,
    "tau_mem": circuits.measure_tau_mem,
    "tau_syn": partial(_measure_synaptic, 1, 0),
    "excitatory": partial(_measure_synaptic, 1, 1),
    "inhibitory_strength": partial(_measure_synaptic, -1, 1),
}
