"""What layers of populations of neurons have in common."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Lt

from bss2jax.chip import draws
from bss2jax.execute.circuits import OnChips, gather
from bss2jax.execute.populations import population
from bss2jax.execute.recording import Recording
from bss2jax.kernels import coding
from bss2jax.kernels.gradients import surrogate
from bss2jax.kernels.gradients.rules import EventProp, Gradient, Surrogate
from bss2jax.kernels.gradients.surrogate import Arctan, Box, Gaussian, SuperSpike, Triangle
from bss2jax.kernels.neurons import lif
from bss2jax.kernels.neurons.base import Neuron
from bss2jax.kernels.neurons.membrane import Integrator
from bss2jax.kernels.synapses.base import Sent
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.recurrent import sum_of
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.constants import Constants
from bss2jax.networks.initial import fluctuating_std
from bss2jax.networks.layer import (
    Arrays,
    Finite,
    How,
    Layer,
    Positive,
    Scale,
    Seconds,
    dropped,
)
from bss2jax.networks.sending import event_driven
from bss2jax.networks.signal import Signal, Spikes, expect

# Spikes a neuron and sample, where they are not known, and below which a layer is all but silent;
# and the share of the steps beyond which spikes say little.
_EVENTS, _SILENT, _BUSY = 0.5, 0.02, 0.4
_BIASES = ("bias", "recurrent_bias")

SpikeFunction = SuperSpike | Arctan | Triangle | Gaussian | Box | surrogate.SpikeFunction


@dataclass(frozen=True, kw_only=True)
class Population(Layer):
    """What every population of neurons can be told.

    Attributes:
        outputs: neurons; where they have receptive fields, at each position.
        tau_mem, tau_syn: time constants of membrane and synapses, s.
        integrator: order of the updates, see `bss2jax.neurons`.
        trained: parameters of the neurons that are trained too, each as a factor a neuron on its
            nominal value.
        init_mean, init_std: mean and standard deviation of the initial weights, software units.
        weight_scale: LSB of a weight per software unit, 50..70 on silicon; or `neuron`, each neuron
            its own, at which its largest weight is the largest code: its synaptic input and its
            threshold are set to it.
        weight_clamp: `hard`, weights are cut at what a synapse holds; `soft`, they approach it,
            cap (1 - e^(-|w| / cap)).
        bias: whether a constant is added to what the inputs of a neuron add in each step; on a chip
            a current of the neuron's circuit, whose steps and spread are not simulated.
        constants: how the constants in the layer's state are meant, where each neuron has its own;
            they take the place of the time constants. By default all neurons are alike.
    """

    takes_coded: ClassVar[bool] = True
    family: ClassVar[str] = "spiking"
    follows: ClassVar[str] = "exponential"  # the integrator that can take any step
    unclamped: ClassVar[tuple[str, ...]] = _BIASES  # what it learns that no synapse holds
    # Whether what it is sent may be delayed by links between chips.
    delayable: ClassVar[bool] = True

    outputs: Positive
    tau_mem: Seconds = 6e-6
    tau_syn: Seconds = 5.7e-6
    integrator: Integrator = "exponential"
    trained: tuple[Literal["tau_mem", "tau_syn", "threshold"], ...] = ()
    init_mean: Finite = 0.0
    init_std: Scale | None = 0.2
    weight_scale: Scale | Literal["neuron"] = 60.0
    weight_clamp: Literal["hard", "soft"] = "hard"
    bias: bool = False
    constants: Constants | None = None

    @property
    def scale(self) -> float | Literal["neuron"]:
        """LSB of a weight per software unit, or each neuron its own."""
        return self.weight_scale

    def shape(self, *before: Signal) -> Signal:
        (spikes,) = before
        if self.weight_clamp == "soft" and self.scale == "neuron":
            raise ValueError("weight_clamp: neurons with a scale of their own hold any weight")
        expect(spikes, Spikes, "put a code before it, such as latency")
        if self.constants is not None and self.trained:
            raise ValueError(
                "trained: neurons with constants of their own have none that is trained"
            )
        self._check_times(spikes.dt)
        return self.after(spikes)

    def after(self, before: Signal) -> Signal:
        """Returns the signal that the neurons make of spikes."""
        return before.fired(self.outputs)

    def by_event(self, before: Signal) -> bool:
        """Returns whether its synapses are multiplied event by event."""
        return event_driven(before)

    def fan_in(self, before: Signal) -> int:
        """Returns the inputs of a neuron, recurrent ones aside."""
        return before.entries

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        """Returns the shape of the weight."""
        return (self.fan_in(before), self.outputs)

    def limit(self, before: Signal) -> float:
        """Returns the largest weight that a synapse holds, software units."""
        scale = self.scale
        return math.inf if isinstance(scale, str) else before.substrate.weight_max / scale

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        neurons = self.after(before[0]).entries
        weight = self._drawn(key, self.init_mean, self.weight_shape(before[0]), before[0])
        bias = {"bias": jnp.zeros(self.outputs, jnp.float32)} if self.bias else {}
        factors = {name: jnp.ones(neurons, jnp.float32) for name in self.trained}
        return {"weight": weight} | bias | factors

    def state(self, *before: Signal) -> Arrays:
        if self.constants is None:
            return {}
        neurons = self.after(before[0]).entries
        return self.constants.initial(neurons, self.tau_mem, self.tau_syn)

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        limit = self.limit(before[0])
        kept: Arrays = {}
        for name, value in params.items():
            if name in self.trained:
                kept[name] = jnp.clip(value, 0.1, 10.0)
            elif name in self.unclamped:
                kept[name] = value
            else:
                kept[name] = (
                    value if self.weight_clamp == "soft" else jnp.clip(value, -limit, limit)
                )
        return kept

    def nominal(self, params: Arrays, how: How) -> Any:
        """Returns the neurons as they were meant, with their trained factors."""
        raise NotImplementedError

    def codes(self, params: Arrays, *before: Signal) -> Arrays:
        codes = Codes(self.scale, before[0].substrate)
        return {name: codes.shown(w) for name, w in self.weights(params, *before).items()}

    def weights(self, params: Arrays, *before: Signal) -> Arrays:
        """Returns the weights, within what the synapses hold where the clamp is soft."""
        others = (*self.trained, *self.unclamped)
        kept = {name: w for name, w in params.items() if name not in others}
        if self.weight_clamp == "hard":
            return kept
        limit = self.limit(before[0])
        return {name: coding.soft_clamp(w, limit) for name, w in kept.items()}

    def run(self, sent: Sent, w: jax.Array, params: Arrays, how: How, **settings: Any) -> Recording:
        """Runs the population on the execution that it is told.

        Args:
            sent: spikes of its inputs over time.
            w: `[K, N]` weights in software units; with receptive fields `[K, C]` or `[P, K, C]`.
            params: the parameters and the state of the layer, for factors, constants and biases.
            how: execution, chip, key and place.
            settings: what else `execute.populations.population` takes.

        Returns:
            Spikes or membranes, `[T, B, N]`; with receptive fields `[T, B, P, C]`.
        """
        before = how.before[0]
        if before.current and how.execution != "float":
            raise ValueError("a chip is sent spikes: current coding is for layers on float")
        codes = circuits = None
        if how.execution != "float":
            codes = Codes(self.scale, before.substrate)
        if how.execution == "chip":
            inputs = None if w.ndim == 3 or sent.positions else len(w)
            circuits = self.gathered(how, inputs)
        return population(
            sent, w, self.nominal(params, how), circuits, how.noise,
            codes=codes, sample=how.sample, delays=how.delays, bias=self.offset(params, before.dt),
            **settings,
        )  # fmt: skip

    def offset(self, params: Arrays, dt: float) -> jax.Array | None:
        """Returns what is added to the inputs of each neuron in a step, `[N]`; None: nothing."""
        biases = [params[name] for name in _BIASES if name in params]
        if not biases:
            return None
        return sum_of(biases) * (1.0 if self.constants is None else self.constants.bias(dt))

    def settings(self, params: Arrays, dt: float) -> dict[str, Any]:
        """Returns the neurons' settings, with trained factors or constants of their own, `[N]`."""
        if self.constants is not None:
            return self.constants.neuron(params, dt, self.integrator)
        return {name: self.factor(name, params) for name in ("tau_mem", "tau_syn")} | {"dt": dt}

    def potential(self, v: jax.Array, params: Arrays, dt: float) -> jax.Array:
        """Returns membranes `[..., *size]` in the units of the constants, where there are any."""
        if self.constants is None:
            return v
        return v * self.constants.gain(params, dt, self.integrator).reshape(v.shape[2:])

    def gathered(self, how: How, inputs: int | None) -> OnChips:
        """Returns the layer's neurons and synapses on their chips, by its place.

        Args:
            how: how the layer is run, with the chip and the place that apply.
            inputs: K of dense synapses; None with receptive fields.
        """
        return gathered(how, inputs)

    def wires(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        """Returns the synapses from its inputs: their numbers `[m]`, and those of neurons `[m]`."""
        inputs, outputs = before.entries, self.outputs
        return np.repeat(np.arange(inputs), outputs), np.tile(np.arange(outputs), inputs)

    def loops(self, before: Signal) -> tuple[np.ndarray, np.ndarray]:
        """Returns the synapses within the population, `[m]` and `[m]`; none by default."""
        return np.zeros(0, int), np.zeros(0, int)

    def factor(self, name: str, params: Arrays) -> Any:
        """Returns a neuron parameter, nominal or with its trained factor `[N]`."""
        value = getattr(self, name, 1.0)
        return value * params[name] if name in self.trained else value

    def demand(self, *before: Signal) -> PopulationDemand:
        (spikes,) = before
        sent = spikes.events
        if self.constants is not None and self.constants.misfit:
            raise ValueError(self.constants.misfit)
        return PopulationDemand(
            self.fan_in(spikes), self.after(spikes).entries,
            input_events=None if sent is None else round(spikes.entries * sent),
            density=spikes.density, event_driven=self.by_event(spikes),
        )  # fmt: skip

    def initial_std(self, before: Signal) -> float:
        """Returns the standard deviation of the initial weights, software units."""
        return 0.2 if self.init_std is None else self.init_std

    def _drawn(self, key: jax.Array, mean: float, shape: Any, before: Signal) -> jax.Array:
        limit, normal = self.limit(before), draws.normal(key, shape)
        return jnp.clip(mean + self.initial_std(before) * normal, -limit, limit)

    def _check_times(self, dt: float) -> None:
        if self.constants is not None:
            return
        for name in ("tau_mem", "tau_syn"):
            if self.integrator not in (self.follows, "exact") and dt > getattr(self, name):
                raise ValueError(
                    f"{name}: {getattr(self, name)} s is shorter than a step of {dt} s, which the "
                    f"{self.integrator} integrator cannot follow; take shorter steps, or "
                    f"{self.follows}"
                )


@dataclass(frozen=True, kw_only=True)
class SpikingPopulation(Population):
    """What every population that spikes can be told.

    Attributes:
        t_ref: refractory time, s.
        init_std: standard deviation of the initial weights, software units. By default the input
            alone drives membranes to the threshold and back: see `fluctuating_std`.
        surrogate: what the derivative of a spike is taken for.
        dropout: share of neurons silenced in training, others for every batch, as on a chip. What
            is left is scaled to make up for it, as in every library.
        gradient: `surrogate`, or `eventprop`, the exact gradient of the times of spikes.
    """

    t_ref: Annotated[float, Ge(0), Lt(1)] = 0.0
    init_std: Scale | None = None
    surrogate: SpikeFunction = SuperSpike()
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    gradient: Literal["surrogate", "eventprop"] = "surrogate"

    @property
    def rule(self) -> Gradient:
        """The rule of the backward pass."""
        return EventProp() if self.gradient == "eventprop" else Surrogate(self.surrogate)

    def sloped(self, slope: float) -> Layer:
        if self.gradient == "eventprop":
            return self
        if not hasattr(self.surrogate, "sloped"):
            raise ValueError(f"surrogate: {self.surrogate} has no method sloped(slope)")
        return replace(self, surrogate=self.surrogate.sloped(slope))

    def nominal(self, params: Arrays, how: How) -> Neuron:
        settings = {"threshold": self.factor("threshold", params)}
        settings |= self.settings(params, how.before[0].dt)
        return lif.LIF(**settings, t_ref=self.t_ref, integrator=self.integrator)

    def initial_std(self, before: Signal) -> float:
        if self.init_std is not None:
            return self.init_std
        sent = self.fan_in(before) * (before.density or _EVENTS / before.steps)
        return fluctuating_std(sent, self.tau_mem, self.tau_syn, before.dt, self.integrator)

    def complaint(self, record: Mapping[str, float], after: Signal) -> str:
        spikes = record.get("spikes", _EVENTS)
        if spikes < _SILENT:
            return f"hardly spikes, {spikes:.3f} a neuron and sample: raise init_mean or init_std"
        if spikes > _BUSY * after.steps:
            return f"spikes {spikes:.1f} times in {after.steps} steps: lower init_mean or init_std"
        return ""

    def observed(self, how: How) -> tuple[str, ...]:
        """Returns what its population records besides its spikes."""
        return tuple({"membrane"}.intersection(how.observe))

    def fired(self, recording: Recording, params: Arrays, how: How) -> tuple[jax.Array, Arrays]:
        """Returns the spikes `[T, B, *size]` after dropout, and the record of them."""
        z: Any = recording.spikes
        z = dropped(z.reshape(*z.shape[:2], *how.after.size), self.dropout, how)
        record = {"spikes": how.after.flat(z.sum(axis=0))}
        z = z.astype(how.precision)  # whole numbers, which the next layer takes as they are
        if recording.membrane is not None:
            v = self.potential(recording.membrane, params, how.before[0].dt)
            record["membrane"] = v.reshape(z.shape)
        return z, record


def gathered(how: How, inputs: int | None, recurrent: int = 0, **some: Any) -> OnChips:
    """Gathers a layer's neurons and synapses from the chip, by its place.

    Args:
        how: how the layer is run, with the chip and the place that apply.
        inputs: K of dense synapses; None with receptive fields.
        recurrent: N of recurrent synapses; 0: none.
        some: which of them a neuron has, where that is not all: as `gather` takes it.
    """
    place = how.place
    chip: Any = how.chip  # not None: this is the execution `chip`
    return gather(chip, place.chip, place.circuits, inputs=inputs, recurrent=recurrent, **some)
