"""What a config of hybrid plasticity stands for: a population on a chip, rules, an environment."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import data
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip, sample_chip
from bss2jax.chip.file import ChipError, load_chip
from bss2jax.chip.sensors import SensorMismatch
from bss2jax.config import ConfigError
from bss2jax.config.plastic import PlasticConfig
from bss2jax.kernels import coding
from bss2jax.kernels.neurons.lif import LIF
from bss2jax.kernels.synapses.correlation import Sensors, sensors_of
from bss2jax.kernels.synapses.events import to_raster
from bss2jax.mapping.processors import check_period
from bss2jax.plastic import environments
from bss2jax.plastic.emulate import emulate
from bss2jax.plastic.hybrid import Hybrid, State, on_chip
from bss2jax.plastic.observed import memory_of
from bss2jax.plastic.structural import Sequence

_PLASTIC = 0x504C4153  # what a run's keys are set apart by from those of the chip
_WIRES, _WORLD, _RUN = range(3)


@dataclass(frozen=True)
class Emulation:
    """A config with everything it stands for.

    Attributes:
        config: what it is made of.
        hybrid: the population on its chip.
        rule: what the processors do.
        environment: what the population acts in.
        weights: `[K, N]` to begin with, LSB.
    """

    config: PlasticConfig
    hybrid: Hybrid
    rule: Sequence
    environment: Any
    weights: jax.Array

    @property
    def key(self) -> jax.Array:
        """The key of the run, `[]`."""
        return draws.folded(jax.random.key(self.config.seed), _PLASTIC, _RUN)

    def begin(self, weights: jax.Array | None = None) -> State:
        """Returns the state that a run begins with.

        Args:
            weights: `[K, N]` others than those of the config, LSB.
        """
        world = self.environment.begin(draws.folded(self.key, _WORLD))
        memory = memory_of(self.rule, self.hybrid.rows, self.hybrid.neurons)
        return self.hybrid.begin(self.weights if weights is None else weights, memory, world)

    @cached_property
    def run(self) -> Any:
        """Returns `run(hybrid, state, periods)`, compiled for each number of periods."""

        @partial(jax.jit, static_argnums=2)
        def run(hybrid: Hybrid, state: State, periods: int) -> Any:
            return emulate(hybrid, self.rule, self.environment, state, self.key, periods)

        return run


def prepare(config: PlasticConfig) -> Emulation:
    """Builds all that a config stands for.

    Raises:
        ConfigError: something does not fit: sizes, the period, the chip's file.
    """
    try:
        rule = Sequence(config.rules)
        environment, inputs = _environment(config)
        signs, wired, weights = _array(config, inputs)
        hybrid = _hybrid(config, signs, wired, rule.correlates)
        emulation = Emulation(config, hybrid, rule, environment, jnp.asarray(weights))
        _visits(emulation)
        emulation.begin()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return emulation


def steps_of(config: PlasticConfig, seconds: float, name: str) -> int:
    """Returns a time of a config in steps.

    Args:
        config: the config whose dt applies.
        seconds: the time, s.
        name: its key.

    Raises:
        ConfigError: it is no whole number of steps.
    """
    steps = seconds / config.neurons.dt
    if abs(steps - round(steps)) > 1e-3 or round(steps) < 1:
        raise ConfigError(f"{name}: {seconds:g} s is no multiple of dt, {config.neurons.dt:g} s")
    return round(steps)


def chip_of(config: PlasticConfig) -> Chip:
    """Returns the chip of a config.

    Raises:
        ConfigError: its file cannot be read.
    """
    if config.chip.file is None:
        key = jax.random.key(config.chip.seed)
        return sample_chip(key, config.spreads, substrate=config.substrate)
    try:
        return load_chip(config.chip.file, substrate=config.substrate)
    except ChipError as error:
        raise ConfigError(f"chip.file: {error}") from None


def describe(emulation: Emulation) -> list[tuple[str, str]]:
    """Returns what an emulation is, in words: a name and a line each."""
    config, hybrid = emulation.config, emulation.hybrid
    visited, busy = _visits(emulation)
    chip = config.chip.file or f"seed {config.chip.seed}, {config.mismatch.preset}"
    return [
        (config.name, config.description),
        ("population", f"{hybrid.neurons} neurons, {hybrid.rows} rows of synapses"),
        ("chip", chip),
        ("rules", ", ".join(each.kind for each in config.rules)),
        ("periods", f"{config.periods} of {1e6 * config.period:g} us"),
        ("processors", f"{visited} rows a period, busy {busy:.0%} of it" if visited else "ideal"),
    ]


def _environment(config: PlasticConfig) -> tuple[Any, int]:
    """The environment, and the sources that it drives."""
    steps, dt = steps_of(config, config.period, "period"), config.neurons.dt
    given: Any = config.environment
    if given.kind == "poisson":
        return environments.Poisson(given.sources, given.rate, steps, dt), given.sources
    if given.kind == "pong":
        interval = steps_of(config, given.interval, "environment.interval")
        noise = steps_of(config, given.noise, "environment.noise") if given.noise else 0
        places = config.neurons.number
        game = environments.Pong(places, steps, interval, given.beside, noise, given.rewards)
        return game, places + 1
    known, found = data.spec(given.name), data.load(given.name).train
    values = np.asarray(found.x[: given.samples], np.float32) / np.asarray(known.full_scale)
    values = values.astype(np.float32)
    values = values.reshape(len(values), -1)
    rasters = to_raster(coding.latency(values, steps), steps, values.shape[1])
    labels = jnp.asarray(found.y[: given.samples], jnp.int32)
    if config.synapses.pairs:
        rasters = jnp.repeat(rasters, 2, axis=-1)
    samples = environments.Samples(jnp.moveaxis(rasters, 0, 1), labels, len(known.classes))
    return samples, values.shape[1]


def _array(config: PlasticConfig, sources: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Signs of the rows, which synapses there are, and initial weights."""
    made, number = config.synapses, config.neurons.number

    def signs(rows: int) -> np.ndarray:
        excite = round((1 - made.inhibitory) * rows)
        return np.where(np.arange(rows) < excite, 1, -1)

    ours = np.tile([1, -1], sources) if made.pairs else signs(sources)
    blocks = [(len(ours), made.wired, made.weight)]
    if made.recurrent:
        ours = np.concatenate([ours, signs(number)])
        blocks.append((number, made.wired_recurrent, made.weight_recurrent))
    key = draws.folded(jax.random.key(config.seed), _PLASTIC, _WIRES)
    chance = np.repeat([c for _, c, _ in blocks], [n for n, _, _ in blocks])[:, None]
    weights = np.repeat([w for _, _, w in blocks], [n for n, _, _ in blocks])[:, None]
    weights = np.broadcast_to(weights, (len(ours), number)).astype(np.float32)
    if (chance == 1).all():
        return ours, None, weights
    return ours, np.asarray(draws.uniform(key, weights.shape)) < chance, weights


