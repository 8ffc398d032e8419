"""Current-based leaky integrate-and-fire neurons.

Integrators: `exponential`, the order of norse and most libraries, input acts in its own step:

    i <- i e^(-dt/tau_syn) + x
    v <- leak + (v - leak) e^(-dt/tau_mem) + (1 - e^(-dt/tau_mem)) i
    z  = 1[v > threshold];  v <- reset where z

`euler`, the reference's order, one dt lies between input and effect:

    v <- v + dt/tau_mem (leak - v + i)
    i <- i (1 - dt/tau_syn) + x
    z  = 1[v > threshold];  v <- reset where z

Two more have their names from numerics: `semi_implicit` takes euler's tangents in exponential's
order, as norse and snnTorch do; `exact` is the solution of the differential equations between
spikes, in euler's order.

The reset carries no gradient through z. For t_ref after a spike v stays at reset and z at 0. Times
are in seconds, membranes in software units (the threshold usually 1). Tensors are time-first.

Several groups of synapses, each with its own tau_syn and current, may drive one membrane: then
tau_syn is `[G, 1]` or `[G, N]`, currents are `[..., G, N]`, and i stands for the groups' sum.

References: norse `functional/lif.py`; hxtorch `spiking/functional/aelif.py` (euler order).
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from bss2jax.arrays import as_number, pytree
from bss2jax.kernels.dot import settled
from bss2jax.kernels.gradients.nominal import any_perturbed, differentiated_once, values_of
from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike
from bss2jax.kernels.mesh import alike
from bss2jax.kernels.neurons.base import Neuron, Value
from bss2jax.kernels.neurons.eventprop import spike_times
from bss2jax.kernels.neurons.membrane import (
    Integrator,
    advance,
    check_dynamics,
    check_groups,
    disturbance,
    drive_gradient,
    join_last,
    last_group,
    low_passes,
    membrane_like,
    no_current,
    share_of,
    threshold_on,
)
from bss2jax.kernels.neurons.recorded import (
    Trace,
    Trial,
    cotangent_of,
    first_step,
    recorded_backward,
    recorded_forward,
    run,
)
from bss2jax.kernels.synapses.recurrent import Within
from bss2jax.kernels.time_loop import over_time


@pytree
@dataclass(frozen=True, eq=False)
class LIFState:
    """What a population carries from step to step, each `[..., N]`.

    Attributes:
        v: membrane potential, after reset.
        i: synaptic current, in units of potential; `[..., G, N]` of several groups.
        refractory: steps still to stay at reset, int32; None of neurons that do not wait.
    """

    v: jax.Array
    i: jax.Array
    refractory: jax.Array | None


@pytree
@dataclass(frozen=True, eq=False)
class LIF(Neuron):
    """A leaky integrate-and-fire neuron: see the module. Parameters may be trained.

    Attributes:
        tau_mem: membrane time constant, s; a number, `[N]` or `[B, N]`, as all parameters.
        tau_syn: synaptic time constant, s; `[G, 1]` or `[G, N]` where there are groups.
        leak: potential the membrane decays to.
        reset: potential after a spike.
        threshold: potential above which a neuron spikes.
        groups: G, where there are several groups of synapses; 0: one, without an axis.
        dt: s a step.
        t_ref: refractory time, s; rounded to steps.
        integrator: order of the updates.
        start: membrane at the beginning; None: the leak.
        leaky: whether membranes decay; without, tau_mem v' = i.
        subtracts: whether a spike takes the threshold off the membrane, in place of the reset.
    """

    tau_mem: Value = 6e-6
    tau_syn: Value = 5.7e-6
    leak: Value = 0.0
    reset: Value = 0.0
    threshold: Value = 1.0
    groups: int = field(default=0, metadata={"static": True})
    dt: float = field(default=1e-6, metadata={"static": True})
    t_ref: float = field(default=0.0, metadata={"static": True})
    integrator: Integrator = field(default="exponential", metadata={"static": True})
    start: Value | None = None
    leaky: bool = field(default=True, metadata={"static": True})
    subtracts: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        check_dynamics(self, "tau_mem", "tau_syn")
        t_ref = as_number(self.t_ref)
        if t_ref is None or not 0 <= t_ref < math.inf:
            raise ValueError(f"t_ref: expected seconds >= 0, got {self.t_ref}")
        object.__setattr__(self, "t_ref", t_ref)

    @property
    def waits(self) -> int:
        """Steps after a spike in which the neuron stays at reset."""
        return refractory_steps(self.t_ref, self.dt)

    def rest(self, like: jax.Array) -> LIFState:
        """Returns the state at the beginning, without current: see `Neuron.rest`."""
        zero = jnp.zeros_like(membrane_like(self.groups, like))
        waiting = zero.astype(jnp.int32) if self.waits else None
        begin = self.leak if self.start is None else self.start
        return LIFState(zero + begin, no_current(self.groups, zero), waiting)

    def flow(self, state: LIFState, current: jax.Array) -> LIFState:
        """Returns the state a step later, as if there were no threshold."""
        v, i = advance(self, state.v, state.i, current)
        if state.refractory is not None:
            v = jnp.where(state.refractory == 0, v, state.v if self.subtracts else self.reset)
        return LIFState(v, i, state.refractory)

    def share(self) -> Value:
        """Returns the share of a constant current that a step takes to the membrane."""
        return share_of(self.tau_mem, self.dt, self.integrator if self.leaky else "euler")

    def over(self, state: LIFState) -> jax.Array:
        """Returns v - threshold; of a neuron that waits -inf."""
        over = state.v - self.threshold
        return (
            over if state.refractory is None else jnp.where(state.refractory == 0, over, -jnp.inf)
        )

    def after(self, state: LIFState, fired: jax.Array) -> LIFState:
        """Returns the state after the spikes."""
        waiting = state.refractory
        if waiting is not None:
            waiting = jnp.where(fired, self.waits, jnp.maximum(waiting - 1, 0))
        reset = state.v - self.threshold if self.subtracts else self.reset
        return LIFState(jnp.where(fired, reset, state.v), state.i, waiting)

    def disturbed(self, state: LIFState, noise: jax.Array) -> LIFState:
        """Returns the state with noise on membranes, but those that wait at reset."""
        v = state.v + noise
        if state.refractory is not None:
            v = jnp.where(state.refractory == 0, v, state.v)
        return replace(state, v=v)

    def joined(self, current: jax.Array, back: jax.Array) -> jax.Array:
        """Returns a step's current with what recurrent synapses add, to the last group."""
        return join_last(self.groups, current, back)

    def on(self, circuits: Any, normal: jax.Array | None = None) -> tuple["LIF", Any]:
        """Returns the neuron on its circuits: see `Neuron.on`.

        Potentials deviate by shares of the way from leak to threshold.
        """
        way = self.threshold - self.leak
        actual = replace(
            self,
            tau_mem=self.tau_mem * circuits.tau_mem,
            tau_syn=self.tau_syn * circuits.tau_syn,
            leak=self.leak + settled(way * circuits.leak),
            reset=self.reset + settled(way * circuits.reset),
            threshold=threshold_on(self.threshold, way, circuits, normal),
        )
        return actual, disturbance(actual, self.integrator, way, circuits)

    def sequence(
        self,
        nominal: Any,
        drive: jax.Array,
        recurrent: Within | None = None,
        trial: Trial | None = None,
        *,
        surrogate: SpikeFunction = SuperSpike(),
        membrane: bool = False,
    ) -> Trace:
        """Runs from rest through a sequence: see `Neuron.sequence`; the pass is by hand."""
        check_groups(self.groups, drive)
        given = alike(nominal, self, drive, recurrent, trial)
        return _by_hand(surrogate, membrane, *given)

    def event_prop(
        self,
        nominal: Any,
        drive: jax.Array,
        recurrent: Within | None = None,
        trial: Trial | None = None,
        *,
        known: jax.Array | None = None,
        least: float = 0.0,
        membrane: bool = False,
    ) -> Trace:
        """Runs as `sequence`, with the gradient of the times of spikes: see `eventprop`."""
        given = alike(nominal, self, drive, known, recurrent, trial)
        return spike_times(least, membrane, *given)


