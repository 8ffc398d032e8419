"""What is drawn is what was given: points, lines, squares and bars, in the units of the axes."""

import inspect
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from bss2jax import BSS2, AdEx, Chip, Morphology, plan, plot
from bss2jax.chip.chip import QUANTITIES
from bss2jax.chip.presets import tiles
from bss2jax.chip.quantities import built
from bss2jax.data import yinyang
from bss2jax.mapping.cost import estimate
from bss2jax.mapping.guarantee import of_plan
from bss2jax.mapping.morphologies import lay_out
from bss2jax.mapping.plan import plan_network
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.mapping.products import ProductDemand
from bss2jax.mapping.search import search
from bss2jax.mapping.suite import modular
from bss2jax.plot.chip import chip_map
from bss2jax.plot.layout import parts
from bss2jax.plot.neurons import (
    correlation_curve,
    firing_pattern,
    phase_plane,
    pulse_amplitudes,
    rate_curve,
)
from bss2jax.plot.style import COLOURS

SMALL = replace(BSS2, rows=4, columns=6)
ANALOG = plan({"a": {"weight": (300, 300)}, "b": {"weight": (300, 10)}})
SPIKING = plan_network(
    ("hidden", "readout"),
    (PopulationDemand(784, 256, input_events=784), PopulationDemand(256, 10)),
    seconds=30e-6,
)
# Cut by positions, with some left over; by the channels of a position; and one that is not cut.
FIELDS = plan_network(
    ("parts", "channels", "whole"),
    (
        PopulationDemand(27, 441 * 2, positions=441, parts=4),
        PopulationDemand(200, 3 * 300, positions=3),
        PopulationDemand(130, 7, recurrent=True),
    ),
    seconds=30e-6,
)
MIXED = plan_network(
    ("front", "back"), (ProductDemand(300, 20), PopulationDemand(20, 10)), seconds=3e-5
)
RECORDS = [
    {
        "phase": phase, "on": on, "epoch": epoch,
        "train_accuracy": 0.6 + 0.1 * epoch, "train_loss": 2 / epoch,
        "validation_accuracy": 0.5 + 0.1 * epoch + 0.05 * phase, "validation_loss": 3 / epoch,
        "validation_saturation": {"a": {"sums": 0.1 * phase, "weights": 0.0}},
    }
    for phase, on, epoch in ((0, "ideal", 1), (0, "ideal", 2), (1, {"a": "chip"}, 1))
]  # fmt: skip
# What is counted or named has no unit.
COUNTED = {
    "period",
    *"neuron column epoch layer execution training label hemisphere".split(),
    *("taken for", "signed row", "synapse row", "chip", "mapping tried", "objective", ""),
}
MAPPED = search(modular(3, 20, np.random.default_rng(0)), tiles(2, 2), method="pycarl")
RUNGS = {"float": 0.98, "ideal": 0.97, "transfer": 0.9, "chip": 0.975}


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(scope="module")
def small():
    """A chip with another value in every place."""
    rng = np.random.default_rng(5)
    shapes = {name: declared.site.shape(SMALL) for name, declared in QUANTITIES.items()}
    return built(Chip, {name: rng.normal(1, 0.1, shape) for name, shape in shapes.items()})


def spikes(steps, neurons, seed=0):
    return np.random.default_rng(seed).random((steps, neurons)) < 0.2


def of_label(artists, label):
    return next(artist for artist in artists if artist.get_label() == label)


def xy(line):
    return np.stack([line.get_xdata(), line.get_ydata()], axis=1)


