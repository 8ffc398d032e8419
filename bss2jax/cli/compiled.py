"""What XLA compiles for the command line is kept from call to call."""

import hashlib
import os
import platform
import sys
from pathlib import Path

_BOUND = 2**30  # bytes, of which a training takes some MiB


def keep() -> None:
    """Has JAX keep what it compiles in the cache directory, where nobody has said where.

    It has to be called before JAX is imported, and does nothing after. The same digits took 24 s
    the first time and 10 s the second, to the same bits. JAX's own variables apply:
    `JAX_ENABLE_COMPILATION_CACHE=0` switches it off, `JAX_COMPILATION_CACHE_DIR` moves it.
    """
    from bss2jax.data import DataError
    from bss2jax.data.originals import cache_directory

    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        directory = cache_directory() / "xla" / _processor()
        directory.mkdir(parents=True, exist_ok=True)
    except (DataError, OSError):  # no place to write: it compiles each time
        return
    if not os.access(directory, os.W_OK):
        return
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": str(directory),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(_BOUND),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA's own lines about what it loads
    }.items():
        os.environ.setdefault(name, value)


def _processor() -> str:
    """Names the processor: what is compiled for one does not run on every other."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = platform.processor()
    features = next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), text)
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]
