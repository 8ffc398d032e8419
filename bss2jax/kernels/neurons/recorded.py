"""Sequences of any neuron: one scan over its steps, and a gradient for neurons in the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from bss2jax.arrays import pytree
from bss2jax.kernels import noise
from bss2jax.kernels.dot import settled
from bss2jax.kernels.gradients.nominal import any_perturbed, differentiated_once, values_of
from bss2jax.kernels.gradients.surrogate import SpikeFunction, spike
from bss2jax.kernels.synapses.recurrent import Within
from bss2jax.kernels.time_loop import fuses, over_time


class Trace(NamedTuple):
    """What a sequence leaves: spikes and membranes before reset, `[T, B, N]`, each or None."""

    spikes: jax.Array | None
    membrane: jax.Array | None


@pytree
@dataclass(frozen=True, eq=False)
class Trial:
    """What is random in one trial, beside the thresholds.

    Numbers depend on the words and their address alone: the step, the sample, the neuron.

    Attributes:
        sample: `[B, 1]` numbers of the samples.
        neuron: `[1, N]` numbers of the neurons.
        words: `[4]` of the noise that disturbs membranes, or None.
        spread: `[N]` std of what it adds in a step.
        start: `[B, N]` shares, 0..1, of where membranes begin; or None: at rest.
    """

    sample: jax.Array
    neuron: jax.Array
    words: Any = None
    spread: Any = None
    start: Any = None

    def disturbance(self, step: jax.Array) -> jax.Array:
        """Returns what noise adds to the membranes in a step, `[B, N]`."""
        normal, _ = noise.normal_pair(self.words, step, self.sample, self.neuron)
        return settled(self.spread * normal)


def run(
    neuron: Any,
    drive: jax.Array,
    recurrent: Within | None,
    trial: Trial | None,
    surrogate: SpikeFunction,
    keep: Callable[[Any, Any, Any], Any],
) -> Any:
    """Scans a neuron through a sequence: what `keep` takes of each step, stacked.

    Args:
        neuron, drive, recurrent, trial, surrogate: as in `Neuron.sequence`.
        keep: what is kept of the carry before the step (state, spikes of the step before, or None
            without recurrence), the state before reset, and the spikes, None of integrators.
    """
    like = first_step(drive)

    def step(fixed: Any, carry: Any, at: Any) -> Any:
        neuron, recurrent, trial = fixed
        state, before = carry
        x, t = at
        if recurrent is not None:
            x = neuron.joined(x, recurrent.drive(before))
        seen = _disturbed(neuron, neuron.flow(state, x), trial, t)
        if not neuron.fires:
            return (seen, None), keep(carry, seen, None)
        z = spike(neuron.over(seen), surrogate)
        state = neuron.after(seen, lax.stop_gradient(z) > 0)
        kept = None if recurrent is None else recurrent.push(before, z)
        return (state, kept), keep(carry, seen, z)

    state = start(neuron, like, trial)
    none = None if recurrent is None else recurrent.rest(state.v)
    noisy, noise = _noise(drive, recurrent, trial)
    return over_time(step, (neuron, recurrent, noisy), (state, none), (drive, noise))


def first_step(drive: jax.Array) -> jax.Array:
    """Returns the first step's current, or as much silence where there is no step.

    Args:
        drive: `[T, B, N]` current; `[T, B, G, N]` in groups.

    Returns:
        `[B, N]`; `[B, G, N]` in groups.
    """
    return drive[0] if len(drive) else jnp.zeros(drive.shape[1:], drive.dtype)


def start(neuron: Any, like: jax.Array, trial: Trial | None) -> Any:
    """Returns the state in which a trial begins.

    Args:
        neuron: the neuron that is run.
        like: `[B, N]` current of a step, `[B, G, N]` in groups: the state lies where it does.
        trial: which may say where membranes begin; None: at rest.
    """
    state = neuron.rest(like)
    return state if trial is None or trial.start is None else neuron.begin(state, trial.start)


def _noise(
    drive: jax.Array, recurrent: Within | None, trial: Trial | None
) -> tuple[Trial | None, jax.Array | None]:
    """What makes a step's noise, and the steps' numbers; for a kernel all noise, `[T, B, N]`."""
    if trial is None or trial.words is None:
        return None, None
    times = jnp.arange(len(drive), dtype=jnp.int32)
    if recurrent is None and fuses():  # populations with recurrence are scanned everywhere
        return None, jax.vmap(trial.disturbance)(times)
    return trial, times


def _disturbed(neuron: Any, state: Any, trial: Trial | None, noise: jax.Array | None) -> Any:
    if noise is None:
        return state
    added = noise if trial is None else trial.disturbance(noise)
    return neuron.disturbed(state, lax.stop_gradient(added))


# --- the generic pass: run the actual neuron, record its states, go back through the nominal one


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recorded(
    surrogate: SpikeFunction,
    membrane: bool,
    nominal: Any,
    actual: Any,
    drive: jax.Array,
    recurrent: Within | None,
    trial: Trial | None,
) -> Trace:
    """Runs any neuron in the loop: see `Neuron.sequence`.

    Forward records the states of the actual neuron. Backward goes through reset, spike and flow of
    the nominal one at those states, by the chain rule; so have its parameters, where they are
    trained.
    """
    return _forward(surrogate, membrane, actual, drive, recurrent, trial)[0]


def _forward(
    surrogate: SpikeFunction,
    membrane: bool,
    actual: Any,
    drive: jax.Array,
    recurrent: Within | None,
    trial: Trial | None,
) -> tuple[Trace, Any]:
    wanted = membrane or not actual.fires

    def keep(carry: Any, seen: Any, z: Any) -> Any:
        return carry, z, seen.v if wanted else None

    carries, z, v = run(actual, drive, recurrent, trial, surrogate, keep)
    return Trace(z, v), (carries, z)


def recorded_forward(
    surrogate: SpikeFunction, membrane: bool, nominal: Any, *args: Any
) -> tuple[Trace, Any]:
    """The forward rule of `recorded`, of arguments as custom_vjp's symbolic zeros wrap them."""
    trained = any_perturbed(nominal)
    nominal, *args = differentiated_once(values_of((nominal, *args)), "a population")
    trace, record = _forward(surrogate, membrane, *args)
    # A structure, not a flag: residuals are arrays.
    return trace, (() if trained else None, nominal, args, record)


