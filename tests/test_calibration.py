"""The bench sees what is on the chip, by measurement alone, and sets its cells by what it sees."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import BSS2, Mismatch, ideal_chip, load_chip, sample_chip
from bss2jax.calibration import PRODUCTS, calibrate, circuits, describe_calibration, products
from bss2jax.calibration.calibrate import ADEX, CELLS, configure, draw_cells, middle
from bss2jax.cli import main
from bss2jax.kernels.neurons.units import AdExModel, AdExScale

SMALL = replace(BSS2, columns=32)  # 64 columns: a std is good to 9 %
COLUMNS, RUNS = 64, 30


@pytest.fixture(scope="module")
def chip():
    return sample_chip(jax.random.key(1), Mismatch(), substrate=SMALL)


@pytest.fixture(scope="module")
def sweep(chip):
    return products.characterise(chip, jax.random.key(2), substrate=SMALL)


def strengths(chip):
    """What all rows of a column give together, over the nominal: both signs, `[H, C]` each."""
    rows = chip.synapse_gain * chip.driver_gain[:, None, :, None]
    positive, negative = np.asarray(rows.mean(2).swapaxes(0, 1))
    return positive * chip.column_gain, negative * chip.column_gain * chip.inhibitory_gain


def rms(error):
    return float(np.sqrt(np.mean(np.square(error))))


def test_characterising_recovers_gains_offset_and_noise_of_every_column(chip, sweep):
    # Least squares: the covariance of offset and slopes is sigma^2 / runs (B^T B)^-1, over the
    # weights within 60 LSB. An rms over 64 columns is good to 9 %: five times that.
    sigma = np.sqrt(0.6**2 + 0.75**2 + 1 / 12)
    p = np.asarray(sweep.product)[np.abs(sweep.product) < 50]
    basis = np.stack([np.ones_like(p), np.maximum(p, 0), np.minimum(p, 0)], 1)
    errors = np.sqrt(np.diag(np.linalg.inv(basis.T @ basis)) / RUNS) * sigma
    positive, negative = strengths(chip)
    assert rms(sweep.offset - chip.offset) < 1.45 * errors[0]
    assert rms(sweep.gain - positive) < 1.45 * errors[1]
    both = np.hypot(errors[2], errors[1])  # a ratio of two slopes near one
    assert rms(sweep.inhibitory_gain - negative / positive) < 1.45 * both
    # A std of 50 weights and 30 runs is good to 1 / sqrt(2 x 50 x 29), where 50 are linear.
    expected = np.sqrt(0.6**2 + 0.75**2)
    np.testing.assert_allclose(sweep.noise_std, expected, rtol=6 * 1.1 / np.sqrt(2 * 40 * 29))


def test_characterising_tells_noise_from_pattern_and_sees_saturation(chip, sweep):
    at = np.flatnonzero(sweep.weights == 20)[0]
    positive, _ = strengths(chip)
    spread = np.std(positive * float(sweep.product[at]) + chip.offset)
    # The mean of 30 runs is good to .2 LSB, of a spread of some LSB.
    assert abs(sweep.fixed_pattern[at] - spread) < 5 * 0.2 / np.sqrt(2 * COLUMNS) + 0.2**2 / spread
    assert abs(sweep.trial_noise[at] - np.sqrt(0.6**2 + 0.75**2 + 1 / 12)) < 0.1
    # Excesses of up to 60 LSB, each good to .2 LSB, become c to .2 / e_measured^2 and better.
    assert rms(sweep.compression - chip.compression) < 0.2 / 30**2 * 5


def test_the_reference_measures_the_nominal_gain_and_noise_of_an_ideal_chip():
    gain, noise = products.measure_gain_and_noise(
        ideal_chip(substrate=SMALL, noise_std=2.0), jax.random.key(0), num_sends=3, substrate=SMALL
    )
    # Truncation costs half an LSB of 63; the median of 3200 integers adds half one at most.
    assert abs(gain / 0.006 - 1 + 0.5 / 63) < 0.6 / 63
    assert abs(noise - np.sqrt(4 + 1 / 12)) < 5 * 2 / np.sqrt(2 * 49) / np.sqrt(COLUMNS) * 1.3


def test_the_spreads_a_chip_was_drawn_with_are_recovered_from_measurements():
    drawn = Mismatch(driver=0.06, gain=0.08, offset=4.0, inhibitory_shift=-0.15, dead_synapses=0.01)
    chip = sample_chip(jax.random.key(4), drawn, substrate=SMALL)
    found = products.estimate_mismatch(chip, jax.random.key(5), substrate=SMALL)
    # Five spreads of a std over as many places as there are; of the two noises, over 3840 runs.
    for name, places in {
        "synapse": 2 * 128 * 32,
        "driver": 2 * 128,
        "gain": COLUMNS,
        "offset": COLUMNS,
        "inhibitory": COLUMNS,
    }.items():
        expected = getattr(drawn, name)
        assert abs(getattr(found, name) - expected) < 5 * expected / np.sqrt(2 * places), name
    assert abs(found.inhibitory_shift + 0.15) < 5 * drawn.inhibitory / 8 + 0.01
    assert abs(found.noise_std**2 - 0.36) < 0.05 and abs(found.send_noise**2 - 0.5625) < 0.03
    assert abs(found.compression - 0.01) < 5 * 0.01 / np.sqrt(2 * COLUMNS) * 1.5
    share = np.sqrt(0.01 * 0.99 / (4 * 128 * 32))
    assert abs(found.dead_synapses - 0.01) < 5 * share


def test_cells_in_the_middle_change_nothing_and_codes_move_monotonously(chip):
    curvature = draw_cells(jax.random.key(0), substrate=SMALL)
    same = configure(chip, curvature, middle(substrate=SMALL))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), same, chip)
    codes = jnp.arange(1024, dtype=jnp.int32)

    def offset(code):
        settings = middle(substrate=SMALL)
        settings["offset"] = jnp.full_like(settings["offset"], code)
        return configure(chip, curvature, settings).offset

    offsets = np.asarray(jax.vmap(offset)(codes))
    assert (np.diff(offsets, axis=0) > 0).all()


# What rows and columns give with all their synapses, whose means no cell can tell from their own.
QUANTITIES = {
    "driver": lambda chip: chip.driver_gain * chip.synapse_gain[:, 0].mean(-1),
    "offset": lambda chip: chip.offset,
    "gain": lambda chip: strengths(chip)[0],
    "inhibitory": lambda chip: strengths(chip)[1] / strengths(chip)[0],
    **{
        name: lambda chip, name=name: getattr(chip.circuits, name)
        for name in ("leak", "reset", "threshold", "tau_mem", "tau_syn")
    },
}


def spread_ratios(chip, done):
    """Of the chip's own arrays, which the calibration cannot see; without the dead."""
    return {
        name: float(np.std(of(done.chip)) / np.std(of(chip))) for name, of in QUANTITIES.items()
    }


