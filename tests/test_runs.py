"""A run that is stopped goes on as if nothing had been; one process at a time writes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from numpy.testing import assert_array_equal

from bss2jax import config, data, sample_chip, save_chip
from bss2jax.config import ConfigError
from bss2jax.runs import checkpoint, lock, session
from bss2jax.runs import directory as runs
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.signals import Signals, Stopped


@pytest.fixture
def read(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)

    def read(*overrides):
        where = f"run.dir={tmp_path / 'run'}"
        return config.load(tmp_path / "tiny.toml", [where, *overrides])[0]

    return read


class After:
    """Stands for `Signals`: does something after so many steps."""

    def __init__(self, steps, what):
        self.steps, self.what = steps, what

    def hold(self):
        pass

    @property
    def signal(self):
        self.steps -= 1
        return self.what() if self.steps == 0 else None


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the program does helps."""


def kill():
    raise Killed


def stop():
    return signal.SIGTERM


def results(run):
    """All of a run that does not depend on the time: parameters, metrics, accuracies."""
    metrics = [json.loads(line) for line in run.read("metrics.jsonl").splitlines()]
    for line in metrics:
        del line["seconds"]
    arrays = {}
    for path in sorted((run.path / "checkpoints").iterdir()):
        with np.load(path) as file:
            arrays |= {(path.name, name): file[name].tobytes() for name in file if name != "meta"}
    return metrics, json.loads(run.read("summary.json"))["test_accuracy"], arrays


def test_a_run_stopped_again_and_again_gives_what_an_unbroken_one_gives(read, finished, capsys):
    # Within an epoch; at the end of one; at the end of a phase; within the next, on the chip.
    for steps, where in [(3, "1, step 3"), (5, "1, step 8"), (8, "1, step 16"), (7, "2, step 7")]:
        with pytest.raises(
            Stopped, match=f"phase {where}; .* --resume {read().run.dir}"
        ) as stopped:
            session.train(read(), signals=After(steps, stop))
        assert stopped.value.signal == signal.SIGTERM
    run = session.resume(RunDirectory(read().run.dir).path)
    assert results(run) == results(finished)
    assert "goes on after phase 2, step 7" in capsys.readouterr().out


@pytest.mark.parametrize("steps, saved", [(2, None), (15, "phase 1, step 12")])
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(
    read, finished, capsys, steps, saved
):
    overrides = ["run.checkpoint_steps=4"]
    with pytest.raises(Killed):
        session.train(read(*overrides), signals=After(steps, kill))
    run = session.train(read(*overrides))
    assert results(run) == results(finished)
    assert (saved or "before its first checkpoint") in capsys.readouterr().out


