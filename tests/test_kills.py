"""Real training processes that are killed: the short form of `python tests/kills.py`."""

import signal

import kills
import pytest


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    return kills.Harness(tmp_path_factory.mktemp("kills"))


# Each trains in processes of its own. In every run `test_runs` stops a training again and again
# within its process, by the handler that SIGINT and SIGTERM have.
@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGKILL,),
        (signal.SIGINT, signal.SIGKILL, signal.SIGTERM),
    ],
    ids=lambda numbers: "-".join(number.name for number in numbers),
)
def test_a_training_stopped_by_signals_ends_as_an_unbroken_one(harness, tmp_path, numbers):
    run = tmp_path / "run"
    for number in numbers:
        assert harness.kill(run, number, starting=None) != "finished"
        assert kills.checkpoints(run)
    harness.finish(run, resume=True)
