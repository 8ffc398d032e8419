"""Constants that neurons have of their own, in the units and conventions of a graph of NIR.

They are kept as the graph has them, in the state of a network, so that they can be written as they
were read. What runs are neurons in the units of their weights: a potential v of the graph is
v / gain, where gain is what one unit of weighted input does to it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from bss2jax.kernels.neurons.membrane import TANGENTS, share_of
from bss2jax.networks.layer import Scale
from bss2jax.settings import Checked

Spikes = Literal["jump", "sample", "dirac"]
Reset = Literal["value", "zero", "subtract"]


@dataclass(frozen=True, kw_only=True)
class Constants(Checked):
    """How the constants in a layer's state are meant.

    Attributes:
        kind: type of the node: `LIF`, `CubaLIF`, `IF`, `LI`, `CubaLI` or `I`.
        spikes: what a spike of weight w is: a `jump` of the synaptic current by w_in w, or of a
            membrane without synapses by r w; a `sample`, a signal of height w that lasts a step; or
            `dirac`, an impulse of area w in seconds.
        reset: after a spike the membrane is at v_reset, `value`, or 0, `zero`, or lower by the
            threshold, `subtract`.
        start: the potential at which membranes begin: `zero` or `leak`.
        unit: seconds of the graph's unit of time.
        speedup: factor by which the simulated neurons are faster than the graph's.
        tau_syn: synaptic time constant that neurons without synapses are given, s as simulated, so
            that a chip can have them; None: their input acts in its step.
        ignored: constants that count as 1; without r a membrane adds all of its current in a step.
    """

    kind: Literal["LIF", "CubaLIF", "IF", "LI", "CubaLI", "I"]
    spikes: Spikes
    reset: Reset = "value"
    start: Literal["zero", "leak"] = "zero"
    unit: Scale = 1.0
    speedup: Scale = 1.0
    tau_syn: Scale | None = None
    ignored: tuple[Literal["r", "w_in"], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The constants that there are."""
        leak = ("tau_mem", "v_leak") if self.leaky else ()
        synapse = ("tau_syn", "w_in") if self.synapses else ()
        fires = ("v_threshold", "v_reset") if self.kind in ("LIF", "CubaLIF", "IF") else ()
        return ("r", *leak, *synapse, *fires)

    @property
    def synapses(self) -> bool:
        """Whether the graph's neurons have synaptic currents."""
        return self.kind in ("CubaLIF", "CubaLI")

    @property
    def leaky(self) -> bool:
        """Whether membranes decay."""
        return self.kind not in ("IF", "I")

    @property
    def misfit(self) -> str:
        """Why no chip has such neurons; empty where one has."""
        if self.reset == "subtract":
            return "a chip's neurons are reset to a potential, none by its threshold (subtract)"
        if not self.synapses and self.tau_syn is None:
            return "its neurons have no synaptic time constant, a chip's have; give tau_syn"
        return ""

    def initial(self, neurons: int, tau_mem: float, tau_syn: float) -> dict[str, jax.Array]:
        """Returns constants `[N]` of neurons that are alike, threshold 1, before any are read.

        Args:
            neurons: N.
            tau_mem, tau_syn: time constants, s as simulated.
        """
        times = self.speedup / self.unit
        known = {"tau_mem": tau_mem * times, "tau_syn": tau_syn * times, "v_leak": 0.0}
        known |= {"r": 1.0, "w_in": 1.0, "v_threshold": 1.0, "v_reset": 0.0}
        return {name: jnp.full(neurons, known[name], jnp.float32) for name in self.names}

    def neuron(self, of: dict[str, jax.Array], dt: float, order: str) -> dict[str, Any]:
        """Returns the settings of the neurons as simulated, potentials over `gain`.

        Args:
            of: the constants, `[N]` each.
            dt: s of a step as simulated.
            order: the integrator.
        """
        gain, seconds = self.gain(of, dt, order), self.unit / self.speedup
        silent = dt if order in TANGENTS else dt / 128  # what is left of a current after a step: 0
        settings: dict[str, Any] = {"tau_syn": self.tau_syn or silent, "dt": dt}
        settings["tau_mem"] = of["tau_mem"] * seconds if self.leaky else dt
        if self.synapses:
            settings["tau_syn"] = of["tau_syn"] * seconds
        leak = of["v_leak"] / gain if self.leaky else jnp.zeros_like(gain)
        start = leak if self.start == "leak" else jnp.zeros_like(gain)
        settings |= {"leak": leak, "start": start, "leaky": self.leaky}
        if "v_threshold" in of:
            settings["threshold"] = of["v_threshold"] / gain
            settings["reset"] = of["v_reset"] / gain * (self.reset == "value")
            settings["subtracts"] = self.reset == "subtract"
        return settings

    def gain(self, of: dict[str, jax.Array], dt: float, order: str) -> jax.Array:
        """Returns the potential of the graph that a simulated current of 1 is, `[N]`.

        Args:
            of, dt, order: as of `neuron`.
        """
        r: Any = of["r"]
        if "r" in self.ignored:
            r = jnp.ones_like(r)
            if self.synapses:
                r = r / share_of(of["tau_mem"] * self.unit / self.speedup, dt, order)
        return r * self.current(of, dt, order)

    def current(self, of: dict[str, jax.Array], dt: float, order: str) -> Any:
        """Returns the graph's current that a weighted input of 1 adds to the simulated one, `[N]`.

        Args:
            of, dt, order: as of `neuron`.
        """
        step = dt * self.speedup  # s of the graph
        charge: Any
        if not self.leaky:
            charge = step if self.spikes == "sample" else 1.0
        else:
            tau = of["tau_syn" if self.synapses else "tau_mem"]
            taken = share_of(tau * self.unit / self.speedup, dt, order)
            charge = {"jump": 1.0, "sample": taken, "dirac": 1 / (tau * self.unit)}[self.spikes]
            if not self.synapses:
                charge = charge / taken
        if self.synapses:
            return charge * (1.0 if "w_in" in self.ignored else of["w_in"])
        if self.tau_syn is not None:  # the same charge, over time
            charge = charge * share_of(self.tau_syn, dt, order)
        return charge

    def bias(self, dt: float) -> float:
        """Returns what a constant input of 1 is in each step, over that of a spike.

        Args:
            dt: s of a step as simulated.
        """
        return dt * self.speedup if self.spikes == "dirac" else 1.0
