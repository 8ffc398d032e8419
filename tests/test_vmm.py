"""The analog product: the formula to the LSB, its gradient, its noise, and one program for all."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bss2jax
from bss2jax import ideal_chip, matmul, program, saturation, split
from bss2jax.chip.substrate import BSS2
from bss2jax.kernels import readout as vmm

SIZE = st.integers(1, 700)
STATIC = ("num_sends", "avg", "mask_saturated", "substrate")
compiled = jax.jit(matmul, static_argnames=STATIC)  # as matmul, but compiled as a whole: faster


def draw(seed, batch, inputs, outputs, x_max=31, w_max=63):
    """Values between the codes, halves among them (where half to even matters), as float32."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4 * x_max + 1, (*batch, inputs)) / 4
    w = rng.integers(-4 * w_max, 4 * w_max + 1, (inputs, outputs)) / 4
    return x.astype(np.float32), w.astype(np.float32)


@partial(jax.jit, static_argnames="num_sends")
def both_ways(x, w, chip, num_sends):
    """On a perfect chip: the cheap way without one, and the chip of zeros and ones."""
    return matmul(x, w, None, num_sends=num_sends), matmul(x, w, chip, num_sends=num_sends)


# --- the formula, forward


@given(
    st.lists(st.integers(1, 4), max_size=2), SIZE, SIZE, st.integers(1, 8), st.integers(0, 2**32)
)
@example([], 1, 1, 8, 0)
@example([3], 128, 256, 1, 1)
@example([2], 129, 257, 2, 2)
@example([2], 256, 512, 3, 3)
@example([2, 2], 700, 700, 4, 4)
@settings(max_examples=4)
def test_equals_the_formula_on_a_perfect_chip_for_every_shape(batch, inputs, outputs, s, seed):
    x, w = draw(seed, batch, inputs, outputs, w_max=63 if seed % 2 else 8)
    expected = reference.matmul(x.reshape(-1, inputs), w, num_sends=s).reshape(*batch, outputs)
    for y in both_ways(x, w, ideal_chip(), s):
        assert y.dtype == jnp.float32
        np.testing.assert_array_equal(y, expected)


def often(every, few):
    """Values of which a few are run every time: the others compile the same again."""
    return [pytest.param(n, marks=[pytest.mark.slow] * (n not in few)) for n in every]


@pytest.mark.parametrize("num_sends", often(range(1, 9), few=(1, 3, 8)))
def test_every_single_product_equals_the_formula(num_sends):
    x, w = np.arange(32.0)[:, None], np.arange(-63.0, 64.0)[None]
    expected = reference.matmul(x, w, num_sends=num_sends)
    np.testing.assert_array_equal(matmul(x, w, None, num_sends=num_sends), expected)


@pytest.mark.parametrize("num_sends", often(range(1, 9), few=(1, 3, 8)))
def test_products_on_the_edge_of_the_floor_equal_the_formula(num_sends):
    # Column n holds n - 127 products of 25 x = 125, 250 or 500, and a last row adds -1, 0 or 1: at
    # 500 / num_sends a whole LSB is reached, or missed by one unit.
    count = np.arange(-127, 128)
    w = np.where(np.arange(127)[:, None] < np.abs(count), 25 * np.sign(count), 0)
    for last in (-1, 0, 1):
        weights = np.concatenate([w, np.full((1, len(count)), last)])
        x = np.concatenate([np.full((3, 127), [[5], [10], [20]]), np.ones((3, 1))], axis=1)
        expected = reference.matmul(x, weights, num_sends=num_sends)
        result = compiled(x, weights, None, num_sends=num_sends)
        np.testing.assert_array_equal(result, expected)


def assert_equal_unless_uncertain(y, x, w, pattern, num_sends=1):
    """Every output equals the twin's; a readout on a floor's edge may be one LSB off."""
    flat = x.reshape(-1, x.shape[-1])
    expected = reference.matmul(flat, w, pattern, num_sends)
    uncertain = reference.uncertain(flat, w, pattern, num_sends)
    assert (uncertain > 0).mean() < 0.1, "the bound is too wide to test anything"
    off = np.abs(np.asarray(y).reshape(expected.shape) - expected)
    assert (off <= uncertain).all(), f"{(off > uncertain).sum()} outputs off"


