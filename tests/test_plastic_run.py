"""Runs of hybrid plasticity: from a config to a report, stopped and gone on with."""

import json
import shutil

import jax
import numpy as np
import pytest

from bss2jax import config, open_run, report
from bss2jax.config import ConfigError
from bss2jax.config.plastic import dump_plastic, load_plastic, shipped_plastic
from bss2jax.emulation import prepare
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.plastic import STDP
from bss2jax.runs import plastic, session
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.signals import Stopped

TINY = [
    "neurons.number=6", "neurons.fresh=false", "period=1e-4", "periods=4", "snapshots=2",
    "environment.sources=3", "environment.rate=1e5", "synapses.weight=20.0",
    "rules.0.target=5.0", "rules.0.arithmetic=float", "run.checkpoint_steps=1",
]  # fmt: skip


def tiny(directory, *more):
    return load_plastic("homeostasis", [*TINY, f"run.dir={directory}", *more])[0]


class AfterOne:
    """Signals of which one has come: the run stops after its first part."""

    signal = 2

    def hold(self):
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return plastic.train(tiny(tmp_path_factory.mktemp("runs") / "whole"))


def final(directory):
    """The state that a run ended with."""
    like = prepare(load_plastic(directory.path / "resolved.toml")[0]).begin()
    return directory.restore("final", like)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(run, tmp_path):
    with pytest.raises(Stopped, match="after period 1; `bss2jax train --resume"):
        plastic.train(tiny(tmp_path / "cut"), signals=AfterOne())
    moved = (tmp_path / "cut").rename(tmp_path / "moved")
    assert plastic.is_run(moved) and not RunDirectory(moved).finished()
    again = plastic.resume(moved)
    jax.tree.map(np.testing.assert_array_equal, final(run), final(again))
    read = lambda of: [*map(json.loads, of.read("metrics.jsonl").splitlines())]  # noqa: E731
    lines = [read(run), read(again)]
    assert [line["periods"] for line in lines[1]] == [1, 2, 3, 4]
    for one, other in zip(*lines, strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
    assert lines[0][-1]["rate"] > 0
    before = again.read("metrics.jsonl"), again.read("summary.json")
    plastic.resume(moved)  # is finished
    assert (again.read("metrics.jsonl"), again.read("summary.json")) == before
    with pytest.raises(RunError, match="a run of another config"):
        plastic.train(tiny(moved, "seed=1"))


@pytest.mark.slow  # the usual run is to stay short; runs another population
def test_a_run_begins_with_the_weights_of_another(run, tmp_path):
    config = tiny(tmp_path / "next", f"start={run.path}", "rules.0.rate=0.0", "periods=1")
    after = plastic.train(config)
    np.testing.assert_array_equal(final(run).weights, final(after).weights)
    with pytest.raises(ConfigError, match="start: "):
        plastic.train(tiny(tmp_path / "none", f"start={tmp_path}"))


def test_a_report_shows_curves_and_weights_over_time(run, tmp_path):
    page = report.write([run.path], tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3  # rate, weight, and the matrices
    for said in ("period", "mean weight (LSB)", "period 0", "period 4", "rows a period"):
        assert said in page


def test_a_report_of_a_run_that_has_only_its_head(run, tmp_path):
    for name in ("config.toml", "resolved.toml", "environment.json"):
        shutil.copy(run.path / name, tmp_path)
    page = report.write([tmp_path], tmp_path / "report.html").read_text()
    assert "No period is done" in page and "The run is not finished" in page
    assert "<svg" not in page


def test_two_runs_of_the_same_name_both_have_their_place(run, tmp_path):
    other = shutil.copytree(run.path, tmp_path / run.path.name)
    page = report.write([run.path, other], tmp_path / "report.html").read_text()
    assert f">{run.path}<" in page and f">{other}<" in page


def test_configs_are_read_strictly_and_written_back():
    for name in shipped_plastic():
        parsed, _ = load_plastic(name)
        text = dump_plastic(parsed)
        assert "kind" in text and parsed.name == name
    with pytest.raises(ConfigError, match=r"rules.0.rat: unknown key.*did you mean 'rate'"):
        load_plastic("homeostasis", ["rules.0.rat=1"])
    with pytest.raises(ConfigError, match="only train and report take it"):
        config.load("homeostasis")
    rule = STDP().kind
    slow = [*TINY, f'rules=[{{kind="{rule}"}}]', "period=1e-5"]
    with pytest.raises(ConfigError, match="3 rows with correlation take the processors 84 us"):
        prepare(load_plastic("homeostasis", slow)[0])
    with pytest.raises(ConfigError, match="period: 1.05e-06 s is no multiple of dt"):
        prepare(load_plastic("homeostasis", [*TINY, "period=1.05e-6"])[0])


def test_offsets_of_synaptic_inputs_spread_where_the_chip_has_spreads():
    """Of single ones too: the preset of bistability is `none`."""
    for more, std in (([], 2.0), (NO_SPREADS, 0.0)):
        hybrid = prepare(load_plastic("bistability", more)[0]).hybrid
        excites = np.asarray(hybrid.signs) > 0
        for rows, mean in ((excites, -1.159), (~excites, -1.236)):
            offset = np.asarray(hybrid.offset)[rows]
            assert (offset == offset[0]).all()  # one input of each neuron and sign
            # 512 draws: five standard errors.
            assert offset[0].std() == pytest.approx(std, abs=1e-5 + 5 * std / np.sqrt(1024))
            assert offset[0].mean() == pytest.approx(mean, abs=1e-5 + 5 * std / np.sqrt(512))


SPREADS = ("leak", "reset", "threshold", "tau_mem", "tau_syn", "strength")
NO_SPREADS = [f"mismatch.{name}=0.0" for name in SPREADS]


def test_a_dumped_config_is_the_same(tmp_path):
    parsed, _ = load_plastic("pong")
    (tmp_path / "again.toml").write_text(dump_plastic(parsed))
    assert load_plastic(tmp_path / "again.toml")[0] == parsed


@pytest.mark.slow  # trains a network first
def test_a_network_that_was_trained_offline_goes_on_learning(tmp_path):
    short = ["phases.0.epochs=1", "phases.1.epochs=1", f"run.dir={tmp_path / 'net'}"]
    net = session.train(config.load("digits_spiking", short)[0])
    codes = Codes(60.0).shown(open_run(net.path).params["lif_0"]["weight"])
    settings = [
        'environment={kind="samples",samples=5}', "neurons.number=200", "neurons.fresh=true",
        "synapses.pairs=true", "period=1e-4", "visited=0", "periods=2", "layer=lif_0",
        f"start={net.path}", 'rules=[{kind="drift",share=0.0}]', f"run.dir={tmp_path / 'on'}",
    ]  # fmt: skip
    run = plastic.train(load_plastic("homeostasis", settings)[0])
    pairs = np.asarray(final(run).weights).reshape(64, 2, 200)
    np.testing.assert_array_equal(pairs[:, 0] - pairs[:, 1], codes)
    assert pairs.min() == 0 and pairs.max() == 63 and (pairs.min(axis=1) == 0).all()
    with pytest.raises(ConfigError, match="no layer 'lif_9' with weights: lif_0, li_0"):
        plastic.train(load_plastic("homeostasis", [*settings, "layer=lif_9"])[0])
