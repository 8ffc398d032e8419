"""Robustness: accuracy against de-calibration, merely transferred and trained in the loop.

    python experiments/robustness.py mnist16_spiking

De-calibration d is the relative spread, over neuron circuits, of the threshold and both time
constants; all else is the default chip's. The same chip is trained and tested on. Each seed trains
its own network and has its own chip; what precedes the chip is trained once a seed. On silicon,
training in the loop loses nothing up to 30 % (Cramer et al. 2022, 10.1073/pnas.2109194119).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from bss2jax import config, experiment, sample_chip
from bss2jax.text import table

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def curve(name: str, overrides: list[str], seeds: int, levels: tuple[float, ...]) -> np.ndarray:
    """Returns test accuracies `[seeds, levels, 2]` in percent: transferred, in the loop."""
    accuracy = np.zeros((seeds, len(levels), 2))
    for seed in range(seeds):
        parsed, _ = config.load(name, [*overrides, f"seed={seed}", f"chip.seed={seed}"])
        prepared = experiment.prepare(parsed)
        phases = range(len(parsed.phases))
        first = next((i for i in phases if parsed.phases[i].on_chip), len(phases))
        nominal = prepared.initial()
        for i in phases[:first]:
            nominal = prepared.train(i, nominal)
        for j, level in enumerate(levels):
            here = decalibrated(prepared, level)
            params = nominal
            transferred = here.test_accuracy(params, here.on_chip)
            for i in phases[first:]:
                params = here.train(i, params)
            in_loop = here.test_accuracy(params, here.on_chip)
            accuracy[seed, j] = 100 * transferred, 100 * in_loop
            print(f"seed {seed}, {level:.0%}: {accuracy[seed, j]}", flush=True)
    return accuracy


def decalibrated(prepared: experiment.Experiment, level: float) -> experiment.Experiment:
    """The same experiment on the same specimen of chip, with other spreads."""
    spreads = replace(prepared.task.mismatch, threshold=level, tau_mem=level, tau_syn=level)
    chip = sample_chip(jax.random.key(prepared.config.chip.seed), spreads)
    return replace(prepared, task=replace(prepared.task, mismatch=spreads), chip=chip)


def write_table(accuracy: np.ndarray, levels: tuple[float, ...], out: Path) -> str:
    """Writes mean and spread over seeds, and what is lost against no de-calibration."""
    mean = accuracy.mean(axis=0)
    spread = accuracy.std(axis=0, ddof=1) if len(accuracy) > 1 else np.zeros_like(mean)
    rows = [
        (
            f"{level:.0%}",
            *(f"{mean[j, k]:.2f} ± {spread[j, k]:.2f}" for k in range(2)),
            f"{mean[0, 1] - mean[j, 1]:+.2f}",
        )
        for j, level in enumerate(levels)
    ]
    header = ("de-calibration", "transferred, %", "in the loop, %", "lost in the loop, points")
    text = table(header, rows) + f"\n\nmean ± std of {len(accuracy)} seeds"
    (out / "robustness.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    return text


def draw(accuracy: np.ndarray, levels: tuple[float, ...], out: Path) -> None:
    """Draws both curves, every seed as a point."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    percent = 100 * np.array(levels)
    for k, (label, colour, marker) in enumerate(
        (("moved to the chip", "#D55E00", "s"), ("trained in the loop", "#0072B2", "o"))
    ):
        axes.plot(percent, accuracy[:, :, k].mean(axis=0), color=colour, marker=marker, label=label)
        for seed in accuracy[:, :, k]:
            axes.plot(percent, seed, ".", color=colour, alpha=0.4)
    axes.set(xlabel="de-calibration, %", ylabel="test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out / "robustness.png", dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a shipped config or a TOML file, of a spiking network")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS)
    parser.add_argument("--out", type=Path, default=Path("runs/robustness"))
    parsed = parser.parse_args(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    levels = tuple(parsed.levels)
    accuracy = curve(parsed.config, parsed.overrides, parsed.seeds, levels)
    print(write_table(accuracy, levels, parsed.out))
    draw(accuracy, levels, parsed.out)


if __name__ == "__main__":
    main()
