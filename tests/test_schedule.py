"""Guaranteed schedules: critical cycles, bound graphs, buffers, bindings, against executions."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bss2jax.chip.presets import system, tiles
from bss2jax.cli import main
from bss2jax.mapping import binding, objectives, suite
from bss2jax.mapping.bound import Application, Bound, tiles_of
from bss2jax.mapping.buffers import TooSlow, least_room
from bss2jax.mapping.dataflow import Cycle, Dataflow, Deadlock, critical
from bss2jax.mapping.guarantee import application_of, chips_alone, of_mapping
from bss2jax.mapping.search import search
from bss2jax.mapping.selftimed import execute

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
import schedule

# LeNet-MNIST.xml of DFSynthesizer: actors 0 to 5 and 7, each 16 long, a token a channel.
ACTORS = (0, 1, 2, 3, 4, 5, 7)
PAIRS = (
    (0, 1), (0, 2), (1, 0), (1, 5), (2, 1), (2, 5), (3, 1), (3, 5), (4, 0), (4, 1), (5, 3), (5, 1),
    (7, 0),
)  # fmt: skip


def lenet(room=None, tokens=1):
    """Its actors, each firing one at a time, with channels back where there is room for so many."""
    source, target = np.array([[ACTORS.index(a) for a in pair] for pair in PAIRS]).T
    itself, ones = np.arange(7), np.ones(13, int)
    back = ([target], [source], [(room - tokens) * ones]) if room else ([], [], [])
    return Dataflow(
        tuple(f"actor {i}" for i in ACTORS), np.full(7, 16.0),
        np.concatenate([source, itself, *back[0]]), np.concatenate([target, itself, *back[1]]),
        np.concatenate([tokens * ones, np.ones(7, int), *back[2]]),
    )  # fmt: skip


def test_periods_of_lenet_are_those_worked_out():
    assert critical(lenet()).period == 16
    with pytest.raises(Deadlock, match="no token in actor 5 -> actor 3 -> actor 5"):
        critical(lenet(room=1))
    assert critical(lenet(room=2)).period == 16
    source, target = np.array([[ACTORS.index(a) for a in pair] for pair in PAIRS]).T
    graph = Dataflow(lenet().names, np.full(7, 16.0), source, target, np.ones(13, int))
    application = Application(graph, np.zeros(13), np.zeros(7))
    orders = ((0, 1, 2, 3), (4, 5, 6))
    bound = Bound(
        application, chips_alone(2), np.array([0, 0, 0, 0, 1, 1, 1]), orders, graph.tokens + 1
    )
    cycle = critical(bound.graph)
    assert cycle.period == 64
    assert cycle.named(bound.graph) == "actor 0 -> actor 1 -> actor 2 -> actor 3 -> actor 0"
    assert execute(bound, 20).period == 64


def test_a_graph_without_cycles_has_no_period():
    graph = Dataflow(("a", "b"), [1.0, 2.0], [0], [1], [0])
    assert critical(graph) == Cycle(0.0) and critical(graph).named(graph) == "nothing"
    with pytest.raises(ValueError, match="between actors 0 to 1"):
        Dataflow(("a", "b"), [1.0, 2.0], [0], [2], [0])
    with pytest.raises(ValueError, match="not negative"):
        Dataflow(("a", "b"), [1.0, 2.0], [0], [1], [-1])


def test_the_critical_cycle_is_the_period_of_a_thousand_executions():
    assert schedule.compared_periods(1000)["largest"] < 1e-9


def test_no_execution_is_later_than_guaranteed_and_longest_times_reach_the_bound():
    for shared, least in ((False, 0.999), (True, 0.90)):
        found = schedule.checked(60, shared=shared, seed=1)
        assert found["late"] == 0 and found["least"] >= least


@pytest.mark.slow  # the same, a thousand times
def test_no_execution_of_a_thousand_is_later_than_guaranteed():
    for shared, least in ((False, 0.999), (True, 0.90)):
        found = schedule.checked(1000, shared=shared)
        assert found["late"] == 0 and found["least"] >= least


def test_a_graph_that_is_said_to_stop_stops():
    rng, stopped = np.random.default_rng(3), 0
    for _ in range(60):
        bound = schedule.random_bound(rng)
        bound = replace(bound, room=np.maximum(bound.application.graph.tokens, 1))
        try:
            critical(bound.graph)
        except Deadlock:
            stopped += 1
            with pytest.raises(Deadlock, match="wait in front of"):
                execute(bound, 8)
        else:
            execute(bound, 8)
    assert 10 < stopped < 50


def test_least_room_is_that_of_trying_all():
    assert schedule.compared_rooms(20, seed=2)["same"] == 20


def test_no_room_helps_a_cycle_without_buffers():
    bound = schedule.random_bound(np.random.default_rng(0))
    with pytest.raises(TooSlow, match="no room makes an iteration take"):
        least_room(bound, 1.0)


def test_an_order_of_other_actors_is_refused():
    bound = schedule.random_bound(np.random.default_rng(0))
    with pytest.raises(ValueError, match="tile 0: its order"):
        replace(bound, orders=bound.orders[::-1])


@pytest.fixture(scope="module")
def edges():
    return search(suite.workload("edges"), tiles(6, 6), method="pacman")


def test_the_search_beats_load_and_chance_and_reaches_its_bound(edges):
    application, on = application_of(edges), tiles_of(tiles(4, 6))
    found = binding.search(application, on)
    period = critical(found.graph).period
    by_load = critical(
        binding.bind(application, on, binding.balanced(application, on)).graph
    ).period
    by_chance = [
        critical(binding.bind(application, on, binding.at_random(application, on, s)).graph).period
        for s in range(3)
    ]
    assert by_load / period >= 1.1 and np.mean(by_chance) / period >= 1.3
    # Nothing but the busiest tile or link limits it, and an execution takes that long.
    most = binding.resources(application, on, found.tile).max()
    assert period == pytest.approx(most, rel=1e-9)
    executed = execute(found, 60)
    assert executed.period == pytest.approx(period, rel=1e-3)
    assert schedule.lateness(found, executed) < 1e-9 * period


def test_changes_of_a_move_are_those_computed_anew(edges):
    application, on = application_of(edges), tiles_of(tiles(2, 3), switch=0.3)
    tile = binding.at_random(application, on, 1)
    ways = on.routes.toarray().reshape(6, 6, -1) / on.rates
    for actor in (0, 7, 20):
        of = binding.resources(application, on, tile)
        after = binding._after(application, on, ways, tile, actor, of)
        for to in range(6):
            moved = np.where(np.arange(len(tile)) == actor, to, tile)
            assert after[to] == pytest.approx(
                binding.resources(application, on, moved), rel=1e-9, abs=1e-12
            )


def test_all_chips_at_once_are_as_fast_as_one_piece():
    """In real time a piece takes the sample's time; on one chip all pieces follow each other."""
    load = suite.workload("har_spiking")
    chips = replace(system("star12"), limits=replace(system("star12").limits, circuits=64))
    found = of_mapping(search(load, chips, method="pacman"), ("input", "hidden", "out"))
    piece = load.seconds + chips.substrate.run_overhead
    assert [g.bound.tiles.count for g in found] == [1, 2, 4]
    write = found[0].bound.tiles.switch
    assert found[0].seconds == pytest.approx(4 * (piece + write))
    assert found[-1].seconds == pytest.approx(piece)
    assert found[0].limit.split(" -> ")[0] == found[0].limit.split(" -> ")[-1]
    assert {"input", "hidden.1", "hidden.2", "out"} == set(found[0].limit.split(" -> "))


def test_a_recurrent_group_in_real_time_runs_at_once_or_not_at_all():
    load = suite.reservoir(60, 0.1, np.random.default_rng(0))
    chips = replace(system("star12"), limits=replace(system("star12").limits, circuits=20))
    mapping = search(load, chips, method="pycarl")
    (found,) = of_mapping(mapping, batch=7)
    assert found.bound.tiles.count == 3 and found.samples == 7
    # No more than a sample, with what its spikes take to the other chips.
    least = load.seconds + chips.substrate.run_overhead
    sent = objectives.load(mapping) / chips.links[0].rate + chips.delay
    assert least <= found.seconds <= least + sent


def test_the_command_line_names_what_limits(capsys):
    assert main(["plan", "digits_spiking", "--guarantee", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["guarantee"][:1]
    assert one["chips"] == 1 and one["samples_per_second"] == pytest.approx(1 / one["seconds"])
    assert main(["plan", "mnist", "--guarantee"]) == 0
    said = capsys.readouterr().out.split()
    assert "conv2d_0 -> dense_0.1 -> dense_0.2 -> dense_1 -> conv2d_0" in " ".join(said)