# --- the pass by hand: it keeps the membrane before reset and nothing else

# Spikes are where it is above the threshold, and a neuron that waits is marked by -inf.


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_hand(
    surrogate: SpikeFunction,
    membrane: bool,
    nominal: LIF,
    actual: LIF,
    drive: jax.Array,
    recurrent: Within | None,
    trial: Trial | None,
) -> Trace:
    return _trace(actual, _membranes(actual, drive, recurrent, trial), membrane)


def _membranes(
    actual: LIF, drive: jax.Array, recurrent: Within | None, trial: Trial | None
) -> jax.Array:
    def keep(_: Any, seen: LIFState, z: jax.Array) -> jax.Array:
        return (
            seen.v if seen.refractory is None else jnp.where(seen.refractory == 0, seen.v, -jnp.inf)
        )

    return run(actual, drive, recurrent, trial, SuperSpike(), keep)


def _trace(actual: LIF, u: jax.Array, membrane: bool) -> Trace:
    z = _fired(u, actual.threshold)
    if not membrane:
        return Trace(z, None)
    return Trace(z, jnp.where(u == -jnp.inf, _over_time(actual.reset, u), u) if actual.waits else u)


def _fired(u: jax.Array, threshold: Value) -> jax.Array:
    return (u - _over_time(threshold, u) > 0).astype(u.dtype)


