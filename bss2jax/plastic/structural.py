"""Rules about which synapses there are, and several rules one after the other.

A synapse has the address of one of the sources on its row. Rewiring gives weak ones another: each
neuron keeps as many synapses as it had. Sources that no synapse of a row listens to have a weight
of 0 there.

References: Billaudelle et al. 2021, arXiv 1912.12047 (constant fan-in by addresses).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le

from bss2jax.chip import draws
from bss2jax.plastic.observed import Arithmetic, Observed, memory_of, random_byte
from bss2jax.settings import Checked


@dataclass(frozen=True, kw_only=True)
class Rewiring(Checked):
    """Structural plasticity with constant fan-in: weak synapses listen to another source.

    Sources k = s G to s G + G - 1 are those of row s of synapses; a neuron has one synapse a row.

    Attributes:
        sources: G, the sources of a row, 64 at most.
        threshold: weight below which a synapse is given another address, LSB.
        initial: weight that it then has, LSB.
        every: periods between two visits.
        arithmetic: `float`; or `chip`, which draws addresses with random bytes.
    """

    kind: Literal["rewiring"] = "rewiring"
    correlates: ClassVar[bool] = False

    sources: Annotated[int, Ge(2), Le(64)] = 8
    threshold: Annotated[float, Ge(0), Le(63)] = 1.0
    initial: Annotated[float, Ge(0), Le(63)] = 16.0
    every: Annotated[int, Ge(1)] = 1
    arithmetic: Arithmetic = "float"

    def memory(self, rows: int, neurons: int) -> jax.Array:
        """Returns the addresses at first, `[K / G, N]`: see `Rule`.

        Raises:
            ValueError: the sources cannot be shared out to rows.
        """
        if rows % self.sources:
            raise ValueError(f"sources: {rows} rows are no multiple of {self.sources} sources")
        synapse, neuron = jnp.arange(rows // self.sources)[:, None], jnp.arange(neurons)
        return ((synapse + neuron) % self.sources).astype(jnp.int32)

    def initially(self, rows: int, neurons: int) -> jax.Array:
        """Returns weights `[K, N]` to begin with: `initial` where a synapse listens."""
        address = self.memory(rows, neurons)
        return self._spread(address, jnp.full(address.shape, self.initial, jnp.float32))

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        by_row = weights.reshape(-1, self.sources, weights.shape[-1])
        held = jnp.take_along_axis(by_row, memory[:, None], axis=1)[:, 0]
        due = (observed.number + 1) % self.every == 0
        weak = due & (held < self.threshold)
        address = jnp.where(weak, self._drawn(key, memory.shape), memory)
        held = jnp.where(weak, self.initial, held)
        return self._spread(address, held), address

    def _drawn(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """New addresses: of a byte, or of all 32 bits."""
        if self.arithmetic == "chip":
            return (random_byte(key, shape) * self.sources) >> 8
        return jnp.floor(draws.uniform(key, shape) * self.sources).astype(jnp.int32)

    def _spread(self, address: jax.Array, held: jax.Array) -> jax.Array:
        """Weights of all sources, `[K, N]`, of addresses and what is held there."""
        each = jnp.arange(self.sources)[None, :, None] == address[:, None]
        return jnp.where(each, held[:, None], 0.0).reshape(-1, address.shape[-1])


@dataclass(frozen=True)
class Sequence:
    """Rules one after the other, each with its own memory.

    Attributes:
        rules: functions, or rules with `memory`.
    """

    rules: tuple[Any, ...]

    @property
    def correlates(self) -> bool:
        """Whether one of them reads correlation."""
        return any(getattr(rule, "correlates", True) for rule in self.rules)

    def memory(self, rows: int, neurons: int) -> tuple[Any, ...]:
        """Returns what each begins with: see `Rule`."""
        return tuple(memory_of(rule, rows, neurons) for rule in self.rules)

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: tuple[Any, ...], key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        kept = []
        for number, (rule, own) in enumerate(zip(self.rules, memory, strict=True)):
            weights, own = rule(observed, weights, own, draws.folded(key, number))
            kept.append(own)
        return weights, tuple(kept)
