"""What several test files need: the compiler, a drawn chip, a finished run.

Kernels, execution and runs are compiled as users compile them. What only calls them, or compares
within a tolerance, is compiled without most optimisations, in two thirds of the time.
"""

import contextlib
import ctypes
import fcntl
import gc
import io
import os
import resource
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one worker, command line or notebook has compiled the others load; empty at first.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="bss2jax-compiled-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA's own lines about what it loads
    }

import jax
import pytest
import reference
from hypothesis import settings

from bss2jax import Mismatch, sample_chip
from bss2jax.cli import main, pages
from bss2jax.runs.directory import RunDirectory

# What the command line does to its process's memory is not for that of the tests.
pages.keep_pages = lambda: None

# From the command line's side: `make test-system`. The others are `make test-kernels`.
SYSTEM = {
    f"test_{name}"
    for name in (
        "cli", "completion", "config", "data", "docs", "docstrings", "experiment", "experiments",
        "fuzz", "import", "kills", "layering", "notebooks", "packaging", "plot", "report", "runs",
    )
}  # fmt: skip
TRUE_COMPILER = {"test_experiment", "test_kills", "test_runs"}
# Their tests compare within a tolerance; kernels are compiled as users compile them elsewhere.
QUICK_COMPILER = SYSTEM - TRUE_COMPILER | {
    f"test_{name}"
    for name in (
        "adex", "augment", "chip", "coding", "compartments", "delays", "eventprop",
        "faults_arrays", "faults_seeds", "foreign", "graph", "hosts", "keys", "modes",
        "morphologies", "network", "nir", "nonfinite", "norm", "partition", "residual",
        "short_term", "soft_chip", "soft_network", "spiking_network", "training",
    )
}  # fmt: skip

# The same examples every time; compiling a new shape takes longer than hypothesis' deadline.
settings.register_profile("bss2jax", deadline=None, derandomize=True, database=None)
settings.load_profile("bss2jax")

# What is imported stays: no collection need look at it again, and few find anything.
gc.freeze()
gc.set_threshold(20_000, 20, 20)


MOST = 1.4 * 2**30  # bytes that a process may have between two tests

# Tests that repeat with other sizes or kinds what quicker ones have shown: for `make test-slow`.
REPEATED = set((Path(__file__).parent / "slow.txt").read_text().splitlines())


def pytest_collection_modifyitems(items):
    for item in items:
        if item.module.__name__ in SYSTEM:
            item.add_marker("system")
        if item.nodeid.removeprefix("tests/") in REPEATED:
            item.add_marker("slow")


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        session.config.workeroutput["peak"] = peak


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    print(
        f"\n{node.gateway.id}: {getattr(node, 'workeroutput', {}).get('peak', 0):.1f} GiB at most"
    )


@pytest.fixture(scope="module", autouse=True)
def compiler(request):
    """Which compiler a module's tests, and the processes they start, have; frees what it made."""
    name = request.module.__name__
    quick = name in QUICK_COMPILER
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(quick)))
        jax.config.update("jax_disable_most_optimizations", quick)
        yield
    free()


def free():
    """Forgets what was compiled, and gives its memory back to the system."""
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def resident():
    """Bytes of memory that this process has now; 0 where nothing says so."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def pytest_runtest_teardown():
    if resident() > MOST:
        free()


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


# As many validation as test samples: measuring both compiles once. 8 steps an epoch, then 5.
TINY = """# A comment that the verbatim copy keeps.
name = "tiny"
seed = 3
chip.seed = 5
data = { name = "digits", validation = 360 }
layers = [{ kind = "flatten" }, { kind = "dense", outputs = 10 }]

[[phases]]
on = "float"
epochs = 2
learning_rate = 2.0
keep = "last"

[[phases]]
on = "chip"
epochs = 3
batch_size = 200
learning_rate = 1.0
schedule = "cosine"
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of `TINY`, by the command line; the first worker that needs it trains it.

    Beside its directory `tiny` stand `tiny.toml`, and `tiny.txt` with what was printed. For
    reading: tests that change a run copy it.
    """
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "finished"
    place.mkdir(exist_ok=True)
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "tiny.txt").exists():
            (place / "tiny.toml").write_text(TINY)
            # As users compile it, whichever module comes first: others compare to the bit.
            quick = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
            printed = io.StringIO()
            jax.config.update("jax_disable_most_optimizations", False)
            with contextlib.redirect_stdout(printed):
                code = main(["train", str(place / "tiny.toml"), f"run.dir={place / 'tiny'}"])
            jax.config.update("jax_disable_most_optimizations", quick)
            assert code == 0, printed.getvalue()
            (place / "tiny.txt").write_text(printed.getvalue())
    return RunDirectory(Path(place / "tiny"))
