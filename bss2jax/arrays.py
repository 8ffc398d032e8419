"""The one entrance for what a caller gives: arrays, whole numbers, settings.

Whatever comes in, of any number type, byte order and layout, a NumPy scalar or a nested list, is
float32 or int32 from the first line on, so that JAX's precision and promotion modes change nothing.
"""

import json
import operator
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")
_LOW, _HIGH = -(2**31), 2**31 - 1
_SERIALIZED: set[str] = set()


def pytree(cls: type[T]) -> type[T]:
    """Registers a dataclass as a pytree of its arrays, which exported functions may take, too.

    JAX (0.12) takes the structures of two dataclasses with as many fields for the same where both
    were registered by `jax.tree_util.register_dataclass`: now and then, as addresses have it, a
    jitted function then runs what it has compiled for the other. Here the class is compared.

    Args:
        cls: the dataclass; fields of the metadata `{"static": True}` are settings, not arrays.
    """
    data = [field.name for field in fields(cls) if not field.metadata.get("static")]  # type: ignore[arg-type]
    static = [field.name for field in fields(cls) if field.metadata.get("static")]  # type: ignore[arg-type]
    keys = [jax.tree_util.GetAttrKey(name) for name in data]

    def flatten(tree: T) -> tuple[list, tuple]:
        return [getattr(tree, name) for name in data], tuple(getattr(tree, name) for name in static)

    def with_keys(tree: T) -> tuple[list, tuple]:
        leaves, settings = flatten(tree)
        return list(zip(keys, leaves)), settings

    def unflatten(settings: tuple, leaves: Iterable) -> T:
        return cls(**dict(zip(data, leaves)), **dict(zip(static, settings)))

    jax.tree_util.register_pytree_with_keys(cls, with_keys, unflatten, flatten)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if name not in _SERIALIZED:  # else a cell of a notebook that runs again defines it anew
        _SERIALIZED.add(name)
        jax.export.register_pytree_node_serialization(
            cls,
            serialized_name=name,
            serialize_auxdata=lambda static: json.dumps(static).encode(),
            deserialize_auxdata=lambda written: plain(json.loads(written)),
        )
    return cls


def floats(given: Any, name: str = "values", axes: int = 0) -> jax.Array:
    """Returns what is given as a float32 array `[...]` of its own shape.

    Args:
        given: an array `[...]` of any number type, or a nested sequence of numbers.
        name: the name by which an error calls it.
        axes: how many it has at least.

    Raises:
        ValueError: it holds no numbers, or one beyond float32, or has fewer axes.
    """
    given = _numbers(given, name)
    if given.ndim < axes:
        raise ValueError(f"{name}: expected {axes} axes or more, got shape {given.shape}")
    if isinstance(given, jax.Array) and given.dtype == jnp.float32 and not given.weak_type:
        return given
    if isinstance(given, jax.Array):
        return jnp.asarray(given, jnp.float32)
    try:
        with np.errstate(over="raise"):
            return jnp.asarray(given.astype(np.float32))
    except FloatingPointError:
        raise ValueError(f"{name}: numbers beyond float32; scale them first") from None


def along_last(numbers: Any, like: jax.Array) -> Any:
    """Returns an array `[*size]` with as many axes as an array `[..., *size]` that it meets."""
    return numbers.reshape((1,) * (like.ndim - numbers.ndim) + numbers.shape)


