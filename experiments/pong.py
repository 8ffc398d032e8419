"""Pong by rewarded plasticity: on an ideal chip, on one with mismatch, and moved between chips.

    python experiments/pong.py

Trains the config `pong` on an ideal chip and on a default one, then measures both without noise and
without learning, and the weights of each on the other. Writes `pong.md` and `pong.png`. What is
done is kept in the output directory, and gone on with.

References: brainscales2-demos ts_07, whose figures of silicon were read by eye.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from study import COLOURS, read

from bss2jax.config.plastic import load_plastic
from bss2jax.emulation import Emulation, prepare
from bss2jax.plastic import emulate
from bss2jax.plot import weight_matrices
from bss2jax.runs import plastic
from bss2jax.text import table

CHIPS = {
    "ideal chip": (),
    "default chip": ("mismatch.preset=calibrated", "sensors.spread=calibrated"),
}
SILICON = {"success at first": 0.1, "success": 0.33, "reward": -1.1, "diagonal": 2.5, "off": 0.1}


def still(observed, weights, memory, key):
    """Learns nothing."""
    return weights, memory


def tested(emulation: Emulation, weights: jax.Array) -> float:
    """Returns the success over all places, without noise and without learning."""
    places = emulation.hybrid.neurons
    quiet = replace(emulation.environment, noise=0)
    run = jax.jit(lambda h, s: emulate(h, still, quiet, s, emulation.key, places)[1].score)
    return float(run(emulation.hybrid, emulation.begin(weights))["success"].mean())


def learned(weights: np.ndarray) -> tuple[float, float]:
    """Returns the mean weight where row and neuron are the same place, and of all others."""
    places = weights.shape[1]
    same = np.eye(places, dtype=bool)
    return float(weights[:places][same].mean()), float(weights[:places][~same].mean())


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("overrides", nargs="*", help="of the config, such as periods=2000")
    made.add_argument("--out", type=Path, default=Path("runs/pong"))
    parsed = made.parse_args(arguments)
    runs, emulations, weights = {}, {}, {}
    for chip, settings in CHIPS.items():
        where = f"run.dir={parsed.out / chip.split()[0]}"
        config, text = load_plastic("pong", [*parsed.overrides, *settings, where])
        runs[chip], emulations[chip] = plastic.train(config, text), prepare(config)
        weights[chip] = runs[chip].restore("final", emulations[chip].begin()).weights
    rows, curves = [], {}
    for chip, run in runs.items():
        lines = read(run, "metrics.jsonl")
        last = plastic.last_figures(run)
        diagonal, rest = learned(np.asarray(weights[chip]))
        other = next(name for name in CHIPS if name != chip)
        rows.append([
            chip, f"{lines[0]['success']:.2f}", f"{last['success']:.2f}", f"{last['reward']:.2f}",
            f"{diagonal:.2f}", f"{rest:.2f}", f"{tested(emulations[chip], weights[chip]):.2f}",
            f"{tested(emulations[other], weights[chip]):.2f}",
        ])  # fmt: skip
        curves[chip] = [line["success"] for line in lines]
    rows.append(["silicon, ts_07", *(f"{value:.2f}" for value in SILICON.values()), "", ""])
    header = ("", "success at first", "in the last tenth", "reward", "diagonal weight", "others",
              "success without noise", "on the other chip")  # fmt: skip
    places = emulations["ideal chip"].hybrid.neurons
    epochs = emulations["ideal chip"].config.periods / places
    text = (
        f"{places} places of the ball, {epochs:.0f} epochs, as `python experiments/pong.py`. "
        "Success is that of the last tenth, with the noise that explores, then without noise and "
        "learning, on the own chip and with the weights on the other. The demo's targets for its "
        "sensors are not published: here a pair adds 2 LSB, with 15 us.\n\n"
        f"```\n{table(header, rows)}\n```\n\n![Success by epoch, and weights](pong.png)\n"
    )
    (parsed.out / "pong.md").write_text(text)
    print(text)
    draw(parsed.out, curves, weights, epochs)


def draw(out: Path, curves: dict[str, list[float]], weights: dict, epochs: float) -> None:
    """Draws success over epochs, and what was learned."""
    figure = plt.figure(figsize=(9, 2.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.6))
    axis = left.subplots()
    for colour, (chip, curve) in zip(COLOURS, curves.items()):
        axis.plot(np.linspace(epochs / len(curve), epochs, len(curve)), curve, color=colour,
                  label=chip)  # fmt: skip
    axis.axhline(SILICON["success"], color=COLOURS[3], ls=":", label="silicon after 100 epochs")
    axis.set(xlabel="epoch", ylabel="success", ylim=(0, 1))
    axis.legend(fontsize=7)
    weight_matrices({chip: np.asarray(w)[:-1] for chip, w in weights.items()}, figure=right)
    figure.savefig(out / "pong.png", dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
