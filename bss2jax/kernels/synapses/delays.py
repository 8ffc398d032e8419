"""Spikes that arrive later: links between chips delay them by whole steps."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from bss2jax.arrays import pytree
from bss2jax.kernels.synapses.base import Sent, product


@pytree
@dataclass(frozen=True, eq=False)
class Delays:
    """How many steps later spikes of each input reach each neuron.

    Attributes:
        between: `[chips, chips]` int32 steps from chip to chip.
        source: `[K]` int32 chip of each input.
        target: `[N]` int32 chip of each neuron.
        steps: all delays that occur.
    """

    between: jax.Array
    source: jax.Array
    target: jax.Array
    steps: tuple[int, ...] = field(metadata={"static": True})

    def mask(self, steps: int, columns: int) -> jax.Array:
        """Returns 1 where synapses have a delay, else 0, `[K, columns]` float32.

        Args:
            steps: the delay.
            columns: the columns of the weights: N, or 2 N of signs that are apart.
        """
        delay = self.between[self.source][:, self.target]
        return jnp.tile((delay == steps).astype(jnp.float32), columns // len(self.target))

    def of_neurons(self, chosen: jax.Array) -> "Delays":
        """Returns the same of some neurons, by their numbers `[n]`."""
        return replace(self, target=self.target[chosen])


def later(z: jax.Array, steps: int) -> jax.Array:
    """Returns spikes `[T, ...]` so many steps later; the last ones are past the end."""
    if steps == 0:
        return z
    silence = jnp.zeros_like(z[:steps])
    return jnp.concatenate([silence, z[: max(0, len(z) - steps)]])


def delayed(sent: Sent, w: jax.Array, shown: Any, delays: Delays | None) -> jax.Array:
    """Multiplies what is sent with weights, each synapse after its delay.

    Args:
        sent: what the inputs send; a raster where there are delays.
        w: `[K, N]` software units.
        shown: the same as the synapses have them; None for as they are.
        delays: the delays of the links; None for none.

    Returns:
        `[T, B, N]` what the synapses add in each step.
    """
    if delays is None or delays.steps == (0,):
        return product(sent, w, shown)
    total: Any = 0.0
    raster: Any = sent
    for d in delays.steps:
        mask = delays.mask(d, w.shape[-1])
        as_had = None if shown is None else shown.masked(mask)
        total = total + product(raster.later(d), w * mask, as_had)
    return total
