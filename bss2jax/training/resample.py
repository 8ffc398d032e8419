"""The chips that a step draws, of which each has as many samples of the batch.

Which chip a sample meets depends on its number in the batch alone, so that devices, of which each
draws the chips of its own samples, change nothing.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.networks.across import specimens
from bss2jax.training.phase import Phase
from bss2jax.training.task import Task

ChipOf = Callable[[jax.Array | int], Chip]  # of the number of a tile's first sample


def samples_each(phase: Phase, batch: int) -> int:
    """Returns how many samples of a batch a chip has.

    Raises:
        ValueError: chips cannot have as many each.
    """
    each, left = divmod(batch, phase.specimens)
    if left:
        raise ValueError(
            f"specimens: {phase.specimens} chips cannot share {batch} samples alike; expected a "
            "divisor of the batch_size"
        )
    return each


def drawn(
    task: Task, phase: Phase, key: jax.Array, batch: int, part: int, first: jax.Array | int
) -> ChipOf:
    """Draws the chips of some samples of a batch, and returns what says which one a sample meets.

    Args:
        task, phase: network and settings.
        key: `[]`, the random key of the step's chips.
        batch: samples of all devices.
        part: how many of them there are here.
        first: `[]`, the number of their first one.
    """
    network, substrate = task.network, task.substrate
    draw = partial(specimens, network, spreads=task.mismatch, substrate=substrate)
    if phase.specimens == 1:
        only = draw(key)
        return lambda sample: only
    each = samples_each(phase, batch)
    # As many as the samples can meet, wherever among those of a chip the first one is.
    aligned = part % each == 0 or each % part == 0
    number = max(1, part // each) if aligned else part // each + 2
    begin = jnp.minimum(first // each, phase.specimens - number)
    keys = draws.split(key, phase.specimens)[begin + jnp.arange(number, dtype=jnp.int32)]
    chips = jax.vmap(draw)(keys)

    def chip_of(sample: jax.Array | int) -> Chip:
        # Samples beyond the last, which fill up a device, count for nothing.
        at = jnp.clip(sample // each - begin, 0, number - 1)
        return jax.tree.map(lambda leaf: leaf[at], chips)

    return chip_of
