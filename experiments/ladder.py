"""The ladder: float, quantised, moved to the chip untrained, trained in the loop; over many chips.

    python experiments/ladder.py mnist_ladder --chips 10

trains the config for each of n chips and writes `ladder.md` and `ladder.png`. Phases before the
first on the chip are the same for all, and trained once. The published ladder for the network of
`mnist_ladder` on silicon: float 98.29, quantised 98.10, moved to the chip untrained 92.13, trained
in the loop 98.01 (Weis et al. 2020, arXiv 2006.13177; the ladder as quoted in a survey).
"""

from pathlib import Path

import numpy as np
from study import COLOURS, Study, figure, first_on_chip, parser, read, write

from bss2jax.networks.rungs import RUNGS
from bss2jax.text import table

LABELS = [rung.label for rung in RUNGS.values()]
PUBLISHED = {"mnist_ladder": (98.29, 98.10, 92.13, 98.01)}


def climb(study: Study, chips: range) -> np.ndarray:
    """Trains on every chip; returns test accuracies `[chips, rungs]` in percent."""
    start = study.branch(first_on_chip(study.config))
    runs = [study.run(f"chip-{chip}", f"chip.seed={chip}", *start) for chip in chips]
    return np.array([[100 * read(run)["test_accuracy"][rung] for rung in RUNGS] for run in runs])


def describe(accuracy: np.ndarray, published: tuple[float, ...] | None) -> str:
    """Mean and spread over chips beside the published figures."""
    std = accuracy.std(axis=0, ddof=int(len(accuracy) > 1))
    rows = [
        (
            label,
            f"{accuracy[:, i].mean():.2f} ± {std[i]:.2f}",
            f"{accuracy[:, i].min():.2f}",
            f"{published[i]:.2f}" if published else "-",
        )
        for i, label in enumerate(LABELS)
    ]
    header = ("test accuracy, %", f"mean ± std, {len(accuracy)} chips", "worst", "on silicon")
    return table(header, rows)


def draw(accuracy: np.ndarray, published: tuple[float, ...] | None, out: Path) -> None:
    """Draws every chip's ladder and the published one."""
    with figure(out / "ladder.png") as axes:
        place = np.arange(len(LABELS))
        lines = axes.plot(place, accuracy.T, "o-", color=COLOURS[0], alpha=0.5, markersize=4)
        lines[0].set_label(f"{len(accuracy)} simulated chips")
        if published:
            label = "on silicon (Weis et al. 2020)"
            axes.plot(place, published, "s--", color=COLOURS[1], label=label)
        axes.set_xticks(place, LABELS)
        axes.set(xlim=(-0.4, len(LABELS) - 0.6), ylabel="test accuracy (%)")


def main(arguments: list[str] | None = None) -> None:
    parsed = parser(__doc__, "mnist_ladder", chips=(10, 1), first=(0, 0)).parse_args(arguments)
    name = Path(parsed.config).stem
    out = parsed.out or Path("runs") / f"ladder-{name}"
    study = Study.of(parsed.config, parsed.overrides, out)
    accuracy = climb(study, range(parsed.first, parsed.first + parsed.chips))
    draw(accuracy, PUBLISHED.get(name), out)
    write(describe(accuracy, PUBLISHED.get(name)), out, "ladder")


if __name__ == "__main__":
    main()
