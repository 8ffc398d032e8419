"""The command line: `bss2jax train | evaluate | report | plan | chip | data | configs`, and more.

Libraries that take seconds to import wait until the arguments are known to be good.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from bss2jax import __version__

if TYPE_CHECKING:
    from bss2jax.config import Config
    from bss2jax.data import Dataset
    from bss2jax.training.loop import Result

_Commands = argparse._SubParsersAction


class CallError(Exception):
    """What was called for cannot be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        0 on success, 1 for a training that went wrong, 2 for a wrong call, config, run or data
        file, 130 after Ctrl-C, 143 after SIGTERM.
    """
    parsed = _parser().parse_args(arguments)
    from bss2jax.runs.signals import Signals

    with Signals() as signals:
        parsed.signals = signals
        try:
            return _answer(parsed)
        except KeyboardInterrupt:
            print("bss2jax: interrupted", file=sys.stderr)
            return 128 + (signals.signal or 2)


def _answer(parsed: argparse.Namespace) -> int:
    """Runs a command; what is wrong is one line."""
    from bss2jax.chip.file import ChipError
    from bss2jax.config import ConfigError
    from bss2jax.data import DataError
    from bss2jax.extras import MissingExtra
    from bss2jax.runs.directory import RunError
    from bss2jax.runs.signals import Failed, Stopped

    try:
        parsed.command(parsed)
        sys.stdout.flush()
    except (CallError, ChipError, ConfigError, DataError, MissingExtra, RunError) as error:
        print(f"bss2jax: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"bss2jax: {error}", file=sys.stderr)
        return 1
    except Stopped as error:
        print(f"bss2jax: {error}", file=sys.stderr)
        return 128 + error.signal
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; keep Python's exit from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Parser(argparse.ArgumentParser):
    """One line per wrong call, with the nearest known name, instead of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bss2jax: {message}; see `{self.prog} --help`\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from bss2jax.config import nearest

            known = list(action.choices)
            what = action.dest if action.metavar == "SHELL" else "command"
            self.error(f"no {what} {value!r}{nearest(value, known)}; known: {', '.join(known)}")


