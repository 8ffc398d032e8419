"""`bss2jax train`: a config becomes a run, or a stopped run goes on."""

import argparse
from typing import Any

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
    train.add_argument(
        "--report", action="store_true", help="also write RUN/report.html, a page about the run"
    )
    train.set_defaults(error=train.error)


def _train(arguments: argparse.Namespace) -> None:
    if arguments.config and arguments.resume:
        arguments.error(
            f"--resume {arguments.resume} goes on as the run was begun; {arguments.config} beside "
            "it cannot be: key=value goes with a config"
        )
    if (arguments.config is None) == (arguments.resume is None):
        arguments.error("expected a config, or --resume with a run's directory")
    import json

    from bss2jax import config
    from bss2jax.networks.rungs import RUNGS
    from bss2jax.runs import plastic, session

    pages.keep_pages()
    window = arguments.window
    if _is_plastic(arguments):
        _learn(arguments, plastic)
        return
    if arguments.resume is None:
        parsed, text = config.load(arguments.config, arguments.overrides)
        options = arguments.signals, arguments.tensorboard, window
        run = session.train(parsed, text, None, *options)
    else:
        run = session.resume(arguments.resume, arguments.signals, arguments.tensorboard, window)
        parsed, _ = config.load(run.path / "resolved.toml")
    summary = json.loads(run.read("summary.json"))
    accuracy = summary["test_accuracy"]
    rows = [(name, f"{accuracy[name]:.2%}", RUNGS[name].meaning) for name in accuracy]
    chip = parsed.chip.file or parsed.chip.seed
    window.say()
    window.table((f"chip {chip}", "test accuracy", ""), rows)
    window.result(f"\n{summary['seconds']['total']:.0f} s; the run is in {run.path}")
    _report(arguments, run.path)


def _is_plastic(arguments: argparse.Namespace) -> bool:
    """Whether what is called for is a population whose chip learns by itself."""
    from bss2jax.config.read import is_plastic, tree_of
    from bss2jax.runs import plastic

    if arguments.resume is not None:
        return plastic.is_run(arguments.resume)
    return is_plastic(tree_of(arguments.config, arguments.overrides)[0])


def _learn(arguments: argparse.Namespace, plastic: Any) -> None:
    """Runs a config of hybrid plasticity, or goes on with such a run."""
    import json

    from bss2jax.config.plastic import load_plastic

    window = arguments.window
    if arguments.resume is None:
        parsed, text = load_plastic(arguments.config, arguments.overrides)
        run = plastic.train(parsed, text, arguments.signals, window)
    else:
        run = plastic.resume(arguments.resume, arguments.signals, window)
    summary = json.loads(run.read("summary.json"))
    window.say()
    window.table(
        ("last tenth", "mean"), [(name, f"{value:.4g}") for name, value in summary["last"].items()]
    )
    window.result(f"\n{summary['seconds']['total']:.0f} s; the run is in {run.path}")
    _report(arguments, run.path)


def _report(arguments: argparse.Namespace, path: Any) -> None:
    """Writes the run's report where it is asked for."""
    if arguments.report:
        from bss2jax import report

        arguments.window.result(f"its report is {report.write([path], path / 'report.html')}")
