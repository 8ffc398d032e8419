"""A network of rates as one of spikes: the same graph, weights and biases, with firing neurons.

Each rate becomes the spikes of a neuron with the same curve, and reaches the next layer through a
synapse that filters it. In floating point the first layer sees the image as a current that stays,
and the last is a sum of filtered spikes, whose mean over time are the scores.

On the chip, a thousand times faster:

- The image comes as spikes at even distances, in proportion to its values.
- Synapses are exponential. The readout is an integrator with a membrane as slow as its synapse,
  read through the CADC; the host adds its bias.
- Weights are 6-bit codes, the largest of a layer 63: a layer's neurons have a synaptic input of
  their own strength.
- A unit without input rests at its threshold. Its bias moves the leak potential, as far as that can
  be set. Deviations of potentials are shares of the way from reset to threshold.

References: Hunsberger and Eliasmith 2016 (arXiv 1611.05141); calix (range of the leak).
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from annotated_types import Gt, Lt
from jax import lax

from bss2jax.chip.chip import Chip
from bss2jax.networks.assemble import assemble
from bss2jax.networks.codes import Current, Regular
from bss2jax.networks.graph import Network, Params
from bss2jax.networks.layer import (
    Arrays,
    Execution,
    Layer,
    NotNegative,
    Positive,
    Scale,
    Seconds,
    Via,
)
from bss2jax.settings import Checked

SPEED_UP = 1000  # of the chip over the times of these neurons
_ENTRIES = 2**24  # of a layer's raster of some samples, 64 MiB


@dataclass(frozen=True, kw_only=True)
class Conversion(Checked):
    """How a network of rates runs as spikes.

    Attributes:
        synapse: filter that spikes pass on `float`: a low pass of tau_syn, or two (`alpha`).
        tau_syn: time constant of the synapses, s.
        dt: length of a step, s; at most the refractory time.
        steps: T, for which the network is shown a sample.
        warm_up: steps in the beginning that the scores leave out.
        input_rate: rate on a chip of the spikes of an input of value 1, Hz; at most one a step.
        readout_scale: LSB of the readout on a chip per unit of a score.
    """

    synapse: Literal["alpha", "exponential"] = "alpha"
    tau_syn: Seconds = 5e-3
    dt: Seconds = 1e-3
    steps: Positive = 200
    warm_up: NotNegative = 10
    input_rate: Annotated[float, Gt(0), Lt(float("inf"))] = 250.0
    readout_scale: Scale = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warm_up >= self.steps:
            raise ValueError(f"warm_up: expected fewer than {self.steps} steps, got {self.warm_up}")
        if self.input_rate * self.dt > 1:
            raise ValueError(
                f"input_rate: expected at most one spike a step of {self.dt} s, got "
                f"{self.input_rate} Hz"
            )


def convert(network: Network, conversion: Conversion, *, on_chip: bool) -> Network:
    """Returns the network of spikes that a network of rates stands for.

    Args:
        network: the network of rates.
        conversion: neurons' synapses, steps, rates.
        on_chip: whether it is the chip's: codes, exponential synapses, a coded input.

    Raises:
        ValueError: a layer of the network has no counterpart, or does not fit the chip.
    """
    dt, steps = conversion.dt / SPEED_UP, conversion.steps
    code: Layer = Current(steps=steps, dt=dt, name="code")
    if on_chip:
        spikes: Any = conversion.input_rate * conversion.dt * steps
        code = Regular(steps=steps, dt=dt, spikes=spikes, name="code")
    layers: list[Layer] = [code]
    factor = 1 / (conversion.input_rate * conversion.dt) if on_chip else 1.0
    arrives = {"input": Via(network.input, conversion, on_chip, factor, constant=not on_chip)}
    for node in network.nodes:
        (source,) = node.inputs
        via = replace(arrives[source], before=node.before[0])
        try:
            layer, arrives[node.name] = node.layer.spiking(via)
        except ValueError as error:
            raise ValueError(f"layer {node.name}: {error}") from None
        inputs = ("code" if source == "input" else source,)
        layers.append(replace(layer, name=node.name, inputs=inputs))
    return assemble(tuple(layers), network.input)


@dataclass(frozen=True)
class Twin:
    """The network of spikes that shows what one of rates does on a chip.

    Attributes:
        network: converted, for the chip.
        conversion: how it was converted.
    """

    network: Network
    conversion: Conversion

    def measure(
        self,
        params: Params,
        x: jax.Array,
        chip: Chip | None,
        key: jax.Array | None,
        sample: jax.Array | int,
    ) -> Arrays:
        """Shows samples to the converted network, some at a time.

        Args:
            params: the parameters of the network of rates.
            x: `[B, *size]` values 0..1.
            chip: None for a perfect one, without noise.
            key: the random key of the membranes to begin with, and of the chip's noise; None: from
                reset, without.
            sample: number of the first sample.

        Returns:
            What was measured of each layer of rates, as it makes it: `[B, *size]`.
        """
        params = lax.stop_gradient(params)
        on: Execution = "ideal" if chip is None else "chip"
        most = max(node.after.entries for node in self.network.nodes)
        tile = max(1, min(len(x), _ENTRIES // (most * self.conversion.steps)))
        tiles = -(-len(x) // tile)
        padded = jnp.pad(x, ((0, tiles * tile - len(x)), *((0, 0),) * (x.ndim - 1)))

        def one(cut: tuple[jax.Array, jax.Array]) -> Arrays:
            x, first = cut
            *_, records = self.network.apply(params, {}, x, chip, key, sample=first, on=on)
            return {name: each["sent"] for name, each in records.items() if "sent" in each}

        first = sample + tile * jnp.arange(tiles)
        shown = lax.map(one, (padded.reshape(tiles, tile, *x.shape[1:]), first))
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[: len(x)], shown)


def scores_over_time(readout: jax.Array, warm_up: int = 0) -> jax.Array:
    """Returns what the scores are after each step: the mean of the readout since the warm-up.

    Args:
        readout: `[T, B, N]` output of a converted network.
        warm_up: steps that are left out, fewer than T.

    Returns:
        `[T - warm_up, B, N]`; entry i after warm_up + i + 1 steps.

    Raises:
        ValueError: the warm-up leaves no step.
    """
    if not 0 <= warm_up < len(readout):
        raise ValueError(f"warm_up: expected 0 to {len(readout) - 1} steps, got {warm_up}")
    sums = jnp.cumsum(readout[warm_up:], axis=0)
    return sums / jnp.arange(1, len(sums) + 1, dtype=jnp.float32)[:, None, None]
