"""Adaptive exponential integrate-and-fire neurons, with currents or conductances as synapses.

    tau_mem dv/dt = leak - v + delta_t e^((v - v_t) / delta_t) - w + i
    tau_w   dw/dt = a (v - leak) - w
    z = 1[v > threshold];  v <- reset and w <- w + b where z

Everything is a potential, as on the chip, where adaptation is a voltage on a second leaky
integrator: w, i and b are currents over the leak conductance, a is a conductance over it. Leak,
exponential and both adaptation terms can be switched off. For t_ref after a spike v is clamped to
reset, or drawn there by the reset conductance, and neither input nor exponential acts on it; w goes
on. `kernels.neurons.units` converts from and to mV, nS, pF and ms.

Three integrators. `midpoint`, of second order, in sub-steps; the current i stays in a step, as in
LIF's `exponential`. A membrane that crosses the threshold within a step waits there for its end,
and what it has missed is added to the next step: spikes stand on the grid, yet intervals do not
depend on it. `euler` takes all from the step before,

    v <- v + dt/tau_mem (leak - v + delta_t e^(...) - w + i)
    w <- w (1 - dt/tau_w) + dt/tau_w a (v - leak)
    i <- i (1 - dt/tau_syn) + x

and `hxtorch` is the reference's order, in which w takes the new v, before reset: it needs a
threshold near to v_t, as what the exponential makes of the last step goes into w.

With conductances, `reversal_exc` and `reversal_inh`, the current of a sign is scaled by
(E_rev - v) / (E_rev - E_ref): it is 0 at its reversal potential and nominal at the reference.

References: Brette and Gerstner 2005; hxtorch `spiking/functional/aelif.py` (euler order); calix
`hagen/neuron_synin_coba.py` (conductances); Billaudelle et al. 2022, arXiv 2209.09280 (circuit).
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import as_arrays, positive, pytree
from bss2jax.kernels.dot import settled
from bss2jax.kernels.neurons.base import Neuron, Value
from bss2jax.kernels.neurons.membrane import (
    decay,
    disturbance,
    membrane_like,
    no_current,
    share_of,
    threshold_on,
)

Integrator = Literal["midpoint", "euler", "hxtorch"]
INTEGRATORS = ("midpoint", "euler", "hxtorch")
_SUBSTEP = 5e-8  # s: what the published firing patterns need
_LARGEST = 80.0  # of an exponent: float32 ends at 88
_NEVER = -1.0  # steps since a crossing that was not


@pytree
@dataclass(frozen=True, eq=False)
class AdExState:
    """What a population carries from step to step, each `[..., N]`.

    Attributes:
        v: membrane potential, after reset.
        w: adaptation, in units of potential; None of neurons that do not adapt.
        i: synaptic current, in units of potential; with conductances `[..., 2, N]` excitatory and
            inhibitory; None where the current is the input itself.
        wait: steps still to stay at reset, negative for what a spike within its step has left to be
            made up for; None where neither happens.
        late: steps since the membrane crossed the threshold in this step, -1 where it did not; None
            but with midpoint.
    """

    v: jax.Array
    w: jax.Array | None
    i: jax.Array | None
    wait: jax.Array | None
    late: jax.Array | None


@pytree
@dataclass(frozen=True, eq=False)
class AdEx(Neuron):
    """An adaptive exponential neuron: see the module. Parameters may be trained.

    Attributes:
        tau_mem: membrane time constant, s; a number, `[N]` or `[B, N]`, as all parameters.
        tau_syn: synaptic time constant, s; None: the current is the input itself.
        leak: potential the membrane decays to.
        reset: potential after a spike.
        threshold: potential above which a neuron spikes.
        tau_w: time constant of adaptation, s.
        a: sub-threshold adaptation, over the leak conductance.
        b: what a spike adds to the adaptation, a potential.
        delta_t: slope of the exponential, a potential.
        v_t: potential at which the exponential takes off.
        reversal_exc, reversal_inh: reversal potentials of conductances; None: currents.
        reference: potential at which conductances give the nominal current; None: the middle
            between leak and threshold.
        tau_reset: time constant of the reset conductance, s; None: v is at reset at once.
        leaky, exponential, subthreshold, spike_triggered: whether the terms are on.
        dt: s a step.
        t_ref: refractory time, s; rounded to steps but with midpoint.
        integrator: `midpoint`, `euler` or `hxtorch`.
        substeps: the sub-steps of `midpoint` in a step; None: as many as make them at most .05 us.

    Raises:
        ValueError: a setting is out of range, or one of the reversal potentials is missing.
    """

    tau_mem: Value = 6e-6
    tau_syn: Value | None = 5.7e-6
    leak: Value = 0.0
    reset: Value = 0.0
    threshold: Value = 1.0
    tau_w: Value = 100e-6
    a: Value = 0.0
    b: Value = 0.0
    delta_t: Value = 0.1
    v_t: Value = 0.8
    reversal_exc: Value | None = None
    reversal_inh: Value | None = None
    reference: Value | None = None
    tau_reset: Value | None = None
    leaky: bool = field(default=True, metadata={"static": True})
    exponential: bool = field(default=True, metadata={"static": True})
    subthreshold: bool = field(default=True, metadata={"static": True})
    spike_triggered: bool = field(default=True, metadata={"static": True})
    dt: float = field(default=1e-6, metadata={"static": True})
    t_ref: float = field(default=0.0, metadata={"static": True})
    integrator: Integrator = field(default="midpoint", metadata={"static": True})
    substeps: int | None = field(default=None, metadata={"static": True})

    def __post_init__(self) -> None:
        as_arrays(self)
        object.__setattr__(self, "dt", positive("dt", self.dt, "seconds"))
        if not 0 <= self.t_ref < math.inf:
            raise ValueError(f"t_ref: expected seconds >= 0, got {self.t_ref}")
        if self.integrator not in INTEGRATORS:
            raise ValueError(f"integrator: expected one of {INTEGRATORS}, got {self.integrator!r}")
        if self.substeps is not None and self.substeps < 1:
            raise ValueError(f"substeps: expected 1 or more, got {self.substeps}")
        if (self.reversal_exc is None) != (self.reversal_inh is None):
            raise ValueError(
                "reversal_exc, reversal_inh: expected both, for conductances, or neither"
            )
        if self.tau_reset is not None and not self.t_ref > 0:
            raise ValueError(
                "tau_reset: the reset conductance acts in the refractory time; set t_ref"
            )

    @property
    def apart(self) -> bool:
        """Whether excitatory and inhibitory synapses drive it apart, in two currents."""
        return self.reversal_exc is not None

    @property
    def adapts(self) -> bool:
        """Whether it has an adaptation at all."""
        return self.subthreshold or self.spike_triggered

    @property
    def on_grid(self) -> bool:
        """Whether spikes happen at the ends of steps, not within."""
        return self.integrator != "midpoint"

    @property
    def waits(self) -> float:
        """Steps after a spike in which the membrane is at reset."""
        steps = self.t_ref / self.dt
        return float(round(steps)) if self.on_grid else steps

    def rest(self, like: jax.Array) -> AdExState:
        """Returns the state at rest, v = leak and w = 0: see `Neuron.rest`."""
        groups = 2 * self.apart
        zero = jnp.zeros_like(membrane_like(groups, like))
        return AdExState(
            v=zero + self.leak,
            w=zero if self.adapts else None,
            i=None if self.tau_syn is None else no_current(groups, zero),
            wait=None if self.on_grid and not self.waits else zero,
            late=None if self.on_grid else zero + _NEVER,
        )

    def flow(self, state: AdExState, current: jax.Array) -> AdExState:
        """Returns the state a step later, as if there were no threshold."""
        drive, tau_syn = current, self.tau_syn
        if state.i is not None and tau_syn is not None:
            keep = decay(tau_syn, self.dt, "euler" if self.on_grid else "exponential")
            later = settled(state.i * keep) + current
            # Euler's membrane sees the current of the step before.
            drive, state = state.i if self.on_grid else later, replace(state, i=later)
        return self._euler(state, drive) if self.on_grid else self._midpoint(state, drive)

    def share(self) -> Value:
        """Returns the share of a constant current that a step takes to the membrane."""
        return share_of(self.tau_mem, self.dt, "euler" if self.on_grid else "exponential")

    def over(self, state: AdExState) -> jax.Array:
        """Returns v - threshold; of a neuron that is held at reset -inf."""
        over = state.v - self.threshold
        if state.late is not None:  # a membrane that crossed stands on the threshold
            over = over + jnp.where(state.late >= 0, jnp.asarray(1e-20, over.dtype), 0)
        return over if state.wait is None else jnp.where(self._held(state), -jnp.inf, over)

    def after(self, state: AdExState, fired: jax.Array) -> AdExState:
        """Returns the state after the spikes."""
        v, w, wait, late = state.v, state.w, state.wait, state.late
        if self.tau_reset is None:
            v = jnp.where(fired, self.reset, v)
        if w is not None and self.spike_triggered:
            w = w + jnp.where(fired, jnp.asarray(self.b, w.dtype), 0)
        if wait is not None:
            left, owed = jnp.maximum(wait - 1, 0), jnp.zeros_like(wait)
            if late is not None:
                left, owed = jnp.where(late >= 0, -late, left), jnp.maximum(late, 0)
                late = jnp.full_like(late, _NEVER)
            wait = jnp.where(fired, self.waits - owed, left)
        return AdExState(v, w, state.i, wait, late)

    def disturbed(self, state: AdExState, noise: jax.Array) -> AdExState:
        """Returns the state with noise on membranes, but those that are held at reset."""
        v = state.v + noise
        return replace(
            state, v=v if state.wait is None else jnp.where(self._held(state), state.v, v)
        )

    def joined(self, current: jax.Array, back: jax.Array) -> jax.Array:
        """Returns a step's current with what recurrent synapses add."""
        return current + (back.reshape(current.shape) if self.apart else back)

    def on(self, circuits: Any, normal: jax.Array | None = None) -> tuple["AdEx", Any]:
        """Returns the neuron on its circuits: see `Neuron.on`.

        Potentials deviate by shares of the way from leak to threshold.
        """
        way, c = self.threshold - self.leak, circuits
        actual = replace(
            self,
            tau_mem=self.tau_mem * c.tau_mem,
            tau_syn=None if self.tau_syn is None else self.tau_syn * c.tau_syn,
            leak=self.leak + settled(way * c.leak),
            reset=self.reset + settled(way * c.reset),
            threshold=threshold_on(self.threshold, way, c, normal),
            tau_w=self.tau_w * c.tau_w,
            a=self.a * c.a,
            b=self.b * c.b,
            delta_t=self.delta_t * c.delta_t,
            v_t=self.v_t + settled(way * c.v_t),
        )
        if self.reversal_exc is not None and self.reversal_inh is not None:
            actual = replace(
                actual,
                reversal_exc=self.reversal_exc + settled(way * c.reversal[0]),
                reversal_inh=self.reversal_inh + settled(way * c.reversal[1]),
            )
        return actual, disturbance(actual, "exponential", way, c)

    def _held(self, state: AdExState) -> jax.Array:
        """Whether a neuron is held at reset to the end of the step."""
        wait: Any = state.wait
        return wait > 0 if self.on_grid else wait >= 1

    # --- the equations

    def _driven(self, v: jax.Array, i: jax.Array) -> jax.Array:
        """What the synapses make of a membrane, a potential."""
        if self.reversal_exc is None or self.reversal_inh is None:
            return i
        given = self.reference
        at = (self.leak + self.threshold) / 2 if given is None else given
        pairs = ((self.reversal_exc, i[..., 0, :]), (self.reversal_inh, i[..., 1, :]))
        exc, inh = (settled(i * ((e - v) * (1 / (e - at)))) for e, i in pairs)
        return exc + inh

    def _active(self, v: jax.Array, w: jax.Array | None) -> jax.Array:
        """What the exponential and the adaptation add to it."""
        more = jnp.zeros_like(v)
        if self.exponential:
            # Beyond the threshold there is nothing to follow, and no number to hold it.
            slope, size = 1 / self.delta_t, jnp.log(self.delta_t)
            most = jnp.minimum(settled((self.threshold - self.v_t) * slope) + size, _LARGEST)
            exponent = settled((v - self.v_t) * slope) + size
            more = jnp.exp(jnp.minimum(exponent, lax.stop_gradient(most)))
        return more if w is None else more - w

    def _rise(self, v: jax.Array, w: jax.Array | None, i: jax.Array) -> jax.Array:
        """tau_mem dv/dt."""
        rise = self._driven(v, i) + self._active(v, w)
        return rise + (self.leak - v) if self.leaky else rise

    def _adaptation(self, v: jax.Array) -> Value:
        """What w moves to at a membrane v."""
        return settled(self.a * (v - self.leak)) if self.subthreshold else 0.0

    def _drawn(self, v: jax.Array, steps: Value) -> jax.Array:
        """A membrane that was held for some steps."""
        if self.tau_reset is None:
            return self.reset + jnp.zeros_like(v)
        kept = jnp.exp(-steps * (self.dt * (1 / self.tau_reset)))
        return self.reset + settled((v - self.reset) * kept)

    def _euler(self, state: AdExState, drive: jax.Array) -> AdExState:
        """The step at once."""
        v, w = state.v, state.w
        later = v + settled(self.dt / self.tau_mem * self._rise(v, w, drive))
        if w is not None:
            seen = later if self.integrator == "hxtorch" else v
            w = w + settled(self.dt / self.tau_w * (self._adaptation(seen) - w))
        if state.wait is not None:
            later = jnp.where(state.wait > 0, self._drawn(v, 1.0), later)
        return replace(state, v=later, w=w)

    def _midpoint(self, state: AdExState, i: jax.Array) -> AdExState:
        """The step in sub-steps of second order, up to the threshold."""
        v, w = state.v, state.w
        wait: Any = lax.stop_gradient(state.wait)
        # First what is left of the refractory time; w has its exact way to where v holds it.
        if self.waits:
            held = jnp.clip(wait, 0, 1)
            v = jnp.where(held > 0, self._drawn(v, held), v)
            if w is not None:
                to = self._adaptation(v)
                w = to + settled((w - to) * jnp.exp(-held * settled(self.dt * (1 / self.tau_w))))
        # Then the time that there is, with what the last spike left of its step.
        parts = self.substeps or max(1, math.ceil(self.dt / _SUBSTEP - 1e-6))
        h = settled(jnp.clip(1 - wait, 0, 2) * (1 / parts))
        late = jnp.full_like(v, _NEVER)
        if parts == 1:
            v, w, late = self._substep(i, h, (v, w, late), jnp.ones((), v.dtype))[0]
        else:
            left = jnp.arange(parts, 0, -1, dtype=v.dtype)
            v, w, late = _substeps(self, i, h, (v, w, late), left)
        return replace(state, v=v, w=w, late=late)

    def _substep(self, i: jax.Array, h: jax.Array, carry: Any, left: jax.Array) -> Any:
        """A sub-step of h steps, with `left` to do, up to the threshold and no further."""
        v, w, late = carry
        # Settled, as compilers move the numbers of such products where shapes let them.
        rate = settled(h * settled(self.dt * (1 / self.tau_mem)))
        slower = settled(h * settled(self.dt * (1 / self.tau_w)))
        middle, middle_w = v + settled(settled(0.5 * rate) * self._rise(v, w, i)), w
        if w is not None:
            middle_w = w + settled(settled(0.5 * slower) * (self._adaptation(v) - w))
        later = v + settled(rate * self._rise(middle, middle_w, i))
        # A membrane that crosses does so on a line, and stands there; its gradient is that of v.
        threshold, crossed = lax.stop_gradient(self.threshold), late >= 0
        crosses = (later > threshold) & (h > 0) & ~crossed
        rise = jnp.where(crosses, later - v, 1)
        done = jnp.where(crosses, jnp.clip((threshold - v) * (1 / rise), 0, 1), 1)
        done = lax.stop_gradient(jnp.where(crossed, 0, done))
        late = jnp.where(crosses, settled(h * (left - done)), late)
        standing = threshold + (v - lax.stop_gradient(v))
        later = jnp.where(crosses, standing, jnp.where(crossed, v, later))
        if w is not None:
            w = w + settled(settled(done * slower) * (self._adaptation(middle) - middle_w))
        return (later, w, late), None


@jax.jit
def _substeps(neuron: AdEx, i: jax.Array, h: jax.Array, carry: Any, left: jax.Array) -> Any:
    return lax.scan(partial(neuron._substep, i, h), carry, left)[0]
