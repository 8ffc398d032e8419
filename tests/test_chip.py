"""A chip is a value: drawn as its mismatch says, different for every key, and mapped over."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import BSS2, Chip, Mismatch, Substrate, ideal_chip, matmul, program, sample_chip
from bss2jax.chip.chip import QUANTITIES, SPREADS
from bss2jax.chip.quantities import CIRCUIT, COLUMN, Deviation, Factor, Noise

# By the place that has a value of its own.
SHAPES = {
    "synapse": (2, 2, 128, 256),
    "driver": (2, 128),
    "column": (2, 256),
    "circuit": (2, 256),
    "synaptic input": (2, 2, 256),
    "chip": (),
}
FACTORS = {name for name, declared in QUANTITIES.items() if isinstance(declared.kind, Factor)}
NONE = Mismatch.none()


def test_an_ideal_chip_is_ones_and_zeros():
    for noise_std in (0.0, 2.0):
        arrays = ideal_chip(noise_std).quantities()
        optional = {name for name, declared in QUANTITIES.items() if declared.optional}
        assert arrays.keys() == QUANTITIES.keys() - optional  # what is not there costs nothing
        for name, array in arrays.items():
            assert array.shape == SHAPES[QUANTITIES[name].site.name] and array.dtype == jnp.float32
            expected = noise_std if name == "noise_std" else float(name in FACTORS)
            assert (array == expected).all()


def test_chips_are_pytrees():
    chip = sample_chip(jax.random.key(0))
    leaves, treedef = jax.tree.flatten(chip)
    again = jax.tree.unflatten(treedef, leaves)
    assert isinstance(again, Chip)
    assert len(leaves) == len(chip.quantities())
    for name, array in again.quantities().items():
        assert array is chip.quantities()[name]


# What is drawn normal, by which parameter.
PARAMETERS = {
    name: declared.spread
    for name, declared in QUANTITIES.items()
    if isinstance(declared.kind, Factor | Deviation)
}
WIDTHS = dict(zip(PARAMETERS.values(), np.linspace(0.03, 0.12, len(PARAMETERS)).tolist()))


@pytest.fixture(scope="module")
def stack():
    """Eight chips on which every quantity has a spread of its own, and no shift."""
    mismatch = replace(NONE, **WIDTHS)
    chips = jax.vmap(lambda k: sample_chip(k, mismatch))(jax.random.split(jax.random.key(1), 8))
    return chips.quantities()


@pytest.mark.parametrize(("field", "parameter"), PARAMETERS.items())
def test_sampled_quantities_have_the_mean_and_spread_of_the_mismatch(stack, field, parameter):
    # 5 sigma: the mean of n normals spreads by std / sqrt(n), their variance by std^2 sqrt(2 / n).
    spread, mean = WIDTHS[parameter], float(field in FACTORS)
    values = np.asarray(stack[field], np.float64)
    n = values.size
    assert abs(values.mean() - mean) < 5 * spread / np.sqrt(n)
    assert abs(values.var() - spread**2) < 5 * spread**2 * np.sqrt(2 / n)
    # Normal in its tails too: a binomial count beyond two spreads, p = 0.0455.
    beyond = (np.abs(values - mean) > 2 * spread).sum()
    assert abs(beyond - 0.0455003 * n) < 5 * np.sqrt(0.0455 * 0.9545 * n)


def test_trial_noise_and_shifts_are_the_same_everywhere():
    mismatch = replace(
        NONE,
        noise_std=3.0,
        send_noise=0.5,
        inhibitory_shift=-0.1,
        threshold_noise=0.015,
        jitter=60e-9,
        threshold_shift=0.05,
    )
    arrays = sample_chip(jax.random.key(0), mismatch).quantities()
    for name, value in (
        ("noise_std", 3.0),
        ("send_noise", 0.5),
        ("inhibitory_gain", 0.9),
        ("circuits.threshold_noise", 0.015),
        ("circuits.jitter", 60e-9),
        ("circuits.threshold", 0.05),
    ):
        np.testing.assert_allclose(arrays[name], value, rtol=1e-6)


def test_the_presets():
    assert Mismatch() == Mismatch.calibrated()
    assert set(vars(Mismatch.none()).values()) == {0.0}
    better, worse = vars(Mismatch.calibrated()), vars(Mismatch.uncalibrated())
    assert all(worse[name] >= better[name] for name in better)
    # What a calibration can set: it spreads at least 2.5 times as far before.
    for name in ("gain", "offset", "driver", "leak", "reset", "threshold", "tau_mem", "tau_syn"):
        assert worse[name] >= 2.5 * better[name] > 0
    # What the users of a spiking chip get: DelGrad's threshold and jitter among it.
    spiking = {"threshold_shift": 0.05, "threshold": 0.031, "threshold_noise": 0.015}
    spiking |= {"jitter": 60e-9, "leak": 0.03, "reset": 0.03}
    spiking |= {"tau_mem": 0.10, "tau_syn": 0.10, "strength": 0.10}
    assert spiking.items() <= better.items()


def test_the_default_chip_reads_like_silicon_at_the_published_point():
    # Ten columns at 100 x 15 x 21 read 55..63. The range of ten normals is 3.08 spreads on average,
    # 1.67 to 4.80 of them in 95 of 100 draws (tables of the studentised range): 1.7 to 4.8 LSB.
    x, w = np.full((1, 100), 15.0), np.full((100, 512), 21.0)
    for seed in range(3):
        y = matmul(x, w, sample_chip(jax.random.key(seed)), jax.random.key(10 + seed))
        assert 8 / 4.80 < np.std(y) < 8 / 1.67
        assert abs(np.mean(y) - 100 * 15 * 21 * 0.002) < 3


def test_dead_synapses_and_neurons_give_nothing():
    mismatch = replace(NONE, dead_synapses=0.02, dead_neurons=0.1)
    chip = sample_chip(jax.random.key(0), mismatch)
    assert set(np.unique(chip.synapse_gain)) == {0.0, 1.0}
    n = chip.synapse_gain.size
    assert abs(float(jnp.mean(chip.synapse_gain == 0)) - 0.02) < 5 * np.sqrt(0.02 * 0.98 / n)
    dead = np.asarray(chip.column_gain == 0)
    assert abs(dead.mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 512)
    np.testing.assert_array_equal(chip.circuits.strength, np.stack([~dead, ~dead]))
    y = np.asarray(matmul(np.full((1, 100), 31.0), np.full((100, 256), 63.0), chip))[0]
    assert (y[dead[0]] == 0).all() and (y[~dead[0]] == 127).all()


def test_temperature_moves_gain_noise_and_pattern():
    cold, warm = (
        sample_chip(jax.random.key(0), replace(Mismatch(), temperature=t)) for t in (0.0, 20.0)
    )
    np.testing.assert_array_equal(cold.synapse_gain, warm.synapse_gain)
    # 20 K: gains fall by 4 %, each column by itself by 2 %, offsets by 2 LSB; noise as the root.
    ratio = np.asarray(warm.column_gain / cold.column_gain)
    assert abs(ratio.mean() - 0.96) < 5 * 0.02 / np.sqrt(512)
    assert abs(ratio.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * 512)
    moved = np.asarray(warm.offset - cold.offset)
    assert abs(moved.std() - 2.0) < 5 * 2.0 / np.sqrt(2 * 512)
    for name in ("noise_std", "send_noise"):
        ratio = getattr(warm, name) / getattr(cold, name)
        np.testing.assert_allclose(ratio, np.sqrt(320 / 300), rtol=1e-5)
    # The same specimen drifts along one line: half as far at half the temperature, and back.
    half, back = (
        sample_chip(jax.random.key(0), replace(Mismatch(), temperature=t)) for t in (10.0, -20.0)
    )
    np.testing.assert_allclose(half.offset - cold.offset, moved / 2, atol=1e-5)
    np.testing.assert_allclose(back.offset - cold.offset, -moved, atol=1e-5)


def test_excitatory_and_inhibitory_and_the_hemispheres_are_drawn_apart():
    chip = sample_chip(jax.random.key(2))
    gain = np.asarray(chip.synapse_gain, np.float64) - 1
    bound = 5 / np.sqrt(gain[0, 0].size)
    for a, b in (
        (gain[0, 0], gain[0, 1]),
        (gain[0, 0], gain[1, 0]),
        (gain[0, 1], gain[1, 1]),
        (gain[..., 1:], gain[..., :-1]),
        (gain[..., 1:, :], gain[..., :-1, :]),
    ):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < bound
    excitatory, inhibitory = np.asarray(chip.circuits.strength).reshape(2, -1)
    assert abs(np.corrcoef(excitatory, inhibitory)[0, 1]) < 5 / np.sqrt(512)


def test_quantities_are_drawn_apart():
    arrays = sample_chip(jax.random.key(3)).quantities()
    rows = [
        np.ravel(arrays[name])
        for name, declared in QUANTITIES.items()
        if declared.site in (COLUMN, CIRCUIT) and not isinstance(declared.kind, Noise)
    ]
    rows += [np.ravel(arrays["synapse_gain"][:, 0, 0]), np.ravel(arrays["circuits.strength"][0])]
    values = np.corrcoef(np.stack(rows))
    assert len(rows) > 10
    assert np.abs(values[np.triu_indices(len(rows), 1)]).max() < 5 / np.sqrt(512)


def test_a_chip_belongs_to_its_key():
    first, again, other = (sample_chip(jax.random.key(k)).quantities() for k in (4, 4, 5))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        if not isinstance(QUANTITIES[name].kind, Noise):
            assert np.asarray(first[name] != other[name]).mean() > 0.99


def test_gains_are_never_negative_and_what_is_divided_by_is_never_zero():
    wide = Mismatch(**{QUANTITIES[name].spread: 2.0 for name in FACTORS})
    arrays = sample_chip(jax.random.key(0), wide).quantities()
    for name in FACTORS:
        assert float(arrays[name].min()) == np.float32(QUANTITIES[name].kind.least)
        divides = name.startswith(("circuits.tau_", "circuits.delta_t"))
        assert (float(arrays[name].min()) > 0) == divides


@pytest.mark.slow  # `test_exact` maps products over chips, smaller ones
def test_products_over_a_stack_of_chips_equal_the_loop():
    keys = jax.random.split(jax.random.key(7), 3)
    stack = jax.vmap(sample_chip)(keys)
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 32, (4, 300)), rng.integers(-63, 64, (300, 300))
    for key in (None, jax.random.key(1)):
        run = jax.jit(lambda x, w, chip, key=key: matmul(x, w, chip, key))
        mapped = jax.vmap(run, (None, None, 0))(x, w, stack)
        rows = [run(x, w, jax.tree.map(lambda leaf, i=i: leaf[i], stack)) for i in range(3)]
        assert not np.array_equal(rows[0], rows[1])
        # A batched product may sum in another order: one readout on an edge, one LSB.
        off = np.abs(np.asarray(mapped) - np.stack(rows))
        assert off.max() <= 1 and off.mean() < 1e-2


def test_chips_pass_through_jit_as_arguments_and_results():
    chip = jax.jit(lambda key: sample_chip(key))(jax.random.key(3))
    x, w = np.full((1, 4), 20.0), np.full((4, 3), 30.0)
    np.testing.assert_array_equal(jax.jit(matmul)(x, w, chip), matmul(x, w, chip))


@pytest.mark.parametrize("place", [np.s_[:, :, :64], np.s_[..., :128], np.s_[:1]])
def test_a_chip_of_another_size_is_refused(place):
    chip = ideal_chip()
    other = replace(chip, synapse_gain=chip.synapse_gain[place])
    x, w = np.zeros((1, 4)), np.zeros((4, 3))
    for call in (partial(matmul, x, w, other), partial(program, w, other)):
        with pytest.raises(ValueError, match=r"chip: .*\(2, 2, 128, 256\)"):
            call()
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), chip)
    with pytest.raises(ValueError, match="vmap"):
        matmul(x, w, stack)


def test_a_chip_has_the_sizes_of_its_substrate():
    chip = sample_chip(jax.random.key(0), substrate=replace(BSS2, rows=16, columns=8))
    assert chip.synapse_gain.shape == (2, 2, 16, 8)
    assert chip.driver_gain.shape == (2, 16) and chip.offset.shape == (2, 8)
    assert chip.circuits.strength.shape == (2, 2, 8)


NO_SPREADS = [
    (name, value)
    for name in SPREADS
    for value in (-0.1, float("nan"), float("inf"), "0.1", None)
    if value != -0.1 or name not in ("temperature", "inhibitory_shift")
]


@pytest.mark.parametrize(
    ("field", "value"), [*NO_SPREADS, ("dead_synapses", 1.1), ("dead_neurons", 2)]
)
def test_mismatch_refuses_what_is_no_spread(field, value):
    with pytest.raises(ValueError, match=rf"Mismatch\.{field}"):
        Mismatch(**{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "rows"),
        ({"gain": float("nan")}, "gain"),
        ({"columns": "256"}, "columns"),
        ({"hemispheres": 3}, "hemispheres"),
        ({"readout_min": 127}, "readout_min"),
    ],
)
def test_substrate_refuses_impossible_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        Substrate(**changes)


def test_the_substrate_is_the_published_one():
    assert BSS2.hemispheres * 2 * BSS2.rows * BSS2.columns == 131_072
    assert (BSS2.rows, BSS2.columns, BSS2.weight_max, BSS2.activation_max) == (128, 256, 63, 31)
    assert (BSS2.readout_min, BSS2.readout_max, BSS2.gain) == (-128, 127, 0.002)
    assert hash(BSS2) == hash(Substrate())
