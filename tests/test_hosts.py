"""Two processes on this machine train as one does; one that is lost ends the other.

All train the same step, which the first one compiles: `make test-system` runs them.
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

from bss2jax.cli import main

pytestmark = pytest.mark.devices  # they train in seven processes, two at a time

CONFIG = """
name = "hosts"
data = {{ name = "digits", validation = 360 }}
layers = [{{ kind = "flatten" }}, {{ kind = "dense", outputs = 10 }}]
run = {{ dir = "{run}", checkpoint_steps = 5 }}
[[phases]]
on = "chip"
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
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
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
    text = CONFIG.format(run=path.with_suffix(""), **{"epochs": 30} | settings)
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


def test_twenty_steps_of_two_processes_with_two_devices_each_are_those_of_one(tmp_path):
    one, four = tmp_path / "one.toml", tmp_path / "four.toml"
    assert main(["train", write(one, epochs=4), "-q"]) == 0
    said = trained(write(four, epochs=4), devices=2, hosts=2)
    assert "4 cpu of 2 processes: samples over 4" in said
    assert (
        json.loads((four.with_suffix("") / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        == 20
    )
    assert apart(four, one) < 1e-6


def test_one_process_goes_on_from_what_two_have_saved_and_two_from_what_one_has(tmp_path):
    lost, stopped = tmp_path / "lost.toml", tmp_path / "stopped.toml"
    # One of two is killed: the other one ends with a line.
    first, second = started([write(lost)], devices=2, hosts=2)
    wait_for_checkpoint(lost)
    os.kill(second.pid, signal.SIGKILL)
    begun = time.monotonic()
    _, said = first.communicate(timeout=LIMIT)
    second.communicate()
    assert time.monotonic() - begun < LIMIT and first.returncode
    assert re.search(r"bss2jax: process 0 of 2 ends, as another one is lost: .* --resume", said)
    # One by itself is stopped.
    (alone,) = started([write(stopped)])
    wait_for_checkpoint(stopped)
    os.kill(alone.pid, signal.SIGTERM)
    _, said = alone.communicate(timeout=LIMIT)
    assert alone.returncode == 128 + signal.SIGTERM, said
    # What was interrupted early goes on to the same end, each on the other's devices.
    for path, where in ((lost, {}), (stopped, {"devices": 2, "hosts": 2})):
        said = trained("--resume", str(path.with_suffix("")), **where)
        step = re.search(r"goes on after phase 1, step (\d+)", said)
        assert step and int(step[1]) < 75, said
    assert apart(lost, stopped) < 1e-5
