"""The temperature of crossbars, and arrangements of rows and columns that keep them cool.

A cell is a node of a thermal network; edges of the array are adiabatic:

    g_v (T - T_ambient) + g_l sum over neighbours (T - T_neighbour) = P + P_leak(T)
    P_leak(T) = P_0 exp(alpha (T - T_0))

The modes of such a network are cosines, so that two transforms solve it. The mean rise is set by
the total power alone: what an arrangement changes is the peak, the gradient, and leakage, which
grows faster than in proportion.

References: Pedram & Nazarian 2006, Proc. IEEE 94 (leakage loop); HotSpot (thermal networks).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import dctn, idctn

from bss2jax.mapping.crossbar import Crossbar, Rows

ALPHA = math.log(1 / 0.48) / 11.4  # 1/K, of the published -52 % leakage at -11.4 K


@dataclass(frozen=True)
class Thermal:
    """Thermal conductances of an array.

    Attributes:
        vertical: conductance from a cell to ambient, W/K.
        lateral: between neighbouring cells, W/K; heat reaches sqrt(lateral / vertical) cells.
        ambient: ambient temperature, K.
    """

    vertical: float
    lateral: float
    ambient: float = 318.15

    def rise(self, power: np.ndarray) -> np.ndarray:
        """Returns by how much cells are warmer than ambient, K, from power, W; `[N, M]` both."""
        return idctn(dctn(power) / _modes(self, *power.shape))


@lru_cache(maxsize=16)
def _modes(thermal: Thermal, rows: int, columns: int) -> np.ndarray:
    """What each mode of an array gives off, W/K: cosines, as no heat leaves the edges."""
    along, across = (2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in (rows, columns))
    return thermal.vertical + thermal.lateral * (along[:, None] + across)


@dataclass(frozen=True)
class Leakage:
    """What leaks into each cell.

    Attributes:
        power: the power of a cell at the reference temperature, W.
        reference: K.
        alpha: growth, 1/K.
    """

    power: float
    reference: float
    alpha: float = ALPHA

    def at(self, temperature: np.ndarray) -> np.ndarray:
        """Returns the power that leaks, W, from temperatures, K; `[N, M]` both."""
        return self.power * np.exp(self.alpha * (temperature - self.reference))


class Runaway(ValueError):
    """Leakage heats an array more than it can give off."""


def closed(thermal: Thermal, power: np.ndarray, leakage: Leakage) -> tuple[np.ndarray, np.ndarray]:
    """Returns temperatures and leakage that belong to each other, `[N, M]` both, K and W.

    Args:
        thermal: the thermal conductances.
        power: `[N, M]` what is dissipated besides, W.
        leakage: what leaks.

    Raises:
        Runaway: there is no such temperature.
    """
    temperature = thermal.ambient + thermal.rise(power)
    for _ in range(200):
        leaks = leakage.at(temperature)
        new = thermal.ambient + thermal.rise(power + leaks)
        if not np.isfinite(new).all() or new.max() > 2_000:
            break
        if np.abs(new - temperature).max() < 1e-6:
            return new, leakage.at(new)
        temperature = new
    raise Runaway("leakage heats the array without end: less power, or more conductance, is needed")


def at_random(crossbar: Crossbar, rng: np.random.Generator) -> Rows:
    """Returns an arrangement by chance."""
    n, m = crossbar.resistance.shape
    return rng.permutation(n), rng.permutation(m)


def spread(loads: np.ndarray) -> np.ndarray:
    """Returns the order `[n]` in which loads of neighbours differ most: hot ones beside cold ones.

    The hottest are placed as the binary digits of their ranks, read backwards, say: far apart.
    """
    n = len(loads)
    bits = max(1, (n - 1).bit_length())
    numbers = np.arange(1 << bits)
    backward = np.zeros_like(numbers)
    for bit in range(bits):
        backward |= ((numbers >> bit) & 1) << (bits - 1 - bit)
    places = np.argsort(backward[:n], kind="stable")
    order = np.empty(n, int)
    order[places] = np.argsort(-loads, kind="stable")
    return order


def cool(crossbar: Crossbar, thermal: Thermal, steps: int = 300, seed: int = 0) -> Rows:
    """Searches the arrangement whose hottest cell is coolest, by hill climbing over swaps.

    It begins with rows, and columns, whose averages are as even as swaps make them; then swaps what
    is hot in the whole array with anything, and computes currents and temperatures anew.

    Args:
        crossbar: the crossbar.
        thermal: the thermal conductances.
        steps: swaps tried; of up to 8 rows and columns all are, until none helps.
        seed: the seed of which are tried.
    """

    def temperature(rows: Rows) -> np.ndarray:
        return thermal.rise(crossbar.arranged(*rows).power())

    def peak(rows: Rows) -> float:
        return float(temperature(rows).max())

    def value_of(warm: np.ndarray) -> float:
        """A high power mean: the hottest count most, and fewer of them is better too."""
        return float(((warm / scale) ** 24).mean())

    power, rng = crossbar.power(), np.random.default_rng(seed)
    start = _even(power.sum(axis=1), thermal), _even(power.sum(axis=0), thermal)
    if max(power.shape) <= 8:
        starts = [start, *(at_random(crossbar, rng) for _ in range(4))]
        return min((_climbed(each, peak) for each in starts), key=peak)
    scale, now = max(float(power.mean()), 1e-300) / thermal.vertical, start
    warm = temperature(now)
    value = value_of(warm)
    for _ in range(steps):
        side = int(rng.integers(2))
        size, hottest = len(now[side]), np.unravel_index(warm.argmax(), warm.shape)[side]
        i = int(np.clip(hottest + rng.integers(-3, 4), 0, size - 1))
        if rng.random() < 0.3:
            i = int(rng.integers(size))
        tried = _with_swap(now, side, i, int(rng.integers(size)))
        after = temperature(tried)
        if (better := value_of(after)) < value:
            now, warm, value = tried, after, better
    return now


def _with_swap(rows: Rows, side: int, i: int, j: int) -> Rows:
    """Two rows, or two columns, in each other's place."""
    swapped = rows[side].copy()
    swapped[[i, j]] = swapped[[j, i]]
    return (swapped, rows[1]) if side == 0 else (rows[0], swapped)