def damage(path):
    """Cuts a file in the middle, as a full disk or a broken one may."""
    os.truncate(path, path.stat().st_size // 2)


def test_a_damaged_checkpoint_is_left_out_and_named(read, finished, capsys):
    overrides = ["run.checkpoint_steps=2", "run.checkpoints=3"]
    with pytest.raises(Killed):
        session.train(read(*overrides), signals=After(15, kill))
    folder = Path(read().run.dir) / "checkpoints"
    kept = sorted(folder.glob("state*"))
    assert [path.name for path in kept] == ["state-0-10.npz", "state-0-12.npz", "state-0-14.npz"]
    damage(kept[2])
    run = session.train(read(*overrides))
    out = capsys.readouterr().out
    assert "state-0-14.npz: damaged" in out and "after phase 1, step 12" in out
    assert results(run) == results(finished)
    assert not list(folder.glob("state*")), "a finished run needs none"


def test_without_a_whole_checkpoint_a_run_says_so_and_stays_as_it_is(read):
    with pytest.raises(Stopped):
        session.train(read(), signals=After(3, stop))
    path = Path(read().run.dir) / "checkpoints" / "state-0-3.npz"
    damage(path)
    with pytest.raises(RunError, match=r"no checkpoint can be read; .*state-0-3.npz: damaged"):
        session.train(read())
    assert path.is_file()


def test_missing_metrics_are_noticed(read):
    with pytest.raises(Stopped):
        session.train(read(), signals=After(9, stop))
    os.truncate(Path(read().run.dir) / "metrics.jsonl", 10)
    with pytest.raises(RunError, match=r"metrics.jsonl: has 10 bytes, but had \d+"):
        session.train(read())


def test_a_finished_run_says_so_and_stays_as_it_is(finished, capsys):
    before = results(finished)
    assert session.resume(finished.path) == finished
    assert f"{finished.path} is finished" in capsys.readouterr().out
    assert results(finished) == before


@pytest.mark.parametrize(
    "override, difference",
    [
        ("seed=4", "seed: 3, now 4"),
        ("phases.1.epochs=7", "phases.1.epochs: 3, now 7"),
        ("mismatch.gain=0.5", "mismatch.gain: 0.03, now 0.5"),
        ("phases.0.max_steps=2", "phases.0.max_steps: None, now 2"),
        ('phases=[{on="float", epochs=1, learning_rate=1}]', "phases.1.epochs: 3, now None"),
    ],
)
def test_another_config_is_refused_with_what_differs(finished, read, override, difference):
    with pytest.raises(RunError, match="another config") as error:
        session.train(replace(read(override), run=config.Run(dir=str(finished.path))))
    assert difference in str(error.value)


def test_where_a_run_goes_and_how_often_it_saves_make_no_other_config(read):
    assert not config.differences(read(), read("run.dir=x", "run.checkpoints=9"))


def begun(path, environment):
    """A run directory that an earlier version began."""
    path.mkdir()
    (path / "environment.json").write_text(json.dumps(environment))
    return path


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"format": 4}, "a run of format 4, this bss2jax reads format 3: train .*config.toml anew"),
        ({"format": 2}, "a run of format 2, .* or use the version that wrote the run"),
        ({"format": "new"}, "a run of format 'new'"),
        ({}, "a run of format 1"),
        ([], "environment.json: not valid"),
    ],
)
def test_a_run_of_another_version_says_what_changed(read, tmp_path, environment, message):
    path = begun(tmp_path / "run", environment)
    (path / "resolved.toml").write_text(config.dump(read()))
    with pytest.raises(RunError, match=message):
        session.train(read())


def test_an_unknown_key_in_the_config_of_a_run_is_named(read, tmp_path):
    path = begun(tmp_path / "run", {"format": 3})
    (path / "resolved.toml").write_text(config.dump(read()) + "\n[later]\nkey = 1\n")
    with pytest.raises(ConfigError, match="resolved.toml: later: unknown key"):
        session.resume(path)


# Runs that start from runs


def learned(run):
    with np.load(run.path / "checkpoints" / "final.npz") as file:
        return {name: file[name] for name in file if name != "meta"}


def started(read, finished, *overrides):
    """A run of a phase on the chip that starts from the finished run."""
    return read(f"start={finished.path}", f"phases=[{ON_CHIP}]", *overrides)


ON_CHIP = "{on='chip', epochs=2, learning_rate=1e-20, optimizer='sgd'}"


def test_a_run_starts_from_what_another_ended_with(read, finished):
    run = session.train(started(read, finished))
    # A rate so small that no weight moves.
    before, after = learned(finished), learned(run)
    assert before.keys() == after.keys() == {"params/dense_0/weight"}
    jax.tree.map(assert_array_equal, after, before)
    source = json.loads(run.read("environment.json"))["sources"]["start"]
    assert source["path"] == str(finished.path) and len(source["sha256"]) == 64
    # What first meets the chip is what the other run ended with: the same chip, the same noise.
    whole = json.loads(finished.read("summary.json"))["test_accuracy"]
    assert json.loads(run.read("summary.json"))["test_accuracy"]["transfer"] == whole["chip"]


def test_a_phase_that_starts_from_a_run_leaves_out_those_before_it(read, finished, tmp_path):
    """Trained in two runs, phase by phase, a config gives what it gives in one, to the bit."""
    first = session.train(replace(read(), phases=read().phases[:1]))
    there = f"run.dir={tmp_path / 'second'}"
    second = session.train(read(f"phases.1.start={first.path}", there))
    for run in (finished, second):
        with np.load(run.path / "checkpoints" / "phase-1.npz") as file:
            arrays = file["params/dense_0/weight"]
        assert_array_equal(arrays, learned(finished)["params/dense_0/weight"])
    lines = [json.loads(line) for line in second.read("metrics.jsonl").splitlines()]
    assert [line["phase"] for line in lines] == [1, 1, 1]
    accuracy = [json.loads(r.read("summary.json"))["test_accuracy"] for r in (finished, second)]
    assert accuracy[0] == accuracy[1]


