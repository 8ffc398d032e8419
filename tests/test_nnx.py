"""Any layer is a flax module: the same work, with the parameters inside."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from bss2jax import sample_chip
from bss2jax.networks import (
    LI,
    LIF,
    Activations,
    Conv2d,
    ConvLIF,
    Dense,
    Flatten,
    Latency,
    MaxOverTime,
    Pool,
    Regular,
    Spikes,
    Values,
    build,
)
from bss2jax.nnx import Module

ANALOG = [
    Conv2d(outputs=4, window=3, activation="converting_relu", bias=True),
    Pool(window=2),
    Flatten(),
    Dense(outputs=3, bias=True),
]
SPIKING = [
    Latency(steps=12),
    ConvLIF(outputs=3, window=2, init_mean=0.3),
    LIF(outputs=8, recurrent=True, trained=("tau_mem",), init_mean=0.2),
    LI(outputs=3),
    MaxOverTime(),
]


class Chain(nnx.Module):
    """Layers one after the other, as modules."""

    def __init__(self, layers, before, rngs):
        modules = []
        for layer in layers:
            modules.append(Module(layer, before, rngs=rngs))
            before = modules[-1].after
        self.layers = nnx.List(modules)

    def __call__(self, x, **settings):
        for module in self.layers:
            x = module(x, **settings)
        return x


# A module is placed by itself: from circuit 0 on, where a network's populations lie side by side.
@pytest.mark.parametrize(
    ("layers", "before", "on"),
    [
        (ANALOG, Activations((6, 6, 2)), "float"),
        (ANALOG, Activations((6, 6, 2)), "chip"),
        (SPIKING, Values((6, 6, 2)), "float"),
        (SPIKING, Values((6, 6, 2)), "ideal"),
    ],
)
def test_modules_do_what_the_network_of_their_layers_does(layers, before, on):
    chain = Chain(layers, before, nnx.Rngs(0))
    network = build(layers, before)
    params = {
        name: {key: getattr(module, key)[...] for key in module.params}
        for name, module in zip(network.names, chain.layers, strict=True)
    }
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, {n: p for n, p in params.items() if p}) == jax.tree.map(
        lambda leaf: leaf.shape, shapes
    )
    chip = sample_chip(jax.random.key(1)) if on == "chip" else None
    x = before.full_scale * jax.random.uniform(jax.random.key(2), (5, *before.size))
    expected = jax.jit(partial(network.apply, on=on))(params, {}, x, chip)[0]
    got = nnx.jit(lambda chain, x, chip: chain(x, chip=chip, on=on))(chain, x, chip)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.slow  # trains
def test_a_module_learns_under_a_flax_optimizer_on_a_noisy_chip():
    """Which of two halves is brighter; chance is ln 2."""
    rng, label = np.random.default_rng(0), np.arange(40) % 2
    x = rng.uniform(0.1, 0.4, (40, 8))
    x[label == 0, :4] += 0.5
    x[label == 1, 4:] += 0.5
    layers = [
        Regular(steps=20, spikes=8),
        LIF(outputs=12, init_std=0.4),
        LI(outputs=2),
        MaxOverTime(),
    ]
    chain, chip = Chain(layers, Values((8,)), nnx.Rngs(0)), sample_chip(jax.random.key(1))
    optimizer = nnx.Optimizer(chain, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(chain, optimizer, x, key):
        def loss(chain):
            scores = chain(x, chip=chip, key=key)
            return optax.softmax_cross_entropy_with_integer_labels(3 * scores, label).mean()

        value, gradient = nnx.value_and_grad(loss)(chain)
        optimizer.update(chain, gradient)
        return value

    keys = jax.random.split(jax.random.key(2), 30)
    losses = [float(step(chain, optimizer, jnp.float32(x), key)) for key in keys]
    assert np.mean(losses[-5:]) < 0.5 * np.log(2)


def test_a_module_says_its_signals_and_refuses_wrong_ones():
    module = Module(Dense(outputs=7), Activations((20,)), rngs=nnx.Rngs(0))
    assert module.after == Activations((7,)) and module.weight.shape == (20, 7)
    with pytest.raises(ValueError, match="takes values or activations"):
        Module(Dense(outputs=7), Spikes((20,), steps=9, dt=1e-6), rngs=nnx.Rngs(0))
    assert Module(Flatten(), Values((3,)), rngs=nnx.Rngs(0)).params == ()
