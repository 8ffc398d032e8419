"""The loop learns, keeps what it says, and is a function of its seed."""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest

from bss2jax import Mismatch, Substrate, sample_chip
from bss2jax.kernels.coding import encode_activations
from bss2jax.networks import (
    LI,
    LIF,
    Activations,
    Dense,
    Flatten,
    Latency,
    Layer,
    MaxOverTime,
    Network,
    build,
)
from bss2jax.training import (
    Augmentation,
    NonFinite,
    Objective,
    Phase,
    Samples,
    Task,
    Variables,
    accuracy_over_chips,
    evaluate,
    loop,
    tiles,
)
from bss2jax.training import step as steps_of
from bss2jax.training.augment import augment
from bss2jax.training.phase import make_optimizer

SMALL = Substrate(rows=16, columns=8)
NETWORK = build([Dense(outputs=3)], Activations((12,), SMALL))
TASK = Task(NETWORK, 31.0, Mismatch(), SMALL)
CHIP = sample_chip(jax.random.key(1), TASK.mismatch, substrate=SMALL)
KEY = jax.random.key(0)


def clusters(samples, seed):
    """Three classes of 12 values around three centres, with some overlap."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).uniform(0, 31, (3, 12))
    y = rng.integers(0, 3, samples, np.int32)
    x = np.clip(centres[y] + rng.normal(0, 8, (samples, 12)), 0, 31)
    return Samples(jnp.asarray(x, jnp.float32), jnp.asarray(y))


TRAINING, VALIDATION = clusters(96, 1), clusters(50, 2)
START = Variables(NETWORK.init(jax.random.key(3)), {})


def phase(**settings):
    return Phase(**{"on": "ideal", "epochs": 2, "batch_size": 32, "learning_rate": 0.5} | settings)


def train(key=KEY, task=TASK, start=START, training=TRAINING, **settings):
    """Trains through one phase; returns what was kept and what was reported."""
    epochs, steps = [], []
    kept = loop.train(
        task,
        phase(**settings),
        start,
        CHIP,
        training,
        VALIDATION,
        key,
        on_step=lambda progress: steps.append((progress.step, float(progress.state.loss))),
        on_epoch=lambda epoch, progress, best: epochs.append(
            (epoch, weight(progress.state.variables), best)
        ),
    )
    return kept, epochs, steps


def weight(variables):
    return np.asarray(variables.params["dense_0"]["weight"])


def untimed(epochs):
    return [replace(epoch, seconds=0.0) for epoch, _, _ in epochs]


@pytest.mark.parametrize("on", ["float", "ideal", "chip", {"dense_0": "chip"}])
def test_training_learns_on_every_execution(on):
    kept, _, _ = train(on=on, epochs=8, learning_rate=3.0)
    after = evaluate(TASK, kept, VALIDATION, CHIP, KEY, on=on)
    # Three classes: by chance 34 of the 50 would be right once in a million times.
    assert binomtest(round(50 * after.accuracy), 50, 1 / 3, "greater").pvalue < 1e-6
    # Whoever says nothing has a loss of ln 3.
    assert after.loss < math.log(3)


def test_training_leaves_the_parameters_it_was_given():
    before = weight(START).copy()
    train()
    assert_array_equal(weight(START), before)


def test_best_keeps_the_epoch_that_validates_best_and_last_the_last():
    settings = {"on": "chip", "epochs": 5, "learning_rate": 20.0}
    best, epochs, _ = train(**settings, keep="best")
    last, same, _ = train(**settings, keep="last")
    ranks = [(e.validation_accuracy, -e.validation_loss) for e, _, _ in epochs]
    top = ranks.index(max(ranks))
    assert top < 4, "the last epoch is the best: this shows nothing"
    assert_array_equal(weight(best), epochs[top][1])
    assert_array_equal(weight(last), epochs[-1][1])
    assert [flag for _, _, flag in epochs] == [r > max([(-1, 0), *ranks[:i]])
                                               for i, r in enumerate(ranks)]  # fmt: skip
    assert untimed(same) == untimed(epochs)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "lion", "rmsprop", "sgd"])
def test_every_optimizer_takes_two_steps(optimizer):
    kept, _, steps = train(optimizer=optimizer, epochs=1, max_steps=2)
    assert len(steps) == 2
    assert np.isfinite(weight(kept)).all() and (weight(kept) != weight(START)).any()


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", lambda t: 0.5),
        ("linear", lambda t: 0.5 * (1 - t / 12)),
        ("cosine", lambda t: 0.25 * (1 + np.cos(np.pi * t / 12))),
        ("exponential", lambda t: 0.5 * 0.7 ** (t // 3)),
    ],
)
def test_a_schedule_ends_with_the_phase(schedule, expected):
    # Plain descent on a gradient of 1 shows the rate: 4 epochs of 3 steps.
    settings = phase(optimizer="sgd", schedule=schedule, decay=0.7, epochs=4)
    optimizer = make_optimizer(settings, 96)
    state, rates = optimizer.init(jnp.zeros(())), []
    for _ in range(12):
        update, state = optimizer.update(jnp.ones(()), state)
        rates.append(-float(update))
    assert_allclose(rates, [expected(t) for t in range(12)], atol=1e-6)


def test_a_schedule_ends_with_max_steps():
    optimizer = make_optimizer(phase(optimizer="sgd", schedule="linear", max_steps=2), 96)
    state = optimizer.init(jnp.zeros(()))
    for rate in (0.5, 0.25, 0.0):
        update, state = optimizer.update(jnp.ones(()), state)
        assert_allclose(-update, rate)


def test_clip_norm_bounds_the_gradient():
    # Plain descent with rate 1 moves by the gradient.
    settings = {"optimizer": "sgd", "learning_rate": 1.0, "epochs": 1, "max_steps": 1}
    free = weight(train(**settings)[0]) - weight(START)
    bound = float(np.linalg.norm(free)) / 3
    clipped = weight(train(**settings, clip_norm=bound)[0]) - weight(START)
    assert_allclose(clipped, free / 3, rtol=1e-3, atol=1e-4)
    loose = weight(train(**settings, clip_norm=10 * bound)[0]) - weight(START)
    assert_allclose(loose, free, rtol=1e-3, atol=1e-4)


def test_weights_stay_within_what_a_synapse_holds():
    kept, _, _ = train(optimizer="sgd", learning_rate=1e6, keep="last")
    assert np.abs(weight(kept)).max() == SMALL.weight_max == 63


# A rate so small that no weight moves: the loss of a step shows what the step has seen. One batch
# of all samples, so that their order changes no more than the last bits of a sum.
STILL = {"learning_rate": 1e-20, "batch_size": 96, "on": "chip", "optimizer": "sgd"}


def losses(**settings):
    return np.array([loss for _, loss in train(**STILL | {"epochs": 4} | settings)[2]])


def test_resample_draws_another_chip_each_step_and_fixed_keeps_this_runs():
    fixed = losses(noise=False)
    assert_allclose(fixed, fixed[0], rtol=1e-5)
    other = losses(noise=False, chip="resample")
    assert len(np.unique(other.round(3))) == 4 and (np.abs(other - fixed) > 1e-3 * fixed).all()
    assert_array_equal(other, losses(noise=False, chip="resample"))


def test_resample_draws_from_the_tasks_mismatch():
    task = replace(TASK, mismatch=Mismatch.none())
    ideal = losses(on="ideal")
    assert_allclose(losses(task=task, noise=False, chip="resample"), ideal, rtol=1e-5)


def test_resample_changes_nothing_where_nothing_runs_on_the_chip():
    assert_allclose(losses(on="ideal", chip="resample"), losses(on="ideal"), rtol=1e-6)


def test_noise_differs_from_step_to_step_and_goes_where_it_is_off():
    noisy, silent = losses(noise=True), losses(noise=False)
    assert len(np.unique(noisy.round(3))) == 4
    assert_allclose(silent, silent[0], rtol=1e-5)


def test_validation_is_as_noisy_as_the_phase():
    def validation(noise):
        return [epoch.validation_loss for epoch, _, _ in train(**STILL, epochs=1, noise=noise)[1]]

    silent = evaluate(TASK, START, VALIDATION, CHIP, None, on="chip").loss
    assert validation(False) == [silent] != validation(True)


@pytest.mark.parametrize("most, epochs", [(1, [1]), (3, [3]), (4, [3, 4]), (99, [3, 6])])
def test_max_steps_ends_a_phase_early(most, epochs):
    _, figures, steps = train(max_steps=most)
    assert [step for step, _ in steps] == list(range(1, epochs[-1] + 1))
    assert [epoch.step for epoch, _, _ in figures] == epochs


def test_a_batch_larger_than_the_set_is_the_set():
    large, figures, steps = train(batch_size=1000)
    assert len(steps) == 2
    assert_array_equal(weight(large), weight(train(batch_size=96)[0]))
    assert figures[0][0].train_loss < 100


def test_the_figures_of_an_epoch_are_means_over_its_samples():
    _, figures, _ = train(**STILL | {"on": "ideal", "batch_size": 32})
    expected = evaluate(TASK, START, TRAINING, None, None, on="ideal")
    for epoch, _, _ in figures:
        # Every sample once: else the means would not agree.
        assert_allclose(epoch.train_loss, expected.loss, rtol=1e-5)
        assert_allclose(epoch.train_accuracy, expected.accuracy, rtol=1e-6)


def test_an_order_has_every_sample_once_and_differs_by_epoch():
    orders = [np.asarray(steps_of.epoch_order(KEY, epoch, 1000)) for epoch in (1, 2)]
    for order in orders:
        assert_array_equal(np.sort(order), np.arange(1000))
    assert (orders[0] != orders[1]).mean() > 0.9


def test_the_same_seed_gives_the_same_training_to_the_bit_and_another_does_not():
    settings = {"on": "chip", "chip": "resample", "keep": "last"}
    first, figures, _ = train(**settings)
    again, same, _ = train(**settings)
    other, _, _ = train(jax.random.key(1), **settings)
    assert_array_equal(weight(first), weight(again))
    assert untimed(figures) == untimed(same)
    assert (weight(first) != weight(other)).any()


@pytest.mark.parametrize("count", [1, 3, 500, 1037])
def test_evaluation_counts_every_sample_once(count):
    # 1,037: two batches of 500, and one that repeats what it has too few of.
    samples = clusters(count, 5)
    result = evaluate(TASK, START, samples, None, None, on="ideal")
    x = encode_activations(samples.x, 31.0, substrate=SMALL)
    scores = np.asarray(NETWORK.apply(START.params, {}, x, on="ideal")[0], np.float64)
    y = np.asarray(samples.y)
    assert round(result.accuracy * count, 6) == (scores.argmax(-1) == y).sum()
    logits = TASK.objective.scale * scores
    expected = np.log(np.exp(logits).sum(-1)) - logits[np.arange(count), y]
    assert_allclose(result.loss, expected.mean(), rtol=1e-5)


def test_the_confusion_counts_by_label_and_by_highest_score():
    samples = clusters(1037, 5)
    result = evaluate(TASK, START, samples, None, None, on="ideal")
    x = encode_activations(samples.x, 31.0, substrate=SMALL)
    taken = np.asarray(NETWORK.apply(START.params, {}, x, on="ideal")[0]).argmax(-1)
    y = np.asarray(samples.y)
    expected = [[int(((y == a) & (taken == b)).sum()) for b in range(3)] for a in range(3)]
    assert result.confusion == tuple(map(tuple, expected))
    shares = [(taken[y == a] == a).mean() for a in range(3)]
    assert_allclose(result.class_accuracy, shares)
    assert_allclose(result.balanced_accuracy, np.mean(shares))
    assert result.balanced_accuracy != result.accuracy, "balanced: this shows nothing"


def test_a_class_without_samples_has_no_accuracy_and_does_not_count():
    some = np.asarray(VALIDATION.y) != 1
    result = evaluate(
        TASK, START, Samples(VALIDATION.x[some], VALIDATION.y[some]), None, None, on="ideal"
    )
    first, second, third = result.class_accuracy
    assert second is None and result.balanced_accuracy == (first + third) / 2


def test_evaluation_without_a_key_is_silent_and_with_one_repeats():
    def loss(key):
        return evaluate(TASK, START, VALIDATION, CHIP, key, on="chip").loss

    assert loss(None) == loss(None)
    assert loss(KEY) == loss(KEY) != loss(None)
    assert loss(jax.random.key(1)) != loss(KEY)


def test_accuracy_over_chips_is_the_accuracy_on_each():
    keys = jax.random.split(jax.random.key(4), 3)
    chips = jax.vmap(lambda key: sample_chip(key, TASK.mismatch, substrate=SMALL))(keys)
    many = accuracy_over_chips(TASK, START, VALIDATION, chips, KEY, on="chip")
    for i, key in enumerate(jax.random.split(KEY, 3)):
        chip = jax.tree.map(lambda leaf: leaf[i], chips)  # noqa: B023
        one = evaluate(TASK, START, VALIDATION, chip, key, on="chip")
        assert_allclose(many[i], one.accuracy, atol=1e-6)


def test_a_layer_may_run_on_the_chip_while_others_do_not():
    network = build(
        [Dense(outputs=8, activation="converting_relu"), Dense(outputs=3)],
        Activations((12,), SMALL),
    )
    task = replace(TASK, network=network)
    start = task.initial(KEY)

    def loss(on):
        return evaluate(task, start, VALIDATION, CHIP, None, on=on).loss

    mixed = loss({"dense_1": "chip"})
    assert len({mixed, loss("chip"), loss("ideal"), loss({"dense_0": "chip"})}) == 4
    assert mixed == loss({"dense_0": "ideal", "dense_1": "chip"})


# Numbers that go wrong

ORDER = np.asarray(steps_of.epoch_order(KEY, 1, 96))
# A sample of the second batch of 32 in the first epoch, and one that is not a number.
BROKEN = replace(TRAINING, x=TRAINING.x.at[ORDER[40]].set(jnp.nan))


@pytest.mark.parametrize("on", ["float", "ideal", "chip"])
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


def reason(network=DEEP, change=lambda params: params, task=TASK, **settings):
    """Why a training of the deep network fails."""
    start = Variables(change(DEEP.init(KEY)), {})
    with pytest.raises(NonFinite) as failed:
        train(task=replace(task, network=network), start=start, **settings)
    return failed.value.reason


@pytest.mark.parametrize("layer", ["dense_0", "dense_1", "dense_2"])
def test_a_failure_names_the_layer_whose_parameters_began_it(layer):
    def change(params):
        bias = params[layer]["bias"].at[1].set(jnp.nan)
        return params | {layer: params[layer] | {"bias": bias}}

    assert f"began in layer {layer}, with its parameters" in reason(change=change)


@pytest.mark.parametrize("layer", ["dense_0", "dense_1", "dense_2"])
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


# Augmentation


def images(batch=2, size=12):
    """Random content in the middle, zeros around it."""
    content = np.random.default_rng(0).uniform(0, 16, (batch, size - 6, size - 6, 2))
    return np.pad(content, ((0, 0), (3, 3), (3, 3), (0, 0))).astype(np.float32)


@pytest.fixture
def extreme(monkeypatch):
    """Every draw at the upper end of its range: the full shift, the full rotation."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, minval: jnp.ones(shape))


