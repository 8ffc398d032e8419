"""What several test files need: a drawn chip, as the package and as the NumPy twins see it."""

import gc
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiles in half the time. `make test-slow` compiles as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# What one worker, command line or notebook has compiled the others load; empty at first.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="bss2jax-compiled-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA's own lines about what it loads
    }
    # XLA's older way to write loops compiles in two thirds of the time again. An XLA that does not
    # know a flag aborts, so that another process asks.
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1":
        flags = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"
        ask = "from jaxlib import xla_client; xla_client.CompileOptions()"
        environment = os.environ | {"XLA_FLAGS": flags}
        answer = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True)
        if answer.returncode == 0:
            os.environ["XLA_FLAGS"] = flags

import jax
import pytest
import reference
from hypothesis import settings

from bss2jax import Mismatch, sample_chip

# The same examples every time; compiling a new shape takes longer than hypothesis' deadline.
settings.register_profile("bss2jax", deadline=None, derandomize=True, database=None)
settings.load_profile("bss2jax")

# What is imported stays: no collection need look at it again, and few find anything.
gc.freeze()
gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def chip():
    """A chip on which every kind of mismatch is drawn, and no trial noise."""
    return sample_chip(
        jax.random.key(11),
        Mismatch(noise_std=0, send_noise=0, dead_synapses=0.01, dead_neurons=0.01),
    )


@pytest.fixture(scope="session")
def pattern(chip):
    """The same chip for the twins."""
    return reference.pattern(chip)
