"""AdEx neurons fire as theory, published patterns, Brian2 and the reference's equations say."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from brian2_spikes import BRIAN2
from jax import lax

from bss2jax import (
    Autodiff,
    SuperSpike,
    Surrogate,
    networks,
    population,
    sample_chip,
)
from bss2jax.kernels.neurons.adex import AdEx, AdExState
from bss2jax.kernels.neurons.lif import LIF
from bss2jax.kernels.neurons.units import FIRING_PATTERNS, AdExScale, stacked

MODELS = stacked(model for model, _ in FIRING_PATTERNS.values())
CURRENTS = np.array([current for _, current in FIRING_PATTERNS.values()])
MV = AdExScale(lsb=1.0, zero=0.0)  # potentials in mV, times as on the chip
# Brian2, dt .1 and 1 ms; second order, .005 ms, of which NEST gives the same counts.
COUNTS = (62, 12, 12, 11, 46, 32, 1, (32, 33))
FIRST = (14.23, 14.91, 5.47, 16.16, 33.58, 57.19, 30.30, 15.65)
EULER = {1e-7: (60, 12, 12, 11, 45, 32, 1, 33), 1e-6: (49, 11, 11, 10, 39, 44, 1, 36)}


@partial(jax.jit, static_argnames="steps")
def driven(neuron, current, steps):
    """Spikes `[T, N]` of neurons whose current is `[N]`, or `[T, N]`, from rest."""
    current = jnp.broadcast_to(current, (steps, current.shape[-1]))

    def step(state, x):  # in the precision of what is given, which `neuron.step` makes float32
        state = neuron.flow(state, x)
        fired = neuron.over(state) > 0
        return neuron.after(state, fired), fired

    return lax.scan(step, neuron.rest(current[0]), current)[1]


def alone(**settings):
    """A neuron that is a LIF one, with the current as its input."""
    return AdEx(
        tau_syn=None, exponential=False, subthreshold=False, spike_triggered=False, **settings
    )


def patterns(dt, **settings):
    """Steps at which the eight patterns' neurons spike."""
    neuron = MV.neuron(MODELS, dt=dt, tau_syn=None, **settings)
    neuron = jax.tree.map(jnp.asarray, neuron)
    z = driven(neuron, MV.current(CURRENTS, MODELS), round(600e-6 / dt))
    return [np.flatnonzero(z[:, n]) for n in range(8)]


@pytest.fixture(scope="module")
def fine():
    """Times of spikes in ms of the model, second order, .02 us."""
    return [(step + 1) * 0.02 for step in patterns(2e-8)]


def test_without_its_terms_it_fires_at_the_rates_of_the_formula():
    reach = np.float32([1.05, 1.2, 1.5, 2.0, 4.0])
    neuron = alone(tau_mem=10e-6, t_ref=2e-6, dt=1e-7)
    z = np.asarray(driven(neuron, reach, 20000))
    for n, i in enumerate(reach.astype(float)):
        at = np.flatnonzero(z[:, n])
        expected = 1 / (2e-6 + 10e-6 * np.log(i / (i - 1)))
        assert (len(at) - 1) / ((at[-1] - at[0]) * 1e-7) == pytest.approx(expected, rel=5e-3)
        if i == 2:
            assert expected == pytest.approx(111.97e3, rel=1e-4)


def test_rheobases_are_between_98_and_102_percent_of_the_formula():
    some = slice(0, 4)  # tonic, adapting, initial burst, regular bursting
    models = stacked(model for model, _ in list(FIRING_PATTERNS.values())[some])
    rheobase = models.rheobase()
    np.testing.assert_allclose(rheobase, [220.38, 256.18, 140.34, 76.38], rtol=2e-4)
    # A ramp to 98 % that the adaptation, 300 ms, can follow; then 1 s there, and 1 s at 102 %.
    ramp = np.concatenate([np.linspace(0, 0.98, 8000), np.full(1000, 0.98), np.full(1000, 1.02)])
    current = MV.current(ramp[:, None] * rheobase, models).astype(np.float32)
    neuron = jax.tree.map(jnp.asarray, MV.neuron(models, tau_syn=None))
    z = np.asarray(driven(neuron, current, len(ramp)))
    assert not z[:9000].any() and z[9000:].any(axis=0).all()


def test_eight_published_patterns_have_their_spikes(fine):
    for name, times, count, first in zip(FIRING_PATTERNS, fine, COUNTS, FIRST, strict=True):
        assert len(times) in np.atleast_1d(count), name
        assert times[0] == pytest.approx(first, abs=0.05), name
    intervals = np.diff(fine[1])
    expected = [11.28, 14.38, 19.62, 29.43, 47.75, 67.71]
    np.testing.assert_allclose(intervals[:6], expected, rtol=5e-3)
    assert intervals[-1] == pytest.approx(75.91, rel=5e-3)


