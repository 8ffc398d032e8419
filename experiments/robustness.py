"""Robustness: accuracy against de-calibration, merely transferred and trained in the loop.

    python experiments/robustness.py mnist16_spiking

De-calibration d is the relative spread, over neuron circuits, of the threshold and both time
constants; all else is the default chip's. The same chip is trained and tested on. Each seed trains
its own network and has its own chip; what precedes the chip is trained once a seed. On silicon,
training in the loop loses nothing up to 30 % (Cramer et al. 2022, 10.1073/pnas.2109194119).
"""

from pathlib import Path

import numpy as np
from study import COLOURS, Study, figure, first_on_chip, parser, read, spread, write

from bss2jax.networks.rungs import RUNGS
from bss2jax.text import table

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
MEASURED = ("transfer", "chip")


def decalibrated(level: float) -> list[str]:
    """In what a run at a level differs."""
    return [f"mismatch.{name}={level}" for name in ("threshold", "tau_mem", "tau_syn")]


def curve(study: Study, levels: tuple[float, ...]) -> list[list[float]]:
    """Returns test accuracies `[levels, 2]` in percent: transferred, in the loop."""
    start = study.branch(first_on_chip(study.config))
    runs = [study.run(f"{level:.0%}"[:-1], *decalibrated(level), *start) for level in levels]
    return [[100 * read(run)["test_accuracy"][rung] for rung in MEASURED] for run in runs]


def describe(accuracy: np.ndarray, levels: tuple[float, ...]) -> str:
    """Mean and spread over seeds `[seeds, levels, 2]`, and what is lost in the loop."""
    mean = accuracy[:, :, 1].mean(axis=0)
    rows = [
        (
            f"{level:.0%}",
            spread(accuracy[:, i, 0]),
            spread(accuracy[:, i, 1]),
            f"{mean[0] - mean[i]:+.2f}",
        )
        for i, level in enumerate(levels)
    ]
    header = ("de-calibration", "transferred, %", "in the loop, %", "lost in the loop, points")
    return table(header, rows) + f"\n\nmean ± std of {len(accuracy)} seeds"


def draw(accuracy: np.ndarray, levels: tuple[float, ...], out: Path) -> None:
    """Draws both curves, every seed as a point."""
    with figure(out / "robustness.png") as axes:
        percent = 100 * np.array(levels)
        for i, (rung, colour, marker) in enumerate(zip(MEASURED, COLOURS[1::-1], "so")):
            mean = accuracy[:, :, i].mean(axis=0)
            axes.plot(percent, mean, color=colour, marker=marker, label=RUNGS[rung].label)
            axes.plot(percent, accuracy[:, :, i].T, ".", color=colour, alpha=0.4)
        axes.set(xlabel="de-calibration (%)", ylabel="test accuracy (%)")


def main(arguments: list[str] | None = None) -> None:
    made = parser(__doc__, seeds=(3, 1))
    made.add_argument("--levels", type=float, nargs="+", default=LEVELS)
    parsed = made.parse_args(arguments)
    out, levels, curves = parsed.out or Path("runs/robustness"), tuple(parsed.levels), []
    for seed in range(parsed.seeds):
        overrides = [*parsed.overrides, f"seed={seed}", f"chip.seed={seed}"]
        curves.append(curve(Study.of(parsed.config, overrides, out / f"seed-{seed}"), levels))
    accuracy = np.array(curves)
    draw(accuracy, levels, out)
    write(describe(accuracy, levels), out, "robustness")


if __name__ == "__main__":
    main()
