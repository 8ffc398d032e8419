"""`bss2jax train`: a config becomes a run, or a stopped run goes on."""

import argparse
from pathlib import Path
from typing import Any

from bss2jax.cli import pages
from bss2jax.cli.arguments import Commands, add_command, add_config, add_devices, count, seed


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
    add_devices(train)
    text = "take part in a run of several processes, as SLURM, Kubernetes or the next options say"
    train.add_argument("--distributed", action="store_true", help=text)
    text = "host and port of process 0, where nothing else says it"
    train.add_argument("--coordinator", metavar="HOST:PORT", help=text)
    train.add_argument("--processes", type=count, metavar="N", help="how many take part")
    text = "the number of this process, 0 for the one that writes the run"
    train.add_argument("--process", type=seed, metavar="NUMBER", help=text)
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

    told = (arguments.coordinator, arguments.processes, arguments.process)
    if any(each is not None for each in told) and not arguments.distributed:
        arguments.error("--coordinator, --processes and --process go with --distributed")
    if arguments.distributed:
        _join(arguments)
    from bss2jax import config
    from bss2jax.networks.rungs import RUNGS
    from bss2jax.runs import hosts, session

    pages.keep_pages()
    window = arguments.window
    if _is_plastic(arguments):
        if arguments.devices or arguments.distributed:
            arguments.error("a population that learns by itself is on one device of one process")
        _learn(arguments)
        return
    if arguments.resume is None:
        chosen = [f"mesh.devices={arguments.devices}"] if arguments.devices else []
        parsed, text = config.load(arguments.config, [*arguments.overrides, *chosen])
        options = arguments.signals, arguments.tensorboard, window
        run = session.train(parsed, text, None, *options)
    else:
        options = arguments.signals, arguments.tensorboard, window
        run = session.resume(arguments.resume, *options, arguments.devices)
        parsed, _ = config.load(Path(arguments.resume) / "resolved.toml")
    if not hosts.leads():
        return
    summary = json.loads(run.read("summary.json"))
    accuracy = summary["test_accuracy"]
    rows = [(name, f"{accuracy[name]:.2%}", RUNGS[name].meaning) for name in accuracy]
    chip = parsed.chip.file or parsed.chip.seed
    window.say()
    window.table((f"chip {chip}", "test accuracy", ""), rows)
    window.result(f"\n{summary['seconds']['total']:.0f} s; the run is in {run.path}")
    _report(arguments, run.path)


def _join(arguments: argparse.Namespace) -> None:
    """Joins the processes of the run; only the first one says what goes on."""
    import os
    import sys

    from bss2jax.runs import hosts
    from bss2jax.window import Window

    hosts.join(arguments.coordinator, arguments.processes, arguments.process)
    if not hosts.leads():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        arguments.window = Window(-1)


def _is_plastic(arguments: argparse.Namespace) -> bool:
    """Whether what is called for is a population whose chip learns by itself."""
    from bss2jax.config.read import is_plastic, tree_of
    from bss2jax.runs import plastic

    if arguments.resume is not None:
        return plastic.is_run(arguments.resume)
    return is_plastic(tree_of(arguments.config, arguments.overrides)[0])


def _learn(arguments: argparse.Namespace) -> None:
    """Runs a config of hybrid plasticity, or goes on with such a run."""
    import json

    from bss2jax.config.plastic import load_plastic
    from bss2jax.runs import plastic

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
