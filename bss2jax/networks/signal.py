"""What passes from layer to layer: values, spikes or traces, with the shape of one sample.

A signal is static. Layers check what they get by it, so that a wrong order of layers is told when a
network is built. The arrays that belong to it have the batch in front, `[B, *size]`, and where time
passes the steps before that, `[T, B, *size]`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp

from bss2jax.chip.substrate import BSS2, Substrate

Size = tuple[int, ...]


@dataclass(frozen=True)
class Signal:
    """The size of one sample, and the substrate whose ranges it has.

    Attributes:
        size: shape of one sample without batch and time, such as (28, 28, 1).
        substrate: the chip's numbers.
    """

    kind: ClassVar[str]
    # Whether the largest of several entries means something, as of values; not of spikes.
    ordered: ClassVar[bool] = True
    # Whether it lasts: then arrays have an axis of time.
    timed: ClassVar[bool] = False
    # Whether entries are 8-bit integers on the chip, which digital operations keep so.
    integer: ClassVar[bool] = False
    # What is observed with it, see `Network.apply`.
    observed: ClassVar[tuple[str, ...]] = ("output",)

    size: Size
    substrate: Substrate = BSS2

    if TYPE_CHECKING:
        # Layers look at the kind of what they are given, see `expect`, before they use its own.
        def __getattr__(self, name: str) -> Any: ...

    def resized(self, *size: int) -> Self:
        """Returns the same signal with samples of another size."""
        return replace(self, size=size)

    def pooled(self, *size: int) -> Self:
        """Returns the signal of windows of this one."""
        return self.resized(*size)

    def joined(self, others: Sequence["Signal"]) -> Self:
        """Returns the signal of this one and others, of one kind, added up or side by side.

        Raises:
            ValueError: they do not last as long.
        """
        return self

    @property
    def entries(self) -> int:
        """Number of entries of one sample, or of one step of it."""
        return math.prod(self.size)

    def flat(self, x: jax.Array) -> jax.Array:
        """Puts the axes of a sample into one: `[..., *size]` to `[..., entries]`."""
        return x.reshape(*x.shape[: x.ndim - len(self.size)], self.entries)

    def shaped(self, x: jax.Array) -> jax.Array:
        """Undoes `flat`: `[..., entries]` to `[..., *size]`."""
        return x.reshape(*x.shape[:-1], *self.size)


@dataclass(frozen=True)
class Values(Signal):
    """Real values on the host, `[B, *size]`: 1 is full scale.

    Attributes:
        lines: number of inputs that each value is written as, of which all but one are 0.
    """

    kind: ClassVar[str] = "values"
    lines: int = 1

    def fraction(self, x: jax.Array) -> jax.Array:
        """Returns values `[B, *size]` as shares of full scale, float32."""
        return jnp.asarray(x, jnp.float32)

    def activations(self, x: jax.Array) -> jax.Array:
        """Returns values `[B, *size]` as inputs of a product, LSB: full scale is 31.

        They are not yet rounded: the product does that, and floating point does not.
        """
        return self.fraction(x) * self.substrate.activation_max

    @property
    def full_scale(self) -> float:
        """What an input of the next layer can be at most."""
        return 1.0


@dataclass(frozen=True)
class Activations(Values):
    """Values of the chip, `[B, *size]`, LSB: inputs 0..31 of a product, or its readouts."""

    kind: ClassVar[str] = "activations"
    integer: ClassVar[bool] = True

    def fraction(self, x: jax.Array) -> jax.Array:
        return jnp.asarray(x, jnp.float32) / self.full_scale

    def activations(self, x: jax.Array) -> jax.Array:
        return jnp.asarray(x, jnp.float32)

    @property
    def full_scale(self) -> float:
        return float(self.substrate.activation_max)


@dataclass(frozen=True, kw_only=True)
class Timed(Signal):
    """A signal that lasts: `[T, B, *size]`.

    Attributes:
        steps: T, time steps of a sample.
        dt: length of a step, s.
    """

    timed: ClassVar[bool] = True

    steps: int
    dt: float

    def joined(self, others: Sequence[Signal]) -> Self:
        times = {(other.steps, other.dt) for other in others}
        if len(times) > 1:
            raise ValueError(f"takes inputs of the same steps and dt, and is given {sorted(times)}")
        return self

    @property
    def seconds(self) -> float:
        """Length of a sample, s."""
        return self.steps * self.dt


@dataclass(frozen=True, kw_only=True)
class Spikes(Timed):
    """Spikes, 0.0 or 1.0, or what a pool makes of several.

    Attributes:
        events: spikes an input sends in a sample, at most (on average, where they are random); None
            where that is not known.
        current: whether it is no spikes but currents that stay, which no chip can be sent.
        coded: whether they are still to be coded, one spike an input at most.
    """

    kind: ClassVar[str] = "spikes"
    ordered: ClassVar[bool] = False
    observed: ClassVar[tuple[str, ...]] = ("output", "spikes")

    events: float | None = None
    current: bool = False
    coded: bool = False

    @property
    def density(self) -> float | None:
        """Share of the raster's entries that are spikes, at most; None where that is not known."""
        return None if self.events is None else min(1.0, self.events / self.steps)

    def joined(self, others: Sequence[Signal]) -> Self:
        # What several send together is not worked out.
        return replace(super().joined(others), events=None, coded=False)

    def pooled(self, *size: int) -> Self:
        return replace(self, size=size, events=None, coded=False)

    def fired(self, *size: int) -> "Spikes":
        """Returns the spikes of neurons that this signal drives."""
        return replace(self, size=size, events=None, current=False, coded=False)


@dataclass(frozen=True, kw_only=True)
class Traces(Timed):
    """Membranes over time, software units."""

    kind: ClassVar[str] = "traces"
    observed: ClassVar[tuple[str, ...]] = ("output", "membrane")


def expect_values(before: Signal) -> None:
    """Refuses a signal that is neither values nor activations.

    Raises:
        ValueError: it is of another kind.
    """
    if not hasattr(before, "fraction"):
        raise ValueError(
            f"takes values or activations, and is given {before.kind}; put a decoder before it"
        )


def expect(before: Signal, kind: type[Signal], advice: str = "") -> None:
    """Refuses a signal that is not of a kind.

    Args:
        before: what a layer is given.
        kind: what it takes.
        advice: what to do, for the message.

    Raises:
        ValueError: it is of another kind.
    """
    if before.kind != kind.kind:
        raise ValueError(
            f"takes {kind.kind}, and is given {before.kind}{'; ' if advice else ''}{advice}"
        )
