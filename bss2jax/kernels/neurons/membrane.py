"""The two low passes that leaky neurons share: synaptic currents, and a membrane behind them."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import as_arrays, positive
from bss2jax.kernels.dot import settled

Integrator = Literal["exponential", "euler", "semi_implicit", "exact"]
INTEGRATORS = ("exponential", "euler", "semi_implicit", "exact")
# Orders in which a membrane sees the current of the step before; those that take tangents.
LATE, TANGENTS = ("euler", "exact"), ("euler", "semi_implicit")
Value = float | jax.Array


def check_dynamics(neuron: Any, *times: str) -> None:
    """Refuses settings that no neuron can have, and makes dt Python's own.

    Args:
        neuron: the neuron with dt, and perhaps an integrator.
        times: names of its time constants, which are looked at where they are numbers.

    Raises:
        ValueError: dt or a time constant is not above 0, the integrator is unknown, or a step of
            it longer than a time constant.
    """
    as_arrays(neuron)
    object.__setattr__(neuron, "dt", positive("dt", neuron.dt, "seconds"))
    integrator = getattr(neuron, "integrator", "exponential")
    if integrator not in INTEGRATORS:
        raise ValueError(f"integrator: expected one of {INTEGRATORS}, got {integrator!r}")
    if integrator == "exact" and getattr(neuron, "groups", 0):
        raise ValueError("integrator: exact is for one group of synapses; take exponential")
    for name in times:
        tau = getattr(neuron, name)
        if isinstance(tau, int | float | np.generic | np.ndarray):
            _check_time(name, np.asarray(tau), neuron.dt, integrator)


def check_values(neuron: Any) -> None:
    """Refuses parameters that are known, that is outside jit, and no neuron can have.

    Args:
        neuron: the neuron whose parameters are arrays.

    Raises:
        ValueError: a time constant is not above 0, or below a step that it has to last.
    """
    integrator = getattr(neuron, "integrator", "exponential")
    for name in ("tau_mem", "tau_syn", "tau_rc"):
        tau = getattr(neuron, name, None)
        if tau is not None and not isinstance(tau, jax.core.Tracer):
            _check_time(name, np.asarray(tau), neuron.dt, integrator)


def _check_time(name: str, tau: np.ndarray, dt: float, integrator: str) -> None:
    least, most = (tau.min(), tau.max()) if tau.size else (1.0, 1.0)
    if not (least > 0 and most < np.inf):
        raise ValueError(f"{name}: expected seconds > 0, got {least:g}")
    if integrator in TANGENTS and dt * (1 - 1e-6) > least:
        raise ValueError(
            f"dt: a step of {dt:g} s is longer than {name}, {least:g} s, which the {integrator} "
            "integrator cannot follow; take shorter steps, or exponential"
        )


def decay(tau: Value, dt: float, integrator: str) -> Value:
    """Returns what is left after dt of something that decays with time constant tau.

    Args:
        tau: s, scalar or `[N]`.
        dt: s.
        integrator: `euler` or `semi_implicit`, 1 - dt/tau; others, e^(-dt/tau).
    """
    return 1 - dt / tau if integrator in TANGENTS else jnp.exp(-dt / tau)


def low_passes(neuron: Any) -> tuple[Value, Value, Value]:
    """Returns what a step leaves of membrane and current, and what the current adds to a membrane.

    Args:
        neuron: the neuron with tau_mem, tau_syn, dt and integrator, and perhaps `leaky`.
    """
    order, dt = neuron.integrator, neuron.dt
    keep_i = decay(neuron.tau_syn, dt, order)
    if not getattr(neuron, "leaky", True):
        taken = dt if order != "exact" else -neuron.tau_syn * jnp.expm1(-dt / neuron.tau_syn)
        return 1.0, keep_i, taken / neuron.tau_mem
    keep_v = decay(neuron.tau_mem, dt, order)
    if order != "exact":
        return keep_v, keep_i, 1 - keep_v
    # tau_syn / (tau_syn - tau_mem) (keep_i - keep_v), also where both are alike.
    x = dt / neuron.tau_mem - dt / neuron.tau_syn
    alike = jnp.abs(x) < 1e-6
    ratio = jnp.where(alike, 1 + x / 2, jnp.expm1(x) / jnp.where(alike, 1, x))
    return keep_v, keep_i, dt / neuron.tau_mem * keep_v * ratio


def is_late(neuron: Any) -> bool:
    """Returns whether a membrane sees the current of the step before."""
    return neuron.integrator in LATE


def share_of(tau: Value, dt: float, integrator: str) -> Value:
    """Returns what a step takes of something constant, 1 - `decay`, of long time constants, too.

    Args:
        tau, dt, integrator: as in `decay`.
    """
    return dt / tau if integrator in TANGENTS else -jnp.expm1(-dt / tau)


def advance(
    neuron: Any, v: jax.Array, i: jax.Array, current: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Advances membrane and current by a step, before spike and reset.

    Args:
        neuron: the neuron with tau_mem, tau_syn, leak, groups, dt and integrator.
        v: `[..., N]` membrane.
        i: `[..., N]` current, `[..., G, N]` in groups.
        current: the current of i's shape, what the synapses add.
    """
    keep_v, keep_i, gain = low_passes(neuron)
    later = settled(i * keep_i) + current
    drive = i if is_late(neuron) else later
    drive = drive.sum(axis=-2) if neuron.groups else drive
    kept = neuron.leak + settled((v - neuron.leak) * keep_v)
    return kept + settled(gain * drive), later


