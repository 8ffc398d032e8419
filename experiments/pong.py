"""Pong by rewarded plasticity: on an ideal chip, on one with mismatch, and moved between chips.

    python experiments/pong.py                               # 100 places, 100 epochs
    python experiments/pong.py --chips 8                     # and the mean of eight chips
    python experiments/pong.py --config pong_250 --out runs/pong_250

Trains the config on an ideal chip and on a default one, then measures both without noise and
without learning, and the weights of each on the other. Writes a table and a figure with the
config's name. What is done is kept in the output directory, and gone on with. `--chips` trains as
many pairs of an ideal and a default chip besides, side by side, each pair with a seed of its own.

References: brainscales2-demos ts_07, whose figures of silicon were read by eye.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
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
# At first, at last, reward, weights of the diagonal and others; success after so many epochs.
SILICON = {"pong": (0.1, 0.33, -1.1, 2.5, 0.1), "pong_250": (0.1, 0.97, 0.5, 15.5, 0.3)}
CURVES = {"pong": {100: 0.33}, "pong_250": {310: 0.5, 600: 0.9, 996: 0.97}}


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


def pairs(config: str, overrides: list[str], chips: int) -> str:
    """Trains pairs of chips side by side; returns lines that say how they compare."""
    found = {}
    for chip, settings in CHIPS.items():
        seeds = [[f"seed={i}", f"chip.seed={i}"] for i in range(chips)]
        each = [prepare(load_plastic(config, [*overrides, *settings, *seed])[0]) for seed in seeds]
        e = each[0]
        stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
        hybrid = jax.tree.map(stack, *(one.hybrid for one in each))
        state = jax.tree.map(stack, *(one.begin() for one in each))
        score = lambda _, seen: seen.score["success"]  # noqa: E731

        def both(hybrid, state, key, e=e, score=score):
            periods = e.config.periods
            end, learned = emulate(hybrid, e.rule, e.environment, state, key, periods, score)
            quiet, places = replace(e.environment, noise=0), hybrid.neurons
            begin = e.begin(end.weights)
            _, without = emulate(hybrid, still, quiet, begin, key, places, score)
            return learned[-(periods // 10) :].mean(), without.mean()

        keys = jnp.stack([one.key for one in each])
        found[chip] = np.stack(jax.jit(jax.vmap(both))(hybrid, state, keys), axis=1)
        print(chip, *np.round(found[chip], 3), flush=True)
    ideal, default = (found[chip] for chip in CHIPS)
    said = lambda values: " and ".join(  # noqa: E731
        f"{m:.3f} ± {e:.3f}"
        for m, e in zip(values.mean(0), values.std(0, ddof=1) / np.sqrt(chips), strict=True)
    )
    return (
        f"{chips} pairs of chips, success with and without noise, mean and standard error: ideal "
        f"{said(ideal)}, default {said(default)}, a pair's ratio {said(default / ideal)}."
    )


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("overrides", nargs="*", help="of the config, such as periods=2000")
    made.add_argument("--config", choices=list(SILICON), default="pong")
    made.add_argument("--chips", type=int, default=0, help="pairs of chips that are compared")
    made.add_argument("--out", type=Path, default=Path("runs/pong"))
    parsed = made.parse_args(arguments)
    name = parsed.config
    runs, emulations, weights = {}, {}, {}
    for chip, settings in CHIPS.items():
        where = f"run.dir={parsed.out / chip.split()[0]}"
        config, text = load_plastic(name, [*parsed.overrides, *settings, where])
        runs[chip], emulations[chip] = plastic.train(config, text), prepare(config)
        weights[chip] = runs[chip].restore("final", emulations[chip].begin()).weights
    rows, curves = [], {}
    for chip, run in runs.items():
        lines = read(run, "metrics.jsonl")
        last = plastic.last_figures(run)
        diagonal, rest = learned(np.asarray(weights[chip]))
        other = next(each for each in CHIPS if each != chip)
        rows.append([
            chip, f"{lines[0]['success']:.2f}", f"{last['success']:.2f}", f"{last['reward']:.2f}",
            f"{diagonal:.2f}", f"{rest:.2f}", f"{tested(emulations[chip], weights[chip]):.2f}",
            f"{tested(emulations[other], weights[chip]):.2f}",
        ])  # fmt: skip
        curves[chip] = [line["success"] for line in lines]
    rows.append(["silicon, ts_07", *(f"{value:.2f}" for value in SILICON[name]), "", ""])
    header = ("", "success at first", "in the last tenth", "reward", "diagonal weight", "others",
              "success without noise", "on the other chip")  # fmt: skip
    places = emulations["ideal chip"].hybrid.neurons
    epochs = emulations["ideal chip"].config.periods / places
    text = (
        f"{places} places of the ball, {epochs:.0f} epochs, as `python experiments/pong.py "
        f"{' '.join(arguments or sys.argv[1:])}`. "
        "Success is that of the last tenth, with the noise that explores, then without noise and "
        "learning, on the own chip and with the weights on the other. The demo's targets for its "
        "sensors are not published: here a pair adds 2 LSB, with 15 us.\n\n"
        f"```\n{table(header, rows)}\n```\n\n"
    )
    if len(CURVES[name]) > 1:
        text += f"Success by epoch:\n\n```\n{by_epoch(curves, CURVES[name], epochs)}\n```\n\n"
    if parsed.chips:
        text += f"{pairs(name, parsed.overrides, parsed.chips)}\n\n"
    text += f"![Success by epoch, and weights]({name}.png)\n"
    (parsed.out / f"{name}.md").write_text(text)
    print(text)
    draw(parsed.out / f"{name}.png", curves, weights, epochs, CURVES[name])


def by_epoch(curves: dict[str, list[float]], silicon: dict[int, float], epochs: float) -> str:
    """Returns a table of success after some epochs, and of when it was first at 0.9."""
    at = [*range(100, round(epochs) + 1, 100)]
    rows = []
    for chip, curve in curves.items():
        ends = np.linspace(epochs / len(curve), epochs, len(curve))
        first = next((f"{end:.0f}" for end, one in zip(ends, curve) if one >= 0.9), "")
        rows.append([chip, *(f"{np.interp(epoch, ends, curve):.2f}" for epoch in at), first])
    known = [f"{np.interp(epoch, list(silicon), list(silicon.values())):.2f}"
             if epoch >= min(silicon) else "" for epoch in at]  # fmt: skip
    first = next((str(epoch) for epoch, value in silicon.items() if value >= 0.9), "")
    rows.append(["silicon, between what was read", *known, first])
    return table(("epochs", *map(str, at), "0.9 at"), rows)


def draw(
    path: Path, curves: dict[str, list[float]], weights: dict, epochs: float, silicon: dict
) -> None:
    """Draws success over epochs, and what was learned."""
    figure = plt.figure(figsize=(9, 2.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.6))
    axis = left.subplots()
    for colour, (chip, curve) in zip(COLOURS, curves.items()):
        axis.plot(np.linspace(epochs / len(curve), epochs, len(curve)), curve, color=colour,
                  label=chip)  # fmt: skip
    axis.plot(list(silicon), list(silicon.values()), "o:", color=COLOURS[3], label="silicon")
    axis.set(xlabel="epoch", ylabel="success", ylim=(0, 1))
    axis.legend(fontsize=7)
    weight_matrices({chip: np.asarray(w)[:-1] for chip, w in weights.items()}, figure=right)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
