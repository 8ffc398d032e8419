"""The report's page: what is shown of each run, and the template that it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from bss2jax import __version__
from bss2jax.chip.chip import Chip
from bss2jax.networks.rungs import RUNGS
from bss2jax.plot.style import COLOURS, cycle
from bss2jax.report import figures, tables
from bss2jax.report.record import Record
from bss2jax.report.replay import Replay, replay
from bss2jax.report.tables import Table, Tile
from bss2jax.report.template import names_of, template

_MAPPED = ("column_gain", "offset")  # quantities of a chip that are drawn


@dataclass(frozen=True)
class View:
    """What the page shows of one run. Pictures are None where there is nothing to draw.

    Attributes:
        name: the run's name on the page; `colour` marks it.
        kind: the kind of its network.
        record: all that was read of the run.
        replay: what was worked out again of it, or None.
        notes: sentences that say what is missing, and why.
        command: what makes the run again.
        state: how far it has got, in words.
        tiles: its headline.
        phases, saturation, classes: tables.
        saturating, weights, right, wrong, sample, confusion: pictures.
        rung: the rung that `confusion` and `classes` show, in words.
    """

    name: str
    colour: str
    kind: str
    record: Record
    replay: Replay | None
    notes: tuple[str, ...]
    command: str
    state: str
    tiles: tuple[Tile, ...]
    phases: Table | None
    saturation: Table | None
    classes: Table | None
    saturating: Markup | None
    weights: Markup | None
    right: Markup | None
    wrong: Markup | None
    sample: Markup | None
    confusion: Markup | None
    rung: str | None


@dataclass(frozen=True)
class Place:
    """Where the networks of some runs lie, whose plan is the same.

    Attributes:
        names: the names of the runs.
        kind: the kind of their network.
        placement, schedule: pictures; None where the plan is not known or empty.
        text: the plan in words.
    """

    names: tuple[str, ...]
    kind: str
    placement: Markup | None
    schedule: Markup | None
    text: str


@dataclass(frozen=True)
class Specimen:
    """A chip that runs share.

    Attributes:
        names: the names of the runs.
        source: its file or seed.
        maps: pictures.
    """

    names: tuple[str, ...]
    source: str
    maps: tuple[Markup, ...]


def render(records: Sequence[Record]) -> str:
    """Returns the page of some runs."""
    runs = dict(zip(names_of([record.path for record in records]), records))
    ladders = {name: r.summary.test_accuracy for name, r in runs.items() if r.summary}
    chips = {name: r.chips.test_accuracy for name, r in runs.items() if r.chips}
    own = {name: ladders[name]["chip"] for name in chips if "chip" in ladders.get(name, {})}
    views = [_view(name, i, record) for i, (name, record) in enumerate(runs.items())]
    known = any(rung in RUNGS for rungs in ladders.values() for rung in rungs)
    learned = {name: record for name, record in runs.items() if record.metrics}
    return template("page.html").render(
        views=views,
        specimens=_specimens(views),
        version=__version__,
        time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        comparison=tables.comparison(runs) if len(runs) > 1 else None,
        ladder=figures.ladder(ladders) if known else None,
        rungs=tables.rungs(ladders) if known else None,
        accuracy=figures.curves(learned, "accuracy") if learned else None,
        loss=figures.curves(learned, "loss") if learned else None,
        places=_places(runs),
        chips=figures.over_chips(chips, own) if chips else None,
        over_chips=tables.over_chips(runs),
        cost=tables.cost(runs),
        environment=tables.environment(runs),
    )


def _view(name: str, number: int, record: Record) -> View:
    confusion, found = record.confusion, replay(record.path) if record.summary else None
    rung = tables.final_rung(confusion.test_confusion) if confusion else None
    again = found if isinstance(found, Replay) else None
    notes = (*record.notes, *([found] if isinstance(found, str) else []))
    saturates = any(any(e.validation_saturation.values()) for e in record.metrics)
    return View(
        name,
        cycle(COLOURS, number),
        _kind(record),
        record,
        again,
        notes,
        tables.command(record),
        tables.state(record),
        tables.tiles(record),
        tables.phases(record),
        tables.saturation(record),
        tables.classes(confusion, rung) if confusion and rung else None,
        saturating=figures.saturation(record) if saturates else None,
        weights=figures.weights(again.codes) if again and again.codes else None,
        right=figures.samples(again.right) if again and again.right else None,
        wrong=figures.samples(again.wrong) if again and again.wrong else None,
        sample=figures.one_sample(again.sample) if again and again.sample else None,
        confusion=figures.confusion(confusion, rung) if confusion and rung else None,
        rung=RUNGS[rung].label if rung else None,
    )


def _specimens(views: Sequence[View]) -> list[Specimen]:
    """The chips of runs, each once."""
    alike: dict[Any, tuple[list[str], Chip]] = {}
    for view in views:
        config, chip = view.record.config, view.replay.chip if view.replay else None
        if config and chip is not None:
            alike.setdefault((config.chip, config.spreads), ([], chip))[0].append(view.name)
    return [
        Specimen(
            tuple(names),
            of.file or f"seed {of.seed}",
            tuple(figures.chip(chip, quantity) for quantity in _MAPPED),
        )
        for (of, _), (names, chip) in alike.items()
    ]


def _kind(record: Record) -> str:
    if record.config is None:
        return "unknown"
    families = dict.fromkeys(layer.family for layer in record.config.layers if layer.family)
    return " and ".join(families)


def _places(runs: dict[str, Record]) -> list[Place]:
    """Where networks lie, each plan once."""
    alike: dict[Any, list[str]] = {}
    for name, record in runs.items():
        network = record.network
        fits = network is not None and "chip" in network.executions
        alike.setdefault(network.plan if network and fits else name, []).append(name)
    return [_place(names, runs[names[0]]) for names in alike.values()]


def _place(names: Sequence[str], record: Record) -> Place:
    network = record.network
    fits = network if network and "chip" in network.executions else None
    return Place(
        tuple(names),
        _kind(record),
        figures.placement(fits) if fits else None,
        figures.schedule(fits) if fits else None,
        record.plan,
    )
