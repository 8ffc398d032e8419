"""Drivers with short-term plasticity: of what a population is sent a layer, and within it a key."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le, Lt

from bss2jax.kernels.synapses import plasticity
from bss2jax.networks.layer import Applied, Arrays, How, Layer
from bss2jax.networks.signal import Signal, Spikes, expect
from bss2jax.settings import Checked


@dataclass(frozen=True, kw_only=True)
class Drivers(Checked):
    """Drivers whose pulses depend on the spikes that their source sent before.

    Each source has a driver of its own settings where they are trained.

    Attributes:
        utilization: share that a spike uses of what is left.
        tau_rec, tau_facil: time constants of recovery and of facilitation, s; one of them 0.
        mode: `chip`, or `tsodyks_markram` for comparison, where both may be above 0.
        trained: parameters that are trained too, each as a factor a source.
    """

    kind: Literal["short_term"] = "short_term"
    utilization: Annotated[float, Ge(0), Le(1)] = 0.2
    tau_rec: Annotated[float, Ge(0), Lt(1)] = 0.0
    tau_facil: Annotated[float, Ge(0), Lt(1)] = 0.0
    mode: Literal["chip", "tsodyks_markram"] = "chip"
    trained: tuple[Literal["utilization", "tau_rec", "tau_facil"], ...] = ()

    def factors(self, sources: int, of: str = "") -> Arrays:
        """Returns the factors before a training, `[K]` of each that is trained.

        Args:
            sources: K, how many there are.
            of: in front of the names of the factors.
        """
        return {of + name: jnp.ones(sources, jnp.float32) for name in self.trained}

    def held(self, params: Arrays, of: str = "") -> Arrays:
        """Returns the factors among parameters within what drivers can be set to."""
        most = {"utilization": 1 / max(self.utilization, 0.1)}
        return {
            of + name: jnp.clip(params[of + name], 0.1, most.get(name, 10.0))
            for name in self.trained
        }

    def drivers(self, params: Arrays, dt: float, of: str = "") -> plasticity.ShortTerm:
        """Returns the drivers as they are set.

        Args:
            params: the factors that are trained; none: as before a training.
            dt: s a step.
            of: in front of the names of the factors.

        Raises:
            ValueError: no driver can be set so.
        """
        settings: dict[str, Any] = {
            name: getattr(self, name) * params.get(of + name, 1.0)
            for name in ("utilization", "tau_rec", "tau_facil")
        }
        return plasticity.ShortTerm(**settings, dt=dt, mode=self.mode)


@dataclass(frozen=True, kw_only=True)
class ShortTerm(Drivers, Layer):
    """Drivers with short-term plasticity, put before a population: see `kernels.synapses`.

    Those of a population's own spikes are its `recurrent_drivers`.
    """

    kind: Literal["short_term"] = "short_term"

    def shape(self, *before: Signal) -> Signal:
        (spikes,) = before
        expect(spikes, Spikes, "put a code before it, such as rate")
        self.drivers({}, spikes.dt)  # refuses what no driver can
        signal: Any = spikes
        if signal.current:
            raise ValueError("takes spikes, and is given currents that stay")
        return replace(signal, coded=False)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        return self.factors(before[0].entries)

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        return self.held(params)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        before = how.before[0]
        amplitudes = self.drivers(params, before.dt).amplitudes(before.flat(x[0]))
        return before.shaped(amplitudes), state, {}
