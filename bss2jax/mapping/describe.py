"""Plans as text for people: where layers go, and what they cost."""

import textwrap
from itertools import groupby
from typing import Any

import numpy as np

from bss2jax.chip.substrate import Substrate
from bss2jax.mapping.cost import Cost, estimate, fast_seconds, over_epoch
from bss2jax.mapping.pieces import CONFIGURATION
from bss2jax.mapping.plan import Plan
from bss2jax.text import table

_COLUMNS = 80  # of a terminal as most are


def describe(plan: Plan) -> str:
    """Returns a plan as tables: where each layer goes, in how many configurations.

    Args:
        plan: the plan of a parameter tree, or of a network.
    """
    facts = [d.facts(plan.rows(i), plan.substrate) for i, d in enumerate(plan.demands)]
    shares = _shares(plan)
    tables: list[str] = []
    remarks: dict[str, None] = {}
    # Neighbours that say the same kinds of things stand in one table.
    for headings, group in groupby(range(len(facts)), key=lambda i: tuple(facts[i])):
        layers = list(group)
        at = np.concatenate([plan.rows(i)[:, CONFIGURATION] for i in layers])
        lines = [r for i in layers for r in plan.demands[i].remarks(len(np.unique(at)))]
        remarks |= dict.fromkeys(lines)
        first, last = ("population", ["shares"]) if lines else ("layer", [])
        rows = [
            [plan.names[i], *map(_cell, facts[i].values()), *([shares[i]] if lines else [])]
            for i in layers
        ]
        tables.append(table([first, *headings, *last], rows, most=_COLUMNS))
    return "\n\n".join([*tables, *(["\n".join(remarks)] if remarks else [])])


def describe_devices(plan: Plan, devices: int) -> str:
    """Returns how a plan's pieces are dealt to devices that simulate it, as a table.

    Args:
        plan: the plan.
        devices: the devices that pieces are spread over; the last ones of a layer may have fewer,
            or none.
    """
    rows = []
    for name, demand in zip(plan.names, plan.demands):
        number, what = demand.shares(plan.substrate)
        each = -(-number // devices)
        used = -(-number // each)
        rows.append(
            (name, str(number), what, str(each), str(used), f"{number / each / devices:.0%}")
        )
    header = ("layer", "parts", "of what", "a device", "devices", "busy")
    return table(header, rows)


def describe_cost(plan: Plan, samples: int = 60_000, batch: int = 128) -> str:
    """Returns what a plan costs as text: layers of products, a sample, an epoch.

    Args:
        plan: the plan of a network.
        samples: the number of samples in an epoch.
        batch: samples with the same weights.
    """
    s, cost, parts = plan.substrate, estimate(plan), []
    rows = []
    for i, demand in enumerate(plan.demands):
        told, own = demand.costs(plan.rows(i)), plan.rows(i)
        if told:
            times = np.zeros(plan.configurations)
            np.maximum.at(times, own[:, CONFIGURATION], demand.spent(own, plan.seconds, s).sum(-1))
            rows.append([plan.names[i], *map(str, told.values()), f"{times.sum() * 1e6:.1f} µs"])
            header = ["layer", *told, "time"]
    if rows:
        parts.append(table(header, rows) + "\n")
    parts.append(textwrap.fill(_sample_line(cost), _COLUMNS))
    if rows:
        whole = cost.seconds * s.power_system * 1e3
        said = (
            f"a whole mobile system, {s.power_system} W, would take {whole:.1f} mJ in that time; "
            "the 12 mJ published for an image of MNIST are of such a system with its host, and "
            "not reproduced here"
        )
        parts.append(textwrap.fill(said, _COLUMNS))
    elif fast_seconds(plan) is not None:
        fast = _sample_line(estimate(plan, mode="fast"))
        said = f"in fast mode, ended after {1e6 * s.fast_run:.0f} µs, {fast}"
        parts.append(textwrap.fill(said, _COLUMNS))
    return "\n".join([*parts, "", _epoch_table(cost, samples, batch, s)])


def tree(plan: Plan, samples: int = 60_000, batch: int = 128) -> dict[str, Any]:
    """Returns what `describe` and `describe_cost` say, as nested dicts that JSON can hold.

    Times are seconds, energies joules, powers watts, from least to most.

    Args:
        plan, samples, batch: as in `describe_cost`.
    """
    if not plan.names:
        return {"layers": {}}
    cost, substrate = estimate(plan), plan.substrate
    return {
        "layers": {
            name: demand.facts(plan.rows(i), substrate) | demand.costs(plan.rows(i))
            for i, (name, demand) in enumerate(zip(plan.names, plan.demands))
        },
        "sample": {
            "configurations": cost.configurations,
            "seconds": cost.seconds,
            "joules": cost.joules,
            "power": cost.power,
            "events": cost.events,
        },
        "epoch": {
            "samples": samples,
            "batch_size": batch,
            "one_chip": vars(over_epoch(cost, samples, batch, substrate=substrate)),
            "chip_a_configuration": vars(
                over_epoch(cost, samples, batch, one_chip=False, substrate=substrate)
            ),
        },
    }


def _shares(plan: Plan) -> list[str]:
    """Which layers share a configuration: groups are numbered as they follow each other."""
    at = [frozenset(plan.rows(i)[:, CONFIGURATION].tolist()) for i in range(len(plan.names))]
    groups = list(dict.fromkeys(at))
    return [f"group {groups.index(own)}" if at.count(own) > 1 else "alone" for own in at]


def _cell(fact: object) -> str:
    return f"{fact:.1%}" if isinstance(fact, float) else str(fact)


def _sample_line(cost: Cost) -> str:
    least, most = (1e6 * joules for joules in cost.joules)
    energy = f"{least:.3g} µJ" if least == most else f"{least:.0f} to {most:.0f} µJ"
    power = f"{cost.power[0]:g} W" if least == most else "{:g} to {:g} W".format(*cost.power)
    events = (
        "input events not known" if cost.events is None else f"at most {cost.events} input events"
    )
    return f"per sample: {cost.seconds * 1e6:.1f} µs of chip time, {energy} ({power}), {events}"


def _epoch_table(cost: Cost, samples: int, batch: int, substrate: Substrate) -> str:
    epochs = [over_epoch(cost, samples, batch, substrate=substrate)]
    if len(cost.configurations) > 1:
        epochs.append(over_epoch(cost, samples, batch, one_chip=False, substrate=substrate))
    rows = [
        (
            str(e.chips),
            f"{e.seconds:.2f} s",
            f"{e.writing:.2f} s",
            str(e.reconfigurations),
            str(e.round_trips),
            f"{e.joules[0]:.3g} J" if e.joules[0] == e.joules[1] else f"{e.joules[0]:.3g} to "
            f"{e.joules[1]:.3g} J",
        )
        for e in epochs
    ]  # fmt: skip
    header = ("chips", "chip time", "writing", "reconfigurations", "round trips", "energy")
    title = f"per epoch of {samples} samples in batches of {batch}:"
    return f"{title}\n{table(header, rows)}"
