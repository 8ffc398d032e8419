"""Where the time goes: training and inference of networks, as simulated here and on chips.

    python experiments/runtime.py [key=value ...] [--only NAME ...] [--steps 30] [--out DIR]

The overheads that Spilger et al. 2020 (arXiv 2006.13138) analysed of their set-ups, for `mnist`,
`har` and `mnist_spiking`. Simulation is measured: loading of data, compilation without a cache, the
median of some steps of each phase, validation after each epoch; all epochs are as many times that.
The chip is computed from the plan (`bss2jax.mapping.cost`): its phases in the loop, with one chip
for all configurations, or one for each; the host is taken to be as fast as needed, and a round trip
may take as long as is said before it takes more than the chip. What is measured is kept, so that
the same command goes on. A table is in `runtime.md`, a figure in `runtime.png`.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from study import COLOURS, Study, figure, parser, write

from bss2jax.experiment import Experiment
from bss2jax.mapping.cost import EpochCost, estimate, over_epoch, spent, writing_seconds
from bss2jax.mapping.demand import SPENT
from bss2jax.mapping.plan import Plan
from bss2jax.text import table
from bss2jax.training import loop
from bss2jax.training.evaluate import BATCH, evaluate
from bss2jax.training.phase import Phase, batch_of, steps_per_epoch, total_steps
from bss2jax.training.step import compiled_step, epoch_order

CONFIGS = ("mnist", "har", "mnist_spiking")
SIMULATED = ("loading", "compiling", "steps", "evaluation")
CHIP = ("writing", *SPENT)


@dataclass(frozen=True)
class Row:
    """Where the time of one work on one machine goes.

    Attributes:
        config: the network.
        work: training or inference.
        where: simulation, or how many chips.
        seconds: by what they are spent on.
        round_trips: between host and chips.
        utilisation: of the peak of all its chips, a share; None of a simulation.
    """

    config: str
    work: str
    where: str
    seconds: dict[str, float]
    round_trips: int = 0
    utilisation: float | None = None

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    @property
    def bound(self) -> str:
        """What takes most of them, and its share."""
        name = max(self.seconds, key=lambda name: self.seconds[name])
        return f"{name}, {self.seconds[name] / self.total:.0%}"


# --- simulated: measured


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the seconds of a call and its result, once it is there."""
    begin = time.perf_counter()
    result = jax.block_until_ready(call())
    return time.perf_counter() - begin, result


def simulated(experiment: Experiment, name: str, loading: float, steps: int) -> list[Row]:
    """Returns where the time of training and inference goes here."""
    variables = experiment.initial()
    training = dict.fromkeys(SIMULATED, 0.0) | {"loading": loading}
    for number, phase in enumerate(experiment.config.phases):
        for what, seconds in of_phase(experiment, variables, number, phase, steps).items():
            training[what] += seconds
    # As by itself: a task that has compiled nothing yet.
    anew = replace(experiment, task=replace(experiment.task))
    compiling, inference = evaluated(anew, variables, experiment.test, experiment.on_chip)
    whole = {"loading": loading, "compiling": compiling, "steps": 0.0, "evaluation": inference}
    return [
        Row(name, "training", "simulated", training),
        Row(name, "inference", "simulated", whole),
    ]


