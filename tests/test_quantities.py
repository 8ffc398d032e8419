"""What is declared once holds everywhere: draws, presets, configs, files, joining, maps, docs."""

import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from bss2jax import (
    BSS2,
    ChipError,
    Mismatch,
    Substrate,
    calibration,
    config,
    ideal_chip,
    load_chip,
    sample_chip,
    save_chip,
)
from bss2jax.calibration import adex, circuits, compartments, products
from bss2jax.calibration.calibrate import draw_cells
from bss2jax.chip import draws, file
from bss2jax.chip.chip import QUANTITIES, SPREADS, Chip, Circuits, at_temperature
from bss2jax.chip.quantities import (
    CHIP,
    CIRCUIT,
    INPUT,
    Noise,
    averaged_noise,
    first,
    quantities_of,
)
from bss2jax.execute.circuits import gather_place
from bss2jax.mapping.populations import Population
from bss2jax.plot import chip_map

DOCS = Path(__file__).parent.parent / "docs"
SMALL = replace(BSS2, rows=4, columns=6)
ALL = {name: 0.05 for name in SPREADS}  # dead places, drift and what is optional among it
DRAWN = [name for name, declared in QUANTITIES.items() if not isinstance(declared.kind, Noise)]

# Of chips 0 and 7, calibrated and uncalibrated: sums of all values times cos(0, 1, ...), by the
# code that listed every quantity and split JAX's keys, of spreads that were the default then.
UNCALIBRATED = replace(Mismatch.uncalibrated(), inhibitory_shift=-0.15)
CHIPS = [(Mismatch.kinked(), 0), (Mismatch.kinked(), 7), (UNCALIBRATED, 0), (UNCALIBRATED, 7)]
FIRST = {
    "synapse_gain": (19.48800, -13.85121, 15.53176, -15.64076),
    "driver_gain": (-1.23111, -0.82592, -2.48583, -1.47287),
    "column_gain": (1.94224, 1.35308, 6.87816, 2.95045),
    "offset": (-27.11949, -6.28682, -271.19491, -62.86820),
    "inhibitory_gain": (2.38903, 1.64055, 3.86755, 2.37058),
    "compression": (-0.08929, 0.20108, -0.08929, 0.20108),
    "circuits.leak": (-0.79702, -0.04843, -6.64179, -0.40360),
    "circuits.reset": (0.48213, 0.63526, 4.01772, 5.29380),
    "circuits.threshold": (-0.13973, 0.54918, -1.50525, 4.05052),
    "circuits.tau_mem": (-0.41735, -1.85948, -4.00684, -9.18503),
    "circuits.tau_syn": (4.47743, 0.31205, 12.93554, -1.65234),
    "circuits.strength": (-1.12562, 0.71277, -3.09932, 2.41586),
}
# The same of chip 7 with everything on, what is dead and 13 K among it.
RICH = replace(
    Mismatch.kinked(), membrane_noise=0.02, dead_synapses=0.01, dead_neurons=0.02,
    temperature=13.0, threshold_shift=0.1, tau_mem=0.9,
)  # fmt: skip
WARM = {
    "synapse_gain": 16.79847,
    "column_gain": -0.16252,
    "offset": -36.91791,
    "noise_std": 0.65650,
    "circuits.strength": 0.36702,
}


def print_of(array):
    values = np.asarray(array, np.float64).ravel()
    return values @ np.cos(np.arange(values.size))


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype == jnp.float32


@pytest.mark.parametrize("which", range(len(CHIPS)))
def test_chip_n_is_the_chip_that_it_always_was(which):
    mismatch, seed = CHIPS[which]
    arrays = sample_chip(jax.random.key(seed), mismatch).quantities()
    for name, prints in FIRST.items():
        # 131072 roundings of float32 add up to a few 1e-5, of offsets of 15 LSB to a few 1e-4.
        np.testing.assert_allclose(print_of(arrays[name]), prints[which], atol=1e-3)


def test_dead_places_and_drift_are_what_they_always_were():
    arrays = sample_chip(jax.random.key(7), RICH).quantities()
    for name, expected in WARM.items():
        np.testing.assert_allclose(print_of(arrays[name]), expected, atol=1e-3)


@pytest.mark.parametrize(
    "setting, value",
    [
        ("jax_enable_x64", True),
        # Each by the same way; `test_faults_seeds` and `test_modes` pass them in every run.
        pytest.param("jax_default_prng_impl", "rbg", marks=pytest.mark.slow),
        pytest.param("jax_numpy_dtype_promotion", "strict", marks=pytest.mark.slow),
        pytest.param("jax_numpy_rank_promotion", "raise", marks=pytest.mark.slow),
    ],
)
def test_a_seed_is_the_same_chip_under_every_setting_of_jax(setting, value):
    def draw():
        key = jax.random.key(7)
        return sample_chip(key, Mismatch(**ALL), substrate=SMALL), draw_cells(key, substrate=SMALL)

    expected, before = draw(), getattr(jax.config, setting)
    try:
        jax.config.update(setting, value)
        assert_same(draw(), expected)
        assert_same(jax.jit(draw)(), expected)
    finally:
        jax.config.update(setting, before)


