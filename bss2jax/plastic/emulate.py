"""Periods of a population and of its processors, in turn: a scan over periods, one over steps.

A period: the environment says what is sent; neurons run, sensors and counters with them; the
environment answers; the rule reads and writes weights. Random numbers belong to the key and to the
period's number, so that a run goes on, bit for bit, as if it had not been stopped.

Spikes within the population arrive after a delay. So the steps of one delay are a block whose input
is known when it begins: only rows that spike are added up, some at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from bss2jax.arrays import pytree
from bss2jax.chip import draws
from bss2jax.kernels import noise
from bss2jax.kernels.dot import dot, settled
from bss2jax.plastic.hybrid import Hybrid, State, sensors_at
from bss2jax.plastic.observed import Observed

_SEND, _ANSWER, _RULE, _NOISE, _READ = range(5)  # what a period's key is folded with
_EVENTS, _BURST = 16, 64  # rows with spikes that are added up at first, and then at a time
_DENSE = 64  # rows up to which all are added up, and all sensors charged, in each step


@pytree
@dataclass(frozen=True, eq=False)
class Stimulus:
    """What is sent in a period.

    Attributes:
        raster: `[T, R]` spikes, 0 or 1.
        rows: `[R]` int32 numbers of the rows that they go to; None: of all inputs.
    """

    raster: jax.Array
    rows: jax.Array | None = None


class Environment(Protocol):
    """What a population acts in: pure functions of a state, the `world`."""

    def begin(self, key: jax.Array) -> Any:
        """Returns the first state of the world."""
        ...

    def send(self, world: Any, key: jax.Array) -> Stimulus:
        """Returns what is sent in a period."""
        ...

    def answer(self, world: Any, counts: jax.Array, key: jax.Array) -> tuple[Any, Any, Any]:
        """Returns what follows from the spikes.

        Args:
            world: the state of the world.
            counts: `[N]` spikes of the neurons in the window.
            key: a random key.

        Returns:
            The next state, the signal that the rule sees, and the score: numbers by name.
        """
        ...


@pytree
@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a period; of several with a leading axis.

    Attributes:
        counts: `[N]` spikes in the window.
        activity: `[blocks]` spikes of all neurons in each block, of a delay's length.
        score: what the environment says.
        weight: `[]` mean weight of the wired synapses, LSB.
    """

    counts: jax.Array
    activity: jax.Array
    score: Any
    weight: jax.Array


def emulate(
    hybrid: Hybrid,
    rule: Any,
    environment: Environment,
    state: State,
    key: jax.Array,
    periods: int,
    watch: Callable[[State, Seen], Any] = lambda state, seen: seen,
) -> tuple[State, Any]:
    """Runs a population and its processors for some periods.

    Args:
        hybrid: the population.
        rule: what the processors do: see `Rule`.
        environment: what is sent, and what follows.
        state: the state from `Hybrid.begin`, or of a run that goes on.
        key: the run's key, the same for all of its periods.
        periods: how many.
        watch: what is kept of each period.

    Returns:
        The state, and what was kept, with a leading axis of periods.

    Raises:
        ValueError: the rule is no function.
    """
    if not callable(rule):
        raise ValueError(f"rule: expected a function or a rule, got a {type(rule).__name__}")
    one = partial(period, hybrid, rule, environment, key)

    def body(state: State, _: None) -> tuple[State, Any]:
        state, seen = one(state)
        return state, watch(state, seen)

    return lax.scan(body, state, None, length=periods)


def period(
    hybrid: Hybrid, rule: Any, environment: Environment, key: jax.Array, state: State
) -> tuple[State, Seen]:
    """Runs one period: see `emulate` for the arguments.

    Returns:
        The state after the rule, and what is kept.
    """
    key = draws.folded(key, state.number)
    sent = environment.send(state.world, draws.folded(key, _SEND))
    inputs = jnp.arange(hybrid.inputs, dtype=jnp.int32) if sent.rows is None else sent.rows
    own = jnp.arange(hybrid.inputs, hybrid.rows, dtype=jnp.int32)  # none but of recurrent ones
    rows = jnp.concatenate([inputs, own])
    # The population.
    before = hybrid.begin(state.weights) if hybrid.fresh else state
    # Chips side by side take turns then: a loop over spikes would copy their arrays for each.
    run = sequential_vmap(_run) if _by_spikes(hybrid, rows) else _run
    after, charge, counts, activity = run(hybrid, before, sent.raster, rows, key)
    # What the world makes of it, and what the processors read.
    world, signal, score = environment.answer(state.world, counts, draws.folded(key, _ANSWER))
    causal = acausal = baseline = None
    if hybrid.sensors is not None:
        sensors = sensors_at(hybrid.sensors, rows)
        baseline = sensors.read(sensors.rest(len(rows), hybrid.neurons))
        causal, acausal = sensors.read(charge, draws.folded(key, _READ))
    observed = Observed(
        rows, causal, acausal, baseline, jnp.minimum(counts, 255),
        hybrid.sample(after.neurons.v), hybrid.signs, signal, state.number,
    )  # fmt: skip
    weights, memory = rule(observed, state.weights, state.memory, draws.folded(key, _RULE))
    weights = hybrid.kept(weights)
    state = State(after.neurons, after.sent, weights, memory, world, state.number + 1)
    synapses = weights.size if hybrid.wired is None else hybrid.wired.sum()
    return state, Seen(counts, activity, score, weights.sum() / synapses)


