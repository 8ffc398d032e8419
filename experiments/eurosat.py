"""EuroSAT on spiking neurons: all simulated, first layer on the chip, all on the chip.

    python experiments/eurosat.py eurosat --chips 3

trains the config up to its last phase, then three times through the last: with every layer
simulated (`float`), with only the first on the chip (mixed), and with all of them there; the latter
two for each of n chips. Writes `eurosat.md` and `eurosat.png`: accuracy and loss against epoch, as
in the figure of Arnold et al. 2025 that compares the three. What is finished is kept, and taken
from there when the command is given again.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from kept import trained

from bss2jax import config, experiment
from bss2jax.config import ConfigError
from bss2jax.text import table

LABELS = {"float": "all simulated", "mixed": "first layer on the chip", "chip": "all on the chip"}


def executions(prepared: experiment.Experiment) -> dict:
    """Returns what each way of training runs its layers on."""
    first, *others = prepared.task.network.names
    return {
        "float": "float",
        "mixed": {first: "chip"} | dict.fromkeys(others, "float"),
        "chip": "chip",
    }


def tested(prepared: experiment.Experiment, params, way: str, on) -> dict:
    """Tests parameters on an execution, and returns the figures."""
    result = prepared.test_result(params, on)
    print(f"{way}: test {100 * result.accuracy:.2f} %", flush=True)
    return {
        "on": on,
        "test_accuracy": result.accuracy,
        "test_balanced_accuracy": result.balanced_accuracy,
        "test_class_accuracy": result.class_accuracy,
        "test_confusion": result.confusion,
    }


def compare(name: str, overrides: list[str], chips: range, out: Path) -> dict:
    """Trains in all three ways; returns figures by way, a list of one for each chip."""
    parsed, text = config.load(name, overrides)
    if len(parsed.phases) < 2 or any(phase.on_chip for phase in parsed.phases[:-1]):
        raise ConfigError("phases: expected two or more, only the last one on the chip")
    prepared = experiment.prepare(parsed)
    last = len(parsed.phases) - 1

    def train(here, number, start, way, on):
        test = partial(tested, here, way=way, on=on)
        return trained(here, text, [number], start, out / way, test)

    params, found = prepared.initial(), {"before": []}
    for number, phase in enumerate(parsed.phases[:-1]):
        params, figures = train(prepared, number, params, f"phase-{number}", phase.on)
        found["before"].append(figures)
    for way, on in executions(prepared).items():
        phases = (*parsed.phases[:-1], replace(parsed.phases[-1], on=on))
        here = replace(prepared, config=replace(parsed, phases=phases))
        if way == "float":
            found[way] = [train(here, last, params, way, on)[1]]
            continue
        found[way] = [
            train(here.with_chip(chip), last, params, f"{way}-{chip}", on)[1] for chip in chips
        ]
    return found


def write_table(found: dict, samples: int, out: Path) -> str:
    """Writes the test accuracies, mean and spread over chips."""
    rows = []
    for way, label in LABELS.items():
        accuracy = 100 * np.array([figures["test_accuracy"] for figures in found[way]])
        balanced = 100 * np.array([figures["test_balanced_accuracy"] for figures in found[way]])
        spread = f"{accuracy.std(ddof=1):.2f}" if len(accuracy) > 1 else "-"
        each = " ".join(f"{value:.2f}" for value in accuracy)
        rows.append((label, f"{accuracy.mean():.2f}", spread, f"{balanced.mean():.2f}", each))
    text = table(("test accuracy, %", "mean", "std", "balanced", "each"), rows)
    mean = np.mean([figures["test_accuracy"] for figures in found["chip"]])
    error = 100 * np.sqrt(mean * (1 - mean) / samples)
    text += f"\n\nstandard error of one figure on {samples} test images: {error:.2f}"
    (out / "eurosat.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    return text


def draw(found: dict, out: Path) -> None:
    """Draws accuracy and loss of the validation images against epoch: mean and range over chips."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    looks = {"float": ("#000000", "o"), "mixed": ("#0072B2", "s"), "chip": ("#D55E00", "^")}
    before = [epoch for figures in found["before"] for epoch in figures["epochs"]]
    for axes, key, factor in zip(panels, ("validation_accuracy", "validation_loss"), (100, 1)):
        y = [factor * epoch[key] for epoch in before]
        axes.plot(range(1, len(y) + 1), y, color="0.5", label="before: all simulated")
        for way, (colour, marker) in looks.items():
            runs_of = np.array([[e[key] for e in figures["epochs"]] for figures in found[way]])
            curve, x = factor * runs_of, len(before) + 1 + np.arange(runs_of.shape[1])
            axes.plot(x, curve.mean(axis=0), color=colour, marker=marker, label=LABELS[way])
            axes.fill_between(x, curve.min(axis=0), curve.max(axis=0), color=colour, alpha=0.2)
        axes.set_xlabel("epoch (number)")
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("validation accuracy (%)")
    panels[1].set_ylabel("validation loss (nats)")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(out / "eurosat.png", dpi=120)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="eurosat")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--chips", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first of the chips")
    parser.add_argument("--out", type=Path, help="default: runs/executions-CONFIG")
    parsed = parser.parse_args(arguments)
    out = parsed.out or Path("runs") / f"executions-{Path(parsed.config).stem}"
    out.mkdir(parents=True, exist_ok=True)
    chips = range(parsed.first, parsed.first + parsed.chips)
    found = compare(parsed.config, parsed.overrides, chips, out)
    samples = sum(map(sum, found["chip"][0]["test_confusion"]))
    print("\n" + write_table(found, samples, out))
    draw(found, out)
    print(f"\ntable, figure and runs are in {out}")


if __name__ == "__main__":
    main()
