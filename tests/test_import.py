"""Importing the package is light: what trains and plots is loaded by whoever trains and plots."""

import importlib
import subprocess
import sys

import pytest

HEAVY = "pooch PIL optax orbax flax matplotlib sklearn pydantic".split()
HEAVY += ["jinja2", "tensorboardX"]


def run(code):
    """Runs code in a fresh interpreter and returns what it printed."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_loads_nothing_heavy():
    loaded = run(f"import sys, bss2jax; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_importing_networks_loads_nothing_heavy():
    code = "import sys, bss2jax.networks.build"
    loaded = run(f"{code}; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_importing_takes_at_most_0_3_seconds_more_than_jax():
    code = "\n".join(
        (
            "import time, jax",
            "start = time.perf_counter()",
            "import bss2jax",
            "print(time.perf_counter() - start)",
        )
    )
    # The least of a few: another process can only make it longer.
    times = []
    for _ in range(5):
        times.append(float(run(code)))
        if times[-1] <= 0.3:
            break
    assert min(times) <= 0.3, f"took {times} s"


def test_every_public_name_is_there_and_says_what_it_is():
    import bss2jax

    for name in bss2jax.__all__:
        assert getattr(bss2jax, name) is not None
    assert len(bss2jax.__all__) == len(set(bss2jax.__all__))
    assert bss2jax.__version__ == run("import bss2jax; print(bss2jax.__version__)")


@pytest.mark.parametrize("name", ["calibration", "networks", "nnx", "plot"])
def test_what_a_module_offers_is_there(name):
    module = importlib.import_module(f"bss2jax.{name}")
    assert len(module.__all__) == len(set(module.__all__))
    assert all(getattr(module, each) is not None for each in module.__all__)
