"""What a caller gives as spikes, as something that can be multiplied."""

from dataclasses import replace
from typing import Any

import jax

from bss2jax.kernels.synapses.base import Sent, as_float32
from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.events import Events, sort_events
from bss2jax.kernels.synapses.fields import Fields
from bss2jax.kernels.synapses.lazy import Lazy
from bss2jax.kernels.synapses.windows import Windows

Spikes = jax.Array | Events | Sent


def sent_of(spikes: Any, inputs: int, steps: int | None = None) -> Sent:
    """Wraps what a caller gives as spikes: the one place where types are looked at.

    Args:
        spikes: an array `[T, B, K]`, or `[T, B, P, K]` with receptive fields; `Events`, sorted here
            in each call; `Lazy` of as many axes as the arrays; or what can be multiplied already:
            `SortedEvents`, `Windows`, `Constant`.
        inputs: K of the weights.
        steps: T, where events do not say it.

    Raises:
        ValueError: axes, inputs or steps do not fit.
    """
    if isinstance(spikes, Events):
        if steps is None:
            raise ValueError(
                "steps: Events do not say how long they last; give the number of steps"
            )
        return sort_events(spikes, steps, inputs)
    sent: Any = spikes
    if isinstance(spikes, Windows):
        if not isinstance(spikes.raster, Raster | Lazy):
            sent = replace(spikes, raster=Raster(as_float32(spikes.raster)))
    elif isinstance(spikes, Lazy) or not hasattr(spikes, "drive"):
        seen = spikes if isinstance(spikes, Lazy) else Raster(as_float32(spikes))
        if len(seen.shape) not in (3, 4):
            raise ValueError(f"spikes: expected [T, B, K] or [T, B, P, K], got {seen.shape}")
        sent = seen if len(seen.shape) == 3 else Fields(seen)
    if sent.inputs != inputs:
        raise ValueError(
            f"spikes and w do not fit: K differs, {sent.inputs} inputs send, w has {inputs}"
        )
    if steps not in (None, sent.steps):
        raise ValueError(f"steps: got {steps}, the spikes last {sent.steps}")
    return sent