DRAWINGS = {
    "raster": lambda ax, chip: plot.raster(spikes(20, 9), ax=ax),
    "traces": lambda ax, chip: plot.traces(np.ones((20, 2)), ax=ax),
    "vmm": lambda ax, chip: plot.vmm(np.arange(-3, 4), np.zeros((7, 2, 3)), ax=ax),
    "chip_map": lambda ax, chip: plot.chip_map(chip, ax=ax),
    "placement": lambda ax, chip: plot.placement(ANALOG, ax=ax),
    "schedule": lambda ax, chip: plot.schedule(SPIKING, ax=ax),
    "learning_curves": lambda ax, chip: plot.learning_curves(RECORDS, ax=ax),
    "confusion": lambda ax, chip: plot.confusion(np.eye(3), ax=ax),
    "accuracy_over_chips": lambda ax, chip: plot.accuracy_over_chips([0.8, 0.9], ax=ax),
    "saturation": lambda ax, chip: plot.saturation(RECORDS, ax=ax),
    "weights": lambda ax, chip: plot.weights([[-63, 0], [5, 5]], ax=ax),
    "gradient_norms": lambda ax, chip: plot.gradient_norms([[1, 2], [0, 2]], [2, 5], ax=ax),
    "ladder": lambda ax, chip: plot.ladder(RUNGS, ax=ax),
    "link_loads": lambda ax, chip: plot.link_loads(MAPPED, ax=ax),
    "on_chips": lambda ax, chip: plot.on_chips(MAPPED, ax=ax),
    "pareto_front": lambda ax, chip: plot.pareto_front([[1, 2], [2, 1]], ["a", "b"], ax=ax),
    "cell_map": lambda ax, chip: plot.cell_map(np.eye(3), "rise (K)", ax=ax),
    "gantt": lambda ax, chip: plot.gantt(of_plan(SPIKING)[-1], ax=ax),
    "search_progress": lambda ax, chip: plot.search_progress([3.0, 4.0, 2.0], ax=ax),
    "firing_pattern": lambda ax, chip: plot.firing_pattern(np.arange(20), spikes(20, 9), ax=ax),
    "phase_plane": lambda ax, chip: plot.phase_plane(AdEx(), 0.5, ax=ax),
    "rate_curve": lambda ax, chip: plot.rate_curve([1.0, 2.0], [0.0, 1e3], ax=ax),
    "pulse_amplitudes": lambda ax, chip: plot.pulse_amplitudes(
        spikes(20, 2), np.ones((20, 2)), ax=ax
    ),
    "correlation_curve": lambda ax, chip: plot.correlation_curve(
        [1e-6, 2e-6], [4.0, 3.0], [0.0, 0.0], ax=ax
    ),
    "over_periods": lambda ax, chip: plot.over_periods([{"periods": 1, "rate": 2.0}], ax=ax),
    "morphology": lambda ax, chip: plot.morphology(lay_out(Morphology.chain(3)), copies=2, ax=ax),
    "compartments": lambda ax, chip: plot.compartments(np.ones((9, 3)), spikes(9, 3), ax=ax),
    "attenuation": lambda ax, chip: plot.attenuation(np.eye(3), ax=ax),
    "class_map": lambda ax, chip: plot.class_map(lambda v: 0 * v[:, 0], resolution=20, ax=ax),
}


def test_every_plot_takes_axes_and_is_tried_here():
    takes = {n for n in plot.__all__ if "ax" in inspect.signature(getattr(plot, n)).parameters}
    assert takes == set(DRAWINGS)
    assert set(plot.__all__) - takes == {
        "placements", "predictions", "samples", "save", "weight_matrices",
    }  # fmt: skip


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_plot_returns_the_axes_given_with_a_unit_on_each(name, small, ax):
    assert DRAWINGS[name](ax, small) is ax
    for label in (ax.get_xlabel(), ax.get_ylabel()):
        assert re.fullmatch(r".+ \(.+\)", label) or label in COUNTED, label


def test_without_axes_new_ones_are_made():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    ax = plot.raster(spikes(5, 3))
    other = plot.raster(spikes(5, 3))
    assert ax.figure is not other.figure and len(plt.get_fignums()) == len(before) + 2
    plt.close(ax.figure)
    plt.close(other.figure)


