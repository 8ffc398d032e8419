"""Synapses within a population: its spikes of the step before, or of steps before that.

A time loop carries what recurrent synapses still have to be given: `rest`, `push`, `drive`; going
back it carries gradients of spikes that are still to come: `rest`, `due`, `pull`. Drivers with
short-term plasticity stand before any of them: what spikes leave is then a driver's amplitude.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import pytree
from bss2jax.kernels.dot import dot, transposed
from bss2jax.kernels.mesh import gathered, own_of_sum, shared
from bss2jax.kernels.synapses.base import Shown, dense_gradient, product
from bss2jax.kernels.synapses.delays import Delays, later
from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.plasticity import ShortTerm, Sources


class Within(Protocol):
    """Synapses from a population to itself."""

    # Whether what a spike adds depends on no other spike.
    linear: ClassVar[bool]

    def rest(self, like: jax.Array) -> Any:
        """Returns what a time loop begins with, of spikes, or gradients of them, `[..., N]`."""
        ...

    def push(self, kept: Any, z: jax.Array) -> Any:
        """Returns what is kept after a step with spikes `[..., N]`."""
        ...

    def drive(self, kept: Any) -> jax.Array:
        """Returns what is added to the current in the step that comes, `[..., N]`."""
        ...

    def history(self, z: jax.Array) -> Any:
        """Returns what `due` takes of each step, made of spikes `[T, ..., N]`; or None."""
        ...

    def due(self, back: Any, at: Any) -> tuple[jax.Array, Any]:
        """Returns the gradient of this step's spikes, `[..., N]`, and what is left to be pulled."""
        ...

    def turned(self) -> Any:
        """Returns the weights as `pull` takes them: transposed once, not in each step."""
        ...

    def pull(self, back: Any, dx: jax.Array, turned: Any) -> Any:
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

    linear: ClassVar[bool] = True

    w: jax.Array
    shown: Shown | None = None

    def rest(self, like: jax.Array) -> jax.Array:
        return jnp.zeros_like(like)

    def push(self, kept: jax.Array, z: jax.Array) -> jax.Array:
        return z

    def drive(self, kept: jax.Array) -> jax.Array:
        return product(Raster(kept), self.w, self.shown)

    def history(self, z: jax.Array) -> None:
        return None

    def due(self, back: jax.Array, at: None) -> tuple[jax.Array, jax.Array]:
        return back, back

    def turned(self) -> jax.Array:
        return transposed(self.w)

    def pull(self, back: jax.Array, dx: jax.Array, turned: jax.Array) -> jax.Array:
        return dot(dx, turned)

    def gradient(self, z: jax.Array, dx: jax.Array) -> "Recurrent":
        return Recurrent(dense_gradient(later(z, 1), self.w, dx)[1])

    def meant(self) -> "Recurrent":
        return replace(self, shown=None)


@pytree
@dataclass(frozen=True, eq=False)
class DelayedRecurrent:
    """Weights from a population to itself that links between chips delay: `z[t - 1 - d]`.

    Attributes:
        w: the weights of each delay `[N, N]` software units, zero where synapses have another
            delay.
        shown: the same as the synapses have them, each None for as they are.
        steps: the delays.
    """

    linear: ClassVar[bool] = True

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

    def history(self, z: jax.Array) -> None:
        return None

    def due(self, back: jax.Array, at: None) -> tuple[jax.Array, jax.Array]:
        return back[0], back

    def turned(self) -> tuple[jax.Array, ...]:
        return tuple(map(transposed, self.w))

    def pull(self, back: jax.Array, dx: jax.Array, turned: tuple[jax.Array, ...]) -> jax.Array:
        back = jnp.concatenate([back[1:], jnp.zeros_like(back[:1])])
        for d, w in zip(self.steps, turned, strict=True):
            back = back.at[d].add(dot(dx, w))
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

    linear: ClassVar[bool] = True

    known: "Recurrent | DelayedRecurrent"
    size: int = field(metadata={"static": True})
    width: int = field(metadata={"static": True})

    def rest(self, like: jax.Array) -> jax.Array:
        return self.known.rest(self._joined(like))

    def push(self, kept: jax.Array, z: jax.Array) -> jax.Array:
        return self.known.push(kept, shared(self._joined(z)))

    def drive(self, kept: jax.Array) -> jax.Array:
        return self.known.drive(kept)

    def history(self, z: jax.Array) -> None:
        return None

    def due(self, back: jax.Array, at: None) -> tuple[jax.Array, jax.Array]:
        return own_of_sum(self.known.due(back, None)[0], self.width), back

    def turned(self) -> Any:
        return self.known.turned()

    def pull(self, back: jax.Array, dx: jax.Array, turned: Any) -> jax.Array:
        return self.known.pull(back, dx, turned)

    def gradient(self, z: jax.Array, dx: jax.Array) -> "Dealt":
        return replace(self, known=self.known.gradient(self._joined(z), dx))

    def meant(self) -> "Dealt":
        return replace(self, known=self.known.meant())

    def _joined(self, z: jax.Array) -> jax.Array:
        """What all devices have, `[..., N]`."""
        return gathered(z, z.ndim - 1, self.size)


