"""LIF neurons by their rates: the curve, a soft one to train with, and its noise.

A neuron is driven by a current j in units of what just brings it to its threshold, 1. It fires at

    r(j) = 1 / (tau_ref + tau_rc ln(1 + 1 / rho(j - 1))),    rho(x) = max(x, 0)

whose slope has no bound at j = 1. The soft curve has rho(x) = gamma ln(1 + e^(x / gamma)) and tends
to r as gamma -> 0. Times in seconds, rates in Hz.

Noise stands for what spikes do to the next layer; the gradient does not see it.

References: Hunsberger and Eliasmith 2016 (arXiv 1611.05141).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from bss2jax.arrays import floats
from bss2jax.kernels import noise as numbers
from bss2jax.kernels.gradients.surrogate import Positive
from bss2jax.settings import Checked

_One = tuple[jax.Array]

# Where e^y is below float32's resolution beside 1, ln(1 + e^y) is e^y.
_FAR_BELOW = -16.0


@dataclass(frozen=True)
class Curve(Checked):
    """A neuron's rate curve, and its units in a network.

    Attributes:
        tau_ref: refractory time, s.
        tau_rc: membrane time constant, s.
        gamma: softness, in units of the threshold current.
        amplitude: what a rate is multiplied by on its way to the next layer, s.
        gain: the gain of a neuron's input: j = 1 + gain x.

    Raises:
        ValueError: a value is not above 0 and finite.
    """

    tau_ref: Positive = 2e-3
    tau_rc: Positive = 22e-3
    gamma: Positive = 0.02
    amplitude: Positive = 0.063
    gain: Positive = 1.0


MNIST = SVHN = Curve()
CIFAR10 = IMAGENET = Curve(tau_ref=1e-3, tau_rc=50e-3, gain=0.825)


def lif_rate(j: ArrayLike, curve: Curve = MNIST) -> jax.Array:
    """Returns the rate of LIF neurons, Hz, at currents `[...]`; 0 up to the threshold."""
    return _lif_rate(floats(j, "j"), curve)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _lif_rate(j: jax.Array, curve: Curve) -> jax.Array:
    return _lif(j, curve)[0]


@_lif_rate.defjvp
def _lif_rate_jvp(curve: Curve, primals: _One, tangents: _One) -> tuple[jax.Array, jax.Array]:
    rate, slope = _lif(*primals, curve)
    return rate, slope * tangents[0]


def soft_lif_rate(j: ArrayLike, curve: Curve = MNIST) -> jax.Array:
    """Returns the rate of soft LIF neurons, Hz, at currents `[...]`.

    Far below the threshold it falls as gamma / (tau_rc (1 - j)), no faster; rho itself would be
    lost to underflow there, so its logarithm is used.
    """
    return _soft_lif_rate(floats(j, "j"), curve)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _soft_lif_rate(j: jax.Array, curve: Curve) -> jax.Array:
    return _soft_lif(j, curve)[0]


@_soft_lif_rate.defjvp
def _soft_lif_rate_jvp(curve: Curve, primals: _One, tangents: _One) -> tuple[jax.Array, jax.Array]:
    rate, slope = _soft_lif(*primals, curve)
    return rate, slope * tangents[0]


@runtime_checkable
class Noise(Protocol):
    """Anything that disturbs rates; frozen and hashable."""

    def sample(self, rate: jax.Array, key: jax.Array, first: jax.Array | int = 0) -> jax.Array:
        """Returns noisy rates, Hz.

        Args:
            rate: `[B, ...]` of neurons that fire, Hz.
            key: the random key of the noise.
            first: number of the first sample, on which its noise depends.
        """
        ...


@dataclass(frozen=True)
class Quiet:
    """No noise: rates stay as they are."""

    kind: Literal["none"] = field(default="none", kw_only=True, repr=False)

    def sample(self, rate: jax.Array, key: jax.Array, first: jax.Array | int = 0) -> jax.Array:
        return rate


@dataclass(frozen=True)
class Gaussian:
    """Normal noise, the same at all rates.

    Attributes:
        std: standard deviation of the noise, Hz.
    """

    std: float = 10.0
    kind: Literal["gaussian"] = field(default="gaussian", kw_only=True, repr=False)

    def sample(self, rate: jax.Array, key: jax.Array, first: jax.Array | int = 0) -> jax.Array:
        normal, _ = numbers.normal_pair(numbers.stream(key), *numbers.grid(rate.shape, first))
        return rate + self.std * normal


@dataclass(frozen=True)
class Alpha:
    """What an alpha synapse makes of a regular spike train, at a random time.

    Attributes:
        tau_syn: time constant of the synapse, s.
    """

    tau_syn: float = 5e-3
    kind: Literal["alpha"] = field(default="alpha", kw_only=True, repr=False)

    def sample(self, rate: jax.Array, key: jax.Array, first: jax.Array | int = 0) -> jax.Array:
        return filtered_train(rate, _phase(rate, key, first), self.tau_syn)


@dataclass(frozen=True)
class AlphaMembrane:
    """What an alpha synapse and the membrane that it drives make of a regular spike train.

    Attributes:
        tau_syn: time constant of the synapse, s.
        tau_rc: time constant of the membrane, s.
    """

    tau_syn: float = 5e-3
    tau_rc: float = 22e-3
    kind: Literal["alpha_membrane"] = field(default="alpha_membrane", kw_only=True, repr=False)

    def sample(self, rate: jax.Array, key: jax.Array, first: jax.Array | int = 0) -> jax.Array:
        return filtered_train(rate, _phase(rate, key, first), self.tau_syn, self.tau_rc)


def noisy_rate(
    j: ArrayLike,
    curve: Curve = MNIST,
    noise: Noise = Quiet(),
    key: jax.Array | None = None,
    *,
    sample: jax.Array | int = 0,
) -> jax.Array:
    """Returns soft rates, Hz, with noise where a neuron fires: where j > 1.

    Backward the noise is not there: the gradient is that of `soft_lif_rate`.

    Args:
        j: `[...]` currents, of a batch `[B, ...]` where there is noise.
        curve: rate curve of the neurons.
        noise: what disturbs rates.
        key: key of the noise; None: no noise.
        sample: number of the first sample, on which its noise depends.
    """
    j = floats(j, "j")
    rate = soft_lif_rate(j, curve)
    if key is None:
        return rate
    disturbed = noise.sample(lax.stop_gradient(rate), key, sample)
    return rate + lax.stop_gradient(jnp.where(j > 1, disturbed - rate, 0.0))


def filtered_train(
    rate: jax.Array, phase: jax.Array, tau_syn: float, tau_rc: float | None = None
) -> jax.Array:
    """Returns a regular spike train, one spike every 1 / rate, as filters see it.

    The filter is alpha(t) = t / tau_syn^2 e^(-t / tau_syn), and a low pass of tau_rc after it where
    that is given; sums over all past spikes are geometric series. Over the phases the mean is the
    rate.

    Args:
        rate: `[...]` Hz, > 0.
        phase: `[...]` share of the interval since the last spike, 0..1.
        tau_syn, tau_rc: s, not equal.

    Returns:
        `[...]` Hz.

    Raises:
        ValueError: tau_syn and tau_rc are less than 5 % apart.
    """
    period = 1 / rate
    since = phase * period

    def series(tau: float) -> jax.Array:  # of e^(-t / tau)
        return jnp.exp(-since / tau) / -jnp.expm1(-period / tau)

    left = jnp.exp(-period / tau_syn)
    mean = since + period * left / -jnp.expm1(-period / tau_syn)
    alpha = mean * series(tau_syn) / tau_syn**2
    if tau_rc is None:
        return alpha
    difference = tau_rc - tau_syn
    if abs(difference) < 0.05 * tau_rc:
        raise ValueError(
            f"tau_syn and tau_rc: expected them 5 % apart or more, got {tau_syn} and {tau_rc}; "
            "partial fractions lose their digits there"
        )
    slow = tau_rc / difference**2 * (series(tau_rc) - series(tau_syn))
    return slow - tau_syn / difference * alpha


def _lif(j: jax.Array, curve: Curve) -> tuple[jax.Array, jax.Array]:
    """Rate and slope."""
    fires = j > 1
    x = jnp.where(fires, j - 1, 1)
    rate = 1 / (curve.tau_ref + curve.tau_rc * jnp.log1p(1 / x))
    slope = jnp.square(rate) * curve.tau_rc / (x * (1 + x))
    return jnp.where(fires, rate, 0), jnp.where(fires, slope, 0)


def _soft_lif(j: jax.Array, curve: Curve) -> tuple[jax.Array, jax.Array]:
    """Rate and slope: dr/dj = r^2 tau_rc rho' / (rho (1 + rho))."""
    y = (j - 1) / curve.gamma
    below = y < _FAR_BELOW
    near = jnp.where(below, 0, y)
    rho = curve.gamma * jax.nn.softplus(near)
    wait = jnp.where(below, -y - jnp.log(curve.gamma), jnp.log1p(1 / rho))
    relative = jnp.where(below, 1 / curve.gamma, jax.nn.sigmoid(near) / (rho * (1 + rho)))
    rate = 1 / (curve.tau_ref + curve.tau_rc * wait)
    return rate, jnp.square(rate) * curve.tau_rc * relative


def _phase(rate: jax.Array, key: jax.Array, first: jax.Array | int) -> jax.Array:
    return numbers.uniform(numbers.stream(key), *numbers.grid(rate.shape, first))
