"""Configs are data, read strictly: what is wrong is named, what is right survives a round trip."""

import math
import os
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import random_like

from bss2jax import BSS2, Mismatch, config, data, experiment
from bss2jax.config import ConfigError
from bss2jax.runs import session

SHIPPED = sorted(config.shipped())

MINIMAL = {
    "name": "minimal",
    "data": {"name": "digits"},
    "layers": [{"kind": "flatten"}, {"kind": "dense", "outputs": 10}],
    "phases": [{"on": "chip", "epochs": 1, "learning_rate": 0.1}],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Where the configs of these tests are written, one over the other."""
    return tmp_path_factory.mktemp("config") / "config.toml"


def load(path, tree, overrides=()):
    path.write_text(tree if isinstance(tree, str) else tomli_w.dumps(tree), encoding="utf-8")
    return config.load(path, overrides)[0]


def message(source, overrides=()):
    """The one line that a wrong config prints."""
    with pytest.raises(ConfigError) as error:
        config.load(source, overrides)
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000
    return text


# Each wrong override of the digits config, and what the message must say.
WRONG = [
    # Unknown keys, at every level: the key, the nearest name, the known ones.
    ("seeed=1", ["seeed: unknown key", "mean 'seed'", "known: name, description, seed, data"]),
    ("phasess=1", ["phasess: unknown key", "mean 'phases'"]),
    ("data.nam=1", ["data.nam: unknown key", "mean 'name'"]),
    ("chip.sed=1", ["chip.sed: unknown key", "mean 'seed'"]),
    ("mismatch.offest=1", ["mismatch.offest: unknown key", "mean 'offset'", "synapse, driver"]),
    ("noise.sdt=1", ["noise.sdt: unknown key", "mean 'std'"]),
    ("objective.scael=1", ["objective.scael: unknown key", "mean 'scale'"]),
    ("augment.shfit=1", ["augment.shfit: unknown key", "mean 'shift'"]),
    ("run.dri=1", ["run.dri: unknown key", "mean 'dir'"]),
    ("phases.0.epoch=3", ["phases.0.epoch: unknown key", "mean 'epochs'", "learning_rate"]),
    ("layers.2.output=3", ["layers.2.output: unknown key", "mean 'outputs'"]),
    ("layers.2.window=3", ["layers.2.window: unknown key", "outputs, activation"]),
    ("layers.1.outputs=3", ["layers.1.outputs: unknown key", "known: name, inputs"]),
    ("layers.0.a.b.c=3", ["layers.0.a: unknown key"]),
    # Wrong types.
    ("seed=one", ["seed", "got 'one'", "expected an integer"]),
    ("seed=1.0", ["seed", "got 1.0", "expected an integer"]),
    ("seed=true", ["seed", "got True", "expected an integer"]),
    ("name=3", ["name", "got 3", "expected text"]),
    ("noise=3", ["noise", "got 3", "expected a table"]),
    ("noise.std='2'", ["noise.std", "got '2'", "expected a finite number"]),
    ("phases.0.noise=1", ["phases.0.noise", "got 1", "expected true or false"]),
    ("phases.0.epochs=two", ["phases.0.epochs", "got 'two'", "expected an integer"]),
    ("phases={}", ["phases", "got {}", "expected a list"]),
    ("layers.0=3", ["layers.0", "got 3", "expected a table"]),
    ("layers.0.window=[3]", ["layers.0.window", "got [3]"]),
    ("layers.0.window=[3,3,3]", ["layers.0.window", "got [3, 3, 3]", "a list of 2"]),
    ("seed=1979-05-27", ["seed", "got a date", "1979-05-27", "expected an integer"]),
    ("seed=07:32:00", ["seed", "got a time", "expected an integer"]),
    ("seed=1979-05-27T07:32:00Z", ["seed", "got a datetime", "expected an integer"]),
    ("name=\udcff", ["name", "expected UTF-8"]),
    # Out of range.
    ("seed=-1", ["seed", "got -1", ">= 0"]),
    ("seed=4294967296", ["seed", "got 4294967296", "< 4294967296"]),
    ("chip.seed=-1", ["chip.seed", "got -1", ">= 0"]),
    ("seed=0x" + 5000 * "f", ["seed", "64 bits"]),
    ("seed=" + 5000 * "9", ["seed", "expected an integer"]),
    ("noise.std=-1", ["noise.std", "got -1", ">= 0"]),
    ("noise.std=nan", ["noise.std", "got nan", "expected a finite number"]),
    ("mismatch.dead_synapses=1.5", ["mismatch.dead_synapses", "got 1.5", "<= 1"]),
    ("mismatch.preset=calibratd", ["mismatch.preset", "'calibratd'", "mean 'calibrated'"]),
    ("mismatch.gain=inf", ["mismatch.gain", "got inf", "expected a finite number"]),
    ("phases.0.learning_rate=-inf", ["phases.0.learning_rate", "got -inf", "finite number"]),
    ("phases.0.learning_rate=0", ["phases.0.learning_rate", "got 0", "> 0"]),
    ("phases.0.epochs=0", ["phases.0.epochs", "got 0", ">= 1"]),
    ("phases.0.max_steps=0", ["phases.0.max_steps", "got 0", ">= 1"]),
    ("phases.0.batch_size=-8", ["phases.0.batch_size", "got -8", ">= 1"]),
    ("phases.0.decay=1", ["phases.0.decay", "got 1", "< 1"]),
    ("phases.0.clip_norm=0", ["phases.0.clip_norm", "got 0", "> 0"]),
    ("augment.rotation=360", ["augment.rotation", "got 360", "< 360"]),
    ("augment.shift=-1", ["augment.shift", "got -1", ">= 0"]),
    ("objective.scale=0", ["objective.scale", "got 0", "> 0"]),
    ("data.validation=0", ["data.validation", "got 0", "> 0 and < 1"]),
    ("data.validation=1.5", ["data.validation", "got 1.5", "an integer >= 1, or"]),
    ("data.validation=1.0", ["data.validation", "got 1.0", "an integer >= 1, or"]),
    ("layers.2.outputs=0", ["layers.2.outputs", "got 0", ">= 1"]),
    ("name=''", ["name", "got ''", "expected a file name"]),
    ("name='a/b'", ["name", "got 'a/b'", "expected a file name"]),
    ('name="a\\u0000b"', ["name", "got 'a\\x00b'", "expected a file name"]),
    ("run.dir=''", ["run.dir", "got ''", "expected a path"]),
    ('run.dir="a\\u0000b"', ["run.dir", "expected a path"]),
    ("layers=[]", ["layers", "got []", "that is not empty"]),
    ("phases=[]", ["phases", "got []", "that is not empty"]),
    # Names out of a list: what there is, and the nearest.
    ("layers.0.kind='dens'", ["layers.0.kind", "got 'dens'", "conv1d", "mean 'dense'"]),
    ("layers.0.kind=3", ["layers.0.kind", "got 3", "dense, conv1d"]),
    ("layers.2={outputs=3}", ["layers.2.kind: missing"]),
    ("layers.0.padding='SAM'", ["layers.0.padding", "got 'SAM'", "mean 'SAME'"]),
    ("phases.0.on='chp'", ["phases.0.on", "got 'chp'", "'float', 'ideal' or", "mean 'chip'"]),
    ("phases.0.on=3", ["phases.0.on", "got 3", "'float', 'ideal' or 'chip'"]),
    ("phases.0.on={}", ["phases.0.on", "got {}"]),
    ("phases.0.on={dense_2='chp'}", ["phases.0.on.dense_2", "got 'chp'", "mean 'chip'"]),
    ("phases.0.optimizer='adm'", ["phases.0.optimizer", "got 'adm'", "mean 'adam'"]),
    ("phases.0.schedule='cosin'", ["phases.0.schedule", "got 'cosin'", "mean 'cosine'"]),
    ("phases.0.chip='fix'", ["phases.0.chip", "got 'fix'", "mean 'fixed'"]),
    ("phases.0={on='chip'}", ["phases.0.epochs: missing", "phases.0.learning_rate: missing"]),
    # Overrides that go nowhere.
    ("seed", ["'seed'", "expected key=value"]),
    ("=1", ["'=1'", "expected key=value"]),
    ("phases..epochs=1", ["expected key=value"]),
    ("phases.9.epochs=1", ["phases.9.epochs", "phases has items 0 to 1", "got '9'"]),
    ("phases.last.epochs=1", ["phases.last.epochs", "items 0 to 1", "got 'last'"]),
    ("phases." + 50 * "9" + ".epochs=1", ["items 0 to 1"]),
    ("seed.x.y=1", ["seed", "got {'x': {'y': 1}}", "expected an integer"]),
    ("name.x=1", ["name.x", "name is a value, not a table"]),
    (".".join(30 * "a") + "=1", ["a: unknown key"]),
    ("seed=" + 5000 * "[", ["seed", "expected an integer"]),
    ('"a\nb"=1', ["expected key=value"]),
]


@pytest.mark.parametrize("override, parts", WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_override_is_named_with_what_was_got_and_expected(override, parts):
    text = message("digits", [override])
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "content, parts",
    [
        (b"", ["name: missing", "data: missing", "layers: missing", "phases: missing"]),
        (b"seed = ", ["not valid TOML"]),
        (b"a = 1\na = 2", ["not valid TOML"]),
        (b"[data]\n[data]", ["not valid TOML"]),
        (b"\xff\xfe\x00", ["not valid TOML", "not UTF-8 text"]),
        (b"\xe9", ["not valid TOML", "not UTF-8 text", "byte 0"]),
        (b"seed = " + 5000 * b"9", ["not valid TOML"]),
        (b"seed = " + 5000 * b"[", ["not valid TOML"]),
        (5000 * b"[", ["not valid TOML"]),
        (b"a" + 5000 * b".a" + b" = 1", ["a: unknown key"]),
        (1_000_001 * b"#", ["larger than 1000000 bytes"]),
        (b'"a\\nb" = 1', ["'a\\nb': unknown key"]),
        (b"seed = 2020-01-01", ["seed", "got a date"]),
    ],
    ids=lambda v: str(v)[:24],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, content, parts):
    path = tmp_path / "wrong.toml"
    path.write_bytes(content)
    text = message(path)
    for part in [str(path), *parts]:
        assert part in text


@pytest.mark.parametrize(
    "source, parts",
    [
        ("digit", ["digit: neither a file nor a shipped config", "mean 'digits'"]),
        ("minst.toml", ["minst.toml: no such file", "mean 'mnist'", "bss2jax configs"]),
        ("./digits", ["no such file", "mean 'digits'"]),
        ("", ["neither a file nor a shipped config"]),
        ("/", ["/: a directory; expected the TOML file"]),
        (300 * "x", ["name too long"]),
        ("a\0b.toml", ["no such file"]),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_missing_config_is_named_with_the_nearest_that_ships(source, parts):
    text = message(source)
    for part in parts:
        assert part.lower() in text.lower()


def test_a_directory_does_not_hide_the_shipped_config_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config.load("digits")[0].name == "digits"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_begin_with_a_byte_order_mark_and_have_any_ends_of_lines(tmp_path, encoding):
    path, text = tmp_path / "marked", tomli_w.dumps(MINIMAL | {"description": "é"})
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert config.load(path)[0].description == "é"


def test_a_config_comes_out_of_a_pipe(tmp_path):
    there, here = os.pipe()
    os.write(here, tomli_w.dumps(MINIMAL).encode())
    os.close(here)
    assert config.load(f"/dev/fd/{there}")[0].name == "minimal"
    os.close(there)


def test_a_file_that_hides_a_shipped_config_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mnist", "pong"):
        (tmp_path / name).write_text("x = 1")
        assert f"{name}, which hides the config that ships as {name!r}: x: unk" in message(name)


def test_paths_start_at_the_file_they_stand_in_or_where_the_call_is_made(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    given = {"start": "first", "chip": {"file": "c.npz"}, "run": {"dir": "~/run"}}
    phases = [MINIMAL["phases"][0] | {"start": "/one"}, MINIMAL["phases"][0] | {"start": "two"}]
    tree = MINIMAL | given | {"phases": phases}
    (tmp_path / "there" / "mine.toml").write_text(tomli_w.dumps(tree))
    found, _ = config.load("there/mine.toml")
    assert (found.start, found.chip.file) == ("there/first", "there/c.npz")
    assert found.run.dir == str(tmp_path / "home" / "run")
    assert [phase.start for phase in found.phases] == ["/one", "there/two"]
    found, _ = config.load("there/mine.toml", ["chip.file=d.npz", "start=~/s", "run.dir=r"])
    assert (found.chip.file, found.start) == ("d.npz", str(tmp_path / "home" / "s"))
    assert found.run.dir == "r"
    said = message("there/mine.toml", ["run.dir=~no-such-user/x"])
    assert said == "run.dir: '~no-such-user/x': no such home directory"


def test_what_is_wrong_in_an_override_is_not_said_of_the_file(path):
    load(path, MINIMAL)
    assert message(path, ["sed=1"]).startswith("sed: unknown key (did you mean 'seed'?)")
    load(path, MINIMAL)
    path.write_text("sed = 1\n" + path.read_text())
    assert message(path, ["seed=x"]).startswith(f"{path}: sed: unknown key")


def test_a_key_is_set_back_by_nothing_and_what_may_be_none_by_none(path):
    tree = MINIMAL | {"phases": [MINIMAL["phases"][0] | {"max_steps": 3, "decay": 0.5}]}
    assert load(path, tree).phases[0].max_steps == 3
    for unset in ("phases.0.max_steps=", "phases.0.max_steps=none"):
        assert load(path, tree, [unset, "phases.0.decay="]) == load(path, MINIMAL)
    assert load(path, tree, ["mismatch.preset=none"]).mismatch.preset == "none"
    load(path, tree)
    assert "name: missing" in message(path, ["name="])
    assert "sed: unknown key" in message(path, ["sed="])


def test_each_mistake_is_said_once_with_all_that_would_be_right(path):
    load(path, MINIMAL)
    said = message(path, ["phases.0.on=silicon"])
    assert said.count("phases") == 1 and "'float', 'ideal' or 'chip', or a table with" in said
    said = message(path, ["phases=[{on='float', epochs=1}]"])
    assert said == "phases.0.learning_rate: missing"
    assert "layers.0.outputs: unknown key of a flatten" in message(path, ["layers.0.outputs=3"])


def test_what_toml_takes_for_something_else_is_said_with_its_quotes(path):
    load(path, MINIMAL)
    for override in ("name=1979", "run.dir=2024-01-01", "description=true", "chip.file=1.5"):
        key, value = override.split("=")
        said = message(path, [override])
        assert said.startswith(f"{key}: got ") and f"'\"{value}\"'" in said
        assert load(path, MINIMAL, [f'{key}="{value}"'])


def test_several_mistakes_are_all_named():
    text = message("digits", ["seed=-1", "noise.sdt=2", "phases.0.epochs=0"])
    assert all(key in text for key in ("seed: ", "noise.sdt: ", "phases.0.epochs: "))


POSITIVE = st.floats(1e-30, 1e30)
PHASES = st.fixed_dictionaries(
    {
        "on": st.sampled_from(["float", "ideal", "chip"])
        | st.dictionaries(st.text(min_size=1, max_size=5), st.just("chip"), min_size=1),
        "epochs": st.integers(1, 2**63 - 1),
        "learning_rate": POSITIVE | st.integers(1, 9),
    },
    optional={
        "max_steps": st.integers(1, 99),
        "optimizer": st.sampled_from(["adam", "adamw", "nadam", "lion", "rmsprop", "sgd"]),
        "schedule": st.sampled_from(["constant", "cosine", "linear", "exponential", "one_cycle"]),
        "clip_norm": POSITIVE,
        "noise": st.booleans(),
        "chip": st.sampled_from(["fixed", "resample"]),
        "keep": st.sampled_from(["best", "last"]),
    },
)
TREES = st.fixed_dictionaries(
    {
        "name": st.text("ab c-_é\"'\\", min_size=1),
        "description": st.text(),
        "seed": st.integers(0, 2**32 - 1),
        "chip": st.fixed_dictionaries({"seed": st.integers(0, 2**32 - 1)}),
        "mismatch": st.fixed_dictionaries({"offset": st.floats(0, 1e9), "gain": st.just(0)}),
        "noise": st.fixed_dictionaries({"std": st.floats(0, 1e9)}),
        "phases": st.lists(PHASES, min_size=1, max_size=3),
        "run": st.fixed_dictionaries({}, optional={"dir": st.text("a/. é", min_size=1)}),
    }
)


@given(TREES)
@settings(max_examples=100)
def test_dump_then_load_gives_the_same_config(path, tree):
    first = load(path, MINIMAL | tree)
    assert load(path, config.dump(first)) == first
    assert first.seed == tree["seed"] and first.description == tree["description"]


@pytest.mark.parametrize("name", SHIPPED)
def test_dump_then_load_gives_the_same_shipped_config(path, name):
    first, text = config.load(name)
    assert load(path, config.dump(first)) == first
    assert text == config.shipped()[name].read_text(encoding="utf-8")


def test_a_dump_writes_every_default_out(path):
    tree = tomllib.loads(config.dump(load(path, MINIMAL)))
    spreads = vars(Mismatch()).items()
    assert tree["mismatch"].pop("preset") == "calibrated"
    noise = {"noise_std", "send_noise", "threshold_noise", "membrane_noise", "jitter"}
    assert dict(spreads) == tree["mismatch"] | {name: dict(spreads)[name] for name in noise}
    assert tree["noise"]["std"] == Mismatch().noise_std
    assert tree["seed"] == 0 and tree["chip"] == {"seed": 0}
    assert tree["phases"][0]["optimizer"] == "adam"


@pytest.mark.parametrize("preset", ["calibrated", "kinked", "uncalibrated", "none"])
def test_a_preset_is_the_spreads_and_noise_that_it_names(path, preset):
    overrides = [f"mismatch.preset={preset}"]
    assert load(path, MINIMAL, overrides).spreads == getattr(Mismatch, preset)()
    some = load(path, MINIMAL, [*overrides, "mismatch.gain=0.07", "noise.std=1.5"])
    assert some.spreads == replace(getattr(Mismatch, preset)(), gain=0.07, noise_std=1.5)


def test_temperature_and_shifts_may_be_negative(path):
    parsed = load(path, MINIMAL, ["mismatch.temperature=-10", "mismatch.inhibitory_shift=-0.2"])
    assert (parsed.spreads.temperature, parsed.spreads.inhibitory_shift) == (-10, -0.2)


def test_an_override_reaches_tables_lists_and_every_type(path):
    parsed = load(
        path,
        MINIMAL,
        [
            "seed=7",
            "name=other",
            "description=two words = text",
            "chip.seed=0x10",
            "noise.std=1e-1",
            "mismatch.gain=0",
            "phases.0.epochs=3",
            "phases.0.noise=false",
            'phases.0.on={"dense_1" = "chip"}',
            "phases.0.max_steps=1_000",
            "layers.1.outputs=12",
            "run.dir=some/where",
        ],
    )
    assert (parsed.seed, parsed.chip.seed, parsed.noise.std) == (7, 16, 0.1)
    assert (parsed.name, parsed.description) == ("other", "two words = text")
    assert (parsed.spreads.gain, parsed.spreads.noise_std) == (0, 0.1)
    phase = parsed.phases[0]
    assert (phase.epochs, phase.noise, phase.max_steps) == (3, False, 1000)
    assert phase.on == {"dense_1": "chip"} and phase.on_chip
    assert parsed.layers[1].outputs == 12 and parsed.run.dir == "some/where"


def test_an_override_can_replace_a_whole_list(path):
    parsed = load(path, MINIMAL, ['layers=[{kind="dense", outputs=4}]', "layers.0.outputs=5"])
    assert [layer.outputs for layer in parsed.layers] == [5]


def test_the_last_of_two_overrides_counts(path):
    assert load(path, MINIMAL, ["seed=1", "seed=2"]).seed == 2


def test_the_two_seeds_do_not_move_each_other(path):
    first = load(path, MINIMAL)
    assert load(path, MINIMAL, ["seed=9"]).chip == first.chip
    assert load(path, MINIMAL, ["chip.seed=9"]).seed == first.seed


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_opens_with_its_command(name):
    text = config.shipped()[name].read_text(encoding="utf-8")
    head = text.split("\n\n")[0].splitlines()
    comment = " ".join(line.lstrip("# ") for line in head if line.startswith("#"))
    assert text.startswith("#") and f"bss2jax train {name}" in comment


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_plans(name):
    parsed, _ = config.load(name)
    assert parsed.name == name and parsed.description
    plan = experiment.plan_text(experiment.network_of(parsed), 100, 10)
    # Stacked headings are broken within words.
    assert "utili" in plan and "per sample" in plan


@pytest.mark.parametrize(
    "name, override, parts",
    [
        ("har_spiking", "layers.0.kind=detla", ["layers.0.kind", "'detla'", "mean 'delta'"]),
        ("har_spiking", "layers.0.theta=0", ["layers.0.theta", "got 0", "> 0"]),
        ("har_spiking", "layers.0.steps=60", ["delta_0", "60 steps", "(128, 9)"]),
        (
            "digits_spiking",
            'layers.0={kind = "delta"}',
            ["delta_0", "signals (L, C)", "(8, 8, 1)"],
        ),
    ],
    ids=lambda v: str(v)[:30],
)
def test_delta_coding_that_cannot_be_is_a_config_error(name, override, parts):
    with pytest.raises(ConfigError) as error:
        experiment.network_of(config.load(name, [override])[0])
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("key", ["offset", "full_scale"])
def test_each_channel_has_its_scale_or_all_have_one(key):
    with pytest.raises(ConfigError, match=rf"data\.{key}: got 2 values, .* the 3 channels"):
        experiment.network_of(config.load("eurosat_vmm", [f"data.{key}=[1, 2]"])[0])
    for good in ("7", "[1, 2, 3]"):
        experiment.network_of(config.load("eurosat_vmm", [f"data.{key}={good}"])[0])
    with pytest.raises(ConfigError, match="data.full_scale"):
        config.load("eurosat_vmm", ["data.full_scale=[1, 0, 3]"])


def test_the_configs_scale_replaces_the_sets():
    parsed, _ = config.load("digits_spiking", ["data.offset=4", "data.full_scale=8"])
    task = experiment.prepare(parsed).task
    np.testing.assert_allclose(task.encode(np.uint8([[4, 8, 12]])), [[0, 0.5, 1]])


def test_the_phone_signals_reach_one_chip_as_spikes():
    network = experiment.network_of(config.load("har_spiking")[0])
    assert network.plan.configurations == 1
    assert network.plan.demands[0].input_events <= BSS2.max_input_events
    signals = random_like("har", train=4)
    values = network.encode(signals.train.x, signals.full_scale)
    assert values.shape == (4, 128, 9) and 0 <= values.min() <= values.max() <= 1


# The quickest one of several layers. The others are slow tests; all are read and planned in every
# run.
EVERY = ("digits_softlif",)


@pytest.mark.parametrize(
    "name",
    [n if n in EVERY else pytest.param(n, marks=pytest.mark.slow) for n in SHIPPED],
)
def test_a_shipped_config_trains_two_steps_a_phase(name, tmp_path):
    phases = range(len(config.load(name)[0].phases))
    overrides = [f"phases.{i}.max_steps=2" for i in phases]
    overrides += [f"phases.{i}.batch_size=8" for i in phases]
    parsed, text = config.load(name, [*overrides, "data.validation=8", f"run.dir={tmp_path}/run"])
    dataset = random_like(parsed.data.name)
    prepared = experiment.prepare(parsed, dataset)
    # As many test as validation samples, whole groups where there are: measuring compiles once.
    held = len(prepared.validation.y)
    dataset = replace(dataset, test=data.Split(dataset.test.x[:held], dataset.test.y[:held]))
    run = session.train(parsed, text, dataset=dataset)
    lines = run.read("metrics.jsonl").splitlines()
    assert len(lines) == len(parsed.phases)
    assert run.read("config.toml") == text
    assert math.isfinite(prepared.chip.offset.sum())
