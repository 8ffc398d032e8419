"""`bss2jax plan`: where a network goes on the chip."""

import argparse

from bss2jax.cli.arguments import Commands, add_command, add_config, count


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


def _plan(arguments: argparse.Namespace) -> None:
    from bss2jax import config, experiment

    parsed, _ = config.load(arguments.config, arguments.overrides)
    network, batch = experiment.network_of(parsed), parsed.phases[-1].batch_size
    samples = arguments.samples or experiment.training_samples(parsed)
    print(experiment.plan_text(network, samples, batch), end="")
