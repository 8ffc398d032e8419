"""Chips survive a file bit for bit; what is no chip, or of another substrate, is refused."""

import json
import os
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest

from bss2jax import BSS2, Chip, ChipError, Mismatch, config, experiment, load_chip, sample_chip
from bss2jax import save_chip as save
from bss2jax.chip.file import load_substrate

SMALL = replace(BSS2, rows=4, columns=6)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "chip.npz"
    save(
        sample_chip(jax.random.key(3), Mismatch.uncalibrated(), substrate=SMALL),
        file,
        substrate=SMALL,
    )
    return file


@pytest.mark.parametrize("mismatch", [Mismatch.uncalibrated(), Mismatch.none()])
def test_a_chip_survives_a_file_bit_for_bit(tmp_path, mismatch):
    chip = sample_chip(jax.random.key(3), mismatch, substrate=SMALL)
    save(chip, tmp_path / "chip", substrate=SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["chip"]
    assert_same(load_chip(tmp_path / "chip", substrate=SMALL), chip)
    save(
        sample_chip(jax.random.key(4), mismatch, substrate=SMALL),
        tmp_path / "chip",
        substrate=SMALL,
    )
    assert (
        load_chip(tmp_path / "chip", substrate=SMALL).circuits.leak == chip.circuits.leak
    ).all() == (mismatch == Mismatch.none())


def test_another_substrate_is_refused(path):
    said = (
        r"chip\.npz: .*4 rows, 6 columns.*128 rows, 256 columns; .*rows=4 substrate.columns=6, or"
    )
    with pytest.raises(ChipError, match=said):
        load_chip(path)
    chip = load_chip(path, substrate=SMALL)
    with pytest.raises(ChipError, match="expected float32"):
        save(chip, path)
    stack = jax.tree.map(lambda leaf: leaf[None], chip)
    with pytest.raises(ChipError, match="expected float32"):
        save(stack, path, substrate=SMALL)


def test_a_file_says_of_which_substrate_its_chip_is(tmp_path, path):
    other = replace(SMALL, gain=0.003, readout_max=63)
    save(load_chip(path, substrate=SMALL), tmp_path / "other", substrate=other)
    assert load_substrate(path) == SMALL and load_substrate(tmp_path / "other") == other
    # A file of an earlier version of bss2jax knew sizes alone; one of a later may know more.
    for kept, expected in (({"gain": 0.003, "more": 1}, replace(SMALL, gain=0.003)), (None, SMALL)):
        head = HEAD | {"version": 1} | ({"substrate": kept} if kept else {})
        rewrite(path, head=np.array(json.dumps(head)))
        assert load_substrate(path) == expected
    for kept in ({"gain": -1}, 3):
        rewrite(path, head=np.array(json.dumps(HEAD | {"version": 1, "substrate": kept})))
        with pytest.raises(ChipError, match="chip.npz: "):
            load_substrate(path)


def test_damage_is_noticed_anywhere(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place])
        with pytest.raises(ChipError, match=r"chip\.npz: "):
            load_chip(path, substrate=SMALL)
    # A bit that turns is noticed, or lies where nothing is read (a date in the zip).
    intact = load_chip_bytes(path, whole)
    for place in range(0, len(whole), 97):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        try:
            assert_same(load_chip_bytes(path, bytes(broken)), intact)
        except ChipError as error:
            assert "chip.npz: " in str(error)


def load_chip_bytes(path, content):
    path.write_bytes(content)
    return load_chip(path, substrate=SMALL)


def rewrite(path, **changes):
    with np.load(path) as file:
        arrays = dict(file)
    arrays = {name: a for name, a in (arrays | changes).items() if a is not None}
    with open(path, "wb") as file:
        np.savez(file, **arrays)


HEAD = {"format": "bss2jax chip", "version": 99, "hemispheres": 2, "rows": 4, "columns": 6}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"head": None}, "not a chip"),
        ({"head": np.array("[1]")}, "not a chip"),
        ({"head": np.array(json.dumps(HEAD))}, "version 99, expected .* or earlier: update"),
        ({"offset": None}, "offset is missing"),
        ({"circuits.leak": None}, "circuits.leak is missing"),
        ({"more": np.zeros(2)}, "more: not a quantity"),
        ({"offset": np.zeros((2, 6))}, "offset: got float64"),
        ({"offset": np.zeros((2, 5), np.float32)}, r"offset: got float32 \(2, 5\)"),
        ({"offset": np.full((2, 6), np.nan, np.float32)}, "offset: not all values are finite"),
        ({"offset": np.array([print], object)}, "damaged"),
    ],
)
def test_what_is_no_chip_is_refused_by_name(path, changes, message):
    rewrite(path, **changes)
    with pytest.raises(ChipError, match=message):
        load_chip(path, substrate=SMALL)


def test_files_that_are_not_there_or_something_else(tmp_path, path):
    (tmp_path / "text").write_text("a,b\n1,2\n")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, message in (
        ("none", "No such file"),
        ("text", "damaged"),
        ("array.npy", "one array"),
        (".", "directory"),
    ):
        with pytest.raises(ChipError, match=message):
            load_chip(tmp_path / name, substrate=SMALL)
    with pytest.raises(ChipError, match="No such file"):
        save(load_chip(path, substrate=SMALL), tmp_path / "no" / "where", substrate=SMALL)


MEASURED = {
    "gain": np.linspace(0.9, 1.1, 12).reshape(2, 6),
    "offset": np.linspace(-3, 3, 12).reshape(2, 6),
    "noise_std": np.linspace(1, 2, 12).reshape(2, 6),
}


