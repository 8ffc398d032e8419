"""Layers as flax modules: `bss2jax.nnx.Module` wraps any layer of `bss2jax.networks`.

from flax import nnx
from bss2jax.networks import Activations, Dense
from bss2jax.nnx import Module

fc = Module(Dense(outputs=10), Activations((784,)), rngs=nnx.Rngs(0))
y = fc(x, chip, key, on="chip")
"""

from typing import Any

import jax
from flax import nnx

from bss2jax.chip.chip import Chip
from bss2jax.mapping.plan import plan_network
from bss2jax.networks.layer import Execution, How, Layer
from bss2jax.networks.signal import Signal

__all__ = ["Module"]


class Kept(nnx.Variable):
    """What a layer keeps from step to step of a training."""


class Module(nnx.Module):
    """A layer with its parameters, as a module.

    Args:
        layer: what does the work.
        before: the signals that it is given, such as `Activations((784,))`.
        rngs: flax's streams; `params` draws the parameters.

    Attributes:
        layer: what does the work.
        after: the signal that it makes.

    Each parameter of the layer is an `nnx.Param` under its own name, such as `weight`.

    Raises:
        ValueError: the layer cannot take these signals.
    """

    def __init__(self, layer: Layer, *before: Signal, rngs: nnx.Rngs):
        self.layer, self.before, self.after = layer, before, layer.shape(*before)
        demand = layer.demand(*before)
        self.place = None
        if demand is not None:
            plan = plan_network(("layer",), (demand,), substrate=before[0].substrate)
            self.place = plan.place("layer")
        params, state = layer.init(rngs.params(), *before), layer.state(*before)
        self.params, self.kept = tuple(params), tuple(state)
        for name, value in params.items():
            setattr(self, name, nnx.Param(value))
        for name, value in state.items():
            setattr(self, name, Kept(value))

    def __call__(
        self,
        *x: jax.Array,
        chip: Chip | None = None,
        key: jax.Array | None = None,
        sample: jax.Array | int = 0,
        on: Execution | None = None,
        training: bool = False,
    ) -> Any:
        """Does the layer's work.

        Args:
            x: an array for each of its inputs, `[B, *size]` or `[T, B, *size]`.
            chip: the chip whose fixed pattern applies.
            key: the random key of noise, random codes and dropout; None: none of these.
            sample: number of the first sample, which noise depends on.
            on: execution; by default `chip` where one is given, else `ideal`.
            training: whether dropout and training noise apply.

        Returns:
            The layer's output.
        """
        execution: Execution = on or ("ideal" if chip is None else "chip")
        how = How(chip, key, sample, execution, training, self.before, self.after, self.place)
        y, state, _ = self.layer.apply(
            self._values(self.params), self._values(self.kept), *x, how=how
        )
        for name in self.kept:
            getattr(self, name)[...] = state[name]
        return y

    def _values(self, names: tuple[str, ...]) -> dict[str, jax.Array]:
        return {name: getattr(self, name)[...] for name in names}
