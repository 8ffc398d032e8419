"""What a finished run's network holds and does, worked out again from its final parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip.chip import Chip
from bss2jax.config import ConfigError
from bss2jax.data import DataError
from bss2jax.experiment import Experiment
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.session import read_final
from bss2jax.training.task import Variables

_BATCH, _BATCHES = 100, 5  # samples that are looked at again
_SLOW = 20  # of a network that takes a product a step
_SHOWN = 8
_SEED = 0  # of the noise


@dataclass(frozen=True)
class Samples:
    """Some test samples, and what the network takes them for.

    Attributes:
        x, y, taken_for: `[S, ...]` samples, `[S]` labels and what was said.
        classes: the meaning of each label.
        full_scale: the largest value of x.
    """

    x: np.ndarray
    y: np.ndarray
    taken_for: np.ndarray
    classes: tuple[str, ...]
    full_scale: float | tuple[float, ...]


@dataclass(frozen=True)
class OneSample:
    """What the layers of a spiking network do with one sample.

    Attributes:
        label, taken_for: what the sample is, and what it is taken for.
        dt: a step, s.
        spikes: `[T, N]` by layer.
        membranes: `[T, N]` by layer, software units.
        labels: names of the neurons, by layer.
    """

    label: str
    taken_for: str
    dt: float
    spikes: dict[str, np.ndarray]
    membranes: dict[str, np.ndarray]
    labels: dict[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Replay:
    """What is worked out again of a run.

    Attributes:
        on: the execution.
        seen: number of test samples that were looked at, the first ones.
        right, wrong: some of those that were told right, and the worst mistakes; None: none.
        codes: 6-bit codes by layer and parameter.
        chip: the run's chip; None for a network that runs on none.
        sample: one sample of a spiking network; None for others.
    """

    on: str
    seen: int
    right: Samples | None
    wrong: Samples | None
    codes: dict[str, np.ndarray]
    chip: Chip | None
    sample: OneSample | None


def replay(path: Path) -> Replay | str:
    """Works out again what a finished run's network holds and does; or says why it cannot."""
    try:
        experiment, variables = read_final(RunDirectory(path))
    except (ConfigError, DataError, RunError) as error:
        return f"Samples and weights cannot be shown: {error}"
    on = experiment.measured_on[-1]
    scores = _scores(experiment, variables)
    y = np.asarray(experiment.test.y[: len(scores)])
    taken_for = scores.argmax(axis=1)
    # How far the score of the label lies below the largest, in units of the scores' own spread.
    margin = scores[np.arange(len(y)), y] - scores.max(axis=1)
    wrong = np.argsort(margin / (scores.std() + 1e-9), kind="stable")
    wrong = wrong[(taken_for != y)[wrong]][:_SHOWN]
    right = np.flatnonzero(taken_for == y)[:_SHOWN]
    return Replay(
        on,
        len(y),
        _taken(experiment, right, taken_for),
        _taken(experiment, wrong, taken_for),
        _codes(experiment, variables),
        experiment.chip if on == "chip" else None,
        None,
    )


def _scores(experiment: Experiment, variables: Variables) -> np.ndarray:
    """The scores of the first test samples, `[S, N]`, on the last execution that is measured."""
    task, test = experiment.task, experiment.test
    on_chip = experiment.measured_on[-1] == "chip"
    slow = task.network.slow_off_float and experiment.measured_on[-1] != "float"
    count = min(len(test.y), _SLOW if slow else _BATCH * _BATCHES)
    batch = min(count, _BATCH)
    run = jax.jit(
        partial(
            task.network.apply, on=experiment.on_chip if on_chip else experiment.measured_on[-1]
        )
    )
    chip, key = (experiment.chip, jax.random.key(_SEED)) if on_chip else (None, None)
    scores = [
        run(variables.params, variables.state, task.encode(test.x[at : at + batch]), chip, key,
            sample=jnp.int32(at))[0]
        for at in range(0, count - batch + 1, batch)
    ]  # fmt: skip
    return np.concatenate(jax.device_get(scores))


def _taken(experiment: Experiment, index: np.ndarray, taken_for: np.ndarray) -> Samples | None:
    if not len(index):
        return None
    x, y = (np.asarray(a[index]) for a in (experiment.test.x, experiment.test.y))
    scale = experiment.task.full_scale
    return Samples(x, y, taken_for[index], experiment.classes, scale)


def _codes(experiment: Experiment, variables: Variables) -> dict[str, np.ndarray]:
    found = {}
    for node in experiment.task.network.nodes:
        codes = node.layer.codes(variables.params.get(node.name, {}), *node.before)
        for name, values in codes.items():
            said = node.name if name == "weight" else f"{node.name}, {name}"
            found[said] = np.asarray(values)
    return found
