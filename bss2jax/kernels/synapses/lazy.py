"""Values that are coded as spikes where they are used, and values that stay.

A raster is many times larger than the values that it comes from. Here it is made and multiplied
without being stored between the layers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import count, floats, pytree
from bss2jax.kernels.dot import dot
from bss2jax.kernels.gradients.nominal import without_gradient
from bss2jax.kernels.synapses.base import Sent, dense_gradient
from bss2jax.kernels.synapses.fields import by_axes


@pytree
@dataclass(frozen=True, eq=False)
class Lazy:
    """A raster as the values that it is coded from; no gradient flows to them.

    Attributes:
        values: `[B, K]`; within `Fields` `[B, P, K]`, within `Windows` `[B, *size, C]`.
        steps: T.
        code: what turns values `[...]` into spikes `[T, ...]`: hashable, without randomness, equal
            spikes for equal values. If it has an attribute `steady` that is true, the values
            themselves are what every step has.
    """

    values: jax.Array
    steps: int = field(metadata={"static": True})
    code: Callable[[jax.Array], jax.Array] = field(metadata={"static": True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", count("steps", self.steps, 0))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the raster."""
        return (self.steps, *self.values.shape)

    @property
    def ndim(self) -> int:
        """Axes of the raster."""
        return len(self.shape)

    @property
    def inputs(self) -> int:
        """K."""
        return self.values.shape[-1]

    @property
    def positions(self) -> None:
        """None: all neurons see all inputs."""
        return None

    @property
    def coded(self) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
        """The values, and what makes spikes of them."""
        return self.values, self.code

    def given(self) -> "Lazy":
        """Returns the same of float32 values, which have no gradient: see `Seen.given`."""
        values = floats(self.values, "values")
        return replace(self, values=without_gradient(values, "values that are coded lazily"))

    def decoded(self) -> jax.Array:
        """Returns the raster."""
        return self.code(self.values)

    def distinct(self) -> jax.Array:
        """Returns the raster, of a steady code one step of it: see `Seen.distinct`."""
        return self.values[None] if getattr(self.code, "steady", False) else self.decoded()

    def cotangent(self, dx: Callable[[], jax.Array]) -> None:
        """Returns None: values that are coded have no gradient."""
        return None

    def sent(self, inputs: int, steps: int | None) -> Sent:
        """Returns it as something that can be multiplied: see `Given.sent`."""
        return by_axes(self.given())

    def of_position(self, p: int) -> "Lazy":
        """Returns what one position of `[T, B, P, K]` sees."""
        return Lazy(self.values[:, p], self.steps, self.code)

    def local_drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by each position's own weights `[P, K, C]`: `[T, B, P, C]`.

        Input by input, as a loop takes its values from memory: in one sum, XLA would compute what
        the values come from, such as an augmented image, again for every step.
        """

        def add(y: jax.Array, of_input: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            values, w = of_input
            return y + self.code(values)[..., None] * w, None

        nothing = jnp.zeros((*self.shape[:-1], w.shape[-1]), jnp.float32)
        inputs = (jnp.moveaxis(self.values, -1, 0), jnp.moveaxis(w, 1, 0))
        return lax.scan(add, nothing, inputs)[0]

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by weights `[K, N]`: `[T, B, N]`."""
        return dot(self.decoded(), w)

    def gradient(self, w: jax.Array, dy: jax.Array) -> tuple[None, jax.Array]:
        """Returns None and the gradient of weights: see `Sent.gradient`."""
        return None, dense_gradient(self.decoded(), w, dy)[1]


@pytree
@dataclass(frozen=True, eq=False)
class Constant:
    """Values that stay the same in each step, as a current does: multiplied once.

    Attributes:
        values: `[B, K]`.
        steps: T.
    """

    values: jax.Array
    steps: int = field(metadata={"static": True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", count("steps", self.steps, 0))

    @property
    def inputs(self) -> int:
        """K."""
        return self.values.shape[-1]

    @property
    def positions(self) -> None:
        """None: all neurons see all inputs."""
        return None

    def sent(self, inputs: int, steps: int | None) -> "Constant":
        """Returns them as something that can be multiplied: see `Given.sent`."""
        return replace(self, values=floats(self.values, "values"))

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by weights `[K, N]`: `[T, B, N]`, the same in each step."""
        y = dot(self.values, w)
        return jnp.broadcast_to(y, (self.steps, *y.shape))

    def gradient(self, w: jax.Array, dy: jax.Array) -> "tuple[Constant, jax.Array]":
        """Returns the gradients of values and weights: see `Sent.gradient`."""
        dx, dw = dense_gradient(self.values, w, dy.sum(axis=0))
        return Constant(dx, self.steps), dw
