"""The report's figures: SVG drawings that go into the page and take their colours from it."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from bss2jax import plot
from bss2jax.chip.chip import Chip
from bss2jax.networks.graph import Network
from bss2jax.plot.layout import grid
from bss2jax.plot.style import GREY, PALE
from bss2jax.report.record import Confusion, Record
from bss2jax.report.replay import OneSample, Samples

# Stand for colours of the page, which follow light and dark.
_INK, _PAPER = "#010101", "#fefefe"
_COLOURS = {
    _INK: "var(--text)", "#000000": "var(--text)", _PAPER: "var(--card)",
    GREY: "var(--dim)", PALE: "var(--line)",
}  # fmt: skip
# Names come from files: a dollar is a dollar. Text stays text; equal figures are equal files.
_SETTINGS: Any = {
    "text.parse_math": False, "text.usetex": False,
    "svg.fonttype": "none", "svg.hashsalt": "bss2jax",
    "figure.facecolor": "none", "savefig.facecolor": "none", "axes.facecolor": _PAPER,
    "font.size": 9,
} | dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
)  # fmt: skip
_MOST = 6  # configurations that a picture of a placement shows
_WIDE, _HIGH = 5.0, 3.0  # inches
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def curves(records: Mapping[str, Record], quantity: Literal["accuracy", "loss"]) -> Markup:
    """Draws the accuracy or the loss of runs, by name, epoch by epoch."""
    epochs = {name: _epochs(record) for name, record in records.items()}
    drawn: Any = epochs if len(epochs) > 1 else next(iter(epochs.values()))
    return on_axes(lambda ax: plot.learning_curves(drawn, quantity, ax=ax), _WIDE, _HIGH)


def saturation(record: Record) -> Markup:
    """Draws what saturates in each layer, or how much it spikes, epoch by epoch."""
    return on_axes(lambda ax: plot.saturation(_epochs(record), ax=ax), _WIDE + 1.2, _HIGH)


def weights(codes: Mapping[str, Any]) -> Markup:
    """Draws how often each layer uses each code, a drawing a layer."""
    down = -(-len(codes) // 2)

    def draw(figure: Figure) -> None:
        cells = figure.subplots(down, 2, squeeze=False).ravel()
        for ax in cells[len(codes) :]:
            ax.axis("off")
        for (name, of), ax in zip(codes.items(), cells):
            plot.weights({name: of}, ax=ax)

    return picture(draw, 8.4, 2.4 * down)


def samples(samples: Samples) -> Markup:
    """Draws samples with what they were taken for."""
    down = -(-len(samples.y) // 8)

    def draw(figure: Figure) -> None:
        plot.predictions(
            samples.x, samples.y, samples.taken_for, samples.classes, samples.full_scale,
            figure=figure,
        )  # fmt: skip

    return picture(draw, 7.0, 1.2 * down)


def one_sample(sample: OneSample) -> Markup:
    """Draws the spikes of all layers in one sample, and membranes of some neurons below."""
    layers = len(sample.membranes)

    def draw(figure: Figure) -> None:
        ratios = [2.0, *[1.0] * layers]
        cells = figure.subplots(1 + layers, 1, squeeze=False, height_ratios=ratios).ravel()
        plot.raster(sample.spikes, dt=sample.dt, ax=cells[0])
        for (name, v), ax in zip(sample.membranes.items(), cells[1:]):
            plot.traces(v, dt=sample.dt, labels=sample.labels[name], ax=ax)
            ax.set_title(f"membranes of {name}, software units", fontsize=9, loc="left")
            ax.set_ylabel("membrane")  # the unit would be longer than the axis

    return picture(draw, 6.4, 3.2 + 1.9 * layers)


def placement(network: Network) -> Markup:
    """Draws the first configurations of the network's plan."""
    down, across = grid(network.plan, _MOST)
    size = 2.5 * across + 0.8, 1.8 * down + 0.8
    return picture(lambda figure: plot.placements(network.plan, most=_MOST, figure=figure), *size)


def schedule(network: Network) -> Markup:
    """Draws the configurations of a sample over time."""
    height = 1.6 + 0.3 * len(network.names)
    return on_axes(lambda ax: plot.schedule(network.plan, ax=ax), _WIDE, height)


def chip(chip: Chip, quantity: str) -> Markup:
    """Draws a quantity of the run's chip, place by place."""
    return on_axes(lambda ax: plot.chip_map(chip, quantity, ax=ax), _WIDE + 0.4, 2.4)


def confusion(confusion: Confusion, rung: str) -> Markup:
    """Draws what the test samples were taken for."""
    classes, matrix = confusion.classes, confusion.test_confusion[rung]
    size = 2.0 + 0.3 * min(len(classes), 30)
    return on_axes(lambda ax: plot.confusion(matrix, classes, ax=ax), size + 1, size)


def ladder(accuracy: Mapping[str, Mapping[str, float]]) -> Markup:
    """Draws the ladders of runs, given by name, together."""
    drawn: Any = accuracy if len(accuracy) > 1 else next(iter(accuracy.values()))
    width = _WIDE + 0.6 * (len(accuracy) > 1)
    return on_axes(lambda ax: plot.ladder(drawn, ax=ax), width, _HIGH)


def over_chips(accuracy: Mapping[str, Sequence[float]], own: Mapping[str, float]) -> Markup:
    """Draws the accuracies of runs over chips, given by name, beside each other."""
    width = 3.6 + 1.3 * len(accuracy)
    return on_axes(lambda ax: plot.accuracy_over_chips(accuracy, own, ax=ax), width, _HIGH)


def _epochs(record: Record) -> list[dict[str, Any]]:
    return [asdict(epoch) for epoch in record.metrics]


def on_axes(draw: Callable[[Any], object], width: float, height: float) -> Markup:
    """Returns what is drawn on axes as an element of the page: see `picture`."""
    return picture(lambda figure: draw(figure.subplots()), width, height)


def picture(draw: Callable[[Any], object], width: float, height: float) -> Markup:
    """Returns what is drawn on a figure as an element of the page.

    Args:
        draw: called with the figure.
        width, height: inches.
    """
    file = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", file.getvalue().decode())
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    for colour, of_page in _COLOURS.items():
        svg = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: {of_page}", svg)
    return Markup(svg)  # matplotlib escapes what it writes