def _climbed(now: Rows, cost: Callable[[Rows], float]) -> Rows:
    """Takes the best of all swaps until none helps."""
    best = cost(now)
    while True:
        swaps = [
            _with_swap(now, side, i, j)
            for side in (0, 1) for i in range(len(now[side])) for j in range(i)
        ]  # fmt: skip
        costs = [cost(swap) for swap in swaps]
        if not swaps or min(costs) >= best:
            return now
        best, now = min(costs), swaps[int(np.argmin(costs))]


def _even(loads: np.ndarray, thermal: Thermal) -> np.ndarray:
    """An order of loads along a line whose warmest place is coolest, by swaps."""
    n, order = len(loads), spread(loads)
    # Rise of place i from a watt in place j.
    green = np.stack([thermal.rise(one[:, None])[:, 0] for one in np.eye(n)], axis=1)
    first, second = np.triu_indices(n, 1)
    for _ in range(4 * n if n > 1 else 0):
        held = loads[order]
        rise = green @ held
        change = (held[second] - held[first])[:, None] * (green[first] - green[second])
        peaks = (rise + change).max(axis=1)
        best = int(peaks.argmin())
        if peaks[best] >= rise.max() * (1 - 1e-9):
            break
        i, j = first[best], second[best]
        order[[i, j]] = order[[j, i]]
    return order


def dealt(crossbars: Sequence[Crossbar]) -> list[Crossbar]:
    """Deals the rows of a cluster's crossbars out anew: the most active ones to different ones.

    Args:
        crossbars: those of one cluster, of one size; any input may be in any of them.
    """
    resistance = np.concatenate([c.resistance for c in crossbars])
    rates = np.concatenate([c.rates for c in crossbars])
    load = rates * (1 / resistance).sum(axis=1)
    order, count = np.argsort(-load, kind="stable"), len(crossbars)
    # There and back, as children are picked for teams.
    rank = np.arange(len(order))
    team = np.where(rank // count % 2, count - 1 - rank % count, rank % count)
    first = crossbars[0]
    return [
        Crossbar(resistance[order[team == k]], rates[order[team == k]], first.volts, first.wires)
        for k in range(count)
    ]
