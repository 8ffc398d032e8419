"""Neurons in blocks, one after the other, in the memory of one block: forward and backward.

Each block writes what it did where it belongs. Going back, a block runs again and adds its gradient
to the one of all: a loop that JAX transposes would keep what all of them made, and add the weights
of all neurons in every step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from bss2jax.arrays import pytree
from bss2jax.execute.circuits import OnChips
from bss2jax.kernels.gradients.nominal import moves_of, values_of
from bss2jax.kernels.mesh import alike
from bss2jax.kernels.neurons.recorded import Trace
from bss2jax.kernels.synapses.base import Sent
from bss2jax.kernels.synapses.delays import Delays
from bss2jax.kernels.synapses.plasticity import ShortTerm


@pytree
@dataclass(frozen=True, eq=False)
class Block:
    """Some of a population's neurons, or all.

    Attributes:
        w, recurrent, neuron, circuits, delays, bias: as in `population`, of these neurons.
        number: `[n]` of the neurons within the population.
        unit, recurrent_unit: software units of an LSB, of all neurons or `[n]` of these; None
            without codes.
        drivers: the drivers of recurrent synapses, as in `population`.
    """

    w: jax.Array
    recurrent: jax.Array | None
    neuron: Any
    circuits: OnChips | None
    delays: tuple[Delays | None, Delays | None]
    bias: jax.Array | None
    number: jax.Array
    unit: Any
    recurrent_unit: Any
    drivers: ShortTerm | None = None

    def of_neurons(self, chosen: jax.Array, positions: int | None = None) -> "Block":
        """Returns the same of some neurons, with the synapses that all send to them.

        Args:
            chosen: their numbers `[n]`; with receptive fields those of channels, at each position.
            positions: P of receptive fields, or None.
        """
        of, neurons = partial(_of, chosen), chosen
        if positions is not None:
            first = self.w.shape[-1] * jnp.arange(positions, dtype=jnp.int32)
            neurons = (first[:, None] + chosen[None]).ravel()
        unit, recurrent_unit = jax.tree.map(of, (self.unit, self.recurrent_unit))
        sent_late, back_late = (None if d is None else d.of_neurons(neurons) for d in self.delays)
        return Block(
            of(self.w), None if self.recurrent is None else of(self.recurrent),
            jax.tree.map(partial(_of, neurons), self.neuron),
            None if self.circuits is None else self.circuits.of_neurons(neurons),
            (sent_late, back_late),
            None if self.bias is None else of(self.bias),
            self.number[neurons], unit, recurrent_unit,
            jax.tree.map(partial(_of, neurons), self.drivers),
        )  # fmt: skip


Run = Callable[..., Trace]


def in_turn(
    run: Run, whole: Block, blocks: int, sent: Sent, words: jax.Array | None, sample: jax.Array
) -> Trace:
    """Runs blocks of equal width; the last one is filled up by the last neuron.

    Args:
        run: `run(block, sent, words, sample)` runs a block's neurons.
        whole: all neurons.
        blocks: into how many they are cut.
        sent, sample: as in `population`.
        words: words `[S, 4]` of its streams of noise; None: no noise.

    Returns:
        Spikes and membranes, `[T, B, N]` each, as far as a run makes them.
    """
    size = whole.w.shape[-1]
    width = -(-size // blocks)
    numbers = np.minimum(np.arange(blocks * width), size - 1)
    mine = jnp.asarray(numbers.reshape(blocks, width), jnp.int32)
    trace = _in_turn(run, *alike(mine, (whole, sent), (words, sample)))
    return jax.tree.map(lambda y: y[..., :size], trace)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_turn(run: Run, mine: jax.Array, given: tuple[Block, Sent], noise: tuple) -> Trace:
    whole, sent = given

    def one(chosen: jax.Array) -> Trace:
        return run(whole.of_neurons(chosen), sent, *noise)

    def write(made: Trace, at: tuple[jax.Array, jax.Array]) -> tuple[Trace, None]:
        first, chosen = at
        put = partial(lax.dynamic_update_slice_in_dim, start_index=first, axis=2)
        return jax.tree.map(put, made, one(chosen)), None

    def nothing(part: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.zeros((*part.shape[:2], mine.size), part.dtype)

    empty = jax.tree.map(nothing, jax.eval_shape(one, mine[0]))
    return lax.scan(write, alike(empty, mine)[0], (_firsts(mine), mine))[0]


def _forward(run: Run, mine: Any, given: Any, noise: Any) -> tuple[Trace, tuple]:
    moves, (mine, given, noise) = moves_of(given), values_of((mine, given, noise))
    return _in_turn(run, mine, given, noise), (moves, mine, given, noise)


def _backward(run: Run, residuals: tuple, cotangents: Trace) -> tuple:
    moves, mine, (whole, sent), noise = residuals
    moving = [i for i, moved in enumerate(moves) if moved is not None]
    of_block = len(jax.tree.leaves(whole))  # the leaves of what is sent follow
    all_leaves, form = jax.tree.flatten((whole, sent))
    ends = jax.tree.leaves(cotangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    dy = [None if isinstance(d, SymbolicZero) else d for d in ends]

    def step(slopes: list, at: tuple[jax.Array, jax.Array]) -> tuple[list, None]:
        first, chosen = at
        leaves = jax.tree.leaves((whole.of_neurons(chosen), sent))

        def made(trained: list) -> list:
            known = dict(zip(moving, trained, strict=True))
            block = jax.tree.unflatten(form, [known.get(i, leaf) for i, leaf in enumerate(leaves)])
            parts = jax.tree.leaves(run(*block, *noise))
            return [part for part, d in zip(parts, dy, strict=True) if d is not None]

        _, pull = jax.vjp(made, [leaves[i] for i in moving])
        cut = partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=mine.shape[1], axis=2)
        (steeper,) = pull([cut(d) for d in dy if d is not None])
        add = partial(_added, chosen)
        parts = zip(moving, slopes, steeper, strict=True)
        return [
            add(total, more) if i < of_block else total + more for i, total, more in parts
        ], None

    flat, _ = alike([jnp.zeros_like(all_leaves[i]) for i in moving], mine)
    slopes = lax.scan(step, flat, (_firsts(mine), mine))[0]
    by_leaf = dict(zip(moving, slopes, strict=True))
    return None, jax.tree.unflatten(form, [by_leaf.get(i) for i in range(len(moves))]), None


_in_turn.defvjp(_forward, _backward, symbolic_zeros=True)


def _firsts(mine: jax.Array) -> jax.Array:
    """The place of each block's first neuron among those of all blocks."""
    return mine.shape[1] * jnp.arange(len(mine), dtype=jnp.int32)


def _of(chosen: jax.Array, p: jax.Array) -> jax.Array:
    """What is of some neurons, `[..., n]`, of `[..., N]`; or one number for all."""
    return p[..., chosen] if p.ndim else p


def _added(chosen: jax.Array, total: jax.Array, more: jax.Array) -> jax.Array:
    """Adds what is of some neurons, or of all: see `_of`."""
    return total.at[..., chosen].add(more) if total.ndim else total + more
