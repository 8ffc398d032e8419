"""Structured neurons: compartments of any cell, coupled by conductances, with plateau potentials.

    C_a dv_a/dt = (what the cell does) + sum_b g (v_b - v_a)

A conductance g between circuits of capacitance C has tau_icc = C / g; a compartment of k circuits
has k times the capacitance, leak and conductance of one, and an input moves it by a k-th. Currents
are potentials, as everywhere: what arrives from b is tau_mem / (k tau_icc) (v_b - v_a).

The coupling is implicit. A cell's step takes a share r of a constant current to its membrane,
1 - e^(-dt/tau_mem); that of the coupling lies between those at both ends of the step,

    v' = cell(v) + r G ((1 - theta) L v + theta L v'),

which is solved along the tree, leaves first (Hines). theta is such that two compartments without
leak relax to each other exactly, whatever the step: 1/2 for short ones, of second order, and 1 for
long ones, so that nothing oscillates. Where nothing changes any more, it is exact.

A spike holds its compartment at reset for t_ref: a plateau, where reset lies above threshold. For
`holdoff` after that the membrane is free and cannot fire. A plateau has a gradient: in that of the
reset a spike is a switch from leak to reset which stays for t_ref.

Compartment c of neuron j of n is number c n + j of the population, so the somata come first.

References: Hines 1984 (trees); Liniger and Willoughby 1970 (fitted theta); Schemmel et al. 2017,
10.1109/IJCNN.2017.7966124; calix `multicomp` and `plateau_potential` (tau_icc, hold-off).
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from bss2jax.arrays import along_last, floats, pytree
from bss2jax.chip.morphology import Morphology
from bss2jax.kernels.gradients.surrogate import SuperSpike, spike
from bss2jax.kernels.neurons.base import Neuron, Value

Rows = list[jax.Array]  # of each compartment, `[..., n]`


@pytree
@dataclass(frozen=True, eq=False)
class CompartmentsState:
    """What structured neurons carry from step to step.

    Attributes:
        cell: the state of all compartments, `[..., N]` each.
        wait: steps in which a compartment is held or held off, `[..., N]`; None where none is.
        plateau: 0, and the gradient of what holds a compartment, `[..., N]`; None as above.
    """

    cell: Any
    wait: jax.Array | None
    plateau: jax.Array | None

    @property
    def v(self) -> jax.Array:
        """Membranes, `[..., N]`."""
        return self.cell.v


@pytree
@dataclass(frozen=True, eq=False)
class Compartments(Neuron):
    """Neurons of compartments: see the module, and `of`, which makes them of a morphology.

    Attributes:
        cell: the neuron that each compartment is, such as `LIF`; parameters are a number, one a
            compartment `[C]`, or one of each `[N]`. It waits at no reset of its own.
        tau_icc: the time constants of the conductances of all compartments but the first, s; `[C -
            1]`, or `[(C - 1) n]` where neurons differ.
        parents: number of the parent of each compartment but the first.
        circuits: circuits of each compartment.
        spikes: whether each has a threshold.
        t_ref: how long a spike holds each compartment at reset, s; rounded to steps.
        holdoff: how long after that it cannot fire, s; rounded to steps.
        alpha: steepness of the derivative of a plateau's beginning: see `SuperSpike`.

    Raises:
        ValueError: settings of other numbers of compartments, or a cell that waits by itself.
    """

    coupled: ClassVar[bool] = True

    cell: Any
    tau_icc: Value
    parents: tuple[int, ...] = field(metadata={"static": True})
    circuits: tuple[int, ...] = field(metadata={"static": True})
    spikes: tuple[bool, ...] = field(metadata={"static": True})
    t_ref: tuple[float, ...] = field(metadata={"static": True})
    holdoff: tuple[float, ...] = field(metadata={"static": True})
    alpha: float = field(default=50.0, metadata={"static": True})

    def __post_init__(self) -> None:
        if isinstance(self.tau_icc, list | tuple):
            object.__setattr__(self, "tau_icc", floats(self.tau_icc, "tau_icc"))
        for name in ("parents", "circuits", "spikes", "t_ref", "holdoff"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("circuits", "spikes", "t_ref", "holdoff"):
            if len(getattr(self, name)) != self.size:
                raise ValueError(
                    f"{name}: expected one of each of {self.size} compartments, got "
                    f"{len(getattr(self, name))}"
                )
        if getattr(self.cell, "t_ref", 0.0) or not getattr(self.cell, "on_grid", True):
            raise ValueError(
                "cell: its compartments wait, and its spikes are at the ends of steps; give t_ref "
                "to the compartments, and take integrator euler of AdEx"
            )
        if any(not 0 <= parent < c for c, parent in enumerate(self.parents, 1)):
            raise ValueError(
                f"parents: expected numbers of compartments before, got {self.parents}"
            )
        if any(self.spikes) and not self.cell.fires:
            raise ValueError(
                f"cell: {type(self.cell).__name__} never fires; give the compartments spikes=False"
            )

    @classmethod
    def of(cls, morphology: Morphology, cell: Any, alpha: float = 50.0) -> "Compartments":
        """Returns the neurons of a morphology.

        Args:
            morphology: compartments, with what of them differs from the cell.
            cell: the neuron that each compartment is, all else being equal.
            alpha: steepness of the derivative of a plateau's beginning.
        """
        parts = morphology.compartments
        differs: dict[str, Any] = {}
        for name in ("tau_mem", "leak", "reset", "threshold"):
            given = [getattr(one, name) for one in parts]
            if any(one is not None for one in given):
                if not hasattr(cell, name):
                    raise ValueError(f"{name}: {type(cell).__name__} has none; leave it out")
                base = getattr(cell, name)
                differs[name] = jnp.stack(
                    [floats(base if one is None else one, name) for one in given]
                )
        return cls(
            replace(cell, **differs), floats([one.tau_icc for one in parts[1:]], "tau_icc"),
            morphology.parents, tuple(one.circuits for one in parts),
            tuple(one.spikes for one in parts), tuple(one.t_ref for one in parts),
            tuple(one.holdoff for one in parts), alpha,
        )  # fmt: skip

    # --- what a population asks

    @property
    def size(self) -> int:
        """Compartments of a neuron."""
        return len(self.parents) + 1

    @property
    def dt(self) -> float:
        """Length of a step, s."""
        return self.cell.dt

    @property
    def apart(self) -> bool:
        """Whether excitatory and inhibitory synapses drive it apart, in two currents."""
        return self.cell.apart

    def by_compartment(self, y: jax.Array) -> jax.Array:
        """Returns what compartments `[..., C n]` have as `[..., C, n]`."""
        return y.reshape(*y.shape[:-1], self.size, y.shape[-1] // self.size)

    def rest(self, like: jax.Array) -> CompartmentsState:
        """Returns the state at rest, all of them at their leak: see `Neuron.rest`."""
        cell = self._cells(like).rest(like)
        waits = any(self.spikes) and any(self.t_ref + self.holdoff)
        zero = jnp.zeros_like(cell.v) if waits else None
        return CompartmentsState(cell, zero, zero)

    def flow(self, state: CompartmentsState, current: jax.Array) -> CompartmentsState:
        """Returns the state a step later, as if there were no threshold."""
        cells = self._cells(state.v)
        free = cells.flow(state.cell, current * self._each([1 / k for k in self.circuits], current))
        v, held = free.v, None
        if state.wait is not None:
            held = self._held(state.wait)
            # Where there is a plateau it is a potential; where there might be, as a current.
            switch = state.plateau * (cells.reset - cells.leak)
            v = jnp.where(held, cells.reset + switch, v + cells.share() * switch)
        return replace(state, cell=replace(free, v=self._coupled(cells, state.v, v, held)))

    def over(self, state: CompartmentsState) -> jax.Array:
        """Returns v - threshold; -inf where a compartment cannot fire."""
        if not any(self.spikes):
            return jnp.full_like(state.v, -jnp.inf)
        over = self._cells(state.v).over(state.cell)
        if not all(self.spikes):
            over = jnp.where(self._each(self.spikes, over), over, -jnp.inf)
        return over if state.wait is None else jnp.where(state.wait > 0, -jnp.inf, over)

    def after(self, state: CompartmentsState, fired: jax.Array) -> CompartmentsState:
        """Returns the state after the spikes."""
        if not any(self.spikes):
            return state
        cells = self._cells(state.v)
        cell, wait, plateau = cells.after(state.cell, fired), state.wait, state.plateau
        if wait is None or plateau is None:
            return CompartmentsState(cell, None, None)
        held, off = (self._steps(times) for times in (self.t_ref, self.holdoff))
        total = self._each([a + b for a, b in zip(held, off, strict=True)], wait)
        # Its value stays 0; the gradient remembers for as long as a plateau lasts.
        z = spike(self.over(state), SuperSpike(self.alpha))
        kept = self._each([1 - 1 / n if n else 0.0 for n in held], wait)
        plateau = plateau * kept + (z - lax.stop_gradient(z))
        return CompartmentsState(cell, jnp.where(fired, total, jnp.maximum(wait - 1, 0)), plateau)

    def disturbed(self, state: CompartmentsState, noise: jax.Array) -> CompartmentsState:
        """Returns the state with noise on membranes, but those that are held."""
        if state.wait is not None:
            noise = jnp.where(self._held(state.wait), 0, noise)
        return replace(state, cell=replace(state.cell, v=state.v + noise))

    def joined(self, current: jax.Array, back: jax.Array) -> jax.Array:
        """Returns a step's current with what recurrent synapses add."""
        return self.cell.joined(current, back)

    def on(self, circuits: Any, normal: jax.Array | None = None) -> tuple["Compartments", Any]:
        """Returns the neurons on their circuits: see `Neuron.on`."""
        cell, spread = self._cells(circuits.leak).on(circuits, normal)
        n = circuits.leak.shape[-1] // self.size
        tau_icc = jnp.repeat(self.tau_icc, n, axis=-1) if self._alike(n) else self.tau_icc
        return replace(self, cell=cell, tau_icc=tau_icc * circuits.tau_icc[..., n:]), spread

    # --- the equations

    def _cells(self, like: jax.Array) -> Any:
        """The cell of all compartments, parameters a number or with as many axes as `like`."""
        size = like.shape[-1]
        n = size // self.size
        if n * self.size != size:
            raise ValueError(
                f"compartments: expected a number of them that {self.size} divides, got {size}"
            )

        def of_each(p: Any) -> Any:
            if not jnp.ndim(p):
                return p
            few = jnp.shape(p)[-1] == self.size
            each = jnp.repeat(p, n, axis=-1) if few and n > 1 else jnp.asarray(p)
            return along_last(each, like)

        return jax.tree.map(of_each, self.cell)

    def _alike(self, n: int) -> bool:
        return n > 1 and jnp.shape(self.tau_icc)[-1:] == (self.size - 1,)

    def _each(self, values: Any, like: jax.Array) -> jax.Array:
        """What is given of each compartment, `[..., N]` with as many axes as `like`."""
        kind = bool if isinstance(values[0], bool) else like.dtype
        each = jnp.repeat(jnp.asarray(values, kind), like.shape[-1] // self.size)
        return along_last(each, like)

    def _steps(self, times: tuple[float, ...]) -> list[int]:
        return [round(time / self.dt) for time in times]

    def _held(self, wait: jax.Array) -> jax.Array:
        """Whether compartments are at reset, not merely held off."""
        return wait > self._each(self._steps(self.holdoff), wait)

    def _rows(self, y: jax.Array) -> Rows:
        """The compartments one by one."""
        return [self.by_compartment(y)[..., c, :] for c in range(self.size)]

    def _coupled(self, cells: Any, before: jax.Array, v: jax.Array, held: Any) -> jax.Array:
        """Membranes at the end of a step, of those before it and those without coupling."""
        if self.size == 1:
            return v
        ones = (1,) * (v.ndim - 1)
        reach = cells.share() * cells.tau_mem + jnp.zeros((*ones, v.shape[-1]), v.dtype)
        r = [a / k for a, k in zip(self._rows(reach), self.circuits, strict=True)]
        lead = jnp.shape(self.tau_icc)[:-1] or ones
        tau = jnp.reshape(self.tau_icc, (*lead, self.size - 1, -1))
        old, right = self._rows(before), self._rows(v)
        moves = None if held is None else [1.0 - h for h in self._rows(held.astype(v.dtype))]
        diagonal: list[Any] = [1.0] * self.size
        down: list[Any] = [None] * self.size
        up: list[Any] = [None] * self.size
        # The part of the coupling that is known, and the matrix of that which is not.
        for c, p in enumerate(self.parents, 1):
            a, b = r[c] / tau[..., c - 1, :], r[p] / tau[..., c - 1, :]
            theta = _fitted(a + b)
            if moves is not None:
                a, b = a * moves[c], b * moves[p]
            way = (1 - theta) * (old[p] - old[c])
            right[c], right[p] = right[c] + a * way, right[p] - b * way
            down[c], up[c] = a * theta, b * theta
            diagonal[c], diagonal[p] = diagonal[c] + down[c], diagonal[p] + up[c]
        # Leaves first, and back.
        for c in range(self.size - 1, 0, -1):
            p, share_of = self.parents[c - 1], up[c] / diagonal[c]
            diagonal[p] = diagonal[p] - share_of * down[c]
            right[p] = right[p] + share_of * right[c]
        found = [right[0] / diagonal[0]]
        for c, p in enumerate(self.parents, 1):
            found.append((right[c] + down[c] * found[p]) / diagonal[c])
        return jnp.stack(found, axis=-2).reshape(v.shape)


def _fitted(x: jax.Array) -> jax.Array:
    """Returns the theta for which (1 - (1 - theta) x) / (1 + theta x) = e^-x."""
    large = jnp.where(x < 0.1, 1.0, x)
    exact = 1 / -jnp.expm1(-large) - 1 / large
    return jnp.where(x < 0.1, 0.5 + x / 12 - x**3 / 720, exact)
