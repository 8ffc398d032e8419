"""EventProp: the exact gradient of spiking neurons by the times of their spikes, by adjoint jumps.

Between spikes the adjoints of membrane and current are the steps' own, transposed. At a spike of a
neuron whose membrane comes with slope v'- and leaves the reset with v'+,

    du <- (v'+ / v'-) du  -  (1 / v'-) dL/dt                    tau_mem v' = leak - v + i

where dL/dt is how the loss changes with the spike's time. What is behind says so by the gradient of
a raster, g[t] = dL/dz[t], which is what a spike in any step would add to the loss: moved by a step
it changes by g[t] - g[t-1]. In the refractory time the adjoint of the membrane waits as the
membrane does. A loss of counts is the value of g at the end: a spike that has not come there counts
as the part of the way from reset to threshold that its membrane has gone; so silent neurons have a
gradient, too.

Backward is the nominal model; of the actual neuron it takes the times of spikes, nothing else. So a
chip in the loop sends spikes alone, and what its synapses add is what the model of them adds.

References: Wunderlich and Pehle 2021, 10.1038/s41598-021-91786-z; Pehle et al. 2023, arXiv
2302.07141 (in the loop).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from bss2jax.kernels.gradients.nominal import differentiated_once, refuse_perturbed, values_of
from bss2jax.kernels.neurons.membrane import drive_gradient, is_late, low_passes
from bss2jax.kernels.neurons.recorded import Trace, Trial, cotangent_of, first_step, run
from bss2jax.kernels.synapses.delays import later as shifted
from bss2jax.kernels.synapses.recurrent import Within
from bss2jax.kernels.time_loop import over_time


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def spike_times(
    least: float,
    membrane: bool,
    nominal: Any,
    actual: Any,
    drive: jax.Array,
    known: jax.Array | None,
    recurrent: Within | None,
    trial: Trial | None,
) -> Trace:
    """Runs the actual neuron; backward goes through the times of its spikes: see the module.

    Args:
        least: slope tau_mem v' at a spike, of the way from leak to threshold, below which it is
            taken for that: a membrane that grazes the threshold has a gradient beyond all bounds.
        membrane: whether membranes are wanted, too.
        nominal: the model that is differentiated, a `LIF`.
        actual: the neuron as it is.
        drive: `[T, B, N]` what the synapses add in each step.
        known: `[T, B, N]` what a host's model of the synapses adds; None: the same.
        recurrent: synapses within the population, or None.
        trial: its noise, or None.
    """
    return _forward(membrane, nominal, actual, drive, known, recurrent, trial)[0]


def _forward(
    membrane: bool,
    nominal: Any,
    actual: Any,
    drive: jax.Array,
    known: jax.Array | None,
    recurrent: Within | None,
    trial: Trial | None,
) -> tuple[Trace, jax.Array]:
    """The trace, and the model's current `[T, B, N]` just before the spikes of each step."""
    if nominal.groups:
        raise ValueError("EventProp is for one group of synapses; take Surrogate")
    if recurrent is not None and not recurrent.linear:
        raise ValueError("EventProp is for recurrent synapses without drivers; take Surrogate")
    late = is_late(nominal)

    def keep(carry: Any, seen: Any, z: Any) -> Any:
        i = carry[0].i if late else seen.i
        return z, i if known is None else None, seen.v if membrane else None

    z, i, v = run(actual, drive, recurrent, trial, None, keep)  # type: ignore[arg-type]
    if known is not None:
        i = _current(nominal, known, recurrent, z)
    elif late:
        i = i * low_passes(nominal)[1]
    return Trace(z, v), i


def _current(nominal: Any, known: jax.Array, recurrent: Any, z: jax.Array) -> jax.Array:
    """The current of the model's synapses, which hear the spikes that there were."""
    model = None if recurrent is None else recurrent.meant()
    late, keep_i = is_late(nominal), low_passes(nominal)[1]

    def step(fixed: Any, carry: Any, at: Any) -> Any:
        (keep_i, model), (i, before), (x, z) = fixed, carry, at
        if model is not None:
            x = x + model.drive(before)
            before = model.push(before, z)
        kept = i * keep_i
        return (kept + x, before), kept if late else kept + x

    zero = jnp.zeros_like(first_step(known))
    begin = zero, None if model is None else model.rest(zero)
    return over_time(step, (keep_i, model), begin, (known, z))


