"""What neighbouring projects' users stumbled over: types, edges, empty axes, what is compared.

Each test is the smallest case of its kind, with its right value.
"""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import bss2jax as b
from bss2jax import arrays

TYPES = [bool, np.uint8, np.int8, np.float16, ml_dtypes.bfloat16, np.float64, ">f4", ">i4", "<u8"]
KEY = jax.random.key(0)
ZEROS_AND_ONES = np.array([[0, 1, 1], [1, 0, 1]])
WEIGHTS = np.array([[0.5, 0.1], [0.4, 0.9], [0.3, 0.2]], np.float32)
SMALL = b.Substrate(rows=4, columns=6)


def forms(values):
    """The same numbers in every type, order and layout, and as a list."""
    whole = np.asarray(values)
    yield from (whole.astype(kind) for kind in TYPES)
    yield whole.tolist()
    yield np.repeat(whole.astype(np.float32), 2, axis=-1)[..., ::2]
    yield np.asfortranarray(whole.astype(np.float32))


# --- one entrance


def test_whatever_comes_in_is_float32_or_int32():
    for given in forms(ZEROS_AND_ONES):
        for entrance, kind in ((arrays.floats, np.float32), (arrays.wholes, np.int32)):
            entered = entrance(given)
            assert entered.dtype == kind and not entered.weak_type
            assert_array_equal(entered, ZEROS_AND_ONES)
    assert arrays.floats(np.float64(0.5)).shape == ()


def test_whole_numbers_out_of_int32_stay_out_of_range():
    given = np.array([2**40, -(2**40), 3], np.int64)
    assert_array_equal(arrays.wholes(given), [2**31 - 1, -(2**31), 3])
    assert_array_equal(arrays.wholes(np.array([2**32 + 1], np.uint64)), [2**31 - 1])


@pytest.mark.parametrize(
    "given", ["text", None, [1j], np.array(["2020"], "M8[Y]"), KEY, [[1], [1, 2]], [1e300]]
)
def test_what_is_no_number_is_refused_in_a_line(given):
    with pytest.raises(ValueError, match="^x: ") as error:
        arrays.floats(given, "x")
    assert "\n" not in str(error.value)


def test_fractions_are_no_whole_numbers():
    for given in ([1.5], jnp.array([1.0])):
        with pytest.raises(ValueError, match="whole numbers"):
            arrays.wholes(given) if isinstance(given, list) else jax.jit(arrays.wholes)(given)


