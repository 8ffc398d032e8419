"""Costs are computed from the plan: the published networks cost what was published for them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bss2jax import BSS2, plan
from bss2jax.config import load
from bss2jax.experiment import network_of
from bss2jax.mapping.cost import estimate, over_epoch, spent
from bss2jax.mapping.describe import describe_cost
from bss2jax.mapping.plan import plan_network
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.mapping.products import ProductDemand


def spiking(sizes, seconds, events=True):
    demands = [PopulationDemand(k, n) for k, n in pairwise(sizes)]
    if events:
        demands[0] = replace(demands[0], input_events=sizes[0])
    return plan_network([f"layer_{i}" for i in range(len(demands))], demands, seconds=seconds)


def test_the_network_of_cramer_takes_11_8_us_and_2_4_uj_an_image():
    cost = estimate(spiking((256, 246, 10), 10e-6), mode="fast")
    assert cost.seconds == pytest.approx(11.8e-6)
    assert cost.joules == pytest.approx((2.36e-6, 2.36e-6))
    assert cost.events == 256


def test_the_partitioned_network_takes_half_a_millisecond_and_31_s_an_epoch():
    # 5 partitions of 32 us and 71 us around them.
    cost = estimate(spiking((784, 256, 10), 32e-6))
    assert cost.configurations == pytest.approx([103e-6] * 5)
    assert cost.seconds == pytest.approx(515e-6)
    assert over_epoch(cost, 60_000, 100).seconds == pytest.approx(30.9)
    with pytest.raises(ValueError, match="of one configuration, this one has 5"):
        estimate(spiking((784, 256, 10), 32e-6), mode="fast")


def test_the_published_product_network_takes_about_1_5_ms_and_a_span_of_energies():
    cost = estimate(network_of(load("mnist")[0]).plan)
    assert 1.4e-3 < cost.seconds < 1.7e-3
    least, most = cost.joules
    assert least == pytest.approx(0.3 * cost.seconds) and most == pytest.approx(0.7 * cost.seconds)
    assert most < 12e-3  # that is a whole set-up


def test_a_product_takes_its_events_one_by_one_and_the_readout_around_them():
    # 300 rows: blocks of 128, 128 and 44; hemispheres side by side, so 128 and 44 rows in turn.
    sent = 5 * 8e-9
    cost = estimate(plan((300, 10)))
    assert cost.configurations == pytest.approx([128 * sent + 36e-6, 44 * sent + 36e-6])
    assert cost.events == 300
    # Twice the columns of a hemisphere: every row is sent once for each half.
    assert estimate(plan((300, 512))).events == 600
    slow = replace(BSS2, wait_between_events=10)
    assert estimate(plan((128, 10), slow)).seconds == pytest.approx(128 * 2 * sent + 36e-6)


def test_the_time_of_a_configuration_is_that_of_its_longest_piece_in_parts():
    # 128 and 44 rows, 3 times each: an event of 8 ns, 4 of waiting; 2 us to settle; 34 to read out.
    parts = spent(plan_network(["dense"], [ProductDemand(300, 10, num_sends=3)]))
    rows = np.array([[128], [44]])
    np.testing.assert_allclose(parts, [[8e-9, 32e-9, 0]] * rows * 3 + np.array([0, 2e-6, 34e-6]))
    # The time axis, 50 us and 2 of waiting, 15 until the CADC runs and 4 of reset.
    np.testing.assert_allclose(spent(spiking((784, 256, 10), 32e-6)), [[32e-6, 52e-6, 19e-6]] * 5)


def test_operations_are_weights_times_how_often_they_are_used_and_at_most_the_peak():
    assert BSS2.peak == pytest.approx(64e9)
    convolution = ProductDemand(27, 16, vectors=100, num_sends=2)
    found = plan_network(["conv"], [convolution])
    assert convolution.operations(found.rows(0)) == 100 * 27 * 16
    # All rows and columns of a configuration at work, without waiting and readout: the peak.
    whole = plan((256, 256))
    events = spent(whole)[:, 0].sum()
    assert whole.demands[0].operations(whole.rows(0)) / events == pytest.approx(BSS2.peak)
    wide = spiking((784, 256, 10), 32e-6)
    count = sum(demand.operations(wide.rows(i)) for i, demand in enumerate(wide.demands))
    assert count == 784 * 256 + 256 * 10


@pytest.mark.parametrize("samples, batch, batches", [(1000, 100, 10), (1001, 100, 11), (5, 100, 1)])
def test_an_epoch_on_one_chip_and_on_as_many_as_there_are_partitions(samples, batch, batches):
    cost = estimate(spiking((784, 256, 10), 29e-6))  # 5 runs of 100 us
    one, many = (over_epoch(cost, samples, batch, one_chip=one_chip) for one_chip in (True, False))
    assert (one.chips, many.chips) == (1, 5)
    assert one.seconds == pytest.approx(samples * 500e-6)
    # Pipelined: the first batch passes four other chips before it leaves the fifth.
    assert many.seconds == pytest.approx((samples + 4 * min(batch, samples)) * 100e-6)
    # 131,072 bytes at 1 Gbit/s.
    assert one.writing == pytest.approx(batches * 5 * 131_072 * 8e-9)
    assert many.writing == pytest.approx(one.writing / 5)
    assert one.reconfigurations == many.reconfigurations == 5 * batches
    assert one.round_trips == many.round_trips == 10 * batches
    assert one.joules[0] == pytest.approx(0.2 * (one.seconds + one.writing))
    assert many.joules[0] == pytest.approx(5 * 0.2 * (many.seconds + many.writing))
    assert one.events == samples * 4 * 784


def test_events_that_nobody_knows_are_not_said_to_be_none():
    unknown = spiking((9, 9, 9), 1e-5, events=False)
    cost = estimate(unknown)
    assert cost.events is None and over_epoch(cost, 10, 5).events is None
    assert "input events not known" in describe_cost(unknown)
    assert "at most 9 input events" in describe_cost(spiking((9, 9, 9), 1e-5))


@pytest.mark.parametrize("samples, batch", [(0, 1), (1, 0)])
def test_an_epoch_of_nothing_is_refused(samples, batch):
    with pytest.raises(ValueError, match="samples and batch"):
        over_epoch(estimate(plan((3, 3))), samples, batch)


def test_a_mixed_network_costs_what_its_parts_do():
    front, back = ProductDemand(300, 10), PopulationDemand(10, 5, input_events=7)
    mixed = plan_network(["front", "back"], [front, back], seconds=29e-6)
    one, other = estimate(plan((300, 10))), estimate(plan_network(["back"], [back], seconds=29e-6))
    cost = estimate(mixed)
    assert cost.configurations == pytest.approx((*one.configurations, *other.configurations))
    assert cost.joules == pytest.approx([a + b for a, b in zip(one.joules, other.joules)])
    assert cost.events == one.events + other.events == 307
    with pytest.raises(ValueError, match="fast takes a spiking network"):
        estimate(plan((3, 3)), mode="fast")
    text = " ".join(describe_cost(mixed).split())
    assert "front" in text and "at most 307 input events" in text and "in fast mode" not in text


def test_a_plan_without_weights_costs_nothing():
    cost = estimate(plan({"bias": (5,)}))
    assert cost.configurations == () and cost.joules == (0, 0) and cost.events is None
