"""Learning curves."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from bss2jax.plot.style import COLOURS, GREY, MARKERS, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What is drawn of each epoch, and in what unit.
_QUANTITIES = {"accuracy": (100, "accuracy (%)"), "loss": (1, "loss (nats)")}

_LOOKS = (("train", COLOURS[1], "--", MARKERS[1]), ("validation", COLOURS[0], "-", MARKERS[0]))


def learning_curves(
    records: Sequence[Mapping[str, Any]],
    quantity: Literal["accuracy", "loss"] = "accuracy",
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws what a run learned, epoch by epoch, its phases one after the other.

    Args:
        records: the epochs in order, as the lines of a run's `metrics.jsonl`. Used are `phase`
            (from 0 on), `on`, and `train_` and `validation_` with the quantity.
        quantity: `accuracy`, or `loss`.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: epoch, counted through all phases, against the quantity.

    Raises:
        ValueError: no such quantity, no records, or one that lacks a value; says which.
    """
    if quantity not in _QUANTITIES:
        raise ValueError(f"quantity: expected accuracy or loss, got {quantity!r}")
    if not records:
        raise ValueError("records: expected at least one epoch, got none")
    needed = ("phase", "on", f"train_{quantity}", f"validation_{quantity}")
    for i, record in enumerate(records):
        missing = [name for name in needed if name not in record]
        if missing:
            raise ValueError(f"records[{i}]: has no {', '.join(missing)}")
    factor, label = _QUANTITIES[quantity]
    ax = axes(ax)
    epoch = 1
    for k, (phase, epochs) in enumerate(groupby(records, lambda record: record["phase"])):
        group = list(epochs)
        x = range(epoch, epoch + len(group))
        for name, colour, line, marker in _LOOKS:
            y = [factor * record[f"{name}_{quantity}"] for record in group]
            ax.plot(
                x, y, color=colour, linestyle=line, marker=marker, markersize=3.5,
                label=name if k == 0 else None,
            )  # fmt: skip
        if k:
            ax.axvline(epoch - 0.5, color=GREY, linewidth=0.8)
        on = group[0]["on"]
        ax.text(
            epoch - 0.4, 1.02, f"phase {phase + 1}: {on if isinstance(on, str) else 'mixed'}",
            transform=ax.get_xaxis_transform(), fontsize=8, color=GREY,
        )  # fmt: skip
        epoch += len(group)
    ax.set(xlim=(0.5, epoch - 0.5), xlabel="epoch (number)", ylabel=label)
    ax.locator_params("x", integer=True)
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, fontsize=8)
    return ax
