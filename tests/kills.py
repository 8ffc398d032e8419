"""Stops real training processes at random moments and shows that it makes no difference.

    python tests/kills.py [--kills 50 --full 5 --pairs 5 --seed 0]

One run is left alone. Then, again and again: a process starts the same training and gets SIGINT,
SIGTERM or SIGKILL at a random moment, nine in ten of them after training has begun; what it leaves
is opened; another process goes on to the end; parameters, metrics and accuracies are compared with
the unbroken run's, to the bit. The same on a disk that is full (a
small tmpfs in a namespace of its own, where the kernel allows that) and with two processes that
start at the same time.

2026-11-21, 2 crowded cores, jax 0.10.1, Python 3.11.7, `--kills 50 --full 4 --pairs 5`: 50 of 50
equal, 33 of them killed in training and 17 while starting; 5 of 5 concurrent starts refused; 4 of 4
full disks told in a line, and equal after making room. 28 minutes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

# A network in two layers on the digits; a few hundred steps take a few seconds.
CONFIG = [
    "digits",
    """layers=[{kind="flatten"}, {kind="dense", outputs=32, activation="converting_relu"},
    {kind="dense", outputs=10, bias=true}]""",
    "phases.0.epochs=25",
    "phases.1.epochs=25",  # EPOCHS in all
    "run.checkpoint_seconds=0.1",
]
EPOCHS = 50
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
UNSHARE = ["unshare", "--map-root-user", "--mount"]


class Harness:
    """Trains one config in processes of their own, once unbroken.

    Args:
        place: a directory for runs and for what was compiled.
    """

    def __init__(self, place: Path):
        self.place = place
        # Compiled once, by the unbroken run; the other processes load what it compiled.
        self.environment = {
            "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA's own lines about what it loads
        } | os.environ
        self.finish_unbroken(place / "unbroken")
        self.expected = results(place / "unbroken")

    def finish_unbroken(self, run: Path) -> None:
        """Trains from the start to the end, and times both parts."""
        begin = time.perf_counter()
        process = self.start(run)
        wait_for(run / "environment.json", process)
        begun = time.perf_counter()
        _, err = process.communicate()
        assert process.returncode == 0, err
        self.starting, self.training = begun - begin, time.perf_counter() - begun

    def start(self, run: Path, *, resume: bool = False) -> subprocess.Popen:
        """Starts a training, or what is left of one."""
        which = ["--resume", str(run)] if resume else [*CONFIG, f"run.dir={run}"]
        return subprocess.Popen(
            [sys.executable, "-m", "bss2jax", "train", *which],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, run: Path, *, resume: bool = False) -> None:
        """Goes on to the end; raises where the result is not that of the unbroken run."""
        process = self.start(run, resume=resume)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert results(run) == self.expected, f"{run} differs from the unbroken run: {out}"

    def kill(self, run: Path, number: int, *, starting: float | None) -> str:
        """Stops a training at a random moment, or at its next checkpoint; opens what is left.

        Args:
            run: the directory; of a new run, or of one to go on with.
            number: of the signal.
            starting: the share of moments before training begins: imports, data; None stops as
                soon as there is a checkpoint more.

        Returns:
            What the process did when it was stopped.
        """
        process, before = self.start(run), checkpoints(run)
        if starting is None:
            while process.poll() is None and checkpoints(run) <= before:
                time.sleep(0.005)
        elif random.random() < starting:
            sleep(random.uniform(0, self.starting), process)
        else:
            # By epochs, not by the clock: other work on the machine changes how fast they go by.
            held, done = time.time(), random.randrange(EPOCHS)
            while process.poll() is None and not (
                newer(run / ".lock", held) and epochs(run) >= done
            ):
                time.sleep(0.005)
            sleep(random.uniform(0, self.training / EPOCHS), process)
        process.send_signal(number)
        out, err = process.communicate()
        check_whole(run)
        if (run / "summary.json").exists():
            # Too late: Python itself was ending.
            return "finished"
        # Before the program's first line a signal has the meaning that Python gives it.
        begun = "phase" in out
        ends = {-number} if number == signal.SIGKILL else {128 + number}
        ends |= set() if begun else {-number}
        assert process.returncode in ends, (process.returncode, err)
        return "training" if begun else "starting"


def sleep(seconds: float, process: subprocess.Popen) -> None:
    """Waits, but not longer than a process lives."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def checkpoints(run: Path) -> set[str]:
    return {path.name for path in run.glob("checkpoints/state-*.npz")}


