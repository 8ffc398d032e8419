"""Layers of analog products: dense and convolutional.

Values 0..1 come in as activations 0..31, and activations, or the readouts of another layer, as they
are; readouts go out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge

from bss2jax.arrays import along_last
from bss2jax.chip import draws
from bss2jax.chip.substrate import Substrate
from bss2jax.execute import convolution
from bss2jax.execute.products import matmul
from bss2jax.execute.shares import at_limit
from bss2jax.kernels import digital, readout
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.mapping.plan import Demand
from bss2jax.mapping.products import ProductDemand
from bss2jax.networks.layer import Applied, Arrays, How, Layer, NotNegative, Positive, per_axis
from bss2jax.networks.signal import Activations, Signal, expect_values

_SATURATED = 0.25  # share of outputs or sums beyond which a layer is worth a warning

Activation = Literal["none", "relu", "converting_relu"]


@dataclass(frozen=True, kw_only=True)
class AnalogLayer(Layer):
    """What every layer of analog products can be told.

    Attributes:
        outputs: output channels; of a dense layer, its outputs.
        activation: what follows the readout.
        shift: bits that `converting_relu` drops; decides the size of the initial weights.
        num_sends: times that each input is sent; by default as often as initial weights ask for.
        avg: neighbouring columns with the same weights whose mean is taken.
        bias: whether each output has a bias, LSB: added as saturating int8 in dense layers, as a
            float after convolutions, as in hxtorch.
        mask_saturated: whether no gradient passes through saturated readouts.
    """

    family: ClassVar[str] = "analog"
    unsigned: ClassVar[bool] = True

    outputs: Positive
    activation: Activation = "none"
    shift: Annotated[int, Ge(0)] = 1
    num_sends: Positive | None = None
    avg: Positive = 1
    bias: bool = False
    mask_saturated: bool = False

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        """Returns the shape of the weight: (fan-in, N), or (*window, channels, N)."""
        raise NotImplementedError

    def products(self, x: jax.Array, w: jax.Array, how: How) -> tuple[jax.Array, jax.Array]:
        """Writes the layer as matrix products: inputs `[G, B, ..., K]`, weights `[G, K, N / G]`."""
        raise NotImplementedError

    def joined(self, y: jax.Array, how: How) -> jax.Array:
        """Puts the outputs of all products together: `[G, B, ..., N / G]` to `[B, *size]`."""
        return convolution.join_groups(y)

    def biased(self, y: jax.Array, bias: jax.Array, how: How) -> jax.Array:
        """Adds a bias `[N]` to readouts `[B, ..., N]`."""
        return y + along_last(bias, y)

    def sends(self, before: Signal) -> tuple[float, int]:
        """Returns the standard deviation of the initial weights, LSB, and num_sends."""
        fan_in = math.prod(self.weight_shape(before)[:-1])
        shift = self.shift if self.activation == "converting_relu" else 0
        return initial_scale(fan_in, shift, self.num_sends, substrate=before.substrate)

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        std, _ = self.sends(before[0])
        limit = before[0].substrate.weight_max
        shape = self.weight_shape(before[0])
        normal = draws.truncated_normal(key, -limit / std, limit / std, shape)
        params = {"weight": std * normal}
        return params | ({"bias": jnp.zeros(self.outputs, jnp.float32)} if self.bias else {})

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        limit = before[0].substrate.weight_max
        return params | {"weight": jnp.clip(params["weight"], -limit, limit)}

    def codes(self, params: Arrays, *before: Signal) -> Arrays:
        return {"weight": Codes(1.0, before[0].substrate).shown(params["weight"])}

    def complaint(self, record: Mapping[str, float], after: Signal) -> str:
        for what in ("outputs", "sums"):
            if (share := record.get(what, 0.0)) > _SATURATED:
                return f"{share:.0%} of its {what} saturate: lower num_sends or the learning rate"
        return ""

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        activations = how.before[0].activations(x[0])
        inputs, weights = self.products(activations, params["weight"], how)
        exact = how.execution == "float"
        y, record = (self._exact if exact else self._on_chip)(inputs, weights, how)
        y = self.joined(y, how)
        if self.bias:
            y = self.biased(y, params["bias"], how)
        if record:
            # Of the parameter: the matrix on the chip may repeat it, or hold zeros beside it.
            most = how.before[0].substrate.weight_max
            record["weights"] = at_limit(params["weight"], most)
        return self._activated(y, how), state, record

    def _exact(self, x: jax.Array, w: jax.Array, how: How) -> tuple[jax.Array, Arrays]:
        """The products in floating point."""
        before = how.before[0]
        num_sends = self.sends(before)[1]
        product = jax.vmap(
            lambda x, w: readout.float_product(
                x, w, num_sends=num_sends, substrate=before.substrate
            )
        )
        return product(x, w), {}

    def _on_chip(self, x: jax.Array, w: jax.Array, how: How) -> tuple[jax.Array, Arrays]:
        """The products as the chip makes them, group after group, and what saturates."""
        chip = how.chip if how.execution == "chip" else None
        before = how.before[0]

        def one(x: jax.Array, w: jax.Array, key: jax.Array | None) -> tuple[jax.Array, Arrays]:
            return matmul(
                x, w, chip, key, sample=how.sample, num_sends=self.sends(before)[1], avg=self.avg,
                mask_saturated=self.mask_saturated, observe=True, substrate=before.substrate,
            )  # fmt: skip

        y, record = convolution.run_groups(one, x, w, how.noise)
        return y, jax.tree.map(jnp.mean, record)

    def _activated(self, y: jax.Array, how: How) -> jax.Array:
        exact, substrate = how.execution == "float", how.before[0].substrate
        if self.activation == "relu":
            return jnp.maximum(y, 0) if exact else digital.relu(y, substrate=substrate)
        if self.activation == "converting_relu" and exact:
            return jnp.clip(y / 2**self.shift, 0, substrate.activation_max)
        if self.activation == "converting_relu":
            return digital.converting_relu(y, self.shift, substrate=substrate)
        return y


@dataclass(frozen=True, kw_only=True)
class Dense(AnalogLayer):
    """All inputs to all `outputs`."""

    kind: Literal["dense"] = "dense"

    def shape(self, *before: Signal) -> Signal:
        (inputs,) = before
        expect_values(inputs)
        if len(inputs.size) != 1:
            raise ValueError("dense takes vectors; put a flatten layer before it")
        return Activations((self.outputs,), inputs.substrate)

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        return (before.entries, self.outputs)

    def products(self, x: jax.Array, w: jax.Array, how: How) -> tuple[jax.Array, jax.Array]:
        return x[None], w[None]

    def biased(self, y: jax.Array, bias: jax.Array, how: How) -> jax.Array:
        if how.execution == "float":
            return y + along_last(bias, y)
        return digital.add(y, bias, substrate=how.before[0].substrate)

    def demand(self, *before: Signal) -> Demand | None:
        rows, columns = self.weight_shape(before[0])
        num_sends = self.sends(before[0])[1]
        return ProductDemand(
                rows, columns * self.avg, num_sends=num_sends, mode=self.kind,
                shape=self.weight_shape(before[0]),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Convolution(AnalogLayer):
    """What convolutions of one and of two axes share.

    Attributes:
        groups: independent convolutions over equal shares of the channels.
    """

    groups: Positive = 1

    if TYPE_CHECKING:  # each has its own
        kind: Any
        window: Any
        stride: Any
        padding: Any
        dilation: Any

    @property
    def axes(self) -> int:
        """Axes of the input but the channels."""
        raise NotImplementedError

    def shape(self, *before: Signal) -> Signal:
        (inputs,) = before
        expect_values(inputs)
        if len(inputs.size) != self.axes + 1:
            raise ValueError(f"takes samples of {'[L, C]' if self.axes == 1 else '[H, W, C]'}")
        if inputs.size[-1] % self.groups or self.outputs % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide the {inputs.size[-1]} channels and the "
                f"{self.outputs} outputs"
            )
        positions = convolution.output_shape(
            inputs.size[:-1], self.taps, self.stride, self.padding, self.dilation
        )
        return Activations((*positions, self.outputs), inputs.substrate)

    @property
    def taps(self) -> tuple[int, ...]:
        """The window, an entry for each axis."""
        return per_axis(self.window, self.axes)

    def weight_shape(self, before: Signal) -> tuple[int, ...]:
        return (*self.taps, before.size[-1] // self.groups, self.outputs)

    def products(self, x: jax.Array, w: jax.Array, how: How) -> tuple[jax.Array, jax.Array]:
        return convolution.unfold(x, w, self.stride, self.padding, self.groups, self.dilation)

    def demand(self, *before: Signal) -> Demand | None:
        shape = self.weight_shape(before[0])
        return ProductDemand(
                math.prod(shape[:-1]), self.outputs // self.groups * self.avg,
                vectors=math.prod(self.shape(*before).size[:-1]), groups=self.groups,
                num_sends=self.sends(before[0])[1], mode=self.kind, shape=shape,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Conv1d(Convolution):
    """A convolution over `[L, C]`.

    Attributes:
        window: inputs that an output sees, along each axis.
        stride, padding, dilation: geometry of the window, as of `bss2jax.conv1d`.
        expanded: whether shifted copies of the kernel lie side by side, see
            `bss2jax.expanded_conv1d`.
    """

    kind: Literal["conv1d"] = "conv1d"
    window: Positive
    stride: Positive = 1
    padding: NotNegative | Literal["SAME", "VALID"] = 0
    dilation: Positive = 1
    expanded: bool = False

    @property
    def axes(self) -> int:
        return 1

    def shape(self, *before: Signal) -> Signal:
        after = super().shape(*before)
        if self.expanded:
            if (self.groups, self.dilation, self.avg) != (1, 1, 1):
                raise ValueError("expanded goes without groups, dilation and avg")
            self._copies(before[0])
        return after

    def products(self, x: jax.Array, w: jax.Array, how: How) -> tuple[jax.Array, jax.Array]:
        if not self.expanded:
            return super().products(x, w, how)
        substrate = how.before[0].substrate
        inputs, matrix = convolution.expand(x, w, self.stride, self.padding, substrate=substrate)
        return inputs[None], matrix[None]

    def joined(self, y: jax.Array, how: How) -> jax.Array:
        y = super().joined(y, how)
        if not self.expanded:
            return y
        return convolution.join_copies(y, how.after.size[0], self.outputs)

    def demand(self, *before: Signal) -> Demand | None:
        if not self.expanded:
            return super().demand(*before)
        copies, channels = self._copies(before[0]), before[0].size[-1]
        return ProductDemand(
                channels * (self.window + (copies - 1) * self.stride), copies * self.outputs,
                vectors=-(-self.shape(*before).size[0] // copies), mode="expanded_conv1d",
                num_sends=self.sends(before[0])[1], shape=self.weight_shape(before[0]),
        )  # fmt: skip

    def _copies(self, before: Signal) -> int:
        """Shifted copies of the kernel that fit one block."""
        return convolution.num_expansions(
            self.window, before.size[-1], self.outputs, self.stride, substrate=before.substrate
        )


@dataclass(frozen=True, kw_only=True)
class Conv2d(Convolution):
    """A convolution over `[H, W, C]`; one number for both axes, or one for each.

    Attributes:
        window: inputs that an output sees, along each axis.
        stride, padding, dilation: geometry of the window, as of `bss2jax.conv2d`.
    """

    kind: Literal["conv2d"] = "conv2d"
    window: Positive | tuple[Positive, Positive]
    stride: Positive | tuple[Positive, Positive] = 1
    padding: NotNegative | tuple[NotNegative, NotNegative] | Literal["SAME", "VALID"] = 0
    dilation: Positive | tuple[Positive, Positive] = 1

    @property
    def axes(self) -> int:
        return 2


def initial_scale(
    fan_in: int, shift: int, num_sends: int | None, *, substrate: Substrate
) -> tuple[float, int]:
    """Returns (std of the initial weights, num_sends) so that readouts fill the next layer's range.

        std = 2^shift sqrt(2) / (g sqrt(fan_in));  num_sends = ceil(std / 21);  std /= num_sends

    21 is a third of the weight range: three deviations fit it.

    Args:
        fan_in: rows of the weight.
        shift: bits that the activation after it drops.
        num_sends: times that each input is sent; by default as few as that needs.
        substrate: the substrate whose gain and weight range apply.

    Raises:
        ValueError: `num_sends` is below 1.

    References: hxtorch `perceptron/nn` initialisation.
    """
    std = 2**shift * math.sqrt(2) / (substrate.gain * math.sqrt(fan_in))
    sends = math.ceil(std / (substrate.weight_max / 3)) if num_sends is None else num_sends
    if sends < 1:
        raise ValueError(f"num_sends: expected a number >= 1, got {num_sends}")
    return std / sends, sends
