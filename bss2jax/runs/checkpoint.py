"""A pytree in a file: `.npz` with a member for each leaf, written aside and renamed.

One file is there as a whole or not at all, is opened with nothing but NumPy, and checks its own
sums; nothing is unpickled.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bss2jax.files import read_npz, writing

_META = "meta"


@dataclass(frozen=True)
class AnyLength:
    """What `load` is told of an array whose length it does not know.

    Attributes:
        shape: its shape, None where an axis may have any length.
        dtype: its number type.
    """

    shape: tuple[int | None, ...]
    dtype: Any = np.float32


def save(path: Path, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Writes a pytree of arrays.

    Args:
        path: the path of the file; what was there stays whole until this is.
        tree: a tree of arrays; its leaves are named by their path, as `params/dense_0/weight`.
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
        path: the path of the file.
        like: a tree of the same structure, of arrays, of shapes as from `jax.eval_shape`, or of
            `AnyLength`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds another tree; says what differs.
    """
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in _named(like).items()}
    members = read_npz(path, {**expected, _META: ((None,), np.uint8)})
    try:
        meta = json.loads(members.pop(_META).tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None
    if not isinstance(meta, dict):
        raise ValueError(f"damaged: {_META} is no table")
    leaves = [jax.numpy.asarray(members[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), meta


def digest(tree: Any) -> str:
    """Returns the sha256 of a tree of arrays, of names, types, shapes and values, as hex."""
    found = hashlib.sha256()
    for name, leaf in _named(tree).items():
        array = np.asarray(leaf)
        found.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return found.hexdigest()


def _named(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