def _run(
    hybrid: Hybrid, state: State, raster: jax.Array, rows: jax.Array, key: jax.Array
) -> tuple[State, Any, jax.Array, jax.Array]:
    """Runs the neurons through a period, block by block.

    Returns:
        The state, the sensors' capacitors or None, counts `[N]`, and spikes `[blocks]`.
    """
    steps, delay = hybrid.period, hybrid.delay
    shown = hybrid.shown(state.weights, rows)
    sensors = None if hybrid.sensors is None else sensors_at(hybrid.sensors, rows)
    charge = None if sensors is None else sensors.rest(len(rows), hybrid.neurons)
    by_spikes = _by_spikes(hybrid, rows)
    words = noise.stream(key, _NOISE)
    neuron = hybrid.neuron

    def one(carry: Any, at: Any) -> tuple[Any, jax.Array]:
        neurons, charge = carry
        current, disturbance, pre = at
        neurons = neuron.flow(neurons, current)
        if hybrid.spread is not None:
            neurons = neuron.disturbed(neurons, disturbance)
        fired = neuron.over(neurons) > 0
        neurons, z = neuron.after(neurons, fired), fired.astype(jnp.float32)
        if sensors is not None and not by_spikes:
            charge = sensors.step(charge, pre, z)
        return (neurons, charge), z

    def block(carry: Any, at: Any) -> tuple[Any, jax.Array]:
        neurons, charge, counts, sent = carry
        given, number = at
        pre = jnp.concatenate([given, sent], axis=-1) if hybrid.recurrent else given
        current = settled(added(pre, shown) * hybrid.unit)
        step = number * delay + jnp.arange(delay, dtype=jnp.int32)
        disturbance = _disturbance(hybrid, words, step)
        # Step by step: of several steps at once XLA's loops compute a membrane again for each use.
        (neurons, charge), z = lax.scan(one, (neurons, charge), (current, disturbance, pre))
        if sensors is not None and by_spikes:
            charge = sensors.run_sparse(pre, z, charge)
        counted = (step >= steps - (hybrid.window or steps)).astype(jnp.float32)
        counts = counts + (counted[:, None] * z).sum(axis=0)
        return (neurons, charge, counts, z if hybrid.recurrent else sent), z.sum()

    number = jnp.arange(steps // delay, dtype=jnp.int32)
    carry = state.neurons, charge, jnp.zeros(hybrid.neurons, jnp.float32), state.sent
    given = jnp.asarray(raster, jnp.float32).reshape(steps // delay, delay, -1)
    (neurons, charge, counts, sent), activity = lax.scan(block, carry, (given, number))
    return replace(state, neurons=neurons, sent=sent), charge, counts, activity


def _by_spikes(hybrid: Hybrid, rows: jax.Array) -> bool:
    """Whether sensors are charged spike by spike, not all in each step: they are many."""
    return hybrid.sensors is not None and len(rows) > _DENSE


def added(pre: jax.Array, shown: jax.Array) -> jax.Array:
    """Adds up the rows that spike; sums are exact, whatever their order.

    Args:
        pre: `[D, R]` spikes, 0 or 1.
        shown: `[R, N]` LSB.

    Returns:
        `[D, N]` LSB.
    """
    rows = pre.shape[-1]
    if rows <= _DENSE:
        return dot(pre, shown)

    def some(left: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
        spikes, row = lax.top_k(left, min(most, rows))
        return left.at[row].set(0.0), dot(jnp.take(pre, row, axis=1) * spikes, shown[row])

    def more(carry: Any) -> Any:
        left, total = some(carry[0], _BURST)
        return left, carry[1] + total

    # Most blocks have few spikes; a burst has many.
    begin = some(pre.max(axis=0), _EVENTS)
    return lax.while_loop(lambda carry: carry[0].max() > 0, more, begin)[1]


def _disturbance(hybrid: Hybrid, words: jax.Array, step: jax.Array) -> jax.Array:
    """What noise adds to membranes, `[D, N]`; zeros where there is none."""
    if hybrid.spread is None:
        return jnp.zeros((len(step), 1), jnp.float32)
    # A pair serves two steps.
    neuron = jnp.arange(hybrid.neurons, dtype=jnp.int32)
    half = -(-len(step) // 2)
    pair = noise.normal_pair(words, step[:half, None], neuron[None])
    return settled(hybrid.spread * jnp.concatenate(pair)[: len(step)])
