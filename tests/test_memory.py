"""What a computation needs at least is known from its shapes, and refused where it is not there."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from bss2jax import config, experiment
from bss2jax.config import ConfigError
from bss2jax.runs import memory, session
from bss2jax.runs.memory import at_least

N = 100  # a matrix of 40 kB
KB = 40_000
MATRIX = jax.ShapeDtypeStruct((N, N), jnp.float32)


@pytest.mark.parametrize(
    "function, matrices",
    [
        (lambda x: x @ x, 2),
        (lambda x: x @ x @ x, 3),
        # What is added may be fused; the two products are both there when they are.
        (lambda x: (x @ x) + (x @ x.T), 3),
        (lambda x: jax.jit(lambda y: y @ y)(x), 2),
        # A product is gone after its last use.
        (lambda x: (x @ x).sum() + (x @ x).sum(), 2),
        # All steps of a loop are kept, once.
        (lambda x: lax.scan(lambda c, _: (c, c @ c), x, None, length=7)[1], 8),
        (lambda x: lax.map(lambda row: row @ x, x), 2),
    ],
)
def test_products_and_loops_are_counted_while_they_are_used(function, matrices):
    counted = at_least(function, MATRIX) / KB
    assert abs(counted - matrices) < 0.3


def test_nothing_is_allocated():
    huge = jax.ShapeDtypeStruct((2**20, 2**20), jnp.float32)
    assert at_least(lambda x: x @ x, huge) >= 2 * 2**42


def test_a_larger_batch_and_more_time_steps_need_more():
    def needed(*overrides):
        parsed, _ = config.load("digits_spiking", overrides)
        return session.memory_needed(experiment.prepare(parsed), 1)

    plain = needed()
    assert plain < needed("phases.1.batch_size=500") and plain < needed("spiking.steps=300")


def test_a_config_that_cannot_fit_says_so_before_anything_is_written(tmp_path, monkeypatch):
    huge = [f"run.dir={tmp_path / 'run'}", "spiking.steps=1000000"]
    with pytest.raises(ConfigError, match=r"phases.0: needs at least \d+\.\d GiB of memory"):
        session.train(config.load("digits_spiking", huge)[0])
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(memory, "available", lambda: 2**20)
    with pytest.raises(ConfigError, match=r"phases.0: needs at least 0.0 GiB"):
        session.train(config.load("digits", huge[:1])[0])


def test_this_machine_has_memory():
    assert memory.available() is None or memory.available() > 2**28
