"""Layers of a converted network: firing neurons in place of rates, and its readout."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from bss2jax.arrays import along_last
from bss2jax.execute.populations import population
from bss2jax.execute.recording import Recording, cadc_trace
from bss2jax.kernels.neurons.base import Neuron
from bss2jax.kernels.neurons.exact import ExactLIF
from bss2jax.kernels.neurons.li import LI
from bss2jax.kernels.synapses.base import Sent
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.dense import Raster
from bss2jax.kernels.synapses.lazy import Constant
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.mapping.plan import Demand, as_matrix
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.layer import Applied, Arrays, How, Layer, Via, folded, per_axis
from bss2jax.networks.population import gathered
from bss2jax.networks.signal import Signal, Traces

_UNIT = 50.0  # LSB from reset to threshold, of the 40 to 70 that are usual on silicon
# How far the leak can be set from the reset, with reset at 70 and threshold at 120 LSB.
# References: calix (leak 50 to 160 LSB).
_LEAK = ((50 - 70) / _UNIT, (160 - 70) / _UNIT)


@dataclass(frozen=True, kw_only=True)
class _Converted(Layer):
    """What layers of a converted network share.

    Attributes:
        rate: the layer of rates that it stands for, whose parameters it takes.
        via: how what it is given stands for rates.
    """

    rate: Any
    via: Via

    @property
    def shares(self) -> bool:
        """Whether all positions have the same weights."""
        return len(self.rate.weight_shape(self.via.before)) > 2

    def sent(self, x: jax.Array, how: How) -> Sent:
        """Returns what the layer before sends."""
        if not self.shares:
            return Raster(how.before[0].flat(x))
        stride = per_axis(self.rate.stride, len(self.via.before.size) - 1)
        return Windows(Raster(x), self.rate.taps(self.via.before), stride, self.rate.padding)

    def run(self, x: jax.Array, w: jax.Array, neuron: Neuron, how: How) -> Recording:
        """Runs the layer's neurons on what the layer before sends, with weights `w`."""
        w, circuits = self.via.factor * (as_matrix(w) if self.shares else w), None
        if how.execution == "chip":
            circuits = gathered(how, None if self.shares else len(w))
        return population(
            self.sent(x, how), w, neuron, circuits, folded(how.key, "noise"),
            codes=Codes(None, self.via.before.substrate) if self.via.on_chip else None,
            sample=how.sample,
        )  # fmt: skip

    def demand(self, *before: Signal) -> Demand | None:
        size = self.rate.size(self.via.before)
        fan_in = math.prod(self.rate.weight_shape(self.via.before)[:-1])
        return PopulationDemand(fan_in, math.prod(size), positions=math.prod(size[:-1]))


@dataclass(frozen=True, kw_only=True)
class Units(_Converted):
    """Neurons that fire as their soft rates say."""

    def shape(self, *before: Signal) -> Signal:
        return before[0].fired(*self.rate.size(self.via.before))

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        rate, conversion, w = self.rate, self.via.conversion, params["weight"]
        leak = jnp.broadcast_to(1 + rate.gain * params["bias"], how.after.size)
        if self.via.constant:
            # A current that stays is multiplied once, and needs no synapse: it adds to the leak.
            leak = leak + rate.gain * rate.sums(x[0][0], w, self.via.before)
            leak = leak.reshape(len(leak), math.prod(how.after.size))
        elif self.via.on_chip:
            leak = jnp.clip(leak, *_LEAK)
        synapse: Literal["exponential", "alpha"]
        synapse = "exponential" if self.via.on_chip else conversion.synapse
        neuron = ExactLIF(
            tau_rc=rate.tau_rc, tau_syn=conversion.tau_syn, tau_ref=rate.tau_ref,
            leak=leak if self.via.constant else leak.reshape(-1), dt=conversion.dt,
            synapse=synapse, starts_anywhere=True,
        )  # fmt: skip
        if self.via.constant:
            silent = Constant(jnp.zeros((len(leak), 1)), how.before[0].steps)
            key = folded(how.key, "noise")
            recording = population(
                silent, jnp.zeros((1, leak.shape[1])), neuron, None, key, sample=how.sample
            )
        else:
            gain = rate.gain * share(conversion, synapse)
            recording = self.run(x[0], gain * w, neuron, how)
        spikes: Any = recording.spikes  # recorded always: the neuron fires
        z = spikes.reshape(*spikes.shape[:2], *how.after.size)
        seconds = (len(z) - conversion.warm_up) * conversion.dt
        measured = z[conversion.warm_up :].sum(axis=0) / seconds
        # Of each neuron the spikes of a mean sample; and what the rate's layer would have sent.
        return z, state, {"spikes": z.mean(axis=1), "sent": rate.amplitude * measured}


@dataclass(frozen=True, kw_only=True)
class Readout(_Converted):
    """The sum of filtered spikes; on a chip an integrator, read through the CADC."""

    def shape(self, *before: Signal) -> Signal:
        (spikes,) = before
        size, steps = self.rate.size(self.via.before), spikes.steps
        return Traces(size, spikes.substrate, steps=steps, dt=spikes.dt)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        conversion, before = self.via.conversion, how.before[0]
        # On a chip, and of an alpha synapse, the membrane is the second low pass.
        once = conversion.synapse == "exponential" and not self.via.on_chip
        neuron = LI(
            conversion.tau_syn, 1e-3 * conversion.dt if once else conversion.tau_syn,
            way=_UNIT / conversion.readout_scale, dt=conversion.dt,
        )  # fmt: skip
        gain = 1.0 if once else share(conversion, "exponential")
        v: Any = self.run(x[0], gain * params["weight"], neuron, how).membrane
        if self.via.on_chip:
            v = cadc_trace(v, before.dt, conversion.readout_scale, substrate=before.substrate)
        v = v + along_last(params["bias"], v)
        return v, state, {"sent": v[conversion.warm_up :].mean(axis=0)}


def share(conversion: Any, synapse: str) -> float:
    """Returns what a step takes of what is sent, so that the synapse's filter has the gain 1."""
    once = -math.expm1(-conversion.dt / conversion.tau_syn)
    return once**2 if synapse == "alpha" else once