def test_no_augmentation_is_the_identity():
    x = np.random.default_rng(0).integers(0, 256, (3, 9, 8, 1), np.uint8)
    assert_allclose(augment(x, KEY, Augmentation()), x, atol=1e-3)


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_a_shift_of_whole_pixels_is_a_roll(extreme, pixels):
    x = images()
    expected = np.roll(x, (-pixels, -pixels), (1, 2))
    assert_allclose(augment(x, KEY, Augmentation(shift=pixels)), expected, atol=1e-4)


def test_a_shift_of_half_a_pixel_is_a_mean_of_four(extreme):
    x = images()
    expected = (x + np.roll(x, -1, 1) + np.roll(x, -1, 2) + np.roll(x, (-1, -1), (1, 2))) / 4
    assert_allclose(augment(x, KEY, Augmentation(shift=0.5)), expected, atol=1e-4)


def test_what_is_shifted_in_is_zero(extreme):
    x = np.full((1, 8, 8, 1), 9, np.uint8)
    shifted = np.asarray(augment(x, KEY, Augmentation(shift=3)))[0, ..., 0]
    assert_allclose(shifted, np.pad(np.full((5, 5), 9.0), ((0, 3), (0, 3))), atol=1e-4)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("size", [11, 12])
def test_a_rotation_by_right_angles_is_rot90(extreme, turns, size):
    x = images(size=size)
    turned = np.asarray(augment(x, KEY, Augmentation(rotation=90 * turns)))
    expected = [np.rot90(x, way * turns, (1, 2)) for way in (1, -1)]
    assert min(np.abs(turned - e).max() for e in expected) < 1e-3