def test_links_are_drawn_as_wide_as_what_they_carry(ax):
    from dataclasses import replace

    from bss2jax.mapping.objectives import loads

    small = replace(MAPPED.system, limits=replace(MAPPED.system.limits, circuits=20))
    found = search(MAPPED.workload, small, method="pycarl")
    lines = next(c for c in plot.link_loads(found, ax=ax).collections if c.get_array() is not None)
    carried = loads(found)[small.topology.present]
    assert np.allclose(lines.get_array(), carried) and carried.max() > 0
    widths = np.array(lines.get_linewidths())
    assert (np.argsort(widths, kind="stable") == np.argsort(carried, kind="stable")).all()


def test_bars_count_the_neurons_of_each_chip(ax):
    heights = [bar.get_height() for bar in plot.on_chips(MAPPED, ax=ax).patches]
    assert heights == np.bincount(MAPPED.chip, minlength=4).tolist()


def test_raster_has_a_mark_where_a_neuron_spikes(ax):
    z = spikes(20, 9)
    plot.raster(z, dt=2e-6, ax=ax)
    expected = [(2.0 * t, n) for t in range(20) for n in range(9) if z[t, n]]
    np.testing.assert_allclose(xy(ax.lines[0]), expected)
    assert ax.get_xlabel() == "time (µs)" and ax.get_xlim() == pytest.approx((-1, 39))


def test_raster_stacks_populations_and_names_them(ax):
    first, second = spikes(20, 9), spikes(20, 4, seed=1)
    plot.raster({"hidden": first, "output": second}, dt=1e-3, ax=ax)
    drawn = [line for line in ax.lines if line.get_marker() == "|"]
    steps, neurons = np.nonzero(second)
    np.testing.assert_allclose(xy(drawn[1]), np.stack([steps, 9 + neurons], axis=1))
    assert ax.get_ylim() == (-0.5, 12.5) and ax.get_xlabel() == "time (ms)"
    names = ax.child_axes[0]
    assert [text.get_text() for text in names.get_yticklabels()] == ["hidden", "output"]
    np.testing.assert_allclose(names.get_yticks(), [4, 10.5])
    marks = zip(ax.get_yticks(), (text.get_text() for text in ax.get_yticklabels()))
    assert list(marks) == [(0, "0"), (8, "8"), (9, "0"), (12, "3")]


def test_raster_of_a_batch_says_what_to_take():
    with pytest.raises(ValueError, match=r"spikes: expected \[T, N\].*got shape \(5, 2, 3\)"):
        plot.raster(np.zeros((5, 2, 3)))
    with pytest.raises(ValueError, match="spikes of hidden"):
        plot.raster({"hidden": np.zeros(5)})


def test_traces_are_the_membranes_with_spikes_at_the_threshold(ax):
    v = np.random.default_rng(0).normal(size=(10, 2))
    z = np.zeros((10, 2))
    z[[3, 7], 1] = 1
    plot.traces(v, z, dt=1.7e-6, threshold=0.8, reset=-0.1, labels=["a", "b"], unit="LSB", ax=ax)
    for n, name in enumerate("ab"):
        line = of_label(ax.lines, name)
        np.testing.assert_allclose(xy(line), np.stack([1.7 * np.arange(10), v[:, n]], axis=1))
    np.testing.assert_allclose(xy(of_label(ax.lines, "spikes of b")), [(5.1, 0.8), (11.9, 0.8)])
    assert len(xy(of_label(ax.lines, "spikes of a"))) == 0
    assert set(of_label(ax.lines, "threshold").get_ydata()) == {0.8}
    assert set(of_label(ax.lines, "reset").get_ydata()) == {-0.1}
    assert ax.get_ylabel() == "membrane (LSB)"


def test_traces_refuse_spikes_of_another_shape():
    with pytest.raises(ValueError, match=r"spikes: expected the shape of v, \(10, 2\)"):
        plot.traces(np.zeros((10, 2)), np.zeros((10, 3)))
    with pytest.raises(ValueError, match="labels: expected 2"):
        plot.traces(np.zeros((10, 2)), labels=["a"])