def test_steps_of_a_microsecond_keep_the_patterns(fine):
    """As a spike's time in its step is kept; Euler at 1 us has 49 for 62 and 44 for 32."""
    coarse = patterns(1e-6)
    for steps, count in zip(coarse, COUNTS, strict=True):
        assert len(steps) in np.atleast_1d(count)
    for n in (0, 1, 2, 3, 4, 6):  # not those with a < 0 that burst, which amplify differences
        # They fall into their step or a neighbour of it.
        assert (np.abs(coarse[n] + 1 - fine[n] - 0.5) < 1.5).all(), n


@pytest.mark.parametrize("dt", EULER)
def test_eulers_order_has_the_counts_of_brian2s(dt):
    steps = patterns(dt, integrator="euler")
    assert tuple(len(each) for each in steps) == EULER[dt]


def test_in_float64_eulers_order_has_the_spikes_of_brian2_to_one_step():
    with jax.enable_x64(True):
        steps = patterns(1e-7, integrator="euler")
    for name, each, theirs in zip(FIRING_PATTERNS, steps, BRIAN2, strict=True):
        # Two with a < 0 multiply a rounding of 1e-16 up to steps, after some twenty spikes.
        some = slice(0, 16 if name in ("delayed regular bursting", "irregular") else None)
        assert len(each) == len(theirs) and np.abs(each - theirs)[some].max() <= 1, name


def test_intervals_lengthen_where_it_adapts_and_shorten_where_it_accelerates(fine):
    def index(times):
        t = np.diff(times)
        return np.mean(np.diff(t) / (t[1:] + t[:-1]))

    assert index(fine[1]) == pytest.approx(0.094, abs=0.003)
    assert abs(index(fine[0])) < 0.002
    assert index(fine[4]) < 0


def test_the_references_order_is_its_equations():
    """The step of `aelif.py`, written here from its description; its test's parameters."""
    p = {"leak": 0.0, "reset": -0.1, "threshold": 0.7, "delta_t": 0.2, "v_t": 0.3, "a": 10.0}
    rng = np.random.default_rng(0)
    x = (rng.random((100, 6)) < 0.3) * rng.normal(1.2, 1.0, (100, 6))
    v, i, w, ref = np.zeros((4, 6))
    spikes, share, keep_i, keep_w = [], 0.1, 0.9, 0.99  # dt 1 us; 10, 10 and 100 us
    for step in x:
        rise = i + p["leak"] - v + p["delta_t"] * np.exp((v - p["v_t"]) / p["delta_t"]) - w
        i = i * keep_i + step
        v = v + share * rise
        z = v > p["threshold"]
        w = w * keep_w + (1 - keep_w) * p["a"] * (v - p["leak"]) + 0.2 * z
        v = np.where(z | (ref > 0), p["reset"], v)
        z = z & (ref == 0)
        ref = np.where(z, 3, np.maximum(ref - 1, 0))
        spikes.append((v, i, w, z))
    neuron = AdEx(
        10e-6, 10e-6, tau_w=100e-6, b=0.2, t_ref=3e-6, integrator="hxtorch", **p
    )  # fmt: skip
    keep = lambda s, x: (lambda s, z: (s, (s, z)))(*neuron.step(s, x))  # noqa: E731
    _, (ours, z) = lax.scan(keep, neuron.rest(jnp.float32(x[0])), jnp.float32(x))
    theirs = [np.stack(each) for each in zip(*spikes, strict=True)]
    np.testing.assert_array_equal(z > 0, theirs[3])
    assert 10 < theirs[3].sum()
    for a, b in zip((ours.v, ours.i, ours.w), theirs, strict=False):
        np.testing.assert_allclose(a[0], b[0], atol=1e-6)
        # Later ones carry the rounding of a hundred steps.
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("integrator", ("euler", "hxtorch"))
def test_without_its_terms_eulers_order_is_lif(integrator):
    rng = np.random.default_rng(1)
    x = jnp.float32(rng.normal(0.4, 0.6, (60, 3, 7)))
    own = {"leak": 0.03, "reset": -0.1, "threshold": 0.93, "t_ref": 2e-6}
    lif = LIF(6.3e-6, 5.1e-6, integrator="euler", **own)
    adex = AdEx(6.3e-6, 5.1e-6, integrator=integrator, exponential=False, **own)
    run = jax.jit(lambda n, x: n.differentiated(x, membrane=True))
    theirs, ours = run(lif, x), run(adex, x)
    assert theirs.spikes.sum() > 20
    np.testing.assert_array_equal(ours.spikes, theirs.spikes)
    # The sum is another, and a membrane carries its rounding for a few time constants.
    np.testing.assert_allclose(ours.membrane, theirs.membrane, atol=20 * np.finfo(np.float32).eps)