@given(st.integers(1, 5), SIZE, SIZE, st.integers(1, 4), st.integers(0, 2**32))
@example(2, 128, 256, 1, 0)
@example(2, 300, 600, 2, 1)  # an odd number of row blocks: columns meet the hemispheres crossed
@example(2, 512, 600, 1, 2)
@settings(max_examples=4)
def test_equals_the_formula_on_a_mismatched_chip(chip, pattern, batch, inputs, outputs, s, seed):
    x, w = draw(seed, (batch,), inputs, outputs)
    y = compiled(x, w, chip, num_sends=s)
    assert_equal_unless_uncertain(y, x, w, pattern, s)


@pytest.mark.parametrize(("inputs", "outputs", "s"), [(100, 300, 1), (300, 300, 3), (512, 40, 2)])
def test_equals_the_formula_on_every_output_where_only_columns_differ(chip, inputs, outputs, s):
    x, w = draw(inputs, (20,), inputs, outputs)
    gains = replace(ideal_chip(), column_gain=chip.column_gain)
    expected = reference.matmul(x, w, reference.pattern(gains), s)
    np.testing.assert_array_equal(compiled(x, w, gains, num_sends=s), expected)
    both = replace(gains, offset=chip.offset)
    y = compiled(x, w, both, num_sends=s)
    assert_equal_unless_uncertain(y, x, w, reference.pattern(both), s)
    assert reference.uncertain(x, w, reference.pattern(both), s).sum() < 3


def test_blocks_alternate_between_the_patterns_of_two_hemispheres():
    chip = replace(ideal_chip(), offset=jnp.stack([jnp.full(256, 3.5), jnp.full(256, -7.5)]))
    for row_blocks in (1, 2, 3):
        inputs, outputs = 128 * row_blocks, 256 * 3
        y = compiled(np.zeros((1, inputs)), np.zeros((inputs, outputs)), chip)
        for column_block in range(3):
            numbers = column_block * row_blocks + np.arange(row_blocks)
            expected = np.where(numbers % 2, -8, 3).sum()
            assert (y[0, 256 * column_block : 256 * (column_block + 1)] == expected).all()


def test_excitatory_and_inhibitory_synapses_have_their_own_strength():
    gains = jnp.ones((2, 2, 128, 256)).at[:, 0].set(2.0).at[:, 1].set(0.5)
    chip = replace(ideal_chip(), synapse_gain=gains)
    x, w = np.full((1, 1), 25.0), np.array([[20.0, -20.0]])
    np.testing.assert_array_equal(compiled(x, w, chip, num_sends=10), [[20.0, -5.0]])


def test_negative_weights_have_a_gain_of_their_own_on_each_column():
    gain = jnp.ones((2, 256)).at[0, 1].set(0.5)
    chip = replace(ideal_chip(), inhibitory_gain=gain)
    x, w = np.full((1, 2), 25.0), np.array([[20.0, 20.0], [-40.0, -40.0]])
    np.testing.assert_array_equal(compiled(x, w, chip, num_sends=10), [[-10.0, 0.0]])


def test_beyond_80_lsb_each_column_saturates_in_its_own_way():
    # 25 x 20 is one LSB: outputs of 70, 80, 100 and 120, and -120; c = .05: 20 -> 10, 40 -> 40 / 3.
    sends = np.array([70, 80, 100, 120, -120])
    w = np.where(np.arange(127)[:, None] < np.abs(sends), 20 * np.sign(sends), 0)
    hard = replace(ideal_chip(), compression=jnp.full((2, 256), 0.05))
    x = np.full((1, 127), 25.0)
    np.testing.assert_array_equal(compiled(x, w, hard), [[70, 80, 90, 93, -94]])
    # Off, bit for bit: as the chip without.
    x, w = draw(1, (4,), 300, 300)
    off = replace(ideal_chip(), compression=jnp.zeros((2, 256)))
    np.testing.assert_array_equal(compiled(x, w, off), compiled(x, w, None))