def test_vmm_shows_the_median_column_its_noise_and_the_span(ax):
    rng = np.random.default_rng(0)
    product = np.linspace(-150, 150, 7)
    mean = product[:, None, None] * rng.normal(1, 0.1, (2, 50))
    std = rng.random((7, 2, 50))
    plot.vmm(product, mean, std, ax=ax)
    points, _, bars = ax.containers[0]
    middle = np.median(mean.reshape(7, -1), axis=1)
    np.testing.assert_allclose(xy(points), np.stack([product, middle], axis=1))
    noise = np.median(std.reshape(7, -1), axis=1)
    segments = np.array(bars[0].get_segments())[:, :, 1]
    np.testing.assert_allclose(segments, np.stack([middle - noise, middle + noise], axis=1))
    nominal = of_label(ax.lines, "nominal column").get_ydata()
    np.testing.assert_allclose(nominal, np.clip(product, -128, 127))
    span = of_label(ax.collections, "5 to 95 % of 100 columns").get_paths()[0].vertices
    low, high = np.percentile(mean.reshape(7, -1), (5, 95), axis=1)
    assert {tuple(p) for p in np.round(np.stack([product, low], 1), 6)} <= {
        tuple(p) for p in np.round(span, 6)
    }
    assert span[:, 1].max() == pytest.approx(high.max())


def test_vmm_refuses_readouts_of_other_weights():
    with pytest.raises(ValueError, match=r"mean: expected \[7, columns\]"):
        plot.vmm(np.arange(7), np.zeros((6, 3)))
    with pytest.raises(ValueError, match="std: expected the shape of mean"):
        plot.vmm(np.arange(7), np.zeros((7, 3)), np.zeros((7, 2)))


def at(mesh, x, y):
    """The value of the square of a mesh at a place."""
    corners = mesh.get_coordinates()
    columns, rows = corners[0, :, 0], corners[:, 0, 1]
    row = next(i for i in range(len(rows) - 1) if min(rows[i : i + 2]) < y < max(rows[i : i + 2]))
    column = int(np.searchsorted(columns, x)) - 1
    return mesh.get_array().reshape(len(rows) - 1, len(columns) - 1)[row, column]


def test_chip_map_has_hemisphere_0_above_and_1_below(small, ax):
    mesh = chip_map(small, "column_gain", ax=ax).collections[0]
    for column in range(6):
        assert at(mesh, column + 0.5, 0.5) == small.column_gain[0, column]
        assert at(mesh, column + 0.5, -0.5) == small.column_gain[1, column]
    low, high = mesh.get_clim()
    assert (low + high) / 2 == pytest.approx(1)


def test_chip_map_has_synapse_row_0_next_to_the_neurons(small, ax):
    mesh = chip_map(small, "synapse_gain", limits=(0.5, 1.5), ax=ax).collections[0]
    gain = np.asarray(small.synapse_gain)  # [H, 2, R, C]
    for row in range(8):
        pair, sign = divmod(row, 2)
        for column in (0, 5):
            assert at(mesh, column + 0.5, row + 0.5) == gain[0, sign, pair, column]
            assert at(mesh, column + 0.5, -row - 0.5) == gain[1, sign, pair, column]
    assert mesh.get_clim() == (0.5, 1.5)
    ticks = dict(zip(ax.get_yticks(), (text.get_text() for text in ax.get_yticklabels())))
    assert ticks[0.5] == "0" and ticks[7.5] == "7" and ticks[-7.5] == "7"


def test_chip_map_refuses_what_it_cannot_draw(small):
    with pytest.raises(ValueError, match="quantity: expected one of synapse_gain"):
        chip_map(small, "gian")
    stack = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), small)
    with pytest.raises(ValueError, match=r"chip: expected one chip, got column_gain of"):
        chip_map(stack)


