"""Settings: what is made in Python is checked as what is read from a file, in the same words."""

import dataclasses
import tomllib
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tomli_w
from annotated_types import Ge

from bss2jax import Arctan, SuperSpike, config, networks, settings
from bss2jax.config import ChipSeed, Data, Run
from bss2jax.networks import LAYERS, LIF, Conv2d, Conversion, Dense, Latency, Pool, SpikeTime
from bss2jax.settings import Wrong
from bss2jax.training import Augmentation, Objective, Phase

KINDS = (*LAYERS, Conversion, Phase, Objective, Augmentation, Data, ChipSeed, Run)
# What the fields without a default are given.
NEEDED = {"outputs": 3, "window": 2, "on": "float", "epochs": 1, "learning_rate": 0.1, "name": "a"}
VALUES = [
    *(-1, 0, 1, 2, 2**63, -1e-6, 0.0, 0.5, 1.0, 3.0, 1e308, float("nan"), float("inf")),
    *(True, "", "none", "ReLU", "relu", "Best", "SAME", "euler", "tau_mem", "\0"),
    *([], [1], [2, 3], [1, 2, 3], [0.5], ["tau_mem"], {}, {"kind": "arctan"}, {"a": "chip"}),
]


def needed(kind):
    fields = dataclasses.fields(kind)
    return {
        field.name: NEEDED[field.name]
        for field in fields
        if field.default is dataclasses.MISSING and field.init
    }


