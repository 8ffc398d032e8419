"""The experiments run end to end, at a small size."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from bss2jax import config, experiment
from bss2jax.config import ConfigError
from bss2jax.runs import session
from bss2jax.runs.directory import RunError

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))

# Ten classes: of 100 test images or more a third would be right by chance once in 10^10 times.
BY_CHANCE = 1 / 3
SHORT = ["phases.0.epochs=3", "phases.1.epochs=2", "noise.std=1.0"]


@pytest.mark.slow
def test_ladder_writes_a_table_and_a_figure_for_every_chip(tmp_path, capsys):
    import ladder

    ladder.main(["digits", *SHORT, "--chips", "2", "--out", str(tmp_path)])
    text = (tmp_path / "ladder.md").read_text()
    assert "2 chips" in text and "trained in the loop" in text
    assert (tmp_path / "ladder.png").stat().st_size > 5000
    assert (tmp_path / "chip-1" / "summary.json").exists()
    loop = next(line for line in text.splitlines() if line.startswith("trained"))
    assert float(loop.split()[4]) / 100 > BY_CHANCE
    # Again, what is finished is kept; another config is refused.
    assert "epoch" in capsys.readouterr().out
    ladder.main(["digits", *SHORT, "--chips", "2", "--out", str(tmp_path)])
    assert (tmp_path / "ladder.md").read_text() == text
    assert "epoch " not in capsys.readouterr().out
    with pytest.raises(RunError, match="another config: .*phases.1.epochs: 2, now 1"):
        ladder.main(["digits", *SHORT, "phases.1.epochs=1", "--chips", "1", "--out", str(tmp_path)])


def test_mapping_compares_all_methods_on_a_workload(tmp_path):
    import mapping

    mapping.main(["suite", "--only", "har_spiking", "--out", str(tmp_path)])
    text = (tmp_path / "mapping.md").read_text()
    ours = next(line for line in text.splitlines() if line.startswith("har_spiking"))
    energies = [float(word) for word in ours.split()[3:]]
    assert len(energies) == 8 and energies[-1] == min(energies)
    assert (tmp_path / "mapping.png").stat().st_size > 5000


@pytest.mark.slow  # their parts are tested with what they call
@pytest.mark.parametrize(
    "name, small, said",
    [
        ("schedule", ["--graphs", "20", "--only", "mnist16_spiking"], "0 executions later than"),
        ("thermal", ["--clusters", "1", "--draws", "2", "--only", "har_spiking"], "all energy"),
        ("endurance", ["--only", "har_spiking"], "geometric mean, span 100"),
    ],
)
def test_mapped_for_other_aims_a_workload_has_a_table_and_a_figure(tmp_path, name, small, said):
    import importlib

    importlib.import_module(name).main([*small, "--out", str(tmp_path)])
    assert said in (tmp_path / f"{name}.md").read_text()
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_ladder_is_that_of_the_run_in_one(tmp_path):
    """Phases trained once for all chips, as runs that start from a run, change nothing."""
    import ladder

    ladder.main(["digits", *SHORT, "--chips", "1", "--first", "2", "--out", str(tmp_path)])
    where = f"run.dir={tmp_path / 'whole'}"
    whole = session.train(config.load("digits", [*SHORT, "chip.seed=2", where])[0])
    accuracy = [
        json.loads((path / "summary.json").read_text())["test_accuracy"]
        for path in (tmp_path / "chip-2", whole.path)
    ]
    assert accuracy[0] == accuracy[1]


def test_ladder_refuses_a_config_that_does_not_exist(tmp_path):
    import ladder

    with pytest.raises(ConfigError, match="digits"):
        ladder.main(["digit", "--out", str(tmp_path)])


@pytest.mark.slow
def test_one_chip_or_any_trains_in_four_ways_on_the_same_chips(tmp_path):
    import one_chip_or_any

    one_chip_or_any.main(["digits", *SHORT, "--chips", "2", "--out", str(tmp_path)])
    text = (tmp_path / "one_chip_or_any.md").read_text()
    assert all(label in text for label in one_chip_or_any.LABELS.values())
    assert (tmp_path / "one_chip_or_any.png").stat().st_size > 5000
    for way in one_chip_or_any.LABELS:
        found = json.loads((tmp_path / way / "over-2.json").read_text())
        assert len(found["other_chips"]) == 2 and found["own_chip"] > BY_CHANCE
    resolved = (tmp_path / "any" / "resolved.toml").read_text()
    assert 'chip = "resample"' in resolved


def test_one_chip_or_any_wants_a_config_that_ends_on_the_chip(tmp_path):
    import one_chip_or_any

    with pytest.raises(ConfigError, match="only the last one on the chip"):
        one_chip_or_any.main(["digits", "phases.1.on=ideal", "--out", str(tmp_path)])


@pytest.mark.slow  # what it measures with is tested
def test_the_characterisation_compares_a_chip_with_the_published_point(tmp_path, capsys):
    import characterisation

    characterisation.main(["seed=1", "--out", str(tmp_path)])
    text = (tmp_path / "characterisation.md").read_text()
    assert "on silicon ten columns read 55..63" in text
    assert (tmp_path / "characterisation.png").stat().st_size > 5000
    mean = float(re.search(r"100 x 15 x 21: mean ([\d.]+)", text)[1])
    # 63 LSB, less half an LSB of truncation; drivers and columns together leave it within 2.
    assert abs(mean - 62.5) < 2


@pytest.mark.slow  # trains; what it measures with is tested by itself
def test_spreads_compare_chips_with_and_without_a_kink(tmp_path):
    import spreads

    spreads.main(["digits", *SHORT, "--chips", "3", "--images", "300", "--out", str(tmp_path)])
    lines = (tmp_path / "spreads.md").read_text().splitlines()
    rows = (re.fullmatch(r"(.+?) +([\d.]+) ±.*", line) for line in lines)
    moved = {row[1]: float(row[2]) for row in rows if row}
    assert set(moved) == set(spreads.CANDIDATES)
    assert moved["preset kinked"] < moved["no kink"] and moved["no kink"] / 100 > BY_CHANCE


@pytest.mark.slow
def test_robustness_writes_a_curve_of_the_same_chip_at_every_level(tmp_path):
    import robustness

    short = ["phases.0.epochs=2", "phases.1.epochs=1", "phases.1.max_steps=10"]
    robustness.main(
        ["digits_spiking", *short, "--seeds", "1", "--levels", "0", "0.5", "--out", str(tmp_path)]
    )
    text = (tmp_path / "robustness.md").read_text()
    assert "1 seeds" in text and "50%" in text
    assert (tmp_path / "robustness.png").stat().st_size > 5000


def test_decalibration_scales_one_specimen():
    import robustness

    low, high = (
        experiment.prepare(config.load("digits_spiking", robustness.decalibrated(level))[0]).chip
        for level in (0.1, 0.3)
    )
    for name in ("tau_mem", "tau_syn"):
        a, b = (getattr(chip.circuits, name) - 1 for chip in (low, high))
        assert abs(a.std() - 0.1) < 0.02  # 5 standard deviations of 512 values
        inside = abs(b) < 0.89  # time constants are cut at a tenth
        assert (abs(b - 3 * a)[inside] < 1e-4).all()
    assert (low.circuits.strength == high.circuits.strength).all()


@pytest.mark.slow
def test_soft_lif_compares_rates_with_spikes_at_each_time(tmp_path):
    import soft_lif

    short = [
        "phases.0.epochs=12",
        "phases.0.learning_rate=0.01",
        "conversion.steps=40",
    ]
    out = ["--times", "20", "40", "--seeds", "1", "--batch", "100", "--out", str(tmp_path)]
    out += [
        "--on-chip",
        "100",
        "--loop-images",
        "128",
        "--loop-ms",
        "40",
        "--units",
        "relu",
        "noisy",
    ]
    soft_lif.main(["digits_softlif", *short, *out])
    text = (tmp_path / "soft_lif.md").read_text()
    assert "ReLU" in text and "gaussian noise" in text and "40 ms" in text
    assert (tmp_path / "soft_lif.png").stat().st_size > 5000
    found = json.loads((tmp_path / "soft_LIF_gaussian_noise-0" / "soft_lif.json").read_text())
    for error in (found["rates"], *(found[kind]["error"][-1] for kind in ("spiking", "chip"))):
        assert 1 - error / 100 > BY_CHANCE
    assert 1 - found["loop"]["error"][-1] / 100 > BY_CHANCE
    assert [found[kind]["samples"] for kind in ("spiking", "codes", "chip")] == [360, 100, 100]
    assert len(found["chip"]["error"]) == 30
    # Once more, nothing is trained or measured again: what was kept is read.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")}
    soft_lif.main(["digits_softlif", *short, *out])
    assert (tmp_path / "soft_lif.md").read_text() == text
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")} == before
    # Without a chip the same run has its rates and spikes alone.
    soft_lif.main(["digits_softlif", *short, *out, "--on-chip", "0"])
    without = (tmp_path / "soft_lif.md").read_text()
    assert "moved to the chip" in text and "moved to the chip" not in without
    assert "as spikes 360." in without


def test_soft_lif_wants_a_config_with_noise(tmp_path):
    import soft_lif

    with pytest.raises(ConfigError, match="all with noise"):
        soft_lif.main(["digits_softlif", 'layers.0.noise={kind = "none"}', "--out", str(tmp_path)])


@pytest.mark.slow
def test_the_three_executions_train_and_what_is_finished_is_kept(tmp_path, capsys):
    import eurosat

    command = ["digits_spiking", "phases.0.epochs=4", "phases.1.epochs=2", "--chips", "2"]
    eurosat.main([*command, "--out", str(tmp_path)])
    text = (tmp_path / "eurosat.md").read_text()
    assert all(label in text for label in eurosat.LABELS.values())
    assert (tmp_path / "eurosat.png").stat().st_size > 5000
    for way in ("float", "mixed-0", "mixed-1", "chip-0", "chip-1"):
        summary = json.loads((tmp_path / way / "summary.json").read_text())
        assert summary["test_accuracy"]["float"] > BY_CHANCE
        epochs = (tmp_path / way / "metrics.jsonl").read_text().splitlines()
        assert len(epochs) == 2
    first = json.loads((tmp_path / "mixed-0" / "metrics.jsonl").read_text().splitlines()[0])["on"]
    assert list(first.values()).count("chip") == 1
    assert "\n    2  " in capsys.readouterr().out  # the row of an epoch
    eurosat.main([*command, "--out", str(tmp_path)])
    assert not re.search(r"^epoch  |^    \d  ", capsys.readouterr().out, re.M)
    assert (tmp_path / "eurosat.md").read_text() == text


def test_the_three_executions_part_in_the_last_phase(tmp_path):
    import eurosat

    with pytest.raises(ConfigError, match="only the last one on the chip"):
        eurosat.main(["digits_spiking", "phases.0.on=chip", "--out", str(tmp_path)])


def test_patterns_are_told_apart_by_their_spikes():
    """By trains of an independent simulator: Brian2's, Euler at .1 ms."""
    from brian2_spikes import BRIAN2
    from firing_patterns import classify

    from bss2jax.kernels.neurons.units import FIRING_PATTERNS

    assert [classify(steps / 10) for steps in BRIAN2] == list(FIRING_PATTERNS)
    assert classify(BRIAN2[0][:0]) == "silent" and classify(BRIAN2[1][:2] / 10 + 200) == "sparse"


