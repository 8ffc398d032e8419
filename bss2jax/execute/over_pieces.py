"""Neurons of a population over devices, each with some of them: chips that run at once.

What is sent is the same on all devices, and so is what comes out. Where neurons send to each other,
devices tell each other their spikes in each step.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.execute.in_turn import Block, Run
from bss2jax.kernels.mesh import gathered, own, own_columns, parted, pieces, shared
from bss2jax.kernels.neurons.recorded import Trace
from bss2jax.kernels.synapses.base import Sent
from bss2jax.kernels.synapses.summed import sent_to


def over_pieces(
    run: Run, whole: Block, sent: Sent, words: jax.Array | None, sample: jax.Array
) -> Trace:
    """Runs as many neurons on each device, with receptive fields as many channels.

    The last neuron fills the last devices up.

    Args:
        run: `run(block, sent, words, sample)` runs a block's neurons.
        whole: all neurons.
        sent, sample: as in `population`.
        words: words `[S, 4]` of its streams of noise; None: no noise.

    Returns:
        Spikes and membranes, `[T, B, N]` each, as far as a run makes them.
    """
    columns, devices = whole.w.shape[-1], pieces()
    width = -(-columns // devices)
    numbers = np.minimum(np.arange(devices * width), columns - 1).reshape(devices, width)
    mine = own(jnp.asarray(numbers, jnp.int32))
    neuron, bias, drivers = parted((whole.neuron, whole.bias, whole.drivers))
    known = replace(whole, neuron=neuron, bias=bias, drivers=drivers)
    part = known.of_neurons(mine, sent.positions)
    # By slices: a gradient of what is looked up by number would be scattered.
    w, recurrent = jax.tree.map(own_columns, (whole.w, whole.recurrent))
    seen = sent_to(jax.tree.map(_shared, sent), mine)
    trace = run(replace(part, w=w, recurrent=recurrent), seen, words, sample)
    return jax.tree.map(partial(_joined, sent.positions or 1, columns), trace)


def _shared(leaf: Any) -> Any:
    """What is sent, the gradient of which is summed over pieces; numbers of events have none."""
    return shared(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _joined(positions: int, columns: int, y: jax.Array) -> jax.Array:
    """What devices made of their neurons `[T, B, n]`, as `[T, B, N]`, channels within positions."""
    by_position = y.reshape(*y.shape[:2], positions, -1)
    return gathered(by_position, 3, columns).reshape(*y.shape[:2], positions * columns)