def outcome(make, *given, **fields):
    try:
        return make(*given, **fields)
    except ValueError as error:
        assert "\n" not in str(error)
        return str(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_python_and_a_file_give_the_same_setting_or_the_same_error(kind):
    given, refused = needed(kind), 0
    for field in dataclasses.fields(kind):
        for value in VALUES:
            if field.init:
                table = given | {field.name: value}
                text = tomli_w.dumps(table)
                here = outcome(kind, **table)
                assert here == outcome(settings.read, kind, tomllib.loads(text))
                refused += isinstance(here, str)
    assert refused > 5


def test_a_surrogate_is_checked_when_it_is_made():
    for wrong in ("x", float("nan"), -1.0):
        with pytest.raises(ValueError, match=f"alpha: got {wrong!r}"):
            Arctan(wrong)


PHASE = {"on": "float", "epochs": 1, "learning_rate": 0.1}


@pytest.mark.parametrize(
    "kind, given, said",
    [
        # Unknown names.
        (Dense, {"activation": "ReLU"}, r"activation: got 'ReLU', .*'relu'.*mean 'relu'"),
        (Dense, {"activation": "sigmoid"}, "activation: got 'sigmoid'"),
        (Dense, {"activation": None}, "activation: got None"),
        (LIF, {"integrator": "Euler"}, "integrator: got 'Euler'"),
        (LIF, {"surrogate": "SuperSpike"}, "surrogate: got 'SuperSpike', expected a table"),
        (LIF, {"surrogate": SuperSpike}, "surrogate: got <class"),
        (LIF, {"trained": ("tau_m",)}, "trained.0: got 'tau_m'"),
        (LIF, {"weight_clamp": "Hard"}, "weight_clamp: got 'Hard'"),
        (Pool, {"window": 2, "mode": "Max"}, "mode: got 'Max'"),
        (Conversion, {"synapse": "Alpha"}, "synapse: got 'Alpha'"),
        (Phase, PHASE | {"on": "Float"}, "on: got 'Float'.*mean 'float'"),
        (Phase, PHASE | {"on": {"dense_0": "Chip"}}, "on.dense_0: got 'Chip'"),
        (Phase, PHASE | {"schedule": "Cosine"}, "schedule: got 'Cosine'"),
        (Phase, PHASE | {"keep": "Best"}, "keep: got 'Best'"),
        (Phase, PHASE | {"chip": "Resample"}, "chip: got 'Resample'"),
        (Phase, PHASE | {"on_nonfinite": "ignore"}, "on_nonfinite: got 'ignore'"),
        (Phase, PHASE | {"optimizer": "Adam"}, "optimizer: got 'Adam'"),
        # Impossible numbers.
        (LIF, {"dropout": 1.0}, "dropout: got 1.0, expected a finite number >= 0 and < 1"),
        (LIF, {"tau_mem": -6e-6}, "tau_mem: got -6e-06"),
        (LIF, {"t_ref": -2e-6}, "t_ref: got -2e-06"),
        (LIF, {"t_ref": float("inf")}, "t_ref: got inf"),
        (LIF, {"weight_scale": -60}, "weight_scale: got -60"),
        (Latency, {"dt": -1e-6}, "dt: got -1e-06"),
        (Latency, {"dt": 0}, "dt: got 0"),
        (Latency, {"steps": 0}, "steps: got 0"),
        (Dense, {"outputs": 3.0}, "outputs: got 3.0, expected an integer"),
        (Dense, {"outputs": True}, "outputs: got True"),
        (Dense, {"outputs": 3, "shift": -1}, "shift: got -1"),
        (Phase, PHASE | {"clip_norm": -1}, "clip_norm: got -1"),
        (Phase, PHASE | {"epochs": 0}, "epochs: got 0"),
        (Phase, PHASE | {"decay": 2}, "decay: got 2"),
        (Phase, PHASE | {"batch_size": 0}, "batch_size: got 0"),
        (Objective, {"scale": -1}, "scale: got -1"),
        (Augmentation, {"rotation": 720}, "rotation: got 720"),
        # What does not go together.
        (SpikeTime, {"steps": 10}, "late: .*beyond the 10 steps"),
        (SpikeTime, {"early": 20e-6, "late": 10e-6}, "early: got 2e-05 s, expected .* late"),
        (networks.LogLatency, {"tau": 0.5}, "tau: got 0.5 s, .* beyond the 30 steps"),
        (networks.Rate, {"steps": 30, "spikes": 40}, "spikes: got 40"),
        (networks.Regular, {"steps": 30, "spikes": 40}, "spikes: got 40"),
    ],
    ids=lambda v: v.__name__ if isinstance(v, type) else str(v)[:24],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_python(kind, given, said):
    with pytest.raises(ValueError, match=said):
        kind(**(needed(kind) | given))


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(Wrong, match="outputs: .*; shift: "):
        Dense(outputs=0, shift=-1)


def test_numbers_of_numpy_and_lists_are_taken_for_pythons():
    dense = Dense(outputs=np.int64(3), shift=np.uint8(1), bias=np.bool_(True))
    assert dense == Dense(outputs=3, shift=1, bias=True) and hash(dense)
    assert type(dense.outputs) is int and dense.bias is True
    wide = Conv2d(outputs=2, window=[3, np.int32(5)], stride=np.array([1, 2]))
    assert wide.window == (3, 5) and wide.stride == (1, 2) and hash(wide)
    phase = Phase(**PHASE | {"learning_rate": jnp.float32(0.5), "on": {"dense_0": "chip"}})
    assert phase.learning_rate == 0.5 and hash(phase) and phase.on_chip


def test_a_traced_number_is_refused_in_words():
    with pytest.raises(ValueError, match="learning_rate: .*expected a finite number"):
        jax.jit(lambda rate: Phase(**PHASE | {"learning_rate": rate}).learning_rate)(0.1)


def test_a_surrogate_of_ones_own_is_taken():
    @dataclasses.dataclass(frozen=True)
    class Flat:
        def derivative(self, x):
            return jnp.ones_like(x)

    assert LIF(outputs=1, surrogate=Flat()).surrogate == Flat()


def test_a_layer_of_ones_own_is_checked_by_its_annotations():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Gain(networks.Layer):
        gain: Annotated[float, Ge(1)] = 1.0
        mode: Literal["one", "two"] = "one"

    assert Gain(gain=np.float32(2)).gain == 2.0
    with pytest.raises(ValueError, match="gain: got 0.5, expected a finite number >= 1; mode: got"):
        Gain(gain=0.5, mode="three")


def test_euler_steps_that_are_too_long_are_refused_before_anything_runs():
    layers = [Latency(dt=20e-6), LIF(outputs=2, integrator="euler")]
    with pytest.raises(ValueError, match="layer lif_0.*tau_mem.*euler"):
        networks.build(layers, (3,))


def test_a_config_made_in_python_is_checked_too():
    good, _ = config.load("digits")
    with pytest.raises(ValueError, match="seed: got -1"):
        dataclasses.replace(good, seed=-1)
    with pytest.raises(ValueError, match="phases: got .*, expected a list of .* that is not empty"):
        dataclasses.replace(good, phases=())
    with pytest.raises(ValueError, match="layers.0: got 3"):
        dataclasses.replace(good, layers=[3])
