"""Real training processes that are killed: the short form of `python tests/kills.py`."""

import signal

import kills
import pytest


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    return kills.Harness(tmp_path_factory.mktemp("kills"))


# SIGINT and SIGTERM have a handler, which `test_runs` calls within its own process.
@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGKILL,),
        pytest.param((signal.SIGINT, signal.SIGKILL, signal.SIGTERM), marks=pytest.mark.slow),
    ],
    ids=lambda numbers: "-".join(number.name for number in numbers),
)
def test_a_training_stopped_by_signals_ends_as_an_unbroken_one(harness, tmp_path, numbers):
    run = tmp_path / "run"
    for number in numbers:
        assert harness.kill(run, number, starting=None) != "finished"
        assert kills.checkpoints(run)
    harness.finish(run, resume=True)
