"""What a population acts in: random input, samples with labels, and the game of Pong.

An environment is three pure functions: see `Environment`.

References: brainscales2-demos ts_07 (Pong), ts_11; Wunderlich et al. 2019,
10.3389/fnins.2019.00260.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import pytree
from bss2jax.kernels import noise
from bss2jax.plastic.emulate import Stimulus
from bss2jax.plastic.reward import Reward


@dataclass(frozen=True)
class Poisson:
    """Independent Poisson sources, one a row, and no answer.

    Attributes:
        sources: how many.
        rate: the rate of each, 1/s.
        steps: T of a period.
        dt: s a step.
    """

    sources: int
    rate: float
    steps: int
    dt: float = 1e-6

    def begin(self, key: jax.Array) -> tuple[()]:
        return ()

    def send(self, world: tuple[()], key: jax.Array) -> Stimulus:
        u = noise.uniform(noise.stream(key), *noise.grid((self.steps, self.sources)))
        # A step has a spike or none: with the chance of one at least.
        return Stimulus((u < 1 - np.exp(-self.rate * self.dt)).astype(jnp.float32))

    def answer(self, world: tuple[()], counts: jax.Array, key: jax.Array) -> Any:
        return (), None, {}


@pytree
@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a data set, one a period, in order; a decision that is right is rewarded.

    The first neurons are those of the classes; the one that spikes most decides.

    Attributes:
        rasters: `[S, T, R]` spikes.
        labels: `[S]` int32.
        classes: how many.
    """

    rasters: jax.Array
    labels: jax.Array
    classes: int = field(metadata={"static": True})

    def begin(self, key: jax.Array) -> jax.Array:
        return jnp.int32(0)

    def send(self, world: jax.Array, key: jax.Array) -> Stimulus:
        return Stimulus(self.rasters[world])

    def answer(self, world: jax.Array, counts: jax.Array, key: jax.Array) -> Any:
        label = self.labels[world]
        right = (jnp.argmax(counts[: self.classes]) == label).astype(jnp.float32)
        share = counts[label] / jnp.maximum(counts[: self.classes].sum(), 1)
        following = (world + 1) % len(self.labels)
        return following, Reward(share, label), {"reward": share, "success": right}


@dataclass(frozen=True)
class Pong:
    """Pong: where the ball is, rows are driven; where most spikes are, the paddle goes.

    A period shows the ball at one place, places in order; an epoch shows all of them. Rows beside
    the ball are driven less often. The last row, number `places`, is that of the noise. Spikes are
    rewarded by their distance from the ball.

    Attributes:
        places: the number of places of the ball, of rows and of neurons.
        steps: T of a period.
        interval: steps between two spikes of the ball's own row.
        beside: share of its rate that rows have at a distance of 0, 1 ...
        noise: steps between two spikes of the noise row; 0: it is silent.
        rewards: the rewards of a spike at a distance of 0, 1 ...; further away it is -1.
        scale: the number by which the sum of rewards is divided.
    """

    places: int
    steps: int = 840
    interval: int = 6
    beside: tuple[float, ...] = (1.0, 0.8, 0.5, 0.1)
    noise: int = 5
    rewards: tuple[float, ...] = (4.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.0)
    scale: float = 100.0

    def begin(self, key: jax.Array) -> jax.Array:
        return jnp.int32(0)

    def send(self, world: jax.Array, key: jax.Array) -> Stimulus:
        reach = len(self.beside) - 1
        offsets = np.arange(-reach, reach + 1)
        raster = np.zeros((self.steps, len(offsets) + 1), np.float32)
        for column, offset in enumerate(offsets):
            every = self.interval / self.beside[abs(offset)]
            times = np.round(np.arange(0, self.steps, every)).astype(int)
            raster[times[times < self.steps], column] = 1
        if self.noise:
            raster[:: self.noise, -1] = 1
        # Rows beyond the ends are others, which stay silent: no row may stand there twice.
        there = (world + offsets >= 0) & (world + offsets < self.places)
        driven = jnp.concatenate([there, jnp.ones(1, bool)])
        rows = jnp.concatenate([(world + offsets) % self.places, jnp.array([self.places])])
        return Stimulus(jnp.asarray(raster) * driven, rows.astype(jnp.int32))

    def answer(self, world: jax.Array, counts: jax.Array, key: jax.Array) -> Any:
        given = self.rewarded(world)
        reward = (given * counts).sum() / self.scale
        success = (given[jnp.argmax(counts)] >= 0).astype(jnp.float32)
        following = (world + 1) % self.places
        return following, Reward(reward, world), {"reward": reward, "success": success}

    def rewarded(self, world: jax.Array) -> jax.Array:
        """Returns the reward of a spike of each neuron, `[places]`, for a ball at a place."""
        distance = jnp.abs(jnp.arange(self.places) - world)
        table = jnp.asarray((*self.rewards, -1.0), jnp.float32)
        return table[jnp.minimum(distance, len(self.rewards))]