def test_gradients_of_all_terms_are_finite_differences():
    """Of membranes in float64, from a reset at a time that does not move: smooth in all of them."""
    with jax.enable_x64(True):
        start = {"tau_w": 40e-6, "a": 0.4, "b": 0.3, "delta_t": 0.15, "v_t": 0.7}
        start = {name: jnp.float64(value) for name, value in start.items()}
        x = jnp.asarray(np.linspace(0.2, 1.05, 40))[:, None]

        @jax.jit
        def loss(values):
            neuron = AdEx(**values, tau_mem=10e-6, tau_syn=None, substeps=4)
            rest = neuron.rest(x[0])
            state = neuron.after(rest, jnp.ones_like(rest.v, bool))

            def step(state, x):
                state = neuron.flow(state, x)
                over = neuron.over(state)
                return neuron.after(state, jnp.zeros_like(over, bool)), (state.v, over)

            v, over = lax.scan(step, state, x)[1]
            return jnp.sin(3 * v).sum(), over.max()

        gradient, over = jax.grad(loss, has_aux=True)(start)
        assert -0.3 < over < 0  # near enough for the exponential to matter
        for name, value in start.items():
            h = 1e-5 * value
            up, down = (loss(start | {name: value + s * h})[0] for s in (1, -1))
            slope = (up - down) / (2 * h)
            assert abs(slope * value) > 1e-3, name
            assert float(gradient[name]) == pytest.approx(float(slope), rel=1e-3), name


def coba(leak, drive, **reversal):
    """The largest deflections `[N]` of membranes that rest at leaks, by one small input."""
    neuron = AdEx(
        10e-6, 5e-6, leak=leak, threshold=160.0, exponential=False, subthreshold=False,
        spike_triggered=False, **reversal,
    )  # fmt: skip
    v = neuron.differentiated(drive, membrane=True).membrane - leak
    at = jnp.abs(v).argmax(axis=0)
    return jnp.take_along_axis(v, at[None], axis=0)[0, 0]


def test_conductances_scale_with_the_way_to_their_reversal_potential():
    """In LSB: E_ref 80, as potentials of a threshold at 120 and a leak at 40 have it."""
    leak = jnp.arange(40.0, 121.0, 10.0)
    own = {"reversal_exc": 200.0, "reversal_inh": 20.0, "reference": 80.0}
    one = jnp.zeros((40, 1, 2, len(leak))).at[0, :, 0].set(2.0)
    exc, inh = coba(leak, one, **own), coba(leak, -one[:, :, ::-1], **own)
    for y, reversal in ((exc, 200.0), (inh, 20.0)):
        slope, base = np.polyfit(np.asarray(leak), np.asarray(y), 1)
        # Of the deflection itself, up to 1 LSB, the synapse sees a share.
        np.testing.assert_allclose(y, slope * leak + base, atol=0.02 * float(jnp.abs(y).max()))
        assert -base / slope == pytest.approx(reversal, abs=1.0)
    nominal = coba(leak, one[:, :, 0])
    np.testing.assert_allclose(np.ptp(nominal), 0, atol=1e-4)
    assert exc[4] == pytest.approx(float(nominal[4]), rel=0.01)
    assert inh[4] == pytest.approx(-float(nominal[4]), rel=0.01)


def test_the_reset_conductance_draws_the_membrane_to_reset():
    neuron = alone(reset=-0.2, t_ref=2e-6, tau_reset=0.5e-6)
    state = AdExState(v=jnp.ones(1), w=None, i=None, wait=jnp.zeros(1), late=jnp.zeros(1))
    state = neuron.after(state, jnp.ones(1, bool))
    assert state.v == 1
    v = neuron.flow(state, jnp.full(1, 50.0)).v
    assert v == pytest.approx(-0.2 + 1.2 * np.exp(-2), rel=1e-5)  # whatever the input


def test_units_convert_both_ways():
    for model, current in FIRING_PATTERNS.values():
        neuron = AdExScale().neuron(model)
        back = AdExScale().model(neuron, capacitance=model.capacitance)
        for name in type(model).__dataclass_fields__:
            assert getattr(back, name) == pytest.approx(getattr(model, name), rel=1e-6, abs=1e-9)
        assert AdExScale().potential(np.array([-70, -40])) == pytest.approx([80, 150])
        assert neuron.tau_mem == pytest.approx(model.capacitance / model.conductance * 1e-6)
        expected = current / model.conductance * 7 / 3
        assert AdExScale().current(current, model) == pytest.approx(expected)


