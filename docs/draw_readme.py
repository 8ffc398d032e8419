"""Draws README's picture: `python docs/draw_readme.py runs/yinyang-0`, a run of `yinyang`.

Three maps of what the network takes each point for: trained in software, moved to the run's chip,
and trained on with the chip in the loop. Their figures go along with the picture; a test compares
them with what README says.
"""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from bss2jax import plot
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory

HERE = Path(__file__).parent
# The rung, its title, what the weights are of, and the execution.
SHOWN = (
    ("float", "trained in software", "phase-0", "float"),
    ("transfer", "moved to a chip", "phase-0", "chip"),
    ("chip", "trained with the chip in the loop", "final", "chip"),
)


def draw(path):
    """The figure of a run, and its accuracies."""
    directory = RunDirectory(Path(path))
    experiment, like = session.read_final(directory)
    accuracy = json.loads(directory.read("summary.json"))["test_accuracy"]
    figure = Figure(figsize=(10.5, 3.7), layout="constrained")
    task, test = experiment.task, experiment.test
    for (rung, title, name, on), ax in zip(SHOWN, figure.subplots(1, len(SHOWN))):
        learned = directory.restore(name, like)
        apply = jax.jit(partial(task.network.apply, learned.params, learned.state, on=on))
        chip = experiment.chip if on == "chip" else None

        def classify(values, apply=apply, chip=chip):
            key = jax.random.key(0)
            parts = np.array_split(values, -(-len(values) // 2000))
            return np.concatenate([apply(task.encode(x), chip, key)[0] for x in parts])

        x, y = np.asarray(test.x[:300]), np.asarray(test.y[:300])
        plot.class_map(classify, x, y, resolution=150, ax=ax)
        ax.get_legend().remove()
        ax.set_axis_off()
        ax.set_title(f"{title}: {100 * accuracy[rung]:.1f} %", fontsize=11)
    return figure, {rung: accuracy[rung] for rung, *_ in SHOWN}


if __name__ == "__main__":
    figure, said = draw(sys.argv[1])
    said = {"Software": None, "Description": json.dumps(said)}
    figure.savefig(HERE / "readme.png", dpi=100, metadata=said, bbox_inches="tight")
