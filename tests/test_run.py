"""A finished run as a value: opened, asked, exported; and trained from Python."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import bss2jax
from bss2jax import config, data
from bss2jax.cli import main
from bss2jax.model import model_of
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.export import codes, hxtorch
from bss2jax.runs.run import Run

SPIKES = """name = "spikes"
data.name = "digits"
layers = [
  { kind = "latency", steps = 6 },
  { kind = "lif", outputs = 12, init_mean = 0.2 },
  { kind = "li", outputs = 10 },
  { kind = "max_over_time" },
]
phases = [{ on = "chip", epochs = 1, learning_rate = 0.1 }]
"""
X = data.load("digits").test.x[:7]


@pytest.fixture(scope="module")
def run(finished):
    return bss2jax.open_run(finished.path)


@pytest.fixture(scope="module")
def spiking(tmp_path_factory):
    """A run of spikes that has learned nothing yet."""
    path = tmp_path_factory.mktemp("spiking")
    (path / "spikes.toml").write_text(SPIKES)
    model = model_of(config.load(path / "spikes.toml")[0])
    return Run(RunDirectory(path), model, model.initial())


def test_an_opened_run_knows_what_it_is(run, finished):
    summary = json.loads(finished.read("summary.json"))
    assert run.summary == summary and run.path == finished.path
    assert run.config.name == "tiny" and run.classes == tuple("0123456789")
    assert [line["epoch"] for line in run.metrics] == [1, 2, 1, 2, 3]
    assert f"chip {summary['test_accuracy']['chip']:.2%}" in repr(run)
    drawn = bss2jax.sample_chip(jax.random.key(5))
    assert jnp.array_equal(run.chip.offset, drawn.offset)


def test_what_is_not_finished_cannot_be_opened(finished, tmp_path):
    with pytest.raises(RunError, match="no run directory"):
        bss2jax.open_run(tmp_path)
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "final.npz").unlink()
    with pytest.raises(RunError, match="no such checkpoint"):
        bss2jax.open_run(tmp_path / "run")


def test_a_prediction_is_what_the_network_says(run):
    """On the chip too, and of one sample as of many: noise belongs to a sample's number."""
    scores, _, _ = run.network.apply(run.params, {}, run.network.encode(X, 16.0), on="float")
    found = run.predict(X, on="float")
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=1e-3)
    assert found.names == [str(label) for label in np.argmax(scores, axis=1)]
    on_chip = run.predict(X)
    assert np.array_equal(run.predict(X[:1]).scores, on_chip.scores[:1])
    assert np.array_equal(run.predict(X[0, ..., 0]).scores, on_chip.scores[:1])
    assert not np.array_equal(run.predict(X, seed=1).scores, on_chip.scores)


@pytest.mark.parametrize(
    "images, said", [(np.zeros((3, 28, 28)), r"\(3, 28, 28\)"), (["a"], "finite numbers")]
)
def test_samples_of_another_shape_are_refused(run, images, said):
    with pytest.raises(ValueError, match=said):
        run.predict(images)


def test_spikes_and_membranes_are_recorded(spiking):
    seen = spiking.record(X, "spikes", "membrane", on="ideal")
    assert set(seen) == {"latency_0", "lif_0", "li_0"}
    z, v = seen["lif_0"]["spikes"], seen["lif_0"]["membrane"]
    assert z.shape == v.shape == (6, 7, 12) and 0 < z.sum() < z.size
    # A neuron spikes where its membrane, before reset, has passed the threshold of 1.
    assert np.array_equal(z == 1, v >= 1)
    assert seen["latency_0"]["spikes"].shape == (6, 7, 8, 8, 1)
    assert seen["li_0"]["membrane"].shape == (6, 7, 10) and "spikes" not in seen["li_0"]
    scores = spiking.predict(X, on="ideal").scores
    np.testing.assert_array_equal(scores, seen["li_0"]["membrane"].max(axis=0))


