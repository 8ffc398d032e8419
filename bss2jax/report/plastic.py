"""The report of runs of hybrid plasticity: what was learned, and the weights over time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from bss2jax import __version__, plot
from bss2jax.config import ConfigError
from bss2jax.config.plastic import PlasticConfig, load_plastic
from bss2jax.report.figures import on_axes, picture
from bss2jax.report.template import names_of, template
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.plastic import snapshots

_SHOWN = 5  # times at which weights are drawn


@dataclass(frozen=True)
class PlasticRecord:
    """One run.

    Attributes:
        path: the run's directory.
        config: the config that it was made with; `config_text` is its file.
        plan: what it is, and what a period takes the processors.
        metrics: the lines of its log.
        weights: `[K, N]` LSB by period.
        summary: None where it is not finished.
    """

    path: Path
    config: PlasticConfig
    config_text: str
    plan: str
    metrics: tuple[dict[str, float], ...]
    weights: dict[int, np.ndarray]
    summary: dict[str, Any] | None


def read_plastic(path: str | Path) -> PlasticRecord:
    """Reads what there is of a run, finished or not.

    Raises:
        RunError: a file of it cannot be read.
    """
    directory = RunDirectory(Path(path))
    directory.environment()  # says if another version wrote it
    try:
        config, _ = load_plastic(directory.path / "resolved.toml")
    except ConfigError as error:
        raise RunError(f"{path}: resolved.toml cannot be used by this version: {error}") from None
    try:
        summary = json.loads(directory.read("summary.json")) if directory.finished() else None
    except ValueError as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    plan = directory.read("plan.txt") if (directory.path / "plan.txt").is_file() else ""
    text, lines = directory.read("resolved.toml"), tuple(directory.lines())
    return PlasticRecord(directory.path, config, text, plan, lines, snapshots(directory), summary)


def render_plastic(records: Sequence[PlasticRecord]) -> str:
    """Returns the page of some runs."""
    named = dict(zip(names_of([record.path for record in records]), records))
    logged = {name: record.metrics for name, record in named.items() if record.metrics}
    quantities = [
        key
        for key in dict.fromkeys(key for lines in logged.values() for key in lines[0])
        if key not in ("periods", "seconds")
    ]
    curves = [_curve(logged, key) for key in quantities]
    return template("plastic.html").render(
        runs=[(name, record, _matrices(record)) for name, record in named.items()],
        curves=curves,
        version=__version__,
    )


def _curve(logged: dict[str, Any], quantity: str) -> Markup:
    """A figure of the runs that have it, over periods."""
    having = {name: lines for name, lines in logged.items() if quantity in lines[0]}
    return on_axes(lambda ax: plot.over_periods(having, quantity, ax=ax), 5.0, 3.0)


def _matrices(record: PlasticRecord) -> Markup | None:
    """The weights at some times, the first and the last among them."""
    if not record.weights:
        return None
    periods = list(record.weights)
    chosen = np.unique(np.linspace(0, len(periods) - 1, min(_SHOWN, len(periods))).round())
    shown = {f"period {periods[int(i)]}": record.weights[periods[int(i)]] for i in chosen}
    return picture(
        lambda figure: plot.weight_matrices(shown, figure=figure), 2.2 * len(shown) + 0.8, 2.8
    )
