"""Plans are arithmetic on shapes; split and merge are exact inverses of each other."""

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
from bss2jax.mapping.plan import Placement, as_matrix, from_matrix

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
    for block in Placement(inputs, outputs).blocks():
        count[block.rows, block.columns] += 1
        assert block.rows.stop - block.rows.start <= 128
        assert block.columns.stop - block.columns.start <= 256
        assert block.rows.start % 128 == 0 and block.columns.start % 256 == 0
    assert (count == 1).all()


@given(SIZE, SIZE)
def test_blocks_run_columns_outer_and_alternate_between_the_hemispheres(inputs, outputs):
    blocks = Placement(inputs, outputs).blocks()
    expected = list(reference.blocks(inputs, outputs))
    assert [(b.rows, b.columns, b.hemisphere) for b in blocks] == expected
    for number, block in enumerate(blocks):
        assert block.hemisphere == number % 2
        assert block.configuration == number // 2
        assert block.rows.start == 128 * block.row_block
        assert block.columns.start == 256 * block.column_block


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_number_of_configurations_is_the_published_one(inputs, outputs):
    place = Placement(inputs, outputs)
    blocks = math.ceil(inputs / 128) * math.ceil(outputs / 256)
    assert place.num_blocks == blocks == len(place.blocks())
    assert place.configurations == math.ceil(blocks / 2)
    assert place.blocks()[-1].configuration == place.configurations - 1
    whole = place.configurations * 2 * 128 * 256
    assert place.utilisation == pytest.approx(inputs * outputs / whole)


def test_every_layer_starts_at_hemisphere_0_and_row_0():
    planned = plan({"a": (300, 300), "b": (5, 5), "c": (3, 3, 20, 40)})
    for layer in planned.weights:
        first = layer.placement.blocks()[0]
        assert (first.hemisphere, first.configuration) == (0, 0)
        assert (first.rows.start, first.columns.start) == (0, 0)


def test_a_chip_with_one_hemisphere_uses_one_configuration_a_block():
    place = Placement(300, 300, replace(BSS2, hemispheres=1))
    assert place.configurations == place.num_blocks == 6
    assert {block.hemisphere for block in place.blocks()} == {0}


# --- split and merge


@given(SIZE, SIZE)
@example(128, 256)
@example(300, 600)
@settings(max_examples=15)
def test_split_cuts_the_blocks_of_the_plan_and_fills_ragged_ones_with_zeros(inputs, outputs):
    w = np.arange(1.0, inputs * outputs + 1, dtype=np.float32).reshape(inputs, outputs)
    place = Placement(inputs, outputs)
    blocks = np.asarray(jax.jit(place.split)(w))
    assert blocks.shape == (place.num_blocks, min(inputs, 128), min(outputs, 256))
    for block, got in zip(place.blocks(), blocks, strict=True):
        part = w[block.rows, block.columns]
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
    assert [layer and layer.name for layer in planned.layers] == [None, None, "w"]
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
    huge = plan({"w": (10**6, 10**6)})
    assert huge.configurations == math.ceil(math.ceil(10**6 / 128) * math.ceil(10**6 / 256) / 2)


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
        (lambda: Placement(0, 5), r"\[0, 5\]"),
        (lambda: split({"v": jnp.zeros((5, 5))}, plan({"w": (5, 5)})), "not the one planned"),
        (lambda: split({"w": jnp.zeros((5, 6))}, plan({"w": (5, 5)})), r"w.*\(5, 6\).*\(5, 5\)"),
        (lambda: merge({"w": jnp.zeros((5, 5))}, plan({"w": (5, 5)})), r"w.*\(5, 5\).*\(1, 5, 5\)"),
        (lambda: split({"w": 3.0}, plan({"w": (5, 5)})), r"w.*\(\).*\(5, 5\)"),
    ],
)
def test_what_does_not_fit_a_plan_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