def test_augmentation_moves_each_image_by_its_own_draw_within_the_settings():
    x = np.zeros((300, 17, 17, 1), np.float32)
    x[:, 8, 8] = 1.0
    moved = np.asarray(augment(x, KEY, Augmentation(shift=4.5)))[..., 0]
    places = np.stack([(moved * np.arange(17)[:, None]).sum((1, 2)),
                       (moved * np.arange(17)).sum((1, 2))])  # fmt: skip
    distance = places - 8
    assert np.abs(distance).max() <= 4.5 + 1e-4
    # Uniform over -4.5..4.5: std 4.5/sqrt(3) = 2.6; 600 draws give it to 0.07, the mean to 0.11.
    assert abs(distance.std() - 2.6) < 0.25 and abs(distance.mean()) < 0.4
    assert len(np.unique(distance.round(3))) > 500


def symmetries(x):
    """The eight images that flips and quarter turns make of one."""
    return [np.rot90(y, k) for y in (x, x[::-1]) for k in range(4)]


@pytest.mark.parametrize(
    "settings, allowed",
    [
        ({"flip": True}, [0, 2, 4, 6]),
        ({"quarter_turns": True}, [0, 1, 2, 3]),
        ({"flip": True, "quarter_turns": True}, range(8)),
    ],
)
def test_flips_and_quarter_turns_make_each_of_their_images_as_often(settings, allowed):
    one = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    made = np.asarray(augment(np.stack([one] * 800), KEY, Augmentation(**settings)))
    assert made.dtype == np.uint8
    counts = [(made == s).all((1, 2, 3)).sum() for s in symmetries(one)]
    assert sum(counts) == 800, "nothing else"
    for i, count in enumerate(counts):
        share = 1 / len(allowed) if i in allowed else 0
        # Binomial: five deviations.
        assert abs(count - 800 * share) <= 5 * np.sqrt(800 * share)


