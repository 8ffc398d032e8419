"""What a run has learned, for other programs: weights, codes and places, hxtorch's layers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bss2jax.files import writing
from bss2jax.mapping.pieces import FIELDS
from bss2jax.networks import nir
from bss2jax.networks.layer import kind_of
from bss2jax.networks.normed import fold_norms, programmed
from bss2jax.runs.directory import RunError
from bss2jax.runs.run import Run

Arrays = dict[str, np.ndarray]


def weights(run: Run) -> Arrays:
    """Returns the parameters as they were trained, float32, by `layer/name`, any shape."""
    return {
        f"{layer}/{name}": np.asarray(value)
        for layer, params in run.params.items()
        for name, value in params.items()
    }


def codes(run: Run) -> Arrays:
    """Returns what synapses hold, and where.

    Returns:
        For each layer on a chip `layer/NAME` for each of its weights, int8 codes -63..63 of the
        parameter's shape; `layer/pieces`, `[n, 11]` int32, a row for each part of the layer on an
        array, whose columns `fields` names; and `layer/circuits`, `[m, 2]` int32, the chip and the
        circuit of each of its neurons.

    Raises:
        RunError: the network is on no chip.
    """
    network = run.network
    if network.misfit or not network.plan.names:
        raise RunError(f"{run.path}: no layer of the network is on a chip: {network.misfit}")
    found: Arrays = {"fields": np.array(FIELDS)}
    for layer, held in programmed(network, run.params, run.state).items():
        for name, value in held.items():
            found[f"{layer}/{name}"] = np.asarray(value).astype(np.int8)
    for i, name in enumerate(network.plan.names):
        found[f"{name}/pieces"] = network.plan.rows(i)
    found["circuits"] = network.plan.circuits
    return found


def hxtorch(run: Run) -> Arrays:
    """Returns what hxtorch's layers take: weights in PyTorch's layout, and settings.

    Returns:
        For each layer with parameters `layer/weight`, `[N, K]`, or of a convolution
        `[N, C, *window]`, `layer/recurrent` and `layer/bias` where there are; and `settings`, JSON
        text of every layer's keys, in order.
    """
    found: Arrays = {}
    settings = []
    network, params, _ = fold_norms(run.network, run.params, run.state)
    for node in network.nodes:
        keys = {k: v for k, v in vars(node.layer).items() if k not in ("name", "inputs")}
        sends = getattr(node.layer, "sends", None)
        if sends is not None:
            keys["num_sends"] = sends(node.before[0])[1]
        timing = {key: getattr(node.before[0], key, None) for key in ("steps", "dt")}
        settings.append(
            {"name": node.name, "kind": kind_of(node.layer), **keys}
            | {key: value for key, value in timing.items() if value is not None}
        )
        for name, value in params.get(node.name, {}).items():
            # Outputs first, as PyTorch has them; window and channels behind.
            order = (value.ndim - 1, *(() if value.ndim < 2 else (value.ndim - 2,)))
            rest = tuple(range(value.ndim - 2))
            found[f"{node.name}/{name}"] = np.asarray(value).transpose(*order, *rest)
    found["settings"] = np.array(json.dumps(settings, default=repr))
    return found


KINDS: dict[str, Callable[[Run], Arrays]] = {
    "weights": weights, "codes": codes, "hxtorch": hxtorch,
}  # fmt: skip


def export_nir(run: Run, path: str | Path, framework: str, like: str | None = None) -> None:
    """Writes a run's network as a graph of NIR.

    Args:
        run: the finished run.
        path: the file.
        framework: the framework whose habits it follows: see `networks.nir.write`.
        like: the file that it was read from; None for a network of one's own.

    Raises:
        RunError: a layer has no node in NIR, or a file cannot be read or written.
    """
    try:
        before = None if like is None else nir.load(like)
        nir.write(run.network, run.params, run.state, path, framework=framework, like=before)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: {error}") from None


def export(run: Run, kind: str, path: str | Path) -> Path:
    """Writes what a run has learned to an npz file, in place of an earlier one.

    Args:
        run: the finished run.
        kind: `weights`, `codes` or `hxtorch`, as the functions of these names.
        path: the file.

    Raises:
        RunError: the network has none, or the file cannot be written.
    """
    arrays: dict[str, Any] = KINDS[kind](run)
    try:
        with writing(Path(path)) as file:
            np.savez(file, **jax.device_get(arrays))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None
    return Path(path)
