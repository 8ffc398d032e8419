"""`bss2jax tune-surrogate`: the slope at which gradients last through a network."""

import argparse
import json
from typing import TYPE_CHECKING

from bss2jax.cli.arguments import CallError, Commands, add_command, add_config, add_json
from bss2jax.cli.pictures import write_picture

if TYPE_CHECKING:
    from bss2jax.training.tuning import Tuning


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Find the surrogate's slope at which gradients neither vanish nor explode over depth."
    tune = add_command(commands, "tune-surrogate", _tune, text)
    add_config(tune)
    tune.add_argument(
        "--slopes",
        type=_slopes,
        metavar="A,B,...",
        help="slopes to try, 1 over the width of the surrogate; default: eleven from 0.5 to 50",
    )
    tune.add_argument("--out", metavar="FILE", help="the picture; default: NAME_gradients.png")
    add_json(tune)


def _slopes(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < slope < float("inf") for slope in found):
        raise argparse.ArgumentTypeError(f"expected numbers above 0 such as 2,5,10, got {text!r}")
    return tuple(sorted(set(found)))


def _tune(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from matplotlib.figure import Figure

    from bss2jax import config, plot
    from bss2jax.experiment import prepare
    from bss2jax.training.tuning import SLOPES, tune_surrogate

    parsed, _ = config.load(arguments.config, arguments.overrides)
    window, phase = arguments.window, parsed.phases[0]
    with window.stage(f"loading {parsed.data.source}"):
        experiment = prepare(parsed)
    with window.stage("measuring gradients"):
        try:
            tuning = tune_surrogate(
                experiment.task, phase, experiment.initial(), experiment.training,
                experiment.chip, experiment.phase_key(0), slopes=arguments.slopes or SLOPES,
            )  # fmt: skip
            best = tuning.best
        except ValueError as error:
            raise CallError(f"{parsed.name}: {error}") from None
    path = Path(arguments.out or f"{parsed.name}_gradients.png")

    def drawn() -> Figure:
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        plot.gradient_norms(tuning.norms, tuning.slopes, best=best, ax=figure.subplots())
        return figure

    write_picture(drawn, path)
    if arguments.json:
        told = {
            "slopes": tuning.slopes, "layers": tuning.layers, "norms": tuning.norms.tolist(),
            "ratios": tuning.ratios.tolist(), "best": best,
        }  # fmt: skip
        window.result(json.dumps(told, indent=2))
        return
    _say(tuning, arguments)
    window.say()
    window.result(str(path))


def _say(tuning: "Tuning", arguments: argparse.Namespace) -> None:
    """The table, and what to set."""
    window, (first, *_, last) = arguments.window, tuning.layers
    best, ratios = tuning.best, tuning.ratios
    header = ("slope", f"gradient of {first}", f"of {last}", "first / last", "")
    window.table(
        header,
        [
            (f"{slope:.3g}", f"{norms[0]:.3g}", f"{norms[-1]:.3g}", f"{ratio:.3g}",
             "best" if slope == best else "")
            for slope, norms, ratio in zip(tuning.slopes, tuning.norms, ratios)
        ],
    )  # fmt: skip
    window.say()
    window.result(
        f"slope {best:.3g}: over {len(tuning.layers)} layers the gradient changes by a factor of "
        f"{ratios[tuning.slopes.index(best)]:.3g}; set it in the surrogate of each"
    )
    if best in (tuning.slopes[0], tuning.slopes[-1]) and len(tuning.slopes) > 1:
        window.say("it is at the end of what was tried: try others with --slopes")
