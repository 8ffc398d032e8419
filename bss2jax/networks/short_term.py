"""The layer of drivers with short-term plasticity, between spikes and the population they drive."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le, Lt

from bss2jax.kernels.synapses import plasticity
from bss2jax.networks.layer import Applied, Arrays, How, Layer
from bss2jax.networks.signal import Signal, Spikes, expect


@dataclass(frozen=True, kw_only=True)
class ShortTerm(Layer):
    """Pulses that depend on the spikes that their source sent before: see `kernels.synapses`.

    It is put before a population; each of its inputs has a driver of its own settings where they
    are trained.

    Attributes:
        utilization: share that a spike uses of what is left.
        tau_rec, tau_facil: time constants of recovery and of facilitation, s; one of them 0.
        mode: `chip`, or `tsodyks_markram` for comparison, where both may be above 0.
        trained: parameters that are trained too, each as a factor an input.
    """

    kind: Literal["short_term"] = "short_term"
    utilization: Annotated[float, Ge(0), Le(1)] = 0.2
    tau_rec: Annotated[float, Ge(0), Lt(1)] = 0.0
    tau_facil: Annotated[float, Ge(0), Lt(1)] = 0.0
    mode: Literal["chip", "tsodyks_markram"] = "chip"
    trained: tuple[Literal["utilization", "tau_rec", "tau_facil"], ...] = ()

    def shape(self, *before: Signal) -> Signal:
        (spikes,) = before
        expect(spikes, Spikes, "put a code before it, such as rate")
        self._drivers({}, spikes)  # refuses what no driver can
        signal: Any = spikes
        if signal.current:
            raise ValueError("takes spikes, and is given currents that stay")
        return replace(signal, coded=False)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        return {name: jnp.ones(before[0].entries, jnp.float32) for name in self.trained}

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        most = {"utilization": 1 / max(self.utilization, 0.1)}
        return {name: jnp.clip(p, 0.1, most.get(name, 10.0)) for name, p in params.items()}

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        amplitudes = self._drivers(params, how.before[0]).amplitudes(how.before[0].flat(x[0]))
        return how.before[0].shaped(amplitudes), state, {}

    def _drivers(self, params: Arrays, before: Any) -> plasticity.ShortTerm:
        settings: dict[str, Any] = {
            name: getattr(self, name) * params.get(name, 1.0)
            for name in ("utilization", "tau_rec", "tau_facil")
        }
        return plasticity.ShortTerm(**settings, dt=before.dt, mode=self.mode)
