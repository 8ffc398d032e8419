"""Networks of analog products: dense and convolutional layers, pooling."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import Substrate
from bss2jax.execute import convolution
from bss2jax.execute.products import matmul, saturated_weights
from bss2jax.kernels import digital
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.coding import encode_activations, split_signs
from bss2jax.mapping.plan import Plan, matrix_shape, plan_network, tree_of
from bss2jax.mapping.products import ProductDemand
from bss2jax.networks.layers import (
    Conv1d,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    Pool,
    Signs,
    Weighted,
    initial_scale,
    pair,
)
from bss2jax.networks.network import (
    Execution,
    Network,
    Params,
    State,
    Stats,
    executions,
    require_chip,
)
from bss2jax.networks.stages import Stage, arrange, window_shape


def build_analog(layers: Sequence[Layer], shape: Sequence[int], substrate: Substrate) -> Network:
    """Builds a network of analog products: see `build`."""
    kind = partial(AnalogStage, substrate=substrate)
    stages = arrange(kind, layers, shape, partial(_output_shape, substrate=substrate))
    return Network(
        partial(_init, stages),
        partial(_apply, stages),
        _plan(stages, substrate),
        (stages[0].before, *(stage.after for stage in stages)),
        tuple(stage.name for stage in stages),
        partial(encode_activations, substrate=substrate),
        substrate.weight_max,
    )


@dataclass(frozen=True)
class AnalogStage(Stage):
    """A layer of analog products in its place.

    Attributes:
        substrate: whose products they are.
    """

    substrate: Substrate

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the layer's weight: (fan-in, outputs), or (*window, channels, outputs).

        Raises:
            TypeError: the layer has none.
        """
        layer = self.layer
        match layer:
            case Dense():
                return (self.before[0], layer.outputs)
            case Conv1d() | Conv2d():
                return (*self.window, self.before[-1] // layer.groups, layer.outputs)
        raise TypeError(f"{layer.kind} has no weight")

    @property
    def scale(self) -> tuple[float, int]:
        """Standard deviation of the initial weights, and num_sends."""
        fan_in = math.prod(self.weight_shape[:-1])
        layer = self.layer
        shift = layer.shift if layer.activation == "converting_relu" else 0
        return initial_scale(fan_in, shift, layer.num_sends, self.substrate)


def _weighted(stages):
    return [stage for stage in stages if isinstance(stage.layer, Weighted)]


def _init(stages, key):
    params, weighted = {}, _weighted(stages)
    keys = jax.random.split(key, len(weighted))
    for stage, layer_key in zip(weighted, keys, strict=True):
        std, _ = stage.scale
        limit = stage.substrate.weight_max
        normal = jax.random.truncated_normal(
            layer_key, -limit / std, limit / std, stage.weight_shape
        )
        params[stage.name] = {"weight": std * normal}
        if stage.layer.bias:
            params[stage.name]["bias"] = jnp.zeros(stage.layer.outputs)
    return params


def _apply(
    stages: tuple[AnalogStage, ...],
    params: Params,
    state: State,
    x: jax.Array,
    chip: Chip | None = None,
    key: jax.Array | None = None,
    *,
    sample: jax.Array | int = 0,
    on: Execution | Mapping[str, Execution],
    training: bool = False,
) -> tuple[jax.Array, State, Stats]:
    each = executions([stage.name for stage in stages], on)
    require_chip(each, chip)
    if x.shape[1:] != stages[0].before:
        raise ValueError(f"x has samples of {x.shape[1:]}, the network takes {stages[0].before}")
    stats = {}
    for i, stage in enumerate(stages):
        match stage.layer:
            case Flatten():
                x = x.reshape(x.shape[0], -1)
            case Signs():
                x = split_signs(x, stage.substrate)
            case Pool():
                x = stage.pooled(x)
                if stage.layer.mode == "mean" and each[stage.name] != "float":
                    # An addition of nothing: floor and clip, and the gradient of the mean.
                    x = digital.add(x, 0.0, substrate=stage.substrate)
            case Weighted():
                layer_key = None if key is None else jax.random.fold_in(key, i)
                x, stats[stage.name] = _weighted_layer(
                    stage, params[stage.name], x, chip, layer_key, each[stage.name], sample
                )
    return x, state, stats


def _weighted_layer(stage, params, x, chip, key, on, sample):
    layer, (_, num_sends) = stage.layer, stage.scale
    inputs, weights = _products(stage, x, params["weight"])
    run = partial(convolution.run_groups, inputs=inputs, weights=weights, key=key)
    settings = {"num_sends": num_sends, "substrate": stage.substrate}
    if on == "float":
        y, stats = run(lambda x, w, key: vmm.float_product(x, w, **settings)), {}
    else:
        chip, settings = chip if on == "chip" else None, settings | {"avg": layer.avg}
        settings |= {"mask_saturated": layer.mask_saturated, "sample": sample, "observe": True}
        y, stats = run(lambda x, w, key: matmul(x, w, chip, key, **settings))
    y = convolution.join_groups(y)
    if isinstance(layer, Conv1d) and layer.expanded:
        y = convolution.join_copies(y, stage.after[0], layer.outputs)
    if layer.bias:
        saturating = isinstance(layer, Dense) and on != "float"
        bias = params["bias"]
        y = digital.add(y, bias, substrate=stage.substrate) if saturating else y + bias
    stats = jax.tree.map(jnp.mean, stats)
    if stats:
        # Of the parameter: the matrix on the chip may repeat it, or hold zeros beside it.
        stats["weights"] = saturated_weights(params["weight"], stage.substrate)
    return _activate(layer, y, stage.substrate, exact=on == "float"), stats


def _products(stage, x, w):
    """Writes a layer as matrix products: inputs `[G, ..., K]`, weights `[G, K, N]`."""
    layer = stage.layer
    if isinstance(layer, Dense):
        return x[None], w[None]
    if isinstance(layer, Conv1d) and layer.expanded:
        inputs, matrix = convolution.expand(x, w, layer.stride, layer.padding, stage.substrate)
        return inputs[None], matrix[None]
    return convolution.unfold(x, w, layer.stride, layer.padding, layer.groups, layer.dilation)


def _activate(layer, y, substrate, *, exact):
    match layer.activation:
        case "relu":
            return jnp.maximum(y, 0) if exact else digital.relu(y, substrate=substrate)
        case "converting_relu" if exact:
            return jnp.clip(y / 2**layer.shift, 0, substrate.activation_max)
        case "converting_relu":
            return digital.converting_relu(y, layer.shift, substrate=substrate)
    return y


def _output_shape(layer, before, substrate):
    match layer:
        case Flatten():
            return (math.prod(before),)
        case Signs():
            return (*before[:-1], 2 * before[-1])
        case Dense():
            if len(before) != 1:
                raise ValueError("dense takes vectors; put a flatten layer before it")
            return (layer.outputs,)
        case Conv1d() | Conv2d():
            axes = 1 if isinstance(layer, Conv1d) else 2
            if len(before) != axes + 1:
                size = "[L, C]" if axes == 1 else "[H, W, C]"
                raise ValueError(f"{layer.kind} takes samples of {size}")
            if before[-1] % layer.groups or layer.outputs % layer.groups:
                raise ValueError(
                    f"groups={layer.groups} must divide the {before[-1]} channels and the "
                    f"{layer.outputs} outputs"
                )
            if isinstance(layer, Conv1d) and layer.expanded:
                if (layer.groups, layer.dilation, layer.avg) != (1, 1, 1):
                    raise ValueError("expanded goes without groups, dilation and avg")
                convolution.num_expansions(
                    layer.window, before[-1], layer.outputs, layer.stride, substrate
                )
            window = pair(layer.window, axes)
            positions = convolution.output_shape(
                before[:-1], window, layer.stride, layer.padding, layer.dilation
            )
            return (*positions, layer.outputs)
        case Pool():
            return window_shape(layer, before)


def _plan(stages: Sequence[AnalogStage], substrate: Substrate) -> Plan:
    """The plan of the parameter tree, with what the layers know: mode, vectors, sends."""
    shapes = jax.eval_shape(partial(_init, stages), jax.random.key(0))
    weighted = _weighted(stages)
    return plan_network(
        [stage.name for stage in weighted],
        [_demand(stage) for stage in weighted],
        substrate=substrate,
        tree=tree_of(shapes),
    )


def _demand(stage: AnalogStage) -> ProductDemand:
    layer = stage.layer
    rows, columns = matrix_shape(stage.weight_shape)
    vectors, groups = math.prod(stage.after[:-1]), getattr(layer, "groups", 1)
    mode: str = layer.kind
    if isinstance(layer, Conv1d) and layer.expanded:
        copies = convolution.num_expansions(
            layer.window, stage.before[-1], layer.outputs, layer.stride, stage.substrate
        )
        rows = stage.before[-1] * (layer.window + (copies - 1) * layer.stride)
        columns, vectors, mode = copies * layer.outputs, -(-vectors // copies), "expanded_conv1d"
    return ProductDemand(
        rows, columns // groups * layer.avg, vectors, stage.scale[1], groups, mode,
        shape=stage.weight_shape,
    )  # fmt: skip
