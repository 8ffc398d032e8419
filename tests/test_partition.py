"""Plans say where every piece is; split and merge are exact inverses of each other."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bss2jax import BSS2, describe, merge, plan, split
from bss2jax.mapping.plan import Plan, as_matrix, from_matrix, plan_network
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.mapping.products import Grid, ProductDemand

SIZE = st.integers(1, 700)
SMALL = replace(BSS2, rows=3, columns=4)  # the same arithmetic on arrays that are quick to draw
WEIGHT = st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple)
DIGITAL = st.lists(st.integers(1, 9), max_size=1).map(lambda s: ("digital", *s))
TREES = st.recursive(
    WEIGHT | DIGITAL,
    lambda child: (
        st.dictionaries(st.sampled_from("abcd"), child, min_size=1, max_size=3)
        | st.lists(child, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


def is_leaf(leaf):
    return isinstance(leaf, tuple)


def fill(tree):
    """Arrays of the shapes of a tree of tuples, every value of all of them different."""
    count = iter(range(10**9))

    def array(shape):
        shape = shape[1:] if shape[:1] == ("digital",) else shape
        values = [next(count) for _ in range(math.prod(shape))]
        return jnp.asarray(values, jnp.float32).reshape(shape)

    return jax.tree.map(array, tree, is_leaf=is_leaf)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_array_equal(x, y)


# --- placement


@given(SIZE, SIZE)
@example(128, 256)
@example(129, 257)
def test_every_weight_is_in_exactly_one_block(inputs, outputs):
    count = np.zeros((inputs, outputs), int)
    for piece in plan((inputs, outputs)).pieces:
        count[piece.rows, piece.columns] += 1
        assert piece.rows.stop - piece.rows.start <= 128
        assert piece.columns.stop - piece.columns.start <= 256
        assert piece.rows.start % 128 == 0 and piece.columns.start % 256 == 0
    assert (count == 1).all()


@given(SIZE, SIZE)
def test_blocks_run_columns_outer_and_alternate_between_the_hemispheres(inputs, outputs):
    planned = plan((inputs, outputs))
    expected = list(reference.blocks(inputs, outputs))
    assert [(p.rows, p.columns, p.array) for p in planned.pieces] == expected
    for number, piece in enumerate(planned.pieces):
        assert (piece.part, piece.configuration, piece.chip) == (number, number // 2, 0)
    assert planned.place("weight").regular


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_number_of_configurations_is_the_published_one(inputs, outputs):
    planned, grid = plan((inputs, outputs)), Grid(inputs, outputs)
    blocks = math.ceil(inputs / 128) * math.ceil(outputs / 256)
    assert grid.num_blocks == blocks == len(planned.pieces)
    assert grid.configurations == math.ceil(blocks / 2) == planned.configurations
    whole = grid.configurations * 2 * 128 * 256
    assert grid.utilisation == pytest.approx(inputs * outputs / whole)


def test_every_layer_starts_at_hemisphere_0_and_row_0():
    planned = plan({"a": (300, 300), "b": (5, 5), "c": (3, 3, 20, 40)})
    configuration = 0
    for name in planned.names:
        own = [piece for piece in planned.pieces if piece.layer == name]
        assert (own[0].array, own[0].configuration) == (0, configuration)
        assert (own[0].rows.start, own[0].columns.start) == (0, 0)
        configuration = own[-1].configuration + 1
    assert configuration == planned.configurations


def test_a_chip_with_one_hemisphere_uses_one_configuration_a_block():
    planned = plan((300, 300), replace(BSS2, hemispheres=1))
    assert planned.configurations == len(planned.pieces) == 6
    assert {piece.array for piece in planned.pieces} == {0}


# --- split and merge


@given(SIZE, SIZE)
@example(128, 256)
@example(300, 600)
@settings(max_examples=15)
def test_split_cuts_the_blocks_of_the_plan_and_fills_ragged_ones_with_zeros(inputs, outputs):
    w = np.arange(1.0, inputs * outputs + 1, dtype=np.float32).reshape(inputs, outputs)
    planned = plan(w)
    blocks = np.asarray(jax.jit(partial(split, plan=planned))(w))
    assert blocks.shape == (len(planned.pieces), min(inputs, 128), min(outputs, 256))
    for piece, got in zip(planned.pieces, blocks, strict=True):
        part = w[piece.rows, piece.columns]
        rows, columns = part.shape
        np.testing.assert_array_equal(got[:rows, :columns], part)
        assert (got[rows:] == 0).all() and (got[:, columns:] == 0).all()


@given(TREES)
@settings(max_examples=15)
def test_split_then_merge_is_identity_on_any_parameter_tree(tree):
    params = fill(tree)
    planned = plan(params, SMALL)

    @jax.jit
    def there_and_back(params):
        blocks = split(params, planned)
        merged = merge(blocks, planned)
        return blocks, merged, split(merged, planned)

    blocks, merged, again = there_and_back(params)
    assert_same(merged, params)
    assert_same(again, blocks)


@pytest.mark.parametrize("shape", [(1, 1), (128, 256), (129, 257), (300, 600), (5, 5, 40, 300)])
def test_split_then_merge_is_identity_at_the_chips_own_size(shape):
    w = jax.random.normal(jax.random.key(0), shape)
    planned = plan(w)
    there_and_back = jax.jit(lambda w: merge(split(w, planned), planned))
    np.testing.assert_array_equal(there_and_back(w), w)


def test_vectors_and_scalars_stay_digital():
    params = {"w": jnp.ones((5, 5)), "b": jnp.arange(5.0), "s": jnp.float32(3)}
    planned = plan(params, SMALL)
    assert planned.names == ("w",)
    blocks = split(params, planned)
    assert blocks["b"] is params["b"] and blocks["s"] is params["s"]
    assert blocks["w"].shape == (4, 3, 4)


def test_split_and_merge_jit_vmap_and_differentiate():
    params = fill({"a": {"kernel": (3, 2, 5)}, "b": (7, 9), "bias": ("digital", 4)})
    planned = plan(params, SMALL)
    blocks = split(params, planned)
    static = jax.jit(split, static_argnums=1)
    assert_same(static(params, planned), blocks)
    assert_same(jax.jit(merge, static_argnums=1)(blocks, planned), params)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    mapped = jax.vmap(partial(split, plan=planned))(stacked)
    assert_same(jax.tree.map(lambda leaf: leaf[1], mapped), jax.tree.map(lambda b: 2 * b, blocks))
    assert_same(jax.vmap(partial(merge, plan=planned))(mapped), stacked)

    # Both only move values about: the gradient of the inner product with anything is that, moved.
    weights = jax.tree.map(lambda b: jnp.cos(b + 1), blocks)

    def product(params):
        parts = jax.tree.map(lambda a, b: jnp.sum(a * b), split(params, planned), weights)
        return sum(jax.tree.leaves(parts))

    assert_same(jax.grad(product)(params), merge(weights, planned))


def test_kernels_are_laid_out_channel_outermost_and_back():
    kernel = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    matrix = as_matrix(kernel)
    for i, j, c in np.ndindex(2, 3, 4):
        np.testing.assert_array_equal(matrix[c * 6 + i * 3 + j], kernel[i, j, c])
    np.testing.assert_array_equal(from_matrix(matrix, kernel.shape), kernel)


# --- plans


@given(TREES)
@settings(max_examples=20)
def test_a_plan_is_the_same_from_arrays_structs_and_shapes(tree):
    params = fill(tree)
    from_arrays = plan(params)
    structs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    assert plan(structs) == from_arrays
    assert plan(jax.eval_shape(lambda: params)) == from_arrays
    assert hash(plan(structs)) == hash(from_arrays)


def test_a_plan_is_the_same_from_tuples_of_ints():
    shapes = {"fc": {"weight": (300, 10), "bias": (10,)}, "conv": [(3, 3, 1, 8)]}
    arrays = jax.tree.map(jnp.zeros, shapes, is_leaf=is_leaf)
    assert plan(shapes) == plan(arrays)
    assert plan((784, 128)) == plan(jnp.zeros((784, 128)))


def test_plans_differ_where_shapes_or_substrates_do():
    assert plan({"w": (5, 6)}) != plan({"w": (6, 5)})
    assert plan({"w": (5, 6)}) != plan({"v": (5, 6)})
    assert plan({"w": (5, 6)}) != plan({"w": (5, 6)}, SMALL)


def test_a_plan_runs_nothing():
    huge = plan({"w": (10**5, 10**5)})
    assert huge.configurations == math.ceil(math.ceil(10**5 / 128) * math.ceil(10**5 / 256) / 2)


def test_describe_contains_the_numbers_of_every_weight():
    planned = plan(
        {"conv": {"weight": (10, 10, 1, 20)}, "fc": {"weight": (500, 600), "bias": (9,)}}
    )
    header, rule, *rows = describe(planned).splitlines()
    for word in ("layer", "shape", "mode", "blocks", "configurations", "utilisation"):
        assert word in header
    assert set(rule) == {"-", " "}
    # 100 x 20 in one block of two; 500 x 600 in 4 x 3 blocks, 6 configurations.
    first, second = 100 * 20 / (2 * 128 * 256), 500 * 600 / (6 * 2 * 128 * 256)
    expected = [
        ["conv.weight", "10x10x1x20", "matmul", "1", "1", f"{first:.1%}"],
        ["fc.weight", "500x600", "matmul", "12", "6", f"{second:.1%}"],
    ]
    assert [row.split() for row in rows] == expected
    assert planned.configurations == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan({"w": (0, 5)}), r"w.*\(0, 5\)"),
        (lambda: plan({"w": jnp.zeros((5, 0))}), r"w.*\(5, 0\)"),
        (lambda: plan({"w": "weights"}), "'weights'"),
        (lambda: plan({"w": 3.0}), "w.*3.0"),
        (lambda: ProductDemand(0, 5), r"\[0, 5\]"),
        (lambda: split({}, plan_network(["a"], [ProductDemand(3, 3)])), "not of a parameter tree"),
        (lambda: plan({"w": (5, 5)}).place("v"), "no layer 'v'; it has w"),
        (lambda: split({"v": jnp.zeros((5, 5))}, plan({"w": (5, 5)})), "not the one planned"),
        (lambda: split({"w": jnp.zeros((5, 6))}, plan({"w": (5, 5)})), r"w.*\(5, 6\).*\(5, 5\)"),
        (lambda: merge({"w": jnp.zeros((5, 5))}, plan({"w": (5, 5)})), r"w.*\(5, 5\).*\(1, 5, 5\)"),
        (lambda: split({"w": 3.0}, plan({"w": (5, 5)})), r"w.*\(\).*\(5, 5\)"),
    ],
)
def test_what_does_not_fit_a_plan_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- explicit pieces

MIXED = plan_network(
    ["conv", "dense", "hidden", "readout"],
    [
        ProductDemand(130, 300, vectors=9, num_sends=2, groups=2, mode="conv2d"),
        ProductDemand(600, 520),
        PopulationDemand(100, 200, input_events=64),
        PopulationDemand(200, 10),
    ],
    seconds=3e-5,
)


def test_one_plan_holds_products_and_populations_one_after_the_other():
    by_layer = {name: [p for p in MIXED.pieces if p.layer == name] for name in MIXED.names}
    # Two groups of 2 x 2 blocks, each from the front of the chip; 5 x 3 blocks; one configuration
    # for both populations.
    assert [len(own) for own in by_layer.values()] == [8, 15, 1, 1]
    at = {name: [p.configuration for p in own] for name, own in by_layer.items()}
    assert at["conv"] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert at["dense"] == [4 + n // 2 for n in range(15)]
    assert at["hidden"] == at["readout"] == [12] and MIXED.configurations == 13
    assert by_layer["conv"][4].columns == slice(300, 556) and by_layer["conv"][4].array == 0
    assert by_layer["readout"][0].circuits == tuple(range(200, 220))
    assert by_layer["readout"][0].array is None and MIXED.chips == 1
    text = describe(MIXED)
    for words in ("conv2d", "130x300", "1 configuration", "group"):
        assert words in text


def test_a_plan_is_its_table_whatever_made_it():
    again = plan_network(MIXED.names, MIXED.demands, seconds=3e-5)
    assert again == MIXED and hash(again) == hash(MIXED) and again is not MIXED
    assert len({MIXED, again}) == 1
    moved = MIXED.table.copy()
    moved[3, 2] = 5  # the chip of a piece
    other = replace(MIXED, table=moved)
    assert other != MIXED and other.chips == 6 and MIXED.table[3, 2] == 0
    assert not other.place("conv").regular and other.place("dense") == MIXED.place("dense")
    assert other.place("dense").regular and hash(other.place("dense")) == hash(MIXED.place("dense"))
    assert other.place("conv") != MIXED.place("conv")
    assert replace(MIXED, seconds=1.0) != MIXED
    with pytest.raises(ValueError, match="read-only"):
        MIXED.table[0, 0] = 1


def test_a_plan_is_hashed_once_and_a_place_costs_no_pass_over_the_pieces(monkeypatch):
    planned = plan({"w": (10**5, 10**4)})  # 31 thousand pieces
    assert len(planned.pieces) == 782 * 40
    first = planned.place("w")
    hash(planned)
    monkeypatch.setattr(Plan, "rows", None)
    monkeypatch.setattr("hashlib.sha256", None)
    assert planned.place("w") is first and {planned: 1, first: 2}[first] == 2


def test_pieces_that_are_not_the_blocks_of_the_arrays_have_no_place():
    planned = plan((300, 300))
    shifted = planned.table.copy()
    shifted[0, 6], shifted[1, 5] = 100, 100  # cut at row 100
    with pytest.raises(ValueError, match="cut at every 128 rows"):
        replace(planned, table=shifted).place("weight")
    with pytest.raises(ValueError, match="each block once"):
        replace(planned, table=planned.table[1:]).place("weight")


@pytest.mark.parametrize("layer, what", [("dense", "array 0"), ("readout", "circuit 200")])
def test_two_pieces_in_one_place_at_one_time_are_refused(layer, what):
    rows = MIXED.table[MIXED.table[:, 0] == MIXED.names.index(layer)]
    with pytest.raises(ValueError, match=f"{what} of chip 0 is used 2 times in configuration"):
        replace(MIXED, table=np.concatenate([MIXED.table, rows[:1]]))


@given(st.permutations(range(15)), st.integers(0, 2**32))
@settings(max_examples=10)
def test_a_place_says_where_each_block_is_in_whatever_order_the_pieces_stand(order, seed):
    planned = plan((600, 520))
    rng = np.random.default_rng(seed)
    table = planned.table.copy()
    table[:, 2], table[:, 4] = rng.integers(0, 4, 15), rng.integers(0, 2, 15)
    table[:, 3] = np.arange(15)
    place = replace(planned, table=table[list(order)]).place("weight")
    for piece in replace(planned, table=table).pieces:
        r, c = piece.rows.start // 128, piece.columns.start // 256
        assert (place.chip[0, r, c], place.array[0, r, c]) == (piece.chip, piece.array)
