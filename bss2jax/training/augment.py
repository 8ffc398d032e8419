"""Augmentation of images on the device, inside the training step."""

import jax
import jax.numpy as jnp

from bss2jax.chip import draws
from bss2jax.training.phase import Augmentation


def augment(x: jax.Array, key: jax.Array, settings: Augmentation) -> jax.Array:
    """Flips and turns each image, rotates it about its centre and shifts it.

    Args:
        x: `[B, H, W, C]` any real type; H = W where it takes quarter turns.
        key: decides all draws, independent and uniform within the settings, one each per image.
        settings: what is drawn.

    Returns:
        `[B, H, W, C]`, of x's type after flips and turns alone; float32 after shifts and
        rotations, which interpolate linearly. What comes from outside the image is 0.
    """
    if settings.flip or settings.quarter_turns:
        x = _flip_and_turn(x, draws.folded(key, 0), settings)
    if settings.shift or settings.rotation:
        x = _rotate_and_shift(x, key, settings)
    return x


def _flip_and_turn(x: jax.Array, key: jax.Array, settings: Augmentation) -> jax.Array:
    """One of the square's eight symmetries, or of the rectangle's four, for each image."""
    leftright, updown, turn = draws.bernoulli(key, 0.5, (3, len(x), 1, 1, 1))
    if not settings.flip:
        # By 0 or 180 degrees; with the turn by 90 below, by any of the four.
        leftright = updown
    x = jnp.where(leftright, x[:, :, ::-1], x)
    x = jnp.where(updown, x[:, ::-1], x)
    if settings.quarter_turns:
        x = jnp.where(turn, jnp.rot90(x, axes=(1, 2)), x)
    return x


def _rotate_and_shift(x: jax.Array, key: jax.Array, settings: Augmentation) -> jax.Array:
    batch, height, width, _ = x.shape
    k_angle, k_shift = draws.split(key, 2)
    angle = jnp.deg2rad(settings.rotation) * draws.uniform(k_angle, (batch, 1, 1), low=-1)
    shift = settings.shift * draws.uniform(k_shift, (2, batch, 1, 1), low=-1)
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    row, column = row - (height - 1) / 2, column - (width - 1) / 2
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    source_row = cosine * row - sine * column + (height - 1) / 2 + shift[0]
    source_column = sine * row + cosine * column + (width - 1) / 2 + shift[1]
    return _sample(x.astype(jnp.float32), source_row, source_column)


def _sample(x: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Reads images `[B, H, W, C]` at real places `[B, H, W]`, linearly between pixels."""
    batch, height, width, channels = x.shape
    # A rim of zeros makes every neighbour a valid index.
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, -1, channels)
    row, column = jnp.clip(row + 1, 0, height + 1), jnp.clip(column + 1, 0, width + 1)
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]

    def pixel(r: jax.Array, c: jax.Array) -> jax.Array:
        r, c = jnp.minimum(r, height + 1), jnp.minimum(c, width + 1)
        index = (r * (width + 2) + c).astype(jnp.int32).reshape(batch, -1, 1)
        return jnp.take_along_axis(padded, index, axis=1).reshape(x.shape)

    upper = pixel(top, left) * (1 - right) + pixel(top, left + 1) * right
    lower = pixel(top + 1, left) * (1 - right) + pixel(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
