"""What the experiments share: one command line, runs that are kept, one table, one figure style."""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bss2jax import config, experiment
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory
from bss2jax.training import Variables

COLOURS = ("#0072B2", "#D55E00", "#000000", "#999999")


@dataclass(frozen=True)
class Study:
    """A config whose runs, with further overrides, share data and what is compiled.

    Given the same command again, what is finished is kept, and what was stopped goes on.

    Attributes:
        name: of a shipped config, or a path.
        overrides: of all its runs.
        out: the directory of the runs.
        experiment: the config with these overrides, prepared.
    """

    name: str
    overrides: tuple[str, ...]
    out: Path
    experiment: Experiment

    @classmethod
    def of(cls, name: str, overrides: Sequence[str], out: Path) -> "Study":
        """Prepares a study: its data are loaded."""
        prepared = experiment.prepare(config.load(name, overrides)[0])
        return cls(name, tuple(overrides), out, prepared)

    @property
    def config(self) -> Config:
        """The config of the study, without what its runs differ in."""
        return self.experiment.config

    def changed(self, *overrides: str) -> Experiment:
        """Returns the experiment with further overrides."""
        return self.experiment.changed(config.load(self.name, [*self.overrides, *overrides])[0])

    def run(self, name: str, *overrides: str, phases: int | None = None) -> RunDirectory:
        """Trains a run into `out/name`, or what is left of it.

        Args:
            name: of its directory.
            overrides: in what it differs.
            phases: how many are trained, the first ones; None: all.
        """
        changed = self.changed(*overrides, f"run.dir={self.out / name}")
        short = replace(changed.config, phases=changed.config.phases[:phases])
        return session.run(changed.changed(short))

    def branch(self, at: int) -> tuple[str, ...]:
        """Trains the phases before one into `out/before`; returns what lets a run start there."""
        if at == 0:
            return ()
        return (f"phases.{at}.start={self.run('before', phases=at).path}",)

    def learned(self, run: RunDirectory) -> Variables:
        """Returns what a finished run ended with."""
        return run.restore("final", jax.eval_shape(self.experiment.initial))


def first_on_chip(parsed: Config) -> int:
    """Returns the number of a config's first phase on the chip.

    Raises:
        ConfigError: there is none.
    """
    for number, phase in enumerate(parsed.phases):
        if phase.on_chip:
            return number
    raise ConfigError("phases: expected one on the chip")


def require_last_on_chip(parsed: Config) -> int:
    """Returns the number of the last phase, the only one on the chip.

    Raises:
        ConfigError: it is not.
    """
    *before, last = (phase.on_chip for phase in parsed.phases)
    if any(before) or not last:
        raise ConfigError("phases: expected only the last one on the chip")
    return len(before)


def read(run: RunDirectory, name: str = "summary.json") -> Any:
    """Reads a JSON file of a run, or the lines of one."""
    text = run.read(name)
    return [json.loads(line) for line in text.splitlines()] if "jsonl" in name else json.loads(text)


def kept(run: RunDirectory, name: str, measure: Callable[[], dict]) -> dict:
    """Returns what was measured of a run, and kept in a file of its directory."""
    if not (run.path / name).exists():
        run.write(name, measure())
    return read(run, name)


def parser(
    doc: str, default: str | None = None, *, config: bool = True, **settings: tuple[int, int]
) -> argparse.ArgumentParser:
    """Returns the command line that all experiments have, of the first line of a docstring.

    Args:
        doc: of the experiment.
        default: the config; None: it has to be given.
        config: whether there is one.
        settings: whole numbers by name: the default, and the least.
    """
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    if config:
        made.add_argument("config", nargs="?" if default else None, default=default)
    made.add_argument("overrides", nargs="*", metavar="key=value")
    for name, (value, least) in settings.items():
        made.add_argument(f"--{name}", type=_number(least), default=value, metavar="N")
    made.add_argument("--out", type=Path, help="directory of table, figure and runs")
    return made


def _number(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, got {text!r}")
        return int(text)

    return number


def spread(values: Sequence[float] | np.ndarray, digits: int = 2) -> str:
    """Returns mean and standard deviation, as text; the mean alone of a single value."""
    std = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{std}"


def write(text: str, out: Path, name: str) -> None:
    """Prints a table, and writes it as markdown."""
    (out / f"{name}.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    print(f"\n{text}\n\ntable, figure and runs are in {out}")


def bars(
    axes: Any,
    names: Sequence[str],
    ratios: Mapping[str, Sequence[float]],
    ylabel: str,
    colours: Sequence[str] = COLOURS,
) -> None:
    """Draws a group of bars a name, with a line at 1; their legend is above, as bars fill the axes.

    Args:
        axes: to draw on.
        names: of the groups.
        ratios: of each group, by what the legend says; what is 1 is said by `ylabel`.
        ylabel: of the axis.
        colours: as many as a group has bars, or more.
    """
    at, width, many = np.arange(len(names)), 0.8 / len(ratios), len(names) > 12
    for i, (label, values) in enumerate(ratios.items()):
        shift = width * (i - (len(ratios) - 1) / 2)
        axes.bar(at + shift, values, width, color=colours[i], label=label)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set(ylabel=ylabel, xticks=at)
    axes.set_xticklabels(names, rotation=40 if many else 20, ha="right", fontsize=7 if many else 8)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=len(ratios), frameon=False, fontsize=8
    )


@contextlib.contextmanager
def figure(path: Path, panels: int = 1, width: float = 6.0) -> Iterator[Any]:
    """Yields the axes of a figure, a list of them if there are several, and writes it."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    made, axes = plt.subplots(1, panels, figsize=(width, 3.5), layout="constrained")
    yield axes
    for each in np.atleast_1d(axes):
        each.grid(axis="y", alpha=0.3)
        if each.get_legend_handles_labels()[0] and each.get_legend() is None:
            each.legend(frameon=False, fontsize=8)
    made.savefig(path, dpi=130)
    plt.close(made)