@pytest.mark.slow  # each compiles several populations
def test_plastic_experiments_write_tables_and_figures(tmp_path):
    import homeostasis
    import pong

    homeostasis.main(["neurons.number=8", "periods=20", "--out", str(tmp_path)])
    assert "mean weight" in (tmp_path / "homeostasis.md").read_text()
    places = [f"rules.{k}=8" for k in ("0.places", "1.every", "1.last", "2.row")]
    small = ["neurons.number=8", *places, "periods=24", "rules.0.waits=8"]
    pong.main([*small, "--out", str(tmp_path / "pong")])
    assert "8 places of the ball, 3 epochs" in (tmp_path / "pong" / "pong.md").read_text()
    for path in (tmp_path / "homeostasis.png", tmp_path / "pong" / "pong.png"):
        assert path.stat().st_size > 5000


@pytest.mark.slow  # a minute of training: what it says is what it learns
def test_a_dendrite_tells_the_order_of_patterns_and_a_soma_alone_does_not(tmp_path):
    import coincidence

    coincidence.main(["--chips", "1", "--out", str(tmp_path)])
    rows = (tmp_path / "coincidence.md").read_text().splitlines()
    branch, soma, best = (
        float(re.search(r"[\d.]+", row.removeprefix(name))[0])
        for name in ("soma and branch", "soma alone  ", "soma alone, best of all pairs of weights")
        for row in rows
        if row.startswith(name)
    )
    # No pair of weights is right about one of three equally frequent others, a sixth of all.
    assert branch > 95 > 90 > best and soma < 90
    assert (tmp_path / "coincidence.png").stat().st_size > 5000


