"""The processors' arithmetic: the cases of the vendor's tests, and the chances of rounding."""

import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax.kernels.fractional import (
    FRACTION_8,
    FRACTION_16,
    polynomials,
    random_bytes,
    seeded,
)

NINE = [  # of the tests of libnux
    (FRACTION_8.multiply(-12, 42), -4),
    (FRACTION_8.multiply(100, 112), 87),
    (FRACTION_8.multiply(-128, -128), 127),
    (FRACTION_8.add(68, 80), 127),
    (FRACTION_8.subtract(-72, 60), -128),
    (FRACTION_8.wrapped(127 + 1), -128),
    (FRACTION_8.signed(116), -12),
    (FRACTION_8.right(-5, 1), -3),
    (FRACTION_8.left(100, 1), -56),
]


@pytest.mark.parametrize("number", range(9))
def test_the_nine_cases_of_the_vector_unit(number):
    got, expected = NINE[number]
    assert int(got) == expected


def test_conversion_goes_back_and_16_bits_work_alike():
    assert int(FRACTION_8.unsigned(-12)) == 116
    numbers = np.arange(256)
    np.testing.assert_array_equal(FRACTION_8.unsigned(FRACTION_8.signed(numbers)), numbers)
    assert int(FRACTION_16.multiply(-32768, -32768)) == 32767
    assert int(FRACTION_16.multiply(-300, 100)) == -1  # -0.9 of a step, rounded down
    assert int(FRACTION_16.scaled(-300, 100)) == 0
    assert int(FRACTION_16.add(32000, 800)) == 32767


def test_rounding_goes_up_as_often_as_it_should_and_clears_the_lowest_bits():
    registers, draws = seeded(7, 1000), []
    for _ in range(100):
        registers, byte = random_bytes(registers)
        draws.append(byte)
    random = jnp.stack(draws)  # 1e5 draws
    for value in (5, -27, 64):
        up = np.asarray(FRACTION_8.rounded(jnp.full_like(random, value), 3, random))
        chance = value % 8 / 8
        assert set(np.unique(up)) <= {value // 8 * 8, value // 8 * 8 + 8}
        sigma = np.sqrt(chance * (1 - chance) / up.size)
        assert abs((up > value // 8 * 8).mean() - chance) <= 3 * sigma
    assert (np.asarray(FRACTION_8.rounded(jnp.full(256, 126), 3, random[0, :256])) == 120).all()


def test_registers_go_through_all_numbers_and_columns_differ():
    taps = polynomials(4)
    assert len(np.unique(polynomials())) == 256
    for feedback in taps.tolist():
        state, steps = 1, 0
        while True:
            state = (state >> 1) ^ (feedback if state & 1 else 0)
            steps += 1
            if state == 1:
                break
        assert steps == 2**16 - 1
    registers, bytes_ = random_bytes(seeded(3))
    assert len(np.unique(np.asarray(registers))) > 200 and 0 <= int(bytes_.min())
    with pytest.raises(ValueError, match="1 to 255"):
        seeded(0)