@pytest.mark.parametrize("planned", [ANALOG, SPIKING, FIELDS, MIXED, plan({"w": (5, 3)}, SMALL)])
def test_placement_shows_every_synapse_once(planned):
    """Over all configurations, as many synapses are drawn as there are weights on the chip."""
    drawn = [part for number in range(planned.configurations) for part in parts(planned, number)]
    weights = {
        name: sum(
            (p.rows.stop - p.rows.start) * (p.columns.stop - p.columns.start)
            for p in planned.pieces
            if p.layer == name
        )
        for name in planned.names
    }
    found = dict.fromkeys(weights, 0)
    for part in drawn:
        assert 0 <= part.first and part.first + len(part.rows) <= planned.substrate.columns
        assert part.rows.max() <= planned.substrate.rows
        found[part.name] += part.rows.sum()
    assert found == weights


def test_placement_of_784_256_10_fills_the_chip_four_times():
    for run in range(4):
        above, below = parts(SPIKING, run)
        assert (above.hemisphere, below.hemisphere) == (0, 1)
        # Eight circuits a neuron, four in each row: 784 inputs are 6 x 128 + 16, and one has none.
        np.testing.assert_array_equal(above.rows, [128, 128, 128, 16] * 64)
        np.testing.assert_array_equal(below.rows, [128, 128, 128, 0] * 64)
    assert [(p.name, len(p.rows)) for p in parts(SPIKING, 4)] == [("readout", 10), ("readout", 10)]


def test_populations_that_share_a_run_lie_side_by_side():
    shared = plan_network(
        ("a", "b"), (PopulationDemand(256, 246), PopulationDemand(246, 10)), seconds=30e-6
    )
    assert [(p.name, p.first, len(p.rows)) for p in parts(shared, 0)] == [
        ("a", 0, 246), ("a", 0, 246), ("b", 246, 10), ("b", 246, 10)
    ]  # fmt: skip


def test_placement_draws_the_blocks_of_a_configuration(ax):
    planned = plan({"w": (300, 300)})  # three row blocks, the last of 44 rows; columns 256 and 44
    plot.placement(planned, 2, ax=ax)
    above, below = (
        patch.get_data()
        for patch in ax.patches
        if isinstance(patch, StepPatch) and abs(patch.get_data().baseline) > 0
    )
    assert len(above.values) == 44 and len(below.values) == 44
    assert set(above.values - above.baseline) == {128} and set(below.values - below.baseline) == {
        -44
    }
    assert above.edges[0] == below.edges[0] == 0
    assert ax.get_title() == "configuration 3 of 3"
    with pytest.raises(ValueError, match="configuration: expected 0 to 2, the plan has 3, got 3"):
        plot.placement(planned, 3)


def test_placements_draw_the_first_runs_and_say_how_many_there_are():
    figure = Figure()
    cells = plot.placements(SPIKING, most=3, figure=figure)
    titles = [ax.get_title() for ax in cells]
    assert titles == [f"configuration {n} of 5" for n in (1, 2, 3)]
    assert figure.get_suptitle() == "the first 3 of 5 configurations"


@pytest.mark.parametrize("planned", [ANALOG, SPIKING, MIXED])
def test_schedule_has_a_bar_a_run_as_long_as_it_takes(planned, ax):
    plot.schedule(planned, ax=ax)
    runs = 1e6 * np.array(estimate(planned).configurations)
    bars = np.concatenate(
        [
            [(path.vertices[:, 0].min(), np.ptp(path.vertices[:, 0])) for path in layer.get_paths()]
            for layer in ax.collections
        ]
    )
    begins = np.concatenate([[0], np.cumsum(runs)[:-1]])
    np.testing.assert_allclose(bars, np.stack([begins, runs], axis=1), rtol=1e-6, atol=1e-6)
    assert ax.get_xlim()[1] == pytest.approx(runs.sum())