@pytest.mark.slow  # two trainings and their compilation
def test_gradients_train_once_and_tell_bytes(tmp_path):
    import gradients

    call = ["--out", str(tmp_path), "--only", "yinyang-30-eventprop-delays"]
    call += ["--chips", "1", "--scale", "0.01"]
    gradients.main(call)
    table = (tmp_path / "gradients.md").read_text()
    assert re.search(r"^yinyang-30-eventprop-delays +2 \+ 1 ", table, re.M) and "nan" not in table
    assert (tmp_path / "gradients.png").stat().st_size > 5000
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")}
    gradients.main(call)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")} == before


def test_an_autocorrelation_time_is_that_of_the_process():
    import bistability

    rng, keep, a = np.random.default_rng(0), np.exp(-2 / 40), np.zeros(50_000)
    for i in range(1, len(a)):
        a[i] = keep * a[i - 1] + rng.normal()
    # 100 s in bins of 2 ms, 2500 times 40 ms: the error of a time constant is about sqrt(2 / 2500).
    assert bistability.autocorrelation_time(a, 2.0) == pytest.approx(40, rel=3 * 0.028)


@pytest.mark.slow  # compiles several populations of 512 neurons
def test_bistability_writes_a_table_and_goes_on_from_what_is_kept(tmp_path):
    import bistability

    short = ["periods=10", "window=1e-4", "period=1e-3", "--drives", "80", "--test", "10"]
    bistability.main([*short, "--out", str(tmp_path)])
    text = (tmp_path / "bistability.md").read_text()
    assert "10 updates" in text and "0.8 here" in text
    assert (tmp_path / "bistability.png").stat().st_size > 5000