@pytest.fixture(scope="module")
def calibrated():
    """Small chips, one of them, as drawn and calibrated."""
    chip = sample_chip(jax.random.key(0), Mismatch.uncalibrated(), substrate=SMALL)
    return [(chip, calibrate(chip, jax.random.key(100), substrate=SMALL))]


@pytest.mark.slow  # a chip is calibrated as a whole
def test_calibration_reaches_the_ratios_that_silicon_reaches(calibrated):
    for chip, done in calibrated:
        for name, ratio in spread_ratios(chip, done).items():
            assert ratio < CELLS[name].limit, name
        # What was measured tells the same story.
        assert all(done.ratios()[name] < CELLS[name].limit for name in QUANTITIES)


def test_calibration_uses_codes_and_leaves_what_has_no_cell(calibrated):
    for chip, done in calibrated:
        for name, codes in done.settings.items():
            assert codes.dtype == jnp.int32
            assert codes.min() >= 0 and codes.max() < 2 ** CELLS[name].bits
        np.testing.assert_array_equal(done.chip.synapse_gain, chip.synapse_gain)
        np.testing.assert_array_equal(done.chip.noise_std, chip.noise_std)


def test_potentials_that_stand_still_are_read_to_a_thirtieth_of_an_lsb(chip):
    # Reads of 1 LSB and of what they truncate, 60 LSB a unit; an rms of 64 is good to 9 %.
    found = circuits.measure_reset(chip, jax.random.key(6), substrate=SMALL)
    assert rms(found - chip.circuits.reset) < 1.45 * np.sqrt((1 + 1 / 12) / 1024) / 60


def test_a_dead_column_is_reported_as_out_of_reach(calibrated):
    chip, _ = calibrated[0]
    dead = jnp.ones((2, 32)).at[1, 7].set(0.0)
    strength = chip.circuits.strength * dead
    broken = replace(
        chip,
        column_gain=chip.column_gain * dead,
        circuits=replace(chip.circuits, strength=strength),
    )
    done = calibrate(broken, jax.random.key(0), substrate=SMALL)
    for name in ("gain", "inhibitory", "tau_syn", "excitatory"):
        assert done.unreachable[name][1, 7], name
    text = describe_calibration(done)
    assert re.search(r"columns that do not reach gain: .*\b7\b.* \(hemisphere 1\)", text)
    # Its leak can still be set.
    assert not done.unreachable["leak"][1, 7]


