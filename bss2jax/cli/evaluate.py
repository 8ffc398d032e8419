"""`bss2jax evaluate`: what a finished run has learned, measured."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bss2jax.cli import pages
from bss2jax.cli.arguments import Commands, add_command, add_devices, add_json, count

if TYPE_CHECKING:
    from bss2jax.experiment import Experiment
    from bss2jax.runs.directory import RunDirectory
    from bss2jax.training.loop import Result
    from bss2jax.training.task import Variables
    from bss2jax.window import Window

# Where the final weights are run: the ladder of a training has the same names for earlier ones.
_WHERE = {
    "float": "run in floating point",
    "ideal": "on a perfect chip",
    "chip": "on the run's own chip",
}


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Measure a finished run, also on new chips; or what a config starts from."
    evaluate = add_command(commands, "evaluate", _evaluate, text)
    evaluate.add_argument("run", help="a run directory, or a config with a start")
    evaluate.add_argument(
        "--chips", type=count, default=0, metavar="N", help="how many chips the run has not seen"
    )
    add_devices(evaluate)
    add_json(evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax.config import ConfigError
    from bss2jax.runs import session
    from bss2jax.runs.directory import RunDirectory
    from bss2jax.runs.start import read_config

    pages.keep_pages()
    window, path = arguments.window, Path(arguments.run)
    with window.stage(f"loading {path} and its data"):
        if path.suffix == ".toml":
            directory, (prepared, learned) = None, read_config(path, arguments.devices)
        else:
            directory = RunDirectory(path)
            prepared, learned = session.read_final(directory, arguments.devices)
    if arguments.chips and "chip" not in (known := prepared.task.network.executions):
        raise ConfigError(f"--chips: this network runs on {', '.join(known)} only")
    results = _measured(prepared, learned, window)
    chips = _on_others(prepared, learned, arguments.chips, directory, window)
    if arguments.json:
        window.result(json.dumps(_tree(prepared, results, chips), indent=2))
        return
    last = prepared.measured_on[-1]
    rows = [
        (name, f"{result.accuracy:.2%}", f"{result.balanced_accuracy:.2%}", _WHERE[name])
        for name, result in results.items()
    ]
    chip = prepared.config.chip.file or prepared.config.chip.seed
    window.table((f"chip {chip}", "test accuracy", "balanced", "what training ended with"), rows)
    window.result()
    window.table(*_confusion(results[last], prepared.classes, last))
    if chips:
        accuracy = chips["test_accuracy"]
        window.result()
        window.table((f"{len(accuracy)} other chips", "test accuracy"), _spread(accuracy))


def _measured(
    prepared: "Experiment", learned: "Variables", window: "Window"
) -> dict[str, "Result"]:
    """The results of a run on its own chip, by execution."""
    results: dict[str, Result] = {}
    known = prepared.measured_on
    for i, name in enumerate(known):
        with window.stage(f"measuring {name}, {i + 1} of {len(known)}"):
            results[name] = prepared.test_result(learned, prepared.execution(name))
    return results


def _on_others(
    prepared: "Experiment",
    learned: "Variables",
    chips: int,
    directory: "RunDirectory | None",
    window: "Window",
) -> dict[str, Any]:
    """Measures on other chips and writes what came out into the run, if any; {} for none."""
    from bss2jax.experiment import other_seeds, over_chips

    if not chips:
        return {}
    with window.bar("chips", chips) as bar:
        bar.update(0, figures="drawing")
        accuracy = over_chips(
            prepared,
            learned,
            chips,
            on_chip=lambda done, last: bar.update(done, figures=f"accuracy {last:.1%}"),
        )
    found = {
        "chip_seeds": other_seeds(prepared.config, chips),
        "test_accuracy": accuracy.tolist(),
    }
    if directory is not None:
        directory.write("chips.json", found)
    return found


def _spread(accuracy: Sequence[float]) -> list[tuple[str, str]]:
    """Mean, std, worst and best of accuracies as rows of a table."""
    import numpy as np

    figures = {
        "mean": np.mean(accuracy),
        "std": np.std(accuracy, ddof=int(len(accuracy) > 1)),
        "worst": min(accuracy),
        "best": max(accuracy),
    }
    return [(name, f"{value:.2%}") for name, value in figures.items()]


def _confusion(
    result: "Result", classes: Sequence[str], on: str
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Accuracy per class, and how many samples of it were taken for each class."""
    rows = [
        (name, "-" if share is None else f"{share:.2%}", *map(str, counts))
        for name, share, counts in zip(classes, result.class_accuracy, result.confusion)
    ]
    return (f"class, on {on}", "accuracy", *map(str, range(len(classes)))), rows


def _tree(
    prepared: "Experiment", results: dict[str, "Result"], chips: dict[str, Any]
) -> dict[str, Any]:
    """All that was measured, as JSON has it."""
    return {
        "chip": prepared.config.chip.file or prepared.config.chip.seed,
        "classes": prepared.classes,
        "test": {
            name: {
                "accuracy": result.accuracy,
                "balanced_accuracy": result.balanced_accuracy,
                "loss": result.loss,
                "saturation": result.saturation,
                "confusion": result.confusion,
            }
            for name, result in results.items()
        },
        "chips": chips or None,
    }