ENTRANCES = {
    "matmul": lambda x: b.matmul(x, 40 * WEIGHTS, None, num_sends=9, substrate=SMALL),
    "latency": lambda x: b.latency(x, 300).time,  # 19: in uint8 300 was out of bounds
    "spike_time": lambda x: b.spike_time(x, 1e-6, 2e-6, 26e-6).time,  # 22: in float16 overflow
    "regular": lambda x: b.regular(x, 5, 2),
    "relu": b.relu,
    "population": lambda x: b.population([x, x], WEIGHTS, b.LIF()).spikes,
    "noisy_rate": b.noisy_rate,
    "scale_weight": b.scale_weight,
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_each_type_gives_what_float32_gives(entrance):
    call = ENTRANCES[entrance]
    if entrance == "population":
        call = lambda x: b.population(stacked(x), WEIGHTS, b.LIF()).spikes  # noqa: E731
    expected = call(np.float32(ZEROS_AND_ONES))
    for given in forms(ZEROS_AND_ONES):
        assert_array_equal(call(given), expected)


def stacked(x):
    return [x, x] if isinstance(x, list) else np.stack([x, x])


def test_delta_counts_in_float_whatever_the_type():
    """18: in uint8 a fall was 255 rises."""
    for kind in (np.uint8, np.int8, np.float16, np.float64, ">f4"):
        z = b.delta(np.array([0, 3, 6, 6, 0, 0], kind)[None, :, None], 6, 1.0)
        assert z[:, 0].T.tolist() == [[0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]


def test_latency_of_more_steps_than_a_small_float_holds():
    assert b.latency(np.array([[0.5, 1]], np.float16), 70000).time.tolist() == [[35000, 0]]


# --- coders and events at the edges


def test_values_beyond_0_and_1_are_coded_as_the_ends():
    """16: a value of 1.2 spiked at step -2."""
    odd = jnp.array([[1.2, 0.5, -0.5, jnp.inf, -jnp.inf, jnp.nan]])
    assert b.latency(odd, 10).time.tolist() == [[0, 5, 10, 0, 10, 10]]
    assert b.spike_time(odd, 1e-6, 2e-6, 26e-6).time.tolist() == [[26, 14, 2, 26, 2, 2]]
    assert b.log_latency(odd, 9, 1e-6, 8e-6, 0.2).time[0, [0, 2, 3, 4, 5]].tolist() == [
        2,
        9,
        2,
        9,
        9,
    ]
    assert b.regular(odd, 10, 6).sum(axis=0).tolist() == [[6, 3, 0, 6, 0, 0]]


def test_regular_spikes_n_times_for_n_over_spikes():
    """17: a float32 product compared with whole numbers lost a spike in 113 of 14 lengths."""
    assert b.regular([[1 / 25]], 30, 25).sum() == 1
    for steps in (13, 100):
        for spikes in (3, steps - 1):
            values = np.arange(spikes + 1) / spikes
            counts = b.regular(values[None], steps, spikes).sum(axis=0)[0]
            assert_array_equal(counts, np.arange(spikes + 1))


def test_events_out_of_range_are_dropped_on_every_path():
    """15: time -1 became the last step, index K an input of the next sample."""
    w, odd = 3 * jnp.eye(4), [(-1, 1), (2, 4), (2, -1), (5, 1), (2**31 - 1, 1), (1, -(2**31))]
    # A sample for each, and one with a spike in range.
    time, index = (jnp.array([*(pair[i] for pair in odd), i])[:, None] for i in (0, 1))
    events = b.Events(time, index)
    raster = b.to_raster(events, 5, 4)
    assert raster.sum() == 1 and raster[0, -1, 1] == 1
    ordered, dy = b.sort_events(events, 5, 4), jnp.ones((5, len(odd) + 1, 4))
    assert_array_equal(ordered.drive(w), raster @ w)
    assert_array_equal(ordered.gradient(w, dy)[1], jnp.einsum("tbk,tbn->kn", raster, dy))


# --- empty axes


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
def test_empty_axes_give_empty_results(shape):
    """24, 25: they divided by zero; saturation was NaN."""
    steps, batch, inputs = shape
    z, w = jnp.ones(shape), jnp.ones((inputs, 2))
    for neuron in (b.LIF(t_ref=2e-6), b.LI()):

        def loss(w, neuron=neuron):
            return sum(leaf.sum() for leaf in jax.tree.leaves(b.population(z, w, neuron)))

        assert jax.tree.leaves(b.population(z, w, neuron))[0].shape == (steps, batch, 2)
        assert jax.grad(loss)(w).shape == w.shape
    events = b.Events(np.zeros((batch, 1), int), np.zeros((batch, 1), int))
    assert b.population(events, w, b.LIF(), steps=steps).spikes.shape == (steps, batch, 2)
    assert b.to_events(z, 2).time.shape == (batch, min(2, steps * inputs))
    product = lambda x, w: b.matmul(x, w, None, mask_saturated=True, substrate=SMALL)  # noqa: E731
    dx, dw = jax.grad(lambda x, w: product(x, w).sum(), (0, 1))(z[0] if steps else z.sum(0), w)
    assert (dx.shape, dw.shape) == ((batch, inputs), (inputs, 2))
    shares = b.saturation(z[0] if steps else z.sum(0), w, None, substrate=SMALL)
    assert all(np.isfinite(float(share)) for share in shares.values())
    for code in (lambda x: b.latency(x, 3).time, lambda x: b.regular(x, 3, 2), b.scale_input):
        assert code(jnp.ones((batch, inputs))).shape[-2:] == (batch, inputs)


def test_convolutions_of_nothing():
    assert b.conv2d(jnp.ones((0, 4, 4, 2)), jnp.ones((3, 3, 2, 4)), None).shape == (0, 2, 2, 4)
    assert b.expanded_conv1d(jnp.ones((0, 5, 2)), jnp.ones((3, 2, 4)), None).shape == (0, 3, 4)


# --- numbers, hashables, equality


def test_numpy_integers_are_integers():
    """26."""
    two, ones = np.int64(2), jnp.ones((1, 5, 5, 2))
    b.matmul(ones[0, 0], jnp.ones((2, 3)), None, num_sends=jnp.int32(2), avg=two)
    w = jnp.ones((3, 3, 2, 4))
    expected = b.conv2d(ones, w, None, stride=2, padding=1)
    assert_array_equal(b.conv2d(ones, w, None, stride=two, padding=np.array([1, 1])), expected)
    assert b.patches(ones, np.array([2, 2])).shape == (1, 4, 4, 8)
    assert b.converting_relu(ones, two).shape == ones.shape


def test_settings_that_are_arrays_become_hashable():
    """27."""
    hash(
        (b.Codes(scale=jnp.float32(60)), b.SuperSpike(np.array(50.0)), b.Curve(gain=np.float32(2)))
    )
    z, w = jnp.ones((2, 1, 4, 1)), jnp.ones((3, 2))
    by_list = b.population(b.Windows(z, [3], np.array([1])), w, b.LIF(dt=jnp.float32(1e-6)))
    assert by_list.spikes.shape == (2, 1, 2, 2)
    with pytest.raises(ValueError, match="Codes|scale"):
        b.Codes(scale=jnp.ones(2))


def test_comparing_answers():
    """28: the truth value of an array with more than one element is ambiguous."""
    chip, events = b.ideal_chip(substrate=SMALL), b.latency(np.ones((1, 2)), 3)
    values = [chip, events, b.sort_events(events, 3, 2), b.lif_state(b.LIFParams(), (2,))]
    values += [b.Windows(np.ones((2, 1, 4, 1)), (3,)), b.program(np.ones((2, 2)), None)]
    for value in values:
        assert value == value and isinstance(value == jax.tree.map(jnp.copy, value), bool)
    for params in (b.LIFParams, b.LIParams, b.LIF, b.LI):
        one, same = params(tau_mem=jnp.ones(3)), params(tau_mem=np.ones(3, np.float32))
        assert one == same and one != params(tau_mem=jnp.ones(3), leak=1.0)
        assert params() == params() and hash(params()) == hash(params())


# --- what is given in place of something else


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: b.sample_chip(0), "key"),
        (lambda: b.sample_chip(jax.random.split(KEY, 2)), "key"),
        (lambda: b.poisson([[0.5]], 0, 3), "key"),
        (lambda: b.population(np.ones((2, 1, 3)), WEIGHTS, b.ideal_chip()), "neuron"),
        (lambda: b.population(np.ones((2, 1, 3)), WEIGHTS, b.LIFParams()), "neuron"),
        (lambda: b.population(np.ones((1, 3)), WEIGHTS, b.LIF()), "spikes"),
        (lambda: b.population(np.ones((2, 1, 3)), WEIGHTS[0], b.LIF()), "w"),
        (lambda: b.lif(b.LIF(), np.ones((2, 1, 3))), "params"),
        (lambda: b.on_chip(None, 3, 2), "chip"),
        (lambda: b.latency([[0.5]], 0), "steps"),
        (lambda: b.regular([[0.5]], 4, 5), "spikes"),
        (lambda: b.spike_time([[0.5]], 0, 1e-6, 2e-6), "dt"),
        (lambda: b.delta(np.ones((1, 0, 2)), 4, 0.1), "delta"),
        (lambda: b.max_over_time(np.ones((0, 2, 2))), "step"),
        (lambda: b.LIF(tau_mem=-6e-6), "tau_mem"),
        (lambda: b.LI(tau_syn=float("nan")), "tau_syn"),
        (lambda: b.LIF(dt=0), "dt"),
        (lambda: b.LIF(t_ref=-1e-6), "t_ref"),
        (lambda: b.ExactLIF(tau_rc=-1.0), "tau_rc"),
        # 44: spikes of a drive that stays below the threshold
        (lambda: b.lif(b.LIFParams(), np.ones((2, 1, 1)), dt=12e-6, integrator="euler"), "dt"),
        (lambda: b.lif(b.LIFParams(), np.ones((2, 1, 1)), integrator="Euler"), "integrator"),
        (lambda: b.li(b.LIParams(tau_mem=jnp.zeros(3)), np.ones((2, 1, 3))), "tau_mem"),
        (lambda: b.matmul(np.ones((1, 3)), 99 * WEIGHTS * 2, None), "keep_in_range"),
    ],
)
def test_the_wrong_thing_is_refused_in_a_line_that_names_it(call, word):
    with pytest.raises(ValueError, match=word) as error:
        call()
    assert "\n" not in str(error.value)


def test_as_many_neurons_as_parameters_however_wide():
    """30: parameters of 600 neurons were not cut into the chip's runs."""
    w, z = jnp.ones((3, 600)), np.ones((2, 1, 3))
    wide = b.population(z, w, b.LIF(tau_mem=jnp.full(600, 6e-6)), codes=b.Codes())
    assert_array_equal(wide.spikes, b.population(z, w, b.LIF(), codes=b.Codes()).spikes)
