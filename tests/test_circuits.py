"""Populations go where the NumPy arithmetic puts them, and meet the synapses that are there."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_spiking as twin
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bss2jax import BSS2, on_chip, sample_chip
from bss2jax.execute.circuits import circuit_pattern, gather, gather_place
from bss2jax.mapping.describe import describe
from bss2jax.mapping.plan import plan_network
from bss2jax.mapping.populations import (
    Population,
    PopulationDemand,
)
from bss2jax.networks import LI, LIF, Latency, build


def planned(*layers):
    demands = [PopulationDemand(k, n) for k, n in layers]
    return plan_network([f"l{i}" for i in range(len(layers))], demands, seconds=3e-5)


def test_mnist_takes_five_partitions():
    plan = planned((784, 256), (256, 10))
    sizes = [(p.layer, p.columns, len(p.circuits), p.configuration) for p in plan.pieces]
    cuts = [("l0", slice(64 * i, 64 * i + 64), 8 * 64, i) for i in range(4)]
    assert sizes == [*cuts, ("l1", slice(0, 10), 2 * 10, 4)]
    hidden, readout = (demand.facts(plan.rows(i), BSS2) for i, demand in enumerate(plan.demands))
    assert hidden["utilisation"] == 1 and readout["utilisation"] == 20 / 512


def test_small_mnist_fills_the_chip_in_one_partition():
    plan = planned((256, 246), (246, 10))
    assert [len(piece.circuits) for piece in plan.pieces] == [492, 20]
    assert plan.configurations == 1
    circuits = np.concatenate([plan.place(name).circuits.ravel() for name in plan.names])
    np.testing.assert_array_equal(np.sort(circuits), np.arange(512))
    assert describe(plan).endswith("\n1 configuration")
    assert planned((256, 247), (247, 10)).configurations == 2  # two circuits too many


def test_networks_are_planned_as_their_populations():
    network = build([Latency(), LIF(outputs=256), LI(outputs=10)], (28, 28))
    assert network.plan.configurations == 5
    recurrent = build([Latency(), LIF(outputs=186, recurrent=True), LI(outputs=20)], (70,))
    assert recurrent.plan.demands[0].inputs == 256
    with pytest.raises(ValueError, match=r"layer.*186 neurons would fit"):
        build([Latency(), LIF(outputs=187, recurrent=True), LI(outputs=20)], (70,)).plan  # noqa: B018


@given(st.integers(1, 65536))
@example(128)
@example(129)
@example(784)
@example(65536)
def test_circuits_per_neuron_are_the_twins(inputs):
    place = Population(inputs, 1)
    c = place.circuits_per_neuron
    assert c == twin.circuits_per_neuron(inputs)
    assert c * 128 >= inputs and (c == 1 or c % 2 == 0)


@given(st.integers(1, 3000), st.integers(1, 1500))
def test_every_neuron_is_in_exactly_one_run(inputs, neurons):
    place = Population(inputs, neurons)
    runs = twin.runs(inputs, neurons)
    assert place.runs == len(runs) and place.neurons_per_run == len(runs[0])
    # Neuron j is number j % n of run j // n: runs are full but the last, which is not empty.
    n = place.neurons_per_run
    assert [neuron for run in runs for neuron in run] == list(range(neurons))
    assert all(neuron // n == i for i, run in enumerate(runs) for neuron in run)
    assert n * place.circuits_per_neuron <= 512
    assert place.utilisation <= 1


@settings(max_examples=20)  # each shape is compiled
@given(st.integers(1, 3000), st.integers(1, 600))
def test_members_are_distinct_circuits_of_the_chip(inputs, neurons):
    place = Population(inputs, neurons)
    members = np.asarray(place.members())
    assert members.shape == (place.neurons_per_run, place.circuits_per_neuron)
    assert len(np.unique(members)) == members.size
    assert members.min() >= 0 and members.max() <= 511


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 300)), min_size=1, max_size=6))
def test_neighbours_share_a_configuration_where_their_circuits_fit(layers):
    plan = planned(*layers)  # refuses two neurons on one circuit
    circuits = [c * n for c, n in ((twin.circuits_per_neuron(k), n) for k, n in layers)]
    configuration, used = -1, 512
    for name, size in zip(plan.names, circuits):
        own = [piece for piece in plan.pieces if piece.layer == name]
        fits = len(own) == 1 and used + size <= 512
        configuration += not fits
        assert [p.configuration for p in own] == [configuration + i for i in range(len(own))]
        assert own[0].circuits[0] == (used if fits else 0)
        used = size + (used if fits else 0) if len(own) == 1 else 512
        configuration += len(own) - 1


@pytest.mark.parametrize(
    "demand",
    [
        PopulationDemand(30, 1700),
        PopulationDemand(96, 16 * 32, positions=16),
        PopulationDemand(27, 50 * 60, positions=50),  # 8 positions a run, the last one of 2
        PopulationDemand(600, 3 * 100, positions=3),  # 85 channels of a position, then 15
        PopulationDemand(27, 90, positions=90, parts=4),
    ],
)
def test_every_neuron_has_circuits_of_its_own_in_its_configuration(demand):
    plan, old = plan_network(["p"], [demand]), demand.on(BSS2)
    place = plan.place("p")
    assert place.circuits.shape == (demand.neurons, old.circuits_per_neuron)
    np.testing.assert_array_equal(place.circuits, np.asarray(old.members())[old.in_run()])
    np.testing.assert_array_equal(place.configuration, old.run_of())
    assert (place.chip == 0).all() and plan.configurations == old.runs
    counts = np.bincount(place.configuration)
    np.testing.assert_array_equal(counts, [old.neurons_in(i) for i in range(old.runs)])
    covered = [n for p in plan.pieces for n in range(p.columns.start, p.columns.stop)]
    assert sorted(covered) == list(range(demand.neurons))


def test_a_place_takes_pieces_on_any_chips_in_any_order():
    plan = planned((784, 256))
    table = plan.table[::-1].copy()
    chips = np.repeat([3, 1, 2, 0], 64 * 8)
    circuits = np.column_stack([chips, plan.circuits[::-1, 1]])
    table[:, 2] = [0, 2, 1, 3]
    moved = replace(plan, table=table, circuits=circuits)
    place = moved.place("l0")
    np.testing.assert_array_equal(place.chip, np.repeat([3, 1, 2, 0], 64))
    assert place != plan.place("l0") and moved.place("l0") == replace(moved).place("l0")
    with pytest.raises(ValueError, match="each of 256 neurons once"):
        replace(moved, table=table[1:]).place("l0")


def test_a_fan_in_beyond_the_chip_is_an_error_that_says_what_fits():
    Population(65536, 1)
    with pytest.raises(ValueError, match=r"65537.*at most 65536 inputs fit"):
        Population(65537, 1)
    for inputs, neurons in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="needs inputs and neurons"):
            Population(inputs, neurons)


@pytest.mark.parametrize(("outside", "too_many"), [(1, 600), (70, 187), (300, 400), (2000, 60)])
def test_a_recurrent_population_too_large_is_told_how_many_fit(outside, too_many):
    with pytest.raises(ValueError, match="neurons would fit") as error:
        Population(outside + too_many, too_many, recurrent=True)
    most = int(str(error.value).split(";")[1].split()[0])
    assert 0 < most < too_many
    Population(outside + most, most, recurrent=True)
    with pytest.raises(ValueError, match=f"{most} neurons would fit"):
        Population(outside + most + 1, most + 1, recurrent=True)


def test_circuits_count_both_rows_of_a_column_before_the_next_column():
    pattern = np.arange(2 * 256).reshape(2, 256)
    ordered = circuit_pattern(jnp.asarray(pattern))
    for circuit in (0, 1, 2, 3, 510, 511):
        assert ordered[circuit] == pattern[circuit % 2, circuit // 2]


def test_input_k_meets_row_k_mod_128_of_member_k_div_128(chip):
    for inputs, first in ((300, 20), (128, 0), (3, 511)):
        neurons = 1 if first == 511 else 3
        place = Population(inputs, neurons, first_circuit=first)
        expected = twin.strength(chip, inputs, neurons, place.circuits_per_neuron, first)
        got = gather_place(chip, place, inputs).strength()
        np.testing.assert_allclose(got, expected, rtol=4 * 2.0**-24)  # two products are rounded


def test_recurrent_inputs_follow_on_the_others(chip):
    whole = gather_place(chip, Population(134, 4), 134).strength()
    circuits = on_chip(chip, 130, 4, recurrent=True)
    np.testing.assert_array_equal(circuits.strength(), whole[:, :130])
    np.testing.assert_array_equal(circuits.recurrent_strength(), whole[:, 130:])


def test_a_joined_neuron_is_the_mean_of_its_circuits(chip):
    place = Population(300, 3, first_circuit=20)
    mean = gather_place(chip, place, 300).neurons
    for name in ("leak", "reset", "threshold", "tau_mem", "tau_syn", "threshold_noise", "strength"):
        pattern = np.asarray(getattr(chip.circuits, name), np.float64)
        for j in range(3):
            members = [20 + 4 * j + i for i in range(4)]
            expected = np.mean([pattern[..., c % 2, c // 2] for c in members], axis=0)
            got = np.asarray(getattr(mean, name))[..., j]
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(mean.jitter, jnp.full(3, chip.circuits.jitter))


def test_neurons_of_several_chips_are_gathered_from_theirs(chip):
    other = sample_chip(jax.random.key(12))
    chips = jax.tree.map(lambda a, b: jnp.stack([a, b]), chip, other)
    rng = np.random.default_rng(0)
    chip_of, circuits = rng.integers(0, 2, 6), rng.permutation(512)[:24].reshape(6, 4)
    got = gather(chips, chip_of, circuits, inputs=300, recurrent=6)
    for i in range(6):
        alone = gather((chip, other)[chip_of[i]], [0], circuits[i : i + 1], inputs=306)
        np.testing.assert_array_equal(got.strength()[..., i], alone.strength()[:, :300, 0])
        np.testing.assert_array_equal(
            got.recurrent_strength()[..., i], alone.strength()[:, 300:, 0]
        )
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_array_equal(a[..., i], b[..., 0]),
            got.neurons, alone.neurons,
        )  # fmt: skip


def test_places_that_are_on_no_chip_are_refused(chip):
    with pytest.raises(ValueError, match="circuits: expected 0 to 511, got 0 to 512"):
        gather(chip, [0, 0], [[0], [512]], inputs=3)
    with pytest.raises(ValueError, match="chip_of: expected 0 to 0, got -1 to 0"):
        gather(chip, [0, -1], [[0], [1]], inputs=3)
    with pytest.raises(ValueError, match="1 a neuron hold 128 inputs, the population has 129"):
        gather(chip, [0, 0], [[0], [1]], inputs=127, recurrent=2)
    with pytest.raises(ValueError, match="the population's substrate"):
        on_chip(chip, 3, 3, substrate=replace(BSS2, columns=4))


def test_a_smaller_substrate_has_smaller_circuits():
    small = replace(BSS2, rows=4, columns=4)
    place = Population(10, 7, substrate=small)
    assert (place.circuits_per_neuron, place.neurons_per_run, place.runs) == (4, 2, 4)
    stack = jax.vmap(lambda n: place.members() + n)(jnp.arange(2))
    assert stack.shape == (2, 2, 4)
