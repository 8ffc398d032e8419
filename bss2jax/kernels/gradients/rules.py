"""Gradients as values: what a population's backward pass takes a spike's derivative for.

A rule asks the neuron for the pass that it stands for; no rule knows a neuron.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Protocol

import jax
from annotated_types import Ge, Lt
from jax import lax

from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike
from bss2jax.settings import Checked


class Gradient(Protocol):
    """A rule: frozen and hashable."""

    # Whether backward it needs what a host's model of the synapses adds, as `known`.
    models: ClassVar[bool]

    def run(
        self,
        nominal: Any,
        actual: Any,
        drive: jax.Array,
        recurrent: Any = None,
        trial: Any = None,
        *,
        membrane: bool = False,
        known: jax.Array | None = None,
    ) -> Any:
        """Runs the actual neuron through a sequence; backward is the rule's.

        Args:
            nominal: the model of it that a host knows.
            actual: the neuron as it is.
            drive: `[T, B, N]` what the synapses add in each step.
            recurrent: synapses within the population, or None.
            trial: its noise, or None.
            membrane: whether membranes are wanted, too.
            known: `[T, B, N]` what a host's model of the synapses adds; None: the same as drive.

        Returns:
            A `Trace`.
        """
        ...


@dataclass(frozen=True)
class _OfSpikes:
    """A rule for which spikes have a derivative; it says which pass of the neuron it stands for."""

    models: ClassVar[bool] = False

    function: SpikeFunction = SuperSpike()

    def __post_init__(self) -> None:
        kind, numbers = type(self.function).__name__, getattr(self.function, "__dict__", {})
        for name, number in numbers.items():
            if isinstance(number, jax.core.Tracer):
                raise ValueError(
                    f"surrogate: {kind}.{name} is traced; a step is compiled for the numbers it has"
                )
        try:
            hash(self.function)
        except TypeError:
            raise ValueError(
                f"surrogate: expected a frozen and hashable one such as SuperSpike(), got a {kind}"
            ) from None

    def through(self, nominal: Any, actual: Any) -> Callable[..., Any]:
        """Returns the neuron's pass, which takes what is sent and the function."""
        raise NotImplementedError

    def run(
        self,
        nominal: Any,
        actual: Any,
        drive: jax.Array,
        recurrent: Any = None,
        trial: Any = None,
        *,
        membrane: bool = False,
        known: jax.Array | None = None,
    ) -> Any:
        """Runs the actual neuron: see `Gradient.run`."""
        through = self.through(nominal, actual)
        return through(drive, recurrent, trial, surrogate=self.function, membrane=membrane)


@dataclass(frozen=True)
class Surrogate(_OfSpikes):
    """In the loop: the actual neuron forward, the nominal one backward, spikes by a surrogate.

    Attributes:
        function: a spike's derivative.
    """

    def through(self, nominal: Any, actual: Any) -> Callable[..., Any]:
        """Returns the actual neuron's sequence, with the gradient of the nominal one."""
        return partial(lax.stop_gradient(actual).sequence, nominal)


@dataclass(frozen=True)
class Autodiff(_OfSpikes):
    """JAX's own gradient of the actual neuron's steps, spikes by a surrogate.

    Attributes:
        function: a spike's derivative.
    """

    def through(self, nominal: Any, actual: Any) -> Callable[..., Any]:
        """Returns the actual neuron's steps, which JAX differentiates."""
        return actual.differentiated


@dataclass(frozen=True)
class EventProp(Checked):
    """In the loop: the actual neuron forward, the times of its spikes through the nominal one back.

    The gradient is exact but for the step of time, and needs no membranes of a chip. Neurons'
    parameters have none. See `kernels.neurons.eventprop`.

    Attributes:
        least: slope of a membrane at its spike, tau_mem v' over the way from leak to threshold,
            below which it is taken for that; 0: no bound.
    """

    models: ClassVar[bool] = True

    least: Annotated[float, Ge(0), Lt(1)] = 0.05

    def run(
        self,
        nominal: Any,
        actual: Any,
        drive: jax.Array,
        recurrent: Any = None,
        trial: Any = None,
        *,
        membrane: bool = False,
        known: jax.Array | None = None,
    ) -> Any:
        """Runs the actual neuron: see `Gradient.run`."""
        return lax.stop_gradient(actual).event_prop(
            nominal, drive, recurrent, trial, known=known, least=self.least, membrane=membrane
        )
