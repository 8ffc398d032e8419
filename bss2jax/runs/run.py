"""A finished run as a value: what it is, what it has learned, what it makes of other samples."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from bss2jax import config as configs
from bss2jax.chip.chip import Chip
from bss2jax.config import Config
from bss2jax.config.write import inline
from bss2jax.data import Dataset
from bss2jax.model import Model, model_of
from bss2jax.networks.graph import Network, Params, State, executions
from bss2jax.networks.layer import Execution
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory
from bss2jax.runs.start import chip_source, require_same
from bss2jax.training.task import Variables
from bss2jax.window import Window

_BATCH = 500  # samples at once; noise does not depend on it
On = Execution | Mapping[str, Execution]


@dataclass(frozen=True)
class Prediction:
    """What a network takes samples for.

    Attributes:
        label: `[B]` the class of the highest score.
        scores: `[B, N]` outputs of the network, in its own units.
        classes: the meaning of each label.
    """

    label: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The classes by name."""
        return [self.classes[label] for label in self.label]


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        directory: its files.
        model: the config with its network and chip.
        variables: what the network has learned.
    """

    directory: RunDirectory
    model: Model
    variables: Variables

    def __repr__(self) -> str:
        ladder = ", ".join(f"{name} {x:.2%}" for name, x in self.summary["test_accuracy"].items())
        return f"Run({str(self.path)!r}: {ladder})"

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.directory.path

    @property
    def config(self) -> Config:
        """The config that it was trained with."""
        return self.model.config

    @property
    def network(self) -> Network:
        """The network, whose `apply` takes `params` and `state`."""
        return self.model.task.network

    @property
    def params(self) -> Params:
        """What the network has learned: arrays by layer and name."""
        return self.variables.params

    @property
    def state(self) -> State:
        """What layers keep from step to step of a training."""
        return self.variables.state

    @property
    def chip(self) -> Chip:
        """The chip that it was trained for."""
        return self.model.chip

    @property
    def classes(self) -> tuple[str, ...]:
        """The meaning of each label."""
        return self.model.classes

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """What was known at the end of each epoch: see `training.loop.Epoch`."""
        return self.directory.lines()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run ended with: accuracies, seeds, seconds."""
        return json.loads(self.directory.read("summary.json"))

    def predict(self, images: npt.ArrayLike, *, on: On | None = None, seed: int = 0) -> Prediction:
        """Classifies samples.

        Args:
            images: `[B, *sample]` or one `[*sample]`, values as in the run's data set.
            on: an execution, or executions by layer; by default the last that the run is measured
                on, such as its own chip.
            seed: the seed of the chip's trial noise.

        Raises:
            ValueError: the samples have another shape, or are no finite numbers.
        """
        x = self.samples(images)
        batch = min(len(x), _BATCH)
        scores = []
        for first in range(0, len(x), batch):
            part = np.resize(x[first : first + batch], (batch, *x.shape[1:]))
            scores.append(self._run(part, seed, first, on, ())[0])
        found = np.concatenate(jax.device_get(scores))[: len(x)]
        return Prediction(found.argmax(axis=1), found, self.classes)

    def record(
        self, images: npt.ArrayLike, *what: str, on: On | None = None, seed: int = 0
    ) -> dict[str, dict[str, np.ndarray]]:
        """Returns what layers do with samples, by layer and by what was asked for.

        Args:
            images: `[B, *sample]` or one `[*sample]`, values as in the run's data set.
            what: what to record. `spikes` are those of codes and neurons, and `membrane` is that of
                neurons in software units, both `[T, B, *size]`; `output` is that of every layer.
            on: as of `predict`.
            seed: as of `predict`.

        Raises:
            ValueError: the samples do not fit, there is no such thing, or no layer has it.
        """
        x = self.samples(images)
        records = self._run(x, seed, 0, on, what)[2]
        kept = {
            name: {key: np.asarray(record[key]) for key in what if key in record}
            for name, record in records.items()
        }
        found = {name: record for name, record in kept.items() if record}
        if not found:
            raise ValueError(f"record: no layer of this network has {' or '.join(what) or 'that'}")
        return found

    def _run(
        self, x: np.ndarray, seed: int, first: int, on: On | None, observe: tuple[str, ...]
    ) -> Any:
        """What the network makes of samples `[B, *sample]`, of which one has a number."""
        each = executions(self.network, self.model.last_execution if on is None else on)
        noisy = "chip" in each.values()
        chip, key = (self.chip, jax.random.key(seed)) if noisy else (None, None)
        static = {"on": tuple(sorted(each.items())), "observe": observe}
        return self._apply(self.variables, x, chip, key, jnp.int32(first), **static)

    @cached_property
    def _apply(self) -> Callable[..., Any]:
        """The network's `apply`, compiled once for an execution and what is recorded."""
        task = self.model.task

        @partial(jax.jit, static_argnames=("on", "observe"))
        def apply(
            variables: Variables, x: jax.Array, chip: Chip | None, key: jax.Array | None,
            sample: jax.Array, on: tuple[tuple[str, Execution], ...], observe: tuple[str, ...],
        ) -> Any:  # fmt: skip
            return task.network.apply(
                variables.params, variables.state, task.encode(x), chip, key,
                sample=sample, on=dict(on), observe=observe,
            )  # fmt: skip

        return apply

    def samples(self, images: npt.ArrayLike) -> np.ndarray:
        """Returns samples `[B, *sample]`, of some or one; a single channel may be left out.

        Args:
            images: as of `predict`.

        Raises:
            ValueError: they have another shape, or are no finite numbers.
        """
        x, size = np.asarray(images), self.network.input.size
        if x.dtype.kind not in "buif" or not np.isfinite(np.asarray(x, np.float64)).all():
            raise ValueError(f"images: got {x.dtype}, expected finite numbers")
        for shape in (size, size[:-1] if size[-1:] == (1,) else size):
            if x.shape == shape or (x.ndim and x.shape[1:] == shape):
                return x.reshape(-1, *size)
        expected = ", ".join(map(str, size))
        raise ValueError(f"images: got shape {x.shape}, expected ({expected}) or (B, {expected})")


