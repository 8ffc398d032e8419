"""What a caller gives as spikes, as something that can be multiplied."""

from typing import Any

import jax

from bss2jax.arrays import count
from bss2jax.kernels.synapses.base import Given, Sent
from bss2jax.kernels.synapses.dense import as_seen

Spikes = jax.Array | Given | Sent


def sent_of(spikes: Any, inputs: int, steps: int | None = None) -> Sent:
    """Returns what a caller gives as spikes, as what it says it is sent as.

    Args:
        spikes: an array `[T, B, K]`, or `[T, B, P, K]` with receptive fields; `Events`, sorted here
            in each call; `Lazy` of as many axes as the arrays; `Windows`; or any other `Sent`, as
            it is: `SortedEvents`, `Constant`.
        inputs: K of the weights.
        steps: T, where events do not say it.

    Raises:
        ValueError: axes, inputs or steps do not fit.
    """
    steps = None if steps is None else count("steps", steps, 0)
    given: Any = spikes if hasattr(spikes, "sent") or hasattr(spikes, "drive") else as_seen(spikes)
    sent = given.sent(inputs, steps) if hasattr(given, "sent") else given
    if sent.inputs != inputs:
        raise ValueError(
            f"spikes and w do not fit: K differs, {sent.inputs} inputs send, w has {inputs}"
        )
    if steps not in (None, sent.steps):
        raise ValueError(f"steps: got {steps}, the spikes last {sent.steps}")
    return sent
