"""Layer specs: frozen descriptions of what a network is made of. No arrays, no functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from bss2jax.hardware.substrate import Substrate

Positive = Annotated[int, Ge(1)]
NotNegative = Annotated[int, Ge(0)]
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
    """A convolution over `[L, C]`; `expanded` lays shifted copies of the kernel side by side."""

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
    """A convolution over `[H, W, C]`; one number for both axes, or one for each."""

    kind: Literal["conv2d"] = "conv2d"
    outputs: Positive
    window: Positive | tuple[Positive, Positive]
    stride: Positive | tuple[Positive, Positive] = 1
    padding: NotNegative | tuple[NotNegative, NotNegative] | Literal["SAME", "VALID"] = 0
    groups: Positive = 1
    dilation: Positive | tuple[Positive, Positive] = 1


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Maximum or mean over windows that tile the input; the mean is floored like a readout."""

    __pydantic_config__ = _STRICT

    kind: Literal["pool"] = "pool"
    mode: Literal["max", "mean"] = "max"
    window: Positive | tuple[Positive, Positive]
    stride: Positive | tuple[Positive, Positive] | None = None
    name: Name = None


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """All of a sample in one vector, channel fastest."""

    __pydantic_config__ = _STRICT

    kind: Literal["flatten"] = "flatten"
    name: Name = None


Layer = Dense | Conv1d | Conv2d | Pool | Flatten


def initial_scale(
    fan_in: int, shift: int, num_sends: int | None, substrate: Substrate
) -> tuple[float, int]:
    """Returns (std of the initial weights, num_sends) so that readouts fill the next layer's range.

        std = 2^shift sqrt(2) / (g sqrt(fan_in));  num_sends = ceil(std / 21);  std /= num_sends

    21 is a third of the weight range: three deviations fit it.

    References: hxtorch `perceptron/nn` initialisation.
    """
    std = 2**shift * math.sqrt(2) / (substrate.gain * math.sqrt(fan_in))
    sends = num_sends or math.ceil(std / (substrate.weight_max / 3))
    return std / sends, sends


def pair(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Returns one number per axis."""
    return (value,) * axes if isinstance(value, int) else tuple(value)
