"""The memory of the command line's process."""

import ctypes


def keep_pages() -> None:
    """Lets glibc keep large blocks of memory, so that not every call faults on new pages.

    From 32 MiB on it would ask the system for a block and give it back, each time. For the command
    line alone: a library leaves its process as it is. References: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    mallopt(-3, 2**30)  # M_MMAP_THRESHOLD, bytes
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, bytes
