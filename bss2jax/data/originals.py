"""Original files: found or downloaded, checked against their sha256, and never used unchecked."""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from bss2jax.data.dataset import DataError
from bss2jax.files import place

_TIMEOUT = 30  # seconds without a byte before a download is given up


@dataclass(frozen=True)
class Original:
    """An original file as its authors publish it.

    Attributes:
        path: place below the data directory, e.g. `mnist/train-images-idx3-ubyte.gz`.
        url: address that it is downloaded from.
        sha256: hex digest of the content.
        repacks: digests of other archives of the same data, which are as good where they are found;
            a download is always the original.
        unpacked: the digest of what a gzip file holds: then a file that is unpacked, or
            compressed anew, is as good.
        elsewhere: other places below the data directory, where other libraries put the file.
    """

    path: str
    url: str
    sha256: str
    repacks: tuple[str, ...] = ()
    unpacked: str = ""
    elsewhere: tuple[str, ...] = ()


def directory(variable: str, default: str) -> Path:
    """The directory that an environment variable names, `~` being the user's home.

    Args:
        variable: a variable of the environment.
        default: the directory where the variable is not set.

    Raises:
        DataError: there is no such home.
    """
    named = os.environ.get(variable) or default
    try:
        return place(named)
    except FileNotFoundError:
        raise DataError(f"{named}: no such home directory. Set {variable} to a directory") from None


def cache_directory() -> Path:
    """`$BSS2JAX_CACHE`, else `$XDG_CACHE_HOME/bss2jax`, else `~/.cache/bss2jax`."""
    if os.environ.get("BSS2JAX_CACHE"):
        return directory("BSS2JAX_CACHE", "")
    if os.environ.get("XDG_CACHE_HOME"):
        return directory("XDG_CACHE_HOME", "") / "bss2jax"
    return directory("BSS2JAX_CACHE", "~/.cache/bss2jax")


def locate(original: Original) -> Path:
    """The path of a verified copy of an original file.

    It is looked for in `$BSS2JAX_DATA`, then among earlier downloads, then downloaded.

    Args:
        original: the file that is needed.

    Returns:
        The path of a file with the expected sha256, or that of a repack, or with the same content.

    Raises:
        DataError: `$BSS2JAX_DATA` is no directory, the file in it is not the expected one or cannot
            be read, or the download failed.
    """
    return given(original) or _downloaded(original)


def given(original: Original) -> Path | None:
    """Returns the path of a file in `$BSS2JAX_DATA`; None where there is none.

    Raises:
        DataError: the directory is none, or the file not the expected one, or cannot be read.
    """
    if not (variable := os.environ.get("BSS2JAX_DATA")):
        return None
    folder = directory("BSS2JAX_DATA", "")
    if not folder.is_dir():
        raise DataError(f"BSS2JAX_DATA={variable}: no such directory. Correct or unset it")
    places = [folder / path for path in (original.path, *original.elsewhere)]
    path = next((path for path in places if os.path.lexists(path)), places[0])
    advice = "Replace it, or remove it to have it downloaded"
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 in (original.sha256, *original.repacks):
            return path
        if original.unpacked and _digest(unpacked(path)) == original.unpacked:
            return path
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise DataError(f"{path}: a link to {path.readlink()}, which is not there") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}. {advice}") from None
    raise DataError(
        f"{path}: got {path.stat().st_size} bytes with sha256 {sha256}, expected "
        f"{' or '.join((original.sha256, *original.repacks))}. {advice}"
    )


def unpacked(path: Path) -> bytes:
    """Returns what a file holds, unpacked where it is compressed by gzip.

    Raises:
        OSError: it cannot be read, or is damaged.
    """
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error) as error:
        raise OSError(f"damaged: {error}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _downloaded(original: Original) -> Path:
    """The file among the downloads, where pooch puts it if it is not there or is damaged."""
    import pooch  # few need it: it takes a tenth of a second

    path = cache_directory() / "downloads" / original.path
    given = os.environ.get("BSS2JAX_DATA") or "DIRECTORY"
    try:
        return Path(
            pooch.retrieve(
                original.url,
                f"sha256:{original.sha256}",
                path.name,
                path.parent,
                downloader=pooch.HTTPDownloader(timeout=_TIMEOUT),
            )
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot download {original.url} to {path}: {error}. Try again, or put the file at "
            f"{Path(given) / original.path} by hand and set BSS2JAX_DATA={given}"
        ) from error
