"""The report's tables and headline: what is said of runs in words and numbers."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from bss2jax.config import differing
from bss2jax.mapping.cost import estimate, fast_seconds
from bss2jax.networks.rungs import RUNGS
from bss2jax.report.record import Confusion, Record
from bss2jax.training.phase import Phase

_PERCENT = {"inputs", "outputs", "sums", "weights"}
_NAMES = ("name", "description")  # say nothing of what was done


@dataclass(frozen=True)
class Table:
    """A table of text: a header, and rows whose first cell says what they are of."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Tile:
    """A headline figure, and what it is of."""

    figure: str
    meaning: str


def command(record: Record) -> str:
    """Returns the command that makes the run again."""
    called = record.environment.get("command")
    if isinstance(called, list) and called[1:2] == ["train"] and "--resume" not in called:
        return shlex.join(["bss2jax", *map(str, called[1:])])
    return shlex.join(["bss2jax", "train", f"{record.path}/resolved.toml", "run.dir=runs/again"])


def tiles(record: Record) -> tuple[Tile, ...]:
    """Returns the headline of one run: what it reaches, what it loses and what it takes."""
    found = record.summary.test_accuracy if record.summary else {}
    rung = final_rung(found)
    told = []
    if rung:
        told.append(Tile(f"{found[rung]:.2%}", f"test accuracy, {RUNGS[rung].label}"))
    if {"float", "transfer"} <= found.keys():
        lost = 100 * (found["transfer"] - found["float"])
        told.append(Tile(f"{_signed(lost)} points", "when moved to the chip"))
    if {"chip", "transfer"} <= found.keys() and any(p.on_chip for p in _phases(record)):
        won = 100 * (found["chip"] - found["transfer"])
        told.append(Tile(f"{_signed(won)} points", "by training with the chip in the loop"))
    if record.chips:
        values = np.array(record.chips.test_accuracy)
        told.append(Tile(f"{values.mean():.2%}", f"on {len(values)} chips it has never seen"))
    if record.network and record.network.plan.names:
        cost, count = estimate(record.network.plan), record.network.plan.configurations
        said = "configuration" if count == 1 else "configurations"
        told.append(Tile(_time(cost.seconds), f"chip time a sample, in {count} {said}"))
        told.append(Tile(_energy(*cost.joules), "energy of the chip a sample, estimated"))
    return tuple(told)


def phases(record: Record) -> Table | None:
    """Returns what was done: a row a phase."""
    taken = record.summary.seconds.phases if record.summary else ()
    rows = []
    for i, phase in enumerate(_phases(record)):
        resampled = " (chips resampled)" if phase.resamples else ""
        seconds = f"{taken[i]:.0f} s" if i < len(taken) else "-"
        rows.append(
            (str(i + 1), _on(phase.on) + resampled, str(phase.epochs), str(phase.batch_size),
             f"{phase.learning_rate:g}", seconds)
        )  # fmt: skip
    header = ("phase", "on", "epochs", "batch", "learning rate", "took")
    return Table(header, tuple(rows)) if rows else None


def state(record: Record) -> str:
    """Returns how far a run has got."""
    if record.summary:
        return "finished"
    if not record.metrics:
        return "unfinished"
    last = record.metrics[-1]
    return f"unfinished: phase {last.phase + 1}, epoch {last.epoch} done"


def comparison(records: Mapping[str, Record]) -> Table:
    """Returns a row a run: what it reached, how long it took, and the keys that differ."""
    ladders = [
        record.summary.test_accuracy if record.summary else {} for record in records.values()
    ]
    rungs = [rung for rung in RUNGS if any(rung in found for found in ladders)]
    configs = {name: record.config for name, record in records.items() if record.config}
    values = dict(zip(configs, differing(list(configs.values()))))
    keys = [key for key in next(iter(values.values()), {}) if key not in _NAMES]
    rows = []
    for (name, record), found in zip(records.items(), ladders):
        accuracy = (f"{found[rung]:.2%}" if rung in found else "-" for rung in rungs)
        own = (_text(values.get(name, {}).get(key)) for key in keys)
        rows.append((name, *accuracy, _took(record), state(record), *own))
    labels = (RUNGS[rung].label for rung in rungs)
    return Table(("run", *labels, "took", "state", *keys), tuple(rows))


