"""Every public function, and every kind of layer, in every mode that JAX can be set to.

What is public is read from the package: a function or a layer that is new fails here until
`public_examples.py` has an example of it. Where values would add nothing, functions are traced.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.testing import assert_allclose, assert_array_equal
from public_examples import CHIP, EXAMPLES, KEY, LAYERS, ON_HOST, SMALL, Example

import bss2jax
from bss2jax import Chip, Substrate, networks

ALL = [
    pytest.param(name, number, id=f"{name}-{number}")
    for name, examples in EXAMPLES.items()
    for number in range(len(examples))
]
each = pytest.mark.parametrize("name, number", ALL)


def of_layer(kind: type, on: str) -> Example:
    """A network with a layer of a kind, as a function of parameters, values, chip and key."""
    size = LAYERS[kind][1]
    network = network_of(kind)
    coded = kind is not networks.Current  # a current is for float alone
    on = on if on in network.executions and coded else "float"

    def call(params, x, chip, key):
        return network.apply(params, network.state(), x, chip, key, on=on, training=True)[0]

    params = network.init(jax.random.key(1))
    return Example(call, (params, jnp.full((2, *size), 0.4), CHIP, KEY), (None, 0, None, None))


@cache
def network_of(kind: type):
    layers, size = LAYERS[kind]
    return networks.build(layers, size, substrate=SMALL)


def shapes(tree):
    """The structure of a tree, and shapes and types of its leaves."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def traced(example: Example):
    return shapes(jax.eval_shape(example.call, *example.arguments))


@cache
def usual():
    """What comes out of each example, and of each layer, in JAX's usual mode."""
    return [traced(example) for example in every()]


@cache
def every():
    functions = [one for examples in EXAMPLES.values() for one in examples]
    return functions + [of_layer(kind, "chip") for kind in LAYERS]


# --- what is public has an example


def test_every_public_function_has_an_example():
    functions = {
        n for n in bss2jax.__all__ if not isinstance(getattr(bss2jax, n), type | Substrate | dict)
    }
    assert functions <= set(EXAMPLES) | ON_HOST


def test_every_kind_of_layer_has_an_example():
    assert set(networks.LAYERS) == set(LAYERS)


def test_every_public_tree_of_arrays_is_an_argument_or_a_result():
    """So that it is exported, mapped over and spread, too."""
    known = set()

    def look(tree):
        known.add(type(tree))
        inner = vars(tree).values() if is_dataclass(tree) else tree
        if is_dataclass(tree) or isinstance(tree, tuple | list):
            for one in inner:
                look(one)

    for examples in EXAMPLES.values():
        for example in examples:
            look(example.arguments)
            look(jax.eval_shape(example.call, *example.arguments))
    public = (getattr(bss2jax, name) for name in bss2jax.__all__)
    trees = {one for one in public if isinstance(one, type) and is_tree(one)}
    assert trees - known == set()


def is_tree(kind: type) -> bool:
    return is_dataclass(kind) and not jax.tree_util.all_leaves([object.__new__(kind)])


# --- precision and promotion


def test_with_64_bit_types_the_same_types_come_out_and_no_float64_is_on_the_way():
    for example, expected in zip(every(), usual(), strict=True):
        with jax.enable_x64(True):
            wide = example.arguments
            if not example.keeps:
                wide = jax.tree.map(widened, wide, is_leaf=is_dataclass)
            jaxpr, shape = jax.make_jaxpr(example.call, return_shape=True)(*wide)
        assert shapes(shape) == expected
        assert not [line for line in str(jaxpr).splitlines() if "= " in line and computes(line)]


def widened(leaf):
    known = not is_dataclass(leaf) and leaf.dtype == jnp.float32
    return jnp.asarray(leaf, jnp.float64) if known else leaf


def computes(line: str) -> bool:
    """Whether a line of a jaxpr makes a float64, other than a constant that is still to be cast."""
    made = line.split("= ")[0]
    return "f64[" in made and "f64[]" not in made


def test_strict_promotion_of_types_and_ranks_changes_nothing():
    for example, expected in zip(every(), usual(), strict=True):
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            assert traced(example) == expected


# --- how functions are run


def run(name: str, number: int):
    example = EXAMPLES[name][number]
    return jax.jit(example.call)(*example.arguments)


computed = cache(run)


@each
def test_without_jit_the_values_are_the_same(name, number):
    example = EXAMPLES[name][number]
    with jax.disable_jit():
        found = example.call(*example.arguments)
    jax.tree.map(partial(assert_allclose, rtol=1e-5), found, computed(name, number))


