"""A functional simulator and trainer for the BrainScaleS-2 analog chip, in JAX.

Chips and kernels need only JAX and NumPy. Whole experiments, networks, data and pictures are there
too: `bss2jax.train`, `bss2jax.open_run`, `bss2jax.networks`, `bss2jax.plot` and so on are loaded
when they are first used. So is JAX, without which the command line prints its help.
"""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bss2jax.public import *  # noqa: F403
    from bss2jax.runs.run import Run, open_run, train  # noqa: F401

__version__ = "0.1.0"

_RUNS = ("Run", "open_run", "train")


def __getattr__(name: str) -> Any:
    """Returns a module of the package or a public name, which Python asks for at its first use."""
    if name.startswith("__") and name != "__all__":  # what Python asks of any module
        raise AttributeError(f"module 'bss2jax' has no attribute {name!r}")
    if find_spec(f"bss2jax.{name}"):
        return import_module(f"bss2jax.{name}")
    if name in _RUNS:
        return getattr(import_module("bss2jax.runs.run"), name)
    public = import_module("bss2jax.public")
    if name != "__all__" and name not in public.__all__:
        raise AttributeError(f"module 'bss2jax' has no attribute {name!r}")
    if name == "__all__":
        return [*public.__all__, *_RUNS]
    return globals().setdefault(name, getattr(public, name))


def __dir__() -> list[str]:
    modules = (module.name for module in iter_modules(__path__))  # noqa: F405
    return sorted({*globals(), *modules, *__getattr__("__all__")})