def test_schedule_shows_populations_that_share_a_run_at_the_same_time(ax):
    shared = plan_network(
        ("a", "b"), (PopulationDemand(256, 246), PopulationDemand(246, 10)), seconds=30e-6
    )
    plot.schedule(shared, ax=ax)
    spans = [np.ptp(layer.get_paths()[0].vertices[:, 0]) for layer in ax.collections]
    assert spans == pytest.approx([101, 101])


def test_a_plan_without_weights_is_drawn_empty():
    empty = plan({"bias": (5,)})
    assert empty.configurations == 0 and len(plot.placements(empty, figure=Figure())) == 0


def test_placement_shows_the_chip_that_is_asked_for(ax):
    table = ANALOG.table.copy()
    table[1, 2] = 3
    plot.placement(replace(ANALOG, table=table), 0, chip=3, ax=ax)
    assert len([patch for patch in ax.patches if isinstance(patch, StepPatch)]) == 2


def test_learning_curves_go_on_from_phase_to_phase(ax):
    plot.learning_curves(RECORDS, ax=ax)
    drawn = xy(of_label(ax.lines, "validation"))
    np.testing.assert_allclose(drawn, [(1, 60), (2, 70), (3, 65)])
    assert {t.get_text() for t in ax.texts} == {"phase 1: ideal", "phase 2: mixed"}
    assert any(set(line.get_xdata()) == {2.5} for line in ax.lines)


def test_learning_curves_show_the_loss_and_say_what_is_missing(ax):
    plot.learning_curves(RECORDS, "loss", ax=ax)
    np.testing.assert_allclose(of_label(ax.lines, "training").get_ydata(), [2, 1, 2])
    assert ax.get_ylabel() == "loss (nats)"
    with pytest.raises(ValueError, match=r"records\[1\]: has no train_loss"):
        plot.learning_curves([RECORDS[0], {"phase": 0, "on": "x", "validation_loss": 1}], "loss")
    with pytest.raises(ValueError, match="at least one epoch"):
        plot.learning_curves([])
    with pytest.raises(ValueError, match="accuracy or loss"):
        plot.learning_curves(RECORDS, "speed")


def test_several_runs_share_an_axis(ax):
    plot.learning_curves({"one": RECORDS, "two": RECORDS[:2]}, "loss", ax=ax)
    lines = [of_label(ax.lines, name) for name in ("one", "two")]
    np.testing.assert_allclose(xy(lines[0]), [[1, 3], [2, 1.5], [3, 3]])
    np.testing.assert_allclose(xy(lines[1]), [[1, 3], [2, 1.5]])


def test_saturation_leaves_out_what_stays_0_and_shows_spikes_where_nothing_saturates(ax):
    plot.saturation(RECORDS, ax=ax)
    np.testing.assert_allclose(xy(of_label(ax.lines, "a: sums")), [[1, 0], [2, 0], [3, 10]])
    assert "a: weights" not in [line.get_label() for line in ax.lines]
    spiking = [{"phase": 0, "on": "chip", "validation_saturation": {"b": {"spikes": 0.3}}}]
    ax = plot.saturation(spiking, ax=Figure().subplots())
    np.testing.assert_allclose(xy(of_label(ax.lines, "b")), [[1, 0.3]])
    with pytest.raises(ValueError, match="no layer recorded"):
        plot.saturation([spiking[0] | {"validation_saturation": {}}])


def test_weights_show_the_share_of_each_code(ax):
    plot.weights({"a": np.array([[-63, 0], [5, 5]])}, ax=ax)
    values, edges, _ = of_label(ax.patches, ax.get_legend().texts[0].get_text()).get_data()
    assert dict(zip(edges[:-1] + 0.5, values))[5] == 50 and values.sum() == 100
    assert ax.get_legend().texts[0].get_text() == ("a: 3 codes, 25.0 % zero, 25.0 % at the limit")
    with pytest.raises(ValueError, match=r"codes of a: expected whole numbers -63\.\.63"):
        plot.weights({"a": [0.5]})


