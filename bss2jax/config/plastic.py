"""The tables of a config of hybrid plasticity: a population, rules, an environment."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import tomli_w
from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.chip.chip import Mismatch
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.config.read import parsed, shipped, tree_of
from bss2jax.config.tables import (
    ChipSeed,
    FileName,
    Finite,
    Noise,
    Path,
    Run,
    Scale,
    Seed,
    Spreads,
    spreads_of,
    write_spreads,
)
from bss2jax.config.write import without_none
from bss2jax.plastic.reward import NoiseRow, RewardSTDP
from bss2jax.plastic.rules import STDP, Drift, Homeostasis, Share
from bss2jax.plastic.structural import Rewiring
from bss2jax.settings import Checked, Key, Reader, tagged

Seconds = Annotated[float, Gt(0), Lt(10)]
Count = Annotated[int, Ge(1)]
RULES = (STDP, RewardSTDP, Homeostasis, Drift, NoiseRow, Rewiring)


@dataclass(frozen=True, kw_only=True)
class Neurons(Checked):
    """The neurons, a circuit each; potentials in units of the way from leak to threshold.

    Attributes:
        number: how many.
        tau_mem, tau_syn: time constants of membrane and synapses, s.
        reset: potential after a spike.
        t_ref: refractory time, s.
        dt: s a step.
        fresh: whether they begin each period at rest.
    """

    number: Annotated[int, Ge(1), Le(512)]
    tau_mem: Seconds = 10e-6
    tau_syn: Seconds = 10e-6
    reset: Finite = 0.0
    t_ref: Annotated[float, Ge(0), Lt(1)] = 0.0
    dt: Seconds = 1e-6
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class Synapses(Checked):
    """The array of synapses: rows of inputs, then, where recurrent, a row of each neuron.

    Attributes:
        recurrent: whether spikes return to the population.
        delay: the delay of spikes within the population, s; of others it only groups steps.
        inhibitory: share of the inputs, and of the neurons, whose rows inhibit: the last of them.
        pairs: whether each input has two rows, one that excites and one that inhibits.
        wired, wired_recurrent: the chance of a synapse from an input, and from a neuron.
        weight, weight_recurrent: initial weight of inputs, and of neurons, LSB.
        scale: LSB of a weight per unit of potential.
        inhibitory_strength: the strength of inhibitory synapses over that of excitatory ones.
        offset, offset_inhibitory: what a spike adds beside the weight, LSB.
        offset_std: its spread from neuron to neuron, LSB.
        whole: whether weights are whole numbers, as on the chip.
    """

    recurrent: bool = False
    delay: Seconds = 10e-6
    inhibitory: Share = 0.0
    pairs: bool = False
    wired: Share = 1.0
    wired_recurrent: Share = 1.0
    weight: Annotated[float, Ge(0), Le(63)] = 0.0
    weight_recurrent: Annotated[float, Ge(0), Le(63)] = 0.0
    scale: Scale = 45.0
    inhibitory_strength: Scale = 1.0
    offset: Finite = 0.0
    offset_inhibitory: Finite = 0.0
    offset_std: Annotated[float, Ge(0)] = 0.0
    whole: bool = True


@dataclass(frozen=True, kw_only=True)
class CorrelationSensors(Checked):
    """What the correlation sensors are calibrated to, and how far they spread.

    Attributes:
        amplitude: what a pair without distance adds, LSB.
        tau: time constant, s.
        baseline: reading of an empty capacitor, LSB.
        noise: std of a reading, LSB.
        spread: `calibrated`, `uncalibrated` or `none`, see `SensorMismatch`.
    """

    amplitude: Scale = 0.5
    tau: Seconds = 5e-6
    baseline: Annotated[float, Gt(0), Le(255)] = 200.0
    noise: Annotated[float, Ge(0)] = 1.0
    spread: Literal["calibrated", "uncalibrated", "none"] = "calibrated"


@dataclass(frozen=True, kw_only=True)
class PoissonInput(Checked):
    """Independent Poisson sources.

    Attributes:
        sources: how many, a row each, or two where rows are pairs.
        rate: the rate of each, 1/s.
    """

    kind: Literal["poisson"] = "poisson"

    sources: Count = 1
    rate: Scale = 120e3


@dataclass(frozen=True, kw_only=True)
class PongGame(Checked):
    """The game of Pong: as many places of the ball as neurons, and a row for noise.

    Attributes:
        interval: s between two spikes of the ball's own row.
        beside: share of its rate that rows have at a distance of 0, 1 ...
        noise: s between two spikes of the noise row; 0: it is silent.
        rewards: the rewards of a spike at a distance of 0, 1 ...; further away it is -1.
    """

    kind: Literal["pong"] = "pong"

    interval: Seconds = 4.2e-6
    beside: tuple[Annotated[float, Gt(0), Le(1)], ...] = (1.0, 0.8, 0.5, 0.1)
    noise: Annotated[float, Ge(0), Lt(1)] = 3.5e-6
    rewards: tuple[Finite, ...] = (4.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class DataSamples(Checked):
    """Samples of a data set, one a period, coded as latencies; right decisions are rewarded.

    Attributes:
        name: name of the data set.
        samples: how many of its training set, in turn.
    """

    kind: Literal["samples"] = "samples"

    name: Annotated[str, MinLen(1)] = "digits"
    samples: Count = 200


AnyEnvironment = PoissonInput | PongGame | DataSamples


def _rule(value: Any, key: Key) -> Any:
    return tagged(RULES, value, key)


AnyRule = Annotated[Any, Reader("a table", _rule)]


@dataclass(frozen=True, kw_only=True)
class PlasticConfig(Checked):
    """One experiment with rules that run on the chip.

    Attributes:
        name: names the run directory.
        description: one line for `bss2jax configs`.
        seed: the seed of wiring, input and rules.
        chip: the seed of its fixed pattern.
        substrate: the numbers of the chip.
        mismatch, noise: how far chips spread, and what differs from trial to trial.
        neurons, synapses, sensors: the population; sensors are read where a rule asks for them.
        environment: what it acts in.
        rules: what the processors do at the end of each period, one after the other.
        period: s from one visit of the processors to the next.
        window: s at the end of a period in which spikes are counted; by default all of it.
        visited: rows that the processors go through in a period, for what that takes; by default
            all. 0: not checked.
        periods: how many are run.
        snapshots: how many times weights are kept for the report.
        start: a finished run to begin with: of this kind, or of a trained network.
        layer: the layer of that network whose weights are taken.
        run: where it goes.
    """

    name: FileName
    description: str = ""
    seed: Seed = 0
    chip: ChipSeed = ChipSeed()
    substrate: Substrate = BSS2
    mismatch: Spreads = Spreads()
    noise: Noise = Noise()
    neurons: Neurons
    synapses: Synapses = Synapses()
    sensors: CorrelationSensors = CorrelationSensors()
    environment: AnyEnvironment
    rules: Annotated[tuple[AnyRule, ...], MinLen(1)]
    period: Seconds
    window: Seconds | None = None
    visited: Annotated[int, Ge(0)] | None = None
    periods: Count
    snapshots: Count = 20
    start: Path | None = None
    layer: str = ""
    run: Run = Run()

    def __post_init__(self) -> None:
        super().__post_init__()
        write_spreads(self)

    @property
    def spreads(self) -> Mismatch:
        """What `sample_chip` takes: the spreads and the noise."""
        return spreads_of(self)


def shipped_plastic() -> dict[str, FilePath]:
    """Returns the configs of hybrid plasticity that come with the package: name to path."""
    return shipped("plastic")


def load_plastic(
    source: str | FilePath, overrides: Sequence[str] = ()
) -> tuple[PlasticConfig, str]:
    """Reads a config of hybrid plasticity: see `config.load`.

    Args:
        source: path of a TOML file, or the name of a shipped config.
        overrides: `key=value`.

    Returns:
        The config and the text of its file.

    Raises:
        ConfigError: as of `config.load`.
    """
    tree, text, where = tree_of(source, overrides)
    return parsed(PlasticConfig, tree, where, overrides), text


def dump_plastic(config: PlasticConfig) -> str:
    """Returns a config as TOML with every default written out; `load_plastic` reads it back."""
    return tomli_w.dumps(without_none(dataclasses.asdict(config)))
