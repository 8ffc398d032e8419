"""The ladder: float, quantised, moved to the chip untrained, trained in the loop; over many chips.

    python experiments/ladder.py mnist_ladder --chips 10

trains the config for each of n chips and writes `ladder.md` and `ladder.png`. Phases before the
first on the chip are the same for all, and trained once. What is finished is kept, and taken from
there when the same command is given again. The published ladder for the network of `mnist_ladder`
on silicon: float 98.29, quantised 98.10, moved to the chip untrained 92.13, trained in the loop
98.01 (Weis et al. 2020, arXiv 2006.13177; the ladder as quoted in a survey).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from kept import trained

from bss2jax import config, experiment
from bss2jax.text import table

RUNGS = tuple(experiment.RUNGS)
LABELS = ("float", "quantised", "moved to the chip", "trained in the loop")
PUBLISHED = {"mnist_ladder": (98.29, 98.10, 92.13, 98.01)}


def climb(name: str, overrides: list[str], chips: range, out: Path) -> np.ndarray:
    """Trains on every chip; returns test accuracies `[chips, rungs]` in percent."""
    parsed, text = config.load(name, overrides)
    prepared = experiment.prepare(parsed)
    phases = range(len(parsed.phases))
    first = next((i for i in phases if parsed.phases[i].on_chip), len(phases))
    nominal = prepared.initial()
    for i in phases[:first]:
        until = replace(prepared, config=replace(parsed, phases=parsed.phases[: i + 1]))
        nominal, _ = trained(until, text, [i], nominal, out / f"phase-{i}", lambda params: {})
    accuracies = []
    for chip in chips:
        here = prepared.with_chip(chip)

        def tested(params, here=here):
            rungs = {name: rung.accuracy for name, rung in here.rungs(nominal).items()}
            rungs["chip"] = here.test_accuracy(params, here.on_chip)
            return {"test_accuracy": rungs}

        _, figures = trained(here, text, phases[first:], nominal, out / f"chip-{chip}", tested)
        rungs = figures["test_accuracy"]
        accuracies.append([100 * rungs[rung] for rung in RUNGS])
        print(f"chip {chip}: " + ", ".join(f"{k} {100 * v:.2f}" for k, v in rungs.items()))
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
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first of the chips")
    parser.add_argument("--out", type=Path, help="default: runs/ladder-CONFIG")
    parsed = parser.parse_args(arguments)
    if parsed.chips < 1:
        parser.error("--chips: expected 1 or more")
    out = parsed.out or Path("runs") / f"ladder-{Path(parsed.config).stem}"
    out.mkdir(parents=True, exist_ok=True)
    accuracy = climb(
        parsed.config, parsed.overrides, range(parsed.first, parsed.first + parsed.chips), out
    )
    published = PUBLISHED.get(Path(parsed.config).stem)
    print("\n" + write_table(accuracy, published, out))
    draw(accuracy, published, out)
    print(f"\ntable, figure and runs are in {out}")


if __name__ == "__main__":
    main()
