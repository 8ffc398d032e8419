"""Spike functions: a step forward, a surrogate of its derivative backward.

    z = 1[x > 0];    dz/dx = surrogate.derivative(x),    x = v - threshold

A surrogate is a frozen value, static under jit: `spike(x, SuperSpike(alpha=20))`. Its slope is 1
over the width of its peak, in units of the membrane: `sloped` returns it with another one.

References: Zenke and Ganguli 2018 (SuperSpike); Neftci et al. 2019 (review); Fang et al. 2021
(arctan); Bellec et al. 2018 (triangle); Yin et al. 2021 (Gaussian); norse `functional`,
snnTorch `surrogate`.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Gt, Lt
from jax.typing import ArrayLike

from bss2jax.arrays import floats
from bss2jax.settings import Checked

Positive = Annotated[float, Gt(0), Lt(math.inf)]


@runtime_checkable
class SpikeFunction(Protocol):
    """Anything with a derivative; frozen and hashable."""

    def derivative(self, x: jax.Array) -> jax.Array:
        """Returns dz/dx, `[...]`, at x `[...]`, membrane above threshold."""
        ...


@dataclass(frozen=True)
class SuperSpike(Checked):
    """1 / (alpha |x| + 1)^2, the default of hxtorch.

    Attributes:
        alpha: steepness of the derivative 1 / (alpha |x| + 1)^2 at the threshold.
    """

    alpha: Positive = 50.0
    kind: Literal["superspike"] = field(default="superspike", kw_only=True, repr=False)

    def derivative(self, x: jax.Array) -> jax.Array:
        return 1.0 / jnp.square(self.alpha * jnp.abs(x) + 1.0)

    def sloped(self, slope: float) -> "SuperSpike":
        """Returns it with another slope, alpha."""
        return SuperSpike(slope)


@dataclass(frozen=True)
class Arctan(Checked):
    """(alpha / 2) / (1 + (pi alpha x / 2)^2), the derivative of arctan(pi alpha x / 2) / pi.

    Attributes:
        alpha: steepness of the derivative (alpha / 2) / (1 + (pi alpha x / 2)^2).
    """

    alpha: Positive = 2.0
    kind: Literal["arctan"] = field(default="arctan", kw_only=True, repr=False)

    def derivative(self, x: jax.Array) -> jax.Array:
        return (self.alpha / 2) / (1.0 + jnp.square(math.pi / 2 * self.alpha * x))

    def sloped(self, slope: float) -> "Arctan":
        """Returns it with another slope, alpha; its height grows with it."""
        return Arctan(slope)


@dataclass(frozen=True)
class Triangle(Checked):
    """height max(0, 1 - |x| / width).

    Attributes:
        width: distance from the threshold at which the derivative is 0.
        height: derivative at the threshold.
    """

    width: Positive = 1.0
    height: Positive = 0.3
    kind: Literal["triangle"] = field(default="triangle", kw_only=True, repr=False)

    def derivative(self, x: jax.Array) -> jax.Array:
        return self.height * jnp.maximum(0.0, 1.0 - jnp.abs(x) / self.width)

    def sloped(self, slope: float) -> "Triangle":
        """Returns it with another slope, 1 over its width; of the same height."""
        return Triangle(1 / slope, self.height)


@dataclass(frozen=True)
class Gaussian(Checked):
    """The normal density exp(-x^2 / (2 sigma^2)) / (sigma sqrt(2 pi)).

    Attributes:
        sigma: standard deviation of the normal density.
    """

    sigma: Positive = 0.5
    kind: Literal["gaussian"] = field(default="gaussian", kw_only=True, repr=False)

    def derivative(self, x: jax.Array) -> jax.Array:
        density = jnp.exp(-0.5 * jnp.square(x / self.sigma))
        return density / (self.sigma * math.sqrt(2 * math.pi))

    def sloped(self, slope: float) -> "Gaussian":
        """Returns it with another slope, 1 over sigma; its height grows with it."""
        return Gaussian(1 / slope)


@dataclass(frozen=True)
class Box(Checked):
    """1[|x| < width / 2]: straight through near the threshold, nothing elsewhere.

    Attributes:
        width: distance between the ends of the range in which the derivative is 1.
    """

    width: Positive = 1.0
    kind: Literal["box"] = field(default="box", kw_only=True, repr=False)

    def derivative(self, x: jax.Array) -> jax.Array:
        return (jnp.abs(x) < self.width / 2).astype(x.dtype)

    def sloped(self, slope: float) -> "Box":
        """Returns it with another slope, 1 over its width; of the same height."""
        return Box(1 / slope)


def spike(x: ArrayLike, surrogate: SpikeFunction = SuperSpike()) -> jax.Array:
    """Returns 1 where the membrane is above threshold, else 0.

    Args:
        x: `[...]` membrane minus threshold.
        surrogate: what the gradient pretends the step's derivative is.

    Returns:
        `[...]` 0.0 or 1.0, float32.
    """
    return _spike(floats(x, "x"), surrogate)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _spike(x: jax.Array, surrogate: SpikeFunction) -> jax.Array:
    return (x > 0).astype(x.dtype)


@_spike.defjvp
def _spike_jvp(
    surrogate: SpikeFunction, primals: tuple, tangents: tuple
) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return _spike(x, surrogate), surrogate.derivative(x) * dx
