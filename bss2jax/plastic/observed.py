"""What a plasticity rule sees, and what a rule is.

    rule(observed, weights, memory, key) -> (weights, memory)

Any function is one. One with settings is a frozen dataclass with `__call__`, and with `memory`
where it remembers something.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp

from bss2jax.arrays import pytree
from bss2jax.chip import draws

Arithmetic = Literal["float", "chip"]


@pytree
@dataclass(frozen=True, eq=False)
class Observed:
    """What the processors read at the end of a period; R rows were visited, of K.

    Attributes:
        rows: `[R]` int32, the rows that readings are of.
        causal, acausal: `[R, N]` readings of the correlation sensors, 0..255 LSB, which fall with
            correlation; None without sensors.
        baseline: `[2, R, N]` what they read when empty, by a measurement ahead; None without.
        counts: `[N]` spikes in the period's window, 0..255.
        membrane: `[N]` a sample of the membranes by the CADC, 0..255 LSB.
        signs: `[K]` +1 of rows that excite, -1 of those that inhibit.
        signal: what the environment says, such as a reward; None where it says nothing.
        number: `[]` int32, periods before this one.
    """

    rows: jax.Array
    causal: jax.Array | None
    acausal: jax.Array | None
    baseline: jax.Array | None
    counts: jax.Array
    membrane: jax.Array
    signs: jax.Array
    signal: Any
    number: jax.Array


Function = Callable[[Observed, jax.Array, Any, jax.Array], tuple[jax.Array, Any]]


class Rule(Protocol):
    """A rule that remembers something from period to period."""

    def memory(self, rows: int, neurons: int) -> Any:
        """Returns what the rule begins with: a pytree of arrays.

        Args:
            rows: K of the array.
            neurons: N.
        """
        ...

    def __call__(
        self, observed: Observed, weights: jax.Array, memory: Any, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Returns the weights of the period that follows, and what is remembered.

        Args:
            observed: what was read.
            weights: `[K, N]` 0..63 LSB; what lies beyond is cut.
            memory: as left by the period before.
            key: a random key of this period.
        """
        ...


def memory_of(rule: Any, rows: int, neurons: int) -> Any:
    """Returns what a rule begins with; () of a function, which remembers nothing.

    Args:
        rule: a function, or a rule with `memory`.
        rows, neurons: K and N of the array.
    """
    return rule.memory(rows, neurons) if hasattr(rule, "memory") else ()


def integers(a: jax.Array) -> jax.Array:
    """Returns whole numbers `[...]` that are kept as float32 as int32."""
    return jnp.asarray(a).astype(jnp.int32)


def random_byte(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws what the processors' generator of random bytes gives, 0 to 255: int32 of any shape."""
    return integers(draws.bits(key, shape) & jnp.uint32(0xFF))