def test_flips_take_images_that_are_not_square():
    x = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 1), np.uint8)
    made = np.asarray(augment(x, KEY, Augmentation(flip=True)))
    for before, after in zip(x, made):
        flips = (before, before[::-1], before[:, ::-1], before[::-1, ::-1])
        assert any((after == f).all() for f in flips)


def test_flips_go_with_shifts():
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    made = augment(x, KEY, Augmentation(flip=True, quarter_turns=True, shift=2))
    assert made.shape == x.shape and made.dtype == jnp.float32


def test_augmentation_keeps_about_the_intensity():
    x = images(50)
    moved = augment(x, KEY, Augmentation(shift=1.5, rotation=10))
    assert_allclose(np.sum(moved, (1, 2, 3)), x.sum((1, 2, 3)), rtol=0.05)


def test_augmentation_is_the_phases_choice():
    network = build([Flatten(), Dense(outputs=3, name="dense_0")], Activations((4, 3, 1), SMALL))
    images = Samples(TRAINING.x.reshape(-1, 4, 3, 1), TRAINING.y)
    task = replace(TASK, network=network, augmentation=Augmentation(shift=2, rotation=90))

    def training_loss(augment):
        settings = STILL | {"on": "ideal", "epochs": 2, "augment": augment}
        seen = []
        loop.train(
            task, phase(**settings), START, CHIP, images, images, KEY,
            on_epoch=lambda epoch, *_: seen.append((epoch.train_loss, epoch.validation_loss)),
        )  # fmt: skip
        return np.array(seen)

    plain, augmented = training_loss(False), training_loss(True)
    assert_allclose(plain, plain[0, 0], rtol=1e-5)
    assert_allclose(augmented[:, 1], plain[:, 1], rtol=1e-6)
    assert len({*plain[0, :1].round(3), *augmented[:, 0].round(3)}) == 3


