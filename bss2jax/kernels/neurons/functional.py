"""LIF and LI as functions of parameters, state and input: `lif_step` is a scan body, `lif` a scan.

What `LIF` and `LI` do, for those who bring their own loop.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bss2jax.arrays import Compared, as_arrays, floats, pytree, wholes
from bss2jax.kernels.gradients.rules import Surrogate
from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike
from bss2jax.kernels.mesh import axes_of, over_mesh
from bss2jax.kernels.neurons.base import Value, as_float32
from bss2jax.kernels.neurons.li import LI, LIState
from bss2jax.kernels.neurons.lif import LIF, LIFState
from bss2jax.kernels.neurons.membrane import Integrator, groups_of, no_current
from bss2jax.kernels.neurons.recorded import Trace
from bss2jax.kernels.synapses.recurrent import Recurrent


@pytree
@dataclass(frozen=True, eq=False)
class LIFParams(Compared):
    """A population's parameters: scalars, or `[N]` where neurons differ. All may be trained.

    Attributes:
        tau_mem: membrane time constant, s.
        tau_syn: synaptic time constant, s; `[G, 1]` or `[G, N]` for several groups of synapses.
        leak: potential the membrane decays to.
        reset: potential after a spike.
        threshold: potential above which a neuron spikes.
    """

    tau_mem: Value = 6e-6
    tau_syn: Value = 5.7e-6
    leak: Value = 0.0
    reset: Value = 0.0
    threshold: Value = 1.0

    def __post_init__(self) -> None:
        as_arrays(self)

    def neuron(
        self, dt: float = 1e-6, t_ref: float = 0.0, integrator: Integrator = "exponential"
    ) -> LIF:
        """Returns the neuron that has them: see `LIF`."""
        return LIF(
            self.tau_mem, self.tau_syn, self.leak, self.reset, self.threshold,
            groups=groups_of(self.tau_syn), dt=dt, t_ref=t_ref, integrator=integrator,
        )  # fmt: skip


def lif_state(params: LIFParams, shape: tuple[int, ...]) -> LIFState:
    """Returns the state of a population at rest: v = leak, no current. `shape` is `[..., N]`."""
    zero = jnp.zeros(shape, jnp.float32)
    current = no_current(groups_of(params.tau_syn), zero)
    v = zero + jnp.broadcast_to(floats(params.leak, "leak"), shape)
    return LIFState(v, current, jnp.zeros(shape, jnp.int32))


def lif_step(
    params: LIFParams,
    state: LIFState,
    current: ArrayLike,
    *,
    dt: float = 1e-6,
    t_ref: float = 0.0,
    integrator: Integrator = "exponential",
    surrogate: SpikeFunction = SuperSpike(),
) -> tuple[LIFState, jax.Array]:
    """Advances a population by one step; `partial(lif_step, params)` is a scan body.

    Args:
        params: scalars or `[N]`.
        state: the state, from `lif_state` or the step before.
        current: `[..., N]` what the synapses add to i in this step; `[..., G, N]` in groups.
        dt: s.
        t_ref: refractory time, s; rounded to steps.
        integrator: order of the updates: see `kernels.neurons.lif`.
        surrogate: the surrogate of the spike's derivative.

    Returns:
        The next state, and spikes `[..., N]`, 0.0 or 1.0.
    """
    current = floats(current, "current")
    neuron = _aligned(params, current.ndim, dt=dt, t_ref=t_ref, integrator=integrator)
    waiting = None if state.refractory is None else wholes(state.refractory, "refractory")
    state = LIFState(floats(state.v, "v"), floats(state.i, "i"), waiting)
    return neuron.step(state, current, surrogate)


def lif(
    params: LIFParams,
    current: ArrayLike,
    recurrent: ArrayLike | None = None,
    *,
    dt: float = 1e-6,
    t_ref: float = 0.0,
    integrator: Integrator = "exponential",
    surrogate: SpikeFunction = SuperSpike(),
) -> jax.Array:
    """Runs a population from rest through a sequence.

    Equal to scanning `lif_step`. The backward pass is written by hand and keeps only the membrane
    before reset; where the neurons' parameters are trained too, it keeps the states.

    Args:
        params: scalars or `[N]`.
        current: `[T, B, N]` what the synapses add to i in each step; `[T, B, G, N]` in groups.
        recurrent: `[N, N]` weights from the population's spikes of the step before, or None; into
            the last group.
        dt: s.
        t_ref: refractory time, s; rounded to steps.
        integrator: order of the updates: see `kernels.neurons.lif`.
        surrogate: the surrogate of the spike's derivative.

    Returns:
        `[T, B, N]` spikes, 0.0 or 1.0.

    Raises:
        ValueError: synapses in groups, and the current has no axis for them.
    """
    current = floats(current, "current")
    neuron = _aligned(params, current.ndim - 1, dt=dt, t_ref=t_ref, integrator=integrator)
    back = None if recurrent is None else Recurrent(floats(recurrent, "recurrent"))
    return _over_mesh(Surrogate(surrogate), neuron, current, back).spikes


@pytree
@dataclass(frozen=True, eq=False)
class LIParams(Compared):
    """A leaky integrator's parameters: scalars, or `[N]` where they differ. All may be trained.

    Attributes:
        tau_mem: membrane time constant, s.
        tau_syn: synaptic time constant, s; `[G, 1]` or `[G, N]` for several groups of synapses.
        leak: potential the membrane decays to.
    """

    tau_mem: Value = 6e-6
    tau_syn: Value = 5.7e-6
    leak: Value = 0.0

    def __post_init__(self) -> None:
        as_arrays(self)

    def neuron(self, dt: float = 1e-6, integrator: Integrator = "exponential") -> LI:
        """Returns the integrator that has them: see `LI`."""
        return LI(
            self.tau_mem, self.tau_syn, self.leak, groups=groups_of(self.tau_syn), dt=dt,
            integrator=integrator,
        )  # fmt: skip


def li_state(params: LIParams, shape: tuple[int, ...]) -> LIState:
    """Returns leaky integrators at rest: v = leak, no current. `shape` is `[..., N]`."""
    zero = jnp.zeros(shape, jnp.float32)
    v = zero + jnp.broadcast_to(floats(params.leak, "leak"), shape)
    return LIState(v, no_current(groups_of(params.tau_syn), zero))


def li_step(
    params: LIParams,
    state: LIState,
    current: ArrayLike,
    *,
    dt: float = 1e-6,
    integrator: Integrator = "exponential",
) -> tuple[LIState, jax.Array]:
    """Advances leaky integrators by one step.

    Args:
        params: scalars or `[N]`.
        state: the state, from `li_state` or the step before.
        current: `[..., N]` what the synapses add to i in this step; `[..., G, N]` in groups.
        dt: s.
        integrator: order of the updates.

    Returns:
        The next state, and v `[..., N]`, in units of potential.
    """
    current = floats(current, "current")
    neuron = _aligned(params, current.ndim, dt=dt, integrator=integrator)
    return neuron.step(LIState(floats(state.v, "v"), floats(state.i, "i")), current)


def li(
    params: LIParams,
    current: ArrayLike,
    *,
    dt: float = 1e-6,
    integrator: Integrator = "exponential",
) -> jax.Array:
    """Runs leaky integrators from rest through a sequence.

    Args:
        params: scalars or `[N]`.
        current: `[T, B, N]`; `[T, B, G, N]` in groups.
        dt: s.
        integrator: order of the updates.

    Returns:
        `[T, B, N]` membrane potential.

    Raises:
        ValueError: synapses in groups, and the current has no axis for them.
    """
    current = floats(current, "current")
    neuron = _aligned(params, current.ndim - 1, dt=dt, integrator=integrator)
    return _over_mesh(Surrogate(), neuron, current).membrane


def _over_mesh(rule: Surrogate, neuron: Any, *given: Any) -> Any:
    """Runs neurons in themselves, on whatever mesh their current is."""
    current = given[0]
    axes = [i for i in range(current.ndim) if not (neuron.groups and i == current.ndim - 2)]
    place = axes_of(current, *axes)
    spikes, membrane = (place, None) if neuron.fires else (None, place)
    out = Trace(spikes, membrane)  # type: ignore[arg-type] # where arrays are, not arrays
    return over_mesh(partial(_run, rule), out, neuron, *given)


@partial(jax.jit, static_argnums=0)
def _run(rule: Surrogate, neuron: Any, *given: Any) -> Trace:
    return rule.run(neuron, neuron, *given)


def _aligned(params: Any, axes: int, **settings: Any) -> Any:
    """The neuron that has parameters, each with as many axes as what it meets in a step.

    Args:
        params: `LIFParams` or `LIParams`.
        axes: the axes of the current of a step.
        settings: the settings of the neuron.
    """
    if not hasattr(params, "neuron"):
        raise ValueError(f"params: expected LIFParams or LIParams, got a {type(params).__name__}")
    neuron = as_float32(params.neuron(**settings))

    def aligned(p: jax.Array, axes: int) -> jax.Array:
        return p.reshape((1,) * (axes - p.ndim) + p.shape) if 0 < p.ndim < axes else p

    grouped = bool(neuron.groups)
    of_membranes = jax.tree.map(partial(aligned, axes=axes - grouped), neuron)
    return replace(of_membranes, tau_syn=aligned(neuron.tau_syn, axes))
