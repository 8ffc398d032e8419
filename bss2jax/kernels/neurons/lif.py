"""Current-based leaky integrate-and-fire neurons and leaky integrators, step and sequence forms.

Two integrators. `exponential`, the order of norse and most libraries, input acts in its own step:

    i <- i e^(-dt/tau_syn) + x
    v <- leak + (v - leak) e^(-dt/tau_mem) + (1 - e^(-dt/tau_mem)) i
    z  = 1[v > threshold];  v <- reset where z

`euler`, the reference's order, one dt lies between input and effect:

    v <- v + dt/tau_mem (leak - v + i)
    i <- i (1 - dt/tau_syn) + x
    z  = 1[v > threshold];  v <- reset where z

The reset carries no gradient through z. For t_ref after a spike v stays at reset and z at 0. Times
are in seconds, membranes in software units (the threshold usually 1). Tensors are time-first.

Several groups of synapses, each with its own tau_syn and current, may drive one membrane: then
tau_syn is `[G, 1]` or `[G, N]`, currents are `[..., G, N]`, and i stands for the groups' sum.

References: norse `functional/lif.py`; hxtorch `spiking/functional/aelif.py` (euler order).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.kernels.dot import dot
from bss2jax.kernels.gradients.surrogate import SuperSpike, Surrogate, spike

Integrator = Literal["exponential", "euler"]
Value = float | jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LIFParams:
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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LIParams:
    """A leaky integrator's parameters: tau_mem, s, tau_syn, s, and leak as of `LIFParams`."""

    tau_mem: Value = 6e-6
    tau_syn: Value = 5.7e-6
    leak: Value = 0.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LIFState:
    """What a population carries from step to step, each `[..., N]`.

    Attributes:
        v: membrane potential, after reset.
        i: synaptic current, in units of potential; `[..., G, N]` of several groups.
        refractory: steps still to stay at reset, int32.
    """

    v: jax.Array
    i: jax.Array
    refractory: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LIState:
    """What leaky integrators carry from step to step, each `[..., N]`: see `LIFState`."""

    v: jax.Array
    i: jax.Array


def lif_state(params: LIFParams, shape: tuple[int, ...]) -> LIFState:
    """Returns the state of a population at rest: v = leak, no current. `shape` is `[..., N]`."""
    v = jnp.broadcast_to(jnp.asarray(params.leak, jnp.float32), shape)
    return LIFState(v, jnp.zeros(_current_shape(params, shape)), jnp.zeros(shape, jnp.int32))


def li_state(params: LIParams, shape: tuple[int, ...]) -> LIState:
    """Returns the state of leaky integrators at rest: v = leak, no current."""
    v = jnp.broadcast_to(jnp.asarray(params.leak, jnp.float32), shape)
    return LIState(v, jnp.zeros(_current_shape(params, shape)))


def lif_step(
    params: LIFParams,
    state: LIFState,
    current: jax.Array,
    *,
    dt: float = 1e-6,
    t_ref: float = 0.0,
    integrator: Integrator = "exponential",
    surrogate: Surrogate = SuperSpike(),
) -> tuple[LIFState, jax.Array]:
    """Advances a population by one step; `partial(lif_step, params)` is a scan body.

    Args:
        params: scalars or `[N]`.
        state: from `lif_state` or the step before.
        current: `[..., N]` what the synapses add to i in this step; `[..., G, N]` in groups.
        dt: s.
        t_ref: refractory time, s; rounded to steps.
        integrator: the order of the updates: see the module.
        surrogate: of the spike's derivative.

    Returns:
        The next state, and spikes `[..., N]`, 0.0 or 1.0.
    """
    v, i = _integrate(params, state.v, state.i, current, dt, integrator)
    active = state.refractory == 0
    v = jnp.where(active, v, params.reset)
    z = jnp.where(active, spike(v - params.threshold, surrogate), 0.0)
    fired = lax.stop_gradient(z) > 0
    v = jnp.where(fired, params.reset, v)
    waiting = jnp.where(fired, refractory_steps(t_ref, dt), jnp.maximum(state.refractory - 1, 0))
    return LIFState(v, i, waiting), z