def wholes(given: Any, name: str = "values") -> jax.Array:
    """Returns what is given as an int32 array `[...]` of its own shape.

    Numbers beyond int32 become its ends, and so stay out of whatever range they were out of.

    Args:
        given: an array `[...]` of whole numbers of any type, or a nested sequence of them.
        name: the name by which an error calls it.

    Raises:
        ValueError: it holds no whole numbers.
    """
    if isinstance(given, jax.Array) and given.dtype == jnp.int32 and not given.weak_type:
        return given
    given = _numbers(given, name)
    if isinstance(given, np.ndarray) and jnp.issubdtype(given.dtype, jnp.floating):
        whole = np.rint(given.astype(np.float64))
        if not np.array_equal(whole, given.astype(np.float64)):
            raise ValueError(f"{name}: expected whole numbers, got {given.dtype} with fractions")
        given = np.clip(whole, _LOW, _HIGH).astype(np.int64)
    if jnp.issubdtype(given.dtype, jnp.floating):
        raise ValueError(f"{name}: expected whole numbers, got {given.dtype}")
    if given.dtype != bool and jnp.iinfo(given.dtype).max > _HIGH:
        module: Any = jnp if isinstance(given, jax.Array) else np
        least = max(_LOW, int(jnp.iinfo(given.dtype).min))
        given = module.clip(given, given.dtype.type(least), given.dtype.type(_HIGH))
    return jnp.asarray(given if isinstance(given, jax.Array) else given.astype(np.int32), jnp.int32)


def count(name: str, value: Any, least: int = 1) -> int:
    """Returns an integer of Python, NumPy or JAX as one of Python's.

    Args:
        name: the name by which an error calls it.
        value: the integer.
        least: the lowest that makes sense.

    Raises:
        ValueError: it is none, or lower.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {value!r:.60}")
    return number


def positive(name: str, value: Any, unit: str = "a number") -> float:
    """Returns a finite number > 0 of Python, NumPy or JAX as one of Python's.

    Args:
        name: the name by which an error calls it.
        value: the number.
        unit: the unit of the value, for the error.

    Raises:
        ValueError: it is none, or not finite and > 0.
    """
    number = as_number(value)
    if number is None or not 0 < number < float("inf"):
        raise ValueError(f"{name}: expected {unit} > 0, got {value!r:.60}")
    return number


def as_array(value: Any) -> np.ndarray | None:
    """Returns an array `[...]` as NumPy's, None for a traced one and what is no array."""
    if isinstance(value, jax.core.Tracer) or not isinstance(value, np.ndarray | jax.Array):
        return None
    return np.asarray(value)


def as_number(value: Any) -> float | int | None:
    """Returns a number of Python, NumPy or JAX as Python's own, None where it is none."""
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, jax.core.Tracer):
        return None
    array = np.asarray(value)
    if array.ndim or not jnp.issubdtype(array.dtype, jnp.number):
        return None
    number = array.item()
    return number if isinstance(number, int | float) else None


def plain(value: Any) -> Any:
    """Returns a setting as Python's own: arrays and lists as tuples, numbers as int or float."""
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return plain(np.asarray(value).tolist())
    return value


def as_arrays(value: Any) -> None:
    """Makes float32 arrays of the lists that a frozen dataclass has been given for its fields."""
    for field in fields(value):
        given = getattr(value, field.name)
        if isinstance(given, list | tuple):
            object.__setattr__(value, field.name, floats(given, field.name))


class Compared:
    """A frozen dataclass of arrays whose `==` says whether all of their entries are the same."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)  # type: ignore[arg-type]
        )

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))  # type: ignore[arg-type]


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    return np.array_equal(a, b) if hasattr(a, "shape") or hasattr(b, "shape") else a == b


def _numbers(given: Any, name: str) -> Any:
    """Returns an array of JAX as it is, all else as one of NumPy's."""
    if not isinstance(given, jax.Array):
        try:
            given = np.asarray(given)
        except jax.errors.TracerArrayConversionError:  # a list of traced numbers
            given = jnp.asarray(given)
        except (ValueError, TypeError):
            raise ValueError(f"{name}: expected an array of numbers, got {given!r:.60}") from None
    real = jnp.issubdtype(given.dtype, jnp.number) or given.dtype == bool
    if not real or jnp.issubdtype(given.dtype, jnp.complexfloating):
        raise ValueError(f"{name}: expected an array of real numbers, got one of {given.dtype}")
    return given
