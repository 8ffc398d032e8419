"""Equal by construction: bit for bit, on a noisy mismatched chip, however a product is run.

Sums are exact and noise has addresses, so nothing may depend on widths, batches, compilation or the
order of pieces. Every comparison here is of all bits.
"""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

import bss2jax
from bss2jax import BSS2, Mismatch, conv2d, matmul, plan, program, sample_chip, saturation
from bss2jax.execute import stripes
from bss2jax.kernels.readout import fraction_bits
from bss2jax.mapping.plan import plan_network
from bss2jax.mapping.products import Grid, ProductDemand

SMALL = replace(BSS2, rows=16, columns=8)
KEY = jax.random.key(7)
STATIC = ("num_sends", "avg", "observe", "mask_saturated", "place", "substrate")
compiled = jax.jit(matmul, static_argnames=STATIC)
NOISY = Mismatch(noise_std=2.0, send_noise=1.0, compression=0.01)


# Drawn by the worker whose tests need them.
@cache
def chips():
    sample = partial(sample_chip, mismatch=NOISY, substrate=SMALL)
    with jax.ensure_compile_time_eval():  # whoever asks first may be traced
        return jax.vmap(sample)(jax.random.split(jax.random.key(0), 4))


@cache
def large():
    with jax.ensure_compile_time_eval():
        return sample_chip(jax.random.key(1), NOISY)


def draw(seed, batch, inputs, outputs):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 32, (*batch, inputs)).astype(np.float32)
    return x, rng.integers(-63, 64, (inputs, outputs)).astype(np.float32)


def chip_of(number):
    return jax.tree.map(lambda a: a[number], chips())


# --- sums


def test_the_largest_sum_has_room_for_five_bits_behind_the_point():
    assert fraction_bits(BSS2) == 5
    for substrate in (BSS2, SMALL, replace(BSS2, rows=1024), replace(BSS2, activation_max=1)):
        largest = substrate.activation_max * 2 * substrate.weight_max * substrate.rows
        bits = fraction_bits(substrate)
        assert largest * 2**bits <= 2**24 and (bits == 0 or largest * 2 ** (bits + 1) > 2**24)


def test_products_are_exact_in_float32_in_any_order():
    chip = replace(large(), synapse_gain=2 * large().synapse_gain)  # strengths beyond 2 are cut
    x, w = draw(0, (9,), 128, 300)
    w[:, :40] = 63
    x[0] = 31
    programmed = program(w, chip).weights.last
    assert np.abs(programmed).max() == 126
    np.testing.assert_array_equal(programmed * 32, np.rint(programmed * 32))
    exact = x.astype(np.float64) @ np.asarray(programmed, np.float64)
    order = np.random.default_rng(1).permutation(128)
    for rows in (slice(None), order):
        for columns in (slice(None), slice(0, 1), slice(7, 30)):
            y = jax.jit(jnp.matmul)(x[:, rows], programmed[rows, columns])
            np.testing.assert_array_equal(np.asarray(y, np.float64), exact[:, columns])


# --- one product, run in many ways


# Slow ones here and below repeat a claim between two sizes of which both are run every time.
@pytest.mark.parametrize(
    "inputs, outputs", [(5, 3), pytest.param(128, 256, marks=pytest.mark.slow), (300, 600)]
)
def test_eager_equals_compiled_and_programmed(inputs, outputs):
    x, w = draw(inputs, (6,), inputs, outputs)
    y = compiled(x, w, large(), KEY)
    np.testing.assert_array_equal(matmul(x, w, large(), KEY), y)
    np.testing.assert_array_equal(matmul(x, program(w, large()), large(), KEY), y)
    inside = jax.jit(lambda x, w, key: 2 * jnp.tanh(matmul(x, w, large(), key) / 9) + x.sum())
    np.testing.assert_array_equal(
        inside(x, w, KEY), jax.jit(lambda x, y: 2 * jnp.tanh(y / 9) + x.sum())(x, y)
    )


@pytest.mark.parametrize(
    "inputs, outputs",
    [(128, 1), *(pytest.param(*s, marks=pytest.mark.slow) for s in ((300, 600), (512, 10)))],
)
def test_a_batch_is_its_halves_and_its_samples_one_by_one(inputs, outputs):
    x, w = draw(inputs, (20, 3), inputs, outputs)
    whole = np.asarray(compiled(x, w, large(), KEY, num_sends=2))
    assert (whole[10:] != np.asarray(compiled(x[10:], w, large(), KEY, num_sends=2))).any()

    def cut(first, count):
        part = x[first : first + count]
        return compiled(part, w, large(), KEY, sample=first, num_sends=2)

    for size in (10, 7, 1):
        parts = [cut(first, size) for first in range(0, 20, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    rows = x.reshape(60, inputs)
    np.testing.assert_array_equal(
        compiled(rows, w, large(), KEY, num_sends=2), whole.reshape(60, outputs)
    )
    np.testing.assert_array_equal(
        compiled(x[4, 1], w, large(), KEY, sample=4 * 3 + 1, num_sends=2), whole[4, 1]
    )


@pytest.mark.parametrize(
    "columns", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 256)), 300]
)
def test_the_first_columns_are_what_they_are_beside_others(columns):
    x, w = draw(3, (8,), 300, 600)
    whole = compiled(x, w, large(), KEY)
    np.testing.assert_array_equal(compiled(x, w[:, :columns], large(), KEY), whole[:, :columns])


