"""Real training processes that are killed: the short form of `python tests/kills.py`."""

import random
import signal

import kills
import pytest


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    return kills.Harness(tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGKILL, signal.SIGTERM],
        # A handler for both, and two processes more.
        pytest.param([signal.SIGINT, signal.SIGKILL, signal.SIGTERM], marks=pytest.mark.slow),
    ],
    ids=lambda numbers: "-".join(number.name for number in numbers),
)
def test_a_training_stopped_by_signals_ends_as_an_unbroken_one(harness, tmp_path, numbers):
    random.seed(0)
    for number in numbers:
        harness.kill(tmp_path / "run", number, starting=0.0)
    harness.finish(tmp_path / "run", resume=True)
