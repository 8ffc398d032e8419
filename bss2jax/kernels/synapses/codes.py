"""Weights as synapses hold them: 6-bit codes, of each synapse's own strength.

Sums are exact. A weight on a chip, code times strength, is a multiple of 2^-b LSB, with b such that
every partial sum over the inputs of a neuron is a whole multiple of it below 2^24: float32 has them
all. Products are summed in LSB and scaled after the sum. So the order of a sum, its cuts and what
carries the spikes change no bit.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import along_last, pytree
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.dot import settled
from bss2jax.kernels.gradients.surrogate import Positive
from bss2jax.kernels.synapses.base import Sent
from bss2jax.settings import Checked

_STRONGEST = 2.0  # of a synapse, over the nominal one; of the default chip .3 % are cut there
_FINEST = 5  # bits behind the point: 1/32 LSB moves .4 % of the mismatch


@dataclass(frozen=True)
class Codes(Checked):
    """6-bit codes of weights: round(clip(scale w, +-63)).

    Attributes:
        scale: LSB per software unit; None: the largest weight of all is the largest code; `neuron`:
            the largest weight of each neuron is, so that each has a unit of its own, which its
            synaptic input and threshold take up.
        substrate: the substrate whose largest code it is.

    Raises:
        ValueError: the scale is not above 0.
    """

    scale: Positive | Literal["neuron"] | None = 60.0
    substrate: Substrate = BSS2

    def unit(self, w: jax.Array) -> jax.Array:
        """Returns the software units of an LSB.

        Args:
            w: `[..., K, N]`, all of a population's weights.

        Returns:
            `[]`, or of neurons with units of their own `[..., N]`.
        """
        if isinstance(self.scale, float | int):
            return jnp.float32(1 / self.scale)
        largest = jnp.abs(w).max() if self.scale is None else jnp.abs(w).max(axis=-2)
        return jnp.maximum(largest, 1e-12) * np.float32(1 / self.substrate.weight_max)

    def shown(self, w: jax.Array, unit: jax.Array | None = None) -> jax.Array:
        """Returns the codes of weights, LSB, whole numbers in float32.

        Args:
            w: `[..., K, N]` weights in software units.
            unit: software units of an LSB, as of `unit`; None where w are all of the population's
                weights.

        Returns:
            `[..., K, N]`.
        """
        most = self.substrate.weight_max
        if isinstance(self.scale, float | int):
            lsb = self.scale * w
        else:
            each = 1 / (self.unit(w) if unit is None else unit)
            if each.ndim:  # of both signs apart, too
                each = jnp.tile(each, w.shape[-1] // max(1, each.shape[-1]))[..., None, :]
            lsb = w * each
        return jnp.clip(jnp.round(lsb), -most, most)


@pytree
@dataclass(frozen=True, eq=False)
class Weights:
    """Weights as synapses show them, one strength a synapse.

    Attributes:
        lsb: weights as synapses hold them, of the shape of the weights, multiples of 2^-b LSB.
        unit: software units of an LSB, `[]`, or `[..., N]` of each neuron.
    """

    lsb: jax.Array
    unit: jax.Array

    def of(self, sent: Sent) -> jax.Array:
        """Multiplies what is sent: `[T, B, N]`, software units."""
        return _in_units(sent.drive(self.lsb), self.unit)

    def masked(self, mask: jax.Array) -> "Weights":
        """Returns the same where a mask `[K, N]` is 1, and no synapses where it is 0."""
        return Weights(self.lsb * mask, self.unit)


@pytree
@dataclass(frozen=True, eq=False)
class SharedWeights:
    """Weights that all positions share, whose synapses have the strength of their neuron.

    Attributes:
        codes: `[K, C]` LSB.
        strength: `[2, N]` excitatory and inhibitory, multiples of 2^-b.
        unit: software units of an LSB, `[]`, or `[C]` of each channel's neurons.
    """

    codes: jax.Array
    strength: jax.Array
    unit: jax.Array

    def of(self, sent: Sent) -> jax.Array:
        """Multiplies what is sent: `[T, B, N]`, software units."""
        signs = jnp.concatenate([jnp.maximum(self.codes, 0), jnp.minimum(self.codes, 0)], axis=-1)
        both = sent.drive(signs)  # [T, B, P of excitatory and inhibitory C]
        channels, neurons = self.codes.shape[-1], self.strength.shape[-1]
        positions = neurons // max(1, channels)
        both = both.reshape(*both.shape[:2], positions, 2, channels)
        strength = self.strength.reshape(2, 1, 1, positions, channels)
        y = strength[0] * both[:, :, :, 0] + strength[1] * both[:, :, :, 1]
        return _in_units(y.reshape(*y.shape[:2], neurons), self.unit)


def _in_units(lsb: jax.Array, unit: jax.Array) -> jax.Array:
    """Sums `[T, B, N]` LSB in software units, those of a channel alike at each position."""
    if unit.ndim:
        each = jnp.tile(unit.reshape(unit.size), lsb.shape[-1] // max(1, unit.size))
        unit = along_last(each, lsb)
    return settled(lsb * unit)


def effective(codes: jax.Array, strength: jax.Array, inputs: int, largest: int) -> jax.Array:
    """Returns codes times the strength of their synapses, rounded so that their sums are exact.

    Args:
        codes: `[..., K, N]` LSB.
        strength: `[2, ..., K, N]` excitatory and inhibitory, or what broadcasts to it.
        inputs: K.
        largest: code.
    """
    strength = jnp.minimum(jnp.where(codes > 0, strength[0], strength[1]), _STRONGEST)
    return rounded(codes * strength, inputs, largest)


def rounded(x: jax.Array, inputs: int, largest: int, finest: int = _FINEST) -> jax.Array:
    """Rounds to multiples of 2^-b, of which all partial sums of binary inputs are exact.

    Args:
        x: `[...]` numbers whose sums are taken, at most twice the largest code.
        inputs: K.
        largest: code.
        finest: the most that b may be.

    Returns:
        `[...]`.
    """
    room = 2**24 / (_STRONGEST * largest * max(inputs, 1))
    step = np.float32(2.0 ** min(finest, math.floor(math.log2(room))))
    return jnp.round(x * step) * (1 / step)


def shown_weights(
    w: jax.Array,
    codes: Codes,
    unit: jax.Array,
    strength: jax.Array | None,
    positions: int | None = None,
) -> Weights | SharedWeights:
    """Returns weights as their synapses show them.

    Args:
        w: `[K, N]`; with receptive fields `[K, C]` or `[P, K, C]`.
        codes: what synapses hold.
        unit: software units of an LSB, as of `Codes.unit` of all the population's weights.
        strength: `[2, K, N]` of each synapse; with receptive fields `[2, N]` of each neuron; None:
            all are nominal.
        positions: P, or None.
    """
    lsb, (inputs, largest) = codes.shown(w, unit), (w.shape[-2], codes.substrate.weight_max)
    if strength is None:
        return Weights(lsb, unit)
    if positions is None:
        return Weights(effective(lsb, strength, inputs, largest), unit)
    if w.ndim == 3:
        of_neuron = strength.reshape(2, positions, 1, w.shape[-1])
        return Weights(effective(lsb, of_neuron, inputs, largest), unit)
    # The sum over inputs comes first, so that the strength alone is rounded, and more finely.
    most = jnp.minimum(strength, _STRONGEST)
    return SharedWeights(lsb, rounded(most, inputs, largest, finest=16), unit)
