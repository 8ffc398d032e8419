"""What share of the values of a product is at a limit of the chip."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from bss2jax.execute.blocks import Clipped, Settings
from bss2jax.kernels.mesh import PIECES, dealt, over_mesh, pieces
from bss2jax.mapping.products import Grid


def shares(settings: Settings, x: jax.Array, clipped: Clipped) -> dict[str, jax.Array]:
    """Returns the shares of inputs `[..., K]`, readouts and sums of a product that are clipped."""
    substrate = settings.substrate
    codes, blocks = jnp.round(x), Grid(x.shape[-1], 1, substrate).row_blocks
    return {
        "inputs": _share((codes < 0) | (codes > substrate.activation_max)),
        "outputs": _share(jnp.asarray(clipped.readouts), blocks),
        "sums": _share(clipped.sums),
    }


def at_limit(w: jax.Array, limit: float) -> jax.Array:
    """Returns the share of weights `[..., N]` at a limit; pieces take some each, by the first axis.

    Args:
        w: weights, LSB.
        limit: the magnitude from which on they are at it, above 0.
    """
    return over_mesh(partial(_at_limit, limit), PartitionSpec(), w)


def _at_limit(limit: float, w: jax.Array) -> jax.Array:
    if pieces() == 1:
        return _share(jnp.abs(w) >= limit)
    total = lax.psum(_total(jnp.abs(dealt(w)) >= limit), PIECES)
    return lax.stop_gradient(total / max(1, w.size))


def _share(counts: jax.Array, most: int = 1) -> jax.Array:
    """The mean, float32, of what may be empty: of yes and no, or of counts up to `most`."""
    return lax.stop_gradient(_total(counts) / max(1, counts.size * most))


def _total(counts: jax.Array) -> jax.Array:
    """The sum, float32: along rows in integers, whose order XLA may change, several at once."""
    if counts.dtype == bool and counts.ndim:
        # Four bytes are counted as one number: XLA on a CPU would write a float for each of them.
        filled = [(0, 0)] * (counts.ndim - 1) + [(0, -counts.shape[-1] % 4)]
        each = jnp.pad(counts, filled).astype(jnp.uint8)
        each = each.reshape(*each.shape[:-1], each.shape[-1] // 4, 4)
        counts = lax.population_count(lax.bitcast_convert_type(each, jnp.uint32)).astype(jnp.int32)
    return jnp.sum(jnp.sum(counts, axis=-1, dtype=jnp.int32), dtype=jnp.float32)
