"""Shell completion: scripts that know the commands, the shipped configs and the data sets.

The scripts are static, made once by `bss2jax completion SHELL`: importing JAX at every press of the
tab key would take a second. Make them anew after an update.
"""

import argparse
from collections.abc import Iterator

import shtab

from bss2jax import config, data

_FILES = ("file", "other", "out")
_DIRECTORIES = ("run", "runs", "resume")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the completion script of a parser for a shell.

    Args:
        parser: the parser of the whole command line.
        shell: bash, zsh or fish.
    """
    own = "find . -maxdepth 2 -name '*.toml' | cut -c3-"
    hints = dict.fromkeys(_FILES, shtab.FILE) | dict.fromkeys(_DIRECTORIES, shtab.DIRECTORY)
    hints["config"] = shtab.cmd(f"printf '%s\\n' {' '.join(config.shipped())}; {own}")
    hints["name"] = shtab.cmd(f"printf '%s\\n' {' '.join(data.names())}")
    for action in _arguments(parser):
        if action.dest in hints:
            action.complete = hints[action.dest]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _arguments(command)
