"""Codes: layers that turn values 0..1 into spikes, for populations behind them.

Values beyond 0..1 are coded as the ends. A code of one spike an input hands its values on, together
with itself (`Lazy`): whoever is behind decides whether a raster, events or windows are made of
them, and when. Codes of several spikes make a raster, and pass a gradient: that of the mean.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from jax import lax

from bss2jax.kernels import coding, noise
from bss2jax.kernels.synapses.lazy import Lazy
from bss2jax.networks.layer import Applied, Arrays, How, Layer, Positive, Scale, Seconds
from bss2jax.networks.signal import Signal, Spikes, expect_values


def raster_of(x: jax.Array | Lazy) -> jax.Array:
    """Returns the raster `[T, B, *size]` of spikes that are still to be coded; an array is one."""
    return x.decoded() if hasattr(x, "decoded") else x


@dataclass(frozen=True, kw_only=True)
class Code(Layer):
    """What every code can be told.

    Attributes:
        steps: T, time steps of a sample.
        dt: length of a step, s.
    """

    # A spike in a step says nothing of how it would move with the value.
    differentiable: ClassVar[bool] = False
    unsigned: ClassVar[bool] = True
    current: ClassVar[bool] = False
    one_spike: ClassVar[bool] = False

    steps: Positive = 30
    dt: Seconds = 1e-6

    def shape(self, *before: Signal) -> Signal:
        (values,) = before
        expect_values(values)
        return Spikes(
            self.size(values), values.substrate, steps=self.steps, dt=self.dt,
            events=self.events(values), current=self.current, coded=self.one_spike,
        )  # fmt: skip

    def size(self, before: Signal) -> tuple[int, ...]:
        """Returns the size of the coded inputs."""
        return before.size

    def events(self, before: Signal) -> float | None:
        """Returns the spikes that an input sends in a sample, at most, or on average."""
        return 1.0 / before.lines


@dataclass(frozen=True, kw_only=True)
class OneSpike(Code):
    """A code of at most one spike an input."""

    one_spike: ClassVar[bool] = True

    def time(self, values: jax.Array) -> jax.Array:
        """Returns the step of the spike of each value 0..1, `[...]` int32; T or later is none."""
        raise NotImplementedError

    def __call__(self, values: jax.Array) -> jax.Array:
        """Returns the raster `[T, ...]` of values `[...]`."""
        steps = jnp.arange(self.steps, dtype=jnp.int32).reshape(-1, *(1,) * values.ndim)
        return (self.time(values)[None] == steps).astype(jnp.float32)

    def prepared(self, values: jax.Array) -> jax.Array:
        """Returns the values `[B, *size]` of all inputs, of those of the layer before."""
        return values

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        values = jnp.clip(how.before[0].fraction(x[0]), 0, 1)
        return Lazy(self.prepared(values), self.steps, self), state, {}  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Latency(OneSpike):
    """One spike at step T - round(T x): the earlier the larger the value, none for 0.

    References: brainscales2-demos ts_13.
    """

    kind: Literal["latency"] = "latency"

    def time(self, values: jax.Array) -> jax.Array:
        return coding.latency(values, self.steps).time


@dataclass(frozen=True, kw_only=True)
class LogLatency(OneSpike):
    """One spike at t = tau ln(x / (x - theta)), none at or below theta.

    Attributes:
        tau: time constant of the code, s.
        theta: the least value that spikes.

    References: Cramer et al. 2022.
    """

    kind: Literal["log_latency"] = "log_latency"
    tau: Seconds = 8e-6
    theta: Annotated[float, Gt(0), Lt(1)] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        first = -self.tau * math.log1p(-self.theta)
        if first > self.steps * self.dt:
            raise ValueError(
                f"tau: got {self.tau} s, with which the value 1 spikes at {first:.3g} s, beyond "
                f"the {self.steps} steps of {self.dt} s"
            )

    def time(self, values: jax.Array) -> jax.Array:
        return coding.log_latency(values, self.steps, self.dt, self.tau, self.theta).time


@dataclass(frozen=True, kw_only=True)
class SpikeTime(OneSpike):
    """One spike at early + x (late - early), and one input more that spikes at `bias`.

    Attributes:
        early, late: time of the spike of the value 0 and of the value 1, s.
        bias: time of the bias input's spike, s.

    References: Kriener et al. 2022, arXiv 2102.08211.
    """

    kind: Literal["spike_time"] = "spike_time"
    early: Seconds = 2e-6
    late: Seconds = 26e-6
    bias: Annotated[float, Ge(0), Lt(1)] = 2e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("early", "late", "bias"):
            if getattr(self, name) > self.steps * self.dt:
                raise ValueError(
                    f"{name}: {getattr(self, name)} s lies beyond the {self.steps} steps of "
                    f"{self.dt} s"
                )
        if self.early > self.late:
            raise ValueError(f"early: got {self.early} s, expected at most late, {self.late} s")

    def size(self, before: Signal) -> tuple[int, ...]:
        # A bias among the inputs leaves them without rows and columns.
        return (before.entries + 1,)

    def events(self, before: Signal) -> float | None:
        return 1.0  # the value 0 spikes, too

    def prepared(self, values: jax.Array) -> jax.Array:
        return jnp.pad(values.reshape(len(values), math.prod(values.shape[1:])), ((0, 0), (0, 1)))

    def time(self, values: jax.Array) -> jax.Array:
        time = coding.spike_time(values, self.dt, self.early, self.late).time
        return time.at[..., -1].set(round(self.bias / self.dt))


@dataclass(frozen=True, kw_only=True)
class _Train(Code):
    """A code of up to `spikes` spikes an input.

    Attributes:
        spikes: number of spikes of the value 1; by default one a step.
    """

    differentiable: ClassVar[bool] = True
    spikes: Positive | Scale | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spikes is not None and self.spikes > self.steps:
            raise ValueError(f"spikes: got {self.spikes}, expected at most {self.steps} steps")

    @property
    def most(self) -> float:
        """Spikes of the value 1."""
        return self.steps if self.spikes is None else self.spikes

    def events(self, before: Signal) -> float | None:
        return self.most / before.lines

    def draw(self, values: jax.Array, how: How) -> jax.Array:
        """Returns the spikes `[T, B, K]` of values `[B, K]`, 0..1."""
        raise NotImplementedError

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        before = how.before[0]
        values = before.flat(jnp.clip(before.fraction(x[0]), 0, 1))
        z = lax.stop_gradient(self.draw(lax.stop_gradient(values), how))
        z = coding.with_mean_gradient(values, z, self.most / self.steps)
        return before.shaped(z), state, {}


@dataclass(frozen=True, kw_only=True)
class Regular(_Train):
    """Up to `spikes` spikes at even distances, in proportion to the value."""

    kind: Literal["regular"] = "regular"

    def draw(self, values: jax.Array, how: How) -> jax.Array:
        return coding.regular(values, self.steps, self.most)


@dataclass(frozen=True, kw_only=True)
class Rate(_Train):
    """Poisson spikes, `spikes` on average for the value 1: random, so a key is needed."""

    kind: Literal["rate"] = "rate"

    def draw(self, values: jax.Array, how: How) -> jax.Array:
        if how.key is None:
            raise ValueError("rate coding is random: give a key")
        samples, inputs = values.shape
        u = noise.uniform(
            noise.stream(how.key),
            jnp.arange(self.steps)[:, None, None],
            how.sample + jnp.arange(samples)[:, None],
            jnp.arange(inputs),
        )
        return (u < (values * (self.most / self.steps))[None]).astype(jnp.float32)


@dataclass(frozen=True, kw_only=True)
class Current(Code):
    """No spikes but a current that stays, in proportion to the value, of its sign: `float` only."""

    kind: Literal["current"] = "current"
    differentiable: ClassVar[bool] = True
    unsigned: ClassVar[bool] = False
    current: ClassVar[bool] = True

    def events(self, before: Signal) -> float | None:
        return None

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        return coding.constant_current(how.before[0].fraction(x[0]), self.steps), state, {}


@dataclass(frozen=True, kw_only=True)
class Direct(Code):
    """Each value itself, alike in every step: a current on `float`, on a chip spikes in each step.

    What the first layer makes of it is computed once, not in each step. On `ideal` and `chip` a
    value is rounded to so many levels: an input of 1 sends as many spikes in each step, through
    synapses of as much less weight.

    Attributes:
        steps: T, time steps of a sample.
        levels: spikes that an input of 1 sends in a step of a chip.
    """

    kind: Literal["direct"] = "direct"
    steps: Positive = 4
    levels: Positive = 16
    # What `Lazy` asks a code: whether all steps are alike.
    steady: ClassVar[bool] = True

    def events(self, before: Signal) -> float | None:
        return self.levels * self.steps / before.lines

    def __call__(self, values: jax.Array) -> jax.Array:
        """Returns the raster `[T, ...]` of values `[...]`."""
        return jnp.broadcast_to(values, (self.steps, *values.shape))

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        values = jnp.clip(how.before[0].fraction(x[0]), 0, 1)
        if how.execution != "float":
            values = jnp.round(values * self.levels) * (1 / self.levels)
        return Lazy(values, self.steps, self), state, {}  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Delta(Code):
    """Changes of signals `[L, C]` of either sign, send-on-delta: an ON and an OFF input a channel.

    Attributes:
        theta: change that is worth a spike, a share of full scale.

    References: M. Miskowicz, Send-On-Delta Concept, Sensors 6 (2006) 49.
    """

    kind: Literal["delta"] = "delta"
    unsigned: ClassVar[bool] = False
    theta: Annotated[float, Gt(0), Lt(1)] = 0.05

    def size(self, before: Signal) -> tuple[int, ...]:
        if before.lines > 1:
            raise ValueError("codes either sign already; take the signs layer before it away")
        if len(before.size) != 2 or before.size[0] % self.steps:
            raise ValueError(
                f"takes signals (L, C), L samples that are a multiple of {self.steps} steps; got "
                f"samples of {before.size}"
            )
        return (2 * before.size[1],)

    def events(self, before: Signal) -> float | None:
        return self.steps / 2  # of a channel's ON and OFF input one spikes in a step, at most

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        signals = how.before[0].fraction(x[0])
        return coding.delta(signals, self.steps, self.theta), state, {}