def test_matrix_products_are_calibrated_alone(calibrated):
    chip, _ = calibrated[0]
    done = calibrate(chip, jax.random.key(3), substrate=SMALL, cells=PRODUCTS)
    assert tuple(done.ratios()) == PRODUCTS
    for name in PRODUCTS:
        ratio = np.std(QUANTITIES[name](done.chip)) / np.std(QUANTITIES[name](chip))
        assert ratio < CELLS[name].limit, name
    # What the middle code leaves is exact but for a power of e.
    np.testing.assert_allclose(done.chip.circuits.leak, chip.circuits.leak, atol=1e-6)
    np.testing.assert_allclose(done.chip.circuits.tau_mem, chip.circuits.tau_mem, rtol=1e-5)
    with pytest.raises(ValueError, match="cells: expected some of offset, gain, .*'offsets'"):
        calibrate(chip, jax.random.key(3), substrate=SMALL, cells=["offsets"])


@pytest.mark.slow
def test_twenty_chips_reach_every_ratio():
    for seed in range(20):
        chip = sample_chip(jax.random.key(seed), Mismatch.uncalibrated())
        done = calibrate(chip, jax.random.key(1000 + seed))
        for name, ratio in spread_ratios(chip, done).items():
            assert ratio < CELLS[name].limit, (seed, name)


def test_chips_on_the_command_line(tmp_path, capsys):
    one, other = str(tmp_path / "one.npz"), str(tmp_path / "other.npz")
    assert main(["chip", "sample", one, "seed=3", "offset=5"]) == 0
    expected = sample_chip(jax.random.key(3), Mismatch(offset=5))
    np.testing.assert_array_equal(load_chip(one).offset, expected.offset)
    np.savetxt(tmp_path / "lab.csv", np.linspace(-9, 9, 512), header="offset", comments="")
    assert main(["chip", "sample", other, f"measured={tmp_path}/lab.csv"]) == 0
    np.testing.assert_allclose(load_chip(other).offset.ravel(), np.linspace(-9, 9, 512), rtol=1e-6)
    assert main(["chip", "show", one]) == 0
    assert "column_gain" in capsys.readouterr().out
    assert main(["chip", "compare", one, one]) == 0
    assert "1.000" in capsys.readouterr().out
    for wrong, message in (
        (["show", "nowhere.npz"], "nowhere.npz: No such file"),
        (["sample", one, "preset=best"], "preset: got 'best', expected 'calibrated'"),
        (["sample", one, "ofset=5"], "ofset: unknown key (did you mean 'offset'?)"),
        (["sample", one, "offset=-5"], "offset: got -5, expected a finite number >= 0"),
        (["sample", one, "seed=-1"], "seed: got -1"),
        (["sample", one, "measured=no.csv"], "no.csv: No such file"),
    ):
        assert main(["chip", *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


@pytest.mark.slow  # as the cells of other neurons
def test_the_terms_of_an_adex_neuron_are_set_for_the_one_that_is_wanted():
    """In model units, a < 0 too; from spreads of .35 and .25 to what the patterns need."""
    model = AdExModel(100, 12, -60, -48, threshold=-40.0, tau_w=130, a=-11, b=30)
    neuron = jax.tree.map(jnp.float32, AdExScale().neuron(model))
    spreads = {"tau_w": 0.2, "a": 0.2, "b": 0.2, "delta_t": 0.2, "v_t": 0.25}
    chip = sample_chip(jax.random.key(3), Mismatch(**spreads), substrate=SMALL)
    key, small = jax.random.key(4), {"substrate": SMALL}
    done = calibrate(chip, key, cells=ADEX, neuron=neuron, **small)
    drawn, found = chip.circuits, done.chip.circuits
    for name in ADEX:
        before, after = (np.asarray(getattr(c, name)) for c in (drawn, found))
        nominal = 0.0 if name == "v_t" else 1.0
        # Below a third of the spread, and within the tolerance, of which bias is no part.
        assert np.std(after) < np.std(before) / 3, name
        assert np.abs(after - nominal).max() < 2 * CELLS[name].tolerance, name
        np.testing.assert_allclose(done.after[name], after, atol=CELLS[name].tolerance)
    np.testing.assert_allclose(found.leak, drawn.leak, atol=1e-6)  # a cell in its middle
    with pytest.raises(ValueError, match="give the one wanted"):
        calibrate(chip, key, cells=("a",), **small)
