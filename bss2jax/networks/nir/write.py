"""Writes networks as graphs of NIR.

Layers that were read are written as they were: constants in the units of their graph. Others are
written for a framework: their neurons' decay in a step, their jumps and their thresholds are what
that framework makes of the file. What codes make is the input, what decoders take the output.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bss2jax.arrays import positive
from bss2jax.extras import require
from bss2jax.kernels.neurons.membrane import TANGENTS, decay
from bss2jax.networks.graph import Network, Node, Params, State
from bss2jax.networks.layer import kind_of
from bss2jax.networks.nir.arrays import theirs, to_neurons, to_weight
from bss2jax.networks.nir.convention import CONVENTIONS, Convention
from bss2jax.networks.nir.flat import Edge, flat, nested
from bss2jax.networks.normed import fold_norms

_FULL = ("snntorch", "spyx")  # membranes add all that they are given: r is tau / dt
_STEP = {"snntorch": 1e-4}  # s that a step is there, whatever the file says


class Writer:
    """A graph that grows: nodes, edges, and what each layer's output is in it."""

    def __init__(self, framework: str, speedup: float | None) -> None:
        self.nir: Any = require("nir", "nir", "writing NIR")
        self.framework = framework
        self.convention: Convention = CONVENTIONS[framework]
        self.speedup = speedup
        self.nodes: dict[str, Any] = {}
        self.edges: list[Edge] = []
        self.ends: dict[str, tuple[str, ...]] = {"input": ("input",)}

    def add(self, name: str, node: Any, before: tuple[str, ...]) -> tuple[str, ...]:
        """Adds a node behind others; returns what stands behind it."""
        if name in self.nodes:
            raise ValueError(f"two nodes would be called {name!r}; give the layers other names")
        self.nodes[name] = node
        self.edges += [(one, name) for one in before]
        return (name,)

    def flatten(self, name: str, size: tuple[int, ...], before: tuple[str, ...]) -> tuple[str, ...]:
        """Adds a Flatten of all axes of a size behind others."""
        shape = {"input": np.array(theirs(size))}
        return self.add(name, self.nir.Flatten(input_type=shape, start_dim=0), before)

    def longer(self, dt: float) -> float:
        """Returns the factor by which the graph's times are longer, of steps of `dt` s."""
        return self.speedup or _STEP.get(self.framework, dt) / dt

    def before(self, node: Node) -> tuple[str, ...]:
        """Returns the nodes whose outputs a layer takes."""
        return tuple(end for name in node.inputs for end in self.ends[name])


def write(
    network: Network,
    params: Params,
    state: State,
    path: Any = None,
    *,
    framework: str = "norse",
    speedup: float | None = None,
    like: Any = None,
) -> Any:
    """Returns a network as a graph of NIR, and writes it.

    Args:
        network: a network of spiking layers.
        params, state: what it has learned.
        path: the path of the file; None writes none.
        framework: the framework whose habits layers are written for that were not read: see `read`.
        speedup: factor by which the graph's times are longer; None: 1, or what makes a step the
            framework's own.
        like: the graph that it was read from: arrays that are the same are taken from there, as
            they were, and names, metadata and the ends.

    Raises:
        ValueError: a layer has no node in NIR; names it.
    """
    if framework not in CONVENTIONS or framework == "nir":
        known = ", ".join(n for n in CONVENTIONS if n != "nir")
        raise ValueError(f"framework: got {framework!r}, expected one of {known}")
    network, params, state = fold_norms(network, params, state)
    out = Writer(framework, None if speedup is None else positive("speedup", speedup))
    timed = [node for node in network.nodes if node.before[0].timed]
    if not timed:
        raise ValueError("no layer takes spikes: NIR is for networks over time")
    shape = np.array(theirs(timed[0].before[0].size))
    out.nodes["input"] = out.nir.Input(input_type={"input": shape})
    for node in network.nodes:
        own, kept = params.get(node.name, {}), state.get(node.name, {})
        out.ends[node.name] = _written(out, node, _host(own), _host(kept))
    size = next(node.after.size for node in network.nodes[::-1] if node.after.timed)
    end = out.nir.Output(output_type={"output": np.array(theirs(size))})
    out.add("output", end, out.ends[network.nodes[-1].name])
    graph = _like(out, like) if like is not None else nested(out.nodes, out.edges, out.nir)
    if path is not None:
        out.nir.write(os.fspath(path), graph)
    return graph


