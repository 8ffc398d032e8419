"""EuroSAT on spiking neurons: all simulated, first layer on the chip, all on the chip.

    python experiments/eurosat.py eurosat --chips 3

trains the config up to its last phase, then three times through the last: with every layer
simulated (`float`), with only the first on the chip (mixed), and with all of them there; the latter
two for each of n chips. Writes `eurosat.md` and `eurosat.png`: accuracy and loss against epoch, as
in the figure of Arnold et al. 2025 that compares the three.
"""

from pathlib import Path

import numpy as np
from study import COLOURS, Study, figure, parser, read, require_last_on_chip, write

from bss2jax.config import ConfigError
from bss2jax.runs.directory import RunDirectory
from bss2jax.text import table

LABELS = {"float": "all simulated", "mixed": "first layer on the chip", "chip": "all on the chip"}


def train(study: Study, chips: range) -> dict[str, list[RunDirectory]]:
    """Trains in all three ways; returns the runs by way, one for each chip."""
    last = require_last_on_chip(study.config)
    if last == 0:
        raise ConfigError("phases: expected two or more, only the last one on the chip")
    first, *others = study.experiment.task.network.names
    mixed = ", ".join([f'"{first}" = "chip"', *(f'"{name}" = "float"' for name in others)])
    start, on = study.branch(last), f"phases.{last}.on"

    def over_chips(way: str, executions: str) -> list[RunDirectory]:
        each = {chip: (f"{on}={executions}", f"chip.seed={chip}", *start) for chip in chips}
        return [study.run(f"{way}-{chip}", *overrides) for chip, overrides in each.items()]

    return {
        "before": [RunDirectory(study.out / "before")],
        "float": [study.run("float", f"{on}=float", *start)],
        "mixed": over_chips("mixed", f"{{{mixed}}}"),
        "chip": over_chips("chip", "chip"),
    }


def describe(runs: dict[str, list[RunDirectory]]) -> str:
    """The test accuracies, mean and spread over chips."""
    rows = []
    for way, label in LABELS.items():
        rung, summaries = "float" if way == "float" else "chip", [read(run) for run in runs[way]]
        accuracy, balanced = (
            100 * np.array([summary[f"test_{kind}"][rung] for summary in summaries])
            for kind in ("accuracy", "balanced_accuracy")
        )
        std = f"{accuracy.std(ddof=1):.2f}" if len(accuracy) > 1 else "-"
        each = " ".join(f"{value:.2f}" for value in accuracy)
        rows.append((label, f"{accuracy.mean():.2f}", std, f"{balanced.mean():.2f}", each))
    mean, samples = accuracy.mean() / 100, summaries[0]["test_samples"]
    error = 100 * np.sqrt(mean * (1 - mean) / samples)
    text = table(("test accuracy, %", "mean", "std", "balanced", "each"), rows)
    return f"{text}\n\nstandard error of one figure on {samples} test images: {error:.2f}"


def draw(runs: dict[str, list[RunDirectory]], out: Path) -> None:
    """Draws accuracy and loss of the validation images against epoch: mean and range over chips."""
    epochs = {way: [read(run, "metrics.jsonl") for run in each] for way, each in runs.items()}
    looks = {"float": (COLOURS[2], "o"), "mixed": (COLOURS[0], "s"), "chip": (COLOURS[1], "^")}
    with figure(out / "eurosat.png", panels=2, width=8.0) as panels:
        for axes, kind, factor in zip(panels, ("accuracy", "loss"), (100, 1)):
            curves = {
                way: factor * np.array([[e[f"validation_{kind}"] for e in run] for run in each])
                for way, each in epochs.items()
            }
            before = curves.pop("before")[0]
            axes.plot(np.arange(len(before)) + 1, before, color=COLOURS[3], label="before")
            for way, curve in curves.items():
                x, (colour, marker) = len(before) + 1 + np.arange(curve.shape[1]), looks[way]
                axes.plot(x, curve.mean(axis=0), color=colour, marker=marker, label=LABELS[way])
                axes.fill_between(x, curve.min(axis=0), curve.max(axis=0), color=colour, alpha=0.2)
            unit = {"accuracy": "%", "loss": "nats"}[kind]
            axes.set(xlabel="epoch (number)", ylabel=f"validation {kind} ({unit})")


def main(arguments: list[str] | None = None) -> None:
    parsed = parser(__doc__, "eurosat", chips=(3, 1), first=(0, 0)).parse_args(arguments)
    out = parsed.out or Path("runs") / f"executions-{Path(parsed.config).stem}"
    study = Study.of(parsed.config, parsed.overrides, out)
    runs = train(study, range(parsed.first, parsed.first + parsed.chips))
    draw(runs, out)
    write(describe(runs), out, "eurosat")


if __name__ == "__main__":
    main()