def write_csv(path, measured):
    lines = np.stack([measured[name].ravel() for name in measured], 1)
    np.savetxt(path, lines, delimiter=",", header=",".join(measured), comments="")


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_chip_is_made_of_a_labs_measurements(tmp_path, kind, flat):
    path = tmp_path / f"mine.{kind}"
    measured = {name: a.ravel() if flat else a for name, a in MEASURED.items()}
    write_csv(path, measured) if kind == "csv" else np.savez(path, **measured)
    chip = Chip.from_measurements(path, substrate=SMALL)
    np.testing.assert_allclose(chip.column_gain, MEASURED["gain"], rtol=1e-6)
    np.testing.assert_allclose(chip.offset, MEASURED["offset"], rtol=1e-6)
    np.testing.assert_allclose(chip.noise_std, MEASURED["noise_std"], rtol=1e-6)
    assert (chip.synapse_gain == 1).all() and (chip.send_noise == 0).all()
    like = sample_chip(jax.random.key(0), Mismatch(), substrate=SMALL)
    mine = Chip.from_measurements(path, like, substrate=SMALL)
    assert_same(mine.circuits, like.circuits)
    assert_same(mine.synapse_gain, like.synapse_gain)
    np.testing.assert_array_equal(mine.offset, chip.offset)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gian": np.ones(12)}, "gian: not a measured quantity; known: gain"),
        ({"gain": np.ones(11)}, r"gain: got shape \(11,\), expected \(2, 6\)"),
        ({"gain": np.full(12, 0.002)}, "gain: a median of 0.002.*divide"),
        ({"offset": np.full(12, np.inf)}, "offset: expected finite"),
        ({"noise_std": np.full(12, -1.0)}, "noise_std: got -1"),
        ({"gain": np.full(12, "1")}, "gain: expected finite numbers"),
    ],
)
def test_impossible_measurements_are_refused(tmp_path, changes, message):
    np.savez(tmp_path / "mine.npz", **(MEASURED | changes))
    with pytest.raises(ChipError, match=f"mine.npz: {message}"):
        Chip.from_measurements(tmp_path / "mine.npz", substrate=SMALL)


@pytest.mark.parametrize(
    "text",
    [
        "#",
        "# nothing but\n# comments",
        "",
        "gain,offset\n1,2\n3\n",
        "1,2\n3,4\n",
        "gain\nhigh\n",
        "gain\n\xff\n",
    ],
)
def test_a_csv_that_cannot_be_read_is_refused(tmp_path, text):
    (tmp_path / "mine.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ChipError, match=r"mine\.csv: "):
        Chip.from_measurements(tmp_path / "mine.csv", substrate=SMALL)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffgain,offset\n1.5,2\n0.5,-1\n",
        "gain;offset\n1,5;2\n0,5;-1\n",
        "gain\toffset\n1,5\t2\n0,5\t-1\n",
        "# on the bench\n# at 300 K\ngain,offset\n1.5,2\n0.5,-1\n",
        "# gain,offset\n1.5e0,2\n5e-1,-1\n",
    ],
)
def test_a_csv_may_be_as_spreadsheets_write_it(tmp_path, text):
    one = replace(BSS2, rows=4, columns=1)
    for name, encoding in (("LAB.CSV", "utf-8"), ("lab.txt", "utf-8"), ("lab", "utf-16")):
        (tmp_path / name).write_bytes(text.removeprefix("\ufeff").encode(encoding))
        chip = Chip.from_measurements(tmp_path / name, substrate=one)
        np.testing.assert_array_equal(chip.column_gain, [[1.5], [0.5]])
        np.testing.assert_array_equal(chip.offset, [[2], [-1]])


def test_measurements_and_chips_come_out_of_pipes(tmp_path, path, monkeypatch):
    def piped(content):
        there, here = os.pipe()
        threading.Thread(target=lambda: (os.write(here, content), os.close(here))).start()
        return f"/dev/fd/{there}", there

    one = replace(BSS2, rows=4, columns=1)
    place, end = piped(b"gain,offset\n1.5,2\n0.5,-1\n")
    np.testing.assert_array_equal(Chip.from_measurements(place, substrate=one).offset, [[2], [-1]])
    os.close(end)
    place, end = piped(path.read_bytes())
    assert_same(load_chip(place, substrate=SMALL), load_chip(path, substrate=SMALL))
    os.close(end)
    # And a home may be written as one writes it.
    monkeypatch.setenv("HOME", str(path.parent))
    assert_same(load_chip(f"~/{path.name}", substrate=SMALL), load_chip(path, substrate=SMALL))
    with pytest.raises(ChipError, match="no such home directory"):
        load_chip("~no-such-user/chip.npz", substrate=SMALL)


def test_a_config_names_a_chip_file(tmp_path):
    chip = sample_chip(jax.random.key(77))
    save(chip, tmp_path / "mine.npz")
    parsed, _ = config.load("digits", [f"chip.file={tmp_path}/mine.npz"])
    prepared = experiment.prepare(parsed)
    assert_same(prepared.chip, chip)
    assert_same(prepared.with_chip(5).chip, sample_chip(jax.random.key(5), parsed.spreads))
    parsed, _ = config.load("digits", [f"chip.file={tmp_path}/yours.npz"])
    with pytest.raises(config.ConfigError, match=r"chip\.file: .*yours.npz: No such file"):
        experiment.prepare(parsed)
