"""`bss2jax plan`: where a network goes on the chip."""

import argparse
import json

from bss2jax.cli.arguments import Commands, add_command, add_config, add_json, count


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Show where a network goes on the chip and what it costs."
    plan = add_command(commands, "plan", _plan, text)
    add_config(plan)
    plan.add_argument(
        "--samples",
        type=count,
        metavar="N",
        help="samples of an epoch; default: those of the training set",
    )
    add_json(plan)
    plan.set_defaults(device=False)


def _plan(arguments: argparse.Namespace) -> None:
    from bss2jax import config, experiment
    from bss2jax.mapping.describe import tree

    parsed, _ = config.load(arguments.config, arguments.overrides)
    with arguments.window.stage("planning"):
        network, batch = experiment.network_of(parsed), parsed.phases[-1].batch_size
        samples = arguments.samples or experiment.training_samples(parsed)
        text = experiment.plan_text(network, samples, batch)
    if not arguments.json:
        arguments.window.result(text.rstrip("\n"))
        return
    plan = None if network.misfit else tree(network.plan, samples, batch)
    arguments.window.result(json.dumps({"misfit": network.misfit or None, "plan": plan}, indent=2))
