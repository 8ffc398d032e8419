"""Zip archives, looked through before anything in them is read, and never extracted to disk."""

import stat
import zipfile
import zlib
from pathlib import PurePosixPath

from bss2jax.data.dataset import DataError

_MOST_ENTRIES = 100_000
_MOST_BYTES = 1 << 30  # of all entries together, unpacked

# What zipfile can raise on a broken archive.
_DAMAGED = (
    EOFError,
    NotImplementedError,  # packed in an unknown way
    OSError,
    RuntimeError,  # encrypted
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class Archive:
    """The entries of a zip archive. Use it as a context manager.

    Raises:
        DataError: it is no zip archive, or an entry is not a plain file with a plain relative path,
            occurs twice, is encrypted, or is larger than anything expected. What an entry really
            unpacks to is bounded by what the directory says.
    """

    def __init__(self, file, shown):
        """Opens and checks.

        Args:
            file: a path or a binary file.
            shown: names the archive in errors.
        """
        self._shown = shown
        try:
            self._zip = zipfile.ZipFile(file)
        except _DAMAGED as error:
            raise DataError(f"cannot open {shown}: {error}. Replace the file") from error
        try:
            self._entries = self._check()
        except DataError:
            self._zip.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._zip.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of all files, in the archive's order."""
        return tuple(self._entries)

    def read(self, name: str) -> bytes:
        """Unpacks a file: bytes.

        Raises:
            DataError: there is no such file, or it is damaged.
        """
        if name not in self._entries:
            raise DataError(f"{self._shown}: no {name} in it. Replace the file")
        entry = self._entries[name]
        try:
            with self._zip.open(entry) as file:
                content = file.read(entry.file_size + 1)
        except _DAMAGED as error:
            raise self._error(name, f"cannot be unpacked ({error})") from error
        if len(content) != entry.file_size:
            raise self._error(name, f"is not the {entry.file_size} bytes that it should be")
        return content

    def _check(self):
        """The files by path, if all entries are harmless."""
        entries = self._zip.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise DataError(f"{self._shown}: got {len(entries)} entries, most {_MOST_ENTRIES}")
        total, files = 0, {}
        for entry in entries:
            # The name as it is stored: zipfile's own is cut at a zero byte.
            name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
                raise self._error(name, "leads out of the archive")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise self._error(name, "is a link or another special file")
            if entry.flag_bits & 1:
                raise self._error(name, "is encrypted")
            total += entry.file_size
            if total > _MOST_BYTES:
                raise self._error(name, f"and those before it unpack to over {_MOST_BYTES} bytes")
            if entry.is_dir():
                continue
            if name in files:
                raise self._error(name, "occurs twice")
            files[name] = entry
        return files

    def _error(self, name, problem):
        return DataError(f"{self._shown}: {name!r} in it {problem}. Replace the file")
