"""The command line: what it prints, what it leaves, and what it says when a call is wrong."""

import contextlib
import io
import json
import os
import platform
import pty
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from itertools import pairwise

import jax
import pytest
from stand_in import random_like

from bss2jax import __version__, config, experiment
from bss2jax.cli import compiled, main
from bss2jax.config.plastic import shipped_plastic

TINY = """name = "tiny"
data.name = "digits"
layers = [{ kind = "flatten" }, { kind = "dense", outputs = 10 }]
phases = [{ on = "chip", epochs = 2, learning_rate = 1 }]
"""
# Seconds mean those of a machine that does nothing else.
BUSY = max(1.0, os.getloadavg()[0] / os.cpu_count())
SHORT = ["phases.0.max_steps=3", "phases.1.max_steps=3"]
NUMBER = r"\d+\.\d\d%"


def bss2jax(*arguments, cwd):
    """Runs the command line in a process of its own, its output piped."""
    command = [sys.executable, "-m", "bss2jax", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture
def printed(finished):
    """What `bss2jax train` printed of the finished run."""
    return (finished.path.parent / "tiny.txt").read_text()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A small config in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    return "tiny.toml"


def wrong(capsys, *arguments):
    """Runs a wrong call; returns its one line."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    # What a config is may have been said before its data turn out to be missing.
    assert code == 2 and (out == "" or (arguments[0] == "train" and out.startswith("tiny ")))
    assert err.startswith("bss2jax: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    return err


def test_train_writes_a_run_and_prints_its_ladder(finished, printed):
    summary = json.loads(finished.read("summary.json"))
    for name, accuracy in summary["test_accuracy"].items():
        assert re.search(rf"^{name} +{accuracy:.2%} ", printed, re.MULTILINE)
    assert str(finished.path) in printed.splitlines()[-1]


def test_a_run_goes_to_the_first_free_directory(tiny, tmp_path, capsys):
    assert main(["train", tiny, "phases.0.max_steps=1", "noise.std=1"]) == 0
    assert "the run is in runs/tiny-0" in capsys.readouterr().out
    resolved = (tmp_path / "runs" / "tiny-0" / "resolved.toml").read_text()
    assert "std = 1\n" in resolved or "std = 1.0\n" in resolved


def test_piped_output_is_plain_lines_in_80_columns(printed, finished):
    assert not re.search(r"[^\n\x20-\x7eµ]", printed)
    lines = printed.splitlines()
    assert max(len(line) for line in lines if str(finished.path) not in line) <= 80
    for number, on, epochs in ((1, "float", 2), (2, "chip", 3)):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"phase {number}/2 {on}"))
        assert lines[at + 1].split() == ["epoch", "loss", "training", "validation", "time"]
        for epoch, line in enumerate(lines[at + 2 : at + 2 + epochs], 1):
            assert re.fullmatch(rf" +{epoch}  \d+\.\d+ +{NUMBER} +{NUMBER} +\d+\.\d s", line)


def test_a_training_says_what_it_is_before_it_begins_and_rungs_as_it_measures_them(printed):
    words = [line.split()[0] for line in printed.splitlines() if line.split()]
    assert words[:6] == ["tiny", "network", "plan", "chip", "data", "run"]
    first = words.index("phase"), words.index("float"), words.index("epoch")
    second = words.index("phase", first[0] + 1)
    assert first[0] < first[1] < words.index("ideal") < words.index("transfer") < second
    assert words.count("chip") == 4  # its number, two measurements and the table's head


def test_evaluate_measures_a_run_on_its_own_and_on_other_chips(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished.path, run)
    assert main(["evaluate", str(run), "--chips", "3"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    own, classes, others = capsys.readouterr().out.split("\n\n")
    for name in ("float", "ideal", "chip"):
        assert re.search(rf"^{name} +{NUMBER} +{NUMBER}  (run|on) ", own, re.MULTILINE)
    chip = (summary[f"test_{kind}"]["chip"] for kind in ("accuracy", "balanced_accuracy"))
    assert re.search("^chip +{:.2%} +{:.2%}  on ".format(*chip), own, re.MULTILINE)
    counts = json.loads((run / "confusion.json").read_text())
    for line, row in zip(classes.splitlines()[-10:], counts["test_confusion"]["chip"]):
        assert line.split()[2:] == [str(count) for count in row]
    assert others.startswith("3 other chips")
    kept = json.loads((run / "chips.json").read_text())
    assert kept["chip_seeds"] == [6, 7, 8]
    chips = kept["test_accuracy"]
    figures = (statistics.mean(chips), statistics.stdev(chips), min(chips), max(chips))
    for name, value in zip(("mean", "std", "worst", "best"), figures):
        assert re.search(rf"^{name} +{value:.2%}$", others, re.MULTILINE)


FAULTS = """
import resource, sys
import numpy as np
from bss2jax.cli.pages import keep_pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.empty(40 * 2**20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
keep_pages()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_the_command_line_keeps_large_blocks_of_memory():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    first, then = map(int, done.stdout.split())
    pages = 4 * 40 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    # Larger pages may come at once, where the system has them: then this shows less.
    assert then <= pages / 100 and then <= first


def on_terminal(*arguments, cwd):
    """Runs the command line on a pseudo-terminal of 80 columns, as most are at first.

    Returns:
        The lines that were shown, those that others took the place of too, the time of the first
        output, s, and the longest time without any.
    """
    host, guest = pty.openpty()
    times = [time.monotonic()]
    process = subprocess.Popen(
        [sys.executable, "-m", "bss2jax", *map(str, arguments)],
        stdout=guest,
        stderr=guest,
        cwd=cwd,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(guest)
    shown = b""
    while True:
        try:
            chunk = os.read(host, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        shown += chunk
        times.append(time.monotonic())
    os.close(host)
    assert process.wait(timeout=60) == 0
    # A line is taken back by its start, by going up, or by being erased.
    text = re.sub(r"\x1b\[\d*[AK]", "\r", shown.decode())
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
    return lines, times[1] - times[0], max(b - a for a, b in pairwise(times))


def test_a_terminal_shows_a_bar_with_loss_accuracy_and_time_left(tiny, tmp_path):
    lines, first, silence = on_terminal("train", tiny, "run.dir=run", cwd=tmp_path)
    assert first <= BUSY and silence <= 2 * BUSY
    assert max(map(len, lines)) <= 80
    bars = [line for line in lines if "━" in line and "loss" in line]
    assert bars, lines
    time_left = r"(\d+:\d\d:\d\d|-:--:--)"
    assert re.search(rf" \d+/20 +{time_left} +loss \d+\.\d+ +accuracy \d+\.\d%", bars[0])
    for start in ("tiny", "network ", "    1  ", "    2  ", "transfer ", "chip 0 "):
        assert any(line.startswith(start) for line in lines), start
    for stage in ("loading digits", "compiling", "measuring ideal, 2 of 4"):
        assert any(f" {stage} 0:00:0" in line for line in lines), stage


@pytest.mark.slow  # half a minute to minutes each; the test above is of a small training
@pytest.mark.parametrize("command", ["train", "calibrate", "evaluate"])
def test_no_command_is_silent_for_two_seconds(command, finished, tmp_path):
    calls = {
        "train": ["train", "mnist_ladder", "run.dir=run", *SHORT],
        "calibrate": ["chip", "calibrate", "chip.npz", "out.npz"],
        "evaluate": ["evaluate", "run", "--chips", "20"],
    }
    shutil.copytree(finished.path, tmp_path / ("run" if command == "evaluate" else "other"))
    assert main(["chip", "sample", str(tmp_path / "chip.npz")]) == 0
    _, first, silence = on_terminal(*calls[command], cwd=tmp_path)
    assert first <= BUSY and silence <= 2 * BUSY


@pytest.mark.slow  # test_kills stops trainings in every run of the tests
def test_a_stopped_training_says_how_to_go_on_and_does(tmp_path):
    (tmp_path / "stop.toml").write_text(TINY.replace("epochs = 2", "epochs = 100000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "bss2jax", "train", "stop.toml", "run.dir=stopped"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("    1  "):
            break
    second = bss2jax("train", "stop.toml", "run.dir=stopped", cwd=tmp_path)
    assert second.returncode == 2 and f"process {process.pid} " in second.stderr
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    said = re.fullmatch(
        r"(?:\w.* \.\.\.\n|phase 1/1 \d+/1000000 validating\n)*"  # the latter where it takes long
        r"bss2jax: stopping after this step; Ctrl-C again stops at once\n"
        r"bss2jax: stopped after phase 1, step (\d+); `bss2jax (train --resume stopped)` goes on\n",
        err,
    )
    assert said, err
    summary = bss2jax("evaluate", "stopped", cwd=tmp_path)
    assert summary.returncode == 2 and "no such checkpoint" in summary.stderr
    # The same call goes on too; a shorter training of the same config would be another.
    again = subprocess.Popen(
        [sys.executable, "-m", "bss2jax", *said[2].split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(f"goes on after phase 1, step {said[1]}" in line for line in again.stdout)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 143


def test_quiet_is_results_alone_and_verbose_says_more(finished, tmp_path, capsys):
    shutil.copytree(finished.path, tmp_path / "run")
    said = []
    for flags in (["-q"], [], ["-v"]):
        assert main(["train", "--resume", str(tmp_path / "run"), *flags]) == 0
        said.append(capsys.readouterr().out)
    quiet, usual, verbose = said
    assert quiet.splitlines()[0].startswith("chip 5 ") and "there is nothing left" not in quiet
    assert "there is nothing left" in usual and quiet in usual
    assert re.search(r"loading digits, \d+\.\d s", verbose) and "loading" not in usual


def test_json_holds_what_tables_say(finished, tmp_path, capsys):
    def said(*call):
        assert main([*map(str, call), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert said("configs").keys() == config.shipped().keys() | shipped_plastic().keys()
    assert main(["chip", "sample", str(tmp_path / "chip.npz"), "offset=5"]) == 0
    capsys.readouterr()
    assert said("chip", "show", tmp_path / "chip.npz")["offset"]["std"] == pytest.approx(5, rel=0.2)
    plan = said("plan", "digits")["plan"]
    assert plan["layers"]["dense_0"]["shape"] == "1024x64"
    assert sum(plan["sample"]["configurations"]) == pytest.approx(plan["sample"]["seconds"])
    shutil.copytree(finished.path, tmp_path / "run")
    summary, measured = (
        json.loads(finished.read("summary.json")),
        said("evaluate", tmp_path / "run"),
    )
    assert measured["test"]["chip"]["accuracy"] == summary["test_accuracy"]["chip"]


def test_what_is_compiled_is_kept_where_nobody_says_where(tmp_path, monkeypatch):
    names = ["JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"]
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("BSS2JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "jax")
    compiled.keep()
    kept = os.environ[names[0]]
    assert kept.startswith(str(tmp_path / "cache" / "xla")) and os.path.isdir(kept)
    assert int(os.environ[names[1]]) == 2**30
    monkeypatch.setenv("BSS2JAX_CACHE", str(tmp_path / "other"))
    compiled.keep()  # where it goes has been said
    assert os.environ[names[0]] == kept and not (tmp_path / "other").exists()


def test_configs_lists_what_ships(capsys):
    assert main(["configs"]) == 0
    out = capsys.readouterr().out
    for name in config.shipped():
        assert f"\n{name} " in out


def test_plan_shows_places_and_costs(capsys):
    assert main(["plan", "digits", "layers.2.outputs=300"]) == 0
    out = capsys.readouterr().out
    assert "epoch of 1293 samples" in out  # of 1,437 a tenth validates
    assert re.search(r"dense_0 +1024x300 +dense +16 ", out) and "µs of chip time" in out


def test_plan_takes_a_file(tiny, capsys):
    assert main(["plan", tiny]) == 0
    assert "64x10" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["plan"], ["configs"]])
def test_help_is_everywhere(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*command, "--help"])
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: bss2jax") and "--help" in out


def test_the_help_of_a_command_names_its_arguments(capsys):
    for command, words in {
        "train": ["config", "key=value", "--resume RUN"],
        "evaluate": ["run", "--chips N"],
    }.items():
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        assert all(word in out for word in words)


def test_version_is_the_packages_and_jaxs_with_the_device(capsys):
    for flag in ("--version", "-V"):
        with pytest.raises(SystemExit):
            main([flag])
        first, second = capsys.readouterr().out.splitlines()
        assert first == f"bss2jax {__version__}, JAX {jax.__version__}"
        assert second == f"device: {jax.device_count()} cpu (cpu)"


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ([], ["COMMAND", "bss2jax --help"]),
        (["trian"], ["'trian'", "did you mean 'train'?", "known: train, evaluate, "]),
        (["train"], ["config", "--resume", "bss2jax train --help"]),
        (["train", "tiny.toml", "--resume", "run"], ["config", "--resume"]),
        (["train", "--resume", "nowhere"], ["nowhere", "no run directory"]),
        (["train", "--resume"], ["--resume", "bss2jax train --help"]),
        (["train", "digits", "--seed", "1"], ["--seed"]),
        (["train", "digist"], ["digist", "mean 'digits'"]),
        (["train", "nowhere.toml"], ["nowhere.toml", "no such file"]),
        (["train", "tiny.toml", "seeed=1"], ["seeed", "unknown key", "mean 'seed'"]),
        (["train", "tiny.toml", "seed=x"], ["seed", "got 'x'", "expected an integer"]),
        (["train", "tiny.toml", "data.name=minst"], ["data.name", "'minst'", "'mnist'"]),
        (["train", "tiny.toml", "layers.1.outputs=9"], ["layers", "9", "10 classes"]),
        (["train", "tiny.toml", "phases.0.on.x=1"], ["phases.0.on", "not a table"]),
        (["train", "tiny.toml", "data.validation=9999"], ["data.validation", "9999 of 1437"]),
        (["train", "tiny.toml", "run.dir=tiny.toml"], ["tiny.toml", "Not a directory"]),
        (["plan", "tiny.toml", "layers=[]"], ["layers", "not empty"]),
        (["plan"], ["config", "bss2jax plan --help"]),
        (["evaluate"], ["run", "bss2jax evaluate --help"]),
        (["evaluate", "nowhere"], ["nowhere", "no run directory"]),
        (["evaluate", "."], ["no run directory"]),
        (["evaluate", ".", "--chips", "0"], ["--chips", "from 1 to 100000", "'0'"]),
        (["evaluate", ".", "--chips", "many"], ["--chips", "from 1 to 100000", "'many'"]),
        (["evaluate", ".", "--chip=x"], ["--chip"]),
        (["configs", "more"], ["more"]),
        (["data"], ["ACTION", "bss2jax data --help"]),
        (["data", "lsit"], ["'lsit'", "did you mean 'list'?", "list, prepare, show"]),
        (["data", "prepare"], ["name", "bss2jax data prepare --help"]),
        (["data", "prepare", "minst"], ["no data set 'minst'", "did you mean 'mnist'"]),
        (["data", "show", "digist"], ["no data set 'digist'", "did you mean 'digits'"]),
        (["data", "list", "more"], ["more"]),
    ],
    ids=lambda v: " ".join(v)[:40],
)
def test_a_wrong_call_is_one_line_and_leaves_nothing(tiny, tmp_path, capsys, arguments, parts):
    line = wrong(capsys, *arguments)
    for part in parts:
        assert part in line
    assert [path.name for path in tmp_path.iterdir()] == [tiny]


def test_data_list_says_what_is_prepared(capsys, tmp_path, monkeypatch):
    from bss2jax import data

    monkeypatch.setenv("BSS2JAX_CACHE", str(tmp_path))
    (tmp_path / "har-v1.npz").touch()
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(data.names())
    ends = {line.split()[0]: line.split()[-1] for line in lines}
    assert ends["digits"] == ends["yinyang"] == "none" and ends["mnist"] == "no"
    assert ends["har"] == str(tmp_path / "har-v1.npz")


@pytest.mark.parametrize("name", ["digits", "yinyang", "har", "eurosat"])
def test_data_show_counts_the_classes_and_draws_a_picture(name, capsys, tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image

    from bss2jax import data

    fake = random_like(name, train=30)
    monkeypatch.setattr(data, "load", lambda _: fake)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "show", name]) == 0
    out = capsys.readouterr().out
    for label, kind in enumerate(fake.classes):
        counts = [int((split.y == label).sum()) for split in (fake.train, fake.test)]
        assert re.search(r"^{} +{} +{}\b".format(kind, *counts), out, re.MULTILINE)
    assert ("validation" in out) == (name == "eurosat") and f"{name}.png" in out
    picture = np.asarray(Image.open(f"{name}.png").convert("RGB"))
    assert picture.min() < 100 and picture.std() > 5, "an empty picture"


def test_data_prepare_counts_and_a_picture_that_cannot_be_written_is_one_line(capsys, tmp_path):
    assert main(["data", "prepare", "digits"]) == 0
    assert re.search(r"^all +1437 +360$", capsys.readouterr().out, re.MULTILINE)
    assert main(["data", "show", "digits", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"bss2jax: {tmp_path}: ")


def test_a_missing_data_file_is_one_line(tiny, tmp_path, capsys, monkeypatch):
    (tmp_path / "data" / "mnist" / "train-images-idx3-ubyte.gz").mkdir(parents=True)
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BSS2JAX_CACHE", str(tmp_path / "cache"))
    line = wrong(capsys, "train", tiny, "data.name=mnist")
    assert "train-images-idx3-ubyte" in line
    assert not (tmp_path / "runs").exists()


def test_a_run_directory_in_use_is_refused_and_stays_as_it_is(tiny, tmp_path, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    line = wrong(capsys, "train", tiny, "run.dir=used")
    assert "run.dir" in line and "used" in line and "not empty" in line
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["notes.txt"]
    assert (tmp_path / "used" / "notes.txt").read_text() == "mine"


def test_an_interrupt_is_one_line_and_exit_code_130(tiny, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bss2jax.runs.session.train", interrupted)
    assert main(["train", tiny]) == 130
    assert capsys.readouterr().err == "bss2jax: interrupted\n"


def test_a_wrong_call_answers_at_once():
    # Libraries that take seconds to import wait until the call is known to be good.
    start = time.perf_counter()
    done = bss2jax("trian", cwd=".")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert time.perf_counter() - start < 10


# Whatever goes wrong is one line


class Unread(io.StringIO):
    """A pipe whose reader goes after a line that holds a text."""

    def __init__(self, last, error):
        super().__init__()
        self.last, self.error = last, error

    def write(self, text):
        if self.last in self.getvalue():
            raise self.error
        return super().write(text)


def test_a_training_that_nobody_reads_has_not_ended_and_goes_on(tiny, tmp_path, capsys):
    arguments = ["train", tiny, "run.dir=run", "phases.0.max_steps=12"]
    with contextlib.redirect_stdout(Unread("validation", BrokenPipeError())):
        assert main(arguments) == 141
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("bss2jax: stopped, as nobody reads the output any more")
    assert said.endswith("`bss2jax train --resume run` goes on")
    assert not (tmp_path / "run" / "summary.json").exists()
    assert main(["train", "--resume", "run"]) == 0
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    "error, code, said",
    [
        (BrokenPipeError(), 141, None),
        (OSError(28, "No space left on device"), 2, "bss2jax: output: No space left on device"),
    ],
)
def test_output_that_cannot_be_written_is_no_success(capsys, error, code, said):
    with contextlib.redirect_stdout(Unread("", error)):
        assert main(["configs"]) == code
    assert capsys.readouterr().err.splitlines()[-1:] == ([said] if said else [])


def test_closed_streams_and_letters_that_a_terminal_lacks_are_no_error(monkeypatch, capsys):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(config, "shipped", lambda: {"µ": config.read.shipped()["digits"]})
    assert main(["configs"]) == 0
    assert b"\n?  " in narrow.buffer.getvalue()
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["configs"]) == 0


def test_the_command_line_runs_in_a_thread(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["completion", "bash"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(
    "error, code, said",
    [
        (PermissionError(13, "Permission denied", "some/file"), 2, "some/file: Permission denied"),
        (MemoryError(), 2, "there is not enough memory"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out\nat"), 2, "JAX: RESOURCE_EXHAUSTED"),
        (KeyError("x"), 70, r"KeyError: 'x' \(test_cli.py, line \d+\); .*BSS2JAX_TRACEBACK=1"),
        (AssertionError(), 70, "AssertionError: no message"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "",
)
def test_what_nobody_expects_is_one_line_too(capsys, monkeypatch, error, code, said):
    def wrong(*_):
        raise error

    monkeypatch.setattr("bss2jax.config.shipped", wrong)
    assert main(["configs"]) == code
    err = capsys.readouterr().err
    assert re.match(f"bss2jax: {said}", err) and err.count("\n") == 1
    monkeypatch.setenv("BSS2JAX_TRACEBACK", "1")
    assert main(["configs"]) == code
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variables, command, code, said",
    [
        ({"JAX_PLATFORMS": "cuda", "MPLBACKEND": "no"}, ["plan", "digits"], 0, ""),
        ({"JAX_PLATFORMS": "cuda"}, ["train", "digits"], 2, "no device with JAX_PLATFORMS=cuda"),
        ({"JAX_ENABLE_X64": "maybe"}, ["plan", "digits"], 2, "JAX cannot be loaded: .*'maybe'"),
    ],
)
def test_an_environment_that_does_not_fit_is_one_line(tmp_path, variables, command, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "bss2jax", *command],
        cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == code and "Traceback" not in done.stderr
    assert re.search(said, done.stderr)


def test_the_chips_after_the_last_are_the_first():
    parsed, _ = config.load("digits", ["chip.seed=4294967294"])
    assert experiment.other_seeds(parsed, 3) == [4294967295, 0, 1]


def test_a_user_without_a_home_can_do_all_that_needs_none(tmp_path, monkeypatch, capsys):
    for name in ("HOME", "BSS2JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as of an unknown uid
    assert main(["data", "list"]) == 0
    assert re.search(r"mnist .* no$", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path))
    said = wrong(capsys, "data", "prepare", "mnist")
    assert "~/.cache/bss2jax: no such home directory. Set BSS2JAX_CACHE" in said


def test_what_cannot_be_reached_is_one_line_of_it(tiny, capsys):
    assert "name too long" in wrong(capsys, "train", tiny, "run.dir=" + 5000 * "x")
    assert "no-such-user" in wrong(capsys, "train", tiny, "run.dir=~no-such-user/x")
    assert "no-such-user" in wrong(capsys, "train", "~no-such-user/x.toml")
    assert "no-such-user" in wrong(capsys, "chip", "sample", "~no-such-user/x.npz")
    assert "no-such-user" in wrong(capsys, "report", "~no-such-user/x")
    assert "an empty name" in wrong(capsys, "chip", "sample", "")
    assert "got [nothing], expected a list" in wrong(capsys, "plan", tiny, "phases.0=")
    assert "null character" in wrong(capsys, "evaluate", "a\0b")
    assert "key=value goes with a config" in wrong(capsys, "train", "--resume", "run", "seed=1")
    assert "seed=1" in wrong(capsys, "train", tiny, "--seed", "1")


def test_a_chip_of_another_substrate_has_a_file_too(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = ["substrate.rows=4", "substrate.columns=6"]
    assert (
        main(["chip", "sample", "small.npz", *sizes]) == main(["chip", "sample", "usual.npz"]) == 0
    )
    assert main(["chip", "show", "small.npz"]) == 0
    assert "of the substrate replace(BSS2, rows=4, columns=6)" in capsys.readouterr().out
    assert "2×6 and 2×256 columns" in wrong(capsys, "chip", "compare", "small.npz", "usual.npz")
    assert "another file" in wrong(capsys, "chip", "calibrate", "small.npz", "./small.npz")
    assert main(["train", "digits", "chip.file=small.npz"]) == 2
    assert "set substrate.rows=4 substrate.columns=6, or" in capsys.readouterr().err


def test_keys_may_stand_behind_options(capsys):
    assert main(["plan", "digits", "--samples", "10", "phases.1.batch_size=5"]) == 0
    assert "per epoch of 10 samples in batches of 5" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "digits", "--samples", "10", "five"])
    assert "unrecognized arguments: five" in capsys.readouterr().err
