"""Rules that ship: spike-timing-dependent plasticity, homeostasis, drift.

Each is computed in floating point (`float`) or as the processors do it (`chip`): 8-bit fractions
that saturate, products rounded down, random bytes. See `reward` and `structural` for more.

References: libnux `examples/stdp.cpp` (additive rule); brainscales2-demos ts_11 (homeostasis);
Cramer et al. 2023, arXiv 2208.08329 (homeostasis of a network); 2412.02515 (drift, stochastic
rounding).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from bss2jax.kernels import noise
from bss2jax.kernels.fractional import FRACTION_8
from bss2jax.plastic.observed import Arithmetic, Observed, integers, random_byte
from bss2jax.settings import Checked

Share = Annotated[float, Ge(0), Le(1)]
Factor = Annotated[float, Ge(0), Le(127)]
_MAX = 63.0


def halved(observed: Observed, branch: int) -> jax.Array:
    """Returns a branch's correlation in 8-bit fractions, `[R, N]` half LSB: baseline less reading.

    Args:
        observed: what was read.
        branch: 0 causal, 1 acausal.
    """
    signed = [FRACTION_8.signed(integers(each) >> 1) for each in _branch(observed, branch)]
    return FRACTION_8.subtract(*signed)


def charged(observed: Observed, branch: int) -> jax.Array:
    """Returns a branch's correlation, `[R, N]` LSB: baseline less reading.

    Args:
        observed: what was read.
        branch: 0 causal, 1 acausal.
    """
    baseline, reading = _branch(observed, branch)
    return baseline - reading


def _branch(observed: Observed, branch: int) -> tuple[jax.Array, jax.Array]:
    """The readings of a branch when empty and now, `[R, N]` LSB."""
    reading = (observed.causal, observed.acausal)[branch]
    if reading is None or observed.baseline is None:
        raise ValueError("the rule needs correlation sensors")
    return observed.baseline[branch], reading


def put(weights: jax.Array, rows: jax.Array, new: jax.Array) -> jax.Array:
    """Returns weights `[K, N]` with those of some rows `[R]` replaced, `[R, N]`."""
    return weights.at[rows].set(held(new))


def held(new: jax.Array) -> jax.Array:
    """Returns weights `[...]` cut to what a synapse holds, 0 to 63 LSB, as float32."""
    return jnp.clip(jnp.asarray(new, jnp.float32), 0.0, _MAX)


@dataclass(frozen=True, kw_only=True)
class STDP(Checked):
    """Spike-timing-dependent plasticity: w + rate (potentiation c+ - depression c-).

    With `soft` bounds potentiation is times (1 - w / 63), and depression times w / 63.

    Attributes:
        rate: weight per LSB of correlation.
        potentiation, depression: factors of the branches.
        bounds: `hard`, additive; `soft`, dependent on the weight.
        arithmetic: `float`, or `chip` for the processors'.
    """

    kind: Literal["stdp"] = "stdp"
    correlates: ClassVar[bool] = True

    rate: Factor = 0.125
    potentiation: Factor = 1.0
    depression: Factor = 1.0
    bounds: Literal["hard", "soft"] = "hard"
    arithmetic: Arithmetic = "float"

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: Any, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        w = weights[observed.rows]
        step = self._float if self.arithmetic == "float" else self._chip
        return put(weights, observed.rows, step(observed, w)), memory

    def _float(self, observed: Observed, w: jax.Array) -> jax.Array:
        up = self.rate * self.potentiation * charged(observed, 0)
        down = self.rate * self.depression * charged(observed, 1)
        if self.bounds == "soft":
            up, down = up * (1 - w / _MAX), down * (w / _MAX)
        return w + up - down

    def _chip(self, observed: Observed, w: jax.Array) -> jax.Array:
        # In units of half a weight: correlation is halved, and so is a fraction's step of 1/128.
        f, doubled = FRACTION_8, integers(w) << 1
        up, down = halved(observed, 0), halved(observed, 1)
        if self.bounds == "soft":
            up, down = f.multiply(up, 127 - doubled), f.multiply(down, doubled)
        # A product with a fraction, then shifts: 4 rate, below 1 for rates below 1/4.
        factors = [round(128 * 4 * self.rate * p) for p in (self.potentiation, self.depression)]
        up, down = (_times(part, factor) for part, factor in zip((up, down), factors))
        return f.add(doubled, f.subtract(up, down)) >> 1


def _times(a: jax.Array, factor: int) -> jax.Array:
    """A fraction times factor / 128, above 1 by the integers' saturating multiplication."""
    if factor < 128:
        return FRACTION_8.multiply(a, factor)
    return FRACTION_8.saturated((integers(a) * factor) >> 7)


