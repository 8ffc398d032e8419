"""Depth: accuracy over the number of steps, with batch norm and without, and over slopes.

    python experiments/depth.py [key=value ...] [--steps 1 2 4 6 8 10]

Six layers of windows on Fashion-MNIST at 16x16, which is sent as it is in every step. Each row is a
network trained on `float` and from there with the chip in the loop; the slope of the surrogate is
what `bss2jax tune-surrogate` finds for the network of four steps, with and without norm, and in
the second table a tenth and ten times of it too. Rows that are there are read, not repeated.

References: Ledinauskas et al. 2020, arXiv 2006.04436: batch norm, a tuned surrogate, ten steps.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from study import COLOURS, figure, parser, read, write

from bss2jax import config
from bss2jax.experiment import prepare
from bss2jax.networks.rungs import RUNGS
from bss2jax.runs import session
from bss2jax.text import table
from bss2jax.training import tune_surrogate

_STEPS = 4  # of the networks of which slopes are compared, and found
_LAYER = """[[layers]]
kind = "conv_lif"
outputs = {outputs}
window = 3
padding = 1
stride = {stride}
tau_mem = 2e-6
tau_syn = 1e-6
surrogate = {{ kind = "superspike", alpha = {slope} }}
{norm}
"""
_TEXT = """name = "{name}"
[data]
name = "fashion16"
validation = 5000
[augment]
horizontal_flip = true
[objective]
scale = 3.0
[[layers]]
kind = "direct"
steps = {steps}
{layers}[[layers]]
kind = "pool"
mode = "mean"
window = 4
[[layers]]
kind = "li"
outputs = 10
tau_mem = 2e-6
tau_syn = 1e-6
[[layers]]
kind = "mean_over_time"
[[phases]]
on = "float"
epochs = 4
batch_size = 100
learning_rate = 5e-3
schedule = "cosine"
keep = "last"
[[phases]]
on = "chip"
epochs = 1
batch_size = 100
learning_rate = 1e-3
schedule = "cosine"
keep = "last"
"""
_SHAPES = ((16, 2), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1))  # outputs and stride
NORMS = {"batch norm": 'norm = "batch"', "no norm": "init_std = 0.5"}


def text_of(name: str, steps: int, norm: str, slope: float) -> str:
    """The config of a row."""
    layers = [
        _LAYER.format(outputs=outputs, stride=stride, slope=slope, norm=NORMS[norm])
        for outputs, stride in _SHAPES
    ]
    return _TEXT.format(name=name, steps=steps, layers="".join(layers))


def written(out: Path, name: str, *row: object) -> Path:
    """Writes the config of a row, and returns its path."""
    path = out / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(name, *row))
    return path


def tuned(out: Path, norm: str, overrides: Sequence[str]) -> float:
    """Finds the slope of the surrogate for a network of four steps, or reads what was found."""
    kept = out / f"slope-{norm.replace(' ', '-')}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    path = written(out, f"tuning-{norm.replace(' ', '-')}", _STEPS, norm, 10.0)
    one = prepare(config.load(path, overrides)[0])
    found = tune_surrogate(
        one.task, one.config.phases[0], one.initial(), one.training, one.chip, one.phase_key(0)
    )
    kept.write_text(json.dumps(round(found.best, 2)))
    return round(found.best, 2)


def trained(
    out: Path, steps: int, norm: str, slope: float, overrides: Sequence[str]
) -> dict[str, float]:
    """Trains a row that is not there yet; returns its accuracies in percent, by rung."""
    name = f"{norm.replace(' ', '-')}-{steps}-steps-slope-{slope:g}"
    path = written(out, name, steps, norm, slope)
    run = session.train(config.load(path, [*overrides, f"run.dir={out / name}"])[0])
    return {rung: 100 * share for rung, share in read(run)["test_accuracy"].items()}


def rows_of(found: dict[tuple, dict[str, float]]) -> list[tuple[str, ...]]:
    """The rows of a table, from accuracies by what was trained."""
    percent = lambda one, rung: f"{one[rung]:.2f}" if rung in one else "-"  # noqa: E731
    return [
        (*(f"{word:g}" if isinstance(word, float) else str(word) for word in row),
         *(percent(one, rung) for rung in RUNGS))
        for row, one in found.items()
    ]  # fmt: skip


def draw(over_steps: dict, over_slopes: dict, out: Path) -> None:
    """Draws accuracy over steps and over slopes, on `float` and in the loop."""
    with figure(out / "depth.png", panels=2, width=9.0) as panels:
        for axes, found, at in ((panels[0], over_steps, 1), (panels[1], over_slopes, 2)):
            for norm, colour in zip(NORMS, COLOURS):
                for rung, line in (("float", "-"), ("chip", "--")):
                    points = [(row[at], one[rung]) for row, one in found.items() if row[0] == norm]
                    label = f"{norm}, {RUNGS[rung].label}" if at == 1 else None  # once for both
                    axes.plot(*zip(*points), line, marker="o", color=colour, label=label)
        panels[0].set(xlabel="steps", ylabel="test accuracy (%)")
        panels[1].set(xlabel="slope of the surrogate", xscale="log")


def main(arguments: list[str] | None = None) -> None:
    made = parser(__doc__, config=False)
    made.add_argument("--steps", type=int, nargs="+", default=(1, 2, 4, 6, 8, 10))
    parsed = made.parse_args(arguments)
    out, overrides = parsed.out or Path("runs/depth"), parsed.overrides
    slopes = {norm: tuned(out, norm, overrides) for norm in NORMS}

    def row(norm: str, steps: int, slope: float) -> dict[str, float]:
        return trained(out, steps, norm, slope, overrides)

    over_steps = {
        (norm, steps, slope): row(norm, steps, slope)
        for norm, slope in slopes.items()
        for steps in parsed.steps
    }
    over_slopes = {
        (norm, _STEPS, slope * factor): row(norm, _STEPS, slope * factor)
        for norm, slope in slopes.items()
        for factor in (0.1, 1.0, 10.0)
    }
    draw(over_steps, over_slopes, out)
    head = ("network", "steps", "slope", *(rung.label for rung in RUNGS.values()))
    text = "\n\n".join(table(head, rows_of(found)) for found in (over_steps, over_slopes))
    write(f"Test accuracy in percent, six layers of windows.\n\n{text}", out, "depth")


if __name__ == "__main__":
    main()
