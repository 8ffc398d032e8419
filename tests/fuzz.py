"""Feeds what nobody should to what reads a file or a config or takes an array, and counts it.

    python tests/fuzz.py [--inputs 100000 --seed 0 --only config]

Every input must be accepted, or refused with the error that its reader promises; anything else
ends the script with the input and a traceback. hypothesis draws the inputs: bytes and changed
bytes of good files for the file readers, changed trees for configs. Where atheris is installed
(`pip install atheris`), a fifth of the file readers' inputs are its own, guided by which lines of
the reader they reach.

The count is by target, and at the end over all. `tests/test_fuzz.py` runs the first inputs of each.
"""

import argparse
import contextlib
import copy
import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest.mock
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import fuzz_kernels
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import tomli_w
from hypothesis import strategies as st
from matplotlib.figure import Figure

GUIDED = "--guided" in sys.argv
if GUIDED:
    import atheris

# Atheris sees the lines of what is imported here.
READERS = ["bss2jax.config", "bss2jax.data", "bss2jax.chip", "bss2jax.runs", "tomllib"]
READERS += ["bss2jax.files", "zipfile"]
with atheris.instrument_imports(include=READERS) if GUIDED else contextlib.nullcontext():
    from bss2jax import Substrate, config, data, experiment, report, sample_chip, settings
    from bss2jax.chip.chip import QUANTITIES
    from bss2jax.chip.file import load_chip, save_chip
    from bss2jax.chip.measurements import ChipError, read_measurements
    from bss2jax.config import ConfigError
    from bss2jax.data import DataError
    from bss2jax.networks import LAYERS, Conversion
    from bss2jax.report import figures
    from bss2jax.runs import checkpoint
    from bss2jax.runs.directory import RunDirectory, RunError
    from bss2jax.training import Augmentation, Objective, Phase