@pytest.mark.slow
def test_what_is_called_again_outside_of_jit_is_not_compiled_again():
    """As a loop is whose body is a closure of the call: it takes a hundred times as long."""
    compiled, again = [], []

    def listen(event, *_, **__):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for param in ALL:
            name, number = param.values
            example = EXAMPLES[name][number]
            jax.block_until_ready(example.call(*example.arguments))
            compiled.clear()
            jax.block_until_ready(example.call(*example.arguments))
            again += [(name, number)] if any("compile" in event for event in compiled) else []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert again == []


def test_threads_compute_what_one_does():
    calls = [param.values for param in ALL]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(run, *zip(*calls)))
    for call, result in zip(calls, again, strict=True):
        jax.tree.map(assert_array_equal, result, computed(*call))


def test_vmap_of_everything():
    """Over every argument at once: chips, neurons, keys and what is sent."""
    for example, (structure, leaves) in zip(every(), usual(), strict=True):
        if example.arguments:
            stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), example.arguments)
            got = shapes(jax.eval_shape(jax.vmap(example.call), *stacked))
            assert got == (structure, [((2, *shape), kind) for shape, kind in leaves])


# --- devices


def place(axis: int | None) -> P:
    return P() if axis is None else P(*(None,) * axis, "data")


def test_shard_map_with_its_checks_on():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    for name, examples in EXAMPLES.items():
        for example in examples:
            # What is of all samples together is computed of all on each device.
            axes = example.samples if example.out is not None else (None,) * len(example.samples)
            spread = jax.shard_map(
                example.call, mesh=mesh, in_specs=tuple(map(place, axes)),
                out_specs=place(example.out),
            )  # fmt: skip
            assert shapes(jax.eval_shape(spread, *example.arguments)) == traced(example), name


def test_gradients_under_shard_map_are_summed_over_devices():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    for name, examples in EXAMPLES.items():
        for example in examples:
            for number in example.differentiable:
                specs = tuple(place(axis) for axis in example.samples)
                slope = jax.shard_map(
                    gradient(example, number), mesh=mesh, in_specs=specs, out_specs=specs[number]
                )
                got = jax.eval_shape(slope, *example.arguments)
                given = jax.tree.map(jnp.asarray, example.arguments[number])
                assert shapes(got) == shapes(given), name


def test_explicit_meshes():
    """Two devices, of which samples are spread: results are spread likewise."""
    mesh = AbstractMesh((2,), ("data",), axis_types=(AxisType.Explicit,))

    def on_mesh(axis, tree):
        def one(leaf):
            leaf = jnp.asarray(leaf)
            spec = (*place(axis), *(None,) * leaf.ndim)[: leaf.ndim]
            sharding = NamedSharding(mesh, P(*spec))
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(one, tree)

    for name, examples in EXAMPLES.items():
        for example in examples:
            given = tuple(map(on_mesh, example.samples, example.arguments))
            with jax.sharding.use_abstract_mesh(mesh):
                got = jax.eval_shape(example.call, *given)
                for number in example.differentiable:
                    jax.eval_shape(gradient(example, number), *given)
            assert shapes(got) == traced(example), name


def gradient(example: Example, number: int):
    """The gradient of the sum of squares, so that second factors are not constants."""

    def loss(argument, *others):
        arguments = (*others[:number], argument, *others[number:])
        results = jax.tree.leaves(example.call(*arguments))
        return sum((leaf**2).sum() for leaf in results if jnp.issubdtype(leaf.dtype, jnp.floating))

    def of_arguments(*arguments):
        return jax.grad(loss)(arguments[number], *arguments[:number], *arguments[number + 1 :])

    return of_arguments


# --- gradients


def test_what_has_no_gradient_says_so():
    """Nothing that may be given as floats has a silent zero: a gradient or a word."""
    for examples in EXAMPLES.values():
        for example in examples:
            for number, argument in enumerate(example.arguments):
                leaves = list(map(jnp.asarray, jax.tree.leaves(argument)))
                floating = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
                if number in example.differentiable or not floating or isinstance(argument, Chip):
                    continue
                with pytest.raises(TypeError, match="has no gradient|real-valued"):
                    jax.eval_shape(gradient(example, number), *example.arguments)


@each
def test_no_gradient_is_a_silent_zero(name, number):
    example = EXAMPLES[name][number]
    for argument in example.differentiable:
        slope = jax.jit(gradient(example, argument))(*example.arguments)
        assert any(float(abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slope)), argument


# --- export


def test_functions_are_exported_with_chips_neurons_and_events_as_arguments():
    pytest.importorskip("flatbuffers")
    sparse = jax.export.DisabledSafetyCheck.custom_call("cpu_csr_sparse_dense_ffi")
    for name, examples in EXAMPLES.items():
        example = examples[0]
        export = jax.export.export(jax.jit(example.call), disabled_checks=[sparse])
        exported = export(*example.arguments)
        again = jax.export.deserialize(exported.serialize())
        assert again.out_avals == exported.out_avals, name
