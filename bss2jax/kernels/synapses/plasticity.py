"""Short-term plasticity: drivers whose pulses depend on the spikes that they sent before.

Each source, an address at its driver, has a state s, 0..1, which a spike moves towards 1 and which
decays between spikes:

    s <- s e^(-dt / tau);   at a spike  s <- s + utilization (1 - s)
    amplitude = 1 - s (depression)  or  s (facilitation),  plus the driver's offset

The amplitude is the pulse's length, which scales both rows of the driver before the weight. A
driver depresses or facilitates; both at once it cannot. In the mode `tsodyks_markram`, for
comparison, it can:

    u <- u e^(-dt / tau_facil),  x <- 1 - (1 - x) e^(-dt / tau_rec)
    at a spike  u <- u + utilization (1 - u);  amplitude = u x;  x <- x - u x

Depression's amplitudes are those of Tsodyks and Markram with u = utilization, times
(1 - utilization) / utilization; facilitation's are theirs with x = 1.

It is a stage before the product: `population(plasticity.amplitudes(raster), w, ...)`; of recurrent
synapses a stage within the loop over time, `recurrent_drivers`. Without it nothing is computed.
Sums of products are then exact to float32, not to the bit.

References: Tsodyks and Markram 1997; brainscales2-demos `fp_brainscales` (circuit, a state for each
afferent); haldls `synapse_driver.h` (utilization and recovery of each driver, two pairs of
voltages); calix `synapse_driver` (offset). One state for each source is assumed.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.arrays import as_array, as_arrays, as_number, positive, pytree
from bss2jax.chip import draws
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.dot import settled

Value = float | jax.Array


@pytree
@dataclass(frozen=True)
class ShortTerm:
    """Short-term plasticity of the drivers of a population's inputs: see the module.

    Parameters are a number, or `[K]` where drivers differ; all may be trained.

    Attributes:
        utilization: share that a spike uses of what is left, 0..1.
        tau_rec: time constant of recovery from depression, s; 0 where a driver does not depress.
        tau_facil: time constant of facilitation, s; 0 where a driver does not facilitate.
        offset: what the driver's pulse is too long by, of its full length.
        dt: s a step.
        mode: `chip` or `tsodyks_markram`.

    Raises:
        ValueError: a parameter is out of range; a driver of the chip depresses and facilitates.
    """

    utilization: Value = 0.2
    tau_rec: Value = 0.0
    tau_facil: Value = 0.0
    offset: Value = 0.0
    dt: float = field(default=1e-6, metadata={"static": True})
    mode: Literal["chip", "tsodyks_markram"] = field(default="chip", metadata={"static": True})

    def __post_init__(self) -> None:
        as_arrays(self)
        object.__setattr__(self, "dt", positive("dt", self.dt, "seconds"))
        if self.mode not in ("chip", "tsodyks_markram"):
            raise ValueError(f"mode: expected chip or tsodyks_markram, got {self.mode!r}")
        known = _known(self.utilization), _known(self.tau_rec), _known(self.tau_facil)
        if any(each is None for each in known):
            return
        utilization, tau_rec, tau_facil = known
        if not np.all((utilization >= 0) & (utilization <= 1)):
            raise ValueError(f"utilization: expected 0 to 1, got {self.utilization}")
        for name, tau in (("tau_rec", tau_rec), ("tau_facil", tau_facil)):
            if not np.all((tau >= 0) & (tau < np.inf)):
                raise ValueError(f"{name}: expected seconds >= 0, got {getattr(self, name)}")
        if self.mode == "chip" and np.any((tau_rec > 0) & (tau_facil > 0)):
            raise ValueError(
                "tau_rec, tau_facil: a driver depresses or facilitates, not both; set one to 0, or "
                "compare with mode='tsodyks_markram'"
            )

    def rest(self, like: jax.Array) -> "Sources":
        """Returns sources that have not spiked, of the shape of a step's spikes `[..., K]`."""
        zero = jnp.zeros_like(like, jnp.float32)
        return Sources(zero, zero if self.mode == "tsodyks_markram" else None)

    def step(self, state: "Sources", z: jax.Array) -> tuple["Sources", jax.Array]:
        """Advances by one step; `partial(plasticity.step)` is a scan body.

        Args:
            state: the state from `rest` or the step before.
            z: `[..., K]` spikes, 0 or 1.

        Returns:
            The next state, and amplitudes `[..., K]`, 0 where there is no spike.
        """
        if self.mode == "tsodyks_markram":
            return self._tsodyks_markram(state, z)
        facilitates = jnp.asarray(self.tau_facil) > 0
        tau = jnp.where(facilitates, self.tau_facil, self.tau_rec)
        s = settled(state.used * _kept(tau, self.dt))
        s = s + settled(z * settled(self.utilization * (1 - s)))
        plastic = facilitates | (jnp.asarray(self.tau_rec) > 0)
        amplitude = jnp.where(facilitates, s, 1 - s)
        amplitude = jnp.where(plastic, amplitude, 1.0) + self.offset
        return Sources(s, None), z * jnp.maximum(amplitude, 0)

    def _tsodyks_markram(self, state: "Sources", z: jax.Array) -> tuple["Sources", jax.Array]:
        assert state.u is not None
        u = settled(state.u * _kept(self.tau_facil, self.dt))
        used = settled(state.used * _kept(self.tau_rec, self.dt))  # 1 - x
        u = u + settled(z * settled(self.utilization * (1 - u)))
        released = settled(u * (1 - used))
        amplitude = z * jnp.maximum(released + self.offset, 0)
        return Sources(used + settled(z * released), u), amplitude

    def amplitudes(self, spikes: jax.Array) -> jax.Array:
        """Returns the amplitudes of a raster's spikes, from rest.

        Args:
            spikes: `[T, ..., K]`, 0 or 1.

        Returns:
            `[T, ..., K]`; 1 is a pulse of full length.
        """
        spikes = jnp.asarray(spikes, jnp.float32)
        if not len(spikes):
            return spikes
        return _amplitudes(self, spikes)