def _host(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in tree.items()}


def _written(out: Writer, node: Node, params: Any, state: Any) -> tuple[str, ...]:
    """Writes a layer; returns the nodes that have its output."""
    kind = kind_of(node.layer)
    before = out.ends[node.inputs[0]] if kind == "shortcut_lif" else out.before(node)
    hidden = not node.before[0].timed or not node.after.timed  # codes, and decoders
    if kind == "add" or (hidden and not params):
        return before
    try:
        if hidden or kind not in _WRITERS:
            raise ValueError("NIR has no node for it")
        return _WRITERS[kind](out, node, before, params, state)
    except ValueError as error:
        raise ValueError(f"layer {node.name} ({kind}): {error}") from None


# --- layers


def _population(
    out: Writer, node: Node, before: tuple[str, ...], params: Any, state: Any
) -> tuple[str, ...]:
    """Weights, neurons, and weights of spikes that return."""
    layer: Any = node.layer
    if getattr(layer, "recurrent_drivers", None) is not None:
        raise ValueError("recurrent_drivers: NIR has no short-term plasticity")
    front, name, back = _names(node.name)
    weights = _host(layer.weights(params, *node.before))
    bias = params.get("bias")
    if _is_direct(layer, weights, front):
        pass
    elif kind_of(layer) == "direct_lif":
        scale = to_neurons(weights["weight"], node.before[0].size)
        before = out.add(front or f"{name}_scale", out.nir.Scale(scale), before)
    else:
        before = _weights(out, node, front or f"{name}_weight", before, weights["weight"], bias)
    if "shortcut" in weights:
        before += _shortcut(out, node, f"{name}_shortcut", weights["shortcut"])
    neuron = _constant(out, layer, state, node) if layer.constants else _plain(out, node, params)
    ends = out.add(name, neuron, before)
    if "recurrent" in weights:
        back = back or f"{name}_recurrent"
        other = _linear(out, weights["recurrent"], params.get("recurrent_bias"))
        out.edges.append((out.add(back, other, ends)[0], name))
    return ends


def _shortcut(out: Writer, node: Node, name: str, weight: Any) -> tuple[str, ...]:
    """The second projection of neurons with a shortcut: a scale, or windows of one position."""
    layer: Any = node.layer
    before, other = out.ends[node.inputs[1]], layer.other(*node.before)
    if other is None:
        scale = np.broadcast_to(weight[0], node.after.size)
        return out.add(name, out.nir.Scale(to_neurons(scale.ravel(), node.after.size)), before)
    own = replace(node, layer=other, before=node.before[1:])
    return _weights(out, own, name, before, weight, None)


def _names(name: str) -> tuple[str, str, str]:
    """The nodes of a layer: weights and recurrent weights, or '' where it does not say."""
    parts = name.split("+")
    if len(parts) == 1:
        return "", name, ""
    front, middle, *rest = parts
    return front, middle, rest[0] if rest else ""


def _is_direct(layer: Any, weights: Any, front: str) -> bool:
    """Whether neurons see what they are given as it is."""
    w = weights["weight"]
    if front:
        return False
    if w.ndim == 1:
        return bool((w == 1).all())
    read = layer.constants is not None and w.ndim == 2 and w.shape[0] == w.shape[1]
    return read and bool((w == np.eye(len(w))).all())


