"""The report's page: what its tables say, and the template that it is made of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jax
import numpy as np

from bss2jax import __version__
from bss2jax.config import differences
from bss2jax.extras import require
from bss2jax.mapping.cost import estimate, fast_seconds
from bss2jax.networks.rungs import RUNGS
from bss2jax.plot.style import COLOURS, cycle
from bss2jax.report import figures
from bss2jax.report.record import Confusion, Record
from bss2jax.training.phase import Phase

_PERCENT = {"inputs", "outputs", "sums", "weights"}


@dataclass(frozen=True)
class Table:
    """A table of text: a header, and rows whose first cell says what they are of."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """What the page shows of one run. Pictures are addresses, None where there is nothing to draw.

    Attributes:
        name: the run's name on the page; `colour` marks it.
        kind: the kind of its network.
        record: all that was read of the run.
        accuracy, loss, placement, schedule, confusion: pictures.
        saturation: shares and activity of each layer.
        classes: accuracy per class.
        rung: the rung that `confusion` and `classes` show.
        differences: what differs from the config of the first run of the page.
    """

    name: str
    colour: str
    kind: str
    record: Record
    accuracy: str | None
    loss: str | None
    placement: str | None
    schedule: str | None
    confusion: str | None
    saturation: Table | None
    classes: Table | None
    rung: str | None
    differences: tuple[str, ...]


def render(records: Sequence[Record]) -> str:
    """Returns the page of some runs.

    Raises:
        MissingExtra: a library of the `report` extra is not installed.
    """
    jinja2 = require("jinja2", "report", "a report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bss2jax.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = _names(records)
    views = [_view(name, i, records) for i, name in enumerate(names)]
    ladders = {v.name: v.record.summary.test_accuracy for v in views if v.record.summary}
    chips = {v.name: v.record.chips.test_accuracy for v in views if v.record.chips}
    own = {name: ladders[name]["chip"] for name in chips if "chip" in ladders.get(name, {})}
    known = any(rung in RUNGS for rungs in ladders.values() for rung in rungs)
    return environment.get_template("page.html").render(
        views=views,
        version=__version__,
        time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        summary=_summary(views),
        ladder=figures.ladder(ladders) if known else None,
        rungs=_rungs(ladders) if known else None,
        chips=figures.over_chips(chips, own) if chips else None,
        over_chips=_over_chips(views),
        cost=_cost(views),
        environment=_environment(views),
    )


def _names(records: Sequence[Record]) -> list[str]:
    """The directories' names, or their paths where two have the same."""
    names = [record.path.resolve().name for record in records]
    count = Counter(names)
    named = [name if count[name] == 1 else str(record.path) for name, record in zip(names, records)]
    return [name.encode(errors="backslashreplace").decode() for name in named]


def _view(name: str, number: int, records: Sequence[Record]) -> View:
    record = records[number]
    network, confusion = record.network, record.confusion
    fits = network if network and "chip" in network.executions else None
    counts = confusion.test_confusion if confusion else {}
    rung = next((rung for rung in reversed(RUNGS) if rung in counts), None)
    return View(
        name,
        cycle(COLOURS, number),
        _kind(record),
        record,
        accuracy=figures.curves(record, "accuracy") if record.metrics else None,
        loss=figures.curves(record, "loss") if record.metrics else None,
        placement=figures.placement(fits) if fits else None,
        schedule=figures.schedule(fits) if fits else None,
        confusion=figures.confusion(confusion, rung) if confusion and rung else None,
        saturation=_saturation(record),
        classes=_classes(confusion, rung) if confusion and rung else None,
        rung=rung,
        differences=_differences(records[0], record),
    )


def _kind(record: Record) -> str:
    if record.config is None:
        return "unknown"
    families = dict.fromkeys(layer.family for layer in record.config.layers if layer.family)
    return " and ".join(families)


def _differences(first: Record, record: Record) -> tuple[str, ...]:
    if first is record or first.config is None or record.config is None:
        return ()
    return tuple(differences(first.config, record.config))


def _summary(views: Sequence[View]) -> Table:
    header = ("run", "data", "network", "phases", "state", "test accuracy", "seeds", "trained in")
    return Table(header, tuple(_summary_row(view) for view in views))


def _summary_row(view: View) -> tuple[str, ...]:
    record, config = view.record, view.record.config
    data = phases = seeds = "-"
    if config:
        data = config.data.name
        phases = ", ".join(
            f"{phase.epochs} {_on(phase.on)}{' (chips resampled)' if _resampled(phase) else ''}"
            for phase in config.phases
        )
        seeds = f"{config.seed}, chip {config.chip.file or config.chip.seed}"
    accuracy, seconds = "-", None
    if record.summary:
        seconds = record.summary.seconds.total
        found = record.summary.test_accuracy
        rung = next((rung for rung in reversed(RUNGS) if rung in found), None)
        accuracy = f"{found[rung]:.2%}, {rung}" if rung else "-"
    state = "finished" if record.summary else "unfinished"
    if not record.summary and record.metrics:
        last = record.metrics[-1]
        state += f": phase {last.phase + 1}, epoch {last.epoch} done"
        seconds = sum(epoch.seconds for epoch in record.metrics)
    trained = "-" if seconds is None else str(timedelta(seconds=round(seconds)))
    return (view.name, data, view.kind, phases, state, accuracy, seeds, trained)


