"""Systems of chips, and networks mapped onto them: topologies, clusters, placement, costs."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from bss2jax.chip.presets import system
from bss2jax.chip.topology import Mesh, Tree
from bss2jax.mapping import cluster, forces, objectives, placement, suite, workload
from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.cluster import TooSmall, need
from bss2jax.mapping.refine import Clusters, refine, repair
from bss2jax.mapping.search import METHODS, search
from bss2jax.mapping.throughput import check_rates

# Flows of the Nugent grids of QAPLIB, hexadecimal below the diagonal; the chips are a grid.
NUGENT = {
    (3, 4, 578): "5 23 400 1205 0202a 020205 605a01a 24500150 152055200 10251435a5 10251030a02",
    (4, 5, 2570): "0 53 0a2 5501 21505 a52565 3142520 12412101 545056012 520a205a05 550200aa355 "
    "00025a225022 0a501020555a2 5a12125a011525 4301101250a0153 4005512500010100 05522012052105505 "
    "0a055102052205a221 150515aa225550a0016",
    (5, 6, 6124): "3 24 003 0a40 24005 a05021 505202a 025202a1 52100153a 214604a525 50102aa0150 "
    "05020a605605 0045020020152 20020502012202 004505a43510414 5001202505002050 62611512202025132 "
    "303100aa0500130025 0121001602020a12010 16522050430060020255 a1520a55056420500a524 "
    "00245025506514026a1105 a1101032250a52205403100 220200550241500530510445 "
    "120024005a500000502504451 153210252a3004550516051000 11120a052120121200255001a00 "
    "0a0521105520551550a502201002 1525113222a1550a10a3052000a22",
}


def random_workload(seed, neurons=60, share=0.1):
    rng = np.random.default_rng(seed)
    source, target = np.nonzero(rng.random((neurons, neurons)) < share)
    rates = rng.lognormal(size=neurons)
    return workload.of_edges("random", source, target, rates, (0, neurons // 3, neurons))


def small_system(chips="crossbars(3,3)", **limits):
    from dataclasses import replace

    made = system(chips)
    return replace(made, limits=replace(made.limits, **limits))


@pytest.mark.parametrize("name", ["star12", "case", "mesh(2,3)", "mesh(1,5)", "dynapse"])
def test_a_route_is_a_chain_of_links_from_chip_to_chip(name):
    topology = system(name).topology
    source, target = np.divmod(np.arange(topology.chips**2), topology.chips)
    way, link = topology.routes(source, target)
    counts = np.bincount(way, minlength=len(source))
    assert (counts == np.where(source == target, 0, topology.hops(source, target))).all()
    assert topology.present[link].all()
    ends = topology.ends[link]
    begins = np.diff(way, prepend=-1) > 0
    stops = np.append(begins[1:], True)
    assert (ends[begins, 0] == source[way[begins]]).all()
    assert (ends[stops, 1] == target[way[stops]]).all()
    assert (ends[~begins, 0] == ends[:-1, 1][~begins[1:]]).all()


def test_a_backplane_is_a_star_and_a_case_two_of_them():
    assert np.allclose(system("star12").between("latency") + 1.3e-6 * np.eye(12), 1.3e-6)
    case = system("case").between("latency")
    assert case.shape == (24, 24) and np.isclose(case[0, 12], 1.95e-6) and case[0, 1] < case[0, 12]


@pytest.mark.parametrize("text", ["star12x", "mesh", "mesh(2)", "ring(4)", "tiles(0,3)"])
def test_a_wrong_system_is_one_line(text):
    with pytest.raises(ValueError, match=r"^(system|mesh): .+") as error:
        system(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(5))
def test_changes_are_what_costs_differ_by(seed):
    load = random_workload(seed)  # some neurons send to themselves
    tiles = small_system(circuits=12)
    asked = need(load, tiles)
    made = Clusters(load, asked, cluster.in_order(load, asked), tiles.between("energy"))
    rng = np.random.default_rng(seed)
    for _ in range(50):
        neuron, to, before = int(rng.integers(60)), int(rng.integers(9)), made.total()
        if made.cluster[neuron] == to:
            continue
        told, estimated = made.change(neuron, to), made.changes()[neuron, to]
        loop = (load.target[load.source == neuron] == neuron).any()
        made.move(neuron, to)
        assert made.total() - before == pytest.approx(told, rel=1e-9, abs=1e-9 * before)
        assert loop or estimated == pytest.approx(told, rel=1e-9, abs=1e-9 * before)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_mapping_keeps_all_limits_and_a_seed_is_a_mapping(method):
    load = random_workload(3, share=0.05)
    tiles = small_system("crossbars(2,4)", circuits=12, inputs=40)
    once, again = (search(load, tiles, method=method, seed=1) for _ in range(2))
    assert (once.chip == again.chip).all()
    assert len(once.chip) == 60
    assert np.bincount(once.chip, minlength=8).max() <= 12
    for chip in range(8):
        assert len(np.unique(load.source[once.chip[load.target] == chip])) <= 40


def test_repair_leaves_no_chip_with_too_many_inputs():
    load = random_workload(5, share=0.05)
    loose, tight = small_system(circuits=12), small_system(circuits=12, inputs=26)
    broken = cluster.in_order(load, need(load, loose))
    made = Clusters(load, need(load, tight), broken, 1.0 - np.eye(9))
    assert made.inputs.max() > 26
    repair(made)
    again = Clusters(load, need(load, tight), made.cluster, 1.0 - np.eye(9))
    assert again.inputs.max() <= 26 and (again.inputs == made.inputs).all()


def test_refining_never_costs_more():
    load = random_workload(7)
    tiles = small_system(circuits=12)
    asked, told = need(load, tiles), []
    made = Clusters(load, asked, cluster.in_order(load, asked), tiles.between("energy"))
    before = made.total()
    refine(made, tell=told.append)
    assert made.total() == pytest.approx(told[-1]) and [before, *told] == sorted(
        [before, *told], reverse=True
    )


def test_multicast_takes_the_union_of_routes():
    load, tiles = random_workload(9, neurons=27, share=0.2), small_system(circuits=3, inputs=None)
    found = search(load, tiles, method="random", seed=2)
    links, spikes, energy = 0.0, 0.0, 0.0
    chip, width = found.chip.tolist(), 3
    for neuron in range(27):
        to = {chip[t] for t in load.target[load.source == neuron]} - {chip[neuron]}
        union = set()
        for one in to:
            (r, c), (r1, c1) = divmod(chip[neuron], width), divmod(one, width)
            while (r, c) != (r1, c1):
                step = (0, int(np.sign(c1 - c))) if c != c1 else (int(np.sign(r1 - r)), 0)
                union.add((r, c, step))
                r, c = r + step[0], c + step[1]
        rate = load.rates[neuron]
        links, spikes = links + rate * len(union), spikes + rate * len(to)
        energy += rate * (2.427e-12 * len(union) + 1.627e-12 * bool(to))
    assert objectives.hops(found) == pytest.approx(links)
    assert objectives.spikes(found) == pytest.approx(spikes)
    assert objectives.energy(found) == pytest.approx(energy)
    assert objectives.hops(found) >= objectives.spikes(found)  # a link at least for each chip
    assert objectives.loads(found).sum() == pytest.approx(links)
    assert objectives.parsed("energy+2*hops")(found) == pytest.approx(energy + 2 * links)


@pytest.mark.parametrize(
    "instances", [range(75, 100), pytest.param(range(75), marks=pytest.mark.slow)]
)
def test_enumeration_finds_the_optimum_and_so_does_annealing(instances):
    grids = [Mesh(2, 3), Mesh(2, 4), Mesh(3, 3)]
    for instance in instances:
        rng = np.random.default_rng(instance)
        grid = grids[0] if instance < 94 else grids[1 + instance % 2]
        k = int(rng.integers(4, grid.chips + 1))
        flow = rng.random((k, k)) * (rng.random((k, k)) < 0.6)
        a, b = np.divmod(np.arange(grid.chips**2), grid.chips)
        distance = grid.hops(a, b).reshape(grid.chips, -1).astype(float)
        best = placement.cost_of(flow, distance, placement.enumerated(flow, distance))
        if instance in (0, 75, 76, 77):
            ways = itertools.permutations(range(grid.chips), k)
            least = min(placement.cost_of(flow, distance, np.array(way)) for way in ways)
            assert best == pytest.approx(least)
        found = placement.anneal(flow, distance, steps=400, chains=16, seed=instance)
        assert placement.cost_of(flow, distance, found) == pytest.approx(best), instance


@pytest.mark.parametrize("grid, gap", zip(NUGENT, (0.0, 0.005, 0.01)))
def test_annealing_solves_the_nugent_grids(grid, gap):
    rows, columns, optimum = grid
    below = [[int(digit, 16) for digit in row] for row in NUGENT[grid].split()]
    n = len(below) + 1
    flow = np.zeros((n, n))
    flow[np.tril_indices(n, -1)] = list(itertools.chain(*below))
    a, b = np.divmod(np.arange(n * n), n)
    distance = Mesh(rows, columns).hops(a, b).reshape(n, n).astype(float)
    flow += flow.T
    found = placement.anneal(flow, distance, steps=12_000, chains=32)
    assert placement.cost_of(flow, distance, found) <= optimum * (1 + gap)


def conv_stack(side, seed=1):
    """Layers as wide as the grid, each with windows of 4 in the next, random weights."""
    rng, at = np.random.default_rng(seed), np.arange(side * side).reshape(side, side)
    pairs = [(at[:-2, : side - o].ravel(), at[1:-1, o:].ravel()) for o in range(4)]
    source, target = (np.concatenate(both) for both in zip(*pairs))
    return scipy.sparse.csr_array((rng.random(len(source)), (source, target)), shape=(side**2,) * 2)


def test_forces_place_4096_clusters_as_well_as_published():
    # Jin et al. 2023, logs of their code, the same random net scheme: 42,988.
    grid, flow = Mesh(64, 64), conv_stack(64)
    place = forces.forced(flow, grid, forces.hilbert(64, 64))
    assert (np.sort(place) == np.arange(4096)).all()
    way = flow.tocoo()
    source, target = way.coords
    assert way.data @ grid.hops(place[source], place[target]) <= 1.05 * 42_988


@pytest.mark.parametrize("rows, columns", [(8, 8), (5, 9), (1, 4)])
def test_a_hilbert_curve_visits_every_chip_once(rows, columns):
    curve = forces.hilbert(rows, columns)
    assert (np.sort(curve) == np.arange(rows * columns)).all()
    if rows == columns:
        assert (Mesh(rows, columns).hops(curve[1:], curve[:-1]) == 1).all()


def test_the_suite_has_the_sizes_that_it_was_fixed_with():
    sizes = [(w.neurons, w.synapses) for w in map(suite.workload, suite.SUITE[:4])]
    assert sizes == [(1050, 203_264), (2330, 1_332_224), (512, 65_436), (134, 2_640)]
    lenet = suite.workload("lenet")
    assert (lenet.neurons, lenet.synapses) == (6598, 286_120)
    assert (suite.workload("edges", 1).rates == suite.workload("edges", 1).rates).all()


def test_modules_in_hidden_order_are_found_again():
    load, tiles = (
        suite.modular(4, 30, np.random.default_rng(0)),
        small_system("tiles(2,2)", circuits=30),
    )
    slices, best = (search(load, tiles, method=m) for m in ("pacman", "best"))
    assert objectives.energy(best) < 0.2 * objectives.energy(slices)


def test_modules_load_a_backplane_less_only_where_the_aggregator_filters():
    """Spikes of nearly all neurons leave even the best groups, and a broadcast goes everywhere."""
    load = suite.modular(8, 100, np.random.default_rng(0))
    by = {}
    for name in ("star12", "filtered12"):
        chips = replace(system(name), limits=replace(system(name).limits, circuits=200))
        both = [search(load, chips, objectives.load, method=m) for m in ("pacman", "hypergraph")]
        by[name] = [objectives.load(mapping) for mapping in both]
    assert by["filtered12"][1] < 0.7 * by["filtered12"][0]
    assert by["filtered12"][0] <= by["star12"][0] and by["star12"][1] <= by["star12"][0]


def test_a_workload_is_read_from_a_file(tmp_path):
    path = tmp_path / "net.txt"
    path.write_text("# source target rate\n0 1 5\n0, 2, 5\n2 0 1.5\n")
    load = workload.read(path)
    assert load.name == "net" and load.rates.tolist() == [5, 0, 1.5]
    assert load.source.tolist() == [0, 0, 2] and load.target.tolist() == [1, 2, 0]
    for text, what in (("0 1\n", ":1: expected"), ("", "no synapse"), ("0 1 2\n0 2 3\n", "rates")):
        path.write_text(text)
        with pytest.raises(ValueError, match=what):
            workload.read(path)


def test_a_system_that_is_too_small_says_what_is_missing():
    load = random_workload(0)
    with pytest.raises(TooSmall, match="60 circuits, so 15 chips.* has 9: 6 too few.*sparse"):
        search(load, small_system(circuits=4, inputs=None))
    with pytest.raises(TooSmall, match="has [0-9]+ inputs, .* takes 3: [0-9]+ too many"):
        search(load, small_system(inputs=3))
    with pytest.raises(ValueError, match="no 'magic'; known: best"):
        search(load, small_system(), method="magic")
    with pytest.raises(ValueError, match="chip 0 takes 60 circuits, it has 4: 56 too many"):
        chips = small_system(circuits=4, inputs=None)
        Mapping(load, chips, np.zeros(60, int), np.zeros(1, int)).check()


def test_a_tree_needs_branches():
    with pytest.raises(ValueError, match="branches"):
        Tree(())


def test_traffic_that_a_link_cannot_carry_says_by_how_much():
    from dataclasses import replace

    load, chips = random_workload(1), small_system(circuits=12)
    slow = tuple(replace(link, rate=1.0) for link in chips.links)
    found = search(load, replace(chips, links=slow), method="pycarl")
    busiest = objectives.load(found)
    with pytest.raises(ValueError, match=rf"{busiest:.3g} events a second .* {busiest - 1:.3g} mo"):
        check_rates(found)
    check_rates(search(load, chips, method="pycarl"))