def of_phase(
    experiment: Experiment, variables: Any, number: int, phase: Phase, steps: int
) -> dict[str, float]:
    """Returns what a phase takes: some steps and a validation, for all its steps and epochs."""
    samples, key = experiment.training, experiment.phase_key(number)
    state = loop.begin(phase, variables, len(samples.y)).state
    arguments = experiment.task, phase, state, samples, experiment.chip, key
    compiling, step = timed(lambda: compiled_step(*arguments))
    order, took, done = epoch_order(key, 1, len(samples.y)), [], jnp.int32(0)
    for _ in range(min(steps, steps_per_epoch(phase, len(samples.y)))):
        call = lambda: step.call(state, samples, order, done, experiment.chip, key)  # noqa: B023, E731
        seconds, (state, done) = timed(call)
        took.append(seconds)
    first, evaluation = evaluated(experiment, variables, experiment.validation, phase.on)
    all_steps = total_steps(phase, len(samples.y))
    epochs = -(-all_steps // steps_per_epoch(phase, len(samples.y)))
    return {
        "compiling": compiling + first,
        "steps": all_steps * float(np.median(took)),
        "evaluation": epochs * evaluation,
    }


def evaluated(experiment: Experiment, variables: Any, samples: Any, on: Any) -> tuple[float, float]:
    """Returns what it takes to compile an evaluation, and to run it."""
    run = lambda: evaluate(  # noqa: E731
        experiment.task, variables, samples, experiment.chip, experiment.key, on=on
    )
    first, again = timed(run)[0], timed(run)[0]
    return max(0.0, first - again), again


# --- on chips: computed


def on_chips(experiment: Experiment, name: str) -> list[Row]:
    """Returns where the time of training in the loop and of inference goes, on one chip and all.

    In inference weights stay: one chip takes the whole test set configuration by configuration, of
    several each keeps its own.
    """
    plan = experiment.task.network.plan
    samples, tested, cost = len(experiment.training.y), len(experiment.test.y), estimate(plan)
    phases = [phase for phase in experiment.config.phases if phase.on_chip]
    epochs = sum(-(-total_steps(p, samples) // steps_per_epoch(p, samples)) for p in phases)
    batch, rows = batch_of(phases[-1], samples), []
    for one_chip in (True, False)[: plan.configurations]:
        over = partial(over_epoch, cost, one_chip=one_chip, substrate=plan.substrate)
        epoch, test = over(samples, batch), over(tested, tested if one_chip else min(BATCH, tested))
        if not one_chip:
            test = replace(test, writing=writing_seconds(plan.substrate))
        rows.append(of_chips(plan, epoch, name, "training", samples, epochs))
        rows.append(of_chips(plan, test, name, "inference", tested, 1))
    return rows


def of_chips(plan: Plan, cost: EpochCost, name: str, work: str, samples: int, times: int) -> Row:
    """Returns where the time of some epochs goes; of several chips, the slowest one's."""
    parts = spent(plan)
    parts = parts.sum(0) if cost.chips == 1 else parts[parts.sum(1).argmax()]
    # What several chips take while the first batch fills them goes as the slowest one's does.
    shares = cost.seconds * parts / parts.sum()
    seconds = {"writing": cost.writing} | dict(zip(SPENT, shares.tolist()))
    seconds = {what: times * each for what, each in seconds.items()}
    used = sum(demand.operations(plan.rows(i)) for i, demand in enumerate(plan.demands))
    peak = cost.chips * plan.substrate.peak * (cost.seconds + cost.writing)
    where = "1 chip" if cost.chips == 1 else f"{cost.chips} chips"
    return Row(name, work, where, seconds, times * cost.round_trips, samples * used / peak)


# --- what is written


def tables(rows: Sequence[Row]) -> str:
    """Returns both tables."""
    here = [
        (row.config, row.work, *(f"{row.seconds[n]:.1f}" for n in SIMULATED), f"{row.total:.1f}",
         row.bound)
        for row in rows if row.where == "simulated"
    ]  # fmt: skip
    there = [
        (row.config, row.work, row.where, *(f"{row.seconds[n]:.2f}" for n in CHIP),
         f"{row.total:.2f}", row.bound, str(row.round_trips),
         f"{1e3 * row.total / row.round_trips:.2f}", f"{row.utilisation:.2%}")
        for row in rows if row.utilisation is not None
    ]  # fmt: skip
    header = ("config", "work", "where", *CHIP, "total", "bound by", "round trips", "ms a trip")
    return (
        "simulated, s\n\n"
        f"{table(('config', 'work', *SIMULATED, 'total', 'bound by'), here)}\n\n"
        "on chips, in the loop, s\n\n"
        f"{table((*header, 'of the peak'), there)}"
    )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws the share that each part of the work has, a bar a row, with the seconds beside it."""
    names = list(dict.fromkeys((*SIMULATED, *CHIP)))
    colours = (*COLOURS[:2], "#009E73", "#56B4E9", "#F0E442", COLOURS[3], "#CC79A7", COLOURS[2])
    with figure(path, panels=2, width=11.0) as panels:
        for axes, work in zip(panels, ("training", "inference")):
            shown = [row for row in rows if row.work == work]
            left = np.zeros(len(shown))
            for name, colour in zip(names, colours):
                share = np.array([row.seconds.get(name, 0.0) / row.total for row in shown])
                label = name if axes is panels[1] else None
                axes.barh(range(len(shown)), share, left=left, color=colour, label=label)
                left += share
            axes.set_yticks(
                range(len(shown)),
                [f"{row.config}, {row.where}: {row.total:.4g} s" for row in shown], fontsize=8,
            )  # fmt: skip
            axes.invert_yaxis()
            axes.set_axisbelow(True)
            axes.set(xlim=(0, 1), xlabel=f"share of the time of {work}")
        panels[1].legend(bbox_to_anchor=(1, 1), loc="upper left", frameon=False, fontsize=8)


def rows_of(name: str, arguments: argparse.Namespace, out: Path) -> list[Row]:
    """Returns the rows of a config, measured now or kept."""
    path = out / f"{name}.json"
    if not path.exists():
        loading, study = timed(lambda: Study.of(name, arguments.overrides, out))
        found = simulated(study.experiment, name, loading, arguments.steps)
        found += on_chips(study.experiment, name)
        path.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    return [Row(**row) for row in json.loads(path.read_text())]


def main(arguments: list[str] | None = None) -> None:
    made = parser(__doc__, config=False, steps=(30, 1))
    made.add_argument("--only", nargs="*", default=CONFIGS, help="configs; all three by default")
    parsed = made.parse_args(arguments)
    jax.config.update("jax_enable_compilation_cache", False)
    out = parsed.out or Path("runs/runtime")
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for name in parsed.only for row in rows_of(name, parsed, out)]
    write(tables(rows), out, "runtime")
    draw(rows, out / "runtime.png")


if __name__ == "__main__":
    main()
