"""Original files: found or downloaded, checked against their sha256, and never used unchecked."""

import hashlib
import http.client
import logging
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from bss2jax import files as wholefile
from bss2jax.data.dataset import DataError

_log = logging.getLogger(__name__)

_TIMEOUT = 30  # seconds without a byte before a download is given up
_CHUNK = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """An original file as its authors publish it.

    Attributes:
        path: below the data directory, e.g. `mnist/train-images-idx3-ubyte.gz`.
        url: where it is downloaded from.
        size: bytes.
        sha256: hex digest.
        repacks: (size, sha256) of other archives of the same data, which are as good where they
            are found; a download is always the original.
    """

    path: str
    url: str
    size: int
    sha256: str
    repacks: tuple[tuple[int, str], ...] = ()


def cache_directory() -> Path:
    """`$BSS2JAX_CACHE`, else `$XDG_CACHE_HOME/bss2jax`, else `~/.cache/bss2jax`."""
    if own := os.environ.get("BSS2JAX_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bss2jax"


def locate(source: SourceFile) -> Path:
    """The path of a verified copy of an original file.

    Looks in `$BSS2JAX_DATA`, then among earlier downloads, then downloads.

    Args:
        source: the `SourceFile`.

    Returns:
        A `Path` whose content has the expected size and sha256, or those of a repack.

    Raises:
        DataError: the file in `$BSS2JAX_DATA` is not the expected one, or the download failed.
    """
    if data := os.environ.get("BSS2JAX_DATA"):
        given = Path(data).expanduser() / source.path
        if given.exists():
            _verify(given, source, given, "Replace it, or remove it to have it downloaded")
            return given

    downloaded = cache_directory() / "downloads" / source.path
    if downloaded.exists():
        try:
            _verify(downloaded, source, downloaded, "It is downloaded again")
            return downloaded
        except DataError as error:
            _log.warning("%s", error)
    _download(source, downloaded)
    return downloaded


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """As `wholefile.writing`, in a directory that is made where there is none.

    Args:
        path: the final name.

    Yields:
        A binary file, open for writing.

    Raises:
        DataError: the file cannot be written.
    """
    with _refusing_oserror(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with wholefile.writing(path) as file:
            yield file


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory below the cache, removed with its content at the end.

    Yields:
        Its `Path`.

    Raises:
        DataError: it cannot be made, or something in it cannot be written.
    """
    cache = cache_directory()
    with _refusing_oserror(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="prepare-") as scratch:
            yield Path(scratch)


def _download(source, path):
    """Downloads to a temporary name, verifies, renames."""
    _log.info("downloading %s to %s", source.url, path)
    with writing(path) as file:
        for chunk in _chunks(source):
            file.write(chunk)
        file.flush()
        original = replace(source, repacks=())
        _verify(Path(file.name), original, source.url, _by_hand(source))


def _chunks(source):
    """The bytes at the source's URL; at most one chunk more than it should have."""
    got = 0
    try:
        with urllib.request.urlopen(source.url, timeout=_TIMEOUT) as response:
            while got <= source.size and (chunk := response.read(_CHUNK)):
                got += len(chunk)
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"cannot download {source.url}: {error}. {_by_hand(source)}") from error


def _by_hand(source):
    data = os.environ.get("BSS2JAX_DATA") or "DIRECTORY"
    return (
        f"Try again, or put the file at {Path(data) / source.path} by hand and set "
        f"BSS2JAX_DATA={data}"
    )


def _verify(path, source, shown, advice):
    """Raises a DataError unless `path` has a size and sha256 of the source; `shown` names it."""
    known = dict([(source.size, source.sha256), *source.repacks])
    try:
        size = path.stat().st_size
        if size not in known:
            expected = " or ".join(map(str, known))
            raise DataError(f"{shown}: got {size} bytes, expected {expected}. {advice}")
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {shown}: {error.strerror}. {advice}") from error
    if sha256 != known[size]:
        raise DataError(f"{shown}: got sha256 {sha256}, expected {known[size]}. {advice}")


@contextmanager
def _refusing_oserror(path):
    """Turns the OSErrors of writing to the cache into one DataError that names `path`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}. Make room there, or set "
            "BSS2JAX_CACHE to a directory that can be written"
        ) from error
