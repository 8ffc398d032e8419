"""Real training processes that are killed: the short form of `python tests/kills.py`."""

import random
import signal

import kills


def test_a_training_stopped_by_each_signal_ends_as_an_unbroken_one(tmp_path):
    random.seed(0)
    harness = kills.Harness(tmp_path)
    run = tmp_path / "run"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        harness.kill(run, number, starting=0.0)
    harness.finish(run, resume=True)