@pytest.mark.parametrize("num_sends", [1, 4])
def test_noise_has_a_part_that_is_fixed_and_one_that_grows_with_the_sends(num_sends):
    chip = replace(ideal_chip(noise_std=3.0), send_noise=jnp.full((2, 256), 4.0))
    x, w = np.zeros((200, 1)), np.zeros((1, 256))
    y = np.asarray(compiled(x, w, chip, jax.random.key(0), num_sends=num_sends))
    # Floor adds 1/12; a variance is good to sqrt(2 / n), five times that.
    expected = 9 + 16 * num_sends + 1 / 12
    assert abs(y.var() - expected) < 5 * expected * np.sqrt(2 / y.size)


def test_blocks_of_split_run_one_by_one_add_up_to_the_product(chip):
    x, w = draw(7, (3,), 300, 600)
    planned = bss2jax.plan(w)
    blocks = split(jnp.asarray(w), planned)
    scale = vmm.nominal_scale(2, BSS2)
    columns_only = replace(
        chip,
        synapse_gain=jnp.ones((2, 2, 128, 256)),
        driver_gain=jnp.ones((2, 128)),
        inhibitory_gain=jnp.ones((2, 256)),
    )
    perfect, patterned = np.zeros((3, 600)), np.zeros((3, 600))
    for block, weights in zip(planned.pieces, blocks, strict=True):
        n, width = block.rows.stop - block.rows.start, block.columns.stop - block.columns.start
        codes = vmm.input_codes(jnp.asarray(x[:, block.rows]), BSS2)
        product = (codes @ vmm.weight_codes(weights[:n], BSS2))[:, :width]
        perfect[:, block.columns] += vmm.readout(product, scale, substrate=BSS2)[0]
        patterned[:, block.columns] += vmm.readout(
            product,
            scale * chip.column_gain[block.array, :width],
            chip.offset[block.array, :width],
            compression=chip.compression[block.array, :width],
            substrate=BSS2,
        )[0]
    y = compiled(x, w, None, num_sends=2)
    np.testing.assert_array_equal(y, np.clip(perfect, -128, 127))
    y = compiled(x, w, columns_only, num_sends=2)
    uncertain = reference.uncertain(x, w, reference.pattern(columns_only), 2)
    assert (np.abs(y - np.clip(patterned, -128, 127)) <= uncertain).all()


def test_readout_adds_given_noise_before_the_floor():
    rng = np.random.default_rng(0)
    product = rng.integers(-90_000, 90_000, (50, 40)).astype(np.float32)
    noise = rng.normal(0, 2, product.shape).astype(np.float32)
    voltage = (product * np.float32(0.002)).astype(np.float64)
    y, clipped = vmm.readout(product, np.float32(0.002), noise=noise, substrate=BSS2)
    near = np.abs(voltage + noise - np.rint(voltage + noise)) < 1e-4
    assert near.mean() < 0.01
    np.testing.assert_array_equal(y[~near], reference.readout(voltage, noise)[~near])
    np.testing.assert_array_equal(clipped, (voltage + noise < -128) | (voltage + noise >= 128))


def test_avg_is_the_mean_of_neighbouring_columns(chip, pattern):
    x, w = draw(3, (4,), 140, 90)
    wide = np.repeat(w, 3, axis=1)
    expected = reference.matmul(x, wide).reshape(4, 90, 3).mean(-1)
    np.testing.assert_allclose(matmul(x, w, None, avg=3), expected, rtol=1e-6)
    columns = compiled(x, wide, chip)
    assert_equal_unless_uncertain(columns, x, wide, pattern)
    y = compiled(x, w, chip, avg=3)
    np.testing.assert_allclose(y, columns.reshape(4, 90, 3).mean(-1), rtol=1e-6)


def test_zeros_give_zeros_and_an_empty_batch_an_empty_result():
    assert (compiled(np.zeros((2, 300)), np.zeros((300, 5)), None) == 0).all()
    assert compiled(np.zeros((0, 300)), np.zeros((300, 5)), None).shape == (0, 5)


# --- gradients


@partial(jax.jit, static_argnames=STATIC)
def gradients(x, w, chip, key, dy, **settings):
    _, backward = jax.vjp(lambda x, w: matmul(x, w, chip, key, **settings), x, w)
    return backward(dy)


def assert_close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * np.abs(e).max())


