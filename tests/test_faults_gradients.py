"""Gradients say what they are: the nominal one, or an error that names what has none."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bss2jax as b
from bss2jax.training import keep_in_range

SMALL = b.Substrate(rows=4, columns=6)
SPIKES = jnp.asarray(np.random.default_rng(0).random((12, 2, 3)) < 0.7, jnp.float32)
WEIGHTS = jnp.asarray([[0.5, 0.3], [0.4, 0.6], [0.7, 0.2]])
X, W = jnp.full((1, 3), 10.0), jnp.full((3, 2), 20.0)
CODES = b.Codes(substrate=SMALL)


@cache
def chip():
    with jax.ensure_compile_time_eval():  # whoever asks first may be traced
        return b.sample_chip(jax.random.key(1), substrate=SMALL)


@cache
def circuits():
    with jax.ensure_compile_time_eval():
        return b.on_chip(chip(), 3, 2, substrate=SMALL)


@pytest.mark.parametrize("where", ["floats", "codes", "chip"])
@pytest.mark.parametrize("neuron", [b.LIF, b.LI])
def test_parameters_of_neurons_have_a_gradient_wherever_they_run(neuron, where):
    """12: it was 0 with codes and on a chip."""
    names = ["tau_mem", "tau_syn", "leak", "reset", "threshold"][: 5 if neuron.fires else 3]
    given = {name: jnp.float32(getattr(neuron(), name)) for name in names}

    @jax.jit
    @jax.grad
    def slope(params):
        recording = b.population(
            SPIKES, WEIGHTS, neuron(**params), circuits() if where == "chip" else None,
            codes=None if where == "floats" else CODES, observe=("membrane",),
        )  # fmt: skip
        return recording.membrane.sum() + (recording.spikes.sum() if neuron.fires else 0)

    assert all(float(d) != 0 for d in slope(given).values())


@pytest.mark.parametrize(
    "call, at, word",
    [
        (lambda c: b.matmul(X, W, c, substrate=SMALL), chip, "chip"),
        (lambda x: b.matmul(x, b.program(W, None), None), X, "Programmed"),
        (lambda w: b.matmul(X, b.program(w, None), None), W, "program"),
        (
            lambda tau: run_on(replace(circuits().neurons, tau_mem=tau)),
            lambda: circuits().neurons.tau_mem,
            "circ",
        ),
        (
            lambda x: b.population(b.latency(x, 4), WEIGHTS, b.LIF(), steps=4).spikes,
            X / 20,
            "spike",
        ),
        (lambda x: b.population(b.Lazy(x, 2, twice), WEIGHTS, b.LIF()).spikes, X / 20, "coded"),
        (lambda x: b.spike_time(x, 1e-6, 0.0, 2e-6).time.astype(float), X / 20, "spike times"),
        (lambda x: b.delta(x, 2, 0.1), jnp.ones((1, 4, 2)), "delta"),
        (lambda z: b.to_events(z, 2).time.astype(float), SPIKES, "events"),
    ],
)
def test_what_has_no_gradient_raises_an_error_that_names_it(call, at, word):
    at = at() if callable(at) else at
    for run in (lambda f: f, jax.jit):
        with pytest.raises(TypeError, match=f"{word}.*has no gradient") as error:
            run(jax.grad(lambda x: jax.tree.leaves(call(x))[0].sum()))(at)
        assert "\n" not in str(error.value)


def run_on(neurons):
    on = replace(circuits(), neurons=neurons)
    return b.population(SPIKES, WEIGHTS, b.LIF(), on, codes=CODES).spikes


def twice(x):
    return jnp.stack([x > 0.2] * 2).astype(jnp.float32)


def test_a_stopped_gradient_is_none():
    stopped = jax.lax.stop_gradient(chip())
    loss = lambda w, c: b.matmul(X, w, jax.lax.stop_gradient(c), substrate=SMALL).sum()  # noqa: E731
    dw, dc = jax.grad(loss, (0, 1))(W, stopped)
    assert float(abs(dw).max()) > 0 and float(abs(dc.column_gain).max()) == 0


def test_codes_of_several_spikes_pass_the_gradient_of_their_mean():
    x = jnp.full((1, 3), 0.5)
    assert_array_equal(jax.grad(lambda x: b.regular(x, 8, 4).sum())(x), np.full((1, 3), 4.0))
    noisy = lambda x: b.poisson(x, jax.random.key(0), 8).sum()  # noqa: E731
    assert_array_equal(jax.grad(noisy)(x), np.full((1, 3), 8.0))


def test_first_spikes_that_are_not_1_have_a_gradient():
    """What dropout leaves is scaled: no sum of spikes is 1 then."""
    z = jnp.array([0.0, 2.0, 2.0, 0.5])[:, None, None]
    slope = jax.grad(lambda z: b.first_spike(z).sum())(z)
    assert slope[:, 0, 0].tolist() == [0, 1, 0, 0]
    assert jax.grad(lambda z: b.first_spike(z).sum())(0 * z)[:, 0, 0].tolist() == [1, 1, 1, 1]


def test_a_second_derivative_is_that_of_the_nominal_product():
    """y is read out, of slope g x W along W: (y^2)'' = 2 (g x W)^2."""
    second = jax.grad(jax.grad(lambda s: (b.matmul(X, s * W, None) ** 2).sum()))(1.0)
    assert_allclose(second, 2 * np.square(0.002 * (X @ W)).sum(), rtol=1e-6)
    v = jnp.linspace(-1, 1, 5)
    read = lambda v: (b.cadc_trace(v[:, None, None], 1.7e-6, 40.0) ** 2).sum()  # noqa: E731
    assert_array_equal(jnp.diagonal(jax.jacrev(jax.grad(read))(v)), 2)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda w: b.population(SPIKES, w, b.LIF()).spikes, "population"),
        (lambda w: b.population(SPIKES, w, b.LI()).membrane, "population"),
        (lambda w: b.population(SPIKES, w, b.ExactLIF()).spikes, "population"),
        (lambda w: b.matmul(X, w, None, mask_saturated=True), "mask_saturated"),
        (lambda w: b.first_spike(w[:, None]), "first_spike"),
    ],
)
def test_a_second_derivative_that_is_none_raises(call, name):
    twice = lambda s: jax.grad(lambda t: (call(t * WEIGHTS) ** 2).sum())(s)  # noqa: E731
    with pytest.raises(TypeError, match=f"{name}.*second derivative"):
        jax.grad(twice)(1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda w: b.matmul(X, w, None),
        lambda w: b.population(SPIKES, w, b.LIF()).spikes,
        lambda w: b.lif(b.LIFParams(), SPIKES @ w),
        lambda w: b.first_spike(w[:, None]),
    ],
)
def test_forward_mode_says_that_it_is_not_there(call):
    """35."""
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(call, (W,), (W,))


def test_an_optimiser_that_keeps_weights_in_range():
    optimiser = optax.chain(optax.sgd(1.0), keep_in_range())
    params = {"w": jnp.array([60.0, -60.0, 0.0])}
    updates, _ = optimiser.update(
        {"w": jnp.array([-50.0, 50.0, 3.0])}, optimiser.init(params), params
    )
    assert optax.apply_updates(params, updates)["w"].tolist() == [63, -63, -3]
    with pytest.raises(ValueError, match="parameters"):
        optimiser.update({"w": params["w"]}, optimiser.init(params))