def _hybrid(
    config: PlasticConfig, signs: np.ndarray, wired: np.ndarray | None, correlates: bool
) -> Hybrid:
    """The population on its chip."""
    made, neurons, dt = config.synapses, config.neurons, config.neurons.dt
    neuron = LIF(
        tau_mem=neurons.tau_mem, tau_syn=neurons.tau_syn, reset=neurons.reset,
        t_ref=neurons.t_ref, dt=dt,
    )  # fmt: skip
    key = jax.random.key(config.chip.seed)
    ideal = config.mismatch.preset == "none" and not any(vars(config.spreads).values())
    window = config.period if config.window is None else config.window
    hybrid = on_chip(
        neuron, None if ideal else chip_of(config), signs, neurons.number,
        sensors=_sensors(config, key) if correlates else None,
        substrate=config.substrate, unit=1 / made.scale,
        wired=None if wired is None else jnp.asarray(wired),
        period=steps_of(config, config.period, "period"),
        window=steps_of(config, window, "window"),
        delay=steps_of(config, made.delay, "synapses.delay"),
        recurrent=made.recurrent, fresh=neurons.fresh, whole=made.whole,
    )  # fmt: skip
    inhibits = jnp.asarray(signs < 0)[:, None]
    strength = hybrid.strength * jnp.where(inhibits, made.inhibitory_strength, 1.0)
    if not (made.offset or made.offset_inhibitory or made.offset_std):
        return replace(hybrid, strength=strength)
    # A synaptic input of each neuron and sign adds to each pulse.
    std = 0.0 if ideal else made.offset_std
    off = draws.around(draws.folded(key, "synaptic_offset"), std, (2, neurons.number))
    both = off + jnp.array([[made.offset], [made.offset_inhibitory]])
    return replace(hybrid, strength=strength, offset=jnp.where(inhibits, both[1], both[0]))


def _sensors(config: PlasticConfig, key: jax.Array) -> Sensors:
    """The correlation sensors of the chip."""
    made = config.sensors
    target = Sensors(
        made.amplitude, made.tau, made.baseline, noise=made.noise, dt=config.neurons.dt
    )
    if made.spread == "none":
        return target
    mismatch = getattr(SensorMismatch, made.spread)()
    return sensors_of(key, mismatch, target=target, substrate=config.substrate)


def _visits(emulation: Emulation) -> tuple[int, float]:
    """Rows that the processors go through, and what share of a period they are busy.

    By default there are as many as the neuron with the most synapses has.

    Raises:
        ValueError: the period is too short, or the chip has fewer rows.
    """
    config, hybrid, sizes = emulation.config, emulation.hybrid, emulation.config.substrate
    rows = config.visited
    if rows is None:
        most = hybrid.rows if hybrid.wired is None else int(hybrid.wired.sum(axis=0).max())
        rows = min(most, 2 * sizes.rows)
    return rows, check_period(config.period, rows, emulation.rule.correlates, substrate=sizes)