@given(st.integers(1, 4), SIZE, SIZE, st.integers(1, 4), st.integers(0, 2**32))
@example(2, 300, 600, 3, 0)
@settings(max_examples=5)
def test_backward_is_the_unrounded_nominal_formula(batch, inputs, outputs, num_sends, seed):
    x, w = draw(seed, (batch,), inputs, outputs)
    dy = np.random.default_rng(seed).normal(size=(batch, outputs)).astype(np.float32)
    expected = reference.matmul_backward(x, w, dy, num_sends)
    assert_close(gradients(x, w, None, None, dy, num_sends=num_sends), expected)


def test_mismatch_noise_and_saturation_are_invisible_to_the_backward_pass(chip):
    x, w = draw(1, (3,), 300, 40)
    dy = np.random.default_rng(1).normal(size=(3, 40)).astype(np.float32)
    noisy = replace(chip, noise_std=jnp.full((2, 256), 2.0))
    y = compiled(x, w, noisy, num_sends=8)
    assert (np.abs(y) > 126).any()
    result = gradients(x, w, noisy, jax.random.key(0), dy, num_sends=8)
    assert_close(result, reference.matmul_backward(x, w, dy, 8))


def test_leading_axes_and_avg_keep_the_formula():
    x, w = draw(2, (2, 3), 130, 20)
    dy = np.random.default_rng(2).normal(size=(2, 3, 20)).astype(np.float32)
    dx, dw = reference.matmul_backward(x.reshape(6, 130), w, dy.reshape(6, 20))
    assert_close(gradients(x, w, None, None, dy, avg=4), (dx.reshape(x.shape), dw))


@pytest.mark.parametrize("inputs", often([100, 128, 200, 300, 512], few=(100, 300, 512)))
def test_mask_saturated_gates_single_readouts_and_sums(inputs):
    x, w = draw(inputs, (6,), inputs, 300)
    x *= np.linspace(0, 1, 6, dtype=np.float32)[:, None]  # none to most readouts saturate
    dy = np.random.default_rng(1).normal(size=(6, 300)).astype(np.float32)
    gated = reference.matmul_backward(x, w, dy, 5, masked=True)
    free = reference.matmul_backward(x, w, dy, 5)
    result = gradients(x, w, None, None, dy, num_sends=5, mask_saturated=True)
    assert_close(result, gated)
    assert_close(gradients(x, w, None, None, dy, num_sends=5), free)
    assert np.abs(free[1] - gated[1]).max() > 0.01 * np.abs(free[1]).max()
    plain, masked = (compiled(x, w, None, num_sends=5, mask_saturated=m) for m in (False, True))
    np.testing.assert_array_equal(plain, masked)


def test_a_readout_at_the_limit_but_not_beyond_is_not_masked():
    # 25 x 20 x num_sends 1 is one LSB: 127 and -128 are codes, 128 and -129 are not.
    x, w = np.full((1, 129), 25.0), np.zeros((129, 4))
    for column, count in enumerate((127, 128)):
        w[:count, column] = 20
        w[:count, column + 2] = -20
    w[0, 3] = -40  # 127 x -20 - 40: -129
    dx, dw = gradients(x, w, None, None, np.ones((1, 4)), mask_saturated=True)
    np.testing.assert_array_equal(dw[0] != 0, [True, False, True, False])
    # The second chunk of the clipped ones did not clip, so only the readout's own rows are shut.
    np.testing.assert_array_equal(dw[128] != 0, [True, True, True, True])
    del dx


def test_a_sum_beyond_the_limits_is_masked_though_no_readout_is():
    x, w = np.full((1, 256), 25.0), np.zeros((256, 2))
    w[:64], w[128:192] = 20, (20, 19)  # 64 + 64 = 128 clips, 64 + 60 does not
    _, dw = gradients(x, w, None, None, np.ones((1, 2)), mask_saturated=True)
    assert (dw[:, 0] == 0).all() and (dw[:, 1] != 0).all()


