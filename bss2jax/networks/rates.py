"""Layers of rates: soft LIF units, trained as rates and run as spikes (`networks.conversion`)."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt

from bss2jax.arrays import along_last
from bss2jax.chip import draws
from bss2jax.kernels import rates
from bss2jax.kernels.dot import dot
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.unfold import convolve, output_shape
from bss2jax.networks.exact import Readout, Units
from bss2jax.networks.layer import (
    EXECUTIONS,
    Applied,
    Arrays,
    Execution,
    Finite,
    How,
    Layer,
    NotNegative,
    Positive,
    Scale,
    Seconds,
    Via,
    dropped,
    folded,
    per_axis,
)
from bss2jax.networks.signal import Signal, Values, expect

Disturbance = rates.Quiet | rates.Gaussian | rates.Alpha | rates.AlphaMembrane | rates.Noise


@dataclass(frozen=True, kw_only=True)
class RateLayer(Layer):
    """What every layer of a network of rates can be told.

    Attributes:
        outputs: units; of a convolution, at each position.
        init_scale: standard deviation of the initial weights, times the root of the fan-in.
        init_bias: initial bias of each unit, in units of the threshold current (over the gain). At
            0 a unit without input sits on its threshold, where the soft curve and spikes differ
            most.
    """

    rates: ClassVar[bool] = True
    family: ClassVar[str] = "soft LIF"

    outputs: Positive
    init_scale: Scale = 0.5
    init_bias: Finite = 0.0

    def shape(self, *before: Signal) -> Signal:
        (values,) = before
        expect(values, Values)
        return Values(self.size(values), values.substrate)

    def size(self, before: Signal) -> tuple[int, ...]:
        """Returns the size of the outputs."""
        return (self.outputs,)

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        """Returns the shape of the weight: (fan-in, outputs), or (*window, channels, outputs)."""
        return (before.entries, self.outputs)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        shape = self.weight_shape(before[0])
        std = self.init_scale / math.sqrt(math.prod(shape[:-1]))
        return {
            "weight": std * draws.normal(key, shape),
            "bias": jnp.full(self.outputs, self.init_bias, jnp.float32),
        }

    def codes(self, params: Arrays, *before: Signal) -> Arrays:
        return {"weight": Codes(None, before[0].substrate).shown(params["weight"])}

    def sums(self, x: jax.Array, w: jax.Array, before: Signal) -> jax.Array:
        """Multiplies inputs `[B, *before]` by the weights: `[B, *size]`, no bias."""
        return dot(before.flat(x), w)

    def synapses(self, x: jax.Array, before: Signal) -> jax.Array:
        """Returns the sums of inputs `[B, *before]` with weights that are all 1."""
        return self.sums(x, jnp.ones(self.weight_shape(before), jnp.float32), before)


@dataclass(frozen=True, kw_only=True)
class SoftLIF(RateLayer):
    """Soft LIF units that see all inputs. The defaults are those published for MNIST and SVHN.

    Attributes:
        units: soft LIF rates, or `relu` to compare with: max(gain x, 0).
        tau_ref, tau_rc: refractory time and membrane time constant, s.
        gamma: softness of the curve, in units of the threshold current.
        amplitude: factor on a rate on its way to the next layer, s.
        gain: factor on a unit's input: j = 1 + gain x.
        noise: what disturbs rates in training.
        dropout: share of units silenced in training, others for every batch.
    """

    kind: Literal["soft_lif"] = "soft_lif"
    units: Literal["soft_lif", "relu"] = "soft_lif"
    tau_ref: Seconds = 2e-3
    tau_rc: Seconds = 22e-3
    gamma: Scale = 0.02
    amplitude: Scale = 0.063
    gain: Scale = 1.0
    noise: Disturbance = rates.Gaussian()
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units == "relu" and self.noise != rates.Quiet():
            raise ValueError("noise: relu units have no spikes, so no noise of them; expected none")

    @property
    def executions(self) -> tuple[Execution, ...]:  # type: ignore[override]
        """Those that the units have: relu units cannot spike."""
        return ("float",) if self.units == "relu" else EXECUTIONS

    @property
    def curve(self) -> rates.Curve:
        """The rate curve of the units."""
        return rates.Curve(self.tau_ref, self.tau_rc, self.gamma, self.amplitude, self.gain)

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        y = self.sums(x[0], params["weight"], how.before[0])
        y = y + along_last(params["bias"], y)
        if self.units == "relu":
            return dropped(jnp.maximum(self.gain * y, 0), self.dropout, how), state, {}
        key = folded(how.key, "noise") if how.training else None
        rate = rates.noisy_rate(1 + self.gain * y, self.curve, self.noise, key, sample=how.sample)
        return dropped(self.amplitude * rate, self.dropout, how), state, {"rate": rate.mean()}

    def spiking(self, via: Via) -> tuple[Layer, Via]:
        if self.units == "relu":
            raise ValueError("units: relu units have no spikes; expected soft_lif")
        after = replace(via, factor=self.amplitude / via.conversion.dt, constant=False)
        return Units(rate=self, via=via), after


@dataclass(frozen=True, kw_only=True)
class ConvSoftLIF(SoftLIF):
    """A convolution of soft LIF units over `[L, C]` or `[H, W, C]`.

    Attributes:
        window, stride, padding: geometry of the fields; one number for all axes, or one for each.
    """

    kind: Literal["conv_soft_lif"] = "conv_soft_lif"  # type: ignore[assignment]
    window: Positive | tuple[Positive, ...]
    stride: Positive | tuple[Positive, ...] = 1
    padding: NotNegative | Literal["SAME", "VALID"] = 0

    def taps(self, before: Signal) -> tuple[int, ...]:
        """Returns the window, an entry for each axis."""
        if len(before.size) not in (2, 3):
            raise ValueError("windows need an input [L, C] or [H, W, C]")
        return per_axis(self.window, len(before.size) - 1)

    def size(self, before: Signal) -> tuple[int, ...]:
        taps = self.taps(before)
        return (*output_shape(before.size[:-1], taps, self.stride, self.padding), self.outputs)

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        return (*self.taps(before), before.size[-1], self.outputs)

    def sums(self, x: jax.Array, w: jax.Array, before: Signal) -> jax.Array:
        return convolve(x, w, self.stride, self.padding)


@dataclass(frozen=True, kw_only=True)
class Linear(RateLayer):
    """Sums without a curve: the readout, last of a network of rates."""

    kind: Literal["linear"] = "linear"

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        y = self.sums(x[0], params["weight"], how.before[0])
        return y + along_last(params["bias"], y), state, {}

    def spiking(self, via: Via) -> tuple[Layer, Via]:
        return Readout(rate=self, via=via), via
