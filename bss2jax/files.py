"""Files that are there as a whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file that is on the disk and takes the name `path` only if the body succeeds.

    The temporary name is unique, so processes that write the same path at once do not meet: the
    last rename wins, and a reader sees one whole file or the other.

    Args:
        path: the final name, in a directory that exists.

    Yields:
        A binary file, open for writing.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    # Not tempfile: its files are readable by their owner only, and a cache may be shared.
    part = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
