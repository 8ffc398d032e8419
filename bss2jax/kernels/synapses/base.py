"""What is sent to synapses, and its product with the weights that they show.

forward   y  = sent @ shown         the weights as the chip has them
backward  dw = sent^T @ dy          the float weights: what a host knows
          ds = dy @ w^T
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
from jax import lax

from bss2jax.kernels.dot import dot, dot_of_rows
from bss2jax.kernels.mesh import alike, merged


class Sent(Protocol):
    """Spikes of a population's inputs over time, in whatever form; a pytree."""

    @property
    def steps(self) -> int:
        """T."""
        ...

    @property
    def inputs(self) -> int:
        """K, what one neuron sees."""
        ...

    @property
    def positions(self) -> int | None:
        """P, where neurons have receptive fields; None where all of them see all inputs."""
        ...

    def drive(self, w: jax.Array) -> jax.Array:
        """Multiplies by weights: `[T, B, N]`, positions and their channels in one axis.

        Args:
            w: `[K, N]`; with receptive fields `[K, C]`, shared, or `[P, K, C]`.
        """
        ...

    def gradient(self, w: jax.Array, dy: jax.Array) -> tuple[Any, jax.Array]:
        """Returns the gradients of what is sent, None for what has none, and of weights.

        Args:
            w: as in `drive`.
            dy: `[T, B, N]` gradient with respect to the product.
        """
        ...


class Given(Protocol):
    """What a caller gives as spikes, and what is not sent as it is."""

    def sent(self, inputs: int, steps: int | None) -> Sent:
        """Returns what is sent.

        Args:
            inputs: K of the weights.
            steps: T; None where the caller did not say it.

        Raises:
            ValueError: axes or steps do not fit.
        """
        ...


class Seen(Protocol):
    """A raster that `Fields` and `Windows` look at: an array, or values still to be coded."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the raster, time first."""
        ...

    @property
    def steps(self) -> int:
        """T."""
        ...

    @property
    def inputs(self) -> int:
        """The last axis."""
        ...

    @property
    def coded(self) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
        """What the raster comes from, `[B, ...]` or itself, and what makes spikes of it."""
        ...

    def given(self) -> "Seen":
        """Returns the same of float32 arrays; values that are still to be coded lose gradients."""
        ...

    def decoded(self) -> jax.Array:
        """Returns the raster `[T, B, ...]`."""
        ...

    def distinct(self) -> jax.Array:
        """Returns the raster `[T, B, ...]`, or `[1, B, ...]` where all steps are alike."""
        ...

    def cotangent(self, dx: Callable[[], jax.Array]) -> Any:
        """Returns the gradient of this, `dx()` being the raster's `[T, B, ...]`; or None."""
        ...

    def of_position(self, p: int) -> Sent:
        """Returns what one position of `[T, B, P, K]` sees."""
        ...

    def local_drive(self, w: jax.Array) -> jax.Array:
        """Multiplies `[T, B, P, K]` by each position's own weights `[P, K, C]`: `[T, B, P, C]`."""
        ...


class Shown(Protocol):
    """Weights as synapses show them: see `kernels.synapses.codes`."""

    def of(self, sent: Sent) -> jax.Array:
        """Multiplies what is sent: `[T, B, N]`, software units."""
        ...


def product(sent: Sent, w: jax.Array, shown: Shown | None = None) -> jax.Array:
    """Multiplies what is sent with weights: forward as shown, backward as they are.

    Backward is what a host knows: the float weights, as if synapses had no codes and no
    deviations. Nothing flows to what is shown.

    Args:
        sent: what the inputs send.
        w: weights in software units, of the shape that `sent` takes.
        shown: the same as the synapses have them; None for as they are.

    Returns:
        `[T, B, N]` what the synapses add in each step, software units.
    """
    return _product(*alike(sent, w, lax.stop_gradient(shown)))


@jax.custom_vjp
def _product(sent: Sent, w: jax.Array, shown: Shown | None) -> jax.Array:
    return sent.drive(w) if shown is None else shown.of(sent)


_product.defvjp(
    lambda sent, w, shown: (_product(sent, w, shown), (sent, w)),
    lambda residuals, dy: (*residuals[0].gradient(residuals[1], dy), None),
)


def dense_gradient(x: jax.Array, w: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of both factors of `x @ w`.

    Args:
        x: `[..., K]`.
        w: `[K, N]`.
        dy: `[..., N]`.
    """
    return dot(dy, w.T), dot_of_rows(merged(x), merged(dy))
