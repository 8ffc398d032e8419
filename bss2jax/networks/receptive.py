"""Layers of spiking populations with receptive fields, of shared weights or each of its own."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.kernels.synapses.base import Sent
from bss2jax.kernels.synapses.given import sent_of
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.kernels.unfold import output_shape, patches
from bss2jax.mapping.plan import as_matrix
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.layer import Applied, Arrays, How, NotNegative, Positive, Precision, per_axis
from bss2jax.networks.normed import NormedPopulation
from bss2jax.networks.signal import Signal


@dataclass(frozen=True, kw_only=True)
class ConvLIF(NormedPopulation):
    """Neurons with receptive fields over `[L, C]` or `[H, W, C]`, `outputs` at each position.

    Attributes:
        window, stride, padding: geometry of the fields; one number for all axes, or one for each.
        shared: whether all positions have the same weights (a convolution) or each its own
            (locally connected). On the chip every neuron has synapses of its own either way.
    """

    kind: Literal["conv_lif"] = "conv_lif"
    window: Positive | tuple[Positive, ...]
    stride: Positive | tuple[Positive, ...] = 1
    padding: NotNegative | tuple[NotNegative, ...] | Literal["SAME", "VALID"] = 0
    shared: bool = True

    delayable: ClassVar[bool] = False

    def by_event(self, before: Signal) -> bool:
        return False

    def wires(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.arange(1, before.entries + 1, dtype=np.int32).reshape(before.size)
        fields = np.asarray(self.fields(jnp.asarray(numbers), before))  # [P, K], 0 in the padding
        source = np.repeat(fields, self.outputs, axis=0).ravel()
        target = np.repeat(np.arange(len(fields) * self.outputs), fields.shape[1])
        return source[source > 0] - 1, target[source > 0]

    def taps(self, before: Signal) -> tuple[int, ...]:
        """Returns the window, an entry for each axis."""
        if len(before.size) not in (2, 3):
            raise ValueError("windows need an input [L, C] or [H, W, C]")
        return per_axis(self.window, len(before.size) - 1)

    def after(self, before: Signal) -> Signal:
        taps = self.taps(before)
        positions = output_shape(before.size[:-1], taps, self.stride, self.padding)
        return before.fired(*positions, self.outputs)

    def fan_in(self, before: Signal) -> int:
        return math.prod(self.taps(before)) * before.size[-1]

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        if self.shared:
            return (*self.taps(before), before.size[-1], self.outputs)
        positions = math.prod(self.after(before).size[:-1])
        return (positions, self.fan_in(before), self.outputs)

    def apply(self, params: Arrays, state: Arrays, *x: Any, how: How) -> Applied:
        before, w = how.before[0], self.weights(params, *how.before)["weight"]
        sent: Sent
        if self.shared:
            sent, w = self.seen(x[0], before, how.precision), as_matrix(w)
        else:
            # Of spikes, or of values that are still to be coded as spikes, each by itself.
            sent = sent_of(jax.tree.map(lambda x: self.fields(x, before), x[0]), w.shape[1])
        recording, state = self.driven(
            sent, w, params, state, how, gradient=self.rule, observe=self.observed(how)
        )
        z, record = self.fired(recording, params | state, how)
        return z, state, record

    def seen(self, x: Any, before: Signal, precision: Precision = "float32") -> Windows:
        """Returns what the windows see of `[T, B, *before]` spikes, or of values to be coded."""
        stride = per_axis(self.stride, len(before.size) - 1)
        return Windows(x, self.taps(before), stride, self.padding, precision)

    def fields(self, x: jax.Array, before: Signal) -> jax.Array:
        """Returns what each position sees of `[..., *before]`: `[..., P, K]`."""
        seen = patches(x, self.taps(before), self.stride, self.padding)
        lead = x.shape[: x.ndim - len(before.size)]
        positions = math.prod(self.after(before).size[:-1])
        return seen.reshape(*lead, positions, self.fan_in(before))

    def demand(self, *before: Signal) -> PopulationDemand:
        (spikes,) = before
        positions = math.prod(self.after(spikes).size[:-1])
        whole = replace(super().demand(spikes), positions=positions, input_events=None)
        if spikes.events is None:
            return whole
        # Numbered from 1: what lies in the padding is 0.
        numbers = np.arange(1, spikes.entries + 1, dtype=np.int32).reshape(spikes.size)
        fields = np.asarray(self.fields(jnp.asarray(numbers), spikes))
        return _within_events(whole, fields, spikes)


def _within_events(whole: PopulationDemand, fields: np.ndarray, before: Signal) -> PopulationDemand:
    """Cuts positions into as many parts as the events of a configuration allow.

    Args:
        whole: the demand of all positions.
        fields: `[P, K]` numbers of the inputs that each position sees, 0 for none.
        before: what sends them.
    """
    substrate, positions = before.substrate, whole.positions
    for at_once in range(whole.on(substrate).positions_per_run, 0, -1):
        cut = replace(whole, parts=-(-positions // at_once))
        at_once = cut.on(substrate).positions_per_run
        parts = (fields[first : first + at_once] for first in range(0, positions, at_once))
        sent = round(max(len(np.setdiff1d(part, 0)) for part in parts) * before.events)
        if sent <= substrate.max_input_events:
            break
    return replace(cut, input_events=sent)
