"""The plasticity processors' vector unit: integers and fractions of 8 and 16 bits.

A fraction is a signed integer in units of 1/128 or 1/32768. Sums and products saturate:

    a + b = clip(a + b);   a b = clip(floor(a b / 128));   a >> n = floor(a / 2^n)

A shift to the left wraps around, as do the sums of `wrapped` integers. Numbers are int32 arrays of
any shape whose values are those of 8 or 16 bits.

Random bytes come from a shift register of each column, of 16 bits and a feedback of its own, which
moves by one bit a draw. Which feedbacks silicon has was not published: here they are primitive
polynomials, of which there are 2048.

References: libnux `vx/vector_row.h`, `parallel_rng.h` and its tests (nine of whose cases are in
`tests/test_fractional.py`); Pehle et al. 2022, arXiv 2201.11063.
"""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import wholes

Integers = jax.Array | int


@dataclass(frozen=True)
class Fractional:
    """Signed fractions of a number of bits: `FRACTION_8` and `FRACTION_16`.

    Attributes:
        bits: 8 or 16.
    """

    bits: int

    @property
    def one(self) -> int:
        """What would stand for 1, one more than the largest number."""
        return 2 ** (self.bits - 1)

    def saturated(self, a: Integers) -> jax.Array:
        """Returns integers `[...]` cut at the ends of the range."""
        return jnp.clip(wholes(a), -self.one, self.one - 1)

    def wrapped(self, a: Integers) -> jax.Array:
        """Returns integers `[...]` modulo the range, as unsigned ones are computed."""
        return (wholes(a) + self.one) % (2 * self.one) - self.one

    def add(self, a: Integers, b: Integers) -> jax.Array:
        """Adds fractions `[...]`; the sum saturates."""
        return self.saturated(wholes(a) + wholes(b))

    def subtract(self, a: Integers, b: Integers) -> jax.Array:
        """Subtracts fractions `[...]`; the difference saturates."""
        return self.saturated(wholes(a) - wholes(b))

    def multiply(self, a: Integers, b: Integers) -> jax.Array:
        """Multiplies fractions `[...]`: rounded down, saturated."""
        return self.saturated((wholes(a) * wholes(b)) >> (self.bits - 1))

    def scaled(self, a: Integers, b: Integers) -> jax.Array:
        """Multiplies fractions `[...]` and rounds towards 0: 1 is added to what is negative."""
        product = self.multiply(a, b)
        return jnp.where(product < 0, product + 1, product)

    def left(self, a: Integers, by: int) -> jax.Array:
        """Shifts fractions `[...]` to the left, which does not saturate."""
        return self.wrapped(wholes(a) << by)

    def right(self, a: Integers, by: int) -> jax.Array:
        """Shifts fractions `[...]` to the right: rounded down."""
        return wholes(a) >> by

    def signed(self, a: Integers) -> jax.Array:
        """Returns unsigned integers `[...]` as fractions: less half of the range."""
        return wholes(a) - self.one

    def unsigned(self, a: Integers) -> jax.Array:
        """Returns fractions `[...]` as unsigned integers: more by half of the range."""
        return wholes(a) + self.one

    def rounded(self, a: Integers, bits: int, random: jax.Array) -> jax.Array:
        """Rounds fractions stochastically to a multiple of 2^bits.

        A random number of so many bits is added, then as many bits are cleared: up with a chance of
        (a mod 2^bits) / 2^bits.

        Args:
            a: `[...]` fractions.
            bits: the lowest ones, which are clear then, also where the sum saturates.
            random: `[...]` random integers, of which the lowest bits count.
        """
        least = wholes(random) & (2**bits - 1)
        return (self.add(a, least) >> bits) << bits


FRACTION_8, FRACTION_16 = Fractional(8), Fractional(16)


def random_bytes(registers: jax.Array, draws: int = 8) -> tuple[jax.Array, jax.Array]:
    """Draws a random byte of each shift register.

    Args:
        registers: `[N]` int32, the state of the columns' registers, from `seeded`.
        draws: by how many bits they move on; after fewer than 8 a byte shares bits with the last.

    Returns:
        The registers, and `[N]` bytes, 0 to 255.
    """
    feedback = jnp.asarray(np.resize(polynomials(), registers.shape[-1]), jnp.int32)

    def move(_: int, state: jax.Array) -> jax.Array:
        return (state >> 1) ^ jnp.where(state & 1, feedback, 0)

    registers = jax.lax.fori_loop(0, draws, move, wholes(registers))
    return registers, registers & 0xFF


def seeded(seed: int, columns: int = 256) -> jax.Array:
    """Returns the shift registers, `[columns]` int32, of a seed 1..255 given to all of them.

    Raises:
        ValueError: the seed is out of range; a register of zeros would stay so.
    """
    if not 1 <= seed <= 255:
        raise ValueError(f"seed: expected 1 to 255, got {seed}")
    registers = jnp.full(columns, seed, jnp.int32)
    return random_bytes(registers, 256)[0]  # all have begun alike


@cache
def polynomials(count: int = 256) -> np.ndarray:
    """Returns `[count]` feedbacks, int32, with which 16 bits take all values but 0.

    They are primitive polynomials, by x^(2^16 - 1) = 1 and no smaller power of x.
    """
    candidates = np.arange(2**15, 2**16, dtype=np.int64)

    def stepped(a: np.ndarray) -> np.ndarray:  # times x, modulo each polynomial
        return (a >> 1) ^ np.where(a & 1, candidates, 0)

    def multiplied(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = np.zeros_like(a)
        for bit in range(15, -1, -1):
            total = np.where((b >> bit) & 1, total ^ a, total)
            a = stepped(a)
        return total

    one = np.full_like(candidates, 1 << 15)

    def power(exponent: int) -> np.ndarray:
        total, factor = one, stepped(one)
        while exponent:
            if exponent & 1:
                total = multiplied(total, factor)
            factor, exponent = multiplied(factor, factor), exponent >> 1
        return total

    whole = 2**16 - 1
    primitive = power(whole) == one
    for prime in (3, 5, 17, 257):
        primitive &= power(whole // prime) != one
    found = candidates[primitive]
    # Far apart in the list: neighbours in it share most of their taps.
    return found[np.arange(count) * 779 % len(found)].astype(np.int32)
