"""Morphologies lie on circuits as switches allow; layers of them are planned, drawn and trained."""

from collections import defaultdict
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import Compartment, Morphology, describe, ideal_chip
from bss2jax.chip.substrate import Substrate
from bss2jax.execute.circuits import circuit_pattern, gather
from bss2jax.mapping.morphologies import lay_out
from bss2jax.mapping.switches import wire
from bss2jax.networks import LI, LIF, Detection, MaxOverTime, Regular, Spikes, Structured, build


def tree(*parents, **circuits):
    names = [f"c{n}" for n in range(len(parents) + 1)]
    made = [Compartment(name=names[0])]
    made += [
        Compartment(name=name, parent=names[parent], circuits=circuits.get(name, 1))
        for name, parent in zip(names[1:], parents, strict=True)
    ]
    return Morphology(tuple(made))


SHAPES = {
    "point": tree(),
    "chain": tree(0, 1, 2, 3),
    "star": tree(0, 0, 0),
    "two branches": tree(0, 0, 1, 1, 2, 2),
    "three branches": tree(0, 0, 0, 1, 1, 2, 2, 3, 3),
    "wide": tree(0, 1, 0, c1=4, c2=3),
}


def read(switches):
    """What switches connect: membranes as sets of circuits, and pairs that a conductance joins.

    Union-find over nodes of membranes and of line segments, one a circuit each.
    """
    rows, columns = switches.right.shape
    above = {}

    def find(node):
        while above.setdefault(node, node) != node:
            node = above[node]
        return node

    for r in range(rows):
        for c in range(columns):
            for closed, a, b in (
                (switches.right, ("v", r, c), ("v", r, c + 1)),
                (switches.vertical, ("v", r, c), ("v", 1 - r, c)),
                (switches.line, ("line", r, c), ("line", r, c + 1)),
                (switches.direct, ("v", r, c), ("line", r, c)),
            ):
                if closed[r, c]:
                    above[find(a)] = find(b)
    of_node = defaultdict(set)
    for r, c in np.ndindex(rows, columns):
        of_node[find(("v", r, c))].add((r, c))
    pairs = {
        frozenset([find(("v", r, c)), find(("line", r, c))])
        for r, c in np.argwhere(switches.conductance).tolist()
    }
    joined = {frozenset(frozenset(of_node[node]) for node in pair) for pair in pairs}
    return {frozenset(circuits) for circuits in of_node.values()}, joined


@pytest.mark.parametrize("name", SHAPES)
def test_the_switches_of_a_layout_connect_what_the_morphology_says_and_nothing_else(name):
    """Two copies side by side, or one above the other, do not touch."""
    morphology = SHAPES[name]
    layout = lay_out(morphology)
    membranes, expected = set(), set()
    small = Substrate(columns=2 * layout.width)
    switches = []
    for copy in range(2):
        at = layout.at(copy, substrate=small)
        switches.append(wire(morphology, at, substrate=small))
        one = {name: frozenset(circuits) for name, circuits in at.items()}
        assert not membranes & set(one.values())
        membranes |= set(one.values())
        for child in morphology.compartments[1:]:
            expected.add(frozenset([one[child.name], one[child.parent]]))
    both = type(switches[0])(*(a | b for a, b in zip(*(vars(s).values() for s in switches))))
    found, joined = read(both)
    assert membranes <= found and joined == expected
    used = frozenset().union(*membranes)
    assert all(len(rest) == 1 for rest in found - membranes if not rest & used)


def test_stars_and_chains_waste_no_circuit():
    # An inner compartment of a chain takes two: brainscales2-demos ts_03.
    assert [lay_out(SHAPES[n]).size for n in ("star", "chain")] == [4, 8]
    assert [lay_out(SHAPES[n]).fits() for n in ("star", "chain")] == [128, 64]
    assert lay_out(tree(*[0] * 31)).fits() == 16


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (
            {"c0": [(0, 0)], "c1": [(1, 1)], "c2": [(0, 2)]},
            "c1 - c0: the conductance of c1 is in row 1, and the line of c0 in row 0",
        ),
        (
            {"c0": [(0, 0)], "c1": [(0, 1)], "c2": [(0, 1)]},
            r"c2: circuit \(0, 1\) is one of c1",
        ),
        ({"c0": [(0, 0)], "c1": [(0, 300)], "c2": [(0, 1)]}, "is not on the chip of"),
        ({"c0": [(0, 0), (0, 1)], "c1": [], "c2": []}, "c0: expected 1 circuits, got 2"),
    ],
)
def test_an_impossible_connection_is_named_with_its_reason(at, said):
    with pytest.raises(ValueError, match=said):
        wire(tree(0, 0), at)


