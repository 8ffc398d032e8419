"""What a training needs is known from its compiled step, and refused where it is not there."""

import jax
import pytest

from bss2jax import config, experiment
from bss2jax.config import ConfigError
from bss2jax.runs import memory, session

# The membranes of a single sample alone are 200 GB.
HUGE = ("layers.0.steps=1000000", "layers.1.outputs=50000")
SMALL = 'layers=[{kind="flatten"}, {kind="dense", outputs=10}]'


@pytest.fixture(scope="module")
def prepared():
    return experiment.prepare(config.load("digits_spiking", ["phases.0.max_steps=2"])[0])


@pytest.mark.slow  # compiles two trainings
def test_what_is_needed_is_the_data_the_state_and_what_the_step_adds(prepared):
    needed = memory.needed(prepared, 1)
    compiled = list(prepared.task.compiled.values())
    resident = needed - max(found.temporaries + found.results for found in compiled)
    # 1,797 images of 64 bytes and their labels; weights, twice for their moments, and the best.
    weights = 4 * (64 * 200 + 200 * 10)
    data = 1797 * (64 + 4)
    chip = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(prepared.chip))
    # Besides: the validation batch of an evaluation, and some counters.
    assert 0 <= resident - (4 * weights + data + chip) < 144 * 69 + 100


@pytest.mark.slow  # compiles a step twice
def test_what_is_compiled_to_know_it_is_what_trains(prepared):
    memory.require(prepared)
    before = dict(prepared.task.compiled)
    assert len(before) == 4, "a step and an evaluation a phase"
    prepared.train(0, prepared.initial())
    assert prepared.task.compiled == before


def test_a_config_that_cannot_fit_says_so_before_anything_is_written(tmp_path, monkeypatch):
    huge = [f"run.dir={tmp_path / 'run'}", *HUGE]
    with pytest.raises(ConfigError, match=r"phases.0: needs at least \d{3}\.\d GiB of memory"):
        session.train(config.load("digits_spiking", huge)[0])
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(memory, "available", lambda mesh: 2**16)
    with pytest.raises(ConfigError, match=r"phases.0: needs at least 0.0 GiB"):
        session.train(config.load("digits", [huge[0], SMALL])[0])


def test_this_machine_has_memory():
    assert memory.available() is None or memory.available() > 2**28
