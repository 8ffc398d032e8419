"""Gradients as values: what a population's backward pass takes a spike's derivative for.

A rule asks the neuron for the pass that it stands for; no rule knows a neuron.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
from jax import lax

from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike


class Gradient(Protocol):
    """A rule: frozen and hashable."""

    def run(
        self,
        nominal: Any,
        actual: Any,
        drive: jax.Array,
        recurrent: Any = None,
        trial: Any = None,
        *,
        membrane: bool = False,
    ) -> Any:
        """Runs the actual neuron through a sequence; backward is the rule's.

        Args:
            nominal: the model of it that a host knows.
            actual: the neuron as it is.
            drive: `[T, B, N]` what the synapses add in each step.
            recurrent: synapses within the population, or None.
            trial: its noise, or None.
            membrane: whether membranes are wanted, too.

        Returns:
            A `Trace`.
        """
        ...


@dataclass(frozen=True)
class Surrogate:
    """In the loop: the actual neuron forward, the nominal one backward, spikes by a surrogate.

    Attributes:
        function: a spike's derivative.
    """

    function: SpikeFunction = SuperSpike()

    def run(
        self,
        nominal: Any,
        actual: Any,
        drive: jax.Array,
        recurrent: Any = None,
        trial: Any = None,
        *,
        membrane: bool = False,
    ) -> Any:
        """Runs the actual neuron: see `Gradient.run`."""
        return lax.stop_gradient(actual).sequence(
            nominal, drive, recurrent, trial, surrogate=self.function, membrane=membrane
        )


@dataclass(frozen=True)
class Autodiff:
    """JAX's own gradient of the actual neuron's steps, spikes by a surrogate.

    Attributes:
        function: a spike's derivative.
    """

    function: SpikeFunction = SuperSpike()

    def run(
        self,
        nominal: Any,
        actual: Any,
        drive: jax.Array,
        recurrent: Any = None,
        trial: Any = None,
        *,
        membrane: bool = False,
    ) -> Any:
        """Runs the actual neuron: see `Gradient.run`."""
        return actual.differentiated(
            drive, recurrent, trial, surrogate=self.function, membrane=membrane
        )
