"""Structured neurons behave as cable theory, silicon's relations and plateau neurons say."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from bss2jax import (
    LI,
    LIF,
    AdEx,
    Codes,
    Compartment,
    Compartments,
    Mismatch,
    Morphology,
    on_chip,
    plastic,
    population,
    sample_chip,
)
from bss2jax.calibration import COMPARTMENTS, calibrate
from bss2jax.calibration.compartments import measure_tau_icc
from bss2jax.chip.substrate import Substrate

US = 1e-6
SMALL = Substrate(rows=4, columns=80)


def chain(n, tau_mem=10 * US, tau_icc=10 * US, tau_syn=10 * US, dt=0.1 * US):
    passive = Morphology.chain(n, spikes=False)
    made = Compartments.of(passive, LIF(jnp.float32(tau_mem), jnp.float32(tau_syn), dt=dt))
    return replace(made, tau_icc=jnp.full(n - 1, tau_icc, jnp.float32))


def psps(neuron, steps=600):
    """Membranes `[steps, at, compartment]` after one input at each compartment."""
    n = neuron.size
    sent = jnp.zeros((steps, n, n)).at[0].set(jnp.eye(n))
    return np.asarray(population(sent, jnp.eye(n), neuron, observe=("membrane",)).membrane)


@jax.jit
def let_go(neuron, v):
    """The membranes a step after they were `v`."""
    silence = jnp.zeros_like(v)
    rest = neuron.rest(silence)
    return neuron.flow(replace(rest, cell=replace(rest.cell, v=v)), silence).v


# --- coupling


@pytest.mark.parametrize(("tau_icc", "tau_leak", "total"), [(2, 1e6, 1.0), (5, 60, 2.4)])
@pytest.mark.parametrize("dt", [0.02, 1.0])
def test_two_joined_circuits_relax_with_two_over_tau_icc_and_the_leak(tau_icc, tau_leak, total, dt):
    # calix: 1 / tau_total = 2 / tau_icc + 1 / tau_leak.
    two = chain(2, tau_leak * US, tau_icc * US, dt=dt * US)
    soma, other = np.asarray(let_go(two, jnp.float32([1, 0])))
    assert dt / -np.log(soma - other) == pytest.approx(total, rel=5e-3)


@pytest.mark.parametrize("tau_icc", [0.1, 1.0])
def test_long_steps_neither_grow_nor_oscillate(tau_icc):
    v = np.asarray(let_go(chain(5, 1.0, tau_icc * US, dt=1 * US), jnp.eye(5)[0]))
    assert (np.diff(v) < 1e-6).all() and v.min() > -1e-6
    assert v.sum() == pytest.approx(1.0, rel=1e-4)  # nothing leaks


@jax.jit
def settled(neuron, current):
    """The membranes that a constant current holds, after steps of many time constants."""
    rest = neuron.rest(current)
    return jax.lax.fori_loop(0, 40, lambda _, s: neuron.flow(s, current), rest).v


def test_a_constant_current_decays_along_a_chain_as_theory_says():
    current = jnp.zeros(16, jnp.float32).at[0].set(1.0)
    for ratio in (0.1, 0.25, 0.5, 1, 2, 4):
        v = np.asarray(settled(chain(16, 10 * US, ratio * 10 * US, 1e-9, dt=1e-4), current))
        assert -1 / np.log(v[2] / v[1]) == pytest.approx(1 / np.arccosh(1 + ratio / 2), rel=5e-3)
    v = np.asarray(settled(chain(5, tau_syn=1e-9, dt=1e-4), current[:5]))
    np.testing.assert_allclose(v / v[0], [1, 0.38235, 0.14706, 0.05882, 0.02941], atol=1e-4)


EPSPS = {  # tau_mem, tau_icc, input at: peaks over its own, us of the peaks
    (10, 10, 0): ([1, 0.3264, 0.1115, 0.0399, 0.0185], [7.76, 12.76, 17.55, 22.60, 28.02]),
    (10, 5, 0): ([1, 0.4421, 0.2025, 0.1000, 0.0638], None),
    (20, 10, 0): ([1, 0.4114, 0.1795, 0.0849, 0.0530], None),
    (10, 10, 1): ([0.4116, 1, 0.3198, 0.1106, 0.0504], None),
}


@pytest.mark.parametrize("integrator", ("exponential", "semi_implicit", "euler", "exact"))
def test_what_a_constant_current_holds_is_coupled_the_same_in_all_orders(integrator):
    cell = LI(6 * US, 6 * US, dt=1 * US, integrator=integrator)
    pair = Compartments.of(Morphology.chain(2, spikes=False, tau_icc=3 * US), cell)
    run = lambda s, _: (pair.flow(s, jnp.float32([1, 0])), None)  # noqa: E731
    v = jax.lax.scan(run, pair.rest(jnp.zeros(2, jnp.float32)), length=200)[0].v
    # v' is 0: (0 - v) / tau_mem + (other - v) / tau_icc = 0 of the one without current.
    assert v[1] / v[0] == pytest.approx(6 / (6 + 3), rel=1e-4)


def test_psps_along_a_chain_have_the_published_peaks_and_are_reciprocal():
    at_rest = {}
    for (tau_mem, tau_icc, at), (peaks, times) in EPSPS.items():
        v = psps(chain(5, tau_mem * US, tau_icc * US))[:, at]
        np.testing.assert_allclose(v.max(0) / v.max(0)[at], peaks, rtol=1e-2)
        if times:  # an input acts in its own step, so a step ends at the next
            np.testing.assert_allclose(0.1 * (v.argmax(0) + 1), times, rtol=1e-2)
        at_rest[tau_mem, tau_icc, at] = v.max(0)
    # The input's own peak is lower within the chain than at its end.
    assert at_rest[10, 10, 1][1] / at_rest[10, 10, 0][0] == pytest.approx(0.793, rel=1e-2)
    peak = psps(chain(5)).max(0)
    np.testing.assert_allclose(peak, peak.T, rtol=1e-5)


def test_silicons_attenuation_is_fitted_by_tau_icc_and_a_gain():
    # brainscales2-demos ts_03: heights at the MADC, +-5, input at row i.
    silicon = np.array(
        [[80, 50, 38, 28], [57, 72, 52, 45], [48, 50, 70, 58], [38, 44, 65, 93]], float
    )
    residuals = []
    for tau_icc in np.geomspace(1, 10, 9) * US:
        peaks = psps(chain(4, tau_icc=tau_icc, dt=0.5 * US), 120).max(0)
        gain = (peaks * silicon).sum() / (peaks**2).sum()
        residuals.append(np.sqrt(((gain * peaks - silicon) ** 2).mean()) / silicon.max())
    assert min(residuals) < 0.10
    assert 0 < int(np.argmin(residuals)) < 5  # well below tau_mem


def test_unequal_compartments_of_a_tree_follow_the_exact_solution():
    """The matrix exponential of dv/dt = A v, capacitances 2, 1, 1, 3 and leaks of their own."""
    tree = Morphology.of(
        {
            "soma": {"circuits": 2, "tau_mem": 20e-6},
            "a": {"parent": "soma", "tau_icc": 2e-6},
            "b": {"parent": "soma", "tau_icc": 7e-6, "tau_mem": 5e-6},
            "c": {"parent": "a", "tau_icc": 1e-6, "circuits": 3},
        }
    ).changed(spikes=False)
    rates = np.diag(-1 / np.array([20.0, 10, 5, 10]))
    for c, p, tau in ((1, 0, 2.0), (2, 0, 7.0), (3, 1, 1.0)):
        for i, j in ((c, p), (p, c)):
            k = tree.compartments[i].circuits
            rates[i, i] -= 1 / (k * tau)
            rates[i, j] += 1 / (k * tau)
    for dt, tolerance in ((0.1, 1e-3), (1.0, 3e-2)):
        neuron = Compartments.of(tree, LIF(tau_mem=10e-6, dt=dt * US))
        v = np.array([1.0, 0.0, -0.5, 0.3])
        state = jnp.float32(v)
        for _ in range(round(3 / dt)):
            state = let_go(neuron, state)
        np.testing.assert_allclose(state, expm(3 * rates) @ v, atol=tolerance)


@pytest.mark.slow  # compiles 20 compartments
def test_a_branched_cell_of_20_compartments_peaks_as_in_arbor():
    """Absolute peaks, and their times to a step and a half: benchmarks/arbor_dendrite.py."""
    found = np.load(Path(__file__).parent / "arbor_dendrite.npz")
    parts = [
        Compartment(
            name=f"c{c}", parent=f"c{p}" if c else None, tau_icc=2e-6, circuits=int(k), spikes=False
        )
        for c, (p, k) in enumerate(zip([0, *found["parents"]], found["halves"], strict=True))
    ]
    neuron = Compartments.of(Morphology(tuple(parts)), LIF(10e-6, 10e-6, dt=0.1 * US))
    number = len(found["inputs"])
    sent = jnp.zeros((420, number, number)).at[0].set(jnp.eye(number))
    w = jnp.zeros((number, 20)).at[np.arange(number), found["inputs"]].set(1.0)
    v = np.asarray(population(sent, w, neuron, observe=("membrane",)).membrane)
    np.testing.assert_allclose(v.max(0), found["peaks"], rtol=1e-2)
    np.testing.assert_allclose(0.1 * (v.argmax(0) + 1), found["times"], atol=0.15)


def test_joined_circuits_have_their_capacitance_leak_and_inputs():
    one, three = (
        psps(Compartments.of(Morphology.chain(1, circuits=k, spikes=False), LIF())) for k in (1, 3)
    )
    np.testing.assert_allclose(three, one / 3, rtol=1e-6, atol=1e-9)
    # As compartments with next to no resistance between them, of which one is stimulated.
    apart = psps(chain(3, LIF().tau_mem, 1e-7, LIF().tau_syn, dt=1 * US))[:, 1]
    np.testing.assert_allclose(apart.max(0), three.max(), rtol=2e-2)


# --- plateaus, all in LSB; an input of `kick` moves a membrane by so much at once


def of_kicks(morphology, dt):
    cell = LIF(tau_mem=10 * US, tau_syn=1e-9, leak=50.0, reset=50.0, dt=dt)
    return Compartments.of(morphology, cell), -1 / np.expm1(-dt / 10e-6)


PLATEAU = dict(threshold=80.0, reset=100.0, t_ref=20e-6)


@pytest.mark.parametrize(("holdoff", "again"), [(7.66, False), (5.3, False), (5.0, True)])
def test_a_plateau_lasts_its_reset_period_and_ends_where_the_holdoff_is_long_enough(holdoff, again):
    # It falls below the threshold 5.108 us after its end.
    only = Morphology((Compartment(name="soma", holdoff=holdoff * US, **PLATEAU),))
    neuron, unit = of_kicks(only, 0.1 * US)
    sent = jnp.zeros((1200, 1, 1)).at[10].set(1.0)
    done = population(sent, jnp.full((1, 1), 40 * unit), neuron, observe=("membrane",))
    fired = np.flatnonzero(done.spikes[:, 0, 0])
    assert fired[0] == 10
    held = np.asarray(done.membrane[11:, 0, 0]) == 100
    assert held[:200].all() and not held[200]  # 20 us, to the step
    if again:
        period = 200 + round(holdoff / 0.1) + 1
        np.testing.assert_array_equal(np.diff(fired), period)
    assert (len(fired) > 1) == again


def test_a_soma_fires_where_its_kick_meets_a_plateau_and_nowhere_else():
    # From 4.62 us after its onset to 4.78 us after its end; .1 us is the issue's.
    both = Morphology(
        (
            Compartment(name="soma", threshold=95.0),
            Compartment(name="dendrite", parent="soma", holdoff=7.66e-6, **PLATEAU),
        )
    )
    dt, onset = 0.05, 200
    neuron, unit = of_kicks(both, dt * US)
    kicks = np.concatenate([np.arange(100, 320), np.arange(660, 900), np.arange(900, 1100, 9)])
    b = len(kicks)
    sent = np.zeros((1100, b + 2, 2), np.float32)
    sent[onset, :-1, 1] = 1  # the plateau's, but in the last sample
    sent[kicks, np.arange(b), 0] = 1  # the soma's, but in the one before
    sent[600, b + 1, 0] = 1
    w = jnp.float32(np.diag([20 * unit, 200 * unit]))
    spikes = np.asarray(population(jnp.asarray(sent), w, neuron).spikes)
    fires = spikes[..., 0].any(0)
    assert not fires[b:].any()  # neither input alone
    within = dt * (kicks[fires[:b]] - onset)
    assert within.min() == pytest.approx(4.62, abs=0.1)
    assert within.max() == pytest.approx(24.78, abs=0.1)
    expected = (kicks >= kicks[fires[:b]].min()) & (kicks <= kicks[fires[:b]].max())
    np.testing.assert_array_equal(fires[:b], expected)
    assert (spikes[:, : b + 1, 1].sum(0) == 1).all()


def test_a_spike_of_the_soma_reaches_the_dendrite_and_starts_its_plateau():
    def fired(reset):
        soma = Compartment(name="soma", threshold=80.0, reset=reset, t_ref=5e-6, holdoff=20e-6)
        far = Compartment(name="far", parent="soma", holdoff=7.66e-6, **PLATEAU)
        neuron, unit = of_kicks(Morphology((soma, far)), 1 * US)
        sent = jnp.zeros((80, 1, 1)).at[10].set(1.0)
        w = jnp.float32([[45 * unit, 0.0]])
        return np.asarray(population(sent, w, neuron).spikes).sum((0, 1))

    np.testing.assert_array_equal(fired(180.0), [1, 1])
    np.testing.assert_array_equal(fired(50.0), [1, 0])


# --- cells, gradients, chips


def test_compartments_of_adex_cells_couple_and_one_alone_is_the_cell():
    cell = AdEx(tau_syn=None, threshold=2.0, a=0.2, b=0.1, dt=1e-7, integrator="euler")
    current = jnp.full((300, 1, 1), 1.2)
    alone = cell.differentiated(current, membrane=True)
    single = Compartments.of(Morphology.chain(1), cell).differentiated(current, membrane=True)
    np.testing.assert_array_equal(alone.spikes, single.spikes)
    np.testing.assert_array_equal(alone.membrane, single.membrane)
    pair = Compartments.of(Morphology.chain(2, tau_icc=1e-6), cell)
    two = pair.differentiated(jnp.concatenate([current, 0 * current], -1), membrane=True)
    assert 0.3 < float(two.membrane[-1, 0, 1] / two.membrane[-1, 0, 0]) < 1
    with pytest.raises(ValueError, match="integrator euler of AdEx"):
        Compartments.of(Morphology.chain(2), AdEx())
    with pytest.raises(ValueError, match="is no cell of compartments"):
        from bss2jax import ExactLIF

        exact = Compartments.of(Morphology.chain(2), ExactLIF())
        exact.differentiated(jnp.zeros((1, 1, 2)))


def test_gradients_of_weights_conductances_and_cells_are_those_of_finite_differences():
    neuron = Compartments.of(Morphology.chain(3, spikes=False, tau_icc=3e-6), LI())
    sent = jnp.zeros((30, 2, 2)).at[0, 0, 0].set(1.0).at[3, 1, 1].set(1.0)
    w = jnp.asarray([[0.8, 0, 0, 0.5, 0, 0.1], [0, 0.3, 0.2, 0, 1.0, 0]], jnp.float32)

    @jax.jit
    def loss(w, tau_icc, tau_mem):
        made = replace(neuron, cell=replace(neuron.cell, tau_mem=tau_mem), tau_icc=tau_icc)
        v = population(sent, w, made, observe=("membrane",)).membrane
        return 1e3 * jnp.square(v[..., :2]).sum()

    at = (w, jnp.float32([3e-6, 4e-6]), jnp.float32([6e-6, 8e-6, 5e-6]))
    slopes = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*at)
    for n, slope in enumerate(slopes):
        step = 0.01 * np.asarray(at[n])  # of a quadratic and of smooth functions
        way = [*at]
        ends = []
        for sign in (1, -1):
            way[n] = at[n] + sign * step
            ends.append(float(loss(*way)))
        assert (ends[0] - ends[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=2e-3)


def test_a_plateau_that_has_not_been_has_a_gradient():
    """A dendrite just below its threshold is told that its plateau would let the soma fire."""
    with pytest.raises(ValueError, match="LI has none"):
        Compartments.of(Morphology.star(1, reset=2.0), LI())
    with pytest.raises(ValueError, match="LI never fires"):
        Compartments.of(Morphology.star(1), LI())
    with pytest.raises(ValueError, match="parents: expected numbers of compartments before"):
        replace(Compartments.of(Morphology.star(1), LIF()), parents=(1,))
    branch = dict(threshold=1.0, reset=2.0, t_ref=10e-6, holdoff=5e-6)
    neuron = Compartments.of(Morphology.star(1, **branch), LIF(), alpha=5.0)
    sent = jnp.zeros((30, 1, 1)).at[0].set(1.0)

    @jax.jit
    @jax.value_and_grad
    def late(w):
        """The soma's membrane when what the input did by itself is over."""
        v = population(sent, w, neuron, observe=("membrane",)).membrane
        return v[12, 0, 0]

    w = jnp.asarray([[0.0, 2.5]], jnp.float32)
    (below, slope), (above, _) = late(w), late(4 * w)
    assert above > below + 0.2
    assert slope[0, 1] > 2 * below / 2.5  # more than the input passes on by itself