def open_run(path: str | Path) -> Run:
    """Opens a finished run; no data are read.

    Args:
        path: the run's directory.

    Raises:
        RunError: there is no run, it is not finished, or its chip has changed.
        ConfigError: its config cannot be read.
    """
    directory = RunDirectory(Path(path))
    model = model_of(session.stored(directory.path))
    directory.environment()  # says if another version wrote it
    require_same(chip_source(model), directory)
    variables = directory.restore("final", jax.eval_shape(model.initial))
    return Run(directory, model, variables)


def train(
    source: str | Path | Config,
    *,
    dataset: Dataset | None = None,
    window: Window | None = None,
    **overrides: Any,
) -> Run:
    """Trains as a config says, and returns the run.

    Args:
        source: the name of a shipped config, the path of a TOML file, or a config that was read.
        dataset: data to use in place of those that the config names, of the same shapes.
        window: the window where progress is said; None: the standard output.
        overrides: keys and values in place of the config's, as in `seed=1` or
            `**{"phases.0.epochs": 3}`.

    Raises:
        ConfigError: the config, or a key, is wrong.
        DataError, RunError, Failed, Stopped: as of `runs.session.train`.
    """
    if isinstance(source, Config):
        parsed, text = source, ""
        if overrides:
            raise configs.ConfigError("overrides are for a config that is read: give its name")
    else:
        parsed, text = configs.load(source, [*_written(overrides)])
    return open_run(session.train(parsed, text, dataset, window=window).path)


def _written(overrides: Mapping[str, Any], before: str = "") -> list[str]:
    """Keys and values as the command line would have them; tables add to those of the config."""
    lines = []
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            lines += _written(value, f"{before}{key}.")
        else:
            lines.append(f"{before}{key}={inline(value)}")
    return lines
