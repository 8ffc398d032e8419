"""The report's figures, drawn as SVG pictures that go into the page."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from bss2jax import plot
from bss2jax.extras import require
from bss2jax.networks.graph import Network
from bss2jax.plot.layout import grid
from bss2jax.report.record import Confusion, Record

# Names come from files: a dollar is a dollar. Text stays text; equal figures are equal files.
_SETTINGS = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "bss2jax"}
_MOST = 6  # configurations that a picture of a placement shows
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def curves(record: Record, quantity: Literal["accuracy", "loss"]) -> str:
    """Draws the accuracy or the loss, epoch by epoch."""
    records = [asdict(epoch) for epoch in record.metrics]
    return _on_axes(lambda ax: plot.learning_curves(records, quantity, ax=ax), 5.6, 3.0)


def placement(network: Network) -> str:
    """Draws the first configurations of the network's plan."""
    down, across = grid(network.plan, _MOST)
    size = 2.5 * across + 0.8, 1.8 * down + 0.8
    return _picture(lambda figure: plot.placements(network.plan, most=_MOST, figure=figure), *size)


def schedule(network: Network) -> str:
    """Draws the configurations of a sample over time."""
    height = 1.6 + 0.3 * len(network.names)
    return _on_axes(lambda ax: plot.schedule(network.plan, ax=ax), 5.6, height)


def confusion(confusion: Confusion, rung: str) -> str:
    """Draws what the test samples were taken for."""
    classes, matrix = confusion.classes, confusion.test_confusion[rung]
    size = 2.4 + 0.32 * min(len(classes), 30)
    return _on_axes(lambda ax: plot.confusion(matrix, classes, ax=ax), size + 1, size)


def ladder(accuracy: Mapping[str, Mapping[str, float]]) -> str:
    """Draws the ladders of runs, given by name, together."""
    return _on_axes(lambda ax: plot.ladder(accuracy, ax=ax), 7.2, 3.6)


def over_chips(accuracy: Mapping[str, Sequence[float]], own: Mapping[str, float]) -> str:
    """Draws the accuracies of runs over chips, given by name, beside each other."""
    width = 3.6 + 1.3 * len(accuracy)
    return _on_axes(lambda ax: plot.accuracy_over_chips(accuracy, own, ax=ax), width, 3.6)


def _on_axes(draw: Callable[[Any], object], width: float, height: float) -> str:
    return _picture(lambda figure: draw(figure.subplots()), width, height)


def _picture(draw: Callable[[Any], object], width: float, height: float) -> str:
    """What is drawn on a figure of a size in inches, as the address of an SVG picture."""
    matplotlib = require("matplotlib", "report", "a report")
    figure = require("matplotlib.figure", "report", "a report").Figure
    file = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        canvas = figure(figsize=(width, height), layout="constrained")
        draw(canvas)
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", file.getvalue().decode()).encode()
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
