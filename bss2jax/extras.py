"""Libraries that come with an extra of the package: there, or an error that names the extra."""

import importlib
from types import ModuleType


class MissingExtra(ImportError):
    """A library is not installed; the message says which, for what, and how to get it."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports a library that not every user needs.

    Args:
        module: to import.
        extra: of the package that brings it.
        purpose: what needs it, such as "drawing".

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
