"""`bss2jax configs`: what ships with the package."""

import argparse
import json

from bss2jax.cli.arguments import Commands, add_command, add_json


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    configs = add_command(commands, "configs", _configs, "List the configs that ship with bss2jax.")
    add_json(configs)


def _configs(arguments: argparse.Namespace) -> None:
    from bss2jax import config
    from bss2jax.config.plastic import load_plastic, shipped_plastic

    with arguments.window.stage("reading"):
        found = {name: config.load(path)[0].description for name, path in config.shipped().items()}
        for name, path in shipped_plastic().items():
            found[name] = load_plastic(path)[0].description
    if arguments.json:
        arguments.window.result(json.dumps(found, indent=2))
    else:
        arguments.window.table(("config", ""), list(found.items()))