def test_what_cannot_be_started_from_is_one_line_before_anything_is_written(
    read, finished, tmp_path
):
    def refused(message, *overrides):
        with pytest.raises(ConfigError, match=message):
            session.train(started(read, finished, *overrides))
        assert not Path(read().run.dir).exists()

    refused("start: .*nowhere: no run directory", f"start={tmp_path / 'nowhere'}")
    layers = "layers=[{{kind='signs'}}, {{kind='flatten'}}, {{kind='dense', outputs=10{}}}]"
    other = "missing in it: params/output/weight; unexpected: params/dense_0/weight"
    refused(f"start: .*{other}", layers.format(", name='output'"))
    shape = r"dense_0/weight is float32 \(64, 10\), expected float32 \(128, 10\)"
    refused(f"start: .*{shape}", layers.format(""))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "environment.json").write_text('{"format": 3}')
    refused("start: .*half: the run is not finished", f"start={tmp_path / 'half'}")


def test_a_start_that_has_changed_is_told_or_refused(read, finished, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(finished.path, other)
    config_of = lambda: read(f"start={other}", f"phases=[{ON_CHIP}]")  # noqa: E731
    with pytest.raises(Killed):
        session.train(config_of(), signals=After(2, kill))
    shutil.copy(other / "checkpoints" / "phase-0.npz", other / "checkpoints" / "final.npz")
    with pytest.raises(RunError, match="parameters of .*other have changed since the run began"):
        session.train(config_of())
    # A checkpoint holds all that is needed: the run goes on, and says so.
    shutil.copy(finished.path / "checkpoints" / "final.npz", other / "checkpoints")
    with pytest.raises(Stopped):
        session.train(config_of(), signals=After(4, stop))
    shutil.rmtree(other)
    run = session.train(config_of())
    said = capsys.readouterr().out
    assert "no run directory" in said and "goes on from what it has learned" in said
    jax.tree.map(assert_array_equal, learned(run), learned(finished))


QUICK = ("phases.0.max_steps=1", "phases.1.max_steps=1")


def test_a_run_keeps_its_chip_whatever_becomes_of_the_file(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, changed = (sample_chip(jax.random.key(seed)) for seed in (0, 1))
    save_chip(mine, "mine.npz")
    settings = read("chip.file=mine.npz", *QUICK)
    run = session.train(settings)
    source = json.loads(run.read("environment.json"))["sources"]["chip"]
    assert source["path"] == str(tmp_path / "mine.npz") and len(source["sha256"]) == 64
    # The same call says that the run is finished; with another chip it is another run.
    session.train(settings)
    save_chip(changed, "mine.npz")
    with pytest.raises(RunError, match="mine.npz holds another chip than when the run began"):
        session.train(settings)
    # The run itself is whole: wherever it and the caller are.
    Path("mine.npz").unlink()
    run.path.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for resumed in (session.resume("../moved"), RunDirectory("../moved")):
        jax.tree.map(assert_array_equal, session.read_final(resumed)[0].chip, mine)
    save_chip(changed, tmp_path / "moved" / "chip.npz")
    with pytest.raises(RunError, match="chip.npz holds another chip than when the run began"):
        session.read_final(RunDirectory(Path("../moved")))


def test_data_that_have_changed_are_refused(read, monkeypatch):
    run = session.train(read(*QUICK))
    session.read_final(run)
    before = data.load("digits")
    x = before.test.x.copy()
    x[0, 0, 0] += 1
    changed = replace(before, test=replace(before.test, x=x))
    monkeypatch.setattr(data, "load", lambda name: changed)
    with pytest.raises(RunError, match="digits holds other data than when the run began; put back"):
        session.read_final(run)
    with pytest.raises(RunError, match="digits holds other data"):
        session.resume(run.path)


def test_a_home_may_be_written_as_one_writes_it(tmp_path, monkeypatch, finished):
    monkeypatch.setenv("HOME", str(finished.path.parent))
    assert RunDirectory("~/tiny").finished()
    with pytest.raises(RunError, match="no-such-user/x: no such home directory"):
        RunDirectory("~no-such-user/x")
    with pytest.raises(RunError, match="[Nn]ame too long"), runs.opened("name", 5000 * "x"):
        pass


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_takes_runs(tmp_path, monkeypatch, error):
    def flock(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with runs.opened("name", str(tmp_path / "run")) as directory:
        directory.write("plan.txt", "")


# One writer

HOLD = """
import sys, time
from bss2jax.runs import directory as runs
with runs.opened("name", sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_with_the_firsts_id_until_that_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"writes to this run: process {holder.pid} on "):
            with runs.opened("name", str(tmp_path / "run")):
                pass
    finally:
        holder.kill()
        holder.communicate()
    with runs.opened("name", str(tmp_path / "run")) as run:
        assert f"process {os.getpid()} " in run.read(".lock")


def test_what_a_killed_process_had_not_renamed_is_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in (".resolved.toml.part", "checkpoints/.final.npz.part", "environment.json"):
        (tmp_path / name).touch()
    (tmp_path / "resolved.toml").touch()
    with runs.opened("name", str(tmp_path)):
        assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize("names", [[], ["config.toml"], [".lock", "config.toml", "plan.txt"]])
def test_a_run_that_had_hardly_begun_begins_again(read, finished, names):
    folder = Path(read().run.dir)
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with runs.opened("name", str(folder)) as run:
        assert run.environment() is None


# Checkpoints

TREE = {"a": {"weight": jnp.arange(6.0).reshape(2, 3)}, "b": (jnp.zeros((), jnp.int32), [])}


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path / "tree.npz", TREE, {"step": 7, "rank": [0.1, -1e-300]})
    return tmp_path / "tree.npz"


def test_a_checkpoint_reads_back_to_the_bit(saved):
    tree, meta = checkpoint.load(saved, jax.eval_shape(lambda: TREE))
    assert jax.tree.structure(tree) == jax.tree.structure(TREE)
    jax.tree.map(assert_array_equal, tree, TREE)
    assert meta == {"step": 7, "rank": [0.1, -1e-300]}
    with np.load(saved) as file:
        assert set(file) == {"meta", "a/weight", "b/0"}


@pytest.mark.parametrize(
    "like, message",
    [
        ({"a": TREE["a"]}, "missing in it: nothing; unexpected: b/0"),
        (TREE | {"c": jnp.zeros(2)}, "missing in it: c; unexpected: nothing"),
        (TREE | {"a": {"weight": jnp.zeros((3, 2))}}, r"a/weight is float32 \(2, 3\), expected"),
        (TREE | {"b": (jnp.zeros(()), [])}, r"b/0 is int32 \(\), expected float32"),
        (TREE | {"a": {"weight": jnp.zeros(0)}, "b": (jnp.zeros(()), [])}, "a/weight|b/0"),
    ],
)
def test_a_checkpoint_of_another_tree_says_what_differs(saved, like, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.load(saved, like)


def test_no_damaged_byte_goes_unnoticed(saved):
    whole = saved.read_bytes()
    for place in range(0, len(whole), 3):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            tree, meta = checkpoint.load(saved, TREE)
        except ValueError:
            continue
        # A date or a comment in the archive: nothing that is read.
        jax.tree.map(assert_array_equal, tree, TREE)
        assert meta == {"step": 7, "rank": [0.1, -1e-300]}


def test_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    trap = np.empty((), object)
    trap[()] = Trap()
    np.savez(tmp_path / "trap.npz", a=trap, meta=trap)
    with pytest.raises(ValueError, match="not an npz file: no archive of arrays"):
        checkpoint.load(tmp_path / "trap.npz", {"a": jnp.zeros(100)})
    assert not (tmp_path / "trapped").exists()


def test_a_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**7))
        archive.writestr("meta.npy", b"")
    with pytest.raises(ValueError, match="a has 10000000 bytes"):
        checkpoint.load(tmp_path / "bomb.npz", {"a": jnp.zeros(3)})


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch, error):
    run = RunDirectory(tmp_path)
    run.write("summary.json", {"a": 1})
    run.save("final", TREE)
    run.log({"epoch": 1})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(file):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=f"summary.json: {os.strerror(error)}$"):
        run.write("summary.json", {"a": 2})
    with pytest.raises(RunError, match=f"final.npz: {os.strerror(error)}$"):
        run.save("final", {"a": jnp.zeros(3)})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# Signals


def test_a_signal_interrupts_at_once_until_it_is_held_and_the_second_one_always(capfd):
    with Signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.signal == signal.SIGTERM
    with Signals() as signals:
        signals.hold()
        assert signals.signal is None
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