def epochs(run: Path) -> int:
    """How many epochs are done."""
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def newer(path: Path, than: float) -> bool:
    return path.exists() and path.stat().st_mtime >= than


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Waits for a file that a process writes."""
    while process.poll() is None and not path.exists():
        time.sleep(0.005)


def check_whole(run: Path) -> None:
    """Opens every file of a run that was stopped; raises where one is half-written."""
    for path in [*run.glob("*.json"), *run.glob("checkpoints/*.npz")]:
        if path.name.endswith(".json"):
            json.loads(path.read_text())
        else:
            with np.load(path) as file:
                [file[name] for name in file]


def results(run: Path) -> tuple:
    """All of a run that does not depend on the time: parameters, metrics, accuracies, files."""
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        del line["seconds"]
    arrays = {}
    for path in sorted(run.glob("checkpoints/*")):
        with np.load(path) as file:
            arrays |= {(path.name, name): file[name].tobytes() for name in file if name != "meta"}
    accuracy = json.loads((run / "summary.json").read_text())["test_accuracy"]
    return metrics, accuracy, arrays, sorted(path.name for path in run.iterdir())


def error(err: str) -> str:
    """The one line of an error, which only stages such as `compiling ...` may stand above."""
    *stages, said = err.splitlines()
    assert all(stage.endswith(" ...") for stage in stages), err
    return said


def pair(harness: Harness, run: Path) -> str:
    """Two processes start at the same time: one trains, the other says who does, or has done."""
    processes = [harness.start(run) for _ in range(2)]
    said = [process.communicate() for process in processes]
    codes = [process.returncode for process in processes]
    assert results(run) == harness.expected
    if codes == [0, 0]:
        # The second one was so late that the first had finished.
        assert ["is finished" in out for out, _ in said].count(True) == 1, said
        return "late"
    assert sorted(codes) == [0, 2], (codes, said)
    writer, (_, refused) = processes[codes.index(0)], said[codes.index(2)]
    assert f"another process writes to this run: process {writer.pid} on" in error(refused)
    return "refused"


def full(harness: Harness, disk: Path, room: int) -> str:
    """Trains on a disk with so much room until it is full, makes room, and goes on."""
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={room}", "none", disk], check=True)
    try:
        process = harness.start(disk / "run")
        _, err = process.communicate()
        assert process.returncode in (0, 2), err
        said = "was full" if process.returncode else "had room"
        if process.returncode:
            assert "No space left on device" in error(err)
            assert not list(disk.rglob(".*.part")), "half-written files are left"
        check_whole(disk / "run")
        subprocess.run([*mount, "remount,size=100m", "none", disk], check=True)
        harness.finish(disk / "run")
        subprocess.run([*mount, "remount,ro", "none", disk], check=True)
        process = harness.start(disk / "other")
        _, err = process.communicate()
        assert process.returncode == 2, err
        assert "cannot be written" in error(err)
    finally:
        subprocess.run(["umount", disk], check=True)
    return said


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--full", type=int, default=5, help="trainings on a full disk")
    parser.add_argument("--pairs", type=int, default=5, help="concurrent starts")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    namespace = subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    if parsed.full and namespace and "BSS2JAX_INSIDE" not in os.environ:
        # Everything in a mount namespace of its own: what is mounted there goes with it.
        command = [*UNSHARE, sys.executable, __file__, *(arguments or sys.argv[1:])]
        raise SystemExit(
            subprocess.run(command, env=os.environ | {"BSS2JAX_INSIDE": "1"}).returncode
        )
    random.seed(parsed.seed)
    with tempfile.TemporaryDirectory() as folder:
        place, begin = Path(folder), time.perf_counter()
        harness = Harness(place)
        harness.finish_unbroken(place / "again")
        assert results(place / "again") == harness.expected, "two unbroken runs differ"
        print(f"starting {harness.starting:.1f} s, training {harness.training:.1f} s", flush=True)
        equal, phases = 0, Counter()
        for i in range(parsed.kills):
            number = SIGNALS[i % len(SIGNALS)]
            run = place / f"kill-{i}"
            try:
                when = harness.kill(run, number, starting=0.1)
                kept = len(checkpoints(run))
                begun = (run / "resolved.toml").exists()
                harness.finish(run, resume=begun and random.random() < 0.5)
                equal, phases = equal + 1, phases + Counter([when])
                said = f"{when}, {kept} checkpoints: equal"
            except AssertionError as error:
                said = f"FAILED {error}"
            print(f"{i + 1}: {number.name} {said}", flush=True)
        print(f"{equal} of {parsed.kills} equal; stopped while {dict(phases)}", flush=True)
        pairs = Counter(pair(harness, place / f"pair-{i}") for i in range(parsed.pairs))
        print(f"{parsed.pairs} concurrent starts, one trained; the other: {dict(pairs)}")
        if parsed.full and not namespace:
            print("full disk: left out, this machine gives no namespace to mount one in")
        elif parsed.full:
            used = sum(path.stat().st_size for path in (place / "unbroken").rglob("*.npz"))
            (place / "disk").mkdir()
            for i in range(parsed.full):
                # From hardly anything to nearly enough, the states of a training included.
                room = int(20_000 + 2 * used * i / parsed.full)
                said = full(harness, place / "disk", room)
                print(f"disk of {room} bytes: {said}, then equal", flush=True)
        print(f"{time.perf_counter() - begin:.0f} s")
    if equal < parsed.kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