def _weights(
    out: Writer, node: Node, name: str, before: tuple[str, ...], weight: Any, bias: Any
) -> tuple[str, ...]:
    """Weights of all inputs, or of windows; of images a Flatten is put before the former."""
    size = node.before[0].size
    if weight.ndim == 2:
        if len(size) > 1:
            before = out.flatten(f"{name}_flatten", size, before)
            order = np.moveaxis(np.arange(node.before[0].entries).reshape(size), -1, 0).ravel()
            weight = weight[order]
        return out.add(name, _linear(out, weight, bias), before)
    layer: Any = node.layer
    if not getattr(layer, "shared", True):
        raise ValueError("NIR has no windows whose weights differ from place to place")
    axes = len(size) - 1
    each = lambda value: value if isinstance(value, tuple | str) else (value,) * axes  # noqa: E731
    padding = each(layer.padding)
    padding = padding.lower() if isinstance(padding, str) else padding
    settings: dict[str, Any] = {"stride": each(layer.stride), "padding": padding}
    settings |= {"dilation": (1,) * axes, "input_shape": tuple(size[:-1])}
    if axes == 1:
        settings = {k: v[0] if isinstance(v, tuple) else v for k, v in settings.items()}
    kind = out.nir.Conv1d if axes == 1 else out.nir.Conv2d
    bias = np.zeros(weight.shape[-1], np.float32) if bias is None else bias
    return out.add(name, kind(weight=to_weight(weight), bias=bias, groups=1, **settings), before)


def _linear(out: Writer, weight: Any, bias: Any) -> Any:
    if bias is None:
        return out.nir.Linear(to_weight(weight))
    return out.nir.Affine(to_weight(weight), np.asarray(bias))


def _constant(out: Writer, layer: Any, state: Any, node: Node) -> Any:
    """Neurons that were read, as they were."""
    constants = layer.constants
    values = {name: to_neurons(state[name], node.after.size) for name in constants.names}
    kind = constants.kind
    if constants.tau_syn is not None and not constants.synapses:
        if not constants.leaky:
            raise ValueError("NIR has no neurons with synapses and without a leak")
        # The synapses that it was given: the same jump of the current.
        dt, order = node.before[0].dt, layer.integrator
        kind = {"LIF": "CubaLIF", "LI": "CubaLI"}[kind]
        tau = constants.tau_syn * constants.speedup / constants.unit
        of = {"tau_syn": np.float32(tau), "w_in": np.float32(1)}
        given = replace(constants, kind=kind, tau_syn=None, ignored=())
        ratio = constants.current(state, dt, order) / given.current(of, dt, order)
        values["tau_syn"] = np.full_like(values["r"], tau)
        ratio = np.broadcast_to(np.asarray(ratio, np.float32), state["r"].shape)
        values["w_in"] = to_neurons(ratio, node.after.size)
    if not constants.synapses and kind in ("LIF", "LI") and "tau_mem" in values:
        values["tau"] = values.pop("tau_mem")
    return getattr(out.nir, kind)(**values)


def _plain(out: Writer, node: Node, params: Any) -> Any:
    """Neurons in software units, as a framework's file has them."""
    layer: Any = node.layer
    signal: Any = node.before[0]
    if getattr(layer, "t_ref", 0.0):
        raise ValueError("t_ref: NIR's neurons have no refractory time")
    shape, dt = node.after.size, signal.dt
    step = dt * out.longer(dt)
    unit = out.convention.seconds(step)
    full = lambda value: to_neurons(np.broadcast_to(value, node.after.entries), shape)  # noqa: E731
    keeps = {
        n: np.asarray(decay(layer.factor(n, params), dt, layer.integrator), float)
        for n in ("tau_mem", "tau_syn")
    }
    inexact = out.convention.order in TANGENTS
    taus = {n: step / (1 - k) if inexact else -step / np.log(k) for n, k in keeps.items()}
    scale = 1 / (1 - keeps["tau_mem"]) if out.framework in _FULL else 1.0
    jump = 1 / (1 - keeps["tau_syn"]) if out.convention.spikes == "sample" else 1.0
    values = {name: full(tau / unit) for name, tau in taus.items()}
    values |= {"r": full(scale), "v_leak": full(0.0), "w_in": full(jump)}
    if not node.after.observed == ("output", "membrane"):
        values |= {
            "v_threshold": full(scale * layer.factor("threshold", params)),
            "v_reset": full(0.0),
        }
        return out.nir.CubaLIF(**_float32(values))
    return out.nir.CubaLI(**_float32(values))


