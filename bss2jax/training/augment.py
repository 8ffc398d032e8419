"""Augmentation of images on the device, inside the training step."""

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.chip import draws
from bss2jax.kernels.stored import stored
from bss2jax.training.phase import Augmentation

Place = tuple[jax.Array, int] | None


def augment(x: jax.Array, key: jax.Array, settings: Augmentation, place: Place = None) -> jax.Array:
    """Flips and turns each image, cuts a window out of it, rotates and shifts it.

    Args:
        x: `[B, H, W, C]` any real type; H = W where it takes quarter turns.
        key: decides all draws, independent and uniform within the settings, one each per image.
        settings: what is drawn.
        place: the numbers `[B]` of the images in the batch that they are a part of, and how many
            that has; None where they are the whole batch.

    Returns:
        `[B, H, W, C]`, of x's type after flips, turns and cuts alone; float32 after shifts and
        rotations, which interpolate linearly. What comes from outside the image is 0.
    """
    if settings.mirrors:
        x = _flip_and_turn(x, draws.folded(key, 0), settings, place)
    if settings.crop:
        x = _cut(x, draws.folded(key, 1), settings.crop, place)
    if settings.shift or settings.rotation:
        x = _rotate_and_shift(x, key, settings, place)
    return x


def _of_images(drawn: jax.Array, place: Place) -> jax.Array:
    """Draws for the images of a part of a batch, of those `[n, batch, ...]` for all of it."""
    return drawn if place is None else drawn[:, place[0]]


def _flip_and_turn(x: jax.Array, key: jax.Array, settings: Augmentation, place: Place) -> jax.Array:
    """One of the square's eight symmetries, or of the rectangle's, for each image."""
    batch = len(x) if place is None else place[1]
    drawn = draws.bernoulli(key, 0.5, (3, batch, 1, 1, 1))
    leftright, updown, turn = _of_images(drawn, place)
    if not (settings.flip or settings.horizontal_flip):
        # By 0 or 180 degrees; with the turn by 90 below, by any of the four.
        leftright = updown
    x = jnp.where(leftright, x[:, :, ::-1], x)
    if settings.flip or settings.quarter_turns:
        x = jnp.where(updown, x[:, ::-1], x)
    if settings.quarter_turns:
        x = jnp.where(turn, jnp.rot90(x, axes=(1, 2)), x)
    return x


def _cut(x: jax.Array, key: jax.Array, rim: int, place: Place) -> jax.Array:
    """A window of each image's size out of it and a rim of zeros: one gather of whole windows."""
    batch = len(x) if place is None else place[1]
    drawn = _of_images(draws.uniform(key, (2, batch)), place)
    first = jnp.minimum((drawn * (2 * rim + 1)).astype(jnp.int32), 2 * rim)
    padded = jnp.pad(x, ((0, 0), (rim, rim), (rim, rim), (0, 0)))

    def window(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (row, column, 0), x.shape[1:])

    return jax.vmap(window)(padded, *first)


def _rotate_and_shift(
    x: jax.Array, key: jax.Array, settings: Augmentation, place: Place
) -> jax.Array:
    images, height, width, _ = x.shape
    batch = images if place is None else place[1]
    # Both together, though the angle needs one of two: each draw is a loop of its own to compile.
    drawn = jax.vmap(lambda key: draws.uniform(key, (2, batch, 1, 1), low=-1))(draws.split(key, 2))
    turns, moves = _of_images(drawn[0], place)[0], _of_images(drawn[1], place)
    angle = jnp.deg2rad(settings.rotation) * turns
    # Stored: else sine and cosine would be computed for every pixel.
    shift, turn = settings.shift * moves, stored(jnp.stack([jnp.cos(angle), jnp.sin(angle)]))
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    row, column = row - (height - 1) / 2, column - (width - 1) / 2
    cosine, sine = turn
    source_row = cosine * row - sine * column + (height - 1) / 2 + shift[0]
    source_column = sine * row + cosine * column + (width - 1) / 2 + shift[1]
    return _sample(x.astype(jnp.float32), source_row, source_column)


def _sample(x: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Reads images `[B, H, W, C]` at real places `[B, H, W]`, linearly between pixels."""
    batch, height, width, channels = x.shape
    # A rim of zeros makes every neighbour a valid index.
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pixels = padded.reshape(batch * (height + 2) * (width + 2), channels)
    first = (height + 2) * (width + 2) * jnp.arange(batch, dtype=jnp.int32).reshape(-1, 1, 1)
    row, column = jnp.clip(row + 1, 0, height + 1), jnp.clip(column + 1, 0, width + 1)
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]

    def pixel(r: jax.Array, c: jax.Array) -> jax.Array:
        r, c = jnp.minimum(r, height + 1), jnp.minimum(c, width + 1)
        index = first + (r * (width + 2) + c).astype(jnp.int32)
        return pixels.at[index].get(mode="promise_in_bounds")

    upper = pixel(top, left) * (1 - right) + pixel(top, left + 1) * right
    lower = pixel(top + 1, left) * (1 - right) + pixel(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