def test_a_vmap_over_chips_weights_and_keys_is_the_loop():
    x, w = draw(4, (6,), 40, 20)
    keys = jax.random.split(KEY, 4)
    run = partial(matmul, substrate=SMALL)
    mapped = jax.jit(jax.vmap(lambda chip, key: run(x, w, chip, key)))(chips(), keys)
    of_weights = jax.jit(jax.vmap(lambda w: run(x, w, chip_of(0), KEY)))(jnp.stack([w, -w]))
    for i in range(4):
        y = compiled(x, w, chip_of(i), keys[i], substrate=SMALL)
        np.testing.assert_array_equal(mapped[i], y)
    np.testing.assert_array_equal(of_weights[1], compiled(x, -w, chip_of(0), KEY, substrate=SMALL))


def test_it_runs_where_samples_are_spread_over_devices():
    """Under shard_map with its checks on; the first carry of a scan must vary as the last one."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w = draw(5, (4,), 300, 40)
    spread = partial(jax.shard_map, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    for chip, key in ((None, None), (large(), None), (large(), KEY)):
        run = jax.jit(spread(lambda x, w, chip=chip, key=key: matmul(x, w, chip, key)))
        np.testing.assert_array_equal(run(x, w), compiled(x, w, chip, key))
    seen = partial(jax.shard_map, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    counted = seen(lambda x, w: matmul(x, w, large(), KEY, observe=True)[0])
    np.testing.assert_array_equal(jax.jit(counted)(x, w), compiled(x, w, large(), KEY))


# --- any plan


def moved(planned, seed, chips=4, order=None):
    """The plan with every piece on a random chip and array, in a configuration of its own."""
    rng = np.random.default_rng(seed)
    table = planned.table.copy()
    table[:, 2] = rng.integers(0, chips, len(table))
    table[:, 4] = rng.integers(0, planned.substrate.hemispheres, len(table))
    table[:, 3] = np.arange(len(table))
    return replace(planned, table=table if order is None else table[order])


@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 2**32))
@example(16, 8, 0)
@example(17, 9, 1)
@settings(max_examples=6)
def test_gathered_by_the_tables_of_the_published_order_the_pattern_is_the_tile(k, n, seed):
    grid = Grid(k, n, SMALL)
    pattern = np.random.default_rng(seed).normal(size=(3, 2, 16, 8)).astype(np.float32)
    tables = (np.zeros(grid.arrays.shape, np.int32), grid.arrays)
    tile = stripes.lay_out(jnp.asarray(pattern), grid, None)
    gathered = stripes.lay_out(jnp.asarray(pattern), grid, tables)
    for parity in ("even", "odd"):
        found = getattr(gathered, parity)
        expected = np.broadcast_to(getattr(tile, parity), (grid.row_blocks // 2, *found.shape[1:]))
        np.testing.assert_array_equal(found, expected)
    assert (tile.last is None) == (gathered.last is None) == (grid.row_blocks % 2 == 0)
    if tile.last is not None:
        np.testing.assert_array_equal(gathered.last, tile.last)


@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 2**32))
@example(48, 24, 0)
@settings(max_examples=5)
def test_a_product_on_any_plan_is_its_pieces_one_by_one(k, n, seed):
    x, w = draw(seed, (3,), k, n)
    planned = moved(plan((k, n), SMALL), seed)
    order = np.random.default_rng(seed).permutation(len(planned.pieces))
    shuffled = moved(plan((k, n), SMALL), seed, order=order)
    place = shuffled.place("weight")
    assert place == planned.place("weight")
    y = compiled(x, w, chips(), num_sends=2, place=place, substrate=SMALL)
    programmed = program(w, chips(), place=place, substrate=SMALL)
    np.testing.assert_array_equal(y, matmul(x, programmed, chips(), num_sends=2, substrate=SMALL))
    low, high = np.zeros((2, 3, n))
    for piece in shuffled.pieces:
        pattern = reference.pattern(chip_of(piece.chip))
        voltage, error = reference.piece_voltage(
            x[:, piece.rows], w[piece.rows, piece.columns], pattern, piece.array, 2, 256
        )  # 31 x 126 x 16 x 256 < 2^24
        low[:, piece.columns] += reference.readout(voltage - error)
        high[:, piece.columns] += reference.readout(voltage + error)
    assert (low != high).mean() < 0.05, "the bound is too wide to test anything"
    assert (np.clip(low, -128, 127) <= y).all() and (y <= np.clip(high, -128, 127)).all()


def test_the_published_order_as_tables_or_on_another_chip_gives_the_same_bits():
    x, w = draw(6, (5,), 90, 50)
    planned = plan((90, 50), SMALL)
    expected = compiled(x, w, chip_of(2), KEY, substrate=SMALL)
    table = planned.table.copy()
    table[:, 2] = 2
    place = replace(planned, table=table).place("weight")
    assert place.regular
    np.testing.assert_array_equal(
        compiled(x, w, chips(), KEY, place=place, substrate=SMALL), expected
    )
    regular = planned.place("weight")
    for one in (chip_of(2), jax.tree.map(lambda a: a[2:3], chips())):
        y = compiled(x, w, one, KEY, place=regular, substrate=SMALL)
        np.testing.assert_array_equal(y, expected)


def test_noise_belongs_to_the_logical_block_wherever_it_is():
    # Chips that differ in nothing: moving pieces about moves no noise.
    same = jax.tree.map(lambda a: jnp.stack([a[0]] * 4), chips())
    alike = jax.tree.map(
        lambda a: jnp.broadcast_to(a[:, :1], a.shape), replace(same, circuits=None)
    )
    alike = replace(alike, circuits=same.circuits)
    x, w = draw(7, (5,), 90, 50)
    places = [moved(plan((90, 50), SMALL), seed).place("weight") for seed in (1, 2)]
    one, other = (compiled(x, w, alike, KEY, place=p, substrate=SMALL) for p in places)
    np.testing.assert_array_equal(one, other)
    assert (one != compiled(x, w, alike, place=places[0], substrate=SMALL)).any()


def test_gradients_know_no_place():
    x, w = draw(8, (5,), 90, 50)
    place = moved(plan((90, 50), SMALL), 3).place("weight")

    def loss(w, **settings):
        return (matmul(x, w, substrate=SMALL, **settings) * jnp.cos(jnp.arange(50))).sum()

    on_chips = jax.jit(jax.grad(lambda w: loss(w, chip=chips(), key=KEY, place=place)))(w)
    np.testing.assert_array_equal(on_chips, jax.jit(jax.grad(lambda w: loss(w, chip=None)))(w))


def test_groups_of_a_convolution_take_each_its_own_place():
    rng = np.random.default_rng(9)
    x = rng.integers(0, 32, (2, 5, 5, 6)).astype(np.float32)
    w = rng.integers(-63, 64, (3, 3, 2, 9)).astype(np.float32)  # groups of 18 rows, 3 columns
    demand = ProductDemand(18, 3, vectors=9, groups=3, mode="conv2d")
    planned = plan_network(["c"], [demand], substrate=SMALL)
    run = jax.jit(
        lambda x, w, chip, place=None: conv2d(
            x, w, chip, KEY, groups=3, place=place, substrate=SMALL
        ),
        static_argnames="place",
    )
    one = run(x, w, chip_of(1))
    np.testing.assert_array_equal(run(x, w, chip_of(1), place=planned.place("c")), one)
    table = planned.table.copy()
    table[:, 2] = 1
    other = replace(planned, table=table)
    np.testing.assert_array_equal(run(x, w, chips(), place=other.place("c")), one)
    table[2:4, 2] = 3  # the second group on another chip
    y = run(x, w, chips(), place=replace(planned, table=table).place("c"))
    np.testing.assert_array_equal(y[..., [0, 1, 2, 6, 7, 8]], one[..., [0, 1, 2, 6, 7, 8]])
    np.testing.assert_array_equal(y[..., 3:6], run(x, w, chip_of(3))[..., 3:6])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, w, p: matmul(x, w, chips(), substrate=SMALL), "say by `place`"),
        (
            lambda x, w, p: matmul(x, w[:, :9], chips(), place=p, substrate=SMALL),
            r"\[90, 50\].*\[90, 9\]",
        ),
        (lambda x, w, p: matmul(x, w, chip_of(0), place=p, substrate=SMALL), "chip 3.*1 given"),
    ],
)
def test_a_place_that_is_not_this_products_is_refused(call, message):
    x, w = draw(6, (5,), 90, 50)
    place = moved(plan((90, 50), SMALL), 0).place("weight")
    with pytest.raises(ValueError, match=message):
        call(x, w, place)


# --- what is observed


def test_what_saturated_comes_with_the_same_product():
    x, w = draw(10, (7, 2), 300, 40)
    for chip, key in ((None, None), (large(), KEY)):
        plain = compiled(x, w, chip, key, num_sends=4)
        y, record = compiled(x, w, chip, key, num_sends=4, observe=True)
        np.testing.assert_array_equal(y, plain)
        counted = jax.jit(partial(saturation, num_sends=4))(x, w, chip, key)
        assert record == counted and set(record) == {"inputs", "outputs", "sums", "weights"}
        y, seen = compiled(x, program(w, chip), chip, key, num_sends=4, observe=True)
        np.testing.assert_array_equal(y, plain)
        assert seen == {name: record[name] for name in ("inputs", "outputs", "sums")}
        masked = compiled(x, w, chip, key, num_sends=4, observe=True, mask_saturated=True)
        np.testing.assert_array_equal(masked[0], plain)


@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_gradients_are_the_same_when_observed(masked):
    x, w = draw(11, (7,), 300, 40)
    run = partial(compiled, x, chip=large(), key=KEY, num_sends=4, mask_saturated=masked)
    plain = jax.grad(lambda w: jnp.sin(run(w)).sum())(w)
    np.testing.assert_array_equal(
        jax.grad(lambda w: jnp.sin(run(w, observe=True)[0]).sum())(w), plain
    )
    nothing = jax.grad(lambda w: sum(run(w, observe=True)[1].values()))(w)
    assert (nothing == 0).all()


# --- sizes and types


@pytest.mark.slow  # a compilation for each size
@pytest.mark.parametrize(
    "inputs", [1, 17, 32, 65, *(pytest.param(n, marks=pytest.mark.slow) for n in (15, 16, 33))]
)
def test_any_size_can_be_programmed(inputs):
    x, w = draw(inputs, (3,), inputs, 11)
    for chip, key in ((None, None), (chip_of(0), KEY)):
        y = matmul(x, program(w, chip, substrate=SMALL), chip, key, substrate=SMALL)
        np.testing.assert_array_equal(y, compiled(x, w, chip, key, substrate=SMALL))


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (0, 0, 0)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("on_chip", [False, True])
def test_empty_axes_give_empty_or_zero_products_and_gradients(shape, masked, on_chip):
    batch, inputs, outputs = shape
    x, w = np.ones((batch, inputs)), np.ones((inputs, outputs))
    chip, key = (large(), KEY) if on_chip else (None, None)
    run = partial(matmul, chip=chip, key=key, mask_saturated=masked, observe=True)
    y, record = run(x, w)
    assert y.shape == (batch, outputs)
    assert (y == 0).all() or inputs
    assert all(np.isfinite(share) for share in record.values())
    dx, dw = jax.grad(lambda x, w: run(x, w)[0].sum(), (0, 1))(jnp.float32(x), jnp.float32(w))
    assert dx.shape == x.shape and dw.shape == w.shape
    assert matmul(x, program(w, chip), chip, key).shape == y.shape
    assert matmul(np.ones((2, 0, 5)), np.ones((5, 4)), large(), KEY).shape == (2, 0, 4)


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.astype(np.uint8),
        lambda a: a.astype(">f4"),
        lambda a: a.astype(">i4"),
        lambda a: a.astype(np.float16),
        lambda a: a.astype(np.float64),
        lambda a: a.astype(np.int8),
        lambda a: a.tolist(),
        lambda a: jnp.asarray(a, jnp.bfloat16),
        lambda a: jnp.asarray(a, jnp.uint8),
    ],
)
def test_every_type_of_number_is_taken_for_its_value(convert):
    x, w = draw(12, (3,), 40, 5)
    expected = matmul(x, np.abs(w), None)
    np.testing.assert_array_equal(matmul(convert(x), convert(np.abs(w)), None), expected)
    flags = x > 15
    np.testing.assert_array_equal(matmul(flags, w, None), matmul(np.float32(flags), w, None))


def test_numbers_of_numpy_are_numbers():
    x, w = draw(13, (3,), 40, 5)
    expected = matmul(x, w, None, num_sends=2, avg=2)
    y = matmul(x, w, None, num_sends=np.int64(2), avg=np.uint8(2))
    np.testing.assert_array_equal(y, expected)
    for wrong in (True, 0, 1.0, np.float32(1), "1"):
        with pytest.raises(ValueError, match="num_sends: expected an integer >= 1"):
            matmul(x, w, None, num_sends=wrong)


def test_an_observed_product_clips_outside_jit_too():
    x, w = np.array([[40.0, -3.0, 5.0]]), np.array([[70.0], [1.0], [2.0]])
    y, record = bss2jax.matmul(x, w, None, observe=True)
    assert float(y[0, 0]) == np.floor(np.float32(31 * 63 + 10) * np.float32(0.002))
    assert float(record["inputs"]) == np.float32(2 / 3)
    assert float(record["weights"]) == np.float32(1 / 3)
