"""Batch norm of input currents: what it computes, and that folding it changes nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bss2jax as b
from bss2jax.kernels.norm import EPSILON, Moments, batch_norm, fold
from bss2jax.kernels.synapses.base import product
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.given import sent_of
from bss2jax.kernels.synapses.summed import Summed
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.mapping.plan import as_matrix
from bss2jax.networks import (
    LI,
    LIF,
    ConvLIF,
    DelayedLIF,
    Flatten,
    MeanOverTime,
    Pool,
    Regular,
    build,
    fold_norms,
    nir,
)

SMALL = b.Substrate(rows=16, columns=32)
TIMES = {"tau_mem": 2e-6, "tau_syn": 1e-6}
LAYERS = [
    Regular(steps=5, dt=1e-6),
    ConvLIF(outputs=4, window=3, stride=2, padding=1, norm="batch", **TIMES),
    LIF(outputs=6, norm="batch", **TIMES),
    LI(outputs=2),
    MeanOverTime(),
]
NETWORK = build(LAYERS, (8, 8, 1), substrate=SMALL)
PLAIN, RNG = ("conv_lif_0", "lif_0"), np.random.default_rng(4)
X = jnp.asarray(RNG.random((1000, 8, 8, 1)), jnp.float32)


def trained():
    """Parameters and running means such as a training leaves: of all sizes, and none at 0."""
    params, state = NETWORK.init(jax.random.key(0)), NETWORK.state()
    draw = lambda p, low, high: jnp.asarray(RNG.uniform(low, high, p.shape), jnp.float32)  # noqa: E731
    for name in PLAIN:
        params[name] |= {"gamma": params[name]["gamma"] * draw(params[name]["gamma"], 0.3, 2)}
        params[name] |= {"beta": draw(params[name]["beta"], -0.3, 0.5)}
        state[name] = {
            "mean": draw(state[name]["mean"], -0.2, 0.2),
            "var": draw(state[name]["var"], 0.02, 0.8),
        }
    return params, state


PARAMS, STATE = trained()


@partial(jax.jit, static_argnames=("network", "on", "training", "observe", "precision"))
def run(network, params, state, x, chip=None, key=None, **how):
    return network.apply(params, state, x, chip, key, **how)


def test_moments_and_gradient_are_those_of_the_formula():
    x = jnp.asarray(RNG.normal(0.3, 2.0, (5, 7, 4)), jnp.float32)
    gamma, beta = jnp.asarray(RNG.normal(1, 0.4, (2, 4)), jnp.float32)
    weigh = jnp.asarray(RNG.normal(size=x.shape), jnp.float32)

    def plain(x, gamma, beta):
        mean, var = x.mean((0, 1)), x.var((0, 1))
        return (x - mean) / jnp.sqrt(var + EPSILON) * gamma + beta

    loss = lambda of: lambda *args: (of(*args) * weigh).sum()  # noqa: E731
    y, seen = batch_norm(x, gamma, beta)
    np.testing.assert_allclose(y, plain(x, gamma, beta), atol=1e-5)
    np.testing.assert_allclose(seen.var, x.var((0, 1)), rtol=1e-5)
    ours = jax.grad(loss(lambda *args: batch_norm(*args)[0]), argnums=(0, 1, 2))(x, gamma, beta)
    theirs = jax.grad(loss(plain), argnums=(0, 1, 2))(x, gamma, beta)
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_folded_currents_are_those_that_were_normalised():
    w, known = PARAMS["lif_0"], STATE["lif_0"]
    spikes = jnp.asarray(RNG.random((1000, len(w["weight"]))) < 0.3, jnp.float32)
    factor, bias = fold(w["weight"], w["gamma"], w["beta"], Moments(**known))
    current = np.float64(spikes) @ np.float64(w["weight"])
    normal = (current - known["mean"]) / np.sqrt(known["var"] + EPSILON) * w["gamma"] + w["beta"]
    assert np.abs(spikes @ factor + bias - normal).max() <= 1e-5 * np.abs(normal).max()


def test_spikes_of_the_folded_network_are_those_of_the_normalised_one():
    *_, records = run(NETWORK, PARAMS, STATE, X, on="float", observe=("spikes",))
    z = {name: records[name]["spikes"].reshape(5, 1000, -1) for name in PLAIN}
    own, known = PARAMS["lif_0"], STATE["lif_0"]
    current = jnp.einsum("tbk,kn->tbn", z["conv_lif_0"], own["weight"], precision="highest")
    factor = own["gamma"] / jnp.sqrt(known["var"] + EPSILON)
    sent = Summed((current - known["mean"]) * factor + own["beta"])
    again = b.population(sent, jnp.zeros((0, 6)), b.LIF(**TIMES, dt=1e-6)).spikes
    assert 0.02 < again.mean() < 0.6 and (again == z["lif_0"]).mean() >= 0.9999


def test_training_on_float_normalises_by_the_batch_and_keeps_running_means():
    x, state = X[:20], NETWORK.state()
    after = run(NETWORK, PARAMS, state, x, on="float", training=True)[1]
    first, layer = NETWORK.nodes[0], NETWORK.nodes[1].layer
    spikes = first.after.shaped(first.layer.draw(NETWORK.input.flat(x), None))
    fields = layer.fields(spikes, first.after)
    current = np.asarray(fields @ as_matrix(PARAMS["conv_lif_0"]["weight"])).reshape(-1, 4)
    for name, value in (("mean", current.mean(0)), ("var", current.var(0))):
        expected = 0.9 * state["conv_lif_0"][name] + 0.1 * value
        np.testing.assert_allclose(after["conv_lif_0"][name], expected, rtol=1e-4, atol=1e-6)


def test_a_network_without_its_norms_is_the_same():
    network, params, state = fold_norms(NETWORK, PARAMS, STATE)
    assert state == {} and network.state() == {} and not network.across_samples
    assert jax.tree.structure(network.init(jax.random.key(0))) == jax.tree.structure(params)
    ours, after, _ = run(NETWORK, PARAMS, STATE, X[:20], on="ideal")
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after, STATE))
    theirs = run(network, params, {}, X[:20], on="ideal")[0]
    assert jnp.array_equal(ours, theirs) and jnp.ptp(ours) > 0
    assert list(network.plan.pieces) == list(NETWORK.plan.pieces)
    codes = network.nodes[2].layer.codes(params["lif_0"], *network.nodes[2].before)["weight"]
    assert (jnp.abs(codes).max(0) == 63).all()


@pytest.mark.slow  # a normed network on a chip is compiled forward and back
def test_in_the_loop_every_parameter_learns_at_frozen_means():
    chip = b.sample_chip(jax.random.key(1), substrate=SMALL)

    def loss(params):
        args = X[:20], chip, jax.random.key(2)
        scores, after, _ = run(NETWORK, params, STATE, *args, on="chip", training=True)
        return jnp.square(scores - 1).sum(), after

    slope, after = jax.grad(loss, has_aux=True)(PARAMS)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after, STATE))
    for name in PLAIN:
        assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(slope[name]))


def test_a_neurons_own_scale_is_of_all_its_weights():
    w = jnp.asarray(RNG.normal(size=(2, 9, 5)) * [1, 0.01, 3, 1e-4, 0.2], jnp.float32)
    codes = Codes("neuron")
    shown, unit = codes.shown(w), codes.unit(w)
    assert unit.shape == (2, 5) and (jnp.abs(shown).max(1) == 63).all()
    assert (jnp.abs(shown * unit[:, None] - w) <= 0.501 * unit[:, None]).all()


@pytest.mark.slow  # two more networks to compile
def test_folded_networks_go_to_nir_and_back(tmp_path):
    layers = [*LAYERS[:2], Pool(mode="mean", window=2), Flatten(channels_first=True), *LAYERS[2:]]
    network = build(layers, (8, 8, 1), substrate=SMALL)
    params = network.init(jax.random.key(0))
    state = {name: known | {"var": 0.02 * known["var"]} for name, known in network.state().items()}
    nir.write(network, params, state, tmp_path / "graph.nir")
    back = nir.read(tmp_path / "graph.nir", dt=1e-6, convention="norse")
    z = jnp.asarray(np.random.default_rng(7).random((5, 30, 8, 8, 1)) < 0.4, jnp.float32)
    plain, learned, _ = fold_norms(network, params, state)
    inner = build([n.layer for n in plain.nodes[1:-1]], plain.nodes[0].after)
    ours = run(inner, learned, {}, z, on="float")[0]
    theirs = run(back.network(5, substrate=SMALL), back.params, back.state, z, on="float")[0]
    assert jnp.ptp(ours) > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"bias": True}, "bias: a norm has one already"),
        ({"recurrent": True}, "norm: a recurrent population"),
        ({"norm": None, "weight_scale": "neuron", "weight_clamp": "soft"}, "weight_clamp"),
    ],
)
def test_what_cannot_be_normalised_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build([Regular(), LIF(**{"outputs": 2, "norm": "batch"} | settings), LI(outputs=2)], (3,))


def test_delayed_neurons_have_no_norm():
    with pytest.raises(ValueError, match="norm: it is of lif and conv_lif layers"):
        build([Regular(), DelayedLIF(outputs=2, norm="batch"), LI(outputs=2)], (3,))


def test_convolutions_of_less_precision_are_those_of_float32_but_for_rounding():
    """8 bits of each factor and of the product: within 1.2 % of the largest one."""
    shape = (3, 4, 6, 6, 5)
    z = jnp.asarray(RNG.random(shape) < 0.4, jnp.float32)
    w = jnp.asarray(RNG.normal(size=(45, 8)), jnp.float32)
    dy = jnp.asarray(RNG.normal(size=(3, 4, 6 * 6 * 8)), jnp.float32)

    @partial(jax.jit, static_argnames="precision")
    def all_of(z, w, dy, precision):
        sent = lambda z: sent_of(Windows(z, (3, 3), 1, 1, precision), 45)  # noqa: E731
        y, back = jax.vjp(lambda z, w: product(sent(z), w), z, w)
        return y, *back(dy.astype(y.dtype))

    exact, rounded = all_of(z, w, dy, "float32"), all_of(z, w, dy, "bfloat16")
    assert [a.dtype.name for a in rounded] == ["bfloat16", "float32", "float32"]
    for one, other in zip(exact, rounded):
        assert jnp.abs(one - other.astype(jnp.float32)).max() <= 0.012 * jnp.abs(one).max()


@pytest.mark.slow  # compiles the training twice; the test before has what is new in it
def test_training_of_less_precision_takes_the_same_direction():
    def slope(precision):
        def loss(params):
            settings = {"on": "float", "training": True, "precision": precision}
            return jnp.square(run(NETWORK, params, STATE, X[:20], **settings)[0] - 1).sum()

        return jnp.concatenate([g.ravel() for g in jax.tree.leaves(jax.grad(loss)(PARAMS))])

    one, other = slope("float32"), slope("bfloat16")
    assert one @ other >= 0.98 * jnp.linalg.norm(one) * jnp.linalg.norm(other)
