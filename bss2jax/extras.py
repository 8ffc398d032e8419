"""What is imported by its name: libraries of an extra of the package, and users' own code."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class MissingExtra(ImportError):
    """A library is not installed; the message says which, for what, and how to get it."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports a library that not every user needs.

    Args:
        module: the library's name.
        extra: the extra of bss2jax that brings it.
        purpose: work that needs it, such as "drawing".

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        library = module.partition(".")[0]
        raise MissingExtra(
            f'{purpose} needs {library}: pip install "bss2jax[{extra}]", or in a checkout '
            f'pip install -e ".[{extra}]"'
        ) from None


def named(place: str) -> Any:
    """Returns what a user's own module holds under a name, such as `mypackage.module:dataset`.

    Args:
        place: the module, found from the current directory or `sys.path`, a colon, and the name.

    Raises:
        ValueError: there is no such module, it cannot be imported, or holds no such name.
    """
    module, _, name = place.partition(":")
    with own_code(place):
        found = importlib.import_module(module)
    if not hasattr(found, name):
        raise ValueError(f"{place}: {found.__file__ or module} has no {name!r}")
    return getattr(found, name)


@contextlib.contextmanager
def own_code(place: str) -> Iterator[None]:
    """Runs a user's own code, with the current directory to import from.

    Args:
        place: the place where the code is, for the message.

    Raises:
        ValueError: the code raised something; says what, in which file and line.
    """
    sys.path.insert(0, os.getcwd())
    try:
        yield
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if "importlib" in last.filename else f" ({last.filename}, line {last.lineno})"
        raise ValueError(f"{place}: {type(error).__name__}: {error}{where}") from error
    finally:
        sys.path.remove(os.getcwd())