def test_phases_that_are_equal_share_their_compiled_step():
    """A second chip is trained with the step of the first: equal phases are one key."""
    first = phase(on={"dense_0": "chip", "other": "float"})
    same = phase(on={"other": "float", "dense_0": "chip"})
    assert first == same and hash(first) == hash(same)
    assert first != phase(on={"dense_0": "chip"})
    task, counts = replace(TASK), []
    for chip in (CHIP, sample_chip(jax.random.key(2), TASK.mismatch, substrate=SMALL)):
        settings = phase(on={"dense_0": "chip"}, epochs=1)
        loop.train(task, settings, START, chip, TRAINING, VALIDATION, KEY)
        counts.append(len(task.compiled))
    assert counts == [2, 2], "a step and an evaluation"


# What comes in


@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.ones((4, 12)), [1, 2, 3, 1], "y: got labels 1 to 3, expected 0 to 2"),
        (np.ones((4, 12)), [0, 1, 2, -1], "y: got labels -1 to 2"),
        (np.ones((4, 12)), [0.0, 1.0, 2.0, 1.0], "y of float32, expected numbers and int"),
        (np.ones((4, 12)), np.eye(4, 3, dtype=int), r"y: got shape \(4, 3\), expected \(4,\)"),
        (np.ones((4, 11)), [0, 1, 2, 1], r"x: got shape \(4, 11\), expected \(S, 12\)"),
        (np.ones((0, 12)), np.ones(0, int), r"x: got shape \(0, 12\)"),
        (np.ones((4, 12)), [0, 1, 2], r"y: got shape \(3,\), expected \(4,\)"),
    ],
)
def test_both_entrances_refuse_what_does_not_fit_the_network(x, y, message):
    wrong = Samples(jnp.asarray(x), jnp.asarray(y))
    with pytest.raises(ValueError, match=f"samples.*{message}"):
        evaluate(TASK, START, wrong, None, None, on="ideal")
    with pytest.raises(ValueError, match=f"training.*{message}"):
        train(training=wrong)


