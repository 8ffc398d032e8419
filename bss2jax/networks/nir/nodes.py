"""From a node of NIR to a layer with its arrays: weights, neurons, shapes, delays."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bss2jax.kernels.neurons.membrane import TANGENTS
from bss2jax.kernels.unfold import output_shape
from bss2jax.networks.constants import Constants
from bss2jax.networks.currents import ConvCurrents, Currents, Scaled, Threshold
from bss2jax.networks.delay import Delay
from bss2jax.networks.direct import DirectLIF
from bss2jax.networks.layer import Layer
from bss2jax.networks.nir.arrays import Shape, of_neurons, of_weight, ours
from bss2jax.networks.nir.convention import Convention
from bss2jax.networks.nir.flat import kind_of
from bss2jax.networks.receptive import ConvLIF
from bss2jax.networks.shapes import Flatten, Pool
from bss2jax.networks.spiking import LI, LIF

WEIGHTS = ("Linear", "Affine", "Conv1d", "Conv2d")
NEURONS = ("LIF", "CubaLIF", "IF", "LI", "CubaLI", "I")
_FIELDS = {"tau_mem": ("tau_mem", "tau")}  # what a node may call a constant, where not by its name
_SHORTEST, _LONGEST = 1e-7, 10.0  # s, of time constants


@dataclass(frozen=True)
class Made:
    """A layer with what it has learned, and the shape of what it makes, channels first."""

    layer: Layer
    shape: Shape
    params: dict[str, np.ndarray] = field(default_factory=dict)
    state: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How graphs are read: see `read`.

    Attributes:
        dt: s of a step of the graph.
        convention: how it is meant.
        speedup, tau_syn, weight_scale: as of `read`.
    """

    dt: float
    convention: Convention
    speedup: float = 1.0
    tau_syn: float | None = None
    weight_scale: float | None = None


def weighted(node: Any, shape: Shape) -> tuple[dict[str, Any], dict[str, np.ndarray], Shape]:
    """Returns settings, parameters such as `[K, N]` weights, and the shape of what they make.

    Args:
        node: `Linear`, `Affine`, `Conv1d` or `Conv2d`.
        shape: the shape of what it is given.

    Raises:
        ValueError: it does not fit, or no layer has such weights.
    """
    params = {"weight": of_weight(node.weight)}
    bias = getattr(node, "bias", None)
    if bias is not None:
        params["bias"] = np.asarray(bias, np.float32).reshape(-1)
    if kind_of(node) in ("Linear", "Affine"):
        if np.ndim(node.weight) != 2:
            raise ValueError(
                f"weight has shape {np.shape(node.weight)}, expected [outputs, inputs]"
            )
        if shape != (node.weight.shape[1],):
            raise ValueError(
                f"it has {node.weight.shape[1]} inputs, and is given {shape}; put a Flatten before"
            )
        return {"outputs": node.weight.shape[0]}, params, (node.weight.shape[0],)
    settings = _window(node, shape)
    positions = output_shape(shape[1:], settings["window"], settings["stride"], settings["padding"])
    outputs = node.weight.shape[0]
    return settings | {"outputs": outputs}, params, (outputs, *positions)


def _window(node: Any, shape: Shape) -> dict[str, Any]:
    """The geometry of a convolution."""
    axes = 1 if kind_of(node) == "Conv1d" else 2
    if len(shape) != axes + 1 or shape[0] != node.weight.shape[1] * int(node.groups):
        raise ValueError(
            f"it takes {node.weight.shape[1] * int(node.groups)} channels over {axes} axes, and is "
            f"given {shape}"
        )
    if int(node.groups) != 1:
        raise ValueError(f"groups: got {int(node.groups)}; layers have one group of channels")
    if np.any(np.asarray(node.dilation) != 1):
        raise ValueError(f"dilation: got {node.dilation}; windows of layers have no gaps, 1")
    padding = node.padding
    if isinstance(padding, bytes):
        padding = padding.decode()
    padding = padding.upper() if isinstance(padding, str) else _each(padding, axes)
    stride = _each(node.stride, axes)
    if padding == "SAME" and stride != (1,) * axes:
        raise ValueError(f"padding 'same' with stride {stride}: expected stride 1, as in PyTorch")
    window = tuple(int(k) for k in node.weight.shape[2:])
    return {"window": window, "stride": stride, "padding": padding}


