"""The slope of a surrogate at which gradients last, found from one batch."""

import json
import re
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import SuperSpike, config
from bss2jax.cli import main
from bss2jax.experiment import prepare
from bss2jax.kernels.gradients.surrogate import Arctan, Box, Gaussian, Triangle
from bss2jax.networks import LIF
from bss2jax.training import Tuning, tune_surrogate

DEEP = """
name = "deep"
data.name = "digits"
objective.scale = 3.0
phases = [{ on = "float", epochs = 1, batch_size = 16, learning_rate = 1e-3 }]
layers = [
  { kind = "latency", steps = 8, dt = 1e-6 },
"""


@pytest.fixture
def deep(tmp_path):
    """Writes a config of a depth; returns its path."""

    def write(depth, more='norm = "batch"'):
        layer = f'{{ kind = "lif", outputs = 32, {more} }},\n'
        rest = '{ kind = "li", outputs = 10 }, { kind = "max_over_time" }]\n'
        path = tmp_path / f"deep{depth}.toml"
        path.write_text(DEEP + depth * layer + rest)
        return path

    return write


def tuned(path, **settings):
    prepared = prepare(config.load(path)[0])
    return tune_surrogate(
        prepared.task, prepared.config.phases[0], prepared.initial(), prepared.training,
        prepared.chip, prepared.phase_key(0), **settings,
    )  # fmt: skip


# The deeper ones compile for as long again.
@pytest.mark.parametrize(
    "depth",
    [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 20))],
)
def test_gradients_last_at_the_tuned_slope_and_not_at_ten_times_or_a_tenth_of_it(deep, depth):
    found = tuned(deep(depth), slopes=(2.5, 3.0), refine=1)
    assert found.layers == tuple(f"lif_{n}" for n in range(depth))
    assert 0.1 <= found.ratios[found.slopes.index(found.best)] <= 10
    around = tuned(deep(depth), slopes=(found.best / 10, 10 * found.best), refine=0)
    wide, steep = around.ratios
    assert wide > 10 and 0 <= steep < 0.1, "explodes, vanishes"


@pytest.mark.slow  # two refinements more of what the test above tunes
def test_between_exploding_and_vanishing_more_slopes_are_tried(deep):
    found = tuned(deep(5), slopes=(3.0, 2.5), refine=2)
    first, *between, last = found.slopes
    assert (first, last) == (2.5, 3) and len(between) == 2
    assert np.sqrt(7.5) in between, "the geometric mean first"
    # Monotone: the steeper, the less arrives.
    assert list(found.ratios) == sorted(found.ratios, reverse=True)
    assert found.norms.shape == (4, 5) and np.all(found.norms > 0)


def test_the_best_slope_is_that_whose_ratio_is_nearest_to_one():
    norms = np.array([[40.0, 1, 2], [3, 1, 2], [1, 1, 2.1], [0, 0, 0]])
    tuning = Tuning((1.0, 2.0, 3.0, 4.0), ("a", "b", "c"), norms)
    assert tuning.best == 2.0 and tuning.ratios.tolist()[::3] == [20, 0]
    with pytest.raises(ValueError, match="no gradient arrives at layer a at slopes 4 to 4: .*init"):
        Tuning((4.0,), ("a", "b", "c"), norms[3:]).best  # noqa: B018


@pytest.mark.parametrize("kind", [SuperSpike(), Arctan(), Triangle(height=1), Gaussian(), Box()])
def test_a_surrogate_of_another_slope_is_as_much_narrower(kind):
    x = np.linspace(-3, 3, 61).astype(np.float32)
    one, five = kind.sloped(1.0), kind.sloped(5.0)
    shape = one.derivative(x) / one.derivative(np.float32(0))
    narrow = five.derivative(x / 5) / five.derivative(np.float32(0))
    assert type(five) is type(kind) and five.sloped(1.0) == one
    np.testing.assert_allclose(narrow, shape, atol=1e-6)


def test_the_command_says_the_slope_and_draws_the_figure(deep, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["tune-surrogate", str(deep(5)), "--slopes", "5,3"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +3 .* best$", out, re.MULTILINE)
    assert "slope 3: over 5 layers" in out and "at the end of what was tried" in out
    assert (tmp_path / "deep_gradients.png").stat().st_size > 5000
    assert main([*command, "--json", "--out", "other.png"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best"] == 3 and told["slopes"] == [3, 5]
    assert told["ratios"] == [first / last for first, *_, last in told["norms"]]
    assert told["layers"] == [f"lif_{n}" for n in range(5)] and (tmp_path / "other.png").is_file()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["digits"], "digits: 0 of 4 layers have a surrogate; expected two at least"),
        (["digits_spiking"], "1 of 4 layers have a surrogate"),
        (["digits", "--slopes", "2,0"], "expected numbers above 0 such as 2,5,10, got '2,0'"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(arguments, said, capsys):
    try:
        assert main(["tune-surrogate", *arguments]) == 2
    except SystemExit as stopped:
        assert stopped.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_layers_without_a_surrogate_are_left_out(deep):
    with pytest.raises(ValueError, match="0 of 4 layers"):
        tuned(deep(1, 'gradient = "eventprop"'))


@dataclass(frozen=True)
class Flat:
    """A surrogate of one's own, without a slope."""

    def derivative(self, x):
        return jnp.ones_like(x)


def test_a_surrogate_of_ones_own_without_a_slope_is_refused():
    with pytest.raises(ValueError, match=r"Flat\(\) has no method sloped\(slope\)"):
        LIF(outputs=2, surrogate=Flat()).sloped(2.0)
