"""Correlation sensors: in each synapse two capacitors, which pairs of spikes charge.

    causal   each spike of the neuron, with the latest one of the input since its spike before:
             c+ <- c+ + amplitude e^(-(t_post - t_pre) / tau)
    acausal  the same with both swapped

So a spike of the input is used once at most for c+, one of the neuron for c-; spikes of the same
step are no pair (restricted nearest neighbours). What decides about pairs is common to a row or a
column, so that a whole array keeps two capacitors a synapse and nothing else.

A capacitor is read through the CADC, as an 8-bit number that falls with correlation, and is reset
with the others of its branch.

References: brainscales2-demos `fp_brainscales` (rule); calix `spiking/correlation.py` (targets:
0.5 LSB a pair at no distance, 5 us); NEST `stdp_nn_restr_synapse` has the same pairs.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import Compared, floats, positive, pytree
from bss2jax.chip import draws
from bss2jax.chip.sensors import SensorMismatch, sample_sensors
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.dot import settled
from bss2jax.kernels.gradients.nominal import without_gradient

Value = float | jax.Array


@pytree
@dataclass(frozen=True, eq=False)
class Sensors(Compared):
    """The sensors of an array of synapses.

    Parameters are a number, `[K, N]` of each synapse, or `[2, K, N]`, the two branches (causal,
    acausal) apart.

    Attributes:
        amplitude: what a pair without distance adds, LSB.
        tau: time constant, s.
        baseline: reading of an empty capacitor, LSB.
        swing: charge at which a capacitor is full, LSB.
        noise: std of a reading, LSB.
        dt: s a step.

    Raises:
        ValueError: dt is not above 0.
    """

    amplitude: Value = 0.5
    tau: Value = 5e-6
    baseline: Value = 200.0
    swing: Value = 255.0
    noise: Value = 1.0
    dt: float = field(default=1e-6, metadata={"static": True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt", positive("dt", self.dt, "seconds"))

    def rest(self, inputs: int, neurons: int, batch: tuple[int, ...] = ()) -> "Correlation":
        """Returns empty capacitors, of synapses that have seen no spike yet."""
        zero = jnp.zeros((*batch, inputs, neurons), jnp.float32)
        pre, post = (jnp.full((*batch, n), jnp.inf, jnp.float32) for n in (inputs, neurons))
        return Correlation(pre, post, zero, zero)

    def step(self, state: "Correlation", pre: jax.Array, post: jax.Array) -> "Correlation":
        """Advances by one step.

        Args:
            state: the state, from `rest` or the step before.
            pre: `[..., K]` spikes of the inputs, not 0 where one is.
            post: `[..., N]` spikes of the neurons.
        """
        before, after = state.pre + 1, state.post + 1  # steps since the last spike of each
        row, column = before[..., :, None], after[..., None, :]
        causal = self._pair(0, row, (post != 0)[..., None, :] & (row < column))
        acausal = self._pair(1, column, (pre != 0)[..., :, None] & (column < row))
        return Correlation(
            jnp.where(pre != 0, 0.0, before),
            jnp.where(post != 0, 0.0, after),
            jnp.minimum(state.causal + causal, self.swing),
            jnp.minimum(state.acausal + acausal, self.swing),
        )

    def run(
        self, pre: jax.Array, post: jax.Array, state: "Correlation | None" = None
    ) -> "Correlation":
        """Returns the state after a sequence of spikes, with memory for one.

        Args:
            pre: `[T, ..., K]` spikes of the inputs.
            post: `[T, ..., N]` spikes of the neurons.
            state: before it; None: at rest.

        Raises:
            ValueError: the spikes are not of as many steps and samples.
        """
        if pre.shape[:-1] != post.shape[:-1]:
            raise ValueError(
                f"pre and post: expected the same steps and samples, got {pre.shape}, {post.shape}"
            )
        first = self.rest(pre.shape[-1], post.shape[-1], pre.shape[1:-1])
        pre, post = (without_gradient(floats(z, "spikes"), "spikes") for z in (pre, post))
        if not len(pre):
            return first if state is None else state
        # On as many devices as the spikes are.
        charge = first.causal + 0 * pre[0][..., :, None] * post[0][..., None, :]
        first = Correlation(first.pre + 0 * pre[0], first.post + 0 * post[0], charge, charge)
        return _charged(self, first if state is None else state, pre, post)

    def run_sparse(self, pre: jax.Array, post: jax.Array, state: "Correlation") -> "Correlation":
        """Returns the state that `run` returns, by a row or column of synapses for each spike.

        A large array that has few spikes takes a small part of the time; there is no gradient.

        Args:
            pre: `[T, K]` spikes of the inputs.
            post: `[T, N]` spikes of the neurons.
            state: before it.
        """

        def age(steps: Any, at: Any) -> tuple[Any, Any]:
            before = jax.tree.map(lambda each: each + 1, steps)
            return jax.tree.map(lambda z, each: jnp.where(z != 0, 0.0, each), at, before), before

        ages, (row, column) = lax.scan(age, (state.pre, state.post), (pre, post))
        causal = self._line_by_line(0, state.causal, post, column, row)
        acausal = self._line_by_line(1, state.acausal, pre, row, column)
        return Correlation(*ages, causal, acausal)

    def _line_by_line(
        self, branch: int, charge: jax.Array, spikes: jax.Array, own: jax.Array, other: jax.Array
    ) -> jax.Array:
        """Charges a branch, a line of synapses a spike: a column of causal ones, a row of others.

        Args:
            branch: 0 causal, 1 acausal.
            charge: `[K, N]` of the branch.
            spikes: `[T, L]` spikes of the lines.
            own, other: `[T, L]` and `[T, M]` steps since the last spike before, of the lines and
                of what crosses them.
        """
        total = (spikes != 0).sum(axis=0)
        line_of = lambda value, n: _line(_of(value, branch), branch, n)  # noqa: E731

        def one(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            left, charge = carry
            n = jnp.argmax(left)
            # Spikes of a line in the order of time.
            t = jnp.argmax(jnp.cumsum(spikes[:, n] != 0) > total[n] - left[n])
            sensors = replace(self, amplitude=line_of(self.amplitude, n), tau=line_of(self.tau, n))
            more = sensors._pair(0, other[t], other[t] < own[t, n])
            full = jnp.minimum(_line(charge, branch, n) + more, line_of(self.swing, n))
            at = (slice(None), n) if branch == 0 else n
            return left.at[n].add(-1), charge.at[at].set(full)

        return lax.while_loop(lambda carry: carry[0].max() > 0, one, (total, charge))[1]

    def read(self, state: "Correlation", key: jax.Array | None = None) -> jax.Array:
        """Reads the capacitors: `[2, ..., K, N]`, 0 to 255 LSB, causal and acausal.

        Args:
            state: the sensors'.
            key: the random key of the noise; None: no noise.
        """
        charge = jnp.stack([state.causal, state.acausal])
        level = self._baseline(charge) - charge
        if key is not None:
            level = level + self.noise * draws.normal(key, charge.shape)
        return jnp.clip(jnp.floor(level), 0, 255)

    def correlation(self, reading: jax.Array) -> jax.Array:
        """Returns what a reading, `[2, ..., K, N]`, says of the charge, LSB: baseline less reading.

        Half an LSB is taken off, as the CADC truncates.
        """
        return self._baseline(reading) - 0.5 - reading

    def _baseline(self, like: jax.Array) -> Value:
        """Empty readings, `[2, ..., K, N]` where they differ from place to place."""
        if jnp.ndim(self.baseline) != 3:
            return self.baseline
        both = jnp.asarray(self.baseline)
        return both.reshape(2, *(1,) * (like.ndim - 3), *both.shape[1:])

    def _pair(self, branch: int, steps: jax.Array, pairs: jax.Array) -> jax.Array:
        """What pairs of spikes, steps apart, add to a branch."""
        tau, amplitude = _of(self.tau, branch), _of(self.amplitude, branch)
        # An exponential of a row or column where sensors are alike. Inf times 0 is no number.
        steps = jnp.where(jnp.isinf(steps), 0.0, steps)
        return jnp.where(pairs, settled(amplitude * jnp.exp(-steps * (self.dt / tau))), 0.0)


@pytree
@dataclass(frozen=True, eq=False)
class Correlation:
    """What sensors carry from step to step.

    Attributes:
        pre: `[..., K]` steps since the last spike of each input, inf before the first.
        post: `[..., N]` steps since the last spike of each neuron.
        causal, acausal: `[..., K, N]` charge of the capacitors, LSB.
    """

    pre: jax.Array
    post: jax.Array
    causal: jax.Array
    acausal: jax.Array

    def reset(self, *, causal: bool = False, acausal: bool = False) -> "Correlation":
        """Returns the state with the capacitors of some branches empty, and the others as were."""
        chosen = (name for name, wanted in (("causal", causal), ("acausal", acausal)) if wanted)
        empty = {name: jnp.zeros_like(getattr(self, name)) for name in chosen}
        return replace(self, **empty)


@jax.jit
def _charged(sensors: Sensors, state: Correlation, pre: jax.Array, post: jax.Array) -> Correlation:
    one = lambda state, at: (sensors.step(state, *at), None)  # noqa: E731
    return lax.scan(one, state, (pre, post))[0]


def sensors_of(
    key: jax.Array,
    mismatch: SensorMismatch = SensorMismatch(),
    *,
    target: Sensors = Sensors(),
    substrate: Substrate = BSS2,
) -> Sensors:
    """Draws the sensors of a chip: `[2, K, N]`, one for each branch of each physical synapse.

    Args:
        key: decides the specimen; that of the chip gives the sensors of that chip.
        mismatch: the spreads.
        target: what they are calibrated to.
        substrate: the substrate whose array sizes the chip has.
    """
    pattern = sample_sensors(key, mismatch, substrate=substrate)
    return replace(
        target,
        amplitude=target.amplitude * pattern.amplitude,
        tau=target.tau * pattern.tau,
        baseline=target.baseline + pattern.baseline,
    )


def _of(value: Any, branch: int) -> Any:
    """A parameter of a branch."""
    return value[branch] if jnp.ndim(value) == 3 else value


def _line(value: Any, branch: int, n: jax.Array) -> Any:
    """A column, of the causal branch, or a row of a parameter `[K, N]`, or of one that is less."""
    if jnp.ndim(value) != 2:
        return value
    return jnp.asarray(value)[:, n] if branch == 0 else jnp.asarray(value)[n]
