"""LIF neurons whose spikes have a time within their step: what soft LIF rates are converted to.

    tau_rc dv/dt = leak + i - v;    a spike and v = reset where v > threshold, tau_ref of rest

The current i stays in a step: it is what the synapse makes of its input x,

    exponential   i <- i e^(-dt/tau_syn) + x
    alpha         a <- a e^(-dt/tau_syn) + x;   i <- i e^(-dt/tau_syn) + a

and the rest is counted from the time of the spike. So a constant current gives the rate of the
curve of `kernels.rates` at any dt. `kernels.neurons.lif` puts spikes on the grid of steps; at 1 ms
that costs half a step an interval, a tenth of the rate at 200 Hz.

References: Hunsberger and Eliasmith 2016 (arXiv 1611.05141).
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from bss2jax.arrays import positive, pytree
from bss2jax.kernels.dot import settled
from bss2jax.kernels.neurons.base import Neuron, Value
from bss2jax.kernels.neurons.membrane import check_dynamics, threshold_on

Synapse = Literal["exponential", "alpha"]


@pytree
@dataclass(frozen=True, eq=False)
class ExactState:
    """What exact neurons carry from step to step, each `[..., N]`.

    Attributes:
        v: membrane potential.
        wait: refractory time still to come, s.
        i: current.
        a: first stage of an alpha synapse, else None.
    """

    v: jax.Array
    wait: jax.Array
    i: jax.Array
    a: jax.Array | None


@pytree
@dataclass(frozen=True, eq=False)
class ExactLIF(Neuron):
    """A LIF neuron with exact times of spikes, at most one a step: see the module.

    Attributes:
        tau_rc: membrane time constant, s; a number, `[N]` or `[B, N]`, as all parameters.
        tau_syn: synaptic time constant, s; None: the current is the input itself.
        leak: potential the membrane decays to without input; above the threshold it fires.
        reset: potential after a spike.
        threshold: potential above which a neuron spikes.
        tau_ref: refractory time, s, at least dt.
        synapse: kind of the synapse.
        dt: s a step.
        starts_anywhere: whether, with a key, membranes begin anywhere from reset to threshold, as
            those of neurons that were busy before, and do not all wait for their first spike.

    Raises:
        ValueError: dt is longer than the refractory time, or the synapse unknown.
    """

    # A spike's jitter on a chip is a seventeenth of a step here: rates do not see it.
    jitters: ClassVar[bool] = False

    tau_rc: Value = 22e-3
    tau_syn: Value | None = None
    leak: Value = 0.0
    reset: Value = 0.0
    threshold: Value = 1.0
    tau_ref: float = field(default=2e-3, metadata={"static": True})
    synapse: Synapse = field(default="exponential", metadata={"static": True})
    dt: float = field(default=1e-3, metadata={"static": True})
    starts_anywhere: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        check_dynamics(self, "tau_rc", *(["tau_syn"] if self.tau_syn is not None else []))
        object.__setattr__(self, "tau_ref", positive("tau_ref", self.tau_ref, "seconds"))
        if not 0 < self.dt * (1 - 1e-6) <= self.tau_ref:
            raise ValueError(
                f"dt: {self.dt} s is longer than the refractory time, {self.tau_ref} s: several "
                "spikes would fall into a step; take a shorter one"
            )
        if self.synapse not in ("exponential", "alpha"):
            raise ValueError(f"synapse: expected exponential or alpha, got {self.synapse!r}")

    def rest(self, like: jax.Array) -> ExactState:
        """Returns the state at rest, v = reset, not refractory: see `Neuron.rest`."""
        zero = jnp.zeros_like(like)
        alpha = self.synapse == "alpha" and self.tau_syn is not None
        return ExactState(zero + self.reset, zero, zero, zero if alpha else None)

    def begin(self, state: ExactState, share: jax.Array) -> ExactState:
        """Returns the state with membranes at shares of the way from reset to threshold."""
        return replace(state, v=self.reset + settled((self.threshold - self.reset) * share))

    def flow(self, state: ExactState, current: jax.Array) -> ExactState:
        """Returns the state a step later, as if there were no threshold."""
        i, a = current, state.a
        if self.tau_syn is not None:
            keep = jnp.exp(-self.dt / self.tau_syn)
            if a is not None:
                i = a = settled(keep * a) + current
            i = settled(keep * state.i) + i
        # Of the step, what the refractory time leaves.
        active = jnp.clip(self.dt - state.wait, 0, self.dt)
        target = self.leak + i
        # Times 1 / tau: of a division, compilers make that or not, as shapes are.
        v = target + settled((state.v - target) * jnp.exp(-active * (1 / self.tau_rc)))
        return ExactState(v, state.wait, i, a)

    def over(self, state: ExactState) -> jax.Array:
        """Returns v - threshold."""
        return state.v - self.threshold

    def after(self, state: ExactState, fired: jax.Array) -> ExactState:
        """Returns the state after the spikes, their rest counted from their time in the step."""
        # What the membrane has left of its way to its target says how long ago it crossed; where
        # noise took it across, it did so at the end of the step.
        reach = self.leak + state.i - self.threshold
        crossed = fired & (reach > 0)
        overshoot = jnp.where(crossed, (state.v - self.threshold) / jnp.where(crossed, reach, 1), 0)
        since = settled(-self.tau_rc * jnp.log1p(-jnp.clip(overshoot, 0, 0.999)))
        since = jnp.minimum(since, self.dt)
        wait = jnp.where(fired, self.tau_ref - since, jnp.maximum(state.wait - self.dt, 0))
        return replace(state, v=jnp.where(fired, self.reset, state.v), wait=wait)

    def on(self, circuits: Any, normal: jax.Array | None = None) -> tuple["ExactLIF", Any]:
        """Returns the neuron on its circuits: see `Neuron.on`.

        Potentials deviate by shares of the way from reset to threshold.
        """
        way = self.threshold - self.reset
        tau_syn = None if self.tau_syn is None else self.tau_syn * circuits.tau_syn
        actual = replace(
            self,
            tau_rc=self.tau_rc * circuits.tau_mem,
            tau_syn=tau_syn,
            leak=self.leak + settled(way * circuits.leak),
            reset=self.reset + settled(way * circuits.reset),
            threshold=threshold_on(self.threshold, way, circuits, normal),
        )
        if circuits.membrane_noise is None:
            return actual, None
        forgotten = jnp.sqrt(-jnp.expm1(-2 * self.dt / actual.tau_rc))
        return actual, way * circuits.membrane_noise * forgotten
