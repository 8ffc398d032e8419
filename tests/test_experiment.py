"""A run is what its config says: its seeds, its chip, its ladder, and what it leaves behind."""

import json
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import TINY
from numpy.testing import assert_allclose, assert_array_equal

from bss2jax import config, data, experiment, sample_chip
from bss2jax.config import ConfigError
from bss2jax.data import DataError
from bss2jax.runs import directory as runs
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.training import Samples, evaluate

DIGITS = data.load("digits")


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Reads the tiny config, changed by overrides; a fresh run directory unless one is given."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)

    def read(*overrides):
        directory = tmp_path_factory.mktemp("run")
        return config.load(path, [f"run.dir={directory}", *overrides])[0]

    return read


@pytest.fixture(scope="module")
def tiny(finished):
    """The tiny run, trained once."""
    return finished


@pytest.fixture(scope="module")
def resumed(tiny):
    """The tiny run read back: its experiment and final parameters."""
    return session.read_final(tiny)


def summary(run):
    return json.loads(run.read("summary.json"))


def metrics(run):
    """The lines of a run, without their times."""
    lines = [json.loads(line) for line in run.read("metrics.jsonl").splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def checkpoint(run, prepared, name):
    return run.restore(name, jax.eval_shape(prepared.initial))


def assert_same(first, second):
    jax.tree.map(assert_array_equal, first, second)


def differ(first, second):
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), first, second)))


def test_a_run_directory_holds_all_that_is_promised(tiny):
    found = {path.name for path in tiny.path.iterdir()}
    assert found == {
        "config.toml",
        "resolved.toml",
        "environment.json",
        "plan.txt",
        "metrics.jsonl",
        "confusion.json",
        "summary.json",
        "checkpoints",
        ".lock",
    }
    kept = {path.name for path in (tiny.path / "checkpoints").iterdir()}
    assert kept == {
        f"{name}.npz" for name in ("phase-0", "phase-0-best", "phase-1", "phase-1-best", "final")
    }
    assert tiny.read("config.toml") == TINY
    resolved = tomllib.loads(tiny.read("resolved.toml"))
    assert resolved["seed"] == 3 and resolved["chip"] == {"seed": 5}
    assert resolved["mismatch"]["synapse"] == 0.1 and resolved["run"]["dir"] == "."
    assert "dense_0" in tiny.read("plan.txt") and "per sample" in tiny.read("plan.txt")