def _recorded(least: float, membrane: bool, nominal: Any, *args: Any) -> tuple[Trace, Any]:
    refuse_perturbed(nominal, "EventProp of the neurons' parameters", "Surrogate has one")
    nominal, *args = differentiated_once(values_of((nominal, *args)), "a population")
    trace, i = _forward(membrane, nominal, *args)
    return trace, (nominal, i, trace.spikes, args[3])


def _backward(least: float, membrane: bool, residuals: Any, cotangents: Trace) -> Any:
    nominal, i, z, recurrent = residuals
    dz, dv = cotangent_of(cotangents.spikes, z), cotangent_of(cotangents.membrane, None)
    dx = eventprop_gradient(nominal, i, z, dz, recurrent, dv=dv, least=least)
    drecurrent = None if recurrent is None else recurrent.gradient(z, dx)
    return None, None, dx, None, drecurrent, None


spike_times.defvjp(_recorded, _backward, symbolic_zeros=True)


def eventprop_gradient(
    nominal: Any,
    i: jax.Array,
    z: jax.Array,
    dz: jax.Array,
    recurrent: Within | None = None,
    *,
    dv: jax.Array | None = None,
    least: float = 0.0,
) -> jax.Array:
    """Propagates a gradient back through a population, given the times of its spikes.

    Args:
        nominal: the model that is differentiated, a `LIF`.
        i: `[T, B, N]` its current just before the spikes of each step.
        z: `[T, B, N]` spikes, of the model or measured.
        dz: `[T, B, N]` gradient with respect to the spikes: what one in each step would add.
        recurrent: synapses within the population, or None.
        dv: `[T, B, N]` gradient with respect to the membrane, or None.
        least: as of `spike_times`.

    Returns:
        `[T, B, N]` gradient with respect to what the synapses add.
    """
    passes, threshold, leak = low_passes(nominal), nominal.threshold, nominal.leak
    reset = 0.0 if nominal.subtracts else nominal.reset
    pulls = (leak - threshold, leak - reset) if nominal.leaky else (0.0, 0.0)
    smallest, per_step = least * jnp.abs(threshold - leak), nominal.tau_mem / nominal.dt
    turned = None if recurrent is None else recurrent.turned()

    def step(fixed: Any, carry: Any, at: Any) -> Any:
        nominal, passes, pulls, smallest, per_step, way, recurrent, turned = fixed
        (keep_v, keep_i, gain), (later, di, held, back) = passes, carry
        i, z, moved, dv, waits = at
        fired = z > 0
        if recurrent is not None:
            moved = moved + recurrent.due(back, None)[0]
        moved = moved if dv is None else moved + dv * way
        # At a spike: through its time alone, which moves the reset, too.
        slope = jnp.maximum(i + pulls[0], smallest)
        left = held + later * (i + pulls[1])
        du = jnp.where(fired, (left - per_step * moved) / jnp.where(fired, slope, 1), later)
        if dv is not None:
            du = du + jnp.where(fired, 0, dv)
        if waits is not None:
            du, held = jnp.where(waits, 0, du), jnp.where(waits, left, 0)
        dx, after = drive_gradient(nominal, du, di, passes)
        if recurrent is not None:
            # How a spike of a step before would change the loss if it moved: dx[t] - dx[t-1].
            back = recurrent.pull(back, (1 - keep_i) * dx - gain * keep_v * du, turned)
        return (du * keep_v, after, held, back), dx

    zero = jnp.zeros_like(first_step(z))
    # Spikes that have not come count as the part of their way that membranes have gone.
    end = dz[-1] / (threshold - reset) if len(dz) else zero
    moved = dz - jnp.concatenate([dz[:1], dz[:-1]])
    carry = zero + end, zero, zero, None if recurrent is None else recurrent.rest(zero)
    fixed = nominal, passes, pulls, smallest, per_step, threshold - reset, recurrent, turned
    xs = i, z, moved, dv, _waiting(z, nominal.waits)
    return over_time(step, fixed, carry, xs, reverse=True)


def _waiting(z: jax.Array, waits: int) -> jax.Array | None:
    """Where neurons wait at the reset after spikes `[T, B, N]`, of so many steps; None: nowhere."""
    if not waits:
        return None
    since = jnp.cumsum(z, axis=0)
    return (shifted(since, 1) - shifted(since, waits + 1)) > 0
