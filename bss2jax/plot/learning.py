"""What runs learn, epoch by epoch: accuracy, loss, what saturates; and what gradients are left."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bss2jax.plot.style import COLOURS, GREY, LINES, MAP, MARKERS, axes, cycle, require_shape

Epochs: TypeAlias = Sequence[Mapping[str, Any]]

# What is drawn of each epoch, and in what unit.
_QUANTITIES = {"accuracy": (100, "accuracy (%)"), "loss": (1, "loss (nats)")}
_SHARES = ("inputs", "outputs", "sums", "weights")  # of what an analog layer records
_MARKED = 40  # more epochs have no marks


def learning_curves(
    records: Epochs | Mapping[str, Epochs],
    quantity: Literal["accuracy", "loss"] = "accuracy",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draws what a run learned, epoch by epoch, its phases one after the other; or several runs.

    Args:
        records: the epochs in order, as the lines of a run's `metrics.jsonl`. Used are `phase`
            (from 0 on), `on`, and `train_` and `validation_` with the quantity. Or such epochs by
            the names of runs, of which the validation alone is drawn.
        quantity: `accuracy`, or `loss`.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: epoch, counted through all phases, against the quantity.

    Raises:
        ValueError: no such quantity, no records, or one that lacks a value; says which.
    """
    if quantity not in _QUANTITIES:
        raise ValueError(f"quantity: expected accuracy or loss, got {quantity!r}")
    several = isinstance(records, Mapping)
    runs: Mapping[str, Epochs] = records if isinstance(records, Mapping) else {"": records}
    for epochs in runs.values():
        _require(epochs, ("phase", "on", f"train_{quantity}", f"validation_{quantity}"))
    (factor, label), ax = _QUANTITIES[quantity], axes(ax)
    for i, (name, epochs) in enumerate(runs.items()):
        looks = [(f"validation_{quantity}", name if several else "validation", "-", 0)]
        if not several:
            looks.append((f"train_{quantity}", "training", "--", 1))
        for key, said, line, place in looks:
            _line(ax, [factor * e[key] for e in epochs], said, i + place, line)
    _finish(ax, runs, label)
    return ax


def saturation(records: Epochs, *, ax: Axes | None = None) -> Axes:
    """Draws what saturates in each layer, epoch by epoch; of layers that spike, how much.

    Args:
        records: the epochs in order, as the lines of a run's `metrics.jsonl`. Used are `phase`,
            `on` and `validation_saturation`.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: epoch against shares in percent of inputs, outputs, sums and weights beyond what
        the chip holds; or, where layers record none, against spikes of a neuron in a sample. What
        stays 0 is left out.

    Raises:
        ValueError: no records, or one that lacks a value, or layers recorded neither.
    """
    _require(records, ("phase", "on", "validation_saturation"))
    shares = {(k, n) for e in records for k, of in e["validation_saturation"].items() for n in of}
    kinds: tuple[str, ...] = _SHARES
    factor, label = 100, "saturated (%)"
    if not any(kind in kinds for _, kind in shares):
        kinds, factor, label = ("spikes",), 1, "spikes of a neuron in a sample (number)"
    found = [(layer, kind) for layer, kind in sorted(shares) if kind in kinds]
    if not found:
        raise ValueError("records: no layer recorded what saturates, or how often it spikes")
    found = [(layer, kind) for layer, kind in found if any(_of(records, layer, kind))] or found[:1]
    ax = axes(ax)
    layers = list(dict.fromkeys(layer for layer, _ in found))
    for layer, kind in found:
        values = _of(records, layer, kind)
        y = [float("nan") if value is None else factor * value for value in values]
        said = layer if len(kinds) == 1 else f"{layer}: {kind}"
        _line(ax, y, said, layers.index(layer), cycle(LINES, kinds.index(kind)))
    _finish(ax, {"": records}, label)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def gradient_norms(
    norms: npt.ArrayLike,
    slopes: Sequence[float],
    *,
    best: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws how gradients change over the depth of a network, for several slopes of its surrogate.

    Args:
        norms: `[S, L]` gradient norms, by slope and layer, the first layer first.
        slopes: S slopes, a line each.
        best: the slope that is drawn thick; None: none is.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: layer, from 1 on, against the norm over that of the last layer, on a log scale.
        What is 0 is left out.

    Raises:
        ValueError: there is not a line for each slope.
    """
    values = require_shape("norms", norms, "S L").astype(float)
    if len(values) != len(slopes):
        raise ValueError(f"slopes: expected {len(values)}, one for each line, got {len(slopes)}")
    shares = np.divide(values, values[:, -1:], where=values[:, -1:] > 0, out=values * np.nan)
    shares[shares == 0] = np.nan
    ax, depth = axes(ax), np.arange(1, values.shape[1] + 1)
    for i, (slope, share) in enumerate(zip(slopes, shares)):
        ax.semilogy(
            depth, share, label=f"{slope:.3g}", linewidth=3 if slope == best else 1.2,
            color=matplotlib.colormaps[MAP](i / max(1, len(slopes) - 1)),
            marker=cycle(MARKERS, i), markersize=3.5,
        )  # fmt: skip
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="layer", ylabel="gradient norm (last layer: 1)")
    ax.locator_params("x", integer=True)
    ax.grid(axis="y", alpha=0.3)
    ax.legend(title="slope", frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _of(records: Epochs, layer: str, kind: str) -> list[float | None]:
    return [e["validation_saturation"].get(layer, {}).get(kind) for e in records]


def _require(records: Epochs, needed: Sequence[str]) -> None:
    if not records:
        raise ValueError("records: expected at least one epoch, got none")
    for i, record in enumerate(records):
        missing = [name for name in needed if name not in record]
        if missing:
            raise ValueError(f"records[{i}]: has no {', '.join(missing)}")


def _line(ax: Axes, y: Sequence[float], label: str, colour: int, line: Any) -> None:
    ax.plot(
        range(1, len(y) + 1), y, color=cycle(COLOURS, colour), linestyle=line, label=label,
        marker=cycle(MARKERS, colour) if len(y) <= _MARKED else None, markersize=3.5,
    )  # fmt: skip


def _finish(ax: Axes, runs: Mapping[str, Epochs], label: str) -> None:
    """Names the axes; of a single run, also the phases."""
    longest = max(map(len, runs.values()))
    ax.set(xlim=(0.5, longest + 0.5), xlabel="epoch", ylabel=label)
    if len(runs) == 1:
        epoch = 1
        for phase, epochs in groupby(next(iter(runs.values())), lambda record: record["phase"]):
            group = list(epochs)
            if epoch > 1:
                ax.axvline(epoch - 0.5, color=GREY, linewidth=0.8)
            on = group[0]["on"]
            ax.text(
                epoch - 0.4, 1.02, f"phase {phase + 1}: {on if isinstance(on, str) else 'mixed'}",
                transform=ax.get_xaxis_transform(), fontsize=8, color=GREY,
            )  # fmt: skip
            epoch += len(group)
    ax.locator_params("x", integer=True)
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, fontsize=8)
