"""Train for one chip, or for any: four trainings, each on the same chip and on 20 it never met.

    python experiments/one_chip_or_any.py mnist_ladder --chips 20

The config's phases before the first on the chip are trained once; from there its last phase is
trained in four ways: on a perfect chip (nominal), with the chip's noise but no fixed pattern, on
one chip in the loop, and on another chip in each step. Writes `one_chip_or_any.md`, a figure, and a
run directory for each training.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from bss2jax import Mismatch, config, experiment, sample_chip
from bss2jax.config import Config, ConfigError
from bss2jax.runs import directory as runs
from bss2jax.text import table

LABELS = {
    "nominal": "nominal training",
    "noise": "noise only",
    "one": "one chip in the loop",
    "any": "another chip each step",
}


def ways(parsed: Config) -> dict[str, Config]:
    """The config with its last phase in each of the four ways."""
    last = parsed.phases[-1]
    phases = {
        "nominal": replace(last, on="ideal"),
        "noise": last,
        "one": last,
        "any": replace(last, chip="resample"),
    }
    return {way: replace(parsed, phases=(*parsed.phases[:-1], p)) for way, p in phases.items()}


def study(parsed: Config, chips: int, out: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Trains in four ways; returns test accuracy in percent on the run's chip, and `[chips]`."""
    if any(phase.on_chip for phase in parsed.phases[:-1]) or not parsed.phases[-1].on_chip:
        raise ConfigError("phases: expected only the last one on the chip")
    prepared = experiment.prepare(parsed)
    last = len(parsed.phases) - 1
    start = prepared.initial()
    for i in range(last):
        start = prepared.train(i, start)
    spreads = parsed.spreads
    noise = {"noise_std": spreads.noise_std, "send_noise": spreads.send_noise}
    key = jax.random.key(parsed.chip.seed)
    patternless = sample_chip(key, replace(Mismatch.none(), **noise))
    results = {}
    for way, changed in ways(parsed).items():
        chip = patternless if way == "noise" else prepared.chip
        params = replace(prepared, config=changed, chip=chip).train(last, start)
        # Measured alike: as the config means "on the chip", with the same noise.
        own = prepared.test_accuracy(params, prepared.on_chip)
        others = experiment.over_chips(prepared, params, chips)
        with runs.opened(parsed.name, str(out / way)) as run:
            run.write("resolved.toml", config.dump(changed))
            run.write("environment.json", runs.environment())
            run.save("final", params)
            run.write("summary.json", {"own_chip": own, "other_chips": others.tolist()})
        results[way] = (100 * own, 100 * others)
        print(f"{LABELS[way]}: {100 * own:.2f}, others {100 * others.mean():.2f}", flush=True)
    return results


def write_table(results: dict[str, tuple[float, np.ndarray]], out: Path) -> str:
    """Writes accuracy on the chip of the training, and mean, spread and worst on the others."""
    count = len(next(iter(results.values()))[1])
    rows = [
        (
            LABELS[way],
            f"{own:.2f}",
            f"{others.mean():.2f} ± {others.std(ddof=1):.2f}",
            f"{others.min():.2f}",
        )
        for way, (own, others) in results.items()
    ]
    header = ("test accuracy, %", "own chip", f"{count} other chips", "worst of them")
    text = table(header, rows)
    (out / "one_chip_or_any.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    return text


def draw(results: dict[str, tuple[float, np.ndarray]], out: Path) -> None:
    """Draws every chip's accuracy for every training."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for place, (own, others) in enumerate(results.values()):
        x = place + np.linspace(-0.2, 0.2, len(others))
        first = place == 0
        axes.plot(x, others, "o", color="#0072B2", markersize=4, alpha=0.7,
                  label="chips not seen" if first else None)  # fmt: skip
        axes.plot(place, own, "D", color="#D55E00", label="own chip" if first else None)
    axes.set_xticks(range(len(results)), [LABELS[way] for way in results], fontsize=8)
    axes.set_ylabel("test accuracy (%)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(out / "one_chip_or_any.png", dpi=130)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="mnist_ladder")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/one_chip_or_any"))
    parsed = parser.parse_args(arguments)
    if parsed.chips < 2:
        parser.error(f"--chips: expected 2 or more, got {parsed.chips}")
    parsed.out.mkdir(parents=True, exist_ok=True)
    loaded, _ = config.load(parsed.config, parsed.overrides)
    results = study(loaded, parsed.chips, parsed.out)
    print("\n" + write_table(results, parsed.out))
    draw(results, parsed.out)
    print(f"\ntable, figure and runs are in {parsed.out}")


if __name__ == "__main__":
    main()
