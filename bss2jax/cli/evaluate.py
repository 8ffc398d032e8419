"""`bss2jax evaluate`: what a finished run has learned, measured."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bss2jax.cli import pages
from bss2jax.cli.arguments import Commands, add_command, count

if TYPE_CHECKING:
    from bss2jax.training.loop import Result


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Measure a finished run, also on new chips."
    evaluate = add_command(commands, "evaluate", _evaluate, text)
    evaluate.add_argument("run", help="a run directory")
    evaluate.add_argument(
        "--chips", type=count, default=0, metavar="N", help="how many chips the run has not seen"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax import config, experiment
    from bss2jax.runs import session
    from bss2jax.runs.directory import RunDirectory
    from bss2jax.text import table

    pages.keep_pages()
    directory = RunDirectory(Path(arguments.run))
    prepared, learned = session.read_final(directory)
    known = prepared.measured_on
    results = {name: prepared.test_result(learned, prepared.execution(name)) for name in known}
    rows = [(n, f"{r.accuracy:.2%}", f"{r.balanced_accuracy:.2%}") for n, r in results.items()]
    chip = prepared.config.chip.file or prepared.config.chip.seed
    print(table((f"chip {chip}", "test accuracy", "balanced"), rows))
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


def _confusion_table(result: "Result", classes: Sequence[str], on: str) -> str:
    """Accuracy per class, and how many samples of it were taken for each class."""
    from bss2jax.text import table

    rows = [
        (name, "-" if share is None else f"{share:.2%}", *map(str, counts))
        for name, share, counts in zip(classes, result.class_accuracy, result.confusion)
    ]
    return table((f"class, on {on}", "accuracy", *map(str, range(len(classes)))), rows)