@pytree
@dataclass(frozen=True, eq=False)
class Plastic:
    """Synapses of a population to itself behind drivers with short-term plasticity.

    Each neuron is a source with a state of its own; backward its spikes count through it, too.

    Attributes:
        within: the synapses, which are given amplitudes in place of spikes.
        drivers: the drivers of the neurons as sources; parameters are a number, or `[N]`.
    """

    linear: ClassVar[bool] = False

    within: Recurrent | DelayedRecurrent | Dealt
    drivers: ShortTerm

    def rest(self, like: jax.Array) -> tuple[Sources, jax.Array]:
        return self.drivers.rest(like), self.within.rest(like)

    def push(self, kept: tuple, z: jax.Array) -> tuple[Sources, jax.Array]:
        sources, amplitude = self.drivers.step(kept[0], z)
        return sources, self.within.push(kept[1], amplitude)

    def drive(self, kept: tuple) -> jax.Array:
        return self.within.drive(kept[1])

    def history(self, z: jax.Array) -> tuple[Sources, jax.Array]:
        """Returns the sources before each step, and its spikes."""

        def step(sources: Sources, z: jax.Array) -> tuple[Sources, Sources]:
            return self.drivers.step(sources, z)[0], sources

        return lax.scan(step, self.drivers.rest(z.sum(axis=0)), z)[1], z

    def due(self, back: tuple, at: Any) -> tuple[jax.Array, tuple]:
        dsources, kept = back
        damplitude, kept = self.within.due(kept, None)
        dsources, dz = jax.vjp(self.drivers.step, *at)[1]((dsources, damplitude))
        return dz, (dsources, kept)

    def turned(self) -> Any:
        return self.within.turned()

    def pull(self, back: tuple, dx: jax.Array, turned: Any) -> tuple[Sources, jax.Array]:
        return back[0], self.within.pull(back[1], dx, turned)

    def gradient(self, z: jax.Array, dx: jax.Array) -> "Plastic":
        amplitudes, pull = jax.vjp(lambda drivers: drivers.amplitudes(z), self.drivers)
        turned = self.turned()

        def step(back: jax.Array, dx: jax.Array) -> tuple[jax.Array, jax.Array]:
            due, back = self.within.due(back, None)
            return self.within.pull(back, dx, turned), due

        damplitudes = lax.scan(step, self.within.rest(z.sum(axis=0)), dx, reverse=True)[1]
        within: Any = self.within.gradient(amplitudes, dx)
        return Plastic(within, pull(damplitudes)[0])

    def meant(self) -> "Plastic":
        return replace(self, within=self.within.meant())


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
        delays: the delays of the links that they go over; None for none.
    """
    if delays is None or delays.steps == (0,):
        return Recurrent(w, shown)
    masks = [delays.mask(d, w.shape[-1]) for d in delays.steps]
    parts = tuple(w * mask for mask in masks)
    as_had = None if shown is None else tuple(shown.masked(mask) for mask in masks)
    return DelayedRecurrent(parts, as_had, delays.steps)
