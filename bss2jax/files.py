"""Files that are there as a whole or not at all, and arrays out of files that may be damaged."""

import contextlib
import errno
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

# What zipfile and NumPy raise on bytes that are no archive of arrays; found by changing good ones.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def place(path: str | Path) -> Path:
    """Returns a path as people write it: `~` is the user's home, `~name` that of another.

    Raises:
        FileNotFoundError: there is no such home.
        ValueError: a null character is in it.
    """
    found = os.path.expanduser(path)
    if str(found).startswith("~"):
        raise FileNotFoundError(errno.ENOENT, "no such home directory", str(path))
    if "\0" in str(found):
        raise ValueError(f"{str(path)!r}: a null character is in no path")
    return Path(found)


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


def read_npz(
    path: str | Path,
    expected: Mapping[str, tuple[tuple[int | None, ...], npt.DTypeLike]] | None = None,
) -> dict[str, np.ndarray]:
    """Reads the arrays of an npz file; nothing in it is unpickled.

    Args:
        path: the file.
        expected: the shape and the type of each array, None where an axis may have any length. The
            file is then one that `numpy.savez` wrote: not compressed, so that nothing unpacks to
            more than it is. None: any arrays, compressed or not.

    Returns:
        The arrays by name, any shape.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no npz file, is damaged, or holds other arrays; says what differs.
    """
    with open(path, "rb") as file:
        try:
            arrays = _read_arrays(file, compressed=expected is None)
        except _DAMAGE as error:
            raise ValueError(f"damaged, or not an npz file: {error}") from None
    if expected is not None:
        _compare(arrays, expected)
    return arrays


def _read_arrays(file: BinaryIO, compressed: bool) -> dict[str, np.ndarray]:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        raise ValueError("one array")
    with loaded:
        size = file.seek(0, os.SEEK_END)
        for member in loaded.zip.infolist():
            if not compressed and member.file_size > size:
                name = member.filename.removesuffix(".npy")
                raise ValueError(f"{name} has {member.file_size} bytes, the file {size}")
        return {name: np.asarray(loaded[name]) for name in loaded.files}


def _compare(
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[tuple[int | None, ...], npt.DTypeLike]],
) -> None:
    if arrays.keys() != expected.keys():
        missing = ", ".join(sorted(expected.keys() - arrays.keys())) or "nothing"
        foreign = ", ".join(sorted(arrays.keys() - expected.keys())) or "nothing"
        raise ValueError(f"missing in it: {missing}; unexpected: {foreign}")
    for name, (shape, dtype) in expected.items():
        got = arrays[name]
        fits = len(got.shape) == len(shape) and all(
            length in (None, size) for size, length in zip(got.shape, shape)
        )
        if not fits or got.dtype != dtype:
            said = str(shape).replace("None", "any")
            raise ValueError(f"{name} is {got.dtype} {got.shape}, expected {dtype} {said}")