def test_gradients_pass_through_split_and_merge():
    x, w = draw(5, (3,), 300, 300)
    planned = bss2jax.plan(w)
    blocks = split(jnp.asarray(w), planned)

    def loss(w):
        return jnp.sum(jnp.sin(matmul(x, w, None)))

    merge = partial(bss2jax.merge, plan=planned)
    nominal = jax.jit(jax.grad(loss))(w)
    through = jax.jit(jax.grad(lambda w: loss(merge(split(w, planned)))))(w)
    by_block = jax.jit(jax.grad(lambda blocks: loss(merge(blocks))))(blocks)
    np.testing.assert_array_equal(through, nominal)
    np.testing.assert_array_equal(by_block, split(nominal, planned))


# --- values out of range


@pytest.mark.parametrize("value", [-1.0, -0.51, 31.5, 32.0, np.inf, -np.inf, np.nan])
def test_inputs_out_of_range_are_an_error_outside_jit(value):
    x = np.ones((2, 5), np.float32)
    x[1, 3] = value
    with pytest.raises(ValueError, match=r"x: .*expected 0\.\.31"):
        matmul(x, np.ones((5, 4)), None)


@pytest.mark.parametrize("value", [-64.0, -63.5, 63.5, 64.0, np.inf, np.nan])
def test_weights_out_of_range_are_an_error_outside_jit(value):
    w = np.ones((5, 4), np.float32)
    w[2, 2] = value
    for call in (lambda: matmul(np.ones((2, 5)), w, None), lambda: program(w, None)):
        with pytest.raises(ValueError, match=r"w: .*expected -63\.\.63"):
            call()


def test_values_that_round_into_range_are_accepted():
    x, w = np.array([[-0.5, 31.49]]), np.array([[63.49], [-63.49]])
    np.testing.assert_array_equal(matmul(x, w, None), reference.matmul(x, w))


def test_inside_jit_values_are_clipped_and_gradients_go_straight_through():
    x, w = draw(4, (3,), 140, 20)
    x[0, 0], x[1, 1], w[0, 0], w[139, 3] = 500, -7, 90, -400
    clipped = reference.matmul(np.clip(x, 0, 31), np.clip(w, -63, 63))
    np.testing.assert_array_equal(compiled(x, w, None), clipped)
    dy = np.ones((3, 20), np.float32)
    assert_close(gradients(x, w, None, None, dy), reference.matmul_backward(x, w, dy))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matmul(np.ones((2, 5)), np.ones((4, 3)), None), r"\(2, 5\).*\(4, 3\)"),
        (lambda: matmul(np.ones((2, 5)), np.ones(5), None), r"expected \[K, N\]"),
        (lambda: matmul(np.ones((2, 5)), np.ones((1, 5, 3)), None), r"expected \[K, N\]"),
        (lambda: matmul(1.0, np.ones((1, 3)), None), "do not fit"),
        (lambda: matmul(np.ones((2, 5)), np.ones((5, 3)), None, num_sends=0), "num_sends"),
        (lambda: matmul(np.ones((2, 5)), np.ones((5, 3)), None, num_sends=1.5), "num_sends"),
        (lambda: matmul(np.ones((2, 5)), np.ones((5, 3)), None, avg=0), "avg"),
        (lambda: matmul(np.ones((2, 5)), np.ones((5, 3)), "chip"), "expected a Chip"),
        (lambda: matmul(np.ones((2, 5)), program(np.ones((5, 3)), None), None, avg=2), "avg"),
        (lambda: matmul(np.ones((2, 4)), program(np.ones((5, 3)), None), None), "do not fit"),
    ],
)
def test_wrong_arguments_are_refused_with_what_was_got_and_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- programmed weights and saturation


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (300, 600)])
def test_programmed_synapses_give_the_same_product(chip, inputs, outputs):
    x, w = draw(inputs, (4,), inputs, outputs)
    noisy = replace(chip, noise_std=jnp.full((2, 256), 2.0))
    for on, key in ((None, None), (chip, None), (noisy, jax.random.key(3))):
        y = compiled(x, jax.jit(program)(w, on), on, key, num_sends=2)
        np.testing.assert_array_equal(y, compiled(x, w, on, key, num_sends=2))


