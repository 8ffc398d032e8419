"""The command line: `bss2jax train | evaluate | report | plan | chip | data | configs`, and more.

A module here is a command, or the commands of one noun: it adds itself to the line's arguments, and
does what they ask for. Libraries that take seconds to import wait until the arguments are known to
be good.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from bss2jax import __version__
from bss2jax.cli import (
    chip,
    compiled,
    completion,
    configs,
    data,
    evaluate,
    export,
    failures,
    imports,
    keys,
    map,
    plan,
    predict,
    report,
    train,
    tune,
)
from bss2jax.cli.arguments import CallError, Parser
from bss2jax.runs.signals import Signals
from bss2jax.window import Window

# As `--help` lists them.
_COMMANDS = (
    train, evaluate, predict, export, imports, report, plan, tune, map, chip, configs, keys,
    completion, data,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        0 where all is done, 1 for a training that went wrong, 2 for a wrong call, config, run, data
        file or setting of the environment, 70 for an error of bss2jax itself, 130 after Ctrl-C, 141
        where nobody reads the output any more, 143 after SIGTERM.
    """
    failures.prepare_streams()
    with Signals() as signals:
        try:
            parsed = _parsed(arguments)
            parsed.window, parsed.signals = Window(parsed.level), signals
            failures.prepare_environment(parsed)
            compiled.keep()
            return _answer(parsed)
        except KeyboardInterrupt:
            failures.say("interrupted")
            return 128 + (signals.signal or 2)
        except Exception as error:
            return failures.leave(failures.answer(error))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was called for; keys of a config may also stand behind options."""
    parsed, rest = parser().parse_known_args(arguments)
    keys = hasattr(parsed, "overrides") and all("=" in w and not w.startswith("-") for w in rest)
    if rest and not keys:
        return parser().parse_args(arguments)  # says what is wrong
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    return parsed


def _answer(parsed: argparse.Namespace) -> int:
    """Runs a command; what is wrong is one line."""
    try:
        with parsed.window.stage("loading JAX"):
            from bss2jax.chip.file import ChipError
            from bss2jax.config import ConfigError
            from bss2jax.data import DataError
            from bss2jax.extras import MissingExtra
            from bss2jax.runs.directory import RunError
    except ValueError as error:  # JAX's own variables of the environment
        raise CallError(f"JAX cannot be loaded: {error}") from error
    try:
        parsed.command(parsed)
        sys.stdout.flush()
    except (ChipError, ConfigError, DataError, MissingExtra, RunError) as error:
        raise CallError(str(error)) from error
    return 0


class _Version(argparse.Action):
    """Prints what can be said without JAX at once, then the device."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"bss2jax {__version__}, JAX {version('jax')}", flush=True)
        import jax

        kinds = [device.device_kind for device in jax.devices()]
        print(f"device: {len(kinds)} {jax.default_backend()} ({kinds[0]})")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    line = Parser(
        prog="bss2jax",
        description="Simulate the BrainScaleS-2 analog chip and train networks on it.",
    )
    text = "show the versions of bss2jax and JAX, and the device"
    line.add_argument("-V", "--version", action=_Version, nargs=0, help=text)
    commands = line.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in _COMMANDS:
        command.add(commands)
    return line
