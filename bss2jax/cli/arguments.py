"""What commands share: how arguments are read, and what is said of a wrong one."""

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

Commands = argparse._SubParsersAction
# Between which networks go by NIR: those of `networks.nir`, which need not be imported for help.
FRAMEWORKS = ("norse", "snntorch", "sinabs", "spyx", "hxtorch", "jaxsnn")


class CallError(Exception):
    """What was called for cannot be done; the message says why."""


class Parser(argparse.ArgumentParser):
    """One line per wrong call, with the nearest known name, instead of the usage."""

    def error(self, message: str) -> NoReturn:
        key = re.fullmatch(r"unrecognized arguments: --([\w.]+)[ =](\S+)", message)
        hint = f" (did you mean {key[1]}={key[2]}?)" if key else ""
        self.exit(2, f"bss2jax: {message}{hint}; see `{self.prog} --help`\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from bss2jax.settings import nearest

            known = list(action.choices)
            option = (*action.option_strings, action.dest)[0]
            what = "command" if isinstance(action, Commands) else option
            self.error(f"no {what} {value!r}{nearest(value, known)}; known: {', '.join(known)}")


def add_command(
    commands: Commands, name: str, command: Callable[[Any], None] | None, text: str
) -> argparse.ArgumentParser:
    """Adds a command to those of a parser."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command, level=0)
    levels = parser.add_mutually_exclusive_group()
    for flags, level, meaning in (
        (("-q", "--quiet"), -1, "print results alone"),
        (("-v", "--verbose"), 1, "print details too"),
    ):
        levels.add_argument(*flags, action="store_const", const=level, dest="level", help=meaning)
    return parser


def add_group(commands: Commands, name: str, text: str, metavar: str = "COMMAND") -> Commands:
    """Adds a noun to the commands of a parser, and returns its own commands."""
    parser = add_command(commands, name, None, text)
    return parser.add_subparsers(metavar=metavar, required=True, parser_class=Parser)


def add_config(parser: argparse.ArgumentParser, **settings: Any) -> None:
    """Adds a config and its overrides to the arguments of a command."""
    text = "a TOML file, or the name of a shipped config"
    parser.add_argument("config", help=text, **settings)
    parser.add_argument(
        "overrides",
        nargs="*",
        default=(),
        metavar="key=value",
        help="such as seed=1, chip.seed=2, phases.0.epochs=3, run.dir=DIR",
    )


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Adds how many devices take part."""
    text = "how many devices take part; default: all, with samples spread over them"
    parser.add_argument("--devices", type=count, metavar="N", help=text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds the choice of output that programs read."""
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")


def seed(text: str) -> int:
    """Reads the seed of a random key."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 4294967295, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """Reads how many there are to be."""
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100000, got {text!r}")
    return int(text)
