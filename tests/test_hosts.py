"""Two processes on this machine train as one does; one that is lost ends the other.

Each compiles for itself, a minute in all: `make test-devices` runs them.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # they compile in six processes, two at a time

CONFIG = """
name = "hosts"
data = {{ name = "digits", validation = 360 }}
layers = [{{ kind = "flatten" }}, {{ kind = "dense", outputs = 10 }}]
run = {{ dir = "{run}", checkpoint_steps = 5 }}
[[phases]]
on = "{on}"
epochs = {epochs}
batch_size = 202  # over four devices 51, 51, 51 and 49
optimizer = "sgd"
learning_rate = 5.0
keep = "last"
"""
LIMIT = 150  # seconds in which a process ends that has lost another


def started(arguments, *, devices=1, hosts=1):
    """The processes of a command line, one a host, each with its devices; 0 leads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
    }  # fmt: skip
    joined = [
        ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--processes", str(hosts),
         "--process", str(number)]
        for number in range(hosts)
    ]  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, "-m", "bss2jax", "train", *arguments, *(extra if hosts > 1 else [])],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for extra in joined
    ]  # fmt: skip


def trained(*arguments, **where):
    """What a training says that ends well."""
    processes = started(arguments, **where)
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said[0][0]


def write(path, **settings):
    text = CONFIG.format(run=path.with_suffix(""), **{"on": "float", "epochs": 60} | settings)
    path.write_text(text)
    return str(path)


def weight(path):
    with np.load(path.with_suffix("") / "checkpoints" / "final.npz") as file:
        return file["params/dense_0/weight"]


def apart(path, other):
    return np.linalg.norm(weight(path) - weight(other)) / np.linalg.norm(weight(other))


def wait_for_checkpoint(path):
    end = time.monotonic() + LIMIT
    while not list(path.with_suffix("").glob("checkpoints/state-0-*.npz")):
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that one process has trained without a stop."""
    path = tmp_path_factory.mktemp("whole") / "one.toml"
    trained(write(path))
    return path


def test_twenty_steps_of_two_processes_with_two_devices_each_are_those_of_one(tmp_path):
    one, four = tmp_path / "one.toml", tmp_path / "four.toml"
    trained(write(one, on="chip", epochs=4))
    said = trained(write(four, on="chip", epochs=4), devices=2, hosts=2)
    assert "4 cpu of 2 processes: samples over 4" in said
    assert (
        json.loads((four.with_suffix("") / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        == 20
    )
    assert apart(four, one) < 1e-6


def test_a_lost_process_ends_the_other_and_one_goes_on_from_their_checkpoint(tmp_path, whole):
    path = tmp_path / "lost.toml"
    first, second = started([write(path)], devices=2, hosts=2)
    wait_for_checkpoint(path)
    os.kill(second.pid, signal.SIGKILL)
    begun = time.monotonic()
    _, said = first.communicate(timeout=LIMIT)
    second.communicate()
    assert time.monotonic() - begun < LIMIT and first.returncode
    assert re.search(r"bss2jax: process 0 of 2 ends, as another one is lost: .* --resume", said)
    said = trained("--resume", str(path.with_suffix("")))
    assert re.search(r"goes on after phase 1, step \d+", said)
    assert apart(path, whole) < 1e-5


def test_two_processes_go_on_from_what_one_has_saved(tmp_path, whole):
    path = tmp_path / "stopped.toml"
    (alone,) = started([write(path)])
    wait_for_checkpoint(path)
    os.kill(alone.pid, signal.SIGTERM)
    _, said = alone.communicate(timeout=LIMIT)
    assert alone.returncode == 128 + signal.SIGTERM, said
    said = trained("--resume", str(path.with_suffix("")), devices=2, hosts=2)
    assert re.search(r"goes on after phase 1, step \d+", said)
    assert apart(path, whole) < 1e-5
