"""Leaky integrators: neurons that never spike; their membrane is what they are for.

    i <- i e^(-dt/tau_syn) + x
    v <- leak + (v - leak) e^(-dt/tau_mem) + (1 - e^(-dt/tau_mem)) i

or in euler's order: see `kernels.neurons.lif`, also for groups of synapses.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bss2jax.arrays import floats, pytree
from bss2jax.kernels.dot import settled
from bss2jax.kernels.gradients.nominal import any_perturbed, differentiated_once, values_of
from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike
from bss2jax.kernels.mesh import alike
from bss2jax.kernels.neurons.base import Neuron, Value
from bss2jax.kernels.neurons.membrane import (
    Integrator,
    advance,
    check_dynamics,
    check_groups,
    disturbance,
    drive_gradient,
    low_passes,
    membrane_like,
    no_current,
    share_of,
)
from bss2jax.kernels.neurons.recorded import (
    Trace,
    Trial,
    first_step,
    recorded_backward,
    recorded_forward,
    run,
)
from bss2jax.kernels.synapses.recurrent import Within
from bss2jax.kernels.time_loop import over_time


@pytree
@dataclass(frozen=True, eq=False)
class LIState:
    """What leaky integrators carry from step to step.

    Attributes:
        v: `[..., N]` membrane potential.
        i: `[..., N]` synaptic current; `[..., G, N]` of several groups.
    """

    v: jax.Array
    i: jax.Array


@pytree
@dataclass(frozen=True, eq=False)
class LI(Neuron):
    """A leaky integrator: see the module. Parameters may be trained.

    Attributes:
        tau_mem: membrane time constant, s; a number, `[N]` or `[B, N]`, as all parameters.
        tau_syn: synaptic time constant, s; `[G, 1]` or `[G, N]` where there are groups.
        leak: potential the membrane decays to.
        way: potential, from leak to where a threshold would be, of which deviations are shares.
        groups: G, where there are several groups of synapses; 0: one, without an axis.
        dt: s a step.
        integrator: order of the updates.
        start: membrane at the beginning; None: the leak.
        leaky: whether membranes decay; without, tau_mem v' = i.
    """

    fires: ClassVar[bool] = False

    tau_mem: Value = 6e-6
    tau_syn: Value = 5.7e-6
    leak: Value = 0.0
    way: Value = 1.0
    groups: int = field(default=0, metadata={"static": True})
    dt: float = field(default=1e-6, metadata={"static": True})
    integrator: Integrator = field(default="exponential", metadata={"static": True})
    start: Value | None = None
    leaky: bool = field(default=True, metadata={"static": True})

    def __post_init__(self) -> None:
        check_dynamics(self, "tau_mem", "tau_syn")

    def rest(self, like: jax.Array) -> LIState:
        """Returns the state at the beginning, without current: see `Neuron.rest`."""
        zero = jnp.zeros_like(membrane_like(self.groups, like))
        begin = self.leak if self.start is None else self.start
        return LIState(zero + begin, no_current(self.groups, zero))

    def flow(self, state: LIState, current: jax.Array) -> LIState:
        """Returns the state a step later."""
        return LIState(*advance(self, state.v, state.i, current))

    def share(self) -> Value:
        """Returns the share of a constant current that a step takes to the membrane."""
        return share_of(self.tau_mem, self.dt, self.integrator if self.leaky else "euler")

    def step(
        self, state: LIState, current: jax.Array, surrogate: SpikeFunction = SuperSpike()
    ) -> tuple[LIState, jax.Array]:
        """Advances by one step: the next state, and v `[..., N]`."""
        state = self.flow(state, floats(current, "current"))
        return state, state.v

    def on(self, circuits: Any, normal: jax.Array | None = None) -> tuple["LI", Any]:
        """Returns the integrator on its circuits: see `Neuron.on`."""
        actual = replace(
            self,
            tau_mem=self.tau_mem * circuits.tau_mem,
            tau_syn=self.tau_syn * circuits.tau_syn,
            leak=self.leak + settled(self.way * circuits.leak),
        )
        return actual, disturbance(actual, self.integrator, self.way, circuits)

    def event_prop(self, *args: Any, known: Any = None, least: float = 0.0, **settings: Any) -> Any:
        """Runs as `sequence`, whose gradient is exact: see `Neuron.event_prop`."""
        return self.sequence(*args, **settings)

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
        if recurrent is not None:
            raise ValueError("recurrent: integrators send no spikes; expected None")
        given = alike(nominal, self, drive, None, trial)
        return _by_hand(surrogate, membrane, *given)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_hand(
    surrogate: SpikeFunction,
    membrane: bool,
    nominal: LI,
    actual: LI,
    drive: jax.Array,
    recurrent: None,
    trial: Trial | None,
) -> Trace:
    return _trace(actual, drive, trial)


def _trace(actual: LI, drive: jax.Array, trial: Trial | None) -> Trace:
    return Trace(None, run(actual, drive, None, trial, SuperSpike(), lambda _, seen, z: seen.v))


def _forward(surrogate: SpikeFunction, membrane: bool, nominal: Any, *args: Any) -> Any:
    if any_perturbed(nominal):  # parameters are trained
        return recorded_forward(surrogate, membrane, nominal, *args)
    args = differentiated_once(values_of((nominal, *args)), "a population")
    nominal, actual, drive, _, trial = args
    return _trace(actual, drive, trial), (nominal,)


def _backward(surrogate: SpikeFunction, membrane: bool, residuals: Any, cotangents: Trace) -> Any:
    if residuals[0] == ():
        return recorded_backward(surrogate, membrane, residuals, cotangents)
    dv: Any = cotangents.membrane
    return None, None, li_gradient(residuals[0], dv), None, None


_by_hand.defvjp(_forward, _backward, symbolic_zeros=True)


def li_gradient(nominal: LI, dv: jax.Array) -> jax.Array:
    """Propagates a gradient of membranes back to the current: linear, it needs no states.

    Args:
        nominal: the model that is differentiated.
        dv: `[T, B, N]` gradient with respect to the membranes.

    Returns:
        `[T, B, N]` gradient with respect to the current, `[T, B, G, N]` in groups.
    """
    passes = low_passes(nominal)

    def step(fixed: Any, carry: Any, dv: jax.Array) -> Any:
        nominal, passes = fixed
        later, di = carry
        dv = dv + later * passes[0]
        dx, di = drive_gradient(nominal, dv, di, passes)
        return (dv, di), dx

    zero = jnp.zeros_like(first_step(dv))
    begin = zero, no_current(nominal.groups, zero)
    return over_time(step, (nominal, passes), begin, dv, reverse=True)
