"""`bss2jax completion`: a script for the tab key."""

import argparse

from bss2jax.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Print a script for the tab key."
    completion = add_command(commands, "completion", _completion, text)
    shells = ("bash", "zsh", "fish")
    completion.add_argument("shell", metavar="SHELL", choices=shells, help=" or ".join(shells))


def _completion(arguments: argparse.Namespace) -> None:
    from bss2jax import cli, completion

    print(completion.script(cli.parser(), arguments.shell))