@pytest.mark.slow  # compiles steps and evaluations of two phases anew, without a cache
def test_runtime_splits_the_time_here_and_on_chips(tmp_path):
    import runtime

    call = ["--only", "digits", "--steps", "2", "--out", str(tmp_path)]
    runtime.main(call)
    text = (tmp_path / "runtime.md").read_text()
    rows = [line.split() for line in text.splitlines() if line.startswith("digits")]
    assert [row[1] for row in rows] == 3 * ["training", "inference"]
    for row in rows[:2]:
        *parts, total = map(float, row[2:7])
        assert sum(parts) == pytest.approx(total, abs=0.05 * 5)  # as each is rounded
    # On one chip a batch is written and read configuration by configuration.
    parsed = config.load("digits")[0]
    phases = [phase for phase in parsed.phases if phase.on_chip]
    batches = -(-experiment.training_samples(parsed) // phases[0].batch_size)
    configurations = experiment.network_of(parsed).plan.configurations
    trips = sum(phase.epochs for phase in phases) * batches * 2 * configurations
    assert rows[2][2:4] == ["1", "chip"] and str(trips) in rows[2]
    assert (tmp_path / "runtime.png").stat().st_size > 5000
    before = (tmp_path / "digits.json").stat().st_mtime_ns
    runtime.main(call)
    assert (tmp_path / "digits.json").stat().st_mtime_ns == before
    assert (tmp_path / "runtime.md").read_text() == text


@pytest.mark.slow  # compiles six networks, each for training and for all rungs
def test_depth_compares_steps_norms_and_slopes(tmp_path):
    import depth

    short = ["data.name=digits", "data.validation=100", "layers.7.window=1"]
    short += ["phases.0.epochs=1", "phases.1.epochs=1", "phases.0.max_steps=2"]
    short += ["phases.1.max_steps=1"]
    depth.main([*short, "--steps", "2", "--out", str(tmp_path)])
    text = (tmp_path / "depth.md").read_text()
    assert len(re.findall(r"^(?:batch|no) norm +\d+ +[\d.]+(?: +[\d.]+){4}$", text, re.M)) == 8
    assert (tmp_path / "depth.png").stat().st_size > 5000
