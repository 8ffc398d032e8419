"""Train for one chip, or for any: four trainings, each on the same chip and on 20 it never met.

    python experiments/one_chip_or_any.py mnist_ladder --chips 20

The config's phases before the first on the chip are trained once; from there its last phase is
trained in four ways: on a perfect chip (nominal), with the chip's noise but no fixed pattern, on
one chip in the loop, and on another chip in each step. Writes `one_chip_or_any.md`, a figure, and a
run directory for each training.
"""

from pathlib import Path

import numpy as np
from study import COLOURS, Study, figure, kept, parser, require_last_on_chip, spread, write

from bss2jax import experiment
from bss2jax.runs.directory import RunDirectory
from bss2jax.text import table

LABELS = {
    "nominal": "nominal training",
    "noise": "noise only",
    "one": "one chip in the loop",
    "any": "another chip each step",
}


def ways(study: Study, last: int) -> dict[str, tuple[str, ...]]:
    """In what the four runs differ."""
    noise = study.config.noise
    return {
        "nominal": (f"phases.{last}.on=ideal",),
        "noise": ("mismatch.preset=none", f"noise.std={noise.std}", f"noise.send={noise.send}"),
        "one": (),
        "any": (f"phases.{last}.chip=resample",),
    }


def train(study: Study, chips: int) -> dict[str, dict]:
    """Trains in four ways; returns test accuracy on the run's chip, and on others."""
    last, found = require_last_on_chip(study.config), {}
    start = study.branch(last)
    for way, overrides in ways(study, last).items():
        run = study.run(way, *overrides, *start)
        found[way] = kept(run, f"over-{chips}.json", lambda run=run: measured(study, run, chips))
    return found


def measured(study: Study, run: RunDirectory, chips: int) -> dict:
    """Measures alike whatever was trained: as the config means "on the chip", with its noise."""
    learned, prepared = study.learned(run), study.experiment
    own = prepared.test_accuracy(learned, prepared.on_chip)
    others = experiment.over_chips(prepared, learned, chips)
    return {"own_chip": own, "other_chips": others.tolist()}


def describe(found: dict[str, dict]) -> str:
    """Accuracy on the chip of the training, and mean, spread and worst on the others."""
    rows = []
    for way, each in found.items():
        others = 100 * np.array(each["other_chips"])
        own = f"{100 * each['own_chip']:.2f}"
        rows.append((LABELS[way], own, spread(others), f"{others.min():.2f}"))
    return table(("test accuracy, %", "own chip", f"{len(others)} other chips", "worst"), rows)


def draw(found: dict[str, dict], out: Path) -> None:
    """Draws every chip's accuracy for every training."""
    with figure(out / "one_chip_or_any.png") as axes:
        for place, each in enumerate(found.values()):
            others = 100 * np.array(each["other_chips"])
            x, own = place + np.linspace(-0.2, 0.2, len(others)), 100 * each["own_chip"]
            labels = (None, None) if place else ("chips not seen", "own chip")
            axes.plot(x, others, "o", color=COLOURS[0], markersize=4, alpha=0.7, label=labels[0])
            axes.plot(place, own, "D", color=COLOURS[1], label=labels[1])
        axes.set_xticks(range(len(found)), [LABELS[way] for way in found], fontsize=8)
        axes.set_ylabel("test accuracy (%)")


def main(arguments: list[str] | None = None) -> None:
    parsed = parser(__doc__, "mnist_ladder", chips=(20, 2)).parse_args(arguments)
    out = parsed.out or Path("runs/one_chip_or_any")
    found = train(Study.of(parsed.config, parsed.overrides, out), parsed.chips)
    draw(found, out)
    write(describe(found), out, "one_chip_or_any")


if __name__ == "__main__":
    main()
