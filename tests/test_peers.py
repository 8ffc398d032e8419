"""The benchmark against other libraries: its reference, its yardstick, and what is left out."""

import sys
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks" / "peers"))

import ours
import worker
from workload import Case, Equations, loss, reference


@pytest.mark.slow  # compiles three networks forward and back
@pytest.mark.parametrize("recurrent", [False, True])
def test_by_hand_dense_and_with_events_are_the_reference_and_learn_alike(recurrent):
    case = Case(60, 3, 20, 4, recurrent=recurrent, density=0.1)
    spikes, scores = reference(case, Equations())
    assert 0.005 < spikes.mean() < 0.5
    after = []
    for make in (ours.hand, ours.dense, ours.events):
        training = make(case)
        found = training.outputs()
        np.testing.assert_array_equal(found[0], spikes)
        np.testing.assert_allclose(found[1], scores, atol=1e-4)
        training.step()
        after.append(loss(np.asarray(training.outputs()[1]), case.labels()))
    before = loss(scores, case.labels())
    assert max(after) < before
    # A step of Adam is 1e-3 whatever the gradient's size, so a wrong gradient is another loss.
    np.testing.assert_allclose(after, after[0], atol=1e-3 * (before - after[0]))


def test_equations_differ_where_they_say_so():
    case = Case(60, 3, 20, 4, density=0.1)
    first = [
        reference(case, Equations(**{name: True})) for name in ("subtracts", "late", "delayed")
    ]
    spikes, scores = reference(case, Equations())
    assert (first[2][0] == spikes).all() and not np.allclose(first[2][1], scores)
    # Currents that act a step later give the spikes of a step before, at rest in the first.
    np.testing.assert_array_equal(first[1][0][1:], spikes[:-1])
    assert (first[0][0] != spikes).any()


def test_a_library_that_is_not_there_is_a_sentence():
    here, there = Pipe()
    worker.serve(there, "nowhere", "nothing", Case(2, 2, 2, 2))
    assert here.recv() == "ModuleNotFoundError: No module named 'nowhere'"
