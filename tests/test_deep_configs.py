"""Configs of deep networks: their sizes, what they cost a chip, and two steps of their training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bss2jax as b
from bss2jax import config
from bss2jax.mapping.cost import estimate
from bss2jax.networks import build
from bss2jax.training.phase import make_optimizer
from bss2jax.training.step import compiled_step, epoch_order, fresh
from bss2jax.training.task import Samples, Task

# Layers with weights and millions of parameters: of the shapes as published, 19 and 50 layers.
SIZES = {"cifar10_resnet19": (19, 12.6, 10), "cifar100_resnet50": (50, 23.7, 100)}


def network_of(name, *overrides):
    of, _ = config.load(name, list(overrides))
    return of, build(of.layers, (32, 32, 3))


@pytest.mark.parametrize("name", SIZES)
def test_they_are_of_the_published_sizes(name):
    depth, millions, classes = SIZES[name]
    params = jax.eval_shape(network_of(name)[1].init, jax.random.key(0))
    assert sum("weight" in own for own in params.values()) == depth
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6 == pytest.approx(
        millions, abs=0.05
    )
    assert network_of(name)[1].shapes[-1] == (classes,)


# Slow: a plan of a million neurons, minutes of compilation.
@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_they_are_planned_and_two_steps_change_all_parameters(name):
    of, network = network_of(name, "phases.0.batch_size=2", "phases.0.precision=float32")
    cost = estimate(network.plan)
    # Each configuration takes its time axis and 71 us.
    assert cost.seconds == pytest.approx(
        network.plan.configurations * (71e-6 + of.layers[0].steps * of.layers[0].dt)
    )
    assert cost.joules[0] == pytest.approx(0.2 * cost.seconds)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 256, (4, 32, 32, 3)), jnp.uint8)
    data = Samples(x, jnp.asarray(rng.integers(0, SIZES[name][2], 4), jnp.int32))
    task, phase = Task(network, 255.0, objective=of.objective), of.phases[0]
    first = task.initial(jax.random.key(0))
    state = fresh(jax.tree.map(jnp.copy, first), make_optimizer(phase, 4).init(first.params))
    given = b.sample_chip(jax.random.key(0)), jax.random.key(1)
    step = compiled_step(task, phase, state, data, *given)
    whole = network_of(name)[0].phases[0].batch_size  # on a GPU of 80 GB, even in float32
    assert step.temporaries / 2 * whole < 80e9
    done = jnp.int32(0)
    for _ in range(2):
        state, done = step.call(state, data, epoch_order(given[1], 1, 4), done, *given)
    assert int(done) == 2
    assert int(state.taken) == 2 and jnp.isfinite(state.loss)
    changed = jax.tree.map(lambda one, other: (one != other).any(), first, state.variables)
    assert jax.tree.all(changed)
