"""The report's page: what its tables say, and the template that it is made of."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bss2jax import __version__
from bss2jax.config import differences
from bss2jax.experiment import RUNGS
from bss2jax.extras import require
from bss2jax.mapping.cost import estimate, estimate_spiking
from bss2jax.mapping.populations import SpikingPlan
from bss2jax.networks.layers import LI, Firing, Rated
from bss2jax.plot.style import COLOURS, cycle
from bss2jax.report import figures
from bss2jax.report.record import Record

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
        name: among the runs of the page; `colour` marks it.
        kind: of its network.
        record: all that was read.
        accuracy, loss, placement, schedule, confusion: pictures.
        saturation: a table.
        classes: accuracy per class.
        rung: which rung `confusion` and `classes` are of.
        differences: from the config of the first run of the page.
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


def _names(records):
    """The directories' names, or their paths where two have the same."""
    names = [record.path.resolve().name for record in records]
    count = Counter(names)
    named = [name if count[name] == 1 else str(record.path) for name, record in zip(names, records)]
    return [name.encode(errors="backslashreplace").decode() for name in named]


def _view(name, number, records):
    record = records[number]
    counts = record.confusion.test_confusion if record.confusion else {}
    rung = next((rung for rung in reversed(RUNGS) if rung in counts), None)
    on_chip = record.network is not None
    return View(
        name,
        cycle(COLOURS, number),
        _kind(record),
        record,
        accuracy=figures.curves(record, "accuracy") if record.metrics else None,
        loss=figures.curves(record, "loss") if record.metrics else None,
        placement=figures.placement(record) if on_chip else None,
        schedule=figures.schedule(record) if on_chip else None,
        confusion=figures.confusion(record, rung) if rung else None,
        saturation=_saturation(record),
        classes=_classes(record.confusion, rung) if rung else None,
        rung=rung,
        differences=_differences(records[0], record),
    )


def _kind(record):
    if record.config is None:
        return "unknown"
    if any(isinstance(layer, Rated) for layer in record.config.layers):
        return "soft LIF"
    spiking = any(isinstance(layer, Firing | LI) for layer in record.config.layers)
    return "spiking" if spiking else "analog"


def _differences(first, record):
    if first is record or first.config is None or record.config is None:
        return ()
    return tuple(differences(first.config, record.config))


def _summary(views):
    header = ("run", "data", "network", "phases", "state", "test accuracy", "seeds", "trained in")
    return Table(header, tuple(_summary_row(view) for view in views))


def _summary_row(view):
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
        accuracy = f"{_percent(found[rung])}, {rung}" if rung else "-"
    state = "finished" if record.summary else "unfinished"
    if not record.summary and record.metrics:
        last = record.metrics[-1]
        state += f": phase {last.phase + 1}, epoch {last.epoch} done"
        seconds = sum(epoch.seconds for epoch in record.metrics)
    trained = "-" if seconds is None else _duration(seconds)
    return (view.name, data, view.kind, phases, state, accuracy, seeds, trained)


def _resampled(phase):
    return phase.on_chip and phase.chip == "resample"


def _on(on):
    return on if isinstance(on, str) else "mixed"


def _rungs(ladders):
    known = [rung for rung in RUNGS if any(rung in rungs for rungs in ladders.values())]
    return Table(
        ("execution", "", *ladders),
        tuple(
            (
                rung,
                RUNGS[rung],
                *(_percent(found[rung]) if rung in found else "-" for found in ladders.values()),
            )
            for rung in known
        ),
    )


def _saturation(record):
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


def _in_order(by_layer, names):
    """What is known of layers, in the order of the network where that is known."""
    place = {name: i for i, name in enumerate(names)}
    return sorted(by_layer.items(), key=lambda item: place.get(item[0], len(place)))


def _figure(kind, value):
    if value is None:
        return "-"
    return _percent(value) if kind in _PERCENT else f"{value:.3g}"


def _classes(confusion, rung):
    matrix = confusion.test_confusion[rung]
    rows = []
    for i, (name, counts) in enumerate(zip(confusion.classes, matrix)):
        total = sum(counts)
        accuracy = _percent(counts[i] / total) if total else "-"
        wrong = [count if k != i else 0 for k, count in enumerate(counts)]
        most = max(range(len(wrong)), key=wrong.__getitem__)
        mistaken = f"{confusion.classes[most]} ({wrong[most]})" if wrong[most] else "-"
        rows.append((name, str(total), accuracy, mistaken))
    return Table(("class", "samples", "accuracy", "most often mistaken for"), tuple(rows))


def _over_chips(views):
    rows = []
    for view in views:
        if view.record.chips:
            values = np.array(view.record.chips.test_accuracy)
            std = _percent(values.std(ddof=1)) if len(values) > 1 else "-"
            figures_of = (values.mean(), values.min(), values.max())
            mean, worst, best = map(_percent, figures_of)
            rows.append((view.name, str(len(values)), mean, std, worst, best))
    header = ("run", "chips not seen", "mean", "std", "worst", "best")
    return Table(header, tuple(rows)) if rows else None


def _cost(views):
    planned = [view for view in views if view.record.network is not None]
    if not planned:
        return None
    columns = []
    for view in planned:
        plan = view.record.network.plan
        spiking = isinstance(plan, SpikingPlan)
        cost = estimate_spiking(plan) if spiking else estimate(plan)
        least, most = (1e6 * joules for joules in cost.joules)
        fast = "-"
        if spiking and plan.partitions == 1:
            one = estimate_spiking(plan, "fast")
            fast = f"{1e6 * one.seconds:.3g} µs, {1e6 * one.joules[0]:.3g} µJ"
        columns.append(
            (
                str(len(cost.runs)),
                f"{1e6 * cost.seconds:,.0f} µs",
                f"{least:,.3g} µJ" if least == most else f"{least:,.0f} to {most:,.0f} µJ",
                fast,
                f"{cost.events:,}" if cost.events else "-",
            )
        )
    names = (
        "runs of the chip",
        "chip time",
        "energy of the chip",
        "in fast mode",
        "input events, at most",
    )
    rows = tuple((name, *cells) for name, cells in zip(names, zip(*columns)))
    return Table(("per sample", *(view.name for view in planned)), rows)


def _environment(views):
    """What the runs began with, a row a quantity."""
    trees = [_flat(view.record.environment) for view in views]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    rows = tuple((key, *(tree.get(key, "-") for tree in trees)) for key in keys)
    return Table(("", *(view.name for view in views)), rows) if rows else None


def _flat(tree: dict[str, Any], prefix="") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            found[prefix + key] = " ".join(map(str, value))
        else:
            found[prefix + key] = "-" if value is None else str(value)
    return found


def _percent(share):
    return f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def _duration(seconds):
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