def _over_time(p: Value, u: jax.Array) -> jax.Array:
    """A parameter with as many axes as a sequence has."""
    return jnp.reshape(p, (1,) * (u.ndim - jnp.ndim(p)) + jnp.shape(p))


def _forward(surrogate: SpikeFunction, membrane: bool, nominal: Any, *args: Any) -> Any:
    if any_perturbed(nominal):  # parameters are trained
        return recorded_forward(surrogate, membrane, nominal, *args)
    args = differentiated_once(values_of((nominal, *args)), "a population")
    nominal, actual, drive, recurrent, trial = args
    u = _membranes(actual, drive, recurrent, trial)
    return _trace(actual, u, membrane), (nominal, actual.threshold, u, recurrent)


def _backward(surrogate: SpikeFunction, membrane: bool, residuals: Any, cotangents: Trace) -> Any:
    if residuals[0] == ():
        return recorded_backward(surrogate, membrane, residuals, cotangents)
    nominal, threshold, u, recurrent = residuals
    dz, dv = cotangent_of(cotangents.spikes, u), cotangent_of(cotangents.membrane, None)
    dx = lif_gradient(nominal, u, dz, recurrent, threshold=threshold, dv=dv, surrogate=surrogate)
    drecurrent = None
    if recurrent is not None:
        drecurrent = recurrent.gradient(_fired(u, threshold), last_group(nominal.groups, dx))
    return None, None, dx, drecurrent, None


_by_hand.defvjp(_forward, _backward, symbolic_zeros=True)


def lif_gradient(
    nominal: LIF,
    u: jax.Array,
    dz: jax.Array,
    recurrent: Within | None = None,
    *,
    threshold: Value | None = None,
    dv: jax.Array | None = None,
    surrogate: SpikeFunction = SuperSpike(),
) -> jax.Array:
    """Propagates a gradient back through a population, given its membrane.

        du = dv (1 - z) + dz surrogate'(u - threshold);  dv <- du e^(-dt/tau_mem)
        dx = di + (1 - e^(-dt/tau_mem)) du;              di <- dx e^(-dt/tau_syn)

    and du = 0 while a neuron is refractory. Membranes may be the model's or measured: in the loop
    they come from the chip.

    Args:
        nominal: the model that is differentiated.
        u: `[T, B, N]` membrane before reset, -inf while a neuron waits.
        dz: `[T, B, N]` gradient with respect to the spikes.
        recurrent: synapses within the population, or None.
        threshold: above which u spiked, where it is not the model's.
        dv: `[T, B, N]` gradient with respect to the membrane, or None.
        surrogate: the surrogate of the spike's derivative.

    Returns:
        `[T, B, N]` gradient with respect to the current, `[T, B, G, N]` in groups.
    """
    passes = low_passes(nominal)
    crossed = nominal.threshold if threshold is None else threshold

    def step(fixed: Any, carry: Any, at: Any) -> Any:
        nominal, passes, crossed, recurrent, turned = fixed
        after, di, back = carry
        u, dz, dv, past = at
        later = after * passes[0]  # decayed here, not where it is carried: see `drive_gradient`
        if recurrent is not None:
            due, back = recurrent.due(back, past)
            dz = dz + due
        # The slope here, not for the whole sequence: one array less to write and read.
        du = later if nominal.subtracts else jnp.where(u - crossed > 0, 0, later)
        du = du + dz * surrogate.derivative(u - nominal.threshold)
        if dv is not None:
            du = du + dv
        if nominal.waits:
            du = jnp.where(u > -jnp.inf, du, 0)
        dx, di = drive_gradient(nominal, du, di, passes)
        if recurrent is not None:
            back = recurrent.pull(back, last_group(nominal.groups, dx), turned)
        return (du, di, back), dx

    zero = jnp.zeros_like(first_step(u))
    nothing = no_current(nominal.groups, zero), None if recurrent is None else recurrent.rest(zero)
    turned = None if recurrent is None else recurrent.turned()
    fixed = nominal, passes, crossed, recurrent, turned
    past = None if recurrent is None else recurrent.history(_fired(u, crossed))
    return over_time(step, fixed, (zero, *nothing), (u, dz, dv, past), reverse=True)


def refractory_steps(t_ref: float, dt: float) -> int:
    """Returns the steps after a spike in which a neuron stays at reset."""
    return round(t_ref / dt)
