"""The most memory that each shipped config takes, and what of it is known beforehand.

    python benchmarks/memory.py [CONFIG ...]

Each config is trained for three steps a phase, evaluations included, in a process of its own, whose
peak resident memory is printed: Python and its libraries are about 0.4 GiB of it. The run is
thrown away.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import jax

from bss2jax import config, experiment
from bss2jax.runs import memory

GIB = 2**30


def peak(name: str) -> int:
    """Returns the peak resident memory of a short training, bytes."""
    phases = range(len(config.load(name)[0].phases))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bss2jax", "train", name, f"run.dir={folder}/run"]
        command += [f"phases.{i}.max_steps=3" for i in phases]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: the training failed")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=list(config.shipped()))
    for name in parser.parse_args().configs:
        prepared = experiment.prepare(config.load(name)[0])
        needed = max(memory.needed(prepared, i) for i in range(len(prepared.config.phases)))
        print(f"{name:20} peak {peak(name) / GIB:5.2f} GiB", end="")
        print(f", of which at least {needed / GIB:5.2f} GiB are known beforehand", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
