"""From a graph of NIR to a config with what it starts from."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bss2jax import data
from bss2jax.config import Config, ConfigError, dump
from bss2jax.config.tables import Data
from bss2jax.files import writing
from bss2jax.model import network_of
from bss2jax.networks import LAYERS, Flatten
from bss2jax.networks.decoders import MaxOverTime, SpikeCount
from bss2jax.networks.layer import Layer, names_of
from bss2jax.networks.nir import Imported
from bss2jax.runs import checkpoint
from bss2jax.training.phase import Objective, Phase
from bss2jax.training.task import Variables


@dataclass(frozen=True)
class Around:
    """What a graph does not have: samples, their code, their steps.

    Attributes:
        data: name of a data set, or the npz file of one.
        code: kind of the code that makes spikes of its values, such as `rate`.
        steps: T.
    """

    data: str
    code: str = "rate"
    steps: int = 100


def fitting(imported: Imported) -> str | None:
    """Returns the one shipped data set whose samples and classes a graph takes; None: not one."""
    wanted = math.prod(imported.size), imported.outputs
    known = {name: data.spec(name) for name in data.names()}
    found = [n for n, s in known.items() if (math.prod(s.shape), len(s.classes)) == wanted]
    return found[0] if len(found) == 1 else None


def made_up(imported: Imported, path: Path) -> str:
    """Writes random samples of a graph's sizes, to be replaced by the user's; returns the file.

    Args:
        imported: the graph as layers.
        path: the path of the config that they are for.

    Raises:
        ConfigError: it cannot be written.
    """
    rng, file = np.random.default_rng(0), path.with_name(f"{path.stem}-samples.npz")
    outputs = imported.outputs
    arrays: dict[str, Any] = {}
    for split, number in (("train", 8 * outputs + 8), ("test", 2 * outputs)):
        arrays[f"x_{split}"] = rng.random((number, *imported.size), np.float32)
        arrays[f"y_{split}"] = np.arange(number) % outputs
    try:
        with writing(file) as opened:
            np.savez(opened, **arrays)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    return str(file)


def config_of(imported: Imported, around: Around, name: str) -> Config:
    """Returns a config that trains an imported network, on the chip where one has it.

    Args:
        imported: the graph as layers.
        around: samples and their code.
        name: the name of the config; it starts from `NAME.npz` beside it.

    Raises:
        ConfigError: the samples do not fit the graph.
    """
    own = around.data.endswith(".npz")
    source = Data(file=around.data) if own else Data(name=around.data)
    try:
        size = data.spec(around.data).shape
        entries, takes = math.prod(size), math.prod(imported.size)
        if entries != takes or (len(imported.size) > 1 and size != imported.size):
            raise ValueError(
                f"{around.data} has samples of {size}, the graph takes {imported.size}"
            )
        kinds: dict[str, Any] = {kind.kind: kind for kind in LAYERS}  # type: ignore[attr-defined]
        code = kinds[around.code](steps=around.steps, dt=imported.dt)
        flat = len(imported.size) == 1 and len(size) > 1
        front: list[Layer] = [*([Flatten(channels_first=True)] if flat else []), code]
        last = imported.network(around.steps).nodes[-1].after
    except ValueError as error:
        raise ConfigError(str(error)) from None
    first = names_of(front)[-1]
    layers = [replace(one, inputs=_renamed(one.inputs, first)) for one in imported.layers]
    reads_spikes = last.kind == "spikes"
    whole = Config(
        name=name, description=f"imported from NIR, on {around.data}", data=source,
        layers=(*front, *layers, SpikeCount() if reads_spikes else MaxOverTime()),
        objective=Objective(scale=1.0 if reads_spikes else 3.0), start=f"{name}.npz",
        phases=(Phase(on="float", epochs=1, learning_rate=1e-3),),
    )  # fmt: skip
    if "chip" in network_of(whole).executions:
        phase = Phase(on="chip", epochs=5, learning_rate=1e-3, schedule="cosine")
        whole = replace(whole, phases=(phase,))
    return whole


def save(imported: Imported, config: Config, path: Path) -> None:
    """Writes a config, and beside it what it starts from.

    Args:
        imported: the graph as layers.
        config: the config of `config_of`.
        path: the path of the config.

    Raises:
        ConfigError: a file cannot be written.
    """
    learned = Variables(imported.params, imported.state)
    try:
        checkpoint.save(path.with_suffix(".npz"), learned)
        with writing(path) as file:
            # What lies beside a config is found from there.
            own = config.data.file
            beside = replace(config.data, file=own if own is None else Path(own).name)
            file.write(dump(replace(config, data=beside)).encode())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _renamed(inputs: tuple[str, ...] | None, first: str) -> tuple[str, ...]:
    return tuple(first if name == "input" else name for name in inputs or ())