def _resampled(phase: Phase) -> bool:
    return phase.on_chip and phase.chip == "resample"


def _on(on: str | Mapping[str, str]) -> str:
    return on if isinstance(on, str) else "mixed"


def _rungs(ladders: Mapping[str, Mapping[str, float]]) -> Table:
    known = [rung for rung in RUNGS if any(rung in rungs for rungs in ladders.values())]
    return Table(
        ("execution", "", *ladders),
        tuple(
            (
                rung,
                RUNGS[rung].meaning,
                *(f"{found[rung]:.2%}" if rung in found else "-" for found in ladders.values()),
            )
            for rung in known
        ),
    )


def _saturation(record: Record) -> Table | None:
    """Shares and activity of the last epoch of each phase, a row a phase and layer."""
    last = {epoch.phase: epoch for epoch in record.metrics}
    order = record.network.names if record.network else ()
    rows = [
        (f"{phase + 1} ({_on(epoch.on)})", layer, shares)
        for phase, epoch in last.items()
        for layer, shares in _in_order(epoch.validation_saturation, order)
        if shares
    ]
    if not rows:
        return None
    kinds = list(dict.fromkeys(kind for _, _, shares in rows for kind in shares))
    return Table(
        ("phase", "layer", *kinds),
        tuple(
            (phase, layer, *(_figure(kind, shares.get(kind)) for kind in kinds))
            for phase, layer, shares in rows
        ),
    )


def _in_order(by_layer: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """What is known of layers, in the order of the network where that is known."""
    place = {name: i for i, name in enumerate(names)}
    return sorted(by_layer.items(), key=lambda item: place.get(item[0], len(place)))


def _figure(kind: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" if kind in _PERCENT else f"{value:.3g}"


def _classes(confusion: Confusion, rung: str) -> Table:
    matrix = confusion.test_confusion[rung]
    rows = []
    for i, (name, counts) in enumerate(zip(confusion.classes, matrix)):
        total = sum(counts)
        accuracy = f"{counts[i] / total:.2%}" if total else "-"
        wrong = [count if k != i else 0 for k, count in enumerate(counts)]
        most = max(range(len(wrong)), key=wrong.__getitem__)
        mistaken = f"{confusion.classes[most]} ({wrong[most]})" if wrong[most] else "-"
        rows.append((name, str(total), accuracy, mistaken))
    return Table(("class", "samples", "accuracy", "most often mistaken for"), tuple(rows))


def _over_chips(views: Sequence[View]) -> Table | None:
    rows = []
    for view in views:
        if view.record.chips:
            values = np.array(view.record.chips.test_accuracy)
            std = f"{values.std(ddof=1):.2%}" if len(values) > 1 else "-"
            mean, worst, best = (f"{x:.2%}" for x in (values.mean(), values.min(), values.max()))
            rows.append((view.name, str(len(values)), mean, std, worst, best))
    header = ("run", "chips not seen", "mean", "std", "worst", "best")
    return Table(header, tuple(rows)) if rows else None


def _cost(views: Sequence[View]) -> Table | None:
    plans = {view.name: view.record.network.plan for view in views if view.record.network}
    if not plans:
        return None
    columns = []
    for plan in plans.values():
        cost = estimate(plan)
        least, most = (1e6 * joules for joules in cost.joules)
        fast = "-"
        if fast_seconds(plan) is not None:
            one = estimate(plan, mode="fast")
            fast = f"{1e6 * one.seconds:.3g} µs, {1e6 * one.joules[0]:.3g} µJ"
        columns.append(
            (
                str(plan.configurations),
                f"{1e6 * cost.seconds:,.0f} µs",
                f"{least:,.3g} µJ" if least == most else f"{least:,.0f} to {most:,.0f} µJ",
                fast,
                f"{cost.events:,}" if cost.events else "-",
            )
        )
    names = (
        "configurations of the chip",
        "chip time",
        "energy of the chip",
        "in fast mode",
        "input events, at most",
    )
    rows = tuple((name, *cells) for name, cells in zip(names, zip(*columns)))
    return Table(("per sample", *plans), rows)


def _environment(views: Sequence[View]) -> Table | None:
    """What the runs began with, a row a quantity."""
    found = [
        {
            jax.tree_util.keystr(path, simple=True, separator="."): value
            for path, value in jax.tree.leaves_with_path(
                view.record.environment, is_leaf=lambda value: not isinstance(value, dict)
            )
        }
        for view in views
    ]
    keys = dict.fromkeys(key for tree in found for key in tree)
    rows = tuple((key, *(_text(tree.get(key)) for tree in found)) for key in keys)
    return Table(("", *(view.name for view in views)), rows) if rows else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)
