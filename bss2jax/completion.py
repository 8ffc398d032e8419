"""Shell completion: scripts that know the commands, the shipped configs and the data sets.

The scripts are static, made once by `bss2jax completion SHELL`: importing JAX at every press of the
tab key would take a second. Make them anew after an update.
"""

import argparse
from collections.abc import Iterable

import shtab

from bss2jax import config, data

SHELLS = ("bash", "zsh", "fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the completion script of a parser for a shell.

    Args:
        parser: of the whole command line.
        shell: one of `SHELLS`.

    Raises:
        ValueError: the shell is another.
    """
    if shell not in SHELLS:
        raise ValueError(f"shell: expected one of {', '.join(SHELLS)}, got {shell!r}")
    known = {
        "config": _words_or_files("config", config.shipped(), "*.toml"),
        "name": _words("name", data.names()),
        "run": shtab.DIRECTORY,
        "runs": shtab.DIRECTORY,
        "resume": shtab.DIRECTORY,
        "file": shtab.FILE,
        "other": shtab.FILE,
        "out": shtab.FILE,
    }
    for action in _arguments(parser):
        if action.dest in known:
            action.complete = known[action.dest]
    return shtab.complete(parser, shell)


def _arguments(parser):
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _arguments(command)


def _words(name: str, words: Iterable[str]):
    function, text = f"_bss2jax_{name}", " ".join(words)
    return {
        "bash": function,
        "zsh": f"({text})",
        "fish": text,
        "preamble": {"bash": f'{function}() {{ compgen -W "{text}" -- $1; }}'},
    }


def _words_or_files(name: str, words: Iterable[str], pattern: str):
    function, text = f"_bss2jax_{name}", " ".join(words)
    bash = f'compgen -W "{text}" -- $1; compgen -f -X "!{pattern}" -- $1; compgen -d -- $1'
    zsh = f"_alternative '{name}:{name}:({text})' 'files:file:_files -g \"{pattern}\"'"
    fish = (
        f"string split ' ' '{text}'; set -l word (commandline -ct); "
        f"set -l found $word{pattern} $word*/; string join \\n $found"
    )
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({function})",
        "preamble": {
            "bash": f"{function}() {{ {bash}; }}",
            "zsh": f"{function}() {{ {zsh}; }}",
            "fish": f"function {function}\n  {fish}\nend",
        },
    }
