"""What synapses have added already, and what several projections add together."""

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import along_last, floats, pytree


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


@pytree
@dataclass(frozen=True, eq=False)
class Own:
    """Spikes of which each neuron sees one: that of its own position and channel.

    Its weights are `[1, C]`, one a channel.

    Attributes:
        raster: `[T, B, ..., C]`.
    """

    raster: jax.Array

    @property
    def steps(self) -> int:
        """T."""
        return self.raster.shape[0]

    @property
    def inputs(self) -> int:
        """1, of a neuron."""
        return 1

    @property
    def positions(self) -> int:
        """P."""
        return math.prod(self.raster.shape[2:-1])

    def sent(self, inputs: int, steps: int | None) -> "Own":
        """Returns it as something that can be multiplied: see `Given.sent`."""
        return Own(floats(self.raster, "spikes"))

    def alone(self) -> "Own":
        """Returns the same, of a position that is all there is."""
        return self

    def of_columns(self, chosen: jax.Array) -> "Own":
        """Returns what neurons of some channels see, by their numbers `[c]`."""
        return Own(self.raster[..., chosen])

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by `[1, C]`, or by several of these side by side: `[T, B, N]`."""
        seen = self._by_position()
        y = seen[..., None, :] * along_last(w.reshape(-1, seen.shape[-1]), seen[..., None, :])
        return y.reshape(*seen.shape[:2], math.prod(y.shape[2:]))

    def gradient(self, w: jax.Array, dy: jax.Array) -> "tuple[Own, jax.Array]":
        """Returns the gradients of spikes and weights: see `Sent.gradient`."""
        seen = self._by_position()
        dy = dy.reshape(seen.shape)
        dw = (seen * dy).sum(axis=(0, 1, 2))
        return Own((dy * along_last(w[0], dy)).reshape(self.raster.shape)), dw[None]

    def _by_position(self) -> jax.Array:
        """`[T, B, P, C]`."""
        return self.raster.reshape(*self.raster.shape[:2], self.positions, self.raster.shape[-1])


def sent_to(sent: Any, chosen: jax.Array) -> Any:
    """Returns what some channels see of what is sent: all of it, but where each sees its own.

    Args:
        sent: what is sent.
        chosen: numbers of channels, of columns of the weights, `[c]`.
    """
    return sent.of_columns(chosen) if hasattr(sent, "of_columns") else sent


@pytree
@dataclass(frozen=True, eq=False)
class Joined:
    """What several projections send to the same neurons, whose weights are one below the other.

    Attributes:
        parts: what each sends; of as many steps, samples and positions.
    """

    parts: tuple[Any, ...]

    @property
    def raster(self) -> Any:
        """The raster of the first."""
        return self.parts[0].raster

    @property
    def steps(self) -> int:
        """T."""
        return self.parts[0].steps

    @property
    def inputs(self) -> int:
        """K, of all projections."""
        return sum(part.inputs for part in self.parts)

    @property
    def positions(self) -> int | None:
        """P, where neurons have receptive fields."""
        return self.parts[0].positions

    def sent(self, inputs: int, steps: int | None) -> "Joined":
        """Returns them as something that can be multiplied: see `Given.sent`."""
        return Joined(tuple(part.sent(part.inputs, steps) for part in self.parts))

    def alone(self) -> "Joined":
        """Returns what the only position sees, as what all neurons see."""
        return Joined(tuple(part.alone() for part in self.parts))

    def of_columns(self, chosen: jax.Array) -> "Joined":
        """Returns what neurons of some channels see, by their numbers `[c]`."""
        return Joined(tuple(sent_to(part, chosen) for part in self.parts))

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by weights `[K, C]` and adds up: `[T, B, N]`."""
        return reduce(add, (part.drive(w) for part, w in zip(self.parts, self._cut(w))))

    def gradient(self, w: jax.Array, dy: jax.Array) -> "tuple[Joined, jax.Array]":
        """Returns the gradients of what is sent and of weights: see `Sent.gradient`."""
        found = [part.gradient(w, dy) for part, w in zip(self.parts, self._cut(w))]
        return Joined(tuple(sent for sent, _ in found)), jnp.concatenate([dw for _, dw in found])

    def _cut(self, w: jax.Array) -> list[jax.Array]:
        """The weights of each projection."""
        return jnp.split(w, np.cumsum([part.inputs for part in self.parts])[:-1].tolist())