def test_what_cannot_be_in_a_chain_is_named_too():
    chain = tree(0, 1)
    with pytest.raises(ValueError, match="c1: expected 2 circuits, got 1: one through its conduct"):
        wire(chain, {"c0": [(0, 0)], "c1": [(0, 1)], "c2": [(0, 2)]})
    with pytest.raises(ValueError, match="c1: its circuit .* is no neighbour of"):
        wire(chain, {"c0": [(0, 0)], "c1": [(0, 1), (0, 3)], "c2": [(0, 4)]})
    with pytest.raises(ValueError, match="c0 - c1: the line of row 0 would go from column 0 to 3"):
        wire(chain, {"c0": [(0, 0)], "c1": [(0, 3), (0, 2)], "c2": [(0, 1)]})
    with pytest.raises(ValueError, match="600 circuits a neuron, the chip has 512"):
        lay_out(tree(0, c1=599 - 88).changed(circuits=300))


def test_many_neurons_take_several_configurations_and_each_circuit_once():
    layer = Structured(outputs=140, branches=3)
    network = build([Regular(steps=4), layer, LI(outputs=2), MaxOverTime()], (8,))
    plan = network.plan
    assert plan.configurations == 3  # 128 and 12 neurons, and the readout
    place = plan.place("structured_0")
    assert place.circuits.shape == (560, 1)
    somata = place.circuits[:128, 0]
    assert len(set(somata)) == 128
    # The branches of a neuron are on its row, within its four columns.
    for branch in range(1, 4):
        own = place.circuits[140 * branch : 140 * branch + 128, 0]
        assert (own % 2 == somata % 2).all() and (own // 8 == somata // 8).all()
    said = describe(plan)
    assert "fit" in said and " 128 " in said
    with pytest.raises(ValueError, match="soma: 200 inputs need 2 circuits, got circuits=1"):
        assert build([Regular(steps=4), layer, LI(outputs=2), MaxOverTime()], (200,)).plan
    with pytest.raises(ValueError, match="takes one neuron"):
        build([Regular(steps=4), layer, Detection()], (8,))


def test_inputs_are_spread_over_compartments_and_rows():
    """Input k is on compartment k mod 2, row k div 2, wherever the neuron is."""
    small = Substrate(rows=4, columns=8)
    layer = Structured(outputs=3, branches=1, spread=True)
    network = build([Regular(steps=6), layer, LI(outputs=2), MaxOverTime()], (7,), substrate=small)
    w = jnp.arange(1.0, 22).reshape(7, 3)
    wired = np.asarray(layer.wired(w)).reshape(7, 2, 3)
    for k in range(7):
        np.testing.assert_array_equal(wired[k, k % 2], w[k])
        assert (wired[k, 1 - k % 2] == 0).all()
    gains = jnp.arange(2.0 * 2 * 4 * 8).reshape(2, 2, 4, 8)
    chip = replace(ideal_chip(substrate=small), synapse_gain=gains)
    assert network.plan.demands[0].inputs == 4
    place = network.plan.place("structured_0")
    found = gather(chip, place.chip, place.circuits, inputs=7, spread=2)
    by_circuit = circuit_pattern(jnp.moveaxis(gains, 0, -2))  # [2, rows, circuits]
    strength, members = np.asarray(found.strength()), place.circuits[:, 0]
    for k in range(7):
        np.testing.assert_array_equal(strength[:, k], by_circuit[:, k // 2, members])


def test_first_weights_are_as_wide_as_compartments_need():
    spikes = Spikes((9,), steps=20, dt=1e-6)
    one, two = Structured(outputs=1).initial_std(spikes), LIF(outputs=1).initial_std(spikes)
    assert float(one) == pytest.approx(two, rel=1e-3)
    # A branch takes current away, so weights are wider.
    more = Structured(outputs=1, branches=1, spread=True).initial_std(spikes)
    assert float(more) > 1.2 * two
