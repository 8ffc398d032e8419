"""Crossbars of memory cells: currents, heat, wear, and arrangements of rows and columns."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bss2jax.chip.presets import pcm, system
from bss2jax.mapping import heat, objectives, suite, wear
from bss2jax.mapping.crossbar import PULSE, Crossbar, Wires, crossbars, fast
from bss2jax.mapping.heat import Leakage, Runaway, Thermal
from bss2jax.mapping.search import reference, search
from bss2jax.mapping.wear import Endurance

# Currents of badcrossbar 1.1.0 (Joksas & Mehonic 2020), one row driven at a time with 1 V and the
# others open, 1.5 ohm a cell of word lines and 0.5 of bit lines; r8 are resistances, i8 currents.
LADDER = np.load(Path(__file__).parent / "ladder.npz")


def drawn(n, m, seed=0, spread=1.0, wires=Wires()):
    """Cells of weights drawn as the square of a uniform number, and lognormal rates."""
    rng = np.random.default_rng(seed)
    conductance = 1 / 200e3 + rng.random((n, m)) ** 2 * (1 / 10e3 - 1 / 200e3)
    return Crossbar(1 / conductance, 10 * np.exp(rng.normal(0, spread, n)), 1.0, wires)


@pytest.mark.parametrize("n", [8, 16, 32])
def test_currents_are_those_of_an_independent_solver(n):
    found = Crossbar(LADDER[f"r{n}"], np.ones(n), 1.0, Wires(1.5, 0.5)).currents()
    np.testing.assert_allclose(found, LADDER[f"i{n}"], rtol=1e-9)


def test_no_current_is_lost_at_a_node():
    crossbar = drawn(40, 30, wires=Wires(3.0, 2.0))
    current = crossbar.currents()
    below = crossbar.wires.column * (40 - np.arange(40))[:, None]
    volts = current * (crossbar.resistance + below)
    before = np.concatenate([np.full((40, 1), crossbar.volts), volts[:, :-1]], axis=1)
    along = (before - volts) / crossbar.wires.row
    lost = along - current - np.append(along[:, 1:], np.zeros((40, 1)), axis=1)
    assert np.abs(lost).max() < 1e-12 * crossbar.volts / crossbar.wires.row
    # All that enters a row leaves it, through its cells.
    np.testing.assert_allclose(along[:, 0], current.sum(axis=1), rtol=1e-9)


def test_without_wires_a_cell_has_the_whole_voltage():
    crossbar = drawn(5, 4, wires=Wires(0.0, 0.0))
    np.testing.assert_allclose(crossbar.currents(), 1 / crossbar.resistance)
    power = crossbar.rates[:, None] * PULSE / crossbar.resistance
    np.testing.assert_allclose(crossbar.power(), power)


def test_even_power_warms_evenly_and_all_heat_leaves():
    thermal = Thermal(2.0, 128.0)
    np.testing.assert_allclose(thermal.rise(np.full((9, 13), 4.0)), 2.0, rtol=1e-9)
    power = np.random.default_rng(0).random((20, 31))
    assert 2.0 * thermal.rise(power).sum() == pytest.approx(power.sum(), rel=1e-9)


def test_a_hot_end_of_a_strip_decays_as_worked_out():
    """T[i] = c cosh((n - 1/2 - i) k), 2 cosh k = 2 + g_v / g_l: no heat leaves the far end."""
    n, thermal = 60, Thermal(1.0, 64.0)
    power = np.zeros((n, 1))
    power[0] = 1.0
    k = np.arccosh(1 + thermal.vertical / thermal.lateral / 2)
    shape = np.cosh((n - 0.5 - np.arange(n)) * k)
    expected = shape / (thermal.vertical * shape.sum())
    np.testing.assert_allclose(thermal.rise(power)[:, 0], expected, rtol=1e-9)


def test_leakage_and_temperature_belong_to_each_other():
    thermal, leakage = Thermal(1.0, 64.0), Leakage(0.5, 318.15)
    power = 5 * np.random.default_rng(0).random((16, 16))
    warm, leaks = heat.closed(thermal, power, leakage)
    np.testing.assert_allclose(leaks, leakage.at(warm), rtol=1e-6)
    np.testing.assert_allclose(warm, 318.15 + thermal.rise(power + leaks), atol=1e-5)
    # The abstract's figure: 11.4 K cooler is 52 % less.
    assert leakage.at(np.array(310.0)) / leakage.at(np.array(321.4)) == pytest.approx(0.48)
    with pytest.raises(Runaway, match="without end"):
        heat.closed(thermal, 40 * power, leakage)


def test_hill_climbing_finds_the_coolest_of_all_small_arrangements():
    thermal, ways, found = Thermal(1.0, 4.0), list(itertools.permutations(range(3))), 0
    for seed in range(100):
        crossbar = drawn(3, 3, seed, wires=Wires(100.0, 100.0))

        def peak(rows, crossbar=crossbar):
            return thermal.rise(crossbar.arranged(*map(np.array, rows)).power()).max()

        least = min(peak(both) for both in itertools.product(ways, ways))
        found += peak(heat.cool(crossbar, thermal)) <= least * (1 + 1e-12)
    assert found >= 95


def test_a_cool_arrangement_beats_that_for_speed_and_chance():
    crossbar, thermal, rng = drawn(128, 128), Thermal(1.0, 64.0), np.random.default_rng(0)

    def peak(rows):
        return thermal.rise(crossbar.arranged(*rows).power()).max()

    cool = peak(heat.cool(crossbar, thermal))
    assert cool <= 0.4 * peak(fast(crossbar))
    assert cool <= 0.9 * min(peak(heat.at_random(crossbar, rng)) for _ in range(20))


def test_rows_dealt_to_crossbars_are_the_same_rows():
    pair = [drawn(8, 8, 0), drawn(8, 8, 1)]
    dealt = heat.dealt(pair)
    before, after = (np.concatenate([c.resistance for c in side]) for side in (pair, dealt))
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    loads = [c.power().sum() for c in dealt]
    assert max(loads) / min(loads) < max(p := [c.power().sum() for c in pair]) / min(p)


def test_row_and_bottleneck_assignments_are_the_best_of_all():
    rng = np.random.default_rng(0)
    for number in range(150):
        n = int(rng.integers(2, 7))
        ways = np.array(list(itertools.permutations(range(n))))
        values = rng.integers(0, 9, (n, n)) if number % 2 else rng.random((n, n))
        found = wear.bottleneck(values)
        assert sorted(found) == list(range(n))
        every = values[ways, np.arange(n)].min(axis=1)
        assert values[found, np.arange(n)].min() == every.max()
        rates, cycles = rng.random(n), rng.random(n)
        longest = wear.row_lifetime(rates[wear.longest_rows(rates, cycles)], cycles)
        assert longest == (cycles / rates[ways]).min(axis=1).max()


def test_assignments_of_eight_are_the_best_of_all():
    rng, ways = np.random.default_rng(1), np.array(list(itertools.permutations(range(8))))
    for _ in range(5):  # of all 40,320 orders
        values = rng.random((8, 8))
        every = values[ways, np.arange(8)].min(axis=1)
        assert values[wear.bottleneck(values), np.arange(8)].min() == every.max()


def test_the_hottest_cell_lasts_a_span_less_than_the_coolest():
    on = Crossbar(np.full((32, 32), 10e3), np.ones(32))
    lasts = wear.cell_lifetime(on, Endurance(cycles=1e9, span=10.0))
    assert lasts.max() == pytest.approx(1e9) and lasts.min() == pytest.approx(1e8)
    rows = Endurance(cycles=1e9, span=10.0).by_row(5)
    assert rows[0] == 1e9 and rows[-1] == pytest.approx(1e8) and (np.diff(rows) < 0).all()


def test_cells_last_longer_than_in_the_arrangement_for_speed():
    crossbar, endurance = drawn(64, 64, spread=0.7), Endurance()

    def first(rows):
        return wear.cell_lifetime(crossbar.arranged(*rows), endurance).min()

    assert first(wear.longest_cells(crossbar, endurance)) > first(fast(crossbar))


@pytest.fixture(scope="module")
def reservoir():
    load = suite.reservoir(120, 0.1, np.random.default_rng(0))
    on = replace(pcm(2, 2), limits=replace(pcm(2, 2).limits, circuits=40))
    return search(load, on, method="pycarl")


def test_crossbars_hold_the_synapses_of_their_cluster(reservoir):
    load = reservoir.workload
    held = list(crossbars(reservoir, np.ones(load.synapses), reservoir.system.cell))
    assert [len(cluster) for cluster in held] == [1, 1, 1]
    on = sum(int((c.resistance < 11e3).sum()) for cluster in held for c in cluster)
    assert on == load.synapses
    assert held[0][0].rates.sum() == pytest.approx(load.rates[reservoir.counts[:, 0] > 0].sum())


def test_lifetime_of_a_system_is_that_of_its_first_row(reservoir):
    endurance, load = Endurance(), reservoir.workload
    firsts = []
    for (crossbar,) in crossbars(reservoir, np.ones(load.synapses), reservoir.system.cell):
        places = endurance.by_row(128)
        rows = wear.longest_rows(crossbar.rates, places)
        firsts.append(wear.row_lifetime(crossbar.rates[rows], places))
    assert wear.lifetime(reservoir) == pytest.approx(min(firsts))
    # Two crossbars a cluster have two rows of each durability: the second most active one gains.
    assert wear.lifetime(reservoir, size=60) >= wear.lifetime(reservoir, Endurance(span=1e3))


def test_sums_are_relative_and_the_front_is_what_nothing_beats(reservoir):
    load, on = reservoir.workload, reservoir.system
    start = reference(load, on)
    both = objectives.weighted(objectives.terms("energy+0.2*lifetime+heat"), reference=start)
    assert both(start) == pytest.approx(2.2)
    found = search(load, on, both, tries=30)
    assert both(found) <= 2.2
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    assert objectives.front(points).tolist() == [True, True, False, False, True]


def test_chips_without_memory_cells_neither_wear_nor_heat(reservoir):
    elsewhere = search(reservoir.workload, system("star12"), method="pycarl")
    for name in ("lifetime", "heat"):
        with pytest.raises(ValueError, match=f"{name}: star12 has no"):
            objectives.OBJECTIVES[name](elsewhere)
