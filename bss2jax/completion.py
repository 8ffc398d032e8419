"""Shell completion: scripts that know the commands, the shipped configs and the data sets.

The scripts are static, made once by `bss2jax completion SHELL`: importing JAX at every press of the
tab key would take a second. Make them anew after an update.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

from bss2jax import config, data
from bss2jax.config.keys import keys
from bss2jax.config.plastic import shipped_plastic

_FILES = ("file", "other", "out")
_DIRECTORIES = ("run", "runs", "resume")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the completion script of a parser for a shell.

    Args:
        parser: the parser of the whole command line.
        shell: bash, zsh or fish.
    """
    own = "find . -maxdepth 2 -name '*.toml' | cut -c3-"
    hints: dict[str, Any] = dict.fromkeys(_FILES, shtab.FILE) | dict.fromkeys(
        _DIRECTORIES, shtab.DIRECTORY
    )
    hints["config"] = shtab.cmd(
        f"printf '%s\\n' {' '.join(config.shipped() | shipped_plastic())}; {own}"
    )
    hints["name"] = shtab.cmd(f"printf '%s\\n' {' '.join(data.names())}")
    overrides = shtab.cmd(f"printf '%s\\n' {' '.join(_keys())}")
    for inner in _parsers(parser):
        named = {action.dest for action in inner._actions}
        known = hints | ({"overrides": overrides} if "config" in named else {})
        for action in inner._actions:
            if action.dest in known:
                action.complete = known[action.dest]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _keys() -> list[str]:
    """Keys that an override may set; of phases those of the first two, of layers of the first six.

    Which layers a config has is known once it is read, and scripts are made before.
    """
    names = list(dict.fromkeys(key.name for key in keys()))
    known = [name for name in names if ".N." not in name]
    for table, count in (("phases", 2), ("layers", 6)):
        of_table = [name for name in names if name.startswith(f"{table}.N.")]
        known += [name.replace(".N.", f".{n}.") for n in range(count) for name in of_table]
    return [f"{name}=" for name in known]


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _parsers(command)
