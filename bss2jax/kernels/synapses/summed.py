"""What synapses have added already, and what several projections add together."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

from bss2jax.arrays import pytree


@pytree
@dataclass(frozen=True, eq=False)
class Summed:
    """What synapses have added already: neurons that take it have no further ones.

    Attributes:
        current: `[T, B, N]` software units, positions and their channels in one axis.
        positions: P, where neurons have receptive fields; None where all of them see all inputs.
    """

    current: jax.Array
    positions: int | None = field(default=None, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the current."""
        return self.current.shape

    @property
    def steps(self) -> int:
        """T."""
        return self.current.shape[0]

    @property
    def inputs(self) -> int:
        """0: what the weights are of."""
        return 0

    def alone(self) -> "Summed":
        """Returns the same of neurons that all see all inputs."""
        return replace(self, positions=None)

    def drive(self, w: jax.Array) -> jax.Array:
        """Returns the current; w are `[0, N]` weights, none."""
        return self.current

    def gradient(self, w: jax.Array, dy: jax.Array) -> "tuple[Summed, jax.Array]":
        """Returns the gradients of the current and of no weights: see `Sent.gradient`."""
        return replace(self, current=dy), jnp.zeros_like(w)
