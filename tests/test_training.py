"""The loop learns, keeps what it says, and is a function of its seed."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest
from small import (
    CHIP,
    KEY,
    NETWORK,
    SMALL,
    START,
    STILL,
    TASK,
    TRAINING,
    VALIDATION,
    clusters,
    phase,
    train,
    untimed,
    weight,
)  # fmt: skip

from bss2jax import Mismatch, data, sample_chip
from bss2jax.chip import draws
from bss2jax.kernels.coding import encode_activations
from bss2jax.networks import Activations, Dense, Flatten, build
from bss2jax.training import Augmentation, Samples, accuracy_over_chips, evaluate, loop
from bss2jax.training import step as steps_of
from bss2jax.training.phase import make_optimizer


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
    settings = {"on": "chip", "epochs": 4, "learning_rate": 200.0}
    best, epochs, _ = train(**settings, keep="best")
    last, same, _ = train(**settings, keep="last")
    ranks = [(e.validation_accuracy, -e.validation_loss) for e, _, _ in epochs]
    top = ranks.index(max(ranks))
    assert top < len(epochs) - 1, "the last epoch is the best: this shows nothing"
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
        # Up by half a wave in three steps, down to all but nothing by another in nine.
        (
            "one_cycle",
            lambda t: (
                0.02 + 0.48 * (1 - np.cos(np.pi * t / 3)) / 2
                if t < 3
                else 2e-6 + (0.5 - 2e-6) * (1 + np.cos(np.pi * (t - 3) / 9)) / 2
            ),
        ),
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


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cycle_of_few_steps_is_finite(steps):
    schedule = phase(optimizer="sgd", schedule="one_cycle", max_steps=steps)
    optimizer = make_optimizer(schedule, 96)
    state = optimizer.init(jnp.zeros(()))
    for _ in range(steps + 1):
        update, state = optimizer.update(jnp.ones(()), state)
        assert 0 <= -update <= 0.5


def test_decay_is_of_weights_alone():
    optimizer = make_optimizer(phase(optimizer="adamw", weight_decay=0.1), 96)
    params = {"weight": jnp.ones((2, 3)), "gamma": jnp.ones(3)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    update, _ = optimizer.update(nothing, optimizer.init(params), params)
    assert_allclose(update["weight"], -0.5 * 0.1, rtol=1e-6)
    assert_array_equal(update["gamma"], 0)
    with pytest.raises(ValueError, match="weight_decay: it is of adamw, the optimizer is adam"):
        phase(optimizer="adam", weight_decay=0.1)


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


def losses(**settings):
    return np.array([loss for _, loss in train(**STILL | {"epochs": 4} | settings)[2]])


def test_resample_draws_another_chip_each_step_and_fixed_keeps_this_runs():
    fixed = losses(noise=False)
    assert_allclose(fixed, fixed[0], rtol=1e-5)
    other = losses(noise=False, chip="resample")
    assert len(np.unique(other.round(3))) == 4 and (np.abs(other - fixed) > 1e-3 * fixed).all()
    assert_array_equal(other, losses(noise=False, chip="resample"))


def test_chips_of_a_step_have_as_many_samples_each():
    of_phase = phase(on="chip", noise=False, chip="resample", specimens=4)
    order = steps_of.epoch_order(KEY, 1, 96)

    @jax.jit
    def both():
        of = steps_of.gradient(TASK, of_phase, START, TRAINING, order, 0, CHIP, KEY, tile=8)
        k_chip = draws.split(draws.folded(KEY, steps_of.STEP, 0), 3)[2]
        third = sample_chip(draws.split(k_chip, 4)[2], TASK.mismatch, substrate=SMALL)
        x = TASK.encode(TRAINING.x[order[16:24]])
        return of.scores[16:24], NETWORK.apply(START.params, {}, x, third, on="chip")[0]

    assert_array_equal(*both())
    with pytest.raises(ValueError, match="specimens: 5 chips cannot share 32 samples alike"):
        train(on="chip", chip="resample", specimens=5)
    with pytest.raises(ValueError, match='specimens: got 2 chips; more than 1 need chip = "resa'):
        phase(specimens=2)


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


@pytest.mark.parametrize(
    "count", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 500)), 1037]
)  # a set smaller than a batch and one of whole batches are slow
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
    for wrong in (0.0, -1, np.nan, [1.0, 0.0], "255"):
        with pytest.raises(ValueError, match="full_scale.*: got .*, expected a finite number > 0"):
            replace(TASK, full_scale=wrong)
        split = data.Split(np.zeros((1, 2)), np.zeros(1, int))
        with pytest.raises(ValueError, match="full_scale.*: got "):
            data.Dataset("mine", split, split, ("a",), wrong)


@pytest.mark.parametrize("labels", [list, np.uint8, ">i4", np.int64])
def test_labels_and_samples_of_any_type_give_the_same(labels):
    x, y = (np.asarray(a) for a in (VALIDATION.x, VALIDATION.y))
    given = Samples(x.astype(">f4"), y.tolist() if labels is list else y.astype(labels))
    expected = evaluate(TASK, START, VALIDATION, None, None, on="ideal")
    assert evaluate(TASK, START, given, None, None, on="ideal") == expected