def _parser() -> "_Parser":
    parser = _Parser(
        prog="bss2jax",
        description="Simulate the BrainScaleS-2 analog chip and train networks on it.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    train = _add(commands, "train", _train, "Train a config, or go on with a stopped run.")
    _add_config(train, nargs="?")
    train.add_argument("--resume", metavar="RUN", help="the directory of a run to go on with")
    train.add_argument(
        "--tensorboard", action="store_true", help="also write RUN/tensorboard, events to watch"
    )
    train.set_defaults(error=train.error)
    evaluate = _add(commands, "evaluate", _evaluate, "Measure a finished run, also on new chips.")
    evaluate.add_argument("run", help="a run directory")
    evaluate.add_argument(
        "--chips", type=_count, default=0, metavar="N", help="how many chips the run has not seen"
    )
    report = _add(commands, "report", _report, "Write a report of runs as one HTML page.")
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, finished or not")
    report.add_argument(
        "--out", default="report.html", metavar="FILE", help="the page; default: report.html"
    )
    plan = _add(commands, "plan", _plan, "Show where a network goes on the chip and what it costs.")
    _add_config(plan)
    plan.add_argument(
        "--samples",
        type=_count,
        metavar="N",
        help="samples of an epoch; default: those of the training set",
    )
    _add_chip(commands)
    _add(commands, "configs", _configs, "List the configs that ship with bss2jax.")
    completion = _add(commands, "completion", _completion, "Print a script for the tab key.")
    shells = ("bash", "zsh", "fish")
    completion.add_argument("shell", metavar="SHELL", choices=shells, help=" or ".join(shells))
    _add_data(commands)
    return parser


def _add(
    commands: _Commands, name: str, command: Callable[[Any], None] | None, text: str
) -> argparse.ArgumentParser:
    """Adds a command to those of a parser."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _add_config(parser: argparse.ArgumentParser, **settings: Any) -> None:
    text = "a TOML file, or the name of a shipped config"
    parser.add_argument("config", help=text, **settings)
    parser.add_argument(
        "overrides",
        nargs="*",
        default=(),
        metavar="key=value",
        help="such as seed=1, chip.seed=2, phases.0.epochs=3, run.dir=DIR",
    )


def _add_chip(commands: _Commands) -> None:
    text = "Draw, show, measure, calibrate and compare chips kept in files."
    chip = _add(commands, "chip", None, text)
    actions = chip.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    sample = _add(actions, "sample", _chip_sample, "Draw a chip into a file.")
    show = _add(actions, "show", _chip_show, "Show the quantities of a chip.")
    characterise = _add(actions, "characterise", _chip_characterise, "Measure a chip on a bench.")
    calibrate = _add(actions, "calibrate", _chip_calibrate, "Set a chip's analog cells, measured.")
    compare = _add(actions, "compare", _chip_compare, "Compare two chips, place by place.")
    for parser in (sample, show, characterise, calibrate, compare):
        parser.add_argument("file", help="a chip's file")
    sample.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="such as seed=3, preset=uncalibrated, offset=5, or measured=FILE with a lab's own "
        "gain, offset and noise_std (npz or csv)",
    )
    calibrate.add_argument("out", help="the file for the calibrated chip")
    compare.add_argument("other", help="the other chip's file")
    for parser in (characterise, calibrate):
        parser.add_argument(
            "--seed", type=_seed, default=0, metavar="N", help="the seed of noise and cells"
        )


def _add_data(commands: _Commands) -> None:
    data = _add(commands, "data", None, "List, prepare and show data sets.")
    actions = data.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)
    _add(actions, "list", _data_list, "List the data sets, and which are prepared here.")
    prepare = _add(actions, "prepare", _data_prepare, "Read or download the original files once.")
    show = _add(actions, "show", _data_show, "Count the classes and draw some samples of each.")
    for parser in (prepare, show):
        parser.add_argument("name", help="a data set of `bss2jax data list`, or your module:name")
    show.add_argument("--out", metavar="FILE", help="the picture, a PNG; default: NAME.png")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 4294967295, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100000, got {text!r}")
    return int(text)


def _keep_pages() -> None:
    """Lets glibc keep large blocks of memory, so that not every call faults on new pages.

    From 32 MiB on it would ask the system for a block and give it back, each time. For the command
    line alone: a library leaves its process as it is. References: mallopt(3).
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    mallopt(-3, 2**30)  # M_MMAP_THRESHOLD, bytes
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, bytes


def _train(arguments: argparse.Namespace) -> None:
    if (arguments.config is None) == (arguments.resume is None):
        arguments.error("expected a config, or --resume with a run's directory")
    import json

    from bss2jax import config
    from bss2jax.networks.rungs import RUNGS
    from bss2jax.runs import session
    from bss2jax.text import table

    _keep_pages()
    if arguments.resume is None:
        parsed, text = config.load(arguments.config, arguments.overrides)
        run = session.train(parsed, text, None, arguments.signals, arguments.tensorboard)
    else:
        run = session.resume(arguments.resume, arguments.signals, arguments.tensorboard)
        parsed, _ = config.load(run.path / "resolved.toml")
    summary = json.loads(run.read("summary.json"))
    accuracy = summary["test_accuracy"]
    rows = [(name, f"{accuracy[name]:.2%}", RUNGS[name].meaning) for name in accuracy]
    print("\n" + table((f"chip {_chip_name(parsed)}", "test accuracy", ""), rows))
    print(f"\n{summary['seconds']['total']:.0f} s; the run is in {run.path}")


def _chip_name(config: "Config") -> str | int:
    return config.chip.file or config.chip.seed


def _evaluate(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax import config, experiment
    from bss2jax.runs import session
    from bss2jax.runs.directory import RunDirectory
    from bss2jax.text import table

    _keep_pages()
    directory = RunDirectory(Path(arguments.run))
    prepared, learned = session.read_final(directory)
    known = prepared.measured_on
    results = {name: prepared.test_result(learned, prepared.execution(name)) for name in known}
    rows = [(n, f"{r.accuracy:.2%}", f"{r.balanced_accuracy:.2%}") for n, r in results.items()]
    print(table((f"chip {_chip_name(prepared.config)}", "test accuracy", "balanced"), rows))
    print("\n" + _confusion_table(results[known[-1]], prepared.classes, known[-1]))
    if arguments.chips and "chip" not in (all_known := prepared.task.network.executions):
        raise config.ConfigError(f"--chips: this network runs on {', '.join(all_known)} only")
    if arguments.chips:
        accuracy = experiment.over_chips(prepared, learned, arguments.chips)
        figures = [
            ("mean", f"{accuracy.mean():.2%}"),
            ("std", f"{accuracy.std(ddof=int(arguments.chips > 1)):.2%}"),
            ("worst", f"{accuracy.min():.2%}"),
            ("best", f"{accuracy.max():.2%}"),
        ]
        print("\n" + table((f"{arguments.chips} other chips", "test accuracy"), figures))
        first = prepared.config.chip.seed + 1
        seeds = list(range(first, first + arguments.chips))
        directory.write("chips.json", {"chip_seeds": seeds, "test_accuracy": accuracy.tolist()})


def _report(arguments: argparse.Namespace) -> None:
    from bss2jax import report

    print(report.write(arguments.runs, arguments.out))


def _confusion_table(result: "Result", classes: Sequence[str], on: str) -> str:
    """Accuracy per class, and how many samples of it were taken for each class."""
    from bss2jax.text import table

    rows = [
        (name, "-" if share is None else f"{share:.2%}", *map(str, counts))
        for name, share, counts in zip(classes, result.class_accuracy, result.confusion)
    ]
    return table((f"class, on {on}", "accuracy", *map(str, range(len(classes)))), rows)


def _plan(arguments: argparse.Namespace) -> None:
    from bss2jax import config, experiment

    parsed, _ = config.load(arguments.config, arguments.overrides)
    network, batch = experiment.network_of(parsed), parsed.phases[-1].batch_size
    samples = arguments.samples or experiment.training_samples(parsed)
    print(experiment.plan_text(network, samples, batch), end="")


def _chip_sample(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import Chip, config, sample_chip, save_chip

    specimen = config.load_specimen(arguments.overrides)
    chip = sample_chip(jax.random.key(specimen.seed), specimen.mismatch)
    if specimen.measured is not None:
        chip = Chip.from_measurements(specimen.measured, like=chip)
    save_chip(chip, arguments.file)
    print(f"chip {specimen.seed} is in {arguments.file}")


def _chip_show(arguments: argparse.Namespace) -> None:
    from bss2jax import load_chip
    from bss2jax.calibration.report import describe_chip

    print(describe_chip(load_chip(arguments.file)))


def _chip_characterise(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import load_chip
    from bss2jax.calibration.report import describe_characterisation

    chip = load_chip(arguments.file)
    print(describe_characterisation(chip, jax.random.key(arguments.seed)))


def _chip_calibrate(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import load_chip, save_chip
    from bss2jax.calibration.calibrate import calibrate, describe_calibration

    done = calibrate(load_chip(arguments.file), jax.random.key(arguments.seed))
    save_chip(done.chip, arguments.out)
    print(f"{describe_calibration(done)}\n\nthe calibrated chip is in {arguments.out}")


def _chip_compare(arguments: argparse.Namespace) -> None:
    from bss2jax import load_chip
    from bss2jax.calibration.report import compare_chips

    print(compare_chips(load_chip(arguments.file), load_chip(arguments.other)))


def _configs(arguments: argparse.Namespace) -> None:
    from bss2jax import config
    from bss2jax.text import table

    rows = [(name, config.load(path)[0].description) for name, path in config.shipped().items()]
    print(table(("config", ""), rows))


def _completion(arguments: argparse.Namespace) -> None:
    from bss2jax import completion

    print(completion.script(_parser(), arguments.shell))


def _data_list(arguments: argparse.Namespace) -> None:
    from bss2jax import data
    from bss2jax.text import table

    rows = []
    for name in data.names():
        known = data.spec(name)
        where = data.prepared(name)
        state = "needs none" if known.version is None else str(where) if where else "no"
        shape = "x".join(map(str, known.shape))
        rows.append((name, shape, known.dtype, str(len(known.classes)), state))
    print(table(("data set", "sample", "type", "classes", "prepared"), rows))


def _data_prepare(arguments: argparse.Namespace) -> None:
    print(_class_counts(_load(arguments.name)))


def _data_show(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax import plot

    dataset = _load(arguments.name)
    path = Path(arguments.out or f"{dataset.name}.png")
    print(_class_counts(dataset))
    try:
        plot.save(plot.samples(dataset), path)
    except OSError as error:
        raise CallError(f"{path}: {error.strerror or error}") from None
    print(f"\n{path}")


def _load(name: str) -> "Dataset":
    from bss2jax import data

    try:
        return data.load(name)
    except ValueError as error:
        raise CallError(str(error)) from None


def _class_counts(dataset: "Dataset") -> str:
    """How many samples of each class are in each split."""
    import numpy as np

    from bss2jax.text import table

    names = ("train", "test", "validation")
    splits = {name: split for name in names if (split := getattr(dataset, name)) is not None}
    counts = [np.bincount(split.y, minlength=len(dataset.classes)) for split in splits.values()]
    rows = [(name, *map(str, row)) for name, row in zip(dataset.classes, zip(*counts))]
    rows.append(("all", *(str(len(split.y)) for split in splits.values())))
    return table((dataset.name, *splits), rows)