@pytest.mark.slow  # compiles a population forward and back
def test_conductances_in_a_population_have_the_gradient_of_its_steps():
    rng = np.random.default_rng(4)
    x = jnp.float32(rng.random((30, 2, 8)) < 0.2)
    w, back = jnp.float32(rng.normal(0, 0.6, (8, 5))), jnp.float32(rng.normal(0, 0.4, (5, 5)))
    neuron = AdEx(a=0.2, b=0.1, reversal_exc=3.0, reversal_inh=-1.0)
    weight = jnp.float32(rng.normal(size=(30, 2, 5)))

    def gradients(gradient):
        def loss(w, back, neuron):
            made = population(x, w, neuron, recurrent=back, gradient=gradient)
            return (weight * made.spikes).sum(), made.spikes

        (_, z), d = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(w, back, neuron)
        return z, d

    surrogate = SuperSpike(5.0)
    z, ours = gradients(Surrogate(surrogate))
    scanned, theirs = gradients(Autodiff(surrogate))
    assert z.sum() > 10
    np.testing.assert_array_equal(z, scanned)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(np.abs(b).max()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"integrator": "rk4"}, "one of"),
        ({"dt": 0.0}, "seconds > 0"),
        ({"t_ref": -1e-6}, "seconds >= 0"),
        ({"substeps": 0}, "1 or more"),
        ({"reversal_exc": 3.0}, "expected both"),
        ({"tau_reset": 1e-6}, "set t_ref"),
    ],
)
def test_settings_that_no_neuron_has_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AdEx(**settings)


def test_terms_that_are_off_do_nothing():
    x = jnp.float32(np.random.default_rng(2).normal(0.5, 0.5, (30, 1, 6)))
    values = {"a": 0.7, "b": 0.4, "delta_t": 0.2}
    run = jax.jit(lambda n, x: n.differentiated(x).spikes)
    off = {"exponential": False, "subthreshold": False, "spike_triggered": False}
    plain = run(AdEx(delta_t=1e-3, v_t=50.0), x)  # terms on, of no strength
    np.testing.assert_array_equal(run(AdEx(**values, **off), x), plain)
    whole = run(AdEx(**values), x)
    assert (whole != plain).any()
    for name in off:
        assert (run(AdEx(**values, **{name: False}), x) != whole).any(), name
    still = replace(alone(leaky=False), threshold=5.0)
    v = still.differentiated(jnp.full((6, 1, 1), 1.2), membrane=True).membrane
    np.testing.assert_allclose(v[:, 0, 0], 0.2 * np.arange(1, 7), rtol=1e-5)  # an integrator


@pytest.mark.slow  # trains; its gradients are tested
def test_a_recurrent_layer_learns_on_a_chip_its_adaptation_too():
    """Two classes of latencies, whose order tells them apart; a chip with all deviations."""
    layer = networks.AdEx(
        outputs=12, recurrent=True, trained=("a", "v_t"), init_mean=0.4, init_std=0.3, substeps=4
    )
    network = networks.build(
        [networks.Latency(steps=20), layer, networks.LI(outputs=2), networks.MaxOverTime()], (6,)
    )
    params, chip = network.init(jax.random.key(0)), sample_chip(jax.random.key(1))
    assert set(params["adex_0"]) == {"weight", "recurrent", "a", "v_t"}
    rng = np.random.default_rng(3)
    label = np.arange(32) % 2
    early = np.where(label[:, None] == 0, [0.9] * 3 + [0.3] * 3, [0.3] * 3 + [0.9] * 3)
    x = jnp.float32(np.clip(early + rng.normal(0, 0.05, (32, 6)), 0, 1))
    optimiser = optax.adam(0.02)

    @jax.jit
    def learn(params, opt, key):
        def loss(params):
            scores = network.apply(params, network.state(), x, chip, key, on="chip")[0]
            return optax.softmax_cross_entropy_with_integer_labels(scores, label).mean()

        value, d = jax.value_and_grad(loss)(params)
        updates, opt = optimiser.update(d, opt)
        return network.project(optax.apply_updates(params, updates)), opt, value, d

    opt, first, values = optimiser.init(params), params, []
    for n in range(40):
        params, opt, value, d = learn(params, opt, jax.random.key(n))
        values.append(float(value))
    assert values[-1] < 0.5 * values[0], values
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(d))
    for name in ("a", "v_t", "recurrent"):
        assert jnp.abs(params["adex_0"][name] - first["adex_0"][name]).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trained": ("a",), "a": 0.0}, "a is 0"),
        ({"integrator": "hxtorch", "tau_mem": 1e-7}, "hxtorch integrator cannot follow"),
        ({"reversal_inh": -1.0}, "expected both"),
    ],
)
def test_layers_that_no_neuron_can_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        networks.build([networks.Latency(steps=9), networks.AdEx(outputs=2, **settings)], (6,))