def test_predictions_name_what_a_sample_was_taken_for():
    figure = plot.predictions(np.ones((3, 4, 4, 1)), [0, 1, 1], [0, 1, 0], ("a", "b"), across=2)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "b as a", ""]
    with pytest.raises(ValueError, match="got 0, 0 and 0"):
        plot.predictions(np.ones((0, 4)), [], [], ("a",))


def test_confusion_colours_the_mistakes_and_writes_all_counts(ax):
    plot.confusion([[3, 1], [0, 4]], ["a", "b"], ax=ax)
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array().filled(-1), [[-1, 25], [0, -1]])
    assert {(t.get_position(), t.get_text()) for t in ax.texts} == {
        ((0, 0), "3"), ((1, 0), "1"), ((1, 1), "4"),
    }  # fmt: skip


def test_confusion_shows_a_class_without_samples_as_0(ax):
    plot.confusion([[3, 1], [0, 0]], ax=ax)
    assert ax.images[0].get_array().filled(-1).tolist() == [[-1, 25], [0, -1]]
    with pytest.raises(ValueError, match=r"matrix: expected \[N, N\]"):
        plot.confusion(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="classes: expected 2 names"):
        plot.confusion(np.eye(2), ["one"])


def test_accuracy_over_chips_has_a_point_a_chip_with_mean_and_std(ax):
    values = {"one": np.array([0.8, 0.9, 0.85]), "any": np.array([0.95, 0.96])}
    plot.accuracy_over_chips(values, {"one": 0.99}, ax=ax)
    dots = [line for line in ax.lines if to_hex(line.get_color()) == COLOURS[0].lower()]
    for line, accuracy in zip(dots, values.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), 100 * accuracy)
    for bar, accuracy in zip(ax.containers, values.values(), strict=True):
        middle, std = 100 * accuracy.mean(), 100 * accuracy.std(ddof=1)
        assert bar[0].get_ydata() == pytest.approx([middle])
        ends = np.array(bar[2][0].get_segments())[0, :, 1]
        np.testing.assert_allclose(ends, [middle - std, middle + std])
    assert of_label(ax.lines, "chip of the training").get_ydata() == pytest.approx([99])
    with pytest.raises(ValueError, match="accuracy: expected shares"):
        plot.accuracy_over_chips([98.0, 97.0])


def test_ladder_leaves_out_rungs_that_a_run_lacks(ax):
    plot.ladder({"a": RUNGS, "b": {"float": 0.5}, "c": {}}, ax=ax)
    np.testing.assert_allclose(xy(ax.lines[0]), [(0, 98), (1, 97), (2, 90), (3, 97.5)])
    np.testing.assert_allclose(xy(ax.lines[1]), [(0, 50)])
    assert len(xy(ax.lines[2])) == 0
    with pytest.raises(ValueError, match="expected some of float, ideal"):
        plot.ladder({"speed": 1.0})


def test_class_map_shows_what_each_point_is_taken_for(ax):
    def left_is_dot(values):
        """Right but for the left half, and checks the order of the four values."""
        np.testing.assert_allclose(values[:, 2:], 1 - values[:, :2], atol=1e-6)
        true = yinyang.classify(values[:, 0], values[:, 1])
        return np.eye(3)[np.where(values[:, 0] < 0.5, 2, true)]

    x = np.array([[0.2, 0.5], [0.8, 0.2], [0.2, 0.2]])
    y = np.array([2, 1, 1])
    plot.class_map(left_is_dot, x, y, resolution=50, ax=ax)
    drawn = ax.collections[0].get_array().reshape(50, 50)
    centre = (np.arange(50) + 0.5) / 50
    for row, column in ((10, 10), (25, 10), (10, 40), (25, 37)):
        label = 2 if column < 25 else yinyang.classify(centre[column], centre[row])
        assert drawn[row, column] == label
    assert drawn.mask[0, 0] and not drawn.mask[25, 25]
    np.testing.assert_allclose(xy(of_label(ax.lines, "wrong")), [x[2]])
    np.testing.assert_allclose(xy(of_label(ax.lines, "dot, right")), [x[0]])