@pytest.mark.parametrize("how", [jax.jit, pytest.param(lambda f: f, marks=pytest.mark.slow)])
def test_a_chip_is_the_same_jitted_stacked_and_by_itself(how):
    keys = jax.random.split(jax.random.key(3), 3)
    chips = [sample_chip(key, RICH, substrate=SMALL) for key in keys]
    draw = jax.vmap(lambda key: sample_chip(key, RICH, substrate=SMALL))
    assert_same(how(draw)(keys), jax.tree.map(lambda *leaves: jnp.stack(leaves), *chips))


def test_numbers_are_those_of_jax():
    key = jax.random.key(5)
    np.testing.assert_array_equal(draws.normal(key, (3, 7)), jax.random.normal(key, (3, 7)))
    expected = jax.random.uniform(key, (20,), minval=-0.6, maxval=0.6)
    np.testing.assert_array_equal(draws.uniform(key, (20,), low=-0.6, high=0.6), expected)


def test_every_draw_has_a_key_of_its_own():
    keys = [QUANTITIES[name].key for name in DRAWN] + [(18,), (19,)]
    assert len({*keys}) == len(keys)
    numbers = sorted(cell.number for cell in calibration.CELLS.values())
    assert numbers == list(range(len(numbers)))


def test_every_spread_is_used_and_every_quantity_has_one():
    acting = {"dead_synapses", "dead_neurons", "temperature"}
    used = {d.spread for d in QUANTITIES.values()} | {d.shift for d in QUANTITIES.values()} - {""}
    assert used | acting == set(SPREADS)
    assert all(SPREADS[d.shift].meaning for d in QUANTITIES.values() if d.shift)


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_quantity_is_drawn_with_its_own_spread_only(name):
    declared, ideal = QUANTITIES[name], ideal_chip(substrate=SMALL).quantities()
    mismatch = replace(Mismatch.none(), **{declared.spread: 0.1})
    arrays = sample_chip(jax.random.key(0), mismatch, substrate=SMALL).quantities()
    assert arrays[name].shape == declared.site.shape(SMALL)
    changed = {n for n, a in arrays.items() if n not in ideal or (a != ideal[n]).any()}
    assert changed == {name}
    assert declared.optional == (name not in ideal)


@pytest.mark.parametrize("name", SPREADS)
def test_a_spread_is_a_preset_a_config_key_and_a_word_of_the_command_line(tmp_path, name):
    declared, path = SPREADS[name], tmp_path / "a.toml"
    assert getattr(Mismatch.uncalibrated(), name) == declared.uncalibrated
    parsed, _ = config.load("digits", [f"{declared.config}=0.123"])
    assert parsed.spreads == replace(Mismatch(), **{name: 0.123})
    path.write_text(config.dump(parsed))
    assert config.load(path)[0] == parsed
    table, key = declared.config.split(".")
    assert tomllib.loads(path.read_text())[table][key] == 0.123
    assert config.load_specimen([f"{name}=0.123"]).mismatch == parsed.spreads
    if declared.least == 0:
        with pytest.raises(config.ConfigError, match=f"{declared.config}: got -1, expected"):
            config.load("digits", [f"{declared.config}=-1"])


def test_a_file_has_every_quantity(tmp_path):
    chip = sample_chip(jax.random.key(0), Mismatch(**ALL), substrate=SMALL)
    assert set(chip.quantities()) == set(QUANTITIES)
    save_chip(chip, tmp_path / "chip.npz", substrate=SMALL)
    assert_same(load_chip(tmp_path / "chip.npz", substrate=SMALL), chip)


def test_a_file_that_is_older_than_a_quantity_has_it_nominal(tmp_path, monkeypatch):
    chip = sample_chip(jax.random.key(0), substrate=SMALL)
    path = tmp_path / "chip.npz"
    save_chip(chip, path, substrate=SMALL)
    with np.load(path) as old:
        arrays = {name: old[name] for name in old.files if name != "circuits.tau_mem"}
    new = replace(QUANTITIES["circuits.tau_mem"], since=file._VERSION + 1)
    monkeypatch.setitem(QUANTITIES, "circuits.tau_mem", new)
    monkeypatch.setattr(file, "_VERSION", file._VERSION + 1)
    with pytest.raises(ChipError, match=r"circuits\.tau_mem: not a quantity"):
        load_chip(path, substrate=SMALL)  # which no file of that version has
    np.savez(path, **arrays)
    circuits = replace(chip.circuits, tau_mem=jnp.ones_like(chip.circuits.tau_mem))
    assert_same(load_chip(path, substrate=SMALL), replace(chip, circuits=circuits))
    save_chip(chip, path, substrate=SMALL)
    assert_same(load_chip(path, substrate=SMALL), chip)


