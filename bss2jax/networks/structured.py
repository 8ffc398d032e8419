"""The layer of structured neurons: a soma and dendrites, among which inputs are spread."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Lt, MinLen

from bss2jax.chip.morphology import Compartment, Morphology, TauIcc
from bss2jax.execute.circuits import OnChips
from bss2jax.execute.recording import Recording
from bss2jax.kernels.gradients.rules import Surrogate
from bss2jax.kernels.neurons.compartments import Compartments
from bss2jax.kernels.neurons.lif import LIF
from bss2jax.mapping.morphologies import MorphologyDemand, lay_out
from bss2jax.networks.layer import Applied, Arrays, Finite, How, NotNegative, Scale
from bss2jax.networks.population import SpikingPopulation, gathered
from bss2jax.networks.sending import dense
from bss2jax.networks.signal import Signal

Trained = Literal["tau_mem", "tau_syn", "threshold", "tau_icc"]


@dataclass(frozen=True, kw_only=True)
class Structured(SpikingPopulation):
    """Neurons of compartments, whose somata send spikes: see `bss2jax.Compartments`.

    Attributes:
        outputs: neurons, each with all compartments.
        compartments: the soma first, and what hangs on it, such as
            `{name = "apical", parent = "soma", tau_icc = 5e-6}`; what they do not say is as the
            layer says. A soma alone is a point neuron.
        branches: equal dendrites on the soma, besides the compartments.
        tau_icc: time constant of the conductance between these branches and the soma, s.
        plateau: time that these branches stay at `plateau_reset` after their threshold, s.
        plateau_reset: potential of a branch's plateau.
        plateau_alpha: steepness of the derivative of a plateau's beginning, as of `SuperSpike`.
        spread: whether each input goes to one of the compartments that have synapses, in turn; else
            each goes to all of them.
        reset: potential of the soma after a spike.
        trained: parameters that are trained too, each as a factor a compartment on its value here.
    """

    kind: Literal["structured"] = "structured"
    compartments: Annotated[tuple[Compartment, ...], MinLen(1)] = (Compartment(name="soma"),)
    branches: NotNegative = 0
    tau_icc: TauIcc = 5e-6
    plateau: Annotated[float, Ge(0), Lt(1)] = 0.0
    plateau_reset: Scale = 1.5
    plateau_alpha: Scale = 10.0
    spread: bool = False
    reset: Finite = 0.0
    trained: tuple[Trained, ...] = ()  # type: ignore[assignment]

    @cached_property
    def morphology(self) -> Morphology:
        """The compartments of a neuron, its branches included."""
        first = self.compartments[0]
        soma = replace(first, t_ref=self.t_ref) if self.t_ref and not first.t_ref else first
        # A plateau falls below the threshold, by its time constant, before it may begin again.
        after = self.tau_mem * float(np.log(max(self.plateau_reset, 1.0))) * 1.5
        more: dict[str, Any] = {
            "t_ref": self.plateau,
            "holdoff": after,
            "reset": self.plateau_reset,
        }
        branch = [
            Compartment(
                name=f"branch_{n}", parent=soma.name, tau_icc=self.tau_icc,
                **(more if self.plateau else {}),
            )
            for n in range(self.branches)
        ]  # fmt: skip
        return Morphology((soma, *self.compartments[1:], *branch))

    @cached_property
    def sites(self) -> tuple[int, ...]:
        """Numbers of the compartments that have synapses."""
        found = enumerate(self.morphology.compartments)
        return tuple(number for number, one in found if one.synapses)

    def shape(self, *before: Signal) -> Signal:
        if not self.sites:
            raise ValueError("compartments: none has synapses; set synapses of one")
        if self.gradient != "surrogate":
            raise ValueError("gradient: structured neurons have that of surrogates alone")
        if self.constants is not None:
            raise ValueError("constants: they are of lif, conv_lif and li layers")
        if self.bias:
            raise ValueError("bias: structured neurons have none")
        after = super().shape(*before)
        self.neurons({}, before[0].dt)  # refuses what no neuron can have
        return after

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        number = 1 if self.spread else len(self.sites)
        return (before.entries, number * self.outputs)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        params = super().init(key, *before)
        size = len(self.morphology)
        for name in self.trained:
            number = size - 1 if name == "tau_icc" else size
            params[name] = jnp.ones(number * self.outputs, jnp.float32)
        return params

    def initial_std(self, before: Signal) -> Any:
        """Returns the standard deviation of the initial weights, software units.

        Inputs to all compartments move each of those that can fire, on average, to its threshold:
        as `fluctuating_std`, with what the response to a spike leaves of it on its way.
        """
        if self.init_std is not None:
            return self.init_std
        neuron, sites = self.neurons({}, before.dt), np.array(self.sites)
        number, steps = len(self.morphology), int(10 * (self.tau_mem + self.tau_syn) / before.dt)
        one = jnp.zeros((number, number), jnp.float32)
        impulse = jnp.zeros((steps, *one.shape)).at[0].set(jnp.eye(number))
        _, v = jax.lax.scan(lambda s, x: ((s := neuron.flow(s, x)), s.v), neuron.rest(one), impulse)
        leak = neuron.rest(one).v
        squares = jnp.square(v - leak).sum(0)[sites]  # [site, compartment]
        way = jnp.square(neuron.cell.threshold - neuron.cell.leak) * jnp.ones(number)
        fires = np.array([one.spikes for one in self.morphology.compartments])
        sent = before.entries * (before.events or 0.5) / before.steps
        share = 1 / len(sites) if self.spread else 1.0
        return 1 / jnp.sqrt(sent * share * (squares / way).sum(0)[fires].mean())

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        kept = super().project(params, *before)
        if "tau_icc" in self.trained:  # within what the conductances reach
            nominal = np.repeat([c.tau_icc for c in self.morphology.compartments[1:]], self.outputs)
            kept["tau_icc"] = jnp.clip(kept["tau_icc"], 1e-7 / nominal, 3e-5 / nominal)
        return kept

    def nominal(self, params: Arrays, how: How) -> Compartments:
        return self.neurons(params, how.before[0].dt)

    def neurons(self, params: Arrays, dt: float) -> Compartments:
        """Returns its neurons, as the kernel has them.

        Args:
            params: the parameters of the layer, for its trained factors; {}: nominal ones.
            dt: length of a step, s.
        """
        cell = LIF(self.tau_mem, self.tau_syn, reset=self.reset, dt=dt, integrator=self.integrator)
        made = Compartments.of(self.morphology, cell, self.plateau_alpha)
        if not params:
            return made
        factors = {name: params[name] for name in self.trained}
        tau_icc = made.tau_icc
        if "tau_icc" in factors:
            tau_icc = jnp.repeat(tau_icc, self.outputs) * factors.pop("tau_icc")
        own = {name: self._of_each(getattr(made.cell, name)) * f for name, f in factors.items()}
        return replace(made, cell=replace(made.cell, **own), tau_icc=tau_icc)

    def _of_each(self, value: Any) -> jax.Array:
        """A parameter of the cell, of each compartment of each neuron."""
        return jnp.repeat(jnp.broadcast_to(value, len(self.morphology)), self.outputs)

    def wired(self, w: jax.Array) -> jax.Array:
        """Returns the weights of all compartments, `[K, C n]`, 0 where there is no synapse.

        Args:
            w: `[K, S n]` of those that have synapses; `[K, n]` where inputs are spread.
        """
        number, n = len(self.morphology), self.outputs
        if self.spread:
            own = np.zeros((len(w), number, 1), np.float32)
            at = np.array(self.sites)[np.arange(len(w)) % len(self.sites)]
            own[np.arange(len(w)), at] = 1.0
            return (w[:, None] * own).reshape(len(w), number * n)
        if len(self.sites) == number:
            return w
        whole = jnp.zeros((len(w), number, n), w.dtype)
        return whole.at[:, np.array(self.sites)].set(w.reshape(len(w), -1, n)).reshape(len(w), -1)

    def gathered(self, how: How, inputs: int | None) -> OnChips:
        return gathered(how, inputs, spread=len(self.sites) if self.spread else 1)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        w = self.wired(self.weights(params, *how.before)["weight"])
        done = self.run(
            dense(x[0], how.before[0]), w, params, how, gradient=Surrogate(self.surrogate),
            observe=self.observed(how),
        )  # fmt: skip
        n, z, v = self.outputs, done.spikes, done.membrane
        assert z is not None
        soma = Recording(z[..., :n], None if v is None else v[..., :n], None)
        z_soma, record = self.fired(soma, params, how)
        if self.branches or self.compartments[1:]:
            record["dendritic"] = z[..., n:].sum(axis=0)
        return z_soma, state, record

    def demand(self, *before: Signal) -> MorphologyDemand:
        one, (spikes,) = super().demand(*before), before
        share = len(self.sites) if self.spread else 1
        return MorphologyDemand(
            -(-one.inputs // share), self.outputs, input_events=one.input_events,
            density=one.density, event_driven=one.event_driven,
            layout=lay_out(self.morphology, substrate=spikes.substrate),
        )  # fmt: skip