def test_the_environment_says_versions_device_and_commit(tiny):
    environment = json.loads(tiny.read("environment.json"))
    assert environment["versions"]["jax"] == jax.__version__
    assert {"bss2jax", "jaxlib", "numpy", "optax", "flax"} <= set(environment["versions"])
    assert environment["backend"] == jax.default_backend()
    assert len(environment["devices"]) == jax.device_count()
    assert {"time", "command", "python", "platform"} <= set(environment)
    git = ["git", "-C", Path(experiment.__file__).parent, "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    assert (environment["commit"] or "").startswith(head)


def test_the_metrics_have_a_line_an_epoch(tiny):
    lines = [json.loads(line) for line in tiny.read("metrics.jsonl").splitlines()]
    assert [(line["phase"], line["on"], line["epoch"]) for line in lines] == [
        (0, "float", 1),
        (0, "float", 2),
        (1, "chip", 1),
        (1, "chip", 2),
        (1, "chip", 3),
    ]
    for line in lines:
        assert line["step"] == (8, 5)[line["phase"]] * line["epoch"] and line["seconds"] > 0
        for name in ("train", "validation"):
            assert line[f"{name}_loss"] > 0 and 0 <= line[f"{name}_accuracy"] <= 1
    shares = lines[-1]["validation_saturation"]["dense_0"]
    assert set(shares) == {"inputs", "weights", "sums", "outputs"}


def test_the_summary_has_fractions_seeds_and_seconds(tiny):
    found = summary(tiny)
    assert list(found["test_accuracy"]) == ["float", "ideal", "transfer", "chip"]
    for accuracy in found["test_accuracy"].values():
        assert 0 <= accuracy <= 1
        assert_allclose(accuracy * 360, round(accuracy * 360), atol=1e-6)
    assert found["test_samples"] == 360
    assert (found["name"], found["seed"], found["chip_seed"]) == ("tiny", 3, 5)
    assert len(found["seconds"]["phases"]) == 2
    assert found["seconds"]["total"] > sum(found["seconds"]["phases"]) > 0
    # Ten classes: by chance 80 of 360 would be right once in a billion times.
    assert found["test_accuracy"]["chip"] * 360 >= 80


def test_a_run_says_what_each_class_was_taken_for(tiny, resumed):
    prepared, final = resumed
    found, whole = json.loads(tiny.read("confusion.json")), summary(tiny)
    assert found["classes"] == list("0123456789") == list(prepared.classes)
    for rung, accuracy in whole["test_accuracy"].items():
        counts = np.array(found["test_confusion"][rung])
        assert counts.sum(axis=1).tolist() == np.bincount(DIGITS.test.y).tolist()
        assert_allclose(np.trace(counts) / 360, accuracy)
        shares = np.diag(counts) / counts.sum(axis=1)
        assert_allclose(list(found["test_class_accuracy"][rung].values()), shares)
        assert_allclose(whole["test_balanced_accuracy"][rung], shares.mean())
    x, y = prepared.test.x[:5], prepared.test.y[:5]
    own = evaluate(prepared.task, final, Samples(x, y), prepared.chip, None, on="ideal")
    assert np.sum(own.confusion) == 5


def test_the_ladder_is_of_the_parameters_that_first_meet_the_chip(tiny, resumed):
    prepared, final = resumed
    first = checkpoint(tiny, prepared, "phase-0")
    assert differ(first, final)
    accuracy = summary(tiny)["test_accuracy"]
    assert accuracy["float"] == prepared.test_accuracy(first, "float")
    assert accuracy["ideal"] == prepared.test_accuracy(first, "ideal")
    assert accuracy["transfer"] == prepared.test_accuracy(first, "chip")
    assert accuracy["chip"] == prepared.test_accuracy(final, "chip")
    assert accuracy["transfer"] != accuracy["chip"], "this shows nothing"
    assert_same(final, checkpoint(tiny, prepared, "phase-1"))


def test_without_a_phase_on_the_chip_the_ladder_is_of_the_final_parameters(read):
    phases = (
        'phases=[{on="float", epochs=1, learning_rate=2}, {on="ideal", epochs=1, learning_rate=1}]'
    )
    run = session.train(read(phases))
    prepared, final = session.read_final(run)
    accuracy = summary(run)["test_accuracy"]
    for name, on in {
        "float": "float",
        "ideal": "ideal",
        "transfer": "chip",
        "chip": "chip",
    }.items():
        assert accuracy[name] == prepared.test_accuracy(final, on)


def test_with_the_chip_first_the_ladder_is_of_the_initial_parameters(read):
    run = session.train(read('phases=[{on={dense_0="chip"}, epochs=1, learning_rate=1}]'))
    prepared, final = session.read_final(run)
    initial, accuracy = prepared.initial(), summary(run)["test_accuracy"]
    for name, on in {"float": "float", "ideal": "ideal", "transfer": "chip"}.items():
        assert accuracy[name] == prepared.test_accuracy(initial, on)
    assert accuracy["chip"] == prepared.test_accuracy(final, "chip") > accuracy["transfer"]


def test_a_finished_run_reads_back_to_the_bit(tiny, resumed, read):
    prepared, final = resumed
    again = session.train(read())
    assert_same(final, checkpoint(again, prepared, "final"))
    assert metrics(again) == metrics(tiny)
    assert summary(again)["test_accuracy"] == summary(tiny)["test_accuracy"]
    assert prepared.config == replace(read(), run=prepared.config.run)


def test_a_phase_keeps_its_best_epoch_whatever_it_ends_with(tiny, resumed):
    prepared, _ = resumed
    lines = metrics(tiny)
    for number, keep in enumerate(("last", "best")):
        ranks = [
            (line["validation_accuracy"], -line["validation_loss"])
            for line in lines
            if line["phase"] == number
        ]
        best, kept = (checkpoint(tiny, prepared, f"phase-{number}{end}") for end in ("-best", ""))
        assert differ(best, kept) == (keep == "last" and max(ranks) != ranks[-1])


def test_the_test_set_is_never_touched_in_training(tiny, resumed, read):
    # The same training with a test set of noise and wrong labels: all the same but the ladder.
    prepared, _ = resumed
    rng = np.random.default_rng(0)
    poison = data.Split(rng.integers(0, 17, (360, 8, 8, 1), np.uint8), np.full(360, 9, np.int32))
    run = session.train(read(), dataset=replace(DIGITS, test=poison))
    assert metrics(run) == metrics(tiny)
    for name in ("phase-0", "phase-1-best", "final"):
        assert_same(checkpoint(run, prepared, name), checkpoint(tiny, prepared, name))
    assert summary(run)["test_accuracy"] != summary(tiny)["test_accuracy"]


def test_the_chips_seed_moves_the_chip_alone(read):
    one, other = (experiment.prepare(read(f"chip.seed={seed}")) for seed in (5, 6))
    assert_same(one.initial(), other.initial())
    assert_same(one.training, other.training)
    assert_same(one.validation, other.validation)
    assert_array_equal(jax.random.key_data(one.key), jax.random.key_data(other.key))
    assert differ(one.chip, other.chip)


def test_the_runs_seed_moves_all_but_the_chip(read):
    one, other = (experiment.prepare(read(f"seed={seed}")) for seed in (3, 4))
    assert_same(one.chip, other.chip)
    assert differ(one.initial(), other.initial())
    assert differ(one.validation, other.validation)
    assert (jax.random.key_data(one.key) != jax.random.key_data(other.key)).any()


def test_a_phase_off_the_chip_is_the_same_for_every_chip(tiny, resumed, read):
    # Initialisation, split and order: two epochs of them, to the bit.
    prepared, _ = resumed
    run = session.train(read("chip.seed=6", "phases.1.max_steps=1"))
    assert metrics(run)[:2] == metrics(tiny)[:2]
    assert_same(checkpoint(run, prepared, "phase-0"), checkpoint(tiny, prepared, "phase-0"))
    ours, theirs = summary(tiny)["test_accuracy"], summary(run)["test_accuracy"]
    assert ours["ideal"] == theirs["ideal"] and ours["transfer"] != theirs["transfer"]


def test_mismatch_and_noise_reach_the_chip(read):
    spreads = {"synapse": 0.3, "driver": 0.2, "gain": 0.15, "offset": 7.0}
    overrides = [f"mismatch.{name}={value}" for name, value in spreads.items()]
    prepared = experiment.prepare(read(*overrides, "noise.std=4.5"))
    chip = prepared.chip
    # 2 x 256 columns and 2 x 128 rows: a std is good to 3 % and 5 %; three times that.
    assert_allclose(np.std(chip.synapse_gain), 0.3, rtol=0.02)
    assert_allclose(np.std(chip.driver_gain), 0.2, rtol=0.15)
    assert_allclose(np.std(chip.column_gain), 0.15, rtol=0.1)
    assert_allclose(np.std(chip.offset), 7.0, rtol=0.1)
    assert_allclose(chip.noise_std, 4.5)
    assert prepared.task.mismatch == prepared.config.spreads
    assert_same(chip, sample_chip(jax.random.key(5), prepared.config.spreads))


def test_without_mismatch_and_noise_the_chip_is_ideal(read):
    run = session.train(read("mismatch.preset=none", "phases.1.max_steps=1"))
    accuracy = summary(run)["test_accuracy"]
    assert accuracy["transfer"] == accuracy["ideal"]


def test_a_sets_own_validation_split_is_used_unless_another_is_asked_for(read):
    own = data.Split(DIGITS.test.x[:50], DIGITS.test.y[:50])
    dataset = replace(DIGITS, validation=own)
    overrides = 'data={name="digits"}'
    prepared = experiment.prepare(read(overrides), dataset)
    assert_array_equal(prepared.validation.x, own.x)
    assert_array_equal(prepared.training.y, DIGITS.train.y)
    asked = experiment.prepare(read("data.validation=100"), dataset)
    assert len(asked.validation.y) == 100 and len(asked.training.y) == 1337
    without = experiment.prepare(read(overrides), DIGITS)
    assert len(without.validation.y) == 144  # a tenth


@pytest.mark.parametrize("share", [1, 100, 0.2])
def test_whole_groups_validate(read, share):
    group = np.arange(1437, dtype=np.int32) % 21
    # Two pixels are the number of a sample's group.
    images = np.zeros((1437, 8, 8, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = group % 7, group // 7
    dataset = replace(DIGITS, train=data.Split(images, np.zeros(1437, np.int32), group))

    def groups(samples):
        x = np.asarray(samples.x)[:, 0, :2, 0]
        return x[:, 0] + 7 * x[:, 1]

    prepared = experiment.prepare(read(f"data.validation={share}"), dataset)
    held, rest = (groups(s) for s in (prepared.validation, prepared.training))
    assert not set(held) & set(rest) and len(held) + len(rest) == 1437
    asked = share if share >= 1 else share * 1437
    assert asked <= len(held) < asked + 69  # a group has 68 or 69
    other = experiment.prepare(read(f"data.validation={share}", "seed=9"), dataset)
    assert set(groups(other.validation)) != set(held)


@pytest.mark.parametrize(
    "share, count", [(100, 100), (0.1, 144), (0.25, 359), (1, 1), (1436, 1436)]
)
def test_the_validation_split_is_taken_out_of_the_training_set(read, share, count):
    # Numbered samples show which went where: three pixels are the digits of a number.
    numbered, base = np.arange(1437), np.array([1, 16, 256])
    images = np.zeros((1437, 8, 8, 1), np.uint8)
    images[:, 0, :3, 0] = numbered[:, None] // base % 16
    dataset = replace(DIGITS, train=data.Split(images, np.zeros(1437, np.int32)))
    prepared = experiment.prepare(read(f"data.validation={share}"), dataset)
    held, rest = (
        np.asarray(samples.x)[:, 0, :3, 0] @ base
        for samples in (prepared.validation, prepared.training)
    )
    assert len(held) == count
    assert_array_equal(np.sort(np.concatenate([held, rest])), numbered)
    assert experiment.training_samples(prepared.config) == len(rest)


IMAGES = np.zeros((3, 8, 8, 1), np.uint8)


@pytest.mark.parametrize(
    "x, y, message",
    [
        (IMAGES[:0], [], r"digits: test.x: got shape \(0, 8, 8, 1\), expected \(S, 8, 8, 1\)"),
        (IMAGES[:, 1:], [0, 1, 2], r"test.x: got shape \(3, 7, 8, 1\)"),
        (IMAGES + 17, [0, 1, 2], "test.x: got 17 to 17, expected 0 to 16"),
        (IMAGES - np.int16(1), [0, 1, 2], "test.x: got -1 to -1"),
        (IMAGES * np.float32("nan"), [0, 1, 2], "test.x: got nan to nan, expected finite"),
        (IMAGES.astype(str), [0, 1, 2], "test: got x of <U3"),
        (IMAGES, [0.0, 0.5, 1.0], "y of float64, expected numbers and int"),
        (IMAGES, [0, 10, 9], "test.y: got labels 0 to 10, expected 0 to 9"),
        (IMAGES, [0, -1, 9], "test.y: got labels -1 to 9"),
    ],
)
def test_images_and_labels_out_of_range_are_a_data_error(read, x, y, message):
    y = np.asarray(y) if len(y) else np.zeros(0, np.int32)
    with pytest.raises(DataError, match=message):
        experiment.prepare(read(), replace(DIGITS, test=data.Split(x, y)))


@pytest.mark.slow  # trains
def test_a_batch_of_one_and_a_set_of_one_train(read):
    one = data.Split(DIGITS.train.x[:2], DIGITS.train.y[:2])
    overrides = ["data.validation=1", "phases.0.batch_size=1", "phases.1.epochs=1"]
    run = session.train(read(*overrides), dataset=replace(DIGITS, train=one, test=one))
    assert [line["step"] for line in metrics(run)] == [1, 2, 1]


def test_images_and_labels_are_split_together(resumed):
    prepared, _ = resumed
    pairs = {x.tobytes(): y for x, y in zip(DIGITS.train.x, DIGITS.train.y)}
    for samples in (prepared.training, prepared.validation):
        for x, y in zip(np.asarray(samples.x), np.asarray(samples.y)):
            assert pairs[x.tobytes()] == y


def test_over_chips_is_each_of_the_chips_after_the_runs_own(resumed):
    prepared, final = resumed
    many = experiment.over_chips(prepared, final, 3)
    keys = jax.random.split(jax.random.fold_in(prepared.key, experiment._CHIPS), 3)
    chips = [sample_chip(jax.random.key(seed), prepared.config.spreads) for seed in (6, 7, 8)]
    for i, chip in enumerate(chips):
        assert differ(chip, prepared.chip)
        one = evaluate(prepared.task, final, prepared.test, chip, keys[i], on="chip")
        # A rounding of the last bit may turn a readout: one sample of 360.
        assert_allclose(many[i], one.accuracy, atol=1.5 / 360)


@pytest.mark.parametrize(
    "override, parts",
    [
        (
            "data.name=minst",
            ["data.name", "'minst'", "har, mnist", "did you mean 'mnist'"],
        ),
        ("layers.1.outputs=9", ["layers", "(9,)", "10 classes"]),
        ("layers.0={kind='dense', outputs=10}", ["layers", "dense_0", "flatten"]),
        ("layers.0.name=dense_0", ["layers", "'dense_0' occurs twice"]),
        ("phases.1.on={dense_7='chip'}", ["phases.1.on", "'dense_7'", "flatten_0, dense_0"]),
        ("data.validation=1437", ["data.validation", "1437 of 1437"]),
        ("data.validation=0.9999", ["data.validation", "1437 of 1437"]),
    ],
    ids=lambda v: str(v)[:30],
)
def test_what_does_not_fit_together_is_a_config_error_before_anything_is_written(
    read, override, parts
):
    parsed = read(override)
    with pytest.raises(ConfigError) as error:
        session.train(parsed)
    for part in parts:
        assert part in str(error.value)
    assert not list(Path(parsed.run.dir).iterdir())


def test_a_directory_in_use_is_refused_and_stays_as_it_is(tiny, read):
    def written():
        # The lock names the process that held it last.
        files = {path for path in tiny.path.rglob("*") if path.name != ".lock"}
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    with pytest.raises(RunError, match="another config: seed: 3, now 4$"):
        session.train(read(f"run.dir={tiny.path}", "seed=4"))
    assert written() == before


def test_runs_count_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "name-1").mkdir(parents=True)

    def made(name):
        with runs.opened(name) as run:
            return str(run.path)

    assert [made("name") for _ in range(3)] == ["runs/name-0", "runs/name-2", "runs/name-3"]
    assert made("other") == "runs/other-0"


@pytest.mark.parametrize("name", ["a file", "a file/below"])
def test_a_directory_that_cannot_be_made_is_a_run_error(tmp_path, name):
    (tmp_path / "a file").touch()
    with pytest.raises(RunError, match="a file"), runs.opened("name", str(tmp_path / name)):
        pass


def test_a_directory_that_is_no_run_or_is_unfinished_is_a_run_error(tmp_path, tiny):
    with pytest.raises(RunError, match="no run directory"):
        session.read_final(RunDirectory(tmp_path))
    (tmp_path / "resolved.toml").write_text(tiny.read("resolved.toml"))
    with pytest.raises(RunError, match="no such checkpoint"):
        session.read_final(RunDirectory(tmp_path))


def test_a_checkpoint_of_another_network_is_a_run_error(tiny, resumed):
    prepared, _ = resumed
    like = jax.eval_shape(prepared.initial)
    with pytest.raises(RunError, match=r"final\.npz: missing in it: params/other/weight"):
        tiny.restore("final", replace(like, params={"other": like.params["dense_0"]}))


def test_values_below_zero_that_are_cut_are_counted(read):
    """A share of them, unless a layer writes either sign as inputs of its own."""
    signs = 'layers=[{ kind = "signs" }, { kind = "flatten" }, { kind = "dense", outputs = 10 }]'
    below = (DIGITS.train.x < 8).mean()
    for overrides, expected in ((["data.offset=8"], below), (["data.offset=8", signs], 0), ([], 0)):
        cut = experiment.prepare(read(*overrides)).cut
        # 100 of the training samples: 6,400 values, which are not independent.
        assert cut == pytest.approx(expected, abs=0.05)