@pytest.fixture(scope="module")
def chip():
    """Calibrated, but for its conductances."""
    return sample_chip(jax.random.key(1), Mismatch(tau_icc=0.35), substrate=SMALL)


def test_a_chip_spreads_conductances_and_inputs_stay_where_they_are(chip):
    """In the attenuation matrix of 95 % of neurons, the input's own peak is the largest."""
    n = SMALL.columns * 2 // 4
    neuron = chain(4, tau_icc=2.5e-6, dt=1 * US)
    sent = jnp.zeros((40, 5, 4)).at[0, :4].set(jnp.eye(4))  # the last sample is silent
    w = jnp.repeat(jnp.eye(4), n, axis=1)
    circuits = on_chip(chip, 4, 4 * n, substrate=SMALL)
    codes = Codes(substrate=SMALL)
    done = population(sent, w, neuron, circuits, codes=codes, observe=("membrane",))
    membrane = np.asarray(done.membrane).reshape(40, 5, 4, n)
    # Leaks of neighbours pull at each other: what an input adds counts.
    peaks = (membrane[:, :4] - membrane[:, 4:]).max(0)
    assert (peaks.argmax(1) == np.arange(4)[:, None]).all(0).mean() > 0.95


def test_conductances_are_measured_through_a_noisy_cadc(chip):
    found = measure_tau_icc(chip, jax.random.key(4), substrate=SMALL)
    drawn = np.asarray(chip.circuits.tau_icc)
    # The leaks of both take a sixth of the rate and spread by 10 %; and the CADC reads three times
    # while circuits near the target relax, those far from it too seldom, or while little happens.
    near = np.abs(np.log(drawn)) < 0.35
    assert near.mean() > 0.5
    np.testing.assert_allclose(np.asarray(found)[near], drawn[near], rtol=0.15)
    # As neurons on these circuits, soma first, which has no conductance.
    row = jax.tree.map(lambda a: a.reshape(*a.shape[:-2], 1, -1), chip.circuits)
    actual, _ = chain(4).on(row)
    np.testing.assert_allclose(actual.tau_icc[0], 1e-5 * drawn.ravel()[40:], rtol=1e-6)


