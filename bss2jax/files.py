"""Files that are there as a whole or not at all, and arrays out of files that may be damaged."""

import codecs
import contextlib
import errno
import io
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
        FileNotFoundError: it is empty, holds a null character, or there is no such home.
    """
    if not str(path):
        raise FileNotFoundError(errno.ENOENT, "no such file: an empty name", "''")
    found = os.path.expanduser(path)
    if str(found).startswith("~"):
        raise FileNotFoundError(errno.ENOENT, "no such home directory", str(path))
    if "\0" in str(found):
        raise FileNotFoundError(errno.ENOENT, "no such file: a null character", str(path))
    return Path(found)


def text_of(content: bytes) -> str:
    """Returns the text of a file, UTF-8, or UTF-16 where a byte order mark says so; without it.

    Raises:
        ValueError: it is neither.
    """
    wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start}") from None


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
    with open(place(path), "rb") as file:
        # A pipe, as of <(...), cannot be searched.
        whole = file if file.seekable() else io.BytesIO(file.read())
        arrays = arrays_of(whole, compressed=expected is None)
    if expected is not None:
        _compare(arrays, expected)
    return arrays


def arrays_of(file: BinaryIO, *, compressed: bool = True) -> dict[str, np.ndarray]:
    """Returns the arrays of an open npz file: see `read_npz`.

    Args:
        file: open for reading, at its start.
        compressed: whether its arrays may be.

    Raises:
        ValueError: it is no npz file, or is damaged.
    """
    try:
        return _read_arrays(file, compressed)
    except _DAMAGE as error:
        said = str(error) or type(error).__name__
        if "allow_pickle" in said:  # what NumPy takes any other file for
            said = "no archive of arrays"
        raise ValueError(f"damaged, or not an npz file: {said.splitlines()[0]}") from None


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
