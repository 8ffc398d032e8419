"""What a finished run's network holds and does, worked out again from its final parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.chip.chip import Chip
from bss2jax.config import ConfigError
from bss2jax.data import DataError
from bss2jax.experiment import Experiment
from bss2jax.networks.normed import programmed
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.session import read_final
from bss2jax.training.task import Variables

_BATCH, _BATCHES = 100, 5  # samples that are looked at again
_SLOW = 20  # of a network that takes a product a step
_SHOWN = 8
_NEURONS = 5  # membranes of a layer that are kept
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
        membranes: `[T, some]` by layer, software units, of the neurons that come highest.
        labels: names of these neurons, by layer.
    """

    label: str
    taken_for: str
    dt: float
    spikes: dict[str, np.ndarray]
    membranes: dict[str, np.ndarray]
    labels: dict[str, list[str]]


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
        one_sample(experiment, variables, 0, int(taken_for[0])),
    )


def _run(experiment: Experiment, variables: Variables, **settings: Any) -> Callable[..., Any]:
    """What runs samples, of which the first has a number, as the run was measured last."""
    task, on = experiment.task, experiment.measured_on[-1]
    on_chip = on == "chip"
    apply = jax.jit(
        partial(task.network.apply, on=experiment.on_chip if on_chip else on, **settings)
    )
    chip, key = (experiment.chip, jax.random.key(_SEED)) if on_chip else (None, None)

    def run(x: jax.Array, first: int) -> Any:
        known = variables.params, variables.state
        return apply(*known, task.encode(x), chip, key, sample=jnp.int32(first))

    return run


def _slow(experiment: Experiment) -> bool:
    return experiment.task.network.slow_off_float and experiment.measured_on[-1] != "float"


def _scores(experiment: Experiment, variables: Variables) -> np.ndarray:
    """The scores of the first test samples, `[S, N]`."""
    x, run = experiment.test.x, _run(experiment, variables)
    count = min(len(x), _SLOW if _slow(experiment) else _BATCH * _BATCHES)
    batch = min(count, _BATCH)
    scores = [run(x[at : at + batch], at)[0] for at in range(0, count - batch + 1, batch)]
    return np.concatenate(jax.device_get(scores))


def one_sample(
    experiment: Experiment, variables: Variables, which: int, taken_for: int
) -> OneSample | None:
    """Returns what spiking layers do with a test sample; None: there are none, or it takes long.

    Args:
        experiment: the experiment whose network, chip and test set they are.
        variables: what the network has learned.
        which: number of the sample.
        taken_for: the label that the network gives it.
    """
    nodes = [node for node in experiment.task.network.nodes if node.after.timed]
    if not nodes or _slow(experiment):
        return None
    run = _run(experiment, variables, observe=("spikes", "membrane"))
    records = jax.device_get(run(experiment.test.x[which : which + 1], which)[2])
    of = {
        what: {n.name: records[n.name][what] for n in nodes if what in records.get(n.name, {})}
        for what in ("spikes", "membrane")
    }
    flat = {
        what: {name: a[:, 0].reshape(len(a), -1) for name, a in arrays.items()}
        for what, arrays in of.items()
    }
    membranes, labels = {}, {}
    for name, v in flat["membrane"].items():
        # Those that come highest have most to show.
        shown = np.sort(np.argsort(-v.max(axis=0), kind="stable")[:_NEURONS])
        membranes[name], labels[name] = v[:, shown], [f"neuron {n}" for n in shown]
    label, classes = int(experiment.test.y[which]), experiment.classes
    said = classes[label], classes[taken_for]
    return OneSample(*said, nodes[0].after.dt, flat["spikes"], membranes, labels)


def _taken(experiment: Experiment, index: np.ndarray, taken_for: np.ndarray) -> Samples | None:
    if not len(index):
        return None
    x, y = (np.asarray(a[index]) for a in (experiment.test.x, experiment.test.y))
    scale = experiment.task.full_scale
    return Samples(x, y, taken_for[index], experiment.classes, scale)


def _codes(experiment: Experiment, variables: Variables) -> dict[str, np.ndarray]:
    held = programmed(experiment.task.network, variables.params, variables.state)
    return {
        layer if name == "weight" else f"{layer}, {name}": np.asarray(values)
        for layer, codes in held.items()
        for name, values in codes.items()
    }
