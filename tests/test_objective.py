"""Losses and penalties are the formulas that their names stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bss2jax.training import objective
from bss2jax.training.phase import Objective

RNG = np.random.default_rng(41)
SPIKES = RNG.integers(0, 5, (6, 7)).astype(np.float32)
AMPLITUDE = RNG.normal(size=(6, 3)).astype(np.float32)
STATS = {"lif_0": {"spikes": jnp.asarray(SPIKES)}, "li_1": {"amplitude": jnp.asarray(AMPLITUDE)}}
PARAMS = {"lif_0": {"weight": jnp.asarray(RNG.normal(size=(4, 7)).astype(np.float32))}}


def penalty(epoch=0, **weights):
    return float(objective.penalty(PARAMS, STATS, Objective(**weights), epoch))


def test_loss_is_the_cross_entropy_of_scaled_scores():
    scores, labels = RNG.normal(size=(5, 3)).astype(np.float32), np.array([0, 1, 2, 1, 0])
    logits = 3.0 * scores
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels]
    got = objective.loss(jnp.asarray(scores), jnp.asarray(labels), Objective(scale=3.0))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_penalties_are_means_of_powers():
    burst = np.maximum(SPIKES - 1, 0)
    rate = SPIKES.mean(0) - 0.7
    weight = np.asarray(PARAMS["lif_0"]["weight"])
    assert penalty() == 0
    assert penalty(bursts=2.0) == pytest.approx(2 * (burst**4).mean(), rel=1e-5)
    assert penalty(rate=2.0, rate_target=0.7) == pytest.approx(2 * (rate**2).mean(), rel=1e-5)
    assert penalty(readout=2.0) == pytest.approx(2 * (AMPLITUDE**4).mean(), rel=1e-5)
    assert penalty(weights=2.0) == pytest.approx(2 * (weight**4).mean(), rel=1e-5)


def test_the_penalty_on_bursts_fades_and_others_stay():
    both = {"bursts": 1.0, "readout": 1.0, "bursts_decay": 0.9}
    readout, bursts = penalty(readout=1.0), penalty(bursts=1.0)
    for epoch in (0, 1, 7):
        expected = readout + bursts * 0.9**epoch
        assert penalty(epoch=epoch, **both) == pytest.approx(expected, rel=1e-5)


def test_smoothed_labels_are_shared_by_all_classes():
    scores = jnp.asarray(np.random.default_rng(0).normal(0, 2, (7, 5)), jnp.float32)
    labels = jnp.arange(7) % 5
    smoothed = objective.loss(scores, labels, Objective(scale=0.5, smoothing=0.1))
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 5), 0.1)
    expected = optax.softmax_cross_entropy(0.5 * scores, targets)
    np.testing.assert_allclose(smoothed, expected, rtol=1e-5)
