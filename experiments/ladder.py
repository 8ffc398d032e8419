"""The ladder: float, quantised, moved to the chip untrained, trained in the loop; over many chips.

    python experiments/ladder.py mnist_ladder --chips 5

trains the config once for each `chip.seed` 0..n-1 and writes `ladder.md` and `ladder.png`. The
published ladder for this network on silicon: float 98.29, quantised 98.10, moved to the chip
untrained 92.13, trained in the loop 98.01 (Weis et al. 2020, arXiv 2006.13177; the ladder as
quoted in a survey).
"""

import argparse
import json
from pathlib import Path

import numpy as np

from bss2jax import config, experiment
from bss2jax.mapping.partition import table

RUNGS = ("float", "ideal", "transfer", "chip")
LABELS = ("float", "quantised", "moved to the chip", "trained in the loop")
PUBLISHED = {"mnist_ladder": (98.29, 98.10, 92.13, 98.01)}


def climb(name: str, overrides: list[str], chips: int, out: Path) -> np.ndarray:
    """Trains on every chip; returns test accuracies `[chips, rungs]` in percent."""
    accuracies = []
    for chip in range(chips):
        where = [f"chip.seed={chip}", f'run.dir="{out / f"chip-{chip}"}"']
        parsed, text = config.load(name, [*overrides, *where])
        summary = json.loads(experiment.run(parsed, text).read("summary.json"))
        accuracies.append([100 * summary["test_accuracy"][rung] for rung in RUNGS])
    return np.array(accuracies)


def write_table(accuracy: np.ndarray, published: tuple[float, ...] | None, out: Path) -> str:
    """Writes mean and spread over chips beside the published figures."""
    spread = accuracy.std(axis=0, ddof=1) if len(accuracy) > 1 else np.zeros(len(RUNGS))
    rows = [
        (
            label,
            f"{accuracy[:, i].mean():.2f} ± {spread[i]:.2f}",
            f"{accuracy[:, i].min():.2f}",
            f"{published[i]:.2f}" if published else "-",
        )
        for i, label in enumerate(LABELS)
    ]
    header = ("test accuracy, %", f"mean ± std, {len(accuracy)} chips", "worst", "on silicon")
    text = table(header, rows)
    (out / "ladder.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    return text


def draw(accuracy: np.ndarray, published: tuple[float, ...] | None, out: Path) -> None:
    """Draws every chip's ladder and the published one."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    place = np.arange(len(RUNGS))
    lines = axes.plot(place, accuracy.T, color="#0072B2", alpha=0.5, marker="o", markersize=4)
    lines[0].set_label(f"{len(accuracy)} simulated chips")
    if published:
        axes.plot(place, published, "s--", color="#D55E00", label="on silicon (Weis et al. 2020)")
    axes.set_xticks(place, LABELS)
    axes.set_xlim(-0.4, len(RUNGS) - 0.6)
    axes.set_ylabel("test accuracy (%)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(out / "ladder.png", dpi=130)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="mnist_ladder")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--out", type=Path, help="default: runs/ladder-CONFIG")
    parsed = parser.parse_args(arguments)
    out = parsed.out or Path("runs") / f"ladder-{Path(parsed.config).stem}"
    out.mkdir(parents=True, exist_ok=True)
    accuracy = climb(parsed.config, parsed.overrides, parsed.chips, out)
    published = PUBLISHED.get(Path(parsed.config).stem)
    print("\n" + write_table(accuracy, published, out))
    draw(accuracy, published, out)
    print(f"\ntable, figure and runs are in {out}")


if __name__ == "__main__":
    main()
