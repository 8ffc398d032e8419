"""Importing the package is light: what trains and plots is loaded by whoever trains and plots."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import bss2jax

HEAVY = "jinja2 matplotlib optax orbax flax PIL pooch pydantic sklearn tensorboardX".split()


def run(code):
    """Runs code in a fresh interpreter and returns what it printed."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_loads_nothing_heavy():
    modules = "bss2jax, bss2jax.networks.build, bss2jax.data"
    assert run(f"import sys, {modules}; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_importing_takes_at_most_0_3_seconds_more_than_jax():
    code = "\n".join(
        (
            "import time, jax",
            "start = time.process_time()",
            "import bss2jax",
            "bss2jax.matmul",
            "print(time.process_time() - start)",
        )
    )
    # The least of a few: another process can only make it longer.
    times = []
    for _ in range(5):
        times.append(float(run(code)))
        if times[-1] <= 0.3:
            break
    assert min(times) <= 0.3, f"took {times} s"


def test_neither_importing_nor_help_loads_jax_or_numpy():
    calls = ["--help", "train --help", "chip calibrate --help", ""]
    code = f"""import sys, contextlib, bss2jax, bss2jax.cli
for call in {calls}:
    with contextlib.suppress(SystemExit):
        bss2jax.cli.main(call.split())
sys.stdout.flush()
print([name for name in ("jax", "numpy") if name in sys.modules])"""
    assert run(code).endswith("[]")


def test_modules_are_attributes_and_none_hides_a_name():
    code = "import bss2jax; print(bss2jax.plot.raster.__name__, 'plot' in dir(bss2jax))"
    assert run(code) == "raster True"
    modules = {module.name for module in pkgutil.iter_modules(bss2jax.__path__)}
    assert not modules & set(bss2jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'matmull'"):
        _ = bss2jax.matmull


@pytest.mark.parametrize("name", ["", ".calibration", ".data", ".networks", ".nnx", ".plot"])
def test_what_a_module_offers_is_there_once(name):
    module = importlib.import_module(f"bss2jax{name}")
    assert [each for each in module.__all__ if not hasattr(module, each)] == []
    assert len(module.__all__) == len(set(module.__all__))
