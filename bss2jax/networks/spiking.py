"""Layers of spiking populations: neurons that see all inputs, and readouts."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.execute.circuits import OnChips
from bss2jax.execute.recording import cadc_trace
from bss2jax.kernels.neurons import li
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.layer import Applied, Arrays, How, Positive, Scale, folded
from bss2jax.networks.normed import NormedPopulation
from bss2jax.networks.population import Population, gathered
from bss2jax.networks.sending import dense
from bss2jax.networks.short_term import Drivers
from bss2jax.networks.signal import Signal, Traces

_OF = "recurrent_"


@dataclass(frozen=True, kw_only=True)
class LIF(NormedPopulation):
    """Leaky integrate-and-fire neurons that see all inputs.

    Attributes:
        recurrent: whether the population's spikes return to it.
        recurrent_bias: whether what returns has a bias of its own, as graphs of NIR may have it.
        recurrent_inputs: neurons of the population that each one hears, drawn once and for all;
            by default all. So larger populations fit chips.
        recurrent_drivers: short-term plasticity of the spikes that return; by default their pulses
            are alike.
    """

    unclamped: ClassVar[tuple[str, ...]] = (
        *NormedPopulation.unclamped,
        *(_OF + name for name in ("utilization", "tau_rec", "tau_facil")),
    )

    kind: Literal["lif"] = "lif"
    recurrent: bool = False
    recurrent_bias: bool = False
    recurrent_inputs: Positive | None = None
    recurrent_drivers: Drivers | None = None

    def shape(self, *before: Signal) -> Signal:
        if self.recurrent_inputs is not None and not self.recurrent:
            raise ValueError("recurrent_inputs: the population is not recurrent; set recurrent")
        if self.recurrent_bias and not self.recurrent:
            raise ValueError("recurrent_bias: the population is not recurrent; set recurrent")
        if self.recurrent_inputs is not None and self.recurrent_inputs > self.outputs:
            raise ValueError(
                f"recurrent_inputs: expected at most its {self.outputs} neurons, got "
                f"{self.recurrent_inputs}"
            )
        after = super().shape(*before)
        self._check_drivers(before[0].dt)
        return after

    def _check_drivers(self, dt: float) -> None:
        if self.recurrent_drivers is None:
            return
        if not self.recurrent:
            raise ValueError("recurrent_drivers: the population is not recurrent; set recurrent")
        if self.gradient == "eventprop":
            raise ValueError("recurrent_drivers: they have no eventprop gradient; take surrogate")
        try:
            self.recurrent_drivers.drivers({}, dt)
        except ValueError as error:
            raise ValueError(f"recurrent_drivers: {error}") from None

    @cached_property
    def heard(self) -> np.ndarray:
        """The neurons that each one hears, `[outputs, recurrent_inputs]`, in order.

        The same for the same sizes: which they are is part of the network, not of a run.
        """
        n, some = self.outputs, self.recurrent_inputs or self.outputs
        rng = np.random.default_rng([n, some])
        return np.sort(rng.permuted(np.tile(np.arange(n), (n, 1)), axis=1)[:, :some], axis=1)

    def connected(self) -> np.ndarray | None:
        """Returns 1 where a synapse within the population is, `[N, N]`; None: everywhere."""
        if self.recurrent_inputs is None:
            return None
        mask = np.zeros((self.outputs, self.outputs), np.float32)
        np.put_along_axis(mask, self.heard.T, 1.0, axis=0)
        return mask

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        params = super().init(folded(key, "weight"), *before)
        if self.recurrent:
            square = (self.outputs, self.outputs)
            params["recurrent"] = self._drawn(folded(key, "recurrent"), 0.0, square, before[0])
        if self.recurrent_bias:
            params["recurrent_bias"] = jnp.zeros(self.outputs, jnp.float32)
        if self.recurrent_drivers is not None:
            params |= self.recurrent_drivers.factors(self.outputs, _OF)
        mask = self.connected()
        return params if mask is None else params | {"recurrent": params["recurrent"] * mask}

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        kept, drivers = super().project(params, *before), self.recurrent_drivers
        return kept if drivers is None else kept | drivers.held(params, _OF)

    def within(self, params: Arrays, weights: Arrays, dt: float) -> dict[str, Any]:
        """Returns what `population` takes of the synapses within it.

        Args:
            params: the parameters of the layer.
            weights: its weights, as of `weights`.
            dt: s a step.
        """
        drivers = self.recurrent_drivers
        return {
            "recurrent": weights.get("recurrent"),
            "recurrent_drivers": None if drivers is None else drivers.drivers(params, dt, _OF),
        }

    def weights(self, params: Arrays, *before: Signal) -> Arrays:
        kept, mask = super().weights(params, *before), self.connected()
        return kept if mask is None else kept | {"recurrent": kept["recurrent"] * mask}

    def gathered(self, how: How, inputs: int | None) -> OnChips:
        if self.recurrent_inputs is None:
            return gathered(how, inputs, self.outputs * self.recurrent)
        slots = np.zeros((self.outputs, self.outputs), np.int32)
        number = np.broadcast_to(np.arange(self.recurrent_inputs)[:, None], self.heard.T.shape)
        np.put_along_axis(slots, self.heard.T, number, axis=0)
        return gathered(
            how, inputs, self.outputs, slots=jnp.asarray(slots), slots_used=self.recurrent_inputs
        )

    def loops(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        if not self.recurrent:
            return super().loops(before)
        heard = self.heard
        return heard.ravel(), np.repeat(np.arange(self.outputs), heard.shape[1])

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        weights = self.weights(params, *how.before)
        recording, state = self.driven(
            dense(x[0], how.before[0]), weights["weight"], params, state, how,
            **self.within(params, weights, how.before[0].dt), gradient=self.rule,
            observe=self.observed(how),
        )  # fmt: skip
        z, record = self.fired(recording, params | state, how)
        return z, state, record

    def demand(self, *before: Signal) -> PopulationDemand:
        one = super().demand(*before)
        within = self.outputs if self.recurrent_inputs is None else self.recurrent_inputs
        inputs = one.inputs + within * self.recurrent
        return replace(one, inputs=inputs, recurrent=self.recurrent)


@dataclass(frozen=True, kw_only=True)
class LI(Population):
    """Leaky integrators without spikes, read through the CADC: the readout.

    Attributes:
        readout_scale: LSB of a membrane at the CADC per software unit, 40..70 on silicon; 8 bits
            hold 127 / readout_scale units.
    """

    kind: Literal["li"] = "li"
    trained: tuple[Literal["tau_mem", "tau_syn"], ...] = ()
    readout_scale: Scale = 40.0

    def after(self, before: Signal) -> Signal:
        return Traces((self.outputs,), before.substrate, steps=before.steps, dt=before.dt)

    def nominal(self, params: Arrays, how: How) -> li.LI:
        return li.LI(**self.settings(params, how.before[0].dt), integrator=self.integrator)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        w = self.weights(params, *how.before)["weight"]
        before, values = how.before[0], params | state
        v: Any = self.run(dense(x[0], before), w, values, how).membrane
        if how.execution == "chip":
            v = cadc_trace(v, before.dt, self.readout_scale, substrate=before.substrate)
        v = self.potential(v, values, before.dt)
        return v, state, {"amplitude": jnp.abs(v).max(axis=0)}