def _each(value: Any, axes: int) -> tuple[int, ...]:
    numbers = np.broadcast_to(np.asarray(value).ravel(), (axes,))
    return tuple(int(number) for number in numbers)


def neurons(
    name: str, node: Any, shape: Shape, how: Settings, weights: Any = None, recurrent: Any = None
) -> Made:
    """Returns the layer of neurons with the weights before them.

    Args:
        name: the name of the layer.
        node: the neurons.
        shape: the shape of what is before the weights, or before the neurons without any.
        how: settings.
        weights: the node of their weights, `Scale` for one a neuron; None: each sees its own entry.
        recurrent: the node through which their spikes return to them.

    Raises:
        ValueError: as `weighted`, or constants do not fit.
    """
    settings: dict[str, Any] = {}
    params: dict[str, np.ndarray] = {}
    after = shape
    direct = weights is None or kind_of(weights) == "Scale"
    if not direct:
        settings, params, after = weighted(weights, shape)
    constants, state = _constants(node, after, how)
    fires = "v_threshold" in constants.names
    kind: Callable[..., Layer] = (ConvLIF if len(after) > 1 else LIF) if fires else LI
    if direct and fires and recurrent is None:
        kind, ones = DirectLIF, np.ones(shape)
        params = {"weight": of_neurons(ones if weights is None else weights.scale, shape)}
    elif direct:
        if weights is not None or len(shape) != 1 or shape[0] > 4096:
            raise ValueError("expected a Linear or an Affine before it")
        settings, params = {"outputs": shape[0]}, {"weight": np.eye(shape[0], dtype=np.float32)}
    if not fires and len(after) > 1:
        raise ValueError(
            "expected a Linear or an Affine before integrators; layers of them are flat"
        )
    if recurrent is not None:
        if len(after) > 1:
            raise ValueError("recurrent: expected neurons that see all inputs, no convolution")
        _, back, _ = weighted(recurrent, after)
        settings["recurrent"], params["recurrent"] = True, back["weight"]
        if "bias" in back:
            settings["recurrent_bias"], params["recurrent_bias"] = True, back["bias"]
    if "bias" in params:
        settings["bias"] = True
    seconds = constants.unit / constants.speedup
    mean = {n: float(np.mean(state[n])) * seconds for n in ("tau_mem", "tau_syn") if n in state}
    every = np.concatenate([params[n].ravel() for n in ("weight", "recurrent") if n in params])
    scale = how.weight_scale or 63 / max(float(np.abs(every).max(initial=0)), 1e-12)
    settings |= {n: min(max(tau, 1e-9), 0.999) for n, tau in mean.items()}
    settings |= {"weight_scale": scale, "init_std": max(float(every.std()), 1e-6)}
    layer = kind(name=name, integrator=how.convention.order, constants=constants, **settings)
    return Made(layer, after, params, state)


def _constants(node: Any, shape: Shape, how: Settings) -> tuple[Constants, dict[str, np.ndarray]]:
    """How the constants of neurons are meant, and what they are, `[N]` each."""
    meant: Any = how.convention
    constants = Constants(
        kind=kind_of(node), spikes=meant.spikes, reset=meant.reset, start=meant.start,  # type: ignore[arg-type]
        unit=meant.seconds(how.dt), speedup=how.speedup, ignored=meant.ignored,
        tau_syn=None if kind_of(node) in ("CubaLIF", "CubaLI") else how.tau_syn,
    )  # fmt: skip
    state = {}
    for name in constants.names:
        field_name = next(f for f in _FIELDS.get(name, (name,)) if hasattr(node, f))
        values = getattr(node, field_name)
        if values is None or not np.isfinite(np.asarray(values, float)).all():
            raise ValueError(f"{field_name}: expected finite numbers, got {values}")
        state[name] = of_neurons(values, shape)
    for name in ("tau_mem", "tau_syn"):
        if name in state:
            _check_time(name, state[name] * constants.unit, how)
    factors = [state[n] for n in ("r", "w_in") if n in state and n not in meant.ignored]
    for each in factors:
        if each.min() <= 0:
            raise ValueError(f"r and w_in: expected numbers above 0, got {each.min():g}")
    return constants, state