def test_class_map_refuses_what_is_no_classification():
    with pytest.raises(ValueError, match="classify: expected labels"):
        plot.class_map(lambda values: np.zeros((len(values), 2)))
    with pytest.raises(ValueError, match="as many labels as samples"):
        plot.class_map(lambda values: np.zeros(len(values)), np.zeros((2, 2)))


def test_dendrites_are_drawn_as_they_lie_and_behave(ax):
    layout = lay_out(Morphology.chain(3))
    plot.morphology(layout, ax=ax)
    squares = {tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "s"}
    assert squares == {(column, -row) for one in layout.circuits for row, column in one}
    with pytest.raises(ValueError, match="copies: expected 1 to 128, got 129"):
        plot.morphology(layout, copies=129)
    v, z = np.random.default_rng(0).random((9, 2)), np.zeros((9, 2))
    z[4, 1] = 1
    drawn = plot.compartments(v, z, names=("soma", "tuft"), ax=Figure().subplots())
    np.testing.assert_array_equal(drawn.lines[0].get_ydata(), v[:, 0])
    assert [v[4, 1]] in [list(line.get_ydata()) for line in drawn.lines]
    with pytest.raises(ValueError, match=r"spikes: expected \(9, 2\) as the membranes"):
        plot.compartments(v, z[:, :1])
    with pytest.raises(ValueError, match="peaks: expected a square"):
        plot.attenuation(np.ones((2, 3)))


def test_neurons_and_synapses_at_work():
    rng = np.random.default_rng(0)
    neuron = AdEx(tau_syn=None, a=0.2, b=0.1)
    z = rng.random((60, 5)) < 0.2
    v, w = np.sin(np.linspace(0, 9, 60)), np.linspace(0, 0.4, 60)
    ax = firing_pattern(v, z, ax=Figure().subplots())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), v)
    below = ax.child_axes[0].lines[0].get_xydata()
    np.testing.assert_array_equal(below[:, 1], np.nonzero(z)[1])
    ax = phase_plane(neuron, 0.5, v, w, ax=Figure().subplots())
    # Where the membrane stands still at the leak the adaptation takes the current, and a little.
    x, y = ax.lines[0].get_data()
    expected = 0.5 + 0.1 * np.exp(-0.8 / 0.1)
    assert np.interp(0.0, x, y) == pytest.approx(expected, abs=1e-3)
    assert np.interp(0.5, *ax.lines[1].get_data()) == pytest.approx(0.1)
    ax = rate_curve([1.0, 2.0], [[0, 1e3], [2e3, 3e3]], [5e2, 2e3], ax=Figure().subplots())
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), [0.5, 2.0])
    a = z * rng.random((60, 5))
    ax = pulse_amplitudes(z, a, ax=Figure().subplots())
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), a[z[:, 2], 2])
    delay = np.array([-2e-6, 1e-6])
    ax = correlation_curve(delay, [0, 4.0], [3.0, 0], amplitude=5, tau=5e-6, ax=Figure().subplots())
    x, y = ax.lines[-1].get_data()
    assert np.interp(0, x, y) == pytest.approx(5, rel=1e-2)
    with pytest.raises(ValueError, match="shape of spikes"):
        pulse_amplitudes(z, a[1:])


def test_weight_matrices_stand_side_by_side_on_one_scale():
    figure = plot.weight_matrices({"before": np.zeros((3, 2)), "after": [[1.0, 40.0]]})
    images = [image for cell in figure.axes for image in cell.get_images()]
    assert [cell.get_title() for cell in figure.axes[:2]] == ["before", "after"]
    assert {image.get_clim() for image in images} == {(0, 40)}
    with pytest.raises(ValueError, match="at least one"):
        plot.weight_matrices({})
    with pytest.raises(ValueError, match="expected lines with 'success'"):
        plot.over_periods([{"periods": 1, "rate": 2.0}], "success")
