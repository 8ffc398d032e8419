"""`bss2jax configs`: what ships with the package."""

import argparse

from bss2jax.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    add_command(commands, "configs", _configs, "List the configs that ship with bss2jax.")


def _configs(arguments: argparse.Namespace) -> None:
    from bss2jax import config
    from bss2jax.text import table

    rows = [(name, config.load(path)[0].description) for name, path in config.shipped().items()]
    print(table(("config", ""), rows))
