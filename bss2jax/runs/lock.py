"""One process at a time writes to a run."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bss2jax.runs.errors import RunError, naming

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two processes apart
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the directory's lock; the kernel releases it however the process ends."""
    with naming(path / LOCK):
        file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl:
            _lock(file, path)
        yield
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.1)  # the holder may have had it for a moment only, and not said who it is
        holder = os.pread(file, 200, 0).decode(errors="replace").strip() or "unknown"
        raise RunError(f"{path}: another process writes to this run: {holder}") from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return  # nothing keeps two processes apart on such a file system
        raise RunError(f"{path / LOCK}: {error.strerror}") from None
    with naming(path / LOCK):
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
