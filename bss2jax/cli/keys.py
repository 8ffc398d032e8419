"""`bss2jax config` and `bss2jax keys`: what a config says, and what configs can say."""

import argparse
import json

from bss2jax.cli.arguments import CallError, Commands, add_command, add_config, add_json


def add(commands: Commands) -> None:
    """Adds the commands to the line's."""
    text = "Print a config with every key that matters for it: meaning, range, default."
    add_config(add_command(commands, "config", _config, text))
    keys = add_command(commands, "keys", _keys, "List the keys that configs may have.")
    keys.add_argument(
        "pattern",
        nargs="?",
        default="",
        help="a kind of layer, such as lif; a key, such as phases.*; or a word",
    )
    add_json(keys)


def _config(arguments: argparse.Namespace) -> None:
    from bss2jax import config
    from bss2jax.config.show import resolved

    parsed, _ = config.load(arguments.config, arguments.overrides)
    arguments.window.result(resolved(parsed).rstrip("\n"))


def _keys(arguments: argparse.Namespace) -> None:
    import textwrap

    from bss2jax.config.keys import keys, matching

    window = arguments.window
    found = matching(arguments.pattern) if arguments.pattern else keys()
    if not found:
        raise CallError(f"no key fits {arguments.pattern!r}; `bss2jax keys` lists them all")
    if arguments.json:
        window.result(json.dumps([vars(key) for key in found], indent=2))
        return
    for key in found:
        default = "required" if key.required else f"default {key.default or 'none'}"
        window.result((key.name, "bold cyan"))
        for line in textwrap.wrap(f"of {key.of}", 76) if key.of else ():
            window.result((f"    {line}", "dim"))
        said = f"{key.meaning} [{key.takes}; {default}]"
        for line in textwrap.wrap(said, 76):
            window.result(f"    {line}")