def _check_time(name: str, tau: np.ndarray, how: Settings) -> None:
    low, high = float(tau.min()), float(tau.max())
    if not _SHORTEST <= low <= high <= _LONGEST:
        raise ValueError(
            f"{name}: {low:g} to {high:g} s with unit={how.convention.unit}, expected {_SHORTEST} "
            f"to {_LONGEST} s; is the file's unit another one?"
        )
    if how.convention.order in TANGENTS and low < how.dt * (1 - 1e-6):
        raise ValueError(
            f"{name}: {low:g} s is shorter than a step of {how.dt:g} s, which the order "
            f"{how.convention.order!r} cannot follow; take a shorter dt, or another unit"
        )


def single(name: str, node: Any, shape: Shape, how: Settings) -> Made:
    """Returns the layer of a node by itself.

    Raises:
        ValueError: it does not fit, or there is no such layer.
    """
    kind = kind_of(node)
    if kind in ("Linear", "Affine"):
        settings, params, after = weighted(node, shape)
        return Made(Currents(name=name, bias="bias" in params, **settings), after, params)
    if kind in ("Conv1d", "Conv2d"):
        settings, params, after = weighted(node, shape)
        return Made(ConvCurrents(name=name, bias="bias" in params, **settings), after, params)
    if kind in ("SumPool2d", "AvgPool2d"):
        return _pool(name, node, shape)
    if kind == "Flatten":
        return Made(Flatten(name=name, channels_first=True), _flattened(node, shape))
    if kind == "Delay":
        unit = how.convention.seconds(how.dt) / how.speedup
        return Made(
            Delay(name=name, trained=False, unit=unit), shape,
            state={"delay": of_neurons(node.delay, shape)},
        )  # fmt: skip
    if kind == "Scale":
        scale = of_neurons(node.scale, shape).reshape(ours(shape))
        return Made(Scaled(name=name), shape, {"scale": scale})
    if kind == "Threshold":
        threshold = of_neurons(node.threshold, shape).reshape(ours(shape))
        return Made(Threshold(name=name), shape, {"threshold": threshold})
    known = ", ".join(
        (*WEIGHTS, *NEURONS, "Scale", "Threshold", "Delay", "Flatten", "SumPool2d, AvgPool2d")
    )
    raise ValueError(f"no layer does this; known: {known}")


def _pool(name: str, node: Any, shape: Shape) -> Made:
    if len(shape) != 3:
        raise ValueError(f"it takes (C, H, W), and is given {shape}")
    if np.any(np.asarray(node.padding) != 0):
        raise ValueError(f"padding: got {node.padding}; windows of pools lie within, 0")
    window, stride = _each(node.kernel_size, 2), _each(node.stride, 2)
    layer = Pool(
        name=name, mode="sum" if kind_of(node) == "SumPool2d" else "mean", window=window,
        stride=stride,
    )  # fmt: skip
    return Made(layer, (shape[0], *output_shape(shape[1:], window, stride)))


def _flattened(node: Any, shape: Shape) -> Shape:
    """The shape after a Flatten, which may count an axis of samples."""
    start, end = int(node.start_dim), int(node.end_dim)
    last = end in (-1, len(shape) - 1, len(shape))
    if start not in (0, 1, -len(shape)) or not last:
        raise ValueError(f"start_dim {start}, end_dim {end} of {shape}: expected all axes in one")
    return (int(np.prod(shape)),)
