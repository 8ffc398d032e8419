"""A pytree in a file: `.npz` with a member for each leaf, written aside and renamed.

One file is there as a whole or not at all, is opened with nothing but NumPy, and checks its own
sums; nothing is unpickled.
"""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bss2jax.files import writing

_META = "meta"
_LONGEST_HEADER = 10_000  # bytes, of an .npy member; and NumPy's own limit
_LONGEST_META = 10_000_000  # bytes

# What zipfile and NumPy raise, besides ValueError, on bytes that are no archive of arrays.
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
)


def save(path: Path, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Writes a pytree of arrays.

    Args:
        path: of the file; what was there stays whole until this is.
        tree: of arrays; its leaves are named by their path, as `params/dense_0/weight`.
        meta: goes along as JSON.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    members: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(tree).items()}
    members[_META] = np.frombuffer(json.dumps(meta or {}).encode(), np.uint8)
    with writing(path) as file:
        np.savez(file, **members)


def load(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads a pytree back, and what went along.

    Args:
        path: of the file.
        like: a tree of the same structure, of arrays or of shapes as from `jax.eval_shape`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds another tree; says what differs.
    """
    expected, content = _named(like), io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            sizes = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = sizes.keys() - {_META}
            if found != expected.keys():
                missing = ", ".join(sorted(expected.keys() - found)) or "nothing"
                foreign = ", ".join(sorted(found - expected.keys())) or "nothing"
                raise ValueError(f"missing in it: {missing}; unexpected: {foreign}")
            limits = {name: _size(leaf) + _LONGEST_HEADER for name, leaf in expected.items()}
            for name, limit in (limits | {_META: _LONGEST_META}).items():
                if sizes[name].file_size > limit:
                    raise ValueError(f"{name} has {sizes[name].file_size} bytes")
        with np.load(content, allow_pickle=False) as file:
            members = {name: file[name] for name in (*expected, _META)}
        meta = json.loads(members.pop(_META).tobytes())
    except _DAMAGE as error:
        raise ValueError(f"damaged: {error}") from None
    if not isinstance(meta, dict):
        raise ValueError(f"damaged: {_META} is no table")
    for name, leaf in expected.items():
        got = members[name]
        if (got.shape, got.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f"{name} is {got.dtype} {got.shape}, expected {leaf.dtype} {leaf.shape}"
            )
    leaves = [jax.numpy.asarray(members[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), meta


def _named(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _size(leaf):
    return leaf.size * leaf.dtype.itemsize
