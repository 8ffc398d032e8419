"""Reward-modulated plasticity, and the noise that it explores with.

    e <- eligibility e + c+;    w <- w + rate (R - mean R) e
    mean R <- mean R + share (R - mean R)

R is the reward of a period. What was expected, the mean, is kept for each place that the
environment may be in.

References: Fremaux and Gerstner 2016; Wunderlich et al. 2019, 10.3389/fnins.2019.00260;
brainscales2-demos ts_07 (arithmetic, noise).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from bss2jax.arrays import pytree
from bss2jax.chip import draws
from bss2jax.kernels.fractional import FRACTION_8
from bss2jax.plastic.observed import Arithmetic, Observed, integers
from bss2jax.plastic.rules import Share, charged, halved, put
from bss2jax.settings import Checked


@pytree
@dataclass(frozen=True, eq=False)
class Reward:
    """The signal of an environment that rewards.

    Attributes:
        value: `[]` the reward of the period.
        place: `[]` int32 where the environment was.
    """

    value: jax.Array
    place: jax.Array


@pytree
@dataclass(frozen=True, eq=False)
class Expected:
    """What reward-modulated plasticity remembers.

    Attributes:
        mean: `[places]` the reward that is expected.
        trace: `[K, N]` eligibility, LSB of correlation, or half of them; None without.
    """

    mean: jax.Array
    trace: jax.Array | None


@dataclass(frozen=True, kw_only=True)
class RewardSTDP(Checked):
    """Reward-modulated spike-timing-dependent plasticity, of the causal branch: see the module.

    Attributes:
        rate: weight per LSB of correlation and unit of reward.
        places: how many places the environment has.
        share: how far what is expected follows a reward.
        expected: the reward that is expected at first.
        eligibility: what is left of a trace after a period; 0: none is kept.
        waits: periods at the beginning in which only rewards are learned.
        arithmetic: `float`; or `chip`, 8-bit fractions rounded towards 0.
    """

    kind: Literal["reward_stdp"] = "reward_stdp"
    correlates: ClassVar[bool] = True

    rate: Annotated[float, Gt(0), Le(1)] = 0.005
    places: Annotated[int, Ge(1)] = 1
    share: Share = 0.5
    expected: float = 1.0
    eligibility: Share = 0.0
    waits: Annotated[int, Ge(0)] = 0
    arithmetic: Arithmetic = "float"

    def memory(self, rows: int, neurons: int) -> Expected:
        """Returns what is expected at first: see `Rule`."""
        trace = jnp.zeros((rows, neurons), jnp.float32) if self.eligibility else None
        return Expected(jnp.full(self.places, self.expected, jnp.float32), trace)

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: Expected, key: jax.Array
    ) -> tuple[jax.Array, Expected]:
        reward: Reward = observed.signal
        before = memory.mean[reward.place]
        surprise = jnp.where(observed.number < self.waits, 0.0, reward.value - before)
        mean = memory.mean.at[reward.place].add(self.share * (reward.value - before))
        chip = self.arithmetic == "chip"
        trace = halved(observed, 0) if chip else charged(observed, 0)
        whole = memory.trace
        if whole is not None:
            whole = self._followed(whole)
            trace = integers(whole[observed.rows]) + trace if chip else whole[observed.rows] + trace
            whole = whole.at[observed.rows].set(trace.astype(jnp.float32))
        w = weights[observed.rows]
        if chip:
            # The processor's own arithmetic makes an integer of the surprise.
            factor = FRACTION_8.saturated(jnp.trunc(128 * 2 * self.rate * surprise).astype(int))
            new = FRACTION_8.add(integers(w), FRACTION_8.scaled(trace, factor))
        else:
            new = w + self.rate * surprise * trace
        return put(weights, observed.rows, new), Expected(mean, whole)

    def _followed(self, trace: jax.Array) -> jax.Array:
        """What is left of all traces after a period."""
        if self.arithmetic == "float":
            return self.eligibility * trace
        factor = min(127, round(128 * self.eligibility))
        return FRACTION_8.multiply(integers(trace), factor).astype(jnp.float32)


@dataclass(frozen=True, kw_only=True)
class NoiseRow(Checked):
    """A row whose weights are drawn anew each period: it excites some neurons, others each time.

    Weights are normal, with a mean of -0.375 standard deviations, and cut at 0 and 63.

    Attributes:
        row: the row's number.
        start, end: standard deviation at first and at last, LSB.
        periods: in how many it goes from the one to the other.
    """

    kind: Literal["noise_row"] = "noise_row"
    correlates: ClassVar[bool] = False

    row: Annotated[int, Ge(0)]
    start: Annotated[float, Ge(0), Le(63)] = 15.0
    end: Annotated[float, Ge(0), Le(63)] = 4.0
    periods: Annotated[int, Ge(1)] = 50_000

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: Any, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        done = jnp.minimum(observed.number / self.periods, 1.0)
        std = self.start + done * (self.end - self.start)
        drawn = jnp.floor(std * (draws.normal(key, (weights.shape[1],)) - 0.375))
        return weights.at[self.row].set(jnp.clip(drawn, 0.0, 63.0)), memory
