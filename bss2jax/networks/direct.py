"""Neurons each of which sees one entry of what comes before, and no other."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import jax
import numpy as np
from annotated_types import Ge

from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.fields import by_axes
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import Applied, Arrays, Finite, How
from bss2jax.networks.population import SpikingPopulation
from bss2jax.networks.signal import Signal


@dataclass(frozen=True, kw_only=True)
class DirectLIF(SpikingPopulation):
    """Leaky integrate-and-fire neurons, one for each entry, of any shape.

    Attributes:
        outputs: neurons of a position; those of the last axis, told by what comes before.
        init_mean, init_std: mean and standard deviation of the initial weights, one a neuron.
    """

    kind: Literal["direct_lif"] = "direct_lif"
    outputs: Annotated[int, Ge(0)] = 0
    init_mean: Finite = 1.0
    init_std: Annotated[float, Ge(0)] | None = 0.0

    delayable: ClassVar[bool] = False

    def shape(self, *before: Signal) -> Signal:
        if self.bias:
            raise ValueError("bias: neurons that see one entry each have none")
        return super().shape(*before)

    def after(self, before: Signal) -> Signal:
        return before.fired(*before.size)

    def by_event(self, before: Signal) -> bool:
        return False

    def fan_in(self, before: Signal) -> int:
        return 1

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        return (before.entries,)

    def wires(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(before.entries), np.arange(before.entries)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        before, w = how.before[0], self.weights(params, *how.before)["weight"]
        sent = by_axes(Raster(before.flat(raster_of(x[0]))[..., None]))
        recording = self.run(
            sent, w[:, None, None], params | state, how, gradient=self.rule,
            observe=self.observed(how),
        )  # fmt: skip
        z, record = self.fired(recording, params | state, how)
        return z, state, record

    def demand(self, *before: Signal) -> PopulationDemand:
        return replace(super().demand(*before), positions=before[0].entries)
