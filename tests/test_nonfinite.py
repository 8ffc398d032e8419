"""Numbers that go wrong in a training: where they began is named, and nothing is spoilt by them."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small import (
    CHIP,
    KEY,
    SMALL,
    START,
    STILL,
    TASK,
    TRAINING,
    VALIDATION,
    phase,
    train,
    weight,
)  # fmt: skip

from bss2jax.networks import Activations, Dense, Network, build
from bss2jax.training import NonFinite, Objective, Samples, Variables, evaluate, loop
from bss2jax.training import step as steps_of
from bss2jax.training.diagnose import diagnose

ORDER = np.asarray(steps_of.epoch_order(KEY, 1, 96))
# A sample of the second batch of 32 in the first epoch, and one that is not a number.
BROKEN = replace(TRAINING, x=TRAINING.x.at[ORDER[40]].set(jnp.nan))


@pytest.mark.parametrize("on", ["float", pytest.param("ideal", marks=pytest.mark.slow), "chip"])
def test_a_step_that_is_not_finite_stops_the_phase_and_changes_nothing(on):
    states = []
    with pytest.raises(NonFinite) as failed:
        loop.train(
            TASK, phase(on=on, optimizer="sgd"), START, CHIP, BROKEN, VALIDATION, KEY,
            on_step=lambda progress: states.append(weight(progress.state.variables)),
        )  # fmt: skip
    error = failed.value
    assert (error.step, error.epoch) == (2, 1)
    assert "the loss is nan" in str(error) and "input of the network" in str(error)
    assert set(error.saturation.get("dense_0", ())) == (
        set() if on == "float" else {"inputs", "weights", "sums", "outputs"}
    )
    assert len(states) == 3 and np.isfinite(states[-1]).all()
    assert (states[0] != weight(START)).any()
    # Steps that the host had sent on its way change nothing either.
    assert_array_equal(states[1], states[0])
    assert_array_equal(states[2], states[0])


def test_a_tile_of_a_devices_part_need_not_divide_the_batch():
    given = phase(optimizer="sgd")
    state = loop.begin(given, START, 96).state
    found = diagnose(TASK, given, state, BROKEN, jnp.asarray(ORDER), 1, CHIP, KEY, tile=11)
    assert found.step == 2 and "input of the network" in str(found)


def test_the_host_looks_within_an_epoch(monkeypatch):
    monkeypatch.setattr(loop, "_LOOK", -1.0)
    steps = []
    with pytest.raises(NonFinite, match=r"^step 2 \(epoch 1\)"):
        loop.train(
            TASK, phase(), START, CHIP, BROKEN, VALIDATION, KEY,
            on_step=lambda progress: steps.append(progress.step),
        )  # fmt: skip
    assert steps == [1, 2]


def test_skip_drops_the_step_and_counts_it():
    kept, figures, _ = train(training=BROKEN, on_nonfinite="skip", epochs=3, keep="last")
    assert np.isfinite(weight(kept)).all()
    assert [epoch.skipped for epoch, _, _ in figures] == [1, 1, 1]
    clean, whole, _ = train(epochs=3, keep="last")
    assert [epoch.skipped for epoch, _, _ in whole] == [0, 0, 0]
    assert (weight(clean) != weight(kept)).any()


def test_the_figures_of_an_epoch_leave_out_what_is_skipped():
    still = STILL | {"on": "ideal", "batch_size": 32, "on_nonfinite": "skip", "epochs": 1}
    _, figures, _ = train(training=BROKEN, **still)
    seen = np.concatenate([ORDER[:32], ORDER[64:]])
    rest = Samples(TRAINING.x[seen], TRAINING.y[seen])
    expected = evaluate(TASK, START, rest, None, None, on="ideal")
    assert_allclose(figures[0][0].train_loss, expected.loss, rtol=1e-5)
    assert_allclose(figures[0][0].train_accuracy, expected.accuracy, rtol=1e-6)


def test_skip_gives_up_where_no_step_of_an_epoch_is_finite():
    broken = replace(TRAINING, x=TRAINING.x * jnp.nan)
    with pytest.raises(NonFinite, match=r"^step 1 \(epoch 1\)"):
        train(training=broken, on_nonfinite="skip")


DEEP = build(
    [
        Dense(outputs=8, activation="relu", bias=True),
        Dense(outputs=5, bias=True),
        Dense(outputs=3, bias=True),
    ],
    Activations((12,), SMALL),
)


@dataclass(frozen=True)
class Broken(Network):
    """A network with the gradient of one layer's weights made infinite."""

    layer: str = ""

    def apply(self, params, *arguments, **settings):
        @jax.custom_vjp
        def same(w):
            return w

        same.defvjp(lambda w: (w, None), lambda _, g: (g * jnp.inf,))
        weight = same(params[self.layer]["weight"])
        changed = params | {self.layer: params[self.layer] | {"weight": weight}}
        return super().apply(changed, *arguments, **settings)


def broken_backward(layer):
    return Broken(DEEP.input, DEEP.nodes, layer=layer)


# The first and the last layer; the one between them is slow, as compiling a network anew is.
each_layer = pytest.mark.parametrize(
    "layer", ["dense_0", pytest.param("dense_1", marks=pytest.mark.slow), "dense_2"]
)


def reason(network=DEEP, change=lambda params: params, task=TASK, **settings):
    """Why a training of the deep network fails."""
    start = Variables(change(DEEP.init(KEY)), {})
    with pytest.raises(NonFinite) as failed:
        train(task=replace(task, network=network), start=start, **settings)
    return failed.value.reason


@each_layer
def test_a_failure_names_the_layer_whose_parameters_began_it(layer):
    def change(params):
        bias = params[layer]["bias"].at[1].set(jnp.nan)
        return params | {layer: params[layer] | {"bias": bias}}

    assert f"began in layer {layer}, with its parameters" in reason(change=change)


@each_layer
def test_a_failure_names_the_layer_whose_gradient_began_it(layer):
    said = reason(broken_backward(layer))
    assert f"the gradient is not finite in {layer};" in said
    assert f"began in layer {layer}, with its gradient" in said


def test_a_failure_names_the_objective_or_the_update_where_they_began_it():
    objective = Objective(scale=1e38)
    assert "began in the objective" in reason(task=replace(TASK, objective=objective), on="float")
    # Plain descent takes a bias beyond float32 where its gradient is above 1; weights are cut.
    steep = replace(TASK, objective=Objective(scale=100.0))
    said = reason(learning_rate=3e38, optimizer="sgd", on="float", task=steep)
    assert "the gradient is finite; it began in layer dense_" in said and "update" in said


@pytest.mark.parametrize("optimizer", ["lion", "sgd"])
def test_a_gradient_that_an_optimizer_would_hide_is_found(optimizer):
    # The sign of infinity is 1, and a weight that moved by it is cut at 63.
    assert "dense_1" in reason(broken_backward("dense_1"), optimizer=optimizer)