@jax.jit
def _amplitudes(sources: ShortTerm, spikes: jax.Array) -> jax.Array:
    return lax.scan(sources.step, sources.rest(spikes[0]), spikes)[1]


@pytree
@dataclass(frozen=True, eq=False)
class Sources:
    """What short-term plasticity carries from step to step, each `[..., K]`.

    Attributes:
        used: s of a driver of the chip; 1 - x of Tsodyks and Markram.
        u: theirs; None on the chip.
    """

    used: jax.Array
    u: jax.Array | None


@dataclass(frozen=True)
class DriverMismatch:
    """How far drivers spread; all of it assumed.

    Attributes:
        utilization, tau: standard deviations, relative.
        offset: the offset of the pulse, of its full length, before calibration.
    """

    utilization: float = 0.10
    tau: float = 0.20
    offset: float = 0.08


def drivers_of(
    key: jax.Array,
    plasticity: ShortTerm,
    mismatch: DriverMismatch = DriverMismatch(),
    *,
    substrate: Substrate = BSS2,
) -> ShortTerm:
    """Draws the drivers of a chip, `[K]`: one for each pair of rows, hemispheres side by side.

    Args:
        key: decides the specimen; that of the chip gives the drivers of that chip.
        plasticity: what they are set to, numbers or `[K]`.
        mismatch: the spreads.
        substrate: the substrate whose array sizes the chip has.
    """
    shape = (substrate.hemispheres * substrate.rows,)
    key = draws.pinned(key)

    def drawn(name: str, std: float, mean: float) -> jax.Array:
        return draws.around(draws.folded(key, f"short_term.{name}"), std, shape, mean)

    tau = jnp.maximum(drawn("tau", mismatch.tau, 1.0), 0.1)
    utilization = plasticity.utilization * drawn("utilization", mismatch.utilization, 1.0)
    return replace(
        plasticity,
        utilization=jnp.clip(utilization, 0, 1),
        tau_rec=plasticity.tau_rec * tau,
        tau_facil=plasticity.tau_facil * tau,
        offset=plasticity.offset + drawn("offset", mismatch.offset, 0.0),
    )


def _kept(tau: Any, dt: float) -> jax.Array:
    """What dt leaves of something with time constant tau; nothing where that is 0."""
    tau = jnp.asarray(tau, jnp.float32)
    lasts = tau > 0
    return jnp.where(lasts, jnp.exp(-dt / jnp.where(lasts, tau, 1.0)), 0.0)


def _known(value: Any) -> Any:
    if isinstance(value, jax.Array):  # a gradient is a tree like this, too, of any values
        return None
    array = as_array(value)
    return as_number(value) if array is None else array