def test_saturation_counts_shares_by_hand():
    # x: 2 of 8 beyond a limit; w: 3 of 8 at or beyond one.
    x = np.array([[31.0, 32.0, 0.0, -1.0], [31.4, 0.0, 0.0, 1.0]])
    w = np.array([[63.0, -64.0], [62.9, 1.0], [-63.0, 0.0], [0.0, 0.0]])
    shares = saturation(x, w, None)
    assert float(shares["inputs"]) == 2 / 8
    assert float(shares["weights"]) == 3 / 8
    assert float(shares["outputs"]) == 0 and float(shares["sums"]) == 0
    # Column 0: each chunk reads 100 and the sum clips; column 1: the first chunk clips at 127
    # itself, its sum with -100 does not; column 2 stays inside.
    x, w = np.full((1, 256), 25.0), np.zeros((256, 4))
    w[:100, 0] = w[128:228, 0] = 20
    w[:128, 1], w[128:228, 1] = 20, -20
    shares = saturation(x, w, None)
    assert float(shares["outputs"]) == 1 / 8
    assert float(shares["sums"]) == 1 / 4


def test_saturation_of_readouts_equals_the_twins_share(chip, pattern):
    x, w = draw(9, (5,), 400, 300)
    voltage, _ = reference.voltages(x, w, pattern, 4)
    read = np.floor(voltage)
    total = reference.readout(voltage).sum(0)
    shares = jax.jit(lambda x, w: saturation(x, w, chip, num_sends=4))(x, w)
    # A float32 flip on an edge changes a share by at most one readout.
    outputs, sums = ((v < -128) | (v > 127) for v in (read, total))
    assert abs(shares["outputs"] - outputs.mean()) * outputs.size < 2 and outputs.mean() > 0.01
    assert abs(shares["sums"] - sums.mean()) * sums.size < 2 and sums.mean() > 0.01


# --- noise


def noisy_chip(noise_std=2.0):
    return ideal_chip(noise_std=noise_std)


@pytest.mark.parametrize("chunks", often(range(1, 6), few=(1, 4, 5)))
def test_noise_has_the_mean_and_variance_of_floored_gaussians(chunks):
    # sigma = 2 LSB is wide for the floor, so a readout is mu - 1/2 +- sqrt(sigma^2 + 1/12), up to
    # exp(-2 pi^2 sigma^2). 600 columns: three column blocks, and three places of one chip.
    inputs, outputs, samples = 128 * chunks, 600, 400
    mu = 11 * 3 * 128 * 0.002
    x, w = np.full((samples, inputs), 11.0), np.full((inputs, outputs), 3.0)
    w[128:256] *= -1
    y = np.asarray(compiled(x, w, noisy_chip(), jax.random.key(chunks)))
    mean = mu * (1 if chunks == 1 else chunks - 2) - 0.5 * chunks
    variance = chunks * (4 + 1 / 12)
    assert np.abs(y).max() < 127
    count = y.size
    assert abs(y.mean() - mean) < 5 * np.sqrt(variance / count)
    assert abs(y.var() - variance) < 5 * variance * np.sqrt(2 / count)
    # The same holds for every sample and every output: 5 sigma of each of the 1000 means.
    for axis, length in ((0, samples), (1, outputs)):
        assert np.abs(y.mean(axis) - mean).max() < 5 * np.sqrt(variance / length)
        assert np.abs(y.var(axis) - variance).max() < 6 * variance * np.sqrt(2 / length)


