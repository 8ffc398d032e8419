"""Neurons step as the NumPy twin does; their gradients are JAX's own, and finite differences'."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_spiking as twin
from jax import lax

from bss2jax.kernels.gradients.surrogate import (
    Arctan,
    Box,
    Gaussian,
    SuperSpike,
    Triangle,
    spike,
)
from bss2jax.kernels.neurons.functional import (
    LIFParams,
    LIParams,
    li,
    li_state,
    li_step,
    lif,
    lif_state,
    lif_step,
)
from bss2jax.kernels.neurons.li import LI, li_gradient
from bss2jax.kernels.neurons.lif import LIF
from bss2jax.kernels.synapses.recurrent import Recurrent

DT = 1e-6
T, B, N = 40, 2, 5
INTEGRATORS = ("exponential", "euler")
MODES = [(i, r, back) for i in INTEGRATORS for r in (0, 1, 3) for back in (False, True)]
# Half of them, in which every two settings meet; the others are slow, where gradients are compiled.
HALF = [
    pytest.param(*mode, marks=[pytest.mark.slow] * (number not in (0, 3, 4, 7, 8, 11)))
    for number, mode in enumerate(MODES)
]


def drawn(recurrent=True):
    """Per-neuron parameters, a current that makes them spike, and recurrent weights."""
    rng = np.random.default_rng(3)
    params = {
        "tau_mem": rng.uniform(4e-6, 9e-6, N),
        "tau_syn": rng.uniform(4e-6, 9e-6, N),
        "leak": rng.normal(0, 0.1, N),
        "reset": rng.normal(-0.1, 0.1, N),
        "threshold": rng.uniform(0.8, 1.2, N),
    }
    params = {name: value.astype(np.float32) for name, value in params.items()}
    current = rng.normal(0.35, 0.5, (T, B, N)).astype(np.float32)
    weights = rng.normal(0, 0.4, (N, N)).astype(np.float32)
    return params, current, weights if recurrent else None


def settings(integrator, refractory, surrogate=None):
    """As `lif` and `lif_step` take them: the surrogate is broad, so that gradients are not tiny."""
    surrogate = surrogate or SuperSpike(alpha=5.0)
    return {"integrator": integrator, "t_ref": refractory * DT, "surrogate": surrogate, "dt": DT}


def stepped(params, current, recurrent, **kwargs):
    """The sequence, one `lif_step` after the other under `lax.scan`."""
    if recurrent is None:
        step = partial(lif_step, params, **kwargs)
        return lax.scan(step, lif_state(params, current.shape[1:]), current)[1]

    def body(carry, x):
        state, z = carry
        state, z = lif_step(params, state, x + z @ recurrent, **kwargs)
        return (state, z), z

    rest = lif_state(params, current.shape[1:]), jnp.zeros(current.shape[1:])
    return lax.scan(body, rest, current)[1]


@pytest.mark.parametrize(("integrator", "refractory", "back"), MODES)
def test_membranes_and_spikes_are_the_twins_step_by_step(integrator, refractory, back):
    params, current, recurrent = drawn(back)
    v, z = twin.lif(params, current, recurrent, refractory=refractory, integrator=integrator)
    assert z.sum() > 20
    margin = np.abs(v - params["threshold"]).min()
    assert margin > 1e-5  # of membranes that float32 knows to better than 1e-5: no spike can flip
    neuron = LIF(**params, dt=DT, t_ref=refractory * DT, integrator=integrator)
    synapses = None if recurrent is None else Recurrent(recurrent)
    for sequence in (neuron.sequence, super(LIF, neuron).sequence):  # by hand, and any neuron's
        run = jax.jit(partial(sequence, neuron, membrane=True))
        fired, u = run(current, synapses)
        np.testing.assert_array_equal(fired, z)
        np.testing.assert_allclose(u, v, rtol=0, atol=1e-5)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_scalar_parameters_are_those_of_every_neuron(integrator):
    _, current, _ = drawn()
    nominal = {"tau_mem": 6e-6, "tau_syn": 5.7e-6, "leak": 0.0, "reset": 0.0, "threshold": 1.0}
    v, z = twin.lif(nominal, current, integrator=integrator)
    assert np.abs(v - 1).min() > 1e-5 and z.sum() > 20
    np.testing.assert_array_equal(lif(LIFParams(), current, integrator=integrator), z)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_leaky_integrators_are_the_twins_and_the_sequence_is_the_scan(integrator):
    params, current, _ = drawn()
    params = {name: params[name] for name in ("tau_mem", "tau_syn", "leak")}
    v = li(LIParams(**params), current, integrator=integrator)
    np.testing.assert_allclose(v, twin.li(params, current, integrator=integrator), atol=1e-5)
    step = partial(li_step, LIParams(**params), integrator=integrator)
    _, scanned = lax.scan(step, li_state(LIParams(**params), (B, N)), current)
    # Compiled apart, the decays may differ in their last bit, which T steps add up.
    np.testing.assert_allclose(v, scanned, rtol=0, atol=T * 2.0**-23)


def test_one_dt_lies_between_input_and_effect_in_euler_only():
    current = jnp.zeros((3, 1, 1)).at[0].set(1.0)
    v = li(LIParams(), current, integrator="euler")[:, 0, 0]
    assert v[0] == 0 and v[1] == pytest.approx(1 / 6, rel=1e-6)
    v = li(LIParams(), current)[:, 0, 0]
    assert v[0] == pytest.approx(1 - np.exp(-1 / 6), rel=1e-6)


@pytest.mark.parametrize("refractory", (0, 1, 3))
def test_a_driven_neuron_waits_out_its_refractory_time(refractory):
    current = jnp.full((20, 1, 1), 1000.0)  # above threshold in every step
    z = lif(LIFParams(), current, t_ref=refractory * DT)[:, 0, 0]
    np.testing.assert_array_equal(np.flatnonzero(z), np.arange(0, 20, refractory + 1))


@pytest.mark.parametrize(("integrator", "refractory", "back"), HALF)
def test_sequence_and_its_handwritten_gradient_are_those_of_the_scanned_step(
    integrator, refractory, back
):
    params, current, recurrent = drawn(back)
    params, kwargs = LIFParams(**params), settings(integrator, refractory)
    weight = np.random.default_rng(4).normal(size=(T, B, N)).astype(np.float32)

    def loss(run, current, recurrent):
        z = run(params, current, recurrent, **kwargs)
        return (weight * z).sum(), z

    def gradients(run):
        wanted = (0, 1) if back else (0,)
        return jax.jit(jax.grad(partial(loss, run), wanted, has_aux=True))(current, recurrent)

    (ours, z), (theirs, z_scanned) = gradients(lif), gradients(stepped)
    np.testing.assert_array_equal(z, z_scanned)
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(b).max() > 1e-2
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize(("integrator", "refractory"), [("exponential", 0), ("euler", 3)])
def test_gradients_of_every_parameter_are_those_of_the_scanned_step(integrator, refractory):
    params, current, recurrent = drawn()
    params, kwargs = LIFParams(**params), settings(integrator, refractory)
    weight = np.random.default_rng(5).normal(size=(T, B, N)).astype(np.float32)

    def gradients(run):
        def loss(params, current):
            return (weight * run(params, current, recurrent, **kwargs)).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(params, current)

    (ours, ours_x), (theirs, theirs_x) = gradients(lif), gradients(stepped)
    for name in ("tau_mem", "tau_syn", "leak", "reset", "threshold"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert np.abs(b).max() > 1e-3, name
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max(), err_msg=name)
    np.testing.assert_allclose(ours_x, theirs_x, rtol=1e-4, atol=1e-4 * np.abs(theirs_x).max())


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_groups_of_synapses_are_neurons_driven_by_the_sum_of_their_filters(integrator):
    """Without refractory time and recurrence: each group filtered by itself, by the twin."""
    params, _, _ = drawn(recurrent=False)
    rng = np.random.default_rng(6)
    current = rng.normal(0.18, 0.4, (T, B, 2, N)).astype(np.float32)
    tau = rng.uniform(3e-6, 9e-6, (2, N)).astype(np.float32)
    grouped = LIFParams(**params | {"tau_syn": jnp.asarray(tau)})
    z = lif(grouped, current, dt=DT, integrator=integrator)
    # The twin has one group: its current is made so that its filter gives the sum of both.
    keep = 1 - DT / tau if integrator == "euler" else np.exp(-DT / tau.astype(np.float64))
    i = np.zeros((B, 2, N))
    total = []
    for x in current:
        i = i * keep + x
        total.append(i.sum(1))
    total = np.stack(total)
    one = keep[0]  # the twin's own decay
    before = np.concatenate([np.zeros((1, B, N)), total[:-1]])
    v, expected = twin.lif(
        params | {"tau_syn": tau[0]}, total - before * one, integrator=integrator
    )
    assert np.abs(v - params["threshold"]).min() > 1e-6 and expected.sum() > 20
    np.testing.assert_array_equal(z, expected)


@pytest.mark.parametrize(("integrator", "refractory", "back"), HALF)
def test_groups_have_the_gradient_of_the_scanned_step(integrator, refractory, back):
    params, _, recurrent = drawn(back)
    rng = np.random.default_rng(7)
    current = jnp.float32(rng.normal(0.18, 0.4, (T, B, 2, N)))
    weight = rng.normal(size=(T, B, N)).astype(np.float32)
    params["tau_syn"] = jnp.float32([[4e-6], [8e-6]])
    kwargs = settings(integrator, refractory)

    def scanned(params, current, recurrent):
        def step(carry, x):
            state, z = carry
            x = x if recurrent is None else x.at[:, 1].add(z @ recurrent)
            state, z = lif_step(params, state, x, **kwargs)
            return (state, z), z

        start = lif_state(params, (B, N)), jnp.zeros((B, N))
        return lax.scan(step, start, current)[1]

    def gradients(run, params):
        def loss(current, recurrent):
            z = run(LIFParams(**params), current, recurrent)
            return (weight * z).sum(), z

        wanted = (0, 1) if back else (0,)
        return jax.jit(jax.grad(loss, wanted, has_aux=True))(current, recurrent)

    (ours, z), (theirs, z_scanned) = (
        gradients(run, params) for run in (partial(lif, **kwargs), scanned)
    )
    np.testing.assert_array_equal(z, z_scanned)
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(b).max() > 1e-2
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_currents_without_their_groups_are_refused():
    with pytest.raises(ValueError, match="axis of 2 groups"):
        lif(LIFParams(tau_syn=jnp.full((2, 1), 5e-6)), jnp.zeros((T, 3, N)))


@dataclass(frozen=True)
class Through:
    """Pretends that a spike is its membrane: the gradient of z is then that of u."""

    def derivative(self, x):
        return jnp.ones_like(x)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("refractory", (0, 3))
def test_where_no_spike_flips_gradients_are_finite_differences(integrator, refractory):
    """Of the membranes, in float64: piecewise linear in the current, the difference is exact."""
    params, current, _ = drawn()
    rng = np.random.default_rng(6)
    weight, direction = rng.normal(size=(2, T, B, N))

    def run(by):
        moved = current + by * direction
        return twin.lif(params, moved, refractory=refractory, integrator=integrator)

    (up, z_up), (down, z_down) = run(1e-6), run(-1e-6)
    np.testing.assert_array_equal(z_up, z_down)
    slope = (weight * (up - down)).sum() / 2e-6
    neuron = LIF(**params, dt=DT, t_ref=refractory * DT, integrator=integrator)
    _, pull = jax.vjp(lambda x: neuron.sequence(neuron, x, surrogate=Through()).spikes, current)
    (dx,) = pull(weight.astype(np.float32))
    # Each of T B N products is rounded about T times at most, with random signs.
    bound = 100 * 2.0**-24 * np.abs(np.float64(dx) * direction).sum()
    assert abs((np.float64(dx) * direction).sum() - slope) < bound


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_gradient_of_leaky_integrators_is_autodiff_and_finite_difference(integrator):
    params, current, _ = drawn()
    own = {name: params[name] for name in ("tau_mem", "tau_syn", "leak")}
    rng = np.random.default_rng(7)
    weight, direction = rng.normal(size=(2, T, B, N))
    by_hand = li_gradient(LI(**own, dt=DT, integrator=integrator), weight.astype(np.float32))

    def run(current):
        step = partial(li_step, LIParams(**own), integrator=integrator)
        return lax.scan(step, li_state(LIParams(**own), (B, N)), current)[1]

    (dx,) = jax.vjp(run, current)[1](weight.astype(np.float32))
    np.testing.assert_allclose(by_hand, dx, rtol=1e-4, atol=1e-5)
    up, down = (twin.li(own, current + s * direction, integrator=integrator) for s in (1, -1))
    slope = (weight * (up - down)).sum() / 2  # linear: any step will do
    bound = 100 * 2.0**-24 * np.abs(np.float64(dx) * direction).sum()
    assert abs((np.float64(dx) * direction).sum() - slope) < bound


SURROGATES = {
    SuperSpike(50.0): lambda x: 1 / (50 * abs(x) + 1) ** 2,
    Arctan(2.0): lambda x: 1 / (1 + (np.pi * x) ** 2),
    Triangle(0.5, 0.3): lambda x: 0.3 * max(0.0, 1 - abs(x) / 0.5),
    Gaussian(0.5): lambda x: np.exp(-(x**2) / 0.5) / (0.5 * np.sqrt(2 * np.pi)),
    Box(0.5): lambda x: float(abs(x) < 0.25),
}


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_a_spike_is_a_step_and_its_derivative_the_documented_formula(surrogate):
    x = np.float32([-1e30, -40, -1, -0.3, -0.1, -1e-6, 0, 1e-6, 0.1, 0.3, 1, 40, 1e30])
    z, dz = jax.vmap(jax.value_and_grad(partial(spike, surrogate=surrogate)))(x)
    np.testing.assert_array_equal(z, x > 0)
    assert z.dtype == dz.dtype == jnp.float32
    assert np.isfinite(dz).all() and (dz >= 0).all()
    near = np.abs(x) < 1e3
    expected = [SURROGATES[surrogate](float(value)) for value in x[near]]
    np.testing.assert_allclose(dz[near], expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_in_one_step_a_flip_has_the_surrogates_gradient(surrogate):
    params = LIFParams()
    keep = np.exp(-1 / 6)
    run = jax.jit(jax.value_and_grad(lambda x: lif(params, x, surrogate=surrogate).sum()))
    for distance in (-0.05, -1e-3, 1e-3, 0.05):
        x = jnp.full((1, 1, 1), (1 + distance) / (1 - keep), jnp.float32)
        z, dx = run(x)
        assert z == (distance > 0)
        u = float(x[0, 0, 0]) * (1 - keep) - 1
        # The membrane is known to an ulp of 1; the steepest surrogate multiplies that by 100.
        assert dx[0, 0, 0] == pytest.approx((1 - keep) * SURROGATES[surrogate](u), rel=1e-4)


def test_the_reset_carries_no_gradient():
    """A spike in step 0; without the path through the reset step 1 knows nothing of step 0's v."""
    params = LIFParams(tau_syn=1e-9)  # the current of a step is forgotten in the next
    current = jnp.array([8.0, 3.0])[:, None, None]
    dx = jax.grad(lambda x: lif(params, x, surrogate=SuperSpike(5.0))[1].sum())(current)
    assert dx[0, 0, 0] == 0 and dx[1, 0, 0] > 0


def test_mapping_and_jitting_a_population_change_nothing():
    params, current, recurrent = drawn()
    kwargs = settings("exponential", 1)
    several = np.stack([current, current[::-1]])
    thresholds = np.stack([params["threshold"], params["threshold"] + 0.2])
    params = LIFParams(**params)

    @jax.jit
    def gradient(threshold, current):
        def loss(current, recurrent):
            z = lif(replace(params, threshold=threshold), current, recurrent, **kwargs)
            return (z * jnp.arange(T)[:, None, None]).sum()

        return jax.grad(loss, (0, 1))(current, recurrent)

    mapped = jax.jit(jax.vmap(gradient))(thresholds, several)
    for i in range(2):
        for a, b in zip(mapped, gradient(thresholds[i], several[i]), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
