"""The report of runs: one page that says what their files say, escapes it, and needs nothing."""

import html
import json
import re
import shutil
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from bss2jax import config, report
from bss2jax.cli import main
from bss2jax.experiment import prepare
from bss2jax.mapping.cost import estimate
from bss2jax.networks.rungs import RUNGS
from bss2jax.report import figures, replay
from bss2jax.report import page as pages
from bss2jax.runs import directory as runs
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory, RunError

TEXT = """name = "tiny"
description = "<script>alert(1)</script> & more"
data = { name = "digits", validation = 360 }
layers = [{ kind = "flatten" }, { kind = "dense", outputs = 10, name = "a<b> $x$" }]

[[phases]]
on = "float"
epochs = 2
batch_size = 500
learning_rate = 2.0

[[phases]]
on = "chip"
epochs = 1
batch_size = 500
learning_rate = 1.0
"""
SECTIONS = (
    "summary ladder samples curves saturation weights placement chips classes cost config "
    "environment"
).split()
CHIPS = {"chip_seeds": [1, 2, 3], "test_accuracy": [0.8, 0.9, 0.85]}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a phase on the chip, and events."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TEXT)
    parsed, text = config.load(folder / "tiny.toml", [f"run.dir={folder / 'tiny'}"])
    return session.train(parsed, text, tensorboard=True).path


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run, measured on three other chips."""
    path = tmp_path / "tiny"
    shutil.copytree(trained, path)
    RunDirectory(path).write("chips.json", CHIPS)
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Pages with empty pictures and nothing worked out again, for tests of what they say."""
    monkeypatch.setattr(figures, "picture", lambda draw, width, height: Markup("<svg></svg>"))
    monkeypatch.setattr(pages, "replay", lambda path: "not worked out again")


def begun(path, name, *overrides):
    """The directory of a run of a shipped config that has been stopped before its first epoch."""
    path.mkdir()
    directory = RunDirectory(path)
    directory.write("resolved.toml", config.dump(config.load(name, overrides)[0]))
    directory.write("environment.json", runs.environment())
    return path


