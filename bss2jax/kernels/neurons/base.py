"""What a neuron is: three equations, of which its step, its sequence and its gradients are made.

    flow    the membrane one step on, as if there were no threshold
    over    how far it is above the threshold
    after   what a spike leaves behind

A neuron in the loop is a pair: the nominal one, which a host knows, and the actual one, which runs.
Backward its gradient is that of the nominal equations at the states that the actual neuron had.
"""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import jax
from jax import lax

from bss2jax.arrays import Compared, floats
from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike, spike
from bss2jax.kernels.mesh import alike
from bss2jax.kernels.neurons.membrane import check_values
from bss2jax.kernels.neurons.recorded import Trace, Trial, recorded, run
from bss2jax.kernels.synapses.recurrent import Within

Value = float | jax.Array

_EQUATIONS = frozenset({"rest", "flow", "over", "after", "begin", "disturbed", "joined"})


class Neuron(Compared):
    """A neuron: a frozen dataclass and pytree of its parameters, with the three equations.

    `bss2jax.arrays.pytree`, above `dataclass(frozen=True)`, makes the pytree: JAX's own
    `register_dataclass` lets `jit` take a class for another with as many fields.
    Parameters are a number, `[N]` or `[B, N]`; dt and other settings are static fields. The state
    is a pytree with a field `v`. Everything else follows from `rest`, `flow`, `over` and `after`.
    A subclass of `LIF`, say, that changes one of them has the general pass, not that of `LIF`.
    """

    fires: ClassVar[bool] = True  # False: an integrator, whose membrane is what it is for
    jitters: ClassVar[bool] = True  # False: the times of its spikes do not spread on a chip
    coupled: ClassVar[bool] = False  # True: neurons next to each other act on each other
    starts_anywhere: bool = False  # True: with a key, membranes do not all begin at rest

    def __init_subclass__(cls) -> None:
        """Leaves what a parent made by hand, which knows its own equations only."""
        super().__init_subclass__()

        def place(name: str) -> int:  # the first of its parents, itself included, to define it
            return next(i for i, parent in enumerate(cls.__mro__) if name in vars(parent))

        for name in ("sequence", "event_prop"):
            if place(name) > min(map(place, _EQUATIONS)):
                setattr(cls, name, getattr(Neuron, name))

    @property
    def apart(self) -> bool:
        """Whether excitatory and inhibitory synapses drive it apart, in two currents."""
        return False

    def rest(self, like: jax.Array) -> Any:
        """Returns the state at rest, made from a step's current so that it lies where that does."""
        raise NotImplementedError

    def flow(self, state: Any, current: jax.Array) -> Any:
        """Returns the state a step later, as if there were no threshold."""
        raise NotImplementedError

    def over(self, state: Any) -> jax.Array:
        """Returns how far membranes are above the threshold, `[..., N]`."""
        raise NotImplementedError

    def after(self, state: Any, fired: jax.Array) -> Any:
        """Returns the state after the spikes, `fired` `[..., N]` bool."""
        raise NotImplementedError

    def begin(self, state: Any, share: jax.Array) -> Any:
        """Returns the state in which a trial begins, `share` 0..1 being random."""
        raise NotImplementedError

    def disturbed(self, state: Any, noise: jax.Array) -> Any:
        """Returns the state with noise on its membranes."""
        return replace(state, v=state.v + noise)

    def share(self) -> Value:
        """Returns the share of a constant current that a step takes to the membrane."""
        raise ValueError(f"{type(self).__name__} is no cell of compartments: it defines no `share`")

    def joined(self, current: jax.Array, back: jax.Array) -> jax.Array:
        """Returns a step's current with what recurrent synapses add."""
        return current + back

    def on(self, circuits: Any, normal: jax.Array | None = None) -> tuple[Any, Any]:
        """Returns the neuron as it is on its circuits, and the spread of a step's noise.

        Args:
            circuits: their deviations, `[1, N]` each: see `chip.Circuits`.
            normal: `[B, N]` standard normal numbers, of a trial's thresholds; None: no noise.
        """
        raise ValueError(f"{type(self).__name__} has no deviations on a chip: it defines no `on`")

    def step(
        self, state: Any, current: jax.Array, surrogate: SpikeFunction = SuperSpike()
    ) -> tuple[Any, jax.Array]:
        """Advances by one step; `partial(neuron.step)` is a scan body.

        Args:
            state: the state, from `rest` or the step before.
            current: `[..., N]` what the synapses add.
            surrogate: the surrogate of the spike's derivative.

        Returns:
            The next state, and spikes `[..., N]`, 0.0 or 1.0.
        """
        state = self.flow(state, floats(current, "current"))
        z = spike(self.over(state), surrogate)
        return self.after(state, lax.stop_gradient(z) > 0), z

    def sequence(
        self,
        nominal: "Neuron",
        drive: jax.Array,
        recurrent: Within | None = None,
        trial: Trial | None = None,
        *,
        surrogate: SpikeFunction = SuperSpike(),
        membrane: bool = False,
    ) -> Trace:
        """Runs from rest through a sequence, with the gradient of the nominal neuron.

        Args:
            nominal: the model that is differentiated.
            drive: `[T, B, N]` what the synapses add in each step.
            recurrent: synapses within the population, or None.
            trial: its noise, or None.
            surrogate: the surrogate of the spike's derivative.
            membrane: whether membranes are wanted, too.
        """
        given = alike(nominal, self, drive, recurrent, trial)
        return recorded(surrogate, membrane, *given)

    def differentiated(
        self,
        drive: jax.Array,
        recurrent: Within | None = None,
        trial: Trial | None = None,
        *,
        surrogate: SpikeFunction = SuperSpike(),
        membrane: bool = False,
    ) -> Trace:
        """Runs as `sequence`; JAX differentiates the scan over steps, each state of it kept."""
        wanted = membrane or not self.fires

        def keep(_: Any, seen: Any, z: Any) -> Any:
            return z, seen.v if wanted else None

        return Trace(*run(self, drive, recurrent, trial, surrogate, keep))

    def event_prop(self, *args: Any, **settings: Any) -> Trace:
        """Runs as `sequence`, with the gradient of the times of spikes."""
        raise ValueError(f"{type(self).__name__} has no EventProp gradient; take Surrogate")


def as_float32(neuron: Any) -> Any:
    """Returns a neuron whose parameters are float32 arrays: a jitted function meets one type.

    Raises:
        ValueError: it is no neuron, or its parameters are impossible.
    """
    if not hasattr(neuron, "sequence"):
        raise ValueError(
            f"neuron: expected one such as LIF() or LI(), got a {type(neuron).__name__}"
        )
    check_values(neuron)
    return jax.tree.map(partial(floats, name=type(neuron).__name__), neuron)