def test_the_scale_of_a_task_may_be_an_array():
    task = replace(TASK, full_scale=np.array([31.0] * 12), offset=np.float32(0))
    assert hash(task.full_scale) and task.full_scale == (31.0,) * 12 and task.offset == 0


# Tiles

SPIKING_LAYERS = [Latency(steps=20), LIF(outputs=40), LI(outputs=3), MaxOverTime()]
SPIKES = build(SPIKING_LAYERS, (12,))
SPIKING = Task(SPIKES, 31.0, objective=Objective(scale=3.0, readout=1e-3, bursts=1e-2, weights=1.0))


class Centred(Layer):
    """Values less their mean over the batch."""

    across_samples = True

    def shape(self, *before):
        return before[0]

    def apply(self, params, state, *x, how):
        return x[0] - x[0].mean(axis=0), state, {}


@pytest.fixture
def small_pages(monkeypatch):
    """A bound that tears any batch into tiles."""
    monkeypatch.setattr(tiles, "BOUND", 300_000)


def gradients(task, tile, chip, **settings):
    of_phase = phase(batch_size=96, **settings)
    start, order = task.initial(KEY), steps_of.epoch_order(KEY, 1, 96)
    run = partial(steps_of.gradient, task, of_phase, tile=tile, records=True)
    return jax.jit(run)(start, TRAINING, order, 0, chip, KEY)