class Page(HTMLParser):
    """What a page holds: tags, addresses, tables, and the text of each section."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.svg = re.findall("<svg.*?</svg>", text, re.S)
        self.open, self.tags, self.addresses = [], set(), []
        self.sections, self.tables, self._section = {}, [], "head"
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        addressing = ("src", "href", "xlink:href")
        self.addresses += [attributes[name] for name in addressing if name in attributes]
        if tag == "section":
            self._section = attributes["id"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th", "button") and self.tables:
            self.tables[-1][-1][-1] += data
        if "svg" not in self.open:
            self.sections[self._section] = self.sections.get(self._section, "") + data

    def row(self, name, column=0):
        """The cells of the first row whose cell in a column is this name."""
        return next(r for t in self.tables for r in t if len(r) > column and r[column] == name)

    def pictures(self):
        return [ElementTree.fromstring(picture) for picture in self.svg]


def page(*paths, out=None):
    out = out or Path(paths[0]).parent / "report.html"
    report.write(paths, out)
    return Page(out.read_text(encoding="utf-8"))


def read(path, name):
    return json.loads((path / name).read_text())


def words(picture):
    return {text.strip() for text in picture.itertext()}


def test_the_page_has_every_section_and_needs_nothing_else(run):
    found = page(run)
    assert [name for name in found.sections if name != "head"] == SECTIONS
    for address in found.addresses:
        assert address.startswith(("data:", "#"))
    assert {f"#{name}" for name in SECTIONS} <= set(found.addresses)
    assert not {"iframe", "object", "form", "img"} & found.tags
    text = (run.parent / "report.html").read_text()
    assert text.count("<script") == 1 and not re.search(r"url\((?!#)", text)
    # Ladder, right and wrong samples, two curves, saturation, weights, placement, schedule, two
    # maps of the chip, chips, confusion.
    assert len(found.pictures()) == 13


def test_what_is_worked_out_again_is_what_the_run_has_learned(trained):
    """Codes are the rounded weights; samples are told as the run tells them."""
    again = replay.replay(trained)
    weights = np.load(trained / "checkpoints" / "final.npz")["params/a<b> $x$/weight"]
    np.testing.assert_array_equal(again.codes["a<b> $x$"], np.round(weights))
    assert again.on == "chip" and again.seen == 300
    assert (again.right.y == again.right.taken_for).all()
    assert (again.wrong.y != again.wrong.taken_for).all() and len(again.wrong.y) <= 8
    (trained / "checkpoints" / "final.npz").rename(trained / "away")
    said = replay.replay(trained)
    (trained / "away").rename(trained / "checkpoints" / "final.npz")
    assert said.startswith("Samples and weights cannot be shown") and "final.npz" in said


def test_a_spiking_network_shows_what_its_neurons_do_with_a_sample():
    """The spikes of all layers, and the membranes of the neurons that come highest."""
    experiment = prepare(config.load("digits_spiking", ["layers.1.outputs=12"])[0])
    sample = replay.one_sample(experiment, experiment.initial(), 7, 3)
    assert (sample.label, sample.taken_for) == (str(experiment.test.y[7]), "3")
    assert {name: z.shape for name, z in sample.spikes.items()} == {
        "log_latency_0": (30, 64), "lif_0": (30, 12),
    }  # fmt: skip
    for name, v in sample.membranes.items():
        assert v.shape == (30, 5) and len(sample.labels[name]) == 5
    drawn = words(ElementTree.fromstring(figures.one_sample(sample)))
    assert {"lif_0", "membranes of li_0, software units", *sample.labels["li_0"]} <= drawn


def test_the_headline_is_of_the_ladder(run, undrawn):
    found, accuracy = page(run), read(run, "summary.json")["test_accuracy"]
    said = " ".join(found.sections["ladder"].split())
    lost, won = accuracy["transfer"] - accuracy["float"], accuracy["chip"] - accuracy["transfer"]
    for points in (lost, won):
        assert f"{100 * points:+.2f} points".replace("-", "\N{MINUS SIGN}") in said
    assert "85.00% on 3 chips it has never seen" in said
    assert "bss2jax train" in found.sections["head"]


def test_the_numbers_are_those_of_the_run(run, undrawn):
    found = page(run)
    summary = read(run, "summary.json")
    for rung, accuracy in summary["test_accuracy"].items():
        assert found.row(RUNGS[rung].label)[2] == f"{accuracy:.2%}"
    confusion = read(run, "confusion.json")["test_confusion"]["chip"]
    table = next(t for t in found.tables if t[0][0] == "class")
    for label, counts in enumerate(confusion):
        row = table[label + 1]
        assert row[:3] == [str(label), str(sum(counts)), f"{counts[label] / sum(counts):.2%}"]
    chips = np.array(CHIPS["test_accuracy"])
    expected = [f"{x:.2%}" for x in (0.85, chips.std(ddof=1), 0.8, 0.9)]
    assert any(row[1:] == ["3", *expected] for table in found.tables for row in table)
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    shares = last["validation_saturation"]["a<b> $x$"]
    header = next(t for t in found.tables if t[0][:2] == ["phase", "layer"])[0]
    row = found.row("a<b> $x$", column=1)
    assert dict(zip(header[2:], row[2:])) == {k: f"{v:.2%}" for k, v in shares.items()}


def test_cost_config_and_environment_are_those_of_the_run(run, undrawn):
    found = page(run)
    record = report.read_run(run)
    cost = estimate(record.network.plan)
    assert found.row("configurations of the chip")[1] == str(len(cost.configurations))
    assert found.row("chip time")[1] == f"{1e6 * cost.seconds:,.0f} µs"
    assert (run / "resolved.toml").read_text().strip() in found.sections["config"]
    environment = read(run, "environment.json")
    assert found.row("versions.jax")[1] == environment["versions"]["jax"]
    assert found.row("platform")[1] == environment["platform"]


def test_several_runs_are_side_by_side_with_the_keys_that_differ(run, undrawn, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    changed = (other / "resolved.toml").read_text().replace("seed = 0", "seed = 5")
    (other / "resolved.toml").write_text(changed)
    RunDirectory(other).write("chips.json", CHIPS | {"test_accuracy": [0.5, 0.6, 0.7]})
    found = page(run, other)
    labels = [RUNGS[rung].label for rung in read(run, "summary.json")["test_accuracy"]]
    head, *rows = found.tables[0]
    assert head == ["run", *labels, "took", "state", "seed", "chip.seed"]
    assert [(row[0], *row[-2:]) for row in rows] == [("tiny", "0", "0"), ("other", "5", "5")]
    assert found.row("rung")[2:] == ["tiny", "other"]
    assert found.sections["placement"].count("tiny, other") == 1, "a plan is shown once"
    assert any("60.00%" in row for table in found.tables for row in table)


def test_runs_share_a_picture_of_their_curves(run, tmp_path):
    records = {name: report.read_run(run) for name in ("tiny", "other")}
    drawn = ElementTree.fromstring(figures.curves(records, "loss"))
    assert {"tiny", "other"} <= words(drawn)


def test_runs_of_the_same_name_are_told_by_their_paths(run, undrawn, tmp_path):
    other = tmp_path / "again" / "tiny"
    shutil.copytree(run, other)
    found = page(run, other)
    assert [row[0] for row in found.tables[0][1:]] == [str(run), str(other)]
    with pytest.raises(RunError, match="tiny: named twice"):
        report.write([run, run.parent / "again" / ".." / "tiny"], tmp_path / "x.html")


RELU = tuple(  # rates of no neuron: for no chip
    f"layers.{i}.{key}" for i in (0, 2, 4) for key in ("units=relu", 'noise={kind = "none"}')
)


@pytest.mark.parametrize(
    "name, overrides",
    [("digits_spiking", ()), ("digits_softlif", ()), ("digits_softlif", RELU), ("eurosat_vmm", ())],
)
def test_a_run_that_has_only_begun_is_told_plainly(name, overrides, tmp_path):
    found = page(begun(tmp_path / "begun", name, *overrides))
    said = found.sections["summary"]
    assert "The run is not finished" in said and "no epoch is done" in said
    assert ("runs on no chip" in said) == (overrides == RELU)
    assert not {"ladder", "chips", "samples", "weights", "classes"} & set(found.sections)
    # Placement and schedule are known beforehand, where there are any.
    assert len(found.pictures()) == (0 if overrides == RELU else 2)


def test_in_what_data_differ_from_the_published_ones_is_said(run, undrawn):
    summary = read(run, "summary.json") | {"data_note": "98 images are not exact"}
    RunDirectory(run).write("summary.json", summary)
    assert "The data: 98 images are not exact." in page(run).sections["summary"]


def test_an_unfinished_run_shows_how_far_it_got(run):
    for name in ("summary.json", "confusion.json", "chips.json"):
        (run / name).unlink()
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(metrics[0] + "\n" + metrics[1][:40])
    found = page(run)
    assert "unfinished: phase 1, epoch 1 done" in found.sections["head"]
    assert "metrics.jsonl, line 2, cannot be read" in found.sections["summary"]
    assert len(found.pictures()) == 4  # two curves, placement and schedule


BROKEN = {
    "summary.json": ["{", "[]", '{"test_accuracy": {"chip": "<b>"}}', '{"test_accuracy": 3}'],
    "confusion.json": [
        "null",
        '{"classes": ["a"], "test_confusion": {"chip": [[1, 2]]}}',
        '{"classes": ["a"], "test_confusion": {"chip": [[-1]]}}',
    ],
    "chips.json": [
        '{"chip_seeds": [], "test_accuracy": []}',
        '{"chip_seeds": [1], "test_accuracy": [98.5]}',
        "\udcff",
    ],
    "metrics.jsonl": ["3", '{"phase": 0}', "[" * 100_000],
}


@pytest.mark.parametrize("name, text", [(n, t) for n, texts in BROKEN.items() for t in texts])
def test_a_broken_file_is_named_and_the_rest_is_shown(name, text, run, undrawn):
    (run / name).write_bytes(text.encode(errors="surrogateescape"))
    found = page(run)
    assert re.search(rf"{name}.* cannot be read: .", found.sections["summary"])
    assert found.row("configurations of the chip")


def test_a_config_of_another_version_costs_only_the_placement(run, undrawn):
    (run / "resolved.toml").write_text(TEXT + "\nwarp = 9\n")
    found = page(run)
    assert "resolved.toml cannot be used by this version" in found.sections["summary"]
    assert "warp" in found.sections["config"] and found.row("float")[2]


def test_what_comes_from_files_is_escaped_or_spelt_out(run, tmp_path):
    """Tags, half a character, and one that XML has not: in classes, a command, a directory."""
    confusion = read(run, "confusion.json")
    evil = "<script>alert('x')</script> $\\frac$"
    confusion["classes"][3:5] = [evil, "a\x07"]
    command = ["<img src=x onerror=alert(1)>", "\ud800"]
    environment = read(run, "environment.json") | {"command": command}
    for name, content in (("confusion.json", confusion), ("environment.json", environment)):
        RunDirectory(run).write(name, content)
    run.rename(place := tmp_path / "<b onclick=alert(1)>\udcff")
    found = page(place)
    assert "b onclick" not in found.tags
    assert (tmp_path / "report.html").read_text().count("<script") == 1
    assert found.row(evil) and found.row("command")[1] == rf"{command[0]} \ud800"
    assert r"<b onclick=alert(1)>\udcff" in found.sections["head"]
    assert "<script>alert(1)</script> & more" in found.sections["head"]
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    drawn = set().union(*map(words, found.pictures()))
    assert {evil, "a\ufffd", "a<b> $x$"} <= drawn
    for picture in found.pictures():
        assert not [e for e in picture.iter() if e.tag.endswith("script")]


def test_the_command_writes_the_page_and_says_where(run, undrawn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert Page((run / "report.html").read_text()).row("tiny")
    shutil.copytree(run, tmp_path / "second")
    assert main(["report", str(run), "second"]) == 0
    assert capsys.readouterr().out == "report.html\n" and (tmp_path / "report.html").is_file()
    assert main(["report", str(run), "--out", "mine.html"]) == 0
    assert (tmp_path / "mine.html").is_file()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["{tmp}"], "no run directory"),
        (["{tmp}/nowhere"], "nowhere: no run directory"),
        (["{run}", "--out", "{tmp}"], "Is a directory"),
        (["{run}", "--out", "."], ".: "),
        (["{run}", "{run}"], "named twice"),
        ([], "required: RUN"),
    ],
)
def test_a_wrong_call_ends_in_one_line(arguments, said, run, undrawn, tmp_path, capsys):
    arguments = [text.format(run=run, tmp=tmp_path) for text in arguments]
    try:
        code = main(["report", *arguments])
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and said in error


PROBE = """<script>
addEventListener("load", () => {
  const column = () => [...document.querySelectorAll("table.sortable tbody tr")].slice(0, 2)
    .map(row => row.cells[4].textContent);
  const click = () => document.querySelectorAll("table.sortable th button")[4].click();
  click(); const up = column(); click(); const down = column();
  const text = document.querySelector("svg text");
  document.body.style.width = "390px";
  document.title = JSON.stringify({
    figures: document.querySelectorAll("svg").length, up, down,
    ink: getComputedStyle(text).fill, page: getComputedStyle(document.body).color,
    wide: document.body.scrollWidth, window: [document.documentElement.scrollWidth, innerWidth],
  });
});
</script>"""


@pytest.fixture(scope="module")
def probed(trained, tmp_path_factory):
    """A page of two runs that says of itself what it shows, and their accuracies on the chip."""
    other = tmp_path_factory.mktemp("probed") / "other"
    shutil.copytree(trained, other)
    first, second = read(trained, "summary.json"), read(trained, "summary.json")
    second["test_accuracy"] |= {"chip": 0.09}
    RunDirectory(other).write("summary.json", second)
    out = report.write([trained, other], other.parent / "report.html")
    out.write_text(out.read_text() + PROBE)
    return out, [f"{of['test_accuracy']['chip']:.2%}" for of in (first, second)]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
@pytest.mark.parametrize("scheme, width, ink", [(0, 500, "232, 232, 232"), (1, 1400, "27, 27, 27")])
def test_a_browser_shows_the_page_sorts_it_and_follows_dark(scheme, width, ink, probed, tmp_path):
    """A window of a browser is 500 wide at least; the page itself is also made 390 wide."""
    page, values = probed
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--window-size={width},900", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(html.unescape(re.search("<title>(.*?)</title>", done.stdout)[1]))
    assert found["down"] == values and found["up"] == values[::-1], "of 9 % and tens of percent"
    assert found["ink"] == found["page"] == f"rgb({ink})", "figures have the page's colour"
    assert found["figures"] == page.read_text().count("<svg")
    assert found["wide"] <= 390 and found["window"][0] <= found["window"][1], found


def scalars(path):
    """The scalars of an event file, (name, step) to value; without a library that reads them."""
    from tensorboardX.proto.event_pb2 import Event

    found, data = {}, path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
        data = data[16 + length :]
    return found


def test_events_hold_the_metrics_with_steps_through_all_phases(trained):
    (file,) = (trained / "tensorboard").iterdir()
    found = scalars(file)
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    steps = [metrics[0]["step"], metrics[1]["step"], metrics[1]["step"] + metrics[2]["step"]]
    assert steps == sorted(set(steps))
    for step, record in zip(steps, metrics, strict=True):
        for split in ("train", "validation"):
            for quantity in ("loss", "accuracy"):
                value = found[f"{split}/{quantity}", step]
                assert value == pytest.approx(record[f"{split}_{quantity}"], rel=1e-6)
    shares = metrics[2]["validation_saturation"]["a<b> $x$"]
    tags = {tag for tag, step in found if step == steps[2] and tag.startswith("saturation/")}
    assert len(tags) == len(shares)


def test_going_on_with_a_finished_run_writes_its_events_anew(trained, run):
    (old,) = (run / "tensorboard").iterdir()
    old.write_bytes(b"")
    assert session.resume(run, tensorboard=True).path == run
    (new,) = (run / "tensorboard").iterdir()
    (first,) = (trained / "tensorboard").iterdir()
    assert scalars(new) == scalars(first)


def test_without_a_writer_of_events_nothing_is_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--tensorboard"]) == 2
    error = capsys.readouterr().err
    assert '--tensorboard needs tensorboardX: pip install "bss2jax[tensorboard]"' in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())