def li_step(
    params: LIParams,
    state: LIState,
    current: jax.Array,
    *,
    dt: float = 1e-6,
    integrator: Integrator = "exponential",
) -> tuple[LIState, jax.Array]:
    """Advances leaky integrators by one step.

    Args:
        params: scalars or `[N]`.
        state: from `li_state` or the step before.
        current: `[..., N]` what the synapses add to i in this step; `[..., G, N]` in groups.
        dt: s.
        integrator: the order of the updates: see the module.

    Returns:
        The next state, and v `[..., N]`, in units of potential.
    """
    v, i = _integrate(params, state.v, state.i, current, dt, integrator)
    return LIState(v, i), v


def lif(
    params: LIFParams,
    current: jax.Array,
    recurrent: jax.Array | None = None,
    *,
    dt: float = 1e-6,
    t_ref: float = 0.0,
    integrator: Integrator = "exponential",
    surrogate: Surrogate = SuperSpike(),
) -> jax.Array:
    """Runs a population from rest through a sequence.

    Equal to scanning `lif_step`. The backward pass is written by hand and keeps only the membrane
    before reset; where the neurons' parameters are trained too, JAX differentiates the scan.

    Args:
        params: scalars or `[N]`.
        current: `[T, B, N]` what the synapses add to i in each step; `[T, B, G, N]` in groups.
        recurrent: `[N, N]` weights from the population's spikes of the step before, or None; into
            the last group.
        dt, t_ref: s, as in `lif_step`.
        integrator, surrogate: as in `lif_step`.

    Returns:
        `[T, B, N]` spikes, 0.0 or 1.0.

    Raises:
        ValueError: synapses in groups, and the current has no axis for them.
    """
    dynamics = Dynamics(dt, refractory_steps(t_ref, dt), integrator, surrogate)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    return _lif(dynamics, params, current, recurrent)


def li(
    params: LIParams,
    current: jax.Array,
    *,
    dt: float = 1e-6,
    integrator: Integrator = "exponential",
) -> jax.Array:
    """Runs leaky integrators from rest through a sequence.

    Args:
        params: scalars or `[N]`.
        current: `[T, B, N]`; `[T, B, G, N]` in groups.
        dt: s.
        integrator: as in `li_step`.

    Returns:
        `[T, B, N]` membrane potential.

    Raises:
        ValueError: as `lif`.
    """
    step = partial(li_step, params, dt=dt, integrator=integrator)
    return lax.scan(step, li_state(params, _membrane_shape(params, current)), current)[1]


def refractory_steps(t_ref: float, dt: float) -> int:
    """Returns the steps after a spike in which a neuron stays at reset."""
    return round(t_ref / dt)


def decay(tau: Value, dt: float, integrator: Integrator) -> Value:
    """Returns what is left after dt of something that decays with time constant tau.

    Args:
        tau: s, scalar or `[N]`.
        dt: s.
        integrator: `euler`, 1 - dt/tau; `exponential`, e^(-dt/tau).
    """
    return 1 - dt / tau if integrator == "euler" else jnp.exp(-dt / tau)


@dataclass(frozen=True)
class Dynamics:
    """What is static in a sequence: see `lif_step`; `refractory` in steps."""

    dt: float
    refractory: int
    integrator: Integrator
    surrogate: Surrogate