@dataclass(frozen=True, kw_only=True)
class Homeostasis(Checked):
    """Weights of a column go up where its neuron spikes too little: w + rate (target - count).

    Attributes:
        target: spikes in the window, or in `every` of them.
        rate: weight per spike that is missing; of the sign: weight a visit.
        follows: `difference`, floor(rate (target - count)); `sign`, one step a visit; `ratio`,
            trunc((target - count) / target).
        chance: the share of synapses that are changed in a visit, drawn anew.
        first, last: the rows that are changed, from `first` up to `last`, or -1: to the end.
        every: periods over which spikes are added up before weights change.
        arithmetic: `float`, or `chip` for the processors', whose random bytes round the chance.
    """

    kind: Literal["homeostasis"] = "homeostasis"
    correlates: ClassVar[bool] = False

    target: Annotated[float, Gt(0)] = 60.0
    rate: Factor = 1.0
    follows: Literal["difference", "sign", "ratio"] = "difference"
    chance: Annotated[float, Gt(0), Le(1)] = 1.0
    first: Annotated[int, Ge(0)] = 0
    last: Annotated[int, Ge(-1)] = -1
    every: Annotated[int, Ge(1)] = 1
    arithmetic: Arithmetic = "float"

    def memory(self, rows: int, neurons: int) -> jax.Array:
        """Returns no spikes so far, `[N]`; see `Rule`."""
        return jnp.zeros(neurons, jnp.float32)

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: Any, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        counts = memory + observed.counts
        due = (observed.number + 1) % self.every == 0
        rows = jnp.arange(len(weights))[:, None]
        last = len(weights) if self.last < 0 else self.last
        chosen = due & (rows >= self.first) & (rows < last)
        if self.chance < 1:
            chosen = chosen & self._drawn(key, weights.shape)
        if self.arithmetic == "float":
            new = weights + self._float(counts)
        else:
            new = FRACTION_8.add(integers(weights), self._chip(counts))
        return jnp.where(chosen, held(new), weights), jnp.where(due, 0.0, counts)

    def _drawn(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        u = noise.uniform(noise.stream(key), *noise.grid(shape))
        chance = self.chance
        if self.arithmetic == "chip":
            chance = max(1, round(256 * chance)) / 256  # what a random byte can say
        return u < chance

    def _float(self, counts: jax.Array) -> jax.Array:
        missing = self.target - counts
        if self.follows == "sign":
            return self.rate * jnp.sign(missing)
        if self.follows == "ratio":
            return jnp.trunc(missing / self.target)
        return jnp.floor(self.rate * missing)

    def _chip(self, counts: jax.Array) -> jax.Array:
        # Counters are read as fractions: beyond 127 they say 127.
        f = FRACTION_8
        if self.follows == "ratio":  # by the processor itself, which has no such limit
            return f.saturated(jnp.trunc((self.target - counts) / self.target).astype(jnp.int32))
        missing = f.subtract(round(self.target), f.saturated(integers(counts)))
        if self.follows == "sign":
            return jnp.sign(missing) * round(self.rate)
        return f.saturated((missing * round(128 * self.rate)) >> 7)


@dataclass(frozen=True, kw_only=True)
class Drift(Checked):
    """Weights drift towards one value, by a share of the way each period.

    `chip` rounds stochastically. Where weights are whole, `float` loses steps below half an LSB, as
    synapses round to the next whole weight.

    Attributes:
        towards: the value, LSB.
        share: the share of the way that is gone in a period.
        arithmetic: `float`; or `chip`, whole weights, with random bytes that round what is less.
    """

    kind: Literal["drift"] = "drift"
    correlates: ClassVar[bool] = False

    towards: Annotated[float, Ge(0), Le(63)] = 0.0
    share: Share = 0.01
    arithmetic: Arithmetic = "float"

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: Any, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        if self.arithmetic == "float":
            return weights + self.share * (self.towards - weights), memory
        # The change in 16 bits, 1/256 of a weight; its lowest 8 are rounded away.
        change = (round(self.towards) - integers(weights)) * round(256 * self.share)
        new = integers(weights) + ((change + random_byte(key, weights.shape)) >> 8)
        return held(new), memory