def rungs(ladders: Mapping[str, Mapping[str, float]]) -> Table:
    """Returns the ladders of runs, given by name: a row a rung."""
    known = [rung for rung in RUNGS if any(rung in rungs for rungs in ladders.values())]
    return Table(
        ("rung", "", *ladders),
        tuple(
            (
                RUNGS[rung].label,
                RUNGS[rung].meaning,
                *(f"{found[rung]:.2%}" if rung in found else "-" for found in ladders.values()),
            )
            for rung in known
        ),
    )


def final_rung(found: Mapping[str, Any]) -> str | None:
    """Returns the last rung of the ladder that is known."""
    return next((rung for rung in reversed(RUNGS) if rung in found), None)


def saturation(record: Record) -> Table | None:
    """Returns shares and activity of the last epoch of each phase, a row a phase and layer."""
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


def classes(confusion: Confusion, rung: str) -> Table:
    """Returns the accuracy of each class, and what it is most often mistaken for."""
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


def over_chips(records: Mapping[str, Record]) -> Table | None:
    """Returns the accuracy over chips that runs have not seen, a row a run."""
    rows = []
    for name, record in records.items():
        if record.chips:
            values = np.array(record.chips.test_accuracy)
            std = f"{values.std(ddof=1):.2%}" if len(values) > 1 else "-"
            mean, worst, best = (f"{x:.2%}" for x in (values.mean(), values.min(), values.max()))
            rows.append((name, str(len(values)), mean, std, worst, best))
    header = ("run", "chips not seen", "mean", "std", "worst", "best")
    return Table(header, tuple(rows)) if rows else None


def cost(records: Mapping[str, Record]) -> Table | None:
    """Returns what a sample takes on the chip, a column a run."""
    plans = {name: record.network.plan for name, record in records.items() if record.network}
    if not plans:
        return None
    columns = []
    for plan in plans.values():
        cost, fast = estimate(plan), "-"
        if fast_seconds(plan) is not None:
            one = estimate(plan, mode="fast")
            fast = f"{_time(one.seconds)}, {_energy(*one.joules)}"
        events = f"{cost.events:,}" if cost.events else "-"
        columns.append(
            (str(plan.configurations), _time(cost.seconds), _energy(*cost.joules), fast, events)
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


def environment(records: Mapping[str, Record]) -> Table | None:
    """Returns what the runs began with, a row a quantity."""
    found = [
        {
            jax.tree_util.keystr(path, simple=True, separator="."): value
            for path, value in jax.tree.leaves_with_path(
                record.environment, is_leaf=lambda value: not isinstance(value, dict)
            )
        }
        for record in records.values()
    ]
    keys = dict.fromkeys(key for tree in found for key in tree)
    rows = tuple((key, *(_text(tree.get(key)) for tree in found)) for key in keys)
    return Table(("", *records), rows) if rows else None


def _phases(record: Record) -> Sequence[Phase]:
    return record.config.phases if record.config else ()


def _on(on: str | Mapping[str, str]) -> str:
    return on if isinstance(on, str) else "mixed"


def _took(record: Record) -> str:
    seconds: float | None = sum(epoch.seconds for epoch in record.metrics)
    if record.summary:
        seconds = record.summary.seconds.total
    return f"{seconds:.0f} s" if seconds else "-"


def _in_order(by_layer: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """What is known of layers, in the order of the network where that is known."""
    place = {name: i for i, name in enumerate(names)}
    return sorted(by_layer.items(), key=lambda item: place.get(item[0], len(place)))


def _figure(kind: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" if kind in _PERCENT else f"{value:.3g}"


def _signed(points: float) -> str:
    return f"{points:+.2f}".replace("-", "\N{MINUS SIGN}")


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f} µs" if seconds < 2e-3 else f"{1e3 * seconds:,.3g} ms"


def _energy(least: float, most: float) -> str:
    """A span of energies, J, in a unit that suits it."""
    factor, unit = (1e6, "µJ") if most < 1e-3 else (1e3, "mJ")
    low, high = (f"{factor * joules:,.3g}" for joules in (least, most))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)
