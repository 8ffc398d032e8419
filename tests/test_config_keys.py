"""Keys of configs: every one is said, with what the reader takes, and a shown config is itself."""

import json
import re

import pytest

from bss2jax import config
from bss2jax.cli import main
from bss2jax.config.keys import keys, matching
from bss2jax.config.show import resolved
from bss2jax.config.write import _flat, _tree


@pytest.mark.parametrize("name", config.shipped())
def test_a_shown_config_is_read_back_as_itself(name, tmp_path):
    parsed, _ = config.load(name)
    (tmp_path / "shown.toml").write_text(text := resolved(parsed))
    assert config.load(tmp_path / "shown.toml")[0] == parsed
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= 80


def test_every_key_of_every_shipped_config_is_listed_with_a_meaning():
    known = {key.name: key for key in keys()}
    assert [key.name for key in keys() if not key.meaning] == []
    for name in config.shipped():
        for key in _flat(_tree(config.load(name)[0])):
            parts = ["N" if part.isdigit() else part for part in key.split(".")]
            if parts[-1] != "kind":
                # Values within a list, or executions by layer, are the value of one key.
                heads = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
                assert any(head in known for head in heads), key


def test_a_shown_config_leaves_out_what_does_nothing():
    analog, spiking = (resolved(config.load(name)[0]) for name in ("digits", "digits_spiking"))
    assert "\nthreshold = " not in analog and "\nthreshold = " in spiking
    assert "\noffset = 1.5" in analog and "\noffset = 1.5" not in spiking
    assert "decay" not in analog and "[conversion]" not in analog
    assert "decay" in resolved(config.load("digits", ["phases.0.schedule=exponential"])[0])


def test_keys_are_found_by_kind_name_and_word(capsys):
    assert {key.name for key in matching("li")} >= {"layers.N.readout_scale", "layers.N.tau_mem"}
    assert [key.name for key in matching("phases.N.epochs")] == ["phases.N.epochs"]
    assert all("seed" in key.name for key in matching("*seed")) and matching("*seed")
    assert main(["keys", "learning_rate", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "phases.N.learning_rate" and found["required"]
    assert main(["keys", "nothing-like-it"]) == 2 and "fits" in capsys.readouterr().err


def test_the_command_line_shows_a_config(capsys):
    assert main(["config", "digits", "seed=7"]) == 0
    assert "\nseed = 7\n" in capsys.readouterr().out


def test_a_config_may_have_another_substrate(tmp_path):
    from bss2jax.model import model_of

    small = ["substrate.columns=32", "substrate.weight_max=31"]
    usual, other = (model_of(config.load("digits", given)[0]) for given in ([], small))
    assert other.chip.offset.shape == (2, 32) and usual.chip.offset.shape == (2, 256)
    plans = [model.task.network.plan for model in (usual, other)]
    assert plans[1].configurations > plans[0].configurations
    assert abs(other.initial().params["dense_0"]["weight"]).max() <= 31
    (tmp_path / "shown.toml").write_text(resolved(other.config))
    assert config.load(tmp_path / "shown.toml")[0] == other.config
    assert "[substrate]" not in resolved(usual.config)
    with pytest.raises(config.ConfigError, match="Substrate.columns"):
        config.load("digits", ["substrate.columns=-1"])


def test_the_meaning_of_a_key_can_be_read_alone():
    """No rest of a sentence, no value of Python's that TOML has not."""
    rest = re.compile(r"(?:of|in|at|from|on|for|to|likewise)\b|.*\bNone\b")
    assert [key.name for key in keys() if rest.match(key.meaning)] == []
    shared = next(key for key in keys() if key.name == "layers.N.early")
    assert shared.meaning.startswith("early, late: time of the spike")