@pytest.mark.slow  # measures fifteen times
def test_conductances_are_calibrated_to_less_than_half_of_their_spread(chip):
    done = calibrate(chip, jax.random.key(3), cells=COMPARTMENTS, substrate=SMALL)
    assert done.ratios()["tau_icc"] < 0.5  # calix's bound
    drawn, after = (np.asarray(c.circuits.tau_icc) for c in (chip, done.chip))
    assert np.std(after) < 0.5 * np.std(drawn)


@pytest.mark.slow  # compiles an emulation, which tests of plasticity do in every run
def test_rules_of_plasticity_see_compartments_as_columns(chip):
    """Homeostasis of plateaus: dendrites reach their number, and somata have no weight."""
    n = 8
    branch = dict(threshold=0.7, reset=1.1, t_ref=20e-6, holdoff=8e-6)
    pairs = Compartments.of(Morphology.star(1, **branch), LIF(tau_mem=10e-6))
    wired = jnp.zeros((4, 2 * n), bool).at[:, n:].set(True)
    hybrid = plastic.on_chip(
        pairs, chip, np.ones(4), 2 * n, substrate=SMALL, wired=wired, period=400, window=400
    )
    rule, sources = plastic.Homeostasis(target=4.0, rate=0.5), plastic.Poisson(4, 5e4, 400)
    begin = hybrid.begin(jnp.zeros((4, 2 * n)), rule.memory(4, 2 * n))
    watch = lambda state, seen: (state.weights, seen.counts)  # noqa: E731
    run = jax.jit(lambda s: plastic.emulate(hybrid, rule, sources, s, jax.random.key(1), 60, watch))
    weights, counts = run(begin)[1]
    late = np.asarray(counts[-20:, n:]).mean(0)
    # Plateaus are 28 us apart at least; 80 of a neuron have a standard deviation below 9.
    assert (counts[0] == 0).all() and np.abs(late - 4).max() < 27 / 20
    assert (weights[-1][:, :n] == 0).all() and np.std(weights[-1][0, n:]) > 0