def test_noise_differs_per_sample_output_and_chunk_and_between_chunks_is_independent():
    # A chunk alone is seen by making all others silent: noise of 0 on the other hemisphere, and
    # with four chunks by what two chunks add to the first two.
    x, w = np.zeros((300, 512)), np.zeros((512, 300))
    key = jax.random.key(5)
    on_even, on_odd = (
        replace(ideal_chip(), noise_std=jnp.zeros((2, 256)).at[h].set(10.0)) for h in (0, 1)
    )
    even, odd = (np.asarray(compiled(x, w, c, key))[:, :256] for c in (on_even, on_odd))
    both = np.asarray(compiled(x, w, noisy_chip(10.0), key))[:, :256]
    np.testing.assert_array_equal(even + odd, both)
    bound = 5 / np.sqrt(even.size)
    assert abs(np.corrcoef(even.ravel(), odd.ravel())[0, 1]) < bound
    # Two equal chunks of one hemisphere would give twice the noise, not sqrt(2) of it.
    assert abs(even.var() / (2 * (100 + 1 / 12)) - 1) < 5 * np.sqrt(2 / even.size)
    for a, b in ((both[1:], both[:-1]), (both[:, 1:], both[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_columns_of_different_blocks_get_different_noise():
    y = np.asarray(
        compiled(np.zeros((300, 1)), np.zeros((1, 512)), noisy_chip(), jax.random.key(0))
    )
    left, right = y[:, :256], y[:, 256:]
    assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 5 / np.sqrt(left.size)


def test_each_column_has_its_own_noise_std():
    std = jnp.stack([jnp.linspace(1, 20, 256), jnp.linspace(22, 2, 256)])
    chip = replace(ideal_chip(), noise_std=std)
    y = np.asarray(compiled(np.zeros((2000, 1)), np.zeros((1, 512)), chip, jax.random.key(0)))
    variance = np.concatenate([std[0], std[1]]) ** 2 + 1 / 12  # block 1 is on hemisphere 1
    assert np.abs(y).max() < 128
    assert np.abs(y.var(0) / variance - 1).max() < 6 * np.sqrt(2 / 2000)


def test_same_key_same_result_other_key_other_result():
    x, w = draw(0, (4,), 300, 300, x_max=8, w_max=20)
    run = jax.jit(lambda key: matmul(x, w, noisy_chip(), key))
    first = run(jax.random.key(1))
    np.testing.assert_array_equal(first, run(jax.random.key(1)))
    np.testing.assert_array_equal(first, matmul(x, w, noisy_chip(), jax.random.key(1)))
    for other in (jax.random.key(2), jax.random.fold_in(jax.random.key(1), 0)):
        assert (first != run(other)).mean() > 0.5  # equal floors of two normals: about 0.14


def test_a_key_on_a_chip_without_noise_changes_nothing(chip):
    x, w = draw(0, (4,), 300, 300)
    np.testing.assert_array_equal(compiled(x, w, chip, jax.random.key(0)), compiled(x, w, chip))


# --- one program


def equations(jaxpr):
    """Counts the equations of a jaxpr and of all jaxprs inside it."""
    count = 0
    for equation in jaxpr.eqns:
        count += 1
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            if hasattr(inner, "eqns"):
                count += equations(getattr(inner, "jaxpr", inner))
    return count


def traced(inputs, outputs, chip, key, *, grad=False, **settings):
    def run(x, w, chip, key):
        return matmul(x, w, chip, key, **settings).sum()

    function = jax.grad(run, (0, 1)) if grad else run
    return jax.make_jaxpr(function)(jnp.zeros((2, inputs)), jnp.zeros((inputs, outputs)), chip, key)


@pytest.mark.parametrize("settings", [{}, {"grad": True}, {"grad": True, "mask_saturated": True}])
@pytest.mark.parametrize("with_chip", [False, True])
def test_program_size_does_not_grow_with_the_number_of_blocks(settings, with_chip):
    chip, key = (noisy_chip(), jax.random.key(0)) if with_chip else (None, None)
    sizes = [(600, 257), (600, 3000), (1400, 300), (3968, 2000)]  # 5, 5, 11 and 31 row blocks
    counts = [equations(traced(k, n, chip, key, **settings).jaxpr) for k, n in sizes[:3]]
    assert len(set(counts)) == 1 and counts[0] > 10
    # Where the last block is full there is less to do.
    assert equations(traced(*sizes[3], chip, key, **settings).jaxpr) <= counts[0]


def test_compiled_program_does_not_grow_with_the_number_of_blocks():
    def lines(inputs, outputs):
        run = jax.jit(lambda x, w, chip, key: matmul(x, w, chip, key))
        lowered = run.lower(
            jnp.zeros((2, inputs)), jnp.zeros((inputs, outputs)), noisy_chip(), jax.random.key(0)
        )
        return lowered.as_text().count("\n")

    # Seven pairs of blocks and eleven; of five some lines are shared with the loop of threefry.
    assert lines(1900, 1300) == lines(2940, 600)


def test_without_a_key_there_are_no_random_numbers_in_the_program(chip):
    key = jax.random.key(0)

    def is_random(text):
        # The hash of the noise shifts, and nothing else does.
        return any(word in text for word in ("random", "threefry", "rng", "shift_right"))

    for grad in (False, True):
        for on, given_key in ((None, None), (chip, None), (None, key)):
            assert not is_random(str(traced(300, 300, on, given_key, grad=grad)))
        assert is_random(str(traced(300, 300, chip, key, grad=grad)))
    run = jax.jit(lambda x, w, chip: matmul(x, w, chip))
    text = run.lower(jnp.zeros((2, 300)), jnp.zeros((300, 300)), chip).as_text()
    assert not is_random(text)


# --- transformations


def test_chips_side_by_side_are_taken_in_turn_on_a_cpu():
    (x, w), chips = draw(4, (64,), 256, 256), 8
    several = jax.vmap(bss2jax.sample_chip)(jax.random.split(jax.random.key(2), chips))
    keys = jax.random.split(jax.random.key(0), chips)

    def training(chip, key):
        y, pullback = jax.vjp(lambda x, w: bss2jax.matmul(x, w, chip, key), x, w)
        return y, pullback(y)

    first = jax.tree.map(lambda leaf: leaf[0], (several, keys))
    one = jax.jit(training).lower(*first).compile()
    all_of_them = jax.jit(jax.vmap(training)).lower(several, keys).compile()
    got, want = all_of_them(several, keys), one(*first)
    jax.tree.map(lambda g, w: np.testing.assert_array_equal(g[0], w), got, want)
    # Temporaries of one chip, besides the readouts of all, which both passes hand on.
    of_one, of_all = (c.memory_analysis().temp_size_in_bytes for c in (one, all_of_them))
    assert of_all < of_one + 2 * got[0].nbytes


def test_vmap_over_inputs_weights_and_keys_equals_the_loop():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 32, (3, 4, 200)).astype(np.float32)
    w = rng.integers(-20, 21, (3, 200, 30)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 3)
    chip = noisy_chip()
    both = jax.vmap(lambda x, w, key: compiled(x, w, chip, key))(x, w, keys)
    weights = jax.vmap(lambda w: compiled(x[0], w, None))(w)
    inputs = jax.vmap(lambda x: compiled(x, w[0], None))(x)
    grads = jax.vmap(jax.grad(lambda w, x: compiled(x, w, None).sum()))(w, x)
    for i in range(3):
        np.testing.assert_array_equal(both[i], compiled(x[i], w[i], chip, keys[i]))
        np.testing.assert_array_equal(weights[i], compiled(x[0], w[i], None))
        np.testing.assert_array_equal(inputs[i], compiled(x[i], w[0], None))
        expected = reference.matmul_backward(x[i], w[i], np.ones((4, 30)))
        assert_close([grads[i]], expected[1:])


def test_runs_and_differentiates_inside_scan():
    x, w = draw(8, (2,), 140, 140, x_max=5, w_max=30)

    def loss(w):
        def step(x, _):
            return bss2jax.converting_relu(matmul(x, w, None), 0), None

        return jax.lax.scan(step, x, None, length=3)[0].sum()

    state = x
    for _ in range(3):
        state = reference.converting_relu(reference.matmul(state, w), 0)
    assert float(jax.jit(loss)(w)) == state.sum()
    assert np.isfinite(jax.jit(jax.grad(loss))(w)).all()


def test_the_substrates_numbers_are_used():
    small = replace(BSS2, rows=16, columns=8, hemispheres=1, gain=0.01, activation_max=15)
    x, w = draw(1, (3,), 40, 20, x_max=15)
    chunks = [
        np.floor((np.rint(x[:, i : i + 16]) @ np.rint(w[i : i + 16])).astype(np.float32) * g)
        for i, g in ((0, np.float32(0.01)), (16, np.float32(0.01)), (32, np.float32(0.01)))
    ]
    expected = np.clip(np.clip(chunks, -128, 127).sum(0), -128, 127)
    np.testing.assert_array_equal(compiled(x, w, None, substrate=small), expected)
    y = compiled(x, w, ideal_chip(substrate=small), substrate=small)
    np.testing.assert_array_equal(y, expected)
    assert bss2jax.plan((40, 20), small).configurations == 9
