"""Augmentation moves, turns and flips images as its settings say, each by a draw of its own."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from small import KEY

from bss2jax.chip import draws
from bss2jax.training import Augmentation
from bss2jax.training.augment import augment


def images(batch=2, size=12):
    """Random content in the middle, zeros around it."""
    content = np.random.default_rng(0).uniform(0, 16, (batch, size - 6, size - 6, 2))
    return np.pad(content, ((0, 0), (3, 3), (3, 3), (0, 0))).astype(np.float32)


@pytest.fixture
def extreme(monkeypatch):
    """Every draw at the upper end of its range: the full shift, the full rotation."""
    monkeypatch.setattr(draws, "uniform", lambda key, shape, low: jnp.ones(shape))


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
        ({"horizontal_flip": True, "quarter_turns": True}, range(8)),
        ({"horizontal_flip": True}, [0, 6]),
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


def windows(image, rim):
    """All windows of an image's size out of it and a rim of zeros, by row and column."""
    padded = np.pad(image, ((rim, rim), (rim, rim), (0, 0)))
    shape = image.shape[:2]
    return np.lib.stride_tricks.sliding_window_view(padded, shape, (0, 1)).transpose(0, 1, 3, 4, 2)


def test_a_crop_is_each_window_of_the_image_and_its_rim_as_often():
    one = np.random.default_rng(0).integers(1, 256, (5, 6, 3), np.uint8)
    made = np.asarray(augment(np.stack([one] * 900), KEY, Augmentation(crop=1)))
    assert made.dtype == np.uint8
    counts = [(made == w).all((1, 2, 3)).sum() for row in windows(one, 1) for w in row]
    assert sum(counts) == 900 and len(counts) == 9, "nothing else"
    # Binomial, 100 of each: five deviations.
    assert np.abs(np.array(counts) - 100).max() <= 5 * np.sqrt(900 / 9 * 8 / 9)


def test_crop_and_horizontal_flip_leave_up_and_down():
    image = np.random.default_rng(0).integers(1, 256, (4, 5, 3), np.uint8)
    settings = Augmentation(crop=2, horizontal_flip=True)
    made = np.asarray(augment(np.stack([image] * 200), KEY, settings))
    allowed = [w for x in (image, image[:, ::-1]) for row in windows(x, 2) for w in row]
    found = [[(one == w).all() for w in allowed] for one in made]
    assert np.all(np.any(found, axis=1)) and np.any(found, axis=0).sum() > 40


def test_flips_go_with_shifts():
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    made = augment(x, KEY, Augmentation(flip=True, quarter_turns=True, shift=2))
    assert made.shape == x.shape and made.dtype == jnp.float32


def test_augmentation_keeps_about_the_intensity():
    x = images(50)
    moved = augment(x, KEY, Augmentation(shift=1.5, rotation=10))
    assert_allclose(np.sum(moved, (1, 2, 3)), x.sum((1, 2, 3)), rtol=0.05)
