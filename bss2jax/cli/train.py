"""`bss2jax train`: a config becomes a run, or a stopped run goes on."""

import argparse

from bss2jax.cli import pages
from bss2jax.cli.arguments import Commands, add_command, add_config


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    train = add_command(commands, "train", _train, "Train a config, or go on with a stopped run.")
    add_config(train, nargs="?")
    train.add_argument("--resume", metavar="RUN", help="the directory of a run to go on with")
    train.add_argument(
        "--tensorboard", action="store_true", help="also write RUN/tensorboard, events to watch"
    )
    train.set_defaults(error=train.error)


def _train(arguments: argparse.Namespace) -> None:
    if (arguments.config is None) == (arguments.resume is None):
        arguments.error("expected a config, or --resume with a run's directory")
    import json

    from bss2jax import config
    from bss2jax.networks.rungs import RUNGS
    from bss2jax.runs import session
    from bss2jax.text import table

    pages.keep_pages()
    if arguments.resume is None:
        parsed, text = config.load(arguments.config, arguments.overrides)
        run = session.train(parsed, text, None, arguments.signals, arguments.tensorboard)
    else:
        run = session.resume(arguments.resume, arguments.signals, arguments.tensorboard)
        parsed, _ = config.load(run.path / "resolved.toml")
    summary = json.loads(run.read("summary.json"))
    accuracy = summary["test_accuracy"]
    rows = [(name, f"{accuracy[name]:.2%}", RUNGS[name].meaning) for name in accuracy]
    chip = parsed.chip.file or parsed.chip.seed
    print("\n" + table((f"chip {chip}", "test accuracy", ""), rows))
    print(f"\n{summary['seconds']['total']:.0f} s; the run is in {run.path}")