def recorded_backward(
    surrogate: SpikeFunction, membrane: bool, residuals: Any, cotangents: Trace
) -> Any:
    """The backward rule of `recorded`."""
    trained, nominal, (actual, drive, recurrent, trial), ((states, before), z) = residuals
    like = first_step(drive)
    free = () if trained is None else nominal
    dz, dv = cotangent_of(cotangents.spikes, z), cotangent_of(cotangents.membrane, None)

    def step(fixed: Any, carry: Any, at: Any) -> Any:
        nominal, actual, recurrent, trial, turned = fixed
        model = (lambda _: nominal) if trained is None else (lambda n: n)
        dafter, dnominal, back = carry
        state, before, fired, past, x, t, dz, dv = at
        # The step as it was.
        if recurrent is not None:
            x, pull_back = jax.vjp(partial(actual.joined, x), recurrent.drive(before))
            due, back = recurrent.due(back, past)
            dz = dz + due
        seen = _disturbed(actual, actual.flow(state, x), trial, t)
        # Back through reset and spike.
        dseen = dafter
        if nominal.fires:
            dn, dseen = _pull(lambda n, s: model(n).after(s, fired > 0), free, seen, dafter)
            over, pull = _vjp(lambda n, s: model(n).over(s), free, seen)
            dnominal = _add(dnominal, dn)
            dn, ds = pull(dz * surrogate.derivative(over))
            dnominal, dseen = _add(dnominal, dn), _add(dseen, ds)
        if dv is not None:
            dseen = _add(dseen, _pull(lambda _, s: s.v, (), seen, dv)[1])
        # Back through the flow, and the recurrent part of the current.
        dn, dstate, dx = _pull(lambda n, s, x: model(n).flow(s, x), free, state, dseen, x)
        dnominal = _add(dnominal, dn)
        if recurrent is None:
            return (dstate, dnominal, None), (dx, None)
        (dback,) = pull_back(dx)
        return (dstate, dnominal, recurrent.pull(back, dback, turned)), (dx, dback)

    rest = start(nominal, like, trial)
    zero = jax.tree.map(jnp.zeros_like, (_floats(rest), free))
    none = None if recurrent is None else recurrent.rest(rest.v)
    noisy, noise = _noise(drive, recurrent, trial)
    past = None if recurrent is None else recurrent.history(z)
    turned = None if recurrent is None else recurrent.turned()
    fixed = nominal, actual, recurrent, noisy, turned
    xs = states, before, z, past, drive, noise, dz, dv
    if trained is None:
        dx, dback = over_time(step, fixed, (*zero, none), xs, reverse=True)
        drecurrent = None if recurrent is None else recurrent.gradient(z, dback)
        return None, None, dx, drecurrent, None
    scanned = lax.scan(partial(step, fixed), (*zero, none), xs, reverse=True)
    (dstate, dnominal, _), (dx, dback) = scanned
    drecurrent = None if recurrent is None else recurrent.gradient(z, dback)
    # The state at rest is made of parameters, too.
    _, pull = jax.vjp(lambda n: _floats(start(n, like, trial)), nominal)
    return _add(dnominal, pull(dstate)[0]), None, dx, drecurrent, None


recorded.defvjp(recorded_forward, recorded_backward, symbolic_zeros=True)


def cotangent_of(cotangent: Any, like: Any) -> Any:
    """Returns a cotangent; where nothing flows back zeros like an array, or None without one."""
    if not isinstance(cotangent, SymbolicZero):
        return cotangent
    return None if like is None else jnp.zeros_like(like)


def _floats(tree: Any) -> list:
    """The leaves that have gradients: a state may count steps in whole numbers."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _vjp(equation: Callable, neuron: Any, state: Any, *rest: Any) -> tuple[Any, Callable]:
    """`jax.vjp` by a neuron, the floats of a state, and what else the equation takes."""
    leaves, treedef = jax.tree.flatten(state)
    exact = [not jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def of_floats(neuron: Any, floats: list, *rest: Any) -> Any:
        left = iter(floats)
        whole = [leaf if e else next(left) for leaf, e in zip(leaves, exact, strict=True)]
        y = equation(neuron, jax.tree.unflatten(treedef, whole), *rest)
        return y if isinstance(y, jax.Array) else _floats(y)

    return jax.vjp(of_floats, neuron, _floats(state), *rest)


def _pull(equation: Callable, neuron: Any, state: Any, dy: Any, *rest: Any) -> Any:
    """The gradients of what an equation takes."""
    return _vjp(equation, neuron, state, *rest)[1](dy)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)
