"""Spikes in NIR's files of data."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from bss2jax.arrays import positive
from bss2jax.extras import require


def write_spikes(path: Any, spikes: Mapping[str, Any], dt: float) -> None:
    """Writes spikes on a grid of time.

    Args:
        path: the path of the file.
        spikes: `[T, B, N]` of each node, by its name in the graph.
        dt: s of a step.

    Raises:
        ValueError: spikes have other axes.
    """
    nir = require("nir", "nir", "writing NIR's data")
    step, nodes = positive("dt", dt, "seconds"), {}
    for name, z in spikes.items():
        raster = np.asarray(z)
        if raster.ndim != 3:
            raise ValueError(f"spikes of {name}: expected [T, B, N], got {raster.shape}")
        whole = raster.swapaxes(0, 1)
        data = whole.astype(bool) if np.isin(whole, (0, 1)).all() else whole
        gridded = nir.TimeGriddedData(data=data, dt=step)
        nodes[name] = nir.NIRNodeData(observables={"spikes": gridded})
    nir.write_data(os.fspath(path), nir.NIRGraphData(nodes=nodes))


def read_spikes(path: Any, dt: float) -> dict[str, np.ndarray]:
    """Reads spikes, gridded or as events, of all nodes that have some.

    Args:
        path: the path of the file.
        dt: s of a step; an event at t is in step floor(t / dt).

    Returns:
        `[T, B, N]` float32, by name.

    Raises:
        ValueError: spikes are on a grid of another step.
    """
    nir = require("nir", "nir", "reading NIR's data")
    step = positive("dt", dt, "seconds")
    found: dict[str, np.ndarray] = {}
    for name, node in nir.read_data(os.fspath(path)).nodes.items():
        spikes = getattr(node, "observables", {}).get("spikes")
        if spikes is None:
            continue
        if not hasattr(spikes, "time"):
            if not np.isclose(spikes.dt, step):
                raise ValueError(
                    f"spikes of {name}: their step is {spikes.dt} s, expected {step} s"
                )
            found[name] = np.asarray(spikes.data, np.float32).swapaxes(0, 1)
            continue
        # A time that is a whole number of steps is in the step that begins there, rounding aside.
        at = np.floor(np.where(spikes.idx >= 0, spikes.time, 0) / step + 1e-6).astype(int)
        steps = int(np.ceil(spikes.t_max / step - 1e-6))
        z = np.zeros((steps, len(spikes.idx), spikes.n_neurons), np.float32)
        sample, event = np.nonzero((spikes.idx >= 0) & (at < steps))
        z[at[sample, event], sample, spikes.idx[sample, event]] = 1
        found[name] = z
    return found