def threshold_on(
    threshold: Value, way: Value, circuits: Any, normal: jax.Array | None
) -> jax.Array:
    """Returns the thresholds of circuits, `[1, N]`, or of each trial, `[B, N]`.

    Args:
        threshold: the nominal one.
        way: potential that deviations are shares of.
        circuits: their deviations: see `chip.Circuits`.
        normal: `[B, N]` standard normal numbers of the trials; None: no noise.
    """
    threshold = threshold + settled(way * circuits.threshold)
    return (
        threshold
        if normal is None
        else threshold + settled(way * circuits.threshold_noise * normal)
    )


def disturbance(neuron: Any, integrator: str, way: Value, circuits: Any) -> jax.Array | None:
    """Returns the standard deviation of what noise adds to membranes in a step, `[1, N]`.

    So much that a membrane at rest has the circuits' noise. None where they have none.

    Args:
        neuron: the neuron as it is on the circuits, with tau_mem and dt.
        integrator: how it decays in a step.
        way: potential that the noise is a share of.
        circuits: their noise: see `chip.Circuits`.
    """
    if circuits.membrane_noise is None:
        return None
    keep = decay(neuron.tau_mem, neuron.dt, integrator)
    return way * circuits.membrane_noise * jnp.sqrt(1 - settled(keep * keep))


def drive_gradient(
    neuron: Any, du: jax.Array, di: jax.Array, passes: tuple[Value, Value, Value]
) -> tuple[jax.Array, jax.Array]:
    """Takes the gradient of a step's membrane back to what the synapses add, and to the current.

    Args:
        neuron: as in `advance`.
        du: `[..., N]` gradient of the membrane.
        di: gradient of the current after the step: what this returned for the step behind it.
        passes: the passes of `low_passes`.

    Returns:
        Gradient of what the synapses add, and of the current after the step before.
    """
    _, keep_i, gain = passes
    drive = gain * du
    # Decayed here, where it is used: so a loop stores what it carries and what it gives but once.
    before = di * keep_i + (drive[..., None, :] if neuron.groups else drive)
    return di if is_late(neuron) else before, before


def groups_of(tau_syn: Any) -> int:
    """Returns the groups of synapses that time constants are of, `[G, N]`; 0: there is but one."""
    return jnp.shape(tau_syn)[0] if jnp.ndim(tau_syn) == 2 else 0


def membrane_like(groups: int, current: jax.Array) -> jax.Array:
    """Returns something of the shape of the membranes that a current drives, `[..., N]`."""
    return current[..., 0, :] if groups else current


def no_current(groups: int, v: jax.Array) -> jax.Array:
    """Returns a current of zero for membranes `[..., N]`, with an axis of groups before N."""
    zero = jnp.zeros_like(v)
    if not groups:
        return zero
    return jnp.broadcast_to(zero[..., None, :], (*v.shape[:-1], groups, v.shape[-1]))


def join_last(groups: int, current: jax.Array, back: jax.Array) -> jax.Array:
    """Adds recurrent input `[..., N]` to a current, to its last group."""
    return current.at[..., -1, :].add(back) if groups else current + back


def last_group(groups: int, dx: jax.Array) -> jax.Array:
    """Returns the part `[..., N]` of a current that recurrent input goes to."""
    return dx[..., -1, :] if groups else dx


def check_groups(groups: int, drive: jax.Array) -> None:
    """Refuses currents `[T, ..., N]` without an axis for the groups that there are.

    Raises:
        ValueError: there is none.
    """
    if groups and (drive.ndim < 3 or drive.shape[-2] != groups):
        raise ValueError(
            f"current: expected an axis of {groups} groups before the last, as tau_syn has, got "
            f"{drive.shape}"
        )