PLACE = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
FOLDER = Path(PLACE.name)
TREE = {"a": {"weight": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.zeros((), jnp.int32)}
SHIPPED = [tomllib.loads(path.read_text()) for path in config.shipped().values()]


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Attributes:
        inputs: what hypothesis draws.
        read: called with an input.
        errors: that it may raise.
        share: of all inputs.
        seeds: good files, where inputs are bytes; atheris starts from them.
    """

    inputs: st.SearchStrategy
    read: Callable
    errors: tuple[type[Exception], ...]
    share: float
    seeds: list[bytes] = field(default_factory=list)


def changed(whole: list[bytes]) -> st.SearchStrategy:
    """Bytes, and good files that are cut, or changed in some places."""

    def change(file, edits, end):
        content = bytearray(file)
        for place, value in edits:
            content[place % len(content)] = value
        return bytes(content[: max(0, len(content) - end)])

    edits = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8)
    return st.one_of(
        st.binary(max_size=300),
        st.builds(change, st.sampled_from(whole), edits, st.just(0) | st.integers(0, 5000)),
    )


def in_file(read: Callable, name: str) -> Callable:
    """Lets a reader of files read bytes."""
    path = FOLDER / name

    def read_bytes(content):
        path.write_bytes(content)
        return read(path)

    return read_bytes


def file_of(write: Callable) -> bytes:
    """What a function writes into a file."""
    write(FOLDER / "good")
    return (FOLDER / "good").read_bytes()


# Trees of values, as in TOML and JSON, with some replaced, added and taken away.

NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 1e308, 1e-320])
)
# Half a character is a text in JSON, and in no file.
TEXT = st.text(max_size=8) | st.sampled_from(["\ud800", "\x07", "$\\frac$"])
VALUES = st.recursive(
    st.one_of(NUMBERS, st.booleans(), TEXT, st.dates(), st.datetimes()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=6,
)
WORDS = sorted(
    {key for tree in SHIPPED for key in json.dumps(tree).split('"')[1::2]}
    | {"groups", "dilation", "stride", "avg", "recurrent", "max_steps", "pool", "conv1d", "run"}
)


@st.composite
def trees(draw, whole):
    tree = copy.deepcopy(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        place = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            action = draw(st.integers(0, 3))
            if action == 0:
                del place[key]
            elif action == 1 and isinstance(place, dict):
                place[draw(st.sampled_from(WORDS) | st.text(max_size=5))] = draw(VALUES)
            else:
                place[key] = draw(VALUES | st.sampled_from(WORDS))
            break
    return tree


def read_tree(tree):
    try:
        text = tomli_w.dumps(tree)
    except (ValueError, TypeError):
        # What is no TOML cannot be in a file.
        hypothesis.reject()
    (FOLDER / "tree.toml").write_text(text, encoding="utf-8", errors="surrogatepass")
    parsed, _ = config.load(FOLDER / "tree.toml")
    again = tomllib.loads(config.dump(parsed))
    assert again["name"] == parsed.name
    if sum(getattr(layer, "outputs", 0) for layer in parsed.layers) < 3000:
        experiment.network_of(parsed)


# Settings made in Python, of values that no file can hold too.

KINDS = (*LAYERS, Conversion, Phase, Objective, Augmentation, config.Data, config.Run)
NEEDED = {"outputs": 3, "window": 2, "on": "float", "epochs": 1, "learning_rate": 0.1, "name": "a"}
STRANGE = st.sampled_from(
    [
        *(None, b"1", 1j, object, range(3), frozenset(), [None], (1, "a"), {1: 2}, LAYERS[0]()),
        *(np.int8(3), np.float16(0.5), np.bool_(True), np.ones(2), np.ones((2, 2)), np.array("x")),
        jnp.float32(1),
    ]
)


@st.composite
def settings_(draw):
    kind = draw(st.sampled_from(KINDS))
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    given = {name: value for name, value in NEEDED.items() if name in names}
    changed = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    return kind, given | {name: draw(VALUES | STRANGE | st.sampled_from(WORDS)) for name in changed}


def read_setting(kind_and_fields):
    kind, fields = kind_and_fields
    made = kind(**fields)
    hash(made)
    assert settings.read(kind, fields) == made


def read_overrides(overrides):
    config.load("digits", overrides)


OVERRIDES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.builds(
            "{}={}".format,
            st.lists(st.sampled_from([*WORDS, "0", "1"]), min_size=1, max_size=3).map(".".join),
            st.one_of(NUMBERS.map(str), st.text(max_size=12), st.sampled_from(["{}", "[]", "'"])),
        ),
    ),
    min_size=1,
    max_size=3,
)

# Data sets: arrays of any shape, type and values.


@st.composite
def splits(draw):
    samples = draw(st.integers(0, 5))
    shape = draw(st.sampled_from([(8, 8, 1)] * 3 + [(8, 8), (7, 8, 1), (), (64,)]))
    dtype = draw(st.sampled_from(["uint8"] * 3 + ["float32", "float64", "int64", "bool", "U1"]))
    value = draw(st.sampled_from([0, 16, 17, 255, -1, float("nan"), float("inf")]))
    label = draw(st.sampled_from([0, 9, 10, -1, 2**31 - 1]))
    kind = draw(st.sampled_from(["int32"] * 3 + ["int64", "float32", "uint8"]))
    with np.errstate(all="ignore"):
        x = np.full((samples, *shape), 0).astype(dtype)
        if samples and dtype != "U1":
            x[0] = np.array(value).astype(dtype)
        y = np.zeros(samples + draw(st.sampled_from([0] * 5 + [1]))).astype(kind)
        y[: min(1, samples)] = np.array(label).astype(kind)
    return x, y


def read_dataset(pair):
    try:
        train, test = (data.Split(*each) for each in pair)
    except ValueError as error:
        raise DataError(*error.args) from None
    classes = data.spec("digits").classes
    prepared = experiment.prepare(DIGITS, data.Dataset("digits", train, test, classes, 16.0))
    assert prepared.training.x.shape[1:] == (8, 8, 1) and len(prepared.test.y)


DIGITS, _ = config.load("digits", ["data.validation=1"])


def read_environment(content):
    (FOLDER / "environment.json").write_bytes(content)
    RunDirectory(FOLDER).environment()


# Reports: of a run whose files are missing, cut or changed.

RUN = {
    "resolved.toml": config.dump(
        config.load("digits", ["layers=[{kind='flatten'}, {kind='dense', outputs=10}]"])[0]
    ),
    "environment.json": {"format": 3, "versions": {"jax": "0.10"}, "command": ["bss2jax"]},
    "plan.txt": "a plan",
    "metrics.jsonl": [
        {
            "phase": i,
            "on": on,
            "epoch": 1,
            "seconds": 1.5,
            "train_loss": 2.0,
            "train_accuracy": 0.5,
            "validation_loss": 1.0,
            "validation_accuracy": 0.75,
            "validation_saturation": {"dense_0": {"inputs": 0.0, "outputs": 0.25}},
        }
        for i, on in enumerate(["float", {"dense_0": "chip"}])
    ],
    "summary.json": {
        "test_accuracy": {"float": 0.9, "ideal": 0.8, "transfer": 0.5, "chip": 0.7},
        "test_samples": 360,
        "seconds": {"phases": [1.0, 2.0], "total": 4.0},
    },
    "confusion.json": {
        "classes": ["a", "b", "c"],
        "test_confusion": {"float": [[1, 0, 0]] * 3, "chip": [[0, 1, 2]] * 3},
    },
    "chips.json": {"chip_seeds": [1, 2], "test_accuracy": [0.5, 0.25]},
}


def content(name, whole):
    """A file of a run as bytes."""
    if isinstance(whole, str):
        return whole.encode()
    lines = whole if name.endswith("l") and isinstance(whole, list) else [whole]
    return "".join(json.dumps(line, default=str) + "\n" for line in lines).encode()


@st.composite
def damaged_runs(draw):
    files = {name: content(name, whole) for name, whole in RUN.items()}
    some = st.lists(st.sampled_from(sorted(RUN)), min_size=1, max_size=3, unique=True)
    for name in draw(some):
        how = draw(st.integers(0, 4))
        if how == 0:
            del files[name]
        elif how == 1 or isinstance(RUN[name], str):
            files[name] = draw(changed([files[name]]))
        else:
            files[name] = content(name, draw(trees([RUN[name]])))
    return files


def read_report(files):
    """Makes the page of a run, with what draws its pictures but without their files."""
    folder = Path(tempfile.mkdtemp(dir=FOLDER))
    for name, whole in files.items():
        (folder / name).write_bytes(whole)
    with unittest.mock.patch.object(figures, "picture", draw_only):
        assert "</html>" in report.write([folder], folder / "x.html").read_text(encoding="utf-8")
    shutil.rmtree(folder)


def draw_only(draw, width, height):
    draw(Figure(figsize=(width, height)))
    return "data:,"


SMALL = Substrate(rows=2, columns=3)
CHIP = [
    file_of(
        lambda path: save_chip(
            sample_chip(jax.random.key(0), substrate=SMALL), path, substrate=SMALL
        )
    )
]
# A name each, as the reader goes by it.
LAB = [b"gain,offset\n" + b"1.0,0.5\n" * 6]
LAB_NPZ = [file_of(lambda path: np.savez(open(path, "wb"), gain=np.ones(6), noise_std=np.ones(6)))]
CHECKPOINT = [file_of(lambda path: checkpoint.save(path, TREE, {"step": 1}))]
TOML = [path.read_bytes() for path in config.shipped().values()]
ENVIRONMENT = [json.dumps({"format": 3, "versions": {"jax": "0.10"}}).encode()]
LIKE = jax.eval_shape(lambda: TREE)

TARGETS = {
    "config": Target(trees(SHIPPED), read_tree, (ConfigError,), 0.2),
    "overrides": Target(OVERRIDES, read_overrides, (ConfigError,), 0.15),
    "settings": Target(settings_(), read_setting, (ValueError,), 0.1),
    "config-file": Target(
        changed(TOML), in_file(config.load, "bytes.toml"), (ConfigError,), 0.1, TOML
    ),
    "checkpoint": Target(
        changed(CHECKPOINT),
        in_file(lambda path: checkpoint.load(path, LIKE), "bytes.npz"),
        (ValueError,),
        0.2,
        CHECKPOINT,
    ),
    "environment": Target(changed(ENVIRONMENT), read_environment, (RunError,), 0.1, ENVIRONMENT),
    "chip": Target(
        changed(CHIP),
        in_file(lambda path: load_chip(path, substrate=SMALL), "chip.npz"),
        (ChipError,),
        0.1,
        CHIP,
    ),
    "measured-csv": Target(
        changed(LAB),
        in_file(lambda path: read_measurements(path, QUANTITIES, substrate=SMALL), "lab.csv"),
        (ChipError,),
        0.1,
        LAB,
    ),
    "measured-npz": Target(
        changed(LAB_NPZ),
        in_file(lambda path: read_measurements(path, QUANTITIES, substrate=SMALL), "lab.npz"),
        (ChipError,),
        0.1,
        LAB_NPZ,
    ),
    "report": Target(damaged_runs(), read_report, (RunError,), 0.02),
    "kernels": Target(fuzz_kernels.INPUTS, fuzz_kernels.feed, (ValueError, TypeError), 0.2),
    "dataset": Target(st.tuples(splits(), splits()), read_dataset, (DataError, ConfigError), 0.05),
}


def check(target: Target, value) -> bool:
    """Reads an input; returns whether it was accepted, raises what the reader must not.

    What it may raise says something, in one line.
    """
    try:
        target.read(value)
    except target.errors as error:
        assert str(error).strip() and "\n" not in str(error)
        return False
    return True


def fuzz(name: str, count: int, seed: int) -> tuple[int, int]:
    """Feeds a target; returns how many inputs it was given, and how many it accepted."""
    target, given = TARGETS[name], [0, 0]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(target.inputs)
    def feed(value):
        accepted = check(target, value)
        given[0] += 1
        given[1] += accepted

    feed()
    return given[0], given[1]


def guided(name: str, count: int, seed: int) -> None:
    """Feeds a target what atheris finds; ends the process."""
    target, corpus = TARGETS[name], FOLDER / "corpus"
    corpus.mkdir()
    for i, content in enumerate(target.seeds):
        (corpus / str(i)).write_bytes(content)
    atheris.Setup(
        [sys.argv[0], f"-runs={count}", f"-seed={seed + 1}", "-max_len=4096", str(corpus)],
        lambda content: check(target, content),
    )
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, help="one target")
    parser.add_argument("--guided", action="store_true", help="by atheris alone, --only a target")
    parsed = parser.parse_args()
    if parsed.guided:
        guided(parsed.only, parsed.inputs, parsed.seed)
    known = importlib.util.find_spec("atheris") is not None
    names = [parsed.only] if parsed.only else list(TARGETS)
    total, shares = 0, sum(TARGETS[name].share for name in names)
    begin = time.perf_counter()
    for name in names:
        count = round(parsed.inputs * TARGETS[name].share / shares) + 1
        by_atheris = count // 5 if known and TARGETS[name].seeds else 0
        given, accepted = fuzz(name, count - by_atheris, parsed.seed)
        if by_atheris:
            command = [sys.executable, __file__, "--guided", "--only", name]
            command += ["--inputs", str(by_atheris), "--seed", str(parsed.seed)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        total += given + by_atheris
        said = f"{name:12} {given:7} drawn, {accepted:6} of them accepted"
        print(f"{said}; {by_atheris:6} guided", flush=True)
    if not known:
        print("atheris is not installed: nothing was guided")
    seconds = time.perf_counter() - begin
    print(f"{total} inputs, no uncaught exception, {seconds:.0f} s")


if __name__ == "__main__":
    main()