def test_every_quantity_of_circuits_is_joined_as_it_says():
    chip = sample_chip(jax.random.key(0), Mismatch(**ALL), substrate=SMALL)
    place = Population(4 * SMALL.rows, 2, first_circuit=1, substrate=SMALL)
    neurons = gather_place(chip, place, 4 * SMALL.rows).neurons
    for name, declared in quantities_of(Circuits).items():
        array = np.asarray(getattr(chip.circuits, name), np.float64)
        got = getattr(neurons, name)
        if declared.site is CHIP:
            assert (got == array).all()
            continue
        assert declared.site in (CIRCUIT, INPUT)
        for neuron in range(2):
            members = [1 + 4 * neuron + i for i in range(4)]
            each = np.stack([array[..., c % 2, c // 2] for c in members], -1)
            noise = declared.joined is averaged_noise
            expected = np.sqrt((each**2).sum(-1)) / 4 if noise else each.mean(-1)
            expected = each[..., 0] if declared.joined is first else expected
            np.testing.assert_allclose(got[..., neuron], expected, rtol=1e-6)


@pytest.mark.parametrize("name", [n for n, d in QUANTITIES.items() if d.site is not CHIP])
def test_a_quantity_with_places_has_a_map(name):
    chip = sample_chip(jax.random.key(0), Mismatch(**ALL), substrate=SMALL)
    ax = chip_map(chip, name.split(".")[-1], ax=Figure().subplots())
    drawn = np.sort(ax.collections[0].get_array().ravel())
    np.testing.assert_array_equal(drawn, np.sort(np.ravel(chip.quantities()[name])))
    assert ax.get_title() == QUANTITIES[name].meaning


def test_every_cell_is_measured_by_the_function_of_its_name():
    for name in calibration.CELLS:
        bench = products if name in calibration.PRODUCTS else circuits
        bench = adex if name in calibration.ADEX else bench
        bench = compartments if name in calibration.COMPARTMENTS else bench
        assert callable(getattr(bench, f"measure_{name}"))


def test_the_docs_have_every_quantity_and_spread(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import hooks

    table = hooks.on_page_markdown((DOCS / "api" / "chips.md").read_text())
    for name, declared in QUANTITIES.items():
        (row,) = (line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert declared.meaning in row and f"`{SPREADS[declared.spread].config}`" in row
    for name, spread in SPREADS.items():
        assert f"`{spread.config}`" in table, name


def test_what_is_added_to_a_declaration_is_found_in_it():
    """A name, a group and a key of its own follow from the field."""
    assert [*quantities_of(Chip)][:2] == ["synapse_gain", "driver_gain"]
    declared = replace(QUANTITIES["circuits.tau_mem"], spread="", key=())
    named = declared.named("tau_w")
    assert named.spread == "tau_w" and len(named.key) == 1 and named.key[0] > 19
    assert declared.named("delta").key != named.key


@pytest.mark.parametrize(
    "number", [np.float32(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5), jnp.bfloat16(0.5)]
)
def test_numbers_of_numpy_and_jax_are_numbers(number):
    assert Mismatch(noise_std=number) == Mismatch(noise_std=0.5)
    assert type(Mismatch(offset=np.int64(3)).offset) is float
    assert Substrate(gain=number) == replace(BSS2, gain=0.5)
    assert hash(Substrate(columns=np.int64(128))) == hash(replace(BSS2, columns=128))
    assert Substrate(rows=jnp.int32(4)).rows == 4


def test_what_is_no_number_is_refused_by_name():
    for value in (True, np.array([0.1]), 1j, [0.1], jnp.zeros(2)):
        with pytest.raises(ValueError, match=r"Mismatch\.gain: expected a finite number >= 0"):
            Mismatch(gain=value)
    with pytest.raises(ValueError, match=r"Substrate\.rows: expected a whole number, got 4\.5"):
        Substrate(rows=4.5)


def test_chips_are_compared_without_an_error():
    chip = ideal_chip(substrate=SMALL)
    again = jax.tree.map(lambda leaf: leaf, chip)
    assert chip == chip and chip != again
    assert chip.circuits == chip.circuits and (chip.circuits == again.circuits) is False


def test_a_temperature_may_be_traced():
    chip = sample_chip(jax.random.key(0), substrate=SMALL)
    key = jax.random.key(1)
    warm = jax.jit(lambda kelvin: at_temperature(chip, kelvin, key))(13.0)
    for a, b in zip(jax.tree.leaves(warm), jax.tree.leaves(at_temperature(chip, 13.0, key))):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