@pytest.mark.parametrize("task, on", [(TASK, "float"), (TASK, "chip"), (SPIKING, "chip")])
@pytest.mark.parametrize("tile", [1, 8, 48])
def test_a_batch_in_tiles_gives_the_gradient_of_the_whole(task, on, tile):
    chip = sample_chip(jax.random.key(1), Mismatch(), substrate=task.substrate)
    whole = gradients(task, 96, chip, on=on)
    parts = gradients(task, tile, chip, on=on)
    assert_array_equal(parts.labels, whole.labels)
    assert_allclose(parts.scores, whole.scores, atol=1e-5)
    assert_allclose(parts.loss, whole.loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(parts.params), jax.tree.leaves(whole.params)):
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)
    for a, b in zip(jax.tree.leaves(parts.records), jax.tree.leaves(whole.records)):
        assert_allclose(a, b, rtol=1e-5)


def compiled(task, **settings):
    of_phase = phase(batch_size=96, **settings)
    state = loop.begin(of_phase, task.initial(KEY), 96).state
    return steps_of.compiled_step(task, of_phase, state, TRAINING, sample_chip(KEY), KEY)


def test_a_step_is_torn_into_tiles_that_are_as_large_as_fits(small_pages):
    found = compiled(replace(SPIKING), on="chip")
    assert 1 < found.tile < 96 and 96 % found.tile == 0
    assert found.temporaries <= tiles.BOUND


def test_what_looks_across_samples_is_not_torn(small_pages):
    rate = replace(SPIKING, objective=Objective(scale=3.0, rate=1.0))
    across = replace(SPIKING, network=build([Centred(), *SPIKING_LAYERS], (12,)))
    assert compiled(rate, on="chip").tile == compiled(across, on="chip").tile == 96


def test_an_evaluation_in_tiles_is_that_of_the_whole(monkeypatch):
    start = SPIKING.initial(KEY)
    whole = evaluate(SPIKING, start, VALIDATION, None, None, on="ideal")
    monkeypatch.setattr(tiles, "BOUND", 300_000)
    task = replace(SPIKING)
    parts = evaluate(task, start, VALIDATION, None, None, on="ideal")
    assert [found.tile for found in task.compiled.values()] != [50]
    assert parts.confusion == whole.confusion
    assert_allclose(parts.loss, whole.loss, rtol=1e-6)
    assert parts.saturation.keys() == whole.saturation.keys()


@pytest.mark.parametrize("steps, batch", [(30, 100), (100, 60), (100, 100), (100, 160)])
def test_the_temporaries_of_a_spiking_step_stay_below_what_faults(steps, batch):
    """Above 32 MiB every call faults on fresh pages: that less a tenth is the bound."""
    layers = [Latency(steps=steps), LIF(outputs=256), LI(outputs=10), MaxOverTime()]
    network = build(layers, (784,))
    task = Task(network, 255.0)
    of_phase = phase(on="chip", batch_size=batch)
    data = Samples(jnp.zeros((200, 784), jnp.uint8), jnp.zeros(200, jnp.int32))
    state = jax.eval_shape(lambda: loop.begin(of_phase, task.initial(KEY), 200).state)
    found = steps_of.compiled_step(task, of_phase, state, data, sample_chip(KEY), KEY)
    assert found.temporaries < 28 * 2**20
