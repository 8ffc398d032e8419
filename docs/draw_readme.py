"""Draws README's picture, `readme.png`: `python docs/draw_readme.py`.

Left, the published MNIST network on the chip, configuration by configuration; right, its ladder:
simulated and on silicon, the figures of README's table.
"""

import re
from pathlib import Path

from matplotlib.figure import Figure

from bss2jax import config, plot
from bss2jax.experiment import network_of
from bss2jax.networks.rungs import RUNGS

HERE = Path(__file__).parent
NAME = "mnist_ladder"


def figures(text, name):
    """The rungs of a config in README's table, simulated and on silicon, shares 0..1."""
    row = re.search(rf"^\| `{name}`[^|]*\|(.*)\|$", text, re.M)[1]
    *simulated, silicon = row.split("|")
    measured = re.findall(r"\d\d\.\d+", silicon)
    return (
        {rung: float(value) / 100 for rung, value in zip(RUNGS, simulated, strict=True)},
        {rung: float(value) / 100 for rung, value in zip(RUNGS, measured, strict=True)},
    )


def shown():
    """The figures of the ladder, simulated and on silicon."""
    return figures((HERE.parent / "README.md").read_text(encoding="utf-8"), NAME)


def draw():
    """The figure: placement beside ladder."""
    simulated, silicon = shown()
    parsed, _ = config.load(NAME)
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    plot.placements(network_of(parsed).plan, most=4, figure=left)
    ladder = right.subplots()
    plot.ladder({"simulated, 20 chips": simulated, "on silicon": silicon}, ax=ladder)
    ladder.set_xlabel("")
    ladder.legend(frameon=False, fontsize=8, loc="lower left")
    ladder.tick_params(labelsize=8)
    return figure


if __name__ == "__main__":
    # What it shows goes along: a test compares it with the table.
    said = {"Software": None, "Description": str(shown())}
    draw().savefig(HERE / "readme.png", dpi=110, metadata=said)
