"""Synapses within a population: its spikes of the step before, or of steps before that.

A time loop carries what recurrent synapses still have to be given: `rest`, `push`, `drive`; going
back it carries gradients of spikes that are still to come: `rest`, `due`, `pull`.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from bss2jax.arrays import pytree
from bss2jax.kernels.dot import dot
from bss2jax.kernels.mesh import gathered, own_of_sum, shared
from bss2jax.kernels.synapses.base import Shown, dense_gradient, product
from bss2jax.kernels.synapses.delays import Delays, later
from bss2jax.kernels.synapses.dense import Raster


class Within(Protocol):
    """Synapses from a population to itself."""

    def rest(self, like: jax.Array) -> jax.Array:
        """Returns what a time loop begins with, of spikes, or gradients of them, `[..., N]`."""
        ...

    def push(self, kept: jax.Array, z: jax.Array) -> jax.Array:
        """Returns what is kept after a step with spikes `[..., N]`."""
        ...

    def drive(self, kept: jax.Array) -> jax.Array:
        """Returns what is added to the current in the step that comes, `[..., N]`."""
        ...

    def due(self, back: jax.Array) -> jax.Array:
        """Returns the gradient of this step's spikes, `[..., N]`."""
        ...

    def pull(self, back: jax.Array, dx: jax.Array) -> jax.Array:
        """Returns the gradients kept one step earlier, given that of the current `[..., N]`."""
        ...

    def gradient(self, z: jax.Array, dx: jax.Array) -> Any:
        """Returns the gradient of the weights from spikes and the current's gradient.

        Args:
            z: `[T, ..., N]` spikes.
            dx: `[T, ..., N]` gradient with respect to the current.
        """
        ...

    def meant(self) -> Any:
        """Returns the same with the weights as a host knows them."""
        ...


@pytree
@dataclass(frozen=True, eq=False)
class Recurrent:
    """Weights from a population to itself, without delay: spikes of the step before.

    Attributes:
        w: `[N, N]` software units.
        shown: the same as the synapses have them; None for as they are.
    """

    w: jax.Array
    shown: Shown | None = None

    def rest(self, like: jax.Array) -> jax.Array:
        return jnp.zeros_like(like)

    def push(self, kept: jax.Array, z: jax.Array) -> jax.Array:
        return z

    def drive(self, kept: jax.Array) -> jax.Array:
        return product(Raster(kept), self.w, self.shown)

    def due(self, back: jax.Array) -> jax.Array:
        return back

    def pull(self, back: jax.Array, dx: jax.Array) -> jax.Array:
        return dot(dx, self.w.T)

    def gradient(self, z: jax.Array, dx: jax.Array) -> "Recurrent":
        return Recurrent(dense_gradient(z[:-1], self.w, dx[1:])[1])

    def meant(self) -> "Recurrent":
        return replace(self, shown=None)


@pytree
@dataclass(frozen=True, eq=False)
class DelayedRecurrent:
    """Weights from a population to itself that links between chips delay: `z[t - 1 - d]`.

    Attributes:
        w: of each delay `[N, N]` software units, zero where synapses have another delay.
        shown: the same as the synapses have them, each None for as they are.
        steps: the delays.
    """

    w: tuple[jax.Array, ...]
    shown: tuple[Shown | None, ...] | None
    steps: tuple[int, ...] = field(metadata={"static": True})

    def rest(self, like: jax.Array) -> jax.Array:
        zero = jnp.zeros_like(like)
        return jnp.stack([zero] * (max(self.steps) + 1))

    def push(self, kept: jax.Array, z: jax.Array) -> jax.Array:
        return jnp.concatenate([z[None], kept[:-1]])

    def drive(self, kept: jax.Array) -> jax.Array:
        shown = self.shown or (None,) * len(self.w)
        parts = zip(self.steps, self.w, shown, strict=True)
        return sum_of([product(Raster(kept[d]), w, as_had) for d, w, as_had in parts])

    def due(self, back: jax.Array) -> jax.Array:
        return back[0]

    def pull(self, back: jax.Array, dx: jax.Array) -> jax.Array:
        back = jnp.concatenate([back[1:], jnp.zeros_like(back[:1])])
        for d, w in zip(self.steps, self.w, strict=True):
            back = back.at[d].add(dot(dx, w.T))
        return back

    def gradient(self, z: jax.Array, dx: jax.Array) -> "DelayedRecurrent":
        parts = (
            dense_gradient(later(z, d + 1), w, dx)[1]
            for d, w in zip(self.steps, self.w, strict=True)
        )
        return DelayedRecurrent(tuple(parts), None, self.steps)

    def meant(self) -> "DelayedRecurrent":
        return replace(self, shown=None)


@pytree
@dataclass(frozen=True, eq=False)
class Dealt:
    """Weights from a population to the neurons that a device has of it.

    In each step devices tell each other their spikes; going back, they add up what each finds of
    the gradient of all spikes as soon as it is due.

    Attributes:
        known: the weights `[N, n]` from all neurons to the device's n.
        size, width: N and n.
    """

    known: "Recurrent | DelayedRecurrent"
    size: int = field(metadata={"static": True})
    width: int = field(metadata={"static": True})

    def rest(self, like: jax.Array) -> jax.Array:
        return self.known.rest(self._joined(like))

    def push(self, kept: jax.Array, z: jax.Array) -> jax.Array:
        return self.known.push(kept, shared(self._joined(z)))

    def drive(self, kept: jax.Array) -> jax.Array:
        return self.known.drive(kept)

    def due(self, back: jax.Array) -> jax.Array:
        return own_of_sum(self.known.due(back), self.width)

    def pull(self, back: jax.Array, dx: jax.Array) -> jax.Array:
        return self.known.pull(back, dx)

    def gradient(self, z: jax.Array, dx: jax.Array) -> "Dealt":
        return replace(self, known=self.known.gradient(self._joined(z), dx))

    def meant(self) -> "Dealt":
        return replace(self, known=self.known.meant())

    def _joined(self, z: jax.Array) -> jax.Array:
        """What all devices have, `[..., N]`."""
        return gathered(z, z.ndim - 1, self.size)


def sum_of(terms: list[jax.Array]) -> jax.Array:
    """Adds arrays `[...]`, one at least, from the first to the last."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def within(w: jax.Array, shown: Any, delays: Delays | None) -> Recurrent | DelayedRecurrent:
    """Returns the synapses of a population to itself.

    Args:
        w: `[N, N]` software units.
        shown: the same as the synapses have them; None for as they are.
        delays: of the links that they go over; None for none.
    """
    if delays is None or delays.steps == (0,):
        return Recurrent(w, shown)
    masks = [delays.mask(d, w.shape[-1]) for d in delays.steps]
    parts = tuple(w * mask for mask in masks)
    as_had = None if shown is None else tuple(shown.masked(mask) for mask in masks)
    return DelayedRecurrent(parts, as_had, delays.steps)