def test_what_no_layer_has_is_not_recorded(run):
    with pytest.raises(ValueError, match="no layer of this network has spikes"):
        run.record(X, "spikes")
    with pytest.raises(ValueError, match="'voltage', expected some of spikes, membrane, output"):
        run.record(X, "voltage")


def test_exported_codes_are_rounded_weights_and_pieces_hold_each_once(run, spiking):
    for of, layer, scale in ((run, "dense_0", 1.0), (spiking, "lif_0", 60.0)):
        found, w = codes(of), np.asarray(of.params[layer]["weight"])
        expected = np.clip(np.rint(np.float32(w) * np.float32(scale)), -63, 63)
        assert found[f"{layer}/weight"].dtype == np.int8
        assert np.array_equal(found[f"{layer}/weight"], expected)
        named = {name: i for i, name in enumerate(found["fields"])}
        pieces = found[f"{layer}/pieces"]
        assert pieces.shape[1] == len(named) and {"chip", "configuration"} <= named.keys()
    assert len(found["circuits"]) == 22  # 12 and 10 neurons, a circuit each


def test_exported_layers_compute_what_the_network_does(run):
    """By the equation of hxtorch's `Linear`: gain x sends x (x W^T)."""
    found = hxtorch(run)
    (layer,) = (s for s in json.loads(str(found["settings"])) if s["kind"] == "dense")
    x = 31 * X.reshape(7, -1).astype(float) / 16
    y = bss2jax.BSS2.gain * layer["num_sends"] * (x @ found["dense_0/weight"].T)
    assert found["dense_0/weight"].shape == (10, 64)
    np.testing.assert_allclose(run.predict(X, on="float").scores, y, rtol=1e-4, atol=1e-3)


def test_the_command_line_exports(finished, tmp_path, capsys):
    for kind in ("weights", "codes", "hxtorch"):
        out = tmp_path / f"{kind}.npz"
        assert main(["export", str(finished.path), "--as", kind, "--out", str(out)]) == 0
        assert str(out) in capsys.readouterr().out
        with np.load(out) as arrays:
            assert "dense_0/weight" in arrays.files
    assert main(["export", str(finished.path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"bss2jax: {tmp_path}: ")


def test_the_command_line_classifies_images_arrays_and_folders(run, finished, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for i, image in enumerate(X):
        pixels = np.rint(image[..., 0] / 16 * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(255 - pixels).save(tmp_path / f"dark-{i}.png")
    np.save(tmp_path / "x.npy", X)
    expected = run.predict(X, on="float").names
    dark = [str(tmp_path / f"dark-{i}.png") for i in range(len(X))]
    for files in ([str(tmp_path / "images")], [str(tmp_path / "x.npy")], ["--invert", *dark]):
        call = ["predict", str(finished.path), *files, "--on", "float", "--json"]
        assert main(call) == 0
        found = json.loads(capsys.readouterr().out)
        assert [each["class"] for each in found] == expected
    assert main(["predict", str(finished.path), str(tmp_path / "images")]) == 0
    assert "next best" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file, said",
    [
        ("no.png", "no.png: No such file"),
        ("no.npy", "no.npy: no array"),
        (".", "no images in this"),
    ],
)
def test_a_file_that_cannot_be_classified_is_one_line(
    finished, tmp_path, monkeypatch, capsys, file, said
):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(finished.path), file]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_training_from_python_takes_keys_and_returns_the_run(finished, monkeypatch):
    given = []

    def train(parsed, *_, **__):
        given.append(parsed)
        return finished

    monkeypatch.setattr(session, "train", train)
    run = bss2jax.train("digits", seed=7, phases=[{"on": "chip", "epochs": 1, "learning_rate": 1}])
    assert run.path == finished.path and given[0].seed == 7 and len(given[0].phases) == 1
    bss2jax.train("digits", noise={"std": 1.5}, **{"phases.1.epochs": 3, "run.dir": "here"})
    assert given[1].noise.std == 1.5 and given[1].phases[1].epochs == 3
    with pytest.raises(config.ConfigError, match="sed: unknown key"):
        bss2jax.train("digits", sed=1)