def _float32(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def _currents(
    out: Writer, node: Node, before: tuple[str, ...], params: Any, state: Any
) -> tuple[str, ...]:
    return _weights(out, node, node.name, before, params["weight"], params.get("bias"))


def _scale(out: Writer, node: Node, before: Any, params: Any, state: Any) -> tuple[str, ...]:
    scale = to_neurons(params["scale"], node.after.size)
    return out.add(node.name, out.nir.Scale(scale), before)


def _threshold(out: Writer, node: Node, before: Any, params: Any, state: Any) -> tuple[str, ...]:
    threshold = to_neurons(params["threshold"], node.after.size)
    return out.add(node.name, out.nir.Threshold(threshold), before)


def _delay(out: Writer, node: Node, before: Any, params: Any, state: Any) -> tuple[str, ...]:
    layer: Any = node.layer
    if not layer.trained:
        delay = state["delay"]
    else:
        signal: Any = node.before[0]
        speedup = out.longer(signal.dt)
        unit = out.convention.seconds(signal.dt * speedup)
        delay = np.asarray(layer.delays(params, state)) * np.float32(speedup / unit)
    return out.add(node.name, out.nir.Delay(to_neurons(delay, node.after.size)), before)


def _pool(out: Writer, node: Node, before: Any, params: Any, state: Any) -> tuple[str, ...]:
    layer: Any = node.layer
    kinds = {"mean": out.nir.AvgPool2d, "sum": out.nir.SumPool2d}
    if layer.mode not in kinds or len(node.before[0].size) != 3:
        raise ValueError("NIR has pools of means and sums over height and width")
    window, stride = (np.array(each) for each in layer._windows(node.before[0]))
    return out.add(node.name, kinds[layer.mode](window, stride, np.zeros(2, int)), before)


def _flatten(out: Writer, node: Node, before: Any, params: Any, state: Any) -> tuple[str, ...]:
    layer: Any = node.layer
    if not layer.channels_first and len(node.before[0].size) > 1:
        raise ValueError("NIR flattens with channels first; leave it out, or set channels_first")
    return out.flatten(node.name, node.before[0].size, before)


_Write = Callable[[Writer, Node, tuple[str, ...], Any, Any], tuple[str, ...]]
_WRITERS: dict[str, _Write] = {
    "lif": _population, "conv_lif": _population, "shortcut_lif": _population,
    "direct_lif": _population, "li": _population,
    "currents": _currents, "conv_currents": _currents, "scale": _scale, "threshold": _threshold,
    "delay": _delay, "pool": _pool, "flatten": _flatten,
}  # fmt: skip


# --- the graph that it was read from


def _like(out: Writer, like: Any) -> Any:
    """The graph, with what is as it was taken from the one that was read."""
    known = flat(like)
    ends = {"input": known.only("Input"), "output": known.only("Output")}
    nodes = {ends.get(name, name): node for name, node in out.nodes.items()}
    edges = [(ends.get(a, a), ends.get(b, b)) for a, b in out.edges]
    for name, node in nodes.items():
        before = known.nodes.get(name)
        if before is not None and type(before) is type(node):
            nodes[name] = _kept(before, node)
    return nested(nodes, edges, out.nir)


_LEARNED = {
    "weight", "bias", "scale", "threshold", "delay", "tau", "tau_mem", "tau_syn", "r", "w_in",
    "v_leak", "v_threshold", "v_reset",
}  # fmt: skip


def _kept(before: Any, now: Any) -> Any:
    """A node that was read, with the arrays that are no longer the same."""
    for name, value in vars(now).items():
        old = getattr(before, name, None)
        if not isinstance(value, np.ndarray) or not isinstance(old, np.ndarray):
            continue
        try:
            same = np.array_equal(np.broadcast_to(old, value.shape).astype(np.float32), value)
        except ValueError:
            same = False
        if same:
            setattr(now, name, old)
    for name in vars(before).keys() - _LEARNED:
        setattr(now, name, getattr(before, name))
    return now
