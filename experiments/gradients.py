"""Surrogate, EventProp, EventProp with delays: ideal and in the loop, and bytes to the host.

    python experiments/gradients.py [key=value ...] [--only NAME ...] [--chips 3] [--scale 1.0]

Yin-Yang with 30, 120 and 200 hidden neurons and MNIST 784-350-10. A row is a training on `float`
and from there one in the loop on each of the chips. Runs that are there are read, not repeated.
Bytes are what a chip sends the host a sample in a training step: a spike is an address and a time,
4 bytes; a membrane that a surrogate needs is a byte a neuron and sampling period of the CADC. The
readout's membranes are read either way.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from study import COLOURS, figure, parser, write

from bss2jax import config, data, open_run
from bss2jax.chip.substrate import BSS2
from bss2jax.config import ChipSeed
from bss2jax.runs import session
from bss2jax.runs.run import Run
from bss2jax.text import table

SPIKE = 4  # bytes: 16 bits of address and 16 of time, as an event passes the link
YINYANG = """
name = "{name}"
[data]
name = "yinyang"
validation = 0.02
[objective]
scale = {scale}
[[layers]]
kind = "spike_time"
steps = {steps}
dt = {dt}
early = 2e-6
late = 26e-6
bias = 2e-6
{delay_in}[[layers]]
kind = "lif"
outputs = {hidden}
tau_mem = 6e-6
tau_syn = 6e-6
init_mean = 1.0
init_std = 0.8
weight_scale = 20
{gradient}
{once}{delay_out}[[layers]]
kind = "li"
outputs = 3
tau_mem = 6e-6
tau_syn = 6e-6
init_mean = 0.0
init_std = 0.2
weight_scale = 20
[[layers]]
kind = "max_over_time"
[[phases]]
on = "float"
epochs = {epochs}
batch_size = 50
learning_rate = 5e-3
schedule = "cosine"
{keep}[[phases]]
on = "chip"
epochs = {loop}
batch_size = 50
learning_rate = 3e-3
schedule = "cosine"
{keep}"""
MNIST = """
name = "{name}"
[data]
name = "mnist"
validation = 1000
[objective]
scale = {scale}
[[layers]]
kind = "latency"
steps = 30
[[layers]]
kind = "lif"
outputs = 350
init_mean = {mean}
init_std = 0.1
{gradient}
{once}{times}[[layers]]
kind = "li"
outputs = 10
init_std = {spread}
{times}[[layers]]
kind = "max_over_time"
[[phases]]
on = "float"
epochs = {epochs}
batch_size = {batch}
learning_rate = {rate}
schedule = "cosine"
[[phases]]
on = "chip"
epochs = {loop}
batch_size = 100
learning_rate = 1e-3
schedule = "cosine"
"""
GRADIENTS = {
    "surrogate": 'surrogate = {{ kind = "superspike", alpha = {alpha} }}',
    "eventprop": 'gradient = "eventprop"',
    "eventprop, delays": 'gradient = "eventprop"',
}
# One spike a neuron and sample: it rests for as long as the sample lasts, as silicon can (32 us).
# The gradient of a later spike passes the earlier ones, and grows at each that comes slowly.
ONCE = "t_ref = {}\n"
YINYANG_COARSE = {"steps": 50, "dt": 1e-6, "scale": 3.0, "once": "", "keep": ""}
# Times rounded to 0.5 us leave 97.9 % to be had, to 0.25 us 99.1, to 1 us 97.0. A hundred points to
# validate cannot tell epochs apart: the last one is kept.
YINYANG_FINE = {
    "steps": 136, "dt": 2.5e-7, "scale": 6.0, "once": ONCE.format(32e-6),
    "keep": 'keep = "last"\n',
}  # fmt: skip
MNIST_SURROGATE = {
    "scale": 3.0, "mean": 0.03, "spread": 0.2, "batch": 100, "rate": 2e-3, "once": "", "times": ""
}  # fmt: skip
# Time constants of Wunderlich and Pehle, a thousandth of theirs.
MNIST_TIMES = {
    "scale": 10.0, "mean": 0.06, "spread": 0.05, "batch": 25, "rate": 4e-3,
    "once": "dropout = 0.3\n" + ONCE.format(30e-6), "times": "tau_mem = 20e-6\ntau_syn = 5e-6\n",
}  # fmt: skip
DELAY = '[[layers]]\nkind = "delay"\nlongest = 12e-6\ninterpolate = true\n'


def name_of(task: str, hidden: int, rule: str) -> str:
    """The name of a row."""
    return f"{task}-{hidden}-{rule.replace(', ', '-')}"


def text_of(task: str, hidden: int, rule: str, scale: float) -> str:
    """The config of a row."""
    delays, name = "delays" in rule, name_of(task, hidden, rule)
    gradient = GRADIENTS[rule].format(alpha=200.0 if task == "yinyang" else 50.0)
    whole = lambda epochs: max(1, round(epochs * scale))  # noqa: E731
    if task == "mnist":
        exact = rule == "eventprop"
        epochs, special = (18, MNIST_TIMES) if exact else (30, MNIST_SURROGATE)
        return MNIST.format(
            name=name, gradient=gradient, epochs=whole(epochs), loop=whole(5), **special
        )
    fine = hidden >= 200
    return YINYANG.format(
        name=name, hidden=hidden, gradient=gradient, epochs=whole(25 if fine else 150),
        loop=whole(40), delay_in=DELAY if delays else "", delay_out=DELAY if delays else "",
        **(YINYANG_FINE if fine else YINYANG_COARSE),
    )  # fmt: skip


ROWS = [
    *(("yinyang", 30, rule) for rule in GRADIENTS),
    *(("yinyang", 120, rule) for rule in GRADIENTS),
    ("yinyang", 200, "eventprop"),
    *(("mnist", 350, rule) for rule in ("surrogate", "eventprop")),
]


def trained(path: Path, text: str, chips: int, overrides: Sequence[str] = ()) -> dict:
    """Trains what is not there yet; returns accuracies, and bytes a sample."""
    file = path / "config.toml"
    path.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_text(text)
    whole, _ = config.load(file, overrides)
    ideal = replace(whole, phases=whole.phases[:1], run=replace(whole.run, dir=str(path / "float")))
    start = str(path / "float")
    if not (path / "float" / "summary.json").exists():
        session.train(ideal, text)
    run = open_run(start)
    found = {"float": run.summary["test_accuracy"]["float"], "transfer": [], "loop": []}
    found["ideal"] = run.summary["test_accuracy"].get("ideal")
    found["epochs"] = [run.config.phases[0].epochs]
    for seed in range(chips):
        place = path / f"chip-{seed}"
        if not (place / "summary.json").exists():
            one = replace(
                whole, phases=whole.phases[1:], start=start, chip=ChipSeed(seed=seed),
                run=replace(whole.run, dir=str(place)),
            )  # fmt: skip
            session.train(one, text)
        looped = open_run(str(place))
        accuracy = looped.summary["test_accuracy"]
        found["transfer"].append(accuracy["transfer"])
        found["loop"].append(accuracy["chip"])
        found["epochs"][1:] = [looped.config.phases[0].epochs]
    return found | sent(run, surrogate="surrogate =" in text)


def sent(run: Run, *, surrogate: bool) -> dict:
    """Bytes that hidden neurons cost a sample: their spikes, and with a surrogate membranes."""
    network, name = run.network, run.config.data.source
    hidden = next(node for node in network.nodes if node.name == "lif_0")
    x = network.encode(data.load(name).test.x[:256], data.spec(name).full_scale)
    records = network.apply(run.params, run.state, x, on="float")[2]
    spikes = float(np.asarray(records["lif_0"]["spikes"]).sum(-1).mean())
    membranes = hidden.after.entries * int(hidden.after.seconds / BSS2.cadc_period)
    return {"spikes": spikes, "bytes": SPIKE * spikes + (membranes if surrogate else 0)}


def rows_of(found: dict[str, dict]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    percent = lambda share: "-" if share is None else f"{100 * share:.2f}"  # noqa: E731
    spread = lambda values: (  # noqa: E731
        f"{100 * np.mean(values):.1f} ({100 * np.min(values):.1f}-{100 * np.max(values):.1f})"
        if values else "-"
    )  # fmt: skip
    return [
        (
            name, " + ".join(map(str, one["epochs"])), percent(one["float"]), percent(one["ideal"]),
            spread(one["transfer"]), spread(one["loop"]), f"{one['bytes']:.0f}",
        )
        for name, one in found.items()
    ]  # fmt: skip


def draw(found: dict[str, dict], path: Path) -> None:
    """Draws accuracy over bytes, a point a row; hollow on `float`, where no chip was trained."""
    with figure(path, width=7.0) as axes:
        for name, one in found.items():
            accuracy = 100 * (np.mean(one["loop"]) if one["loop"] else one["float"])
            filled = "full" if one["loop"] else "none"
            axes.plot(one["bytes"], accuracy, "o", color=COLOURS[0], fillstyle=filled)
            up = -12 if name.startswith("mnist") else 6  # points; both reach as much
            place = {"xytext": (0, up), "textcoords": "offset points", "ha": "center"}
            axes.annotate(name, (one["bytes"], accuracy), fontsize=7, **place)
        axes.set(xscale="log", xlabel="bytes from chip to host a sample", ylabel="test accuracy, %")
        axes.margins(x=0.15, y=0.1)


def main(arguments: list[str] | None = None) -> None:
    made = parser(__doc__, config=False, chips=(3, 0))
    made.add_argument("--only", nargs="*", help="rows, such as yinyang-30-eventprop")
    made.add_argument("--scale", type=float, default=1.0, help="of all numbers of epochs")
    parsed = made.parse_args(arguments)
    out, found = parsed.out or Path("runs/gradients"), {}
    for row in ROWS:
        name = name_of(*row)
        if not parsed.only or name in parsed.only:
            text = text_of(*row, parsed.scale)
            found[name] = trained(out / name, text, parsed.chips, parsed.overrides)
            print(name, json.dumps(found[name]), flush=True)
    head = ("row", "epochs", "float", "ideal", "moved to chips", "in the loop", "bytes")
    write(table(head, rows_of(found)), out, "gradients")
    draw(found, out / "gradients.png")


if __name__ == "__main__":
    main()
