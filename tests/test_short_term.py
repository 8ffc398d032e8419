"""Short-term plasticity: published sequences, steady states, what a driver can, calibration."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bss2jax import Codes, ideal_chip, networks, on_chip, population
from bss2jax.calibration.drivers import calibrate_offsets
from bss2jax.kernels.gradients.rules import Autodiff, EventProp, Surrogate
from bss2jax.kernels.neurons.lif import LIF
from bss2jax.kernels.synapses.delays import Delays
from bss2jax.kernels.synapses.plasticity import ShortTerm, drivers_of

DT = 1e-6  # a step of 1 us is 1 ms of the model
STEP = 1e-6
# Of spikes in ms of the model; NEST's `tsodyks_synapse` and `tsodyks2_synapse` give the same.
ROWS = {
    "depression": ((0.6, 800, 0), [50 * n for n in range(6)],
                   [0.6, 0.26181, 0.13473, 0.08698, 0.06904, 0.06229]),
    "recovery": ((0.4, 100, 0), [*(50 * n for n in range(7)), 600],
                 [0.4, 0.30296, 0.26764, 0.25479, 0.25011, 0.24841, 0.24779, 0.38749]),
    "both, 20 Hz": ((0.03, 130, 530), [50 * n for n in range(6)],
                    [0.03, 0.05533, 0.07574, 0.09178, 0.10428, 0.11406]),
}  # fmt: skip


def of(parameters, mode, **settings):
    utilization, recovery, facilitation = parameters
    return ShortTerm(
        utilization, recovery * 1e-6, facilitation * 1e-6, mode=mode, **({"dt": DT} | settings)
    )


def at(plasticity, times, steps=None):
    """Amplitudes of one source that spikes in these steps."""
    times = np.asarray(times)
    z = np.isin(np.arange(steps or times[-1] + 1), times).astype(np.float32)[:, None]
    return np.asarray(jax.jit(lambda p, z: p.amplitudes(z))(plasticity, z))[times, 0]


@pytest.mark.parametrize("row", ROWS)
def test_amplitudes_are_those_of_tsodyks_and_markram(row):
    parameters, times, expected = ROWS[row]
    ours = at(of(parameters, "tsodyks_markram"), times)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    if parameters[2] == 0:  # depression alone: the chip has the same ratios
        chip = at(of(parameters, "chip"), times)
        np.testing.assert_allclose(chip / chip[0], ours / ours[0], atol=1e-5)
        assert chip[0] == pytest.approx(1 - parameters[0], rel=1e-6)


def test_facilitation_at_70_hz_peaks_at_the_seventh_spike():
    """Intervals of 1 / 70 s: steps of a seventieth of it."""
    plasticity = of((0.03, 130, 530), "tsodyks_markram", dt=1e-3 / 70 / 70)
    ours = at(plasticity, 70 * np.arange(60))
    expected = [0.03, 0.05676, 0.0787, 0.09514, 0.10619, 0.1125, 0.11505, 0.1149]
    np.testing.assert_allclose(ours[:8], expected, atol=1e-5)
    assert ours.argmax() == 6
    e_rec, e_facil = (np.exp(-1e3 / 70 / tau) for tau in (130, 530))
    u = 0.03 / (1 - 0.97 * e_facil)
    assert ours[-1] == pytest.approx(u * (1 - e_rec) / (1 - (1 - u) * e_rec), rel=5e-3)


def test_the_chips_facilitation_is_u_with_x_at_one():
    times = 50 * np.arange(100)
    ours = at(of((0.03, 0, 530), "chip"), times)
    np.testing.assert_allclose(ours, at(of((0.03, 0, 530), "tsodyks_markram"), times), atol=1e-5)
    assert ours[0] == pytest.approx(0.03)
    assert ours[-1] == pytest.approx(0.03 / (1 - 0.97 * np.exp(-50 / 530)), rel=1e-3)


def test_steady_states_are_those_of_the_formula():
    """5 to 160 Hz; the charge a second goes to 1 / tau_rec, 1.25 of 800 ms."""
    rates, u, tau = np.array([5.0, 10, 20, 40, 80, 160]), 0.6, 800.0
    intervals = 1e3 / rates
    z = np.ones((60, 1), np.float32)
    charge = []
    for interval in intervals:
        step = interval * 1e-6  # a spike in every step
        a = of((u, tau, 0), "tsodyks_markram", dt=step).amplitudes(z)[-1, 0]
        e = np.exp(-interval / tau)
        assert float(a) == pytest.approx(u * (1 - e) / (1 - (1 - u) * e), rel=5e-6, abs=1e-6)
        charge.append(float(a) * 1e3 / interval)
    np.testing.assert_allclose(np.array(charge)[[0, 2, 5]], [0.964, 1.165, 1.239], atol=6e-4)
    assert (np.diff(charge) > 0).all() and charge[-1] < 1.25


def test_each_driver_has_its_own_parameters_and_each_source_its_own_state():
    rng = np.random.default_rng(0)
    z = (rng.random((80, 2, 3)) < 0.2).astype(np.float32)
    both = ShortTerm(
        jnp.array([0.3, 0.1, 0.5]), jnp.array([2e-5, 0, 0]), jnp.array([0, 3e-5, 0]), dt=STEP
    )
    a = np.asarray(both.amplitudes(z))
    for k, one in enumerate((ShortTerm(0.3, 2e-5), ShortTerm(0.1, 0.0, 3e-5), ShortTerm(0.5))):
        for b in range(2):
            alone = one.amplitudes(z[:, b, k : k + 1])[:, 0]
            np.testing.assert_allclose(a[:, b, k], alone, atol=1e-6)
    np.testing.assert_array_equal(a[..., 2], z[..., 2])  # neither depresses nor facilitates


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau_rec": 1e-4, "tau_facil": 1e-4}, "not both"),
        ({"tau_rec": np.array([1e-4, 0]), "tau_facil": np.array([1e-4, 1e-4])}, "not both"),
        ({"utilization": 1.2}, "0 to 1"),
        ({"tau_rec": -1e-4}, "seconds >= 0"),
        ({"dt": 0.0}, "seconds > 0"),
        ({"mode": "tm"}, "chip or tsodyks_markram"),
    ],
)
def test_what_a_driver_cannot_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ShortTerm(**settings)
    if "not both" in message:
        ShortTerm(**settings, mode="tsodyks_markram")


def test_gradients_are_finite_differences():
    z = (np.random.default_rng(1).random((60, 1, 4)) < 0.3).astype(np.float32)
    weight = np.random.default_rng(2).normal(size=z.shape)
    start = ShortTerm(0.3, jnp.array([2e-5, 0, 3e-5, 0]), jnp.array([0, 2e-5, 0, 3e-5]))
    start = replace(start, utilization=jnp.float32(0.3), offset=jnp.float32(0.02))

    @jax.jit
    def loss(u, offset, scale):
        moved = ShortTerm(u, scale * start.tau_rec, scale * start.tau_facil, offset)
        return (weight * moved.amplitudes(z)).sum()

    point = (start.utilization, start.offset, jnp.float32(1))
    gradient = jax.grad(loss, (0, 1, 2))(*point)
    for n, h in enumerate((1e-2, 1e-2, 3e-2)):
        up, down = (loss(*(p + s * h * (i == n) for i, p in enumerate(point))) for s in (1, -1))
        assert float(gradient[n]) == pytest.approx(float(up - down) / (2 * h), rel=2e-3)


def test_without_it_a_population_is_what_it_was_and_with_it_pulses_scale():
    rng = np.random.default_rng(3)
    z = (rng.random((30, 2, 6)) < 0.3).astype(np.float32)
    w = jnp.float32(rng.normal(0.3, 0.4, (6, 4)))
    plain = population(z, w, LIF(), observe=("membrane",))
    off = population(ShortTerm(0.5).amplitudes(z), w, LIF(), observe=("membrane",))
    np.testing.assert_array_equal(off.spikes, plain.spikes)
    np.testing.assert_array_equal(off.membrane, plain.membrane)
    tired = population(ShortTerm(0.5, 1e-4).amplitudes(z), w, LIF())
    assert tired.spikes.sum() < plain.spikes.sum()


def test_offsets_are_calibrated_within_the_bounds_of_calix():
    """In each block of analog cells below 2 LSB, and at least 1 LSB better than before."""
    drivers = drivers_of(jax.random.key(2), ShortTerm(0.2, 1e-4))
    assert drivers.offset.shape == (256,)
    assert float(drivers.utilization.std()) == pytest.approx(0.02, rel=0.2)
    assert float(drivers.tau_rec.std() / 1e-4) == pytest.approx(0.2, rel=0.2)
    done = calibrate_offsets(drivers, jax.random.key(3))
    assert set(np.unique(done.codes)) <= set(range(16))
    for first in (0, 128):
        for parity in (0, 1):
            some = slice(first + parity, first + 128, 2)
            before, after = done.before[some].std(), done.after[some].std()
            assert after < 2 and before - after > 1, (before, after)
    np.testing.assert_array_equal(done.drivers.utilization, drivers.utilization)
    with pytest.raises(ValueError, match="multiple of 4"):
        calibrate_offsets(ShortTerm(offset=jnp.zeros(6)), jax.random.key(0))


def test_as_a_layer_and_within_one_it_scales_what_a_population_is_sent_and_is_trained():
    tired = networks.Drivers(utilization=0.5, tau_rec=1e-4, trained=("utilization",))
    layers = [
        networks.Regular(steps=30),
        networks.ShortTerm(utilization=0.5, tau_rec=1e-4, trained=("utilization",)),
        networks.LIF(outputs=4, init_mean=0.5, recurrent=True, recurrent_drivers=tired),
    ]
    network = networks.build(layers, (6,))
    params = network.init(jax.random.key(0))
    assert params["short_term_0"]["utilization"].shape == (6,)
    assert params["lif_0"]["recurrent_utilization"].shape == (4,)
    x = jnp.ones((2, 6))

    def spikes(params):
        return network.apply(params, network.state(), x, None, jax.random.key(1), on="ideal")[0]

    (d,) = jax.vjp(spikes, params)[1](jnp.ones((30, 2, 4)))
    assert jnp.abs(d["short_term_0"]["utilization"]).min() > 0
    assert jnp.abs(d["lif_0"]["recurrent_utilization"]).max() > 0
    less = params | {"short_term_0": {"utilization": jnp.full(6, 0.01)}}
    assert spikes(less).sum() > spikes(params).sum() > 0
    far = params["lif_0"] | {"recurrent_utilization": jnp.array([-1.0, 0.5, 1.0, 9.0])}
    held = network.project(params | {"lif_0": far})["lif_0"]["recurrent_utilization"]
    np.testing.assert_allclose(held, [0.1, 0.5, 1.0, 2.0], rtol=1e-6)
    assert layers[2].codes(params["lif_0"], *network.nodes[2].before).keys() == {
        "weight",
        "recurrent",
    }
    with pytest.raises(ValueError, match="not both"):
        networks.build([layers[0], networks.ShortTerm(tau_rec=1e-4, tau_facil=1e-4)], (6,))


RNG = np.random.default_rng(4)
SENT = (RNG.random((40, 2, 5)) < 0.3).astype(np.float32)
INPUT, BACK = (jnp.float32(RNG.normal(m, 0.3, (k, 4))) for m, k in ((0.4, 5), (0.2, 4)))
MIXED = ShortTerm(
    jnp.float32([0.3, 0.2, 0.5, 0.4]), jnp.float32([2e-5, 0, 1e-5, 0]),
    jnp.float32([0, 3e-5, 0, 0]), jnp.float32(0.02),
)  # fmt: skip
BOTH = ShortTerm(jnp.float32(0.3), jnp.float32(2e-5), jnp.float32(3e-5), mode="tsodyks_markram")
CHIP = jnp.array([0, 0, 1, 1])
LINKS = Delays(jnp.array([[0, 2], [2, 0]]), CHIP, CHIP, (0, 2))


def stepped(neuron, drivers, late):
    """Spikes of a recurrent population, one step after the other; pulses come `late` [4, 4]."""

    def step(carry, sent):
        state, sources, pulses = carry
        back = sum(pulse @ (BACK * (late == d)) for d, pulse in enumerate(pulses))
        state, z = neuron.step(state, sent @ INPUT + back)
        sources, pulse = drivers.step(sources, z)
        return (state, sources, (pulse, *pulses[:2])), z

    zero = jnp.zeros((2, 4))
    return jax.lax.scan(step, (neuron.rest(zero), drivers.rest(zero), (zero,) * 3), SENT)[1]


@pytest.mark.parametrize(
    ("neuron", "drivers", "links"),
    [(LIF(t_ref=2e-6), MIXED, None), (LIF(tau_mem=jnp.float32(6e-6)), BOTH, LINKS)],
    ids=("by hand", "recorded, over links"),
)
def test_a_populations_own_spikes_pass_drivers_with_the_gradient_of_all_steps(
    neuron, drivers, links
):
    weight = jnp.float32(np.random.default_rng(5).normal(size=(40, 2, 4)))
    late = np.zeros((4, 4)) if links is None else np.asarray(links.between)[CHIP][:, CHIP]

    def loss(rule, w, recurrent, drivers, tau):
        trained = neuron if links is None else replace(neuron, tau_mem=tau)
        made = population(
            SENT, w, trained, recurrent=recurrent, recurrent_drivers=drivers, gradient=rule,
            delays=(None, links), observe=("membrane",),
        )  # fmt: skip
        return (weight * (made.spikes + made.membrane)).sum(), made.spikes

    @jax.jit
    def slopes(*at):
        return [
            jax.grad(lambda *at, rule=rule: loss(rule, *at), (0, 1, 2, 3), has_aux=True)(*at)
            for rule in (Surrogate(), Autodiff())
        ]

    (ours, z), (scanned, _) = slopes(INPUT, BACK, drivers, neuron.tau_mem)
    np.testing.assert_array_equal(z, stepped(neuron, drivers, late))
    assert z.sum() > 20
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(scanned), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(ours[:2]))


def test_on_a_chip_drivers_that_do_nothing_change_no_bit_and_tired_ones_send_less():
    chip, rng = ideal_chip(), np.random.default_rng(6)
    gain = rng.normal(1, 0.3, chip.synapse_gain.shape).astype(np.float32)
    circuits = on_chip(chip.having({"synapse_gain": gain}), 5, 4, recurrent=True)
    run = jax.jit(
        lambda drivers: (
            population(
                SENT,
                INPUT,
                LIF(),
                circuits,
                recurrent=jnp.abs(BACK),
                recurrent_drivers=drivers,
                codes=Codes(),
            ).spikes
        )
    )
    plain, utilization = run(None), jnp.float32(0.9)
    idle, tired = (run(ShortTerm(utilization, jnp.float32(tau))) for tau in (0, 1e-4))
    np.testing.assert_array_equal(idle, plain)
    assert 0 < tired.sum() < plain.sum()


def test_what_recurrent_drivers_cannot_is_refused():
    drivers = ShortTerm(tau_rec=1e-5)
    for settings, message in (
        ({"recurrent": None}, "not recurrent"),
        ({"neuron": LIF(dt=2e-6)}, "their step is 1e-06 s, the neurons' 2e-06"),
        (
            {"recurrent_drivers": ShortTerm(jnp.zeros(3))},
            r"expected a number or \(4,\), got \(3,\)",
        ),
        ({"gradient": EventProp()}, "take Surrogate"),
    ):
        given = {"neuron": LIF(), "recurrent": BACK, "recurrent_drivers": drivers} | settings
        with pytest.raises(ValueError, match=message):
            population(SENT, INPUT, given.pop("neuron"), **given)
    code, tired = networks.Regular(steps=4), networks.Drivers(tau_rec=1e-5)
    both = networks.Drivers(tau_rec=1e-5, tau_facil=1e-5)
    for settings, message in (
        ({"recurrent": False}, "set recurrent"),
        ({"recurrent_drivers": both}, "recurrent_drivers: .*not both"),
        ({"gradient": "eventprop"}, "take surrogate"),
    ):
        given = {"outputs": 2, "recurrent": True, "recurrent_drivers": tired} | settings
        with pytest.raises(ValueError, match=message):
            networks.build([code, networks.LIF(**given)], (3,))