# --- morphologies as values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soma = {}\nb = {parent = 'somma'}", "parent: b has 'somma'.*did you mean 'soma'"),
        ("soma = {}\nb = {}", "b has None, expected one before it: soma"),
        ("soma = {}\nb = {parent = 'soma', tau_icc = 5e-8}", "tau_icc: got 5e-08, expected"),
        ("soma = {}\nb = {parent = 'soma', tau_icc = 4e-5}", "tau_icc: got 4e-05, expected"),
        ("soma = {}\nb = {parent = 'soma', tau = 1}", "unknown key.*tau_icc"),
        ("a = {parent = 'b'}\nb = {parent = 'a'}", "a has 'b', expected none of the first"),
    ],
)
def test_a_morphology_that_cannot_be_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        Morphology.from_toml(text)


def test_a_morphology_is_read_from_toml_and_equals_one_by_hand():
    text = 'soma = {}\napical = {parent = "soma", tau_icc = 3e-6}\ntuft = {parent = "apical"}'
    made = Morphology.from_toml(text)
    by_hand = Morphology(
        (
            Compartment(name="soma"),
            Compartment(name="apical", parent="soma", tau_icc=3e-6),
            Compartment(name="tuft", parent="apical"),
        )
    )
    assert made == by_hand and hash(made) == hash(by_hand)
    assert made.parents == (0, 1) and [made.joined(c) for c in range(3)] == [1, 2, 1]