def lif_membrane(
    dynamics: Dynamics,
    params: LIFParams,
    current: jax.Array,
    recurrent: jax.Array | None = None,
    noise: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Runs a population without gradients of its own: membrane before reset, and spikes.

    Args:
        dynamics: what is static.
        params, current, recurrent: as in `lif`.
        noise: `[T, B, N]` what disturbs the membrane in each step, or None.

    Returns:
        u and z, each `[T, B, N]`; u is the reset potential while a neuron is refractory.

    Raises:
        ValueError: as `lif`.
    """

    def step(carry, at):
        (state, z), (x, disturbance) = carry, at
        x = _with_recurrent(x, z, recurrent, params)
        u, i = _integrate(params, state.v, state.i, x, dynamics.dt, dynamics.integrator)
        if disturbance is not None:
            u = u + disturbance
        fired, waiting = u > params.threshold, state.refractory
        if dynamics.refractory:
            u = jnp.where(waiting == 0, u, params.reset)
            fired = fired & (waiting == 0)
            waiting = jnp.where(fired, dynamics.refractory, jnp.maximum(waiting - 1, 0))
        z = fired.astype(u.dtype)
        return (LIFState(jnp.where(fired, params.reset, u), i, waiting), z), (u, z)

    shape = _membrane_shape(params, current)
    rest = (lif_state(params, shape), jnp.zeros(shape))
    return lax.scan(step, rest, (current, noise))[1]


def lif_gradient(
    dynamics: Dynamics,
    params: LIFParams,
    u: jax.Array,
    z: jax.Array | None,
    dz: jax.Array,
    recurrent: jax.Array | None = None,
) -> jax.Array:
    """Propagates a gradient back through a population, given its membrane and spikes.

        du = dv (1 - z) + dz surrogate'(u - threshold);  dv <- du e^(-dt/tau_mem)
        dx = di + (1 - e^(-dt/tau_mem)) du;              di <- dx e^(-dt/tau_syn)

    and du = 0 while a neuron is refractory. Membrane and spikes may be the model's or measured:
    in the loop `params` is the nominal model, and u and z come from the chip.

    Args:
        dynamics, params: of the model that is differentiated.
        recurrent: `[N, N]` of the same, or None.
        u: `[T, B, N]` membrane before reset.
        z: `[T, B, N]` spikes; None where they are just u > threshold, without refractory time:
            one array less to read.
        dz: `[T, B, N]` gradient with respect to the spikes.

    Returns:
        `[T, B, N]` gradient with respect to the current, `[T, B, G, N]` in groups.
    """
    keep_v = decay(params.tau_mem, dynamics.dt, dynamics.integrator)
    keep_i = decay(params.tau_syn, dynamics.dt, dynamics.integrator)
    active = _active(z, dynamics.refractory) if dynamics.refractory else None
    late = dynamics.integrator == "euler"

    def step(carry, at):
        dv, di, back = carry
        dz, u, z, active = at
        if recurrent is not None:
            dz = dz + back
        # The slope here, not for the whole sequence: one array less to write and read.
        fired = u > params.threshold if z is None else z > 0
        du = jnp.where(fired, 0, dv) + dz * dynamics.surrogate.derivative(u - params.threshold)
        if active is not None:
            du = jnp.where(active, du, 0)
        drive = _to_groups((1 - keep_v) * du, params)
        # Euler's membrane sees the current of the step before.
        dx = di if late else di + drive
        di = dx * keep_i + (drive if late else 0)
        back = None if recurrent is None else dot(_last_group(dx, params), recurrent.T)
        return (du * keep_v, di, back), dx

    zero = jnp.zeros(u.shape[1:])
    no_current = jnp.zeros(_current_shape(params, u.shape[1:]))
    start = (zero, no_current, None if recurrent is None else zero)
    return lax.scan(step, start, (dz, u, z, active), reverse=True)[1]


def li_gradient(dynamics: Dynamics, params: LIParams | LIFParams, dv: jax.Array) -> jax.Array:
    """Propagates a gradient of membranes back to the current of leaky integrators.

    Args:
        dynamics, params: of the model that is differentiated.
        dv: `[T, B, N]` gradient with respect to the membranes.

    Returns:
        `[T, B, N]` gradient with respect to the current, `[T, B, G, N]` in groups.
    """
    keep_v = decay(params.tau_mem, dynamics.dt, dynamics.integrator)
    keep_i = decay(params.tau_syn, dynamics.dt, dynamics.integrator)
    late = dynamics.integrator == "euler"

    def step(carry, dv):
        later, di = carry
        dv = dv + later
        drive = _to_groups((1 - keep_v) * dv, params)
        dx = di if late else di + drive
        return (dv * keep_v, dx * keep_i + (drive if late else 0)), dx

    start = (jnp.zeros(dv.shape[1:]), jnp.zeros(_current_shape(params, dv.shape[1:])))
    return lax.scan(step, start, dv, reverse=True)[1]


def recurrent_gradient(z: jax.Array, dx: jax.Array) -> jax.Array:
    """Returns the gradient `[N, N]` of recurrent weights: spikes, then the next step's current."""
    n = z.shape[-1]
    return dot(z[:-1].reshape(-1, n).T, dx[1:].reshape(-1, n))


def _active(z, refractory):
    """Where a neuron was not refractory: it did not spike in so many steps before."""
    window = (refractory, *(1,) * (z.ndim - 1))
    padding = ((refractory, 0), *((0, 0),) * (z.ndim - 1))
    return lax.reduce_window(z[:-1], 0.0, lax.max, window, (1,) * z.ndim, padding) == 0


def _integrate(params, v, i, current, dt, integrator):
    """One step of membrane and current, before spike and reset."""
    keep_v, keep_i = decay(params.tau_mem, dt, integrator), decay(params.tau_syn, dt, integrator)
    later = i * keep_i + current
    drive = i if integrator == "euler" else later
    drive = drive.sum(axis=-2) if _grouped(params) else drive
    return params.leak + (v - params.leak) * keep_v + (1 - keep_v) * drive, later


def _grouped(params):
    return jnp.ndim(params.tau_syn) == 2


def _current_shape(params, shape):
    """Shape of the currents of membranes `[..., N]`: with an axis of groups before N."""
    return (*shape[:-1], len(params.tau_syn), shape[-1]) if _grouped(params) else tuple(shape)


def _membrane_shape(params, current):
    """Shape of the membranes that a sequence of currents `[T, ..., N]` drives."""
    shape = current.shape[1:]
    if not _grouped(params):
        return shape
    if len(shape) < 2 or shape[-2] != len(params.tau_syn):
        raise ValueError(
            f"current: expected an axis of {len(params.tau_syn)} groups before the last, as "
            f"tau_syn has, got {current.shape}"
        )
    return (*shape[:-2], shape[-1])


def _to_groups(drive, params):
    return drive[..., None, :] if _grouped(params) else drive


def _last_group(dx, params):
    return dx[..., -1, :] if _grouped(params) else dx


def _with_recurrent(x, z, recurrent, params):
    if recurrent is None:
        return x
    back = dot(z, recurrent)
    return x.at[..., -1, :].add(back) if _grouped(params) else x + back


def _scanned(dynamics, params, current, recurrent):
    """The sequence as JAX differentiates it."""

    def step(carry, x):
        state, z = carry
        state, z = lif_step(
            params, state, _with_recurrent(x, z, recurrent, params),
            dt=dynamics.dt, t_ref=dynamics.refractory * dynamics.dt,
            integrator=dynamics.integrator, surrogate=dynamics.surrogate,
        )  # fmt: skip
        return (state, z), z

    shape = _membrane_shape(params, current)
    return lax.scan(step, (lif_state(params, shape), jnp.zeros(shape)), current)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lif(dynamics, params, current, recurrent):
    return lif_membrane(dynamics, params, current, recurrent)[1]


def _lif_forward(dynamics, params, current, recurrent):
    trained = any(leaf.perturbed for leaf in jax.tree.leaves(params, is_leaf=_is_primal))
    params, current, recurrent = jax.tree.map(
        lambda leaf: leaf.value, (params, current, recurrent), is_leaf=_is_primal
    )
    if trained:
        return jax.vjp(partial(_scanned, dynamics), params, current, recurrent)
    u, z = lif_membrane(dynamics, params, current, recurrent)
    return z, (params, u, z, recurrent)


def _lif_backward(dynamics, residuals, dz):
    if callable(residuals):
        return residuals(dz)
    params, u, z, recurrent = residuals
    dx = lif_gradient(dynamics, params, u, z if dynamics.refractory else None, dz, recurrent)
    back = None if recurrent is None else recurrent_gradient(z, _last_group(dx, params))
    return None, dx, back


def _is_primal(leaf):
    return hasattr(leaf, "perturbed")


_lif.defvjp(_lif_forward, _lif_backward, symbolic_zeros=True)
