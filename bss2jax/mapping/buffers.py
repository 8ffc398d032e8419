"""The least room for tokens with which what is bound to tiles keeps a period.

A cycle of time T keeps a period P if it has T / P tokens or more; free places of channels are
tokens. Cycles that are too slow are added one by one to a covering problem of whole numbers, whose
solution is the least of all once no cycle is too slow.
"""

import math
from dataclasses import replace

import numpy as np
from scipy.optimize import LinearConstraint, milp

from bss2jax.mapping.bound import Bound
from bss2jax.mapping.dataflow import Cycle, stuck


class TooSlow(ValueError):
    """No room makes it fast enough; the message names the cycle that is not."""


def least_room(bound: Bound, period: float) -> np.ndarray:
    """Returns the room of channels of least sum with which a period is kept.

    Args:
        bound: the application on its tiles; its own room does not matter.
        period: time of an iteration, s.

    Returns:
        `[m]` tokens that fit into each channel.

    Raises:
        TooSlow: a cycle without buffers is slower.
    """
    tokens = bound.application.graph.tokens
    room, rows, least = np.maximum(tokens, 1), [], []
    while True:
        bound = replace(bound, room=room)
        cycle = stuck(bound.graph) or bound.cycle
        if cycle.period <= period * (1 + 1e-9):
            return room
        row, missing = _wanted(bound, cycle, period)
        rows.append(row)
        least.append(missing)
        found = milp(
            np.ones(len(tokens)), integrality=np.ones(len(tokens)),
            bounds=(np.maximum(tokens, 1), np.inf),
            constraints=LinearConstraint(np.array(rows), np.array(least), np.inf),
        )  # fmt: skip
        room = np.round(found.x).astype(int)


def _wanted(bound: Bound, cycle: Cycle, period: float) -> tuple[np.ndarray, int]:
    """How often a cycle passes the places of each channel, and the room that they need together."""
    graph, channels = bound.graph, np.array(cycle.channels)
    owner = bound.places[channels]
    row = np.bincount(owner[owner >= 0], minlength=len(bound.room)).astype(float)
    needed = max(1, math.ceil(graph.weights[channels].sum() / period - 1e-9))
    missing = needed - int(graph.tokens[channels].sum())
    if not row.any():
        raise TooSlow(
            f"no room makes an iteration take {period:.4g} s: {cycle.named(graph)} takes "
            f"{cycle.period:.4g} s"
        )
    return row, missing + round(float(row @ bound.room))
