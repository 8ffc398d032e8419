"""Layer specs: frozen descriptions of what a network is made of. No arrays, no functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.chip.substrate import Substrate

Positive = Annotated[int, Ge(1), Le(1_000_000)]  # beyond it a plan alone takes for ever
NotNegative = Annotated[int, Ge(0), Le(1_000_000)]
Seconds = Annotated[float, Gt(0), Lt(1)]
Activation = Literal["none", "relu", "converting_relu"]
Name = Annotated[str, MinLen(1)] | None
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """What every layer with weights on the chip can be told.

    Attributes:
        activation: what follows the readout.
        shift: bits that `converting_relu` drops; decides the size of the initial weights.
        num_sends: times each input is sent; None: what the initialisation asks for.
        avg: neighbouring columns with the same weights whose mean is taken.
        bias: a bias per output, LSB: added as saturating int8 in dense layers, as a float after
            convolutions (the reference's rules).
        mask_saturated: let no gradient through saturated readouts.
        name: in the parameter tree; by default the kind and the layer's number.
    """

    __pydantic_config__ = _STRICT

    activation: Activation = "none"
    shift: Annotated[int, Ge(0)] = 1
    num_sends: Positive | None = None
    avg: Positive = 1
    bias: bool = False
    mask_saturated: bool = False
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class Dense(Weighted):
    """All inputs to all `outputs`."""

    kind: Literal["dense"] = "dense"
    outputs: Positive


@dataclass(frozen=True, kw_only=True)
class Conv1d(Weighted):
    """A convolution over `[L, C]`.

    Attributes:
        outputs: N, channels.
        window: taps.
        stride, padding, groups, dilation: as in `bss2jax.conv1d`.
        expanded: lay shifted copies of the kernel side by side: see `bss2jax.expanded_conv1d`.
    """

    kind: Literal["conv1d"] = "conv1d"
    outputs: Positive
    window: Positive
    stride: Positive = 1
    padding: NotNegative | Literal["SAME", "VALID"] = 0
    groups: Positive = 1
    dilation: Positive = 1
    expanded: bool = False


@dataclass(frozen=True, kw_only=True)
class Conv2d(Weighted):
    """A convolution over `[H, W, C]`; one number for both axes, or one for each.

    Attributes:
        outputs: N, channels.
        window: taps.
        stride, padding, groups, dilation: as in `bss2jax.conv2d`.
    """

    kind: Literal["conv2d"] = "conv2d"
    outputs: Positive
    window: Positive | tuple[Positive, Positive]
    stride: Positive | tuple[Positive, Positive] = 1
    padding: NotNegative | tuple[NotNegative, NotNegative] | Literal["SAME", "VALID"] = 0
    groups: Positive = 1
    dilation: Positive | tuple[Positive, Positive] = 1


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Maximum or mean over windows that tile the input; the mean is floored like a readout.

    Of spikes only the mean: neurons of a window share a synapse, whose strength is divided.

    Attributes:
        mode: `max` or `mean`.
        window: entries, one number for all axes or one for each.
        stride: from one window to the next; None: a window.
        name: of the layer.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["pool"] = "pool"
    mode: Literal["max", "mean"] = "max"
    window: Positive | tuple[Positive, Positive]
    stride: Positive | tuple[Positive, Positive] | None = None
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """All of a sample in one vector, channel fastest; `name` names the layer."""

    __pydantic_config__ = _STRICT

    kind: Literal["flatten"] = "flatten"
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class Signs:
    """Signed values as two unsigned channels, positive and negative part; what inputs must be.

    `name` names the layer.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["signs"] = "signs"
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class Spiking:
    """What all populations of a spiking network share.

    Attributes:
        steps: T, time steps of a sample.
        dt: s a step.
        integrator: order of the updates: see `kernels.neurons.lif`.
        coding: how values 0..1 become spikes: `latency`, one spike, the earlier the larger, none
            for 0; `log_latency`, likewise after tau ln(x / (x - theta)); `time`, one spike, the
            later the larger, from `early` to `late`, and one bias input that spikes at `bias_time`;
            `regular`, up to `spikes` at even distances, in proportion; `rate`, Poisson spikes,
            `spikes` on average for 1; `current`, no spikes but a current that stays, which no chip
            can be sent: for `float` only; `delta`, of signals `[L, C]` of either sign, whose time
            is the network's: a spike for each rise by `delta_theta`, and on an input of its own for
            each fall, at most one a step.
        signed: whether values have signs: then each is two inputs, its positive and its negative
            part, of which one is 0.
        early, late, bias_time: of `time` coding, s.
        latency_tau, latency_theta: of `log_latency`, s and a value.
        delta_theta: of `delta` coding, a share of full scale.
        spikes: of `regular` and `rate` coding, for the value 1; by default one a step.
        decoder: scores from the readout's traces, `max`, `mean`, `sum` or `last` over time; or,
            where the last layer spikes, its `first_spike` (the earliest wins) or `spike_count`.
        surrogate: of the spike's derivative, by name: see `kernels.gradients.surrogate`.
        surrogate_parameter: its alpha, slope, width or sigma; by default the surrogate's own.
        weight_scale: LSB of a weight per software unit, 50..70 on silicon.
        weight_clamp: `hard`, weights are cut at what a synapse holds; `soft`, they approach it,
            cap (1 - e^(-|w| / cap)).
        readout_scale: LSB of a membrane at the CADC per software unit, 40..70 on silicon; 8 bits
            hold 127 / readout_scale units.
    """

    __pydantic_config__ = _STRICT

    steps: Positive = 30
    dt: Seconds = 1e-6
    integrator: Literal["exponential", "euler"] = "exponential"
    coding: Literal["latency", "log_latency", "time", "regular", "rate", "current", "delta"] = (
        "latency"
    )
    signed: bool = False
    early: Seconds = 2e-6
    late: Seconds = 26e-6
    bias_time: Seconds = 2e-6
    latency_tau: Seconds = 8e-6
    latency_theta: Annotated[float, Gt(0), Lt(1)] = 0.2
    delta_theta: Annotated[float, Gt(0), Lt(1)] = 0.05
    spikes: Positive | None = None
    decoder: Literal["max", "mean", "sum", "last", "first_spike", "spike_count"] = "max"
    surrogate: Literal["superspike", "fast_sigmoid", "arctan", "triangle", "gaussian", "box"] = (
        "superspike"
    )
    surrogate_parameter: Annotated[float, Gt(0), Lt(float("inf"))] | None = None
    weight_scale: Annotated[float, Gt(0), Lt(float("inf"))] = 60.0
    weight_clamp: Literal["hard", "soft"] = "hard"
    readout_scale: Annotated[float, Gt(0), Lt(float("inf"))] = 40.0


@dataclass(frozen=True, kw_only=True)
class Integrating:
    """A population of neurons.

    Attributes:
        outputs: neurons; where they have receptive fields, at each position.
        tau_mem, tau_syn: s.
        init_mean, init_std: of the initial weights, software units.
        name: in the parameter tree.
    """

    __pydantic_config__ = _STRICT

    outputs: Positive
    tau_mem: Seconds = 6e-6
    tau_syn: Seconds = 5.7e-6
    init_mean: float = 0.0
    init_std: Annotated[float, Gt(0), Lt(float("inf"))] = 0.2
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class Firing(Integrating):
    """A population that spikes.

    Attributes:
        t_ref: refractory time, s.
        dropout: share of neurons silenced, others for every batch, as on a chip. What is left is
            scaled to make up for it, as in every library.
    """

    t_ref: Annotated[float, Ge(0), Lt(1)] = 0.0
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class LIF(Firing):
    """Neurons that see all inputs.

    Attributes:
        recurrent: whether its spikes return to it.
    """

    kind: Literal["lif"] = "lif"
    recurrent: bool = False


@dataclass(frozen=True, kw_only=True)
class ConvLIF(Firing):
    """Neurons with receptive fields over `[L, C]` or `[H, W, C]`, `outputs` at each position.

    Attributes:
        window, stride, padding: of the fields; one number for all axes, or one for each.
        shared: whether all positions have the same weights (a convolution) or each its own
            (locally connected). On the chip every neuron has synapses of its own either way.
    """

    kind: Literal["conv_lif"] = "conv_lif"
    window: Positive | tuple[Positive, ...]
    stride: Positive | tuple[Positive, ...] = 1
    padding: NotNegative | Literal["SAME", "VALID"] = 0
    shared: bool = True


@dataclass(frozen=True, kw_only=True)
class LI(Integrating):
    """Leaky integrators without spikes, read through the CADC: the readout, last of a network."""

    kind: Literal["li"] = "li"


@dataclass(frozen=True, kw_only=True)
class Soft:
    """What all units of a soft LIF network share, as rates and as spikes.

    The defaults are those published for MNIST and SVHN; for CIFAR-10 and ImageNet they are
    tau_ref = 1e-3, tau_rc = 50e-3, gain = 0.825.

    Attributes:
        units: soft LIF rates, or `relu` to compare with: max(gain x, 0).
        tau_ref, tau_rc, gamma, amplitude, gain: see `kernels.rates.Curve`.
        noise: what disturbs rates in training: see `kernels.rates`.
        noise_std: of `gaussian` noise, Hz.
        synapse: how spikes become currents: a low pass of tau_syn, or two of them (`alpha`).
        tau_syn: of the synapses and of sampled noise, s.
        dt: of the spiking network, s a step; at most tau_ref.
        steps: T, for which the spiking network is shown a sample.
        warm_up: steps in the beginning that its scores leave out.
        input_rate: on a chip, at which the value 1 of an input spikes, Hz; at most one a step.
        readout_scale: on a chip, LSB of the readout per unit of a score.
    """

    __pydantic_config__ = _STRICT

    units: Literal["soft_lif", "relu"] = "soft_lif"
    tau_ref: Seconds = 2e-3
    tau_rc: Seconds = 22e-3
    gamma: Annotated[float, Gt(0), Lt(float("inf"))] = 0.02
    amplitude: Annotated[float, Gt(0), Lt(float("inf"))] = 0.063
    gain: Annotated[float, Gt(0), Lt(float("inf"))] = 1.0
    noise: Literal["none", "gaussian", "alpha", "alpha_membrane"] = "gaussian"
    noise_std: Annotated[float, Ge(0), Lt(float("inf"))] = 10.0
    synapse: Literal["alpha", "exponential"] = "alpha"
    tau_syn: Seconds = 5e-3
    dt: Seconds = 1e-3
    steps: Positive = 200
    warm_up: NotNegative = 10
    input_rate: Annotated[float, Gt(0), Lt(float("inf"))] = 250.0
    readout_scale: Annotated[float, Gt(0), Lt(float("inf"))] = 8.0


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Units of a soft LIF network, with a bias each (or one a channel).

    Attributes:
        outputs: units; of a convolution, at each position.
        init: of the initial weights, whose standard deviation is init / sqrt(fan-in).
        init_bias: of the initial biases, in units of the threshold current (over the gain). At 0 a
            unit without input sits on its threshold, where the soft curve and spikes differ most.
        name: in the parameter tree.
    """

    __pydantic_config__ = _STRICT

    outputs: Positive
    init: Annotated[float, Gt(0), Lt(float("inf"))] = 0.5
    init_bias: Annotated[float, Gt(-float("inf")), Lt(float("inf"))] = 0.0
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class SoftLIF(Rated):
    """Units that see all inputs.

    Attributes:
        dropout: share of units silenced in training, others for every sample.
    """

    kind: Literal["soft_lif"] = "soft_lif"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class ConvSoftLIF(Rated):
    """A convolution of units over `[L, C]` or `[H, W, C]`: see `ConvLIF` for its windows."""

    kind: Literal["conv_soft_lif"] = "conv_soft_lif"
    window: Positive | tuple[Positive, ...]
    stride: Positive | tuple[Positive, ...] = 1
    padding: NotNegative | Literal["SAME", "VALID"] = 0
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Linear(Rated):
    """Sums without a curve: the readout, last of a soft LIF network."""

    kind: Literal["linear"] = "linear"


Layer = (
    Dense
    | Conv1d
    | Conv2d
    | Pool
    | Flatten
    | Signs
    | LIF
    | ConvLIF
    | LI
    | SoftLIF
    | ConvSoftLIF
    | Linear
)


def initial_scale(
    fan_in: int, shift: int, num_sends: int | None, substrate: Substrate
) -> tuple[float, int]:
    """Returns (std of the initial weights, num_sends) so that readouts fill the next layer's range.

        std = 2^shift sqrt(2) / (g sqrt(fan_in));  num_sends = ceil(std / 21);  std /= num_sends

    21 is a third of the weight range: three deviations fit it.

    Args:
        fan_in: rows of the weight.
        shift: bits that the activation after it drops.
        num_sends: times each input is sent; None: as few as that needs.
        substrate: whose gain and weight range apply.

    Raises:
        ValueError: `num_sends` is below 1.

    References: hxtorch `perceptron/nn` initialisation.
    """
    std = 2**shift * math.sqrt(2) / (substrate.gain * math.sqrt(fan_in))
    sends = math.ceil(std / (substrate.weight_max / 3)) if num_sends is None else num_sends
    if sends < 1:
        raise ValueError(f"num_sends: expected a number >= 1, got {num_sends}")
    return std / sends, sends


def pair(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Returns one number per axis."""
    return (value,) * axes if isinstance(value, int) else tuple(value)
