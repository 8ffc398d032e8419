"""Weights within what synapses hold, for optimisers of one's own."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from bss2jax.arrays import positive
from bss2jax.chip.substrate import BSS2


def keep_in_range(limit: float = BSS2.weight_max) -> optax.GradientTransformation:
    """Makes an optax transformation after which no parameter is beyond -limit..limit.

    Last in a chain, `optax.chain(optax.adam(0.5), keep_in_range())`; `optax.masked` leaves biases
    alone. `Network.project` does the same for the parameters of a network.

    Args:
        limit: largest weight: 63 LSB for products, 63 / scale in the software units of spikes.
    """
    limit = positive("limit", limit)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("keep_in_range: give the parameters: update(gradients, state, params)")

        def kept(w: jax.Array, change: jax.Array) -> jax.Array:
            return jnp.clip(w + change, -limit, limit) - w

        return jax.tree.map(kept, params, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
