"""A step by step twin of graphs of NIR, in float64, from the equations alone: Euler, same step."""

import numpy as np


def simulate(graph, x, dt, *, reset="value", spikes="sample", start=0.0):
    """Runs `[T, B, *shape]` through a graph without graphs in it; the outputs of all nodes.

    Nodes that return to a population hear its spikes of the step before.
    """
    names = order(graph)
    back = [name for name in graph.nodes if name not in names]
    state, outputs = {}, {name: [] for name in names}
    spiked = {name: getattr(graph.nodes[name], "bias", 0.0) for name in back}
    for at in x:
        now = {}
        for name in names:
            node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
            before = [a for a, b in graph.edges if b == name]
            values = [now[a] if a in now else spiked.get(a, 0.0) for a in before]
            given = at if kind == "Input" else sum(values)
            now[name] = STEPS[kind](
                node, given, state.setdefault(name, {}), dt, reset, spikes, start
            )
            outputs[name].append(now[name])
        for name in back:  # what returns is heard a step later
            (of,) = [a for a, b in graph.edges if b == name]
            spiked[name] = affine(graph.nodes[name], now[of], {})
    return {name: np.stack(np.broadcast_arrays(*each)) for name, each in outputs.items()}


def returns(graph, name):
    return any((a, name) in graph.edges and (name, a) in graph.edges for a in graph.nodes)


def order(graph):
    """Nodes so that each comes after what it hears, weights that return aside."""
    back = [n for n in graph.nodes if type(graph.nodes[n]).__name__ in ("Linear", "Affine")]
    back = [n for n in back if returns(graph, n)]
    rest, done = [n for n in graph.nodes if n not in back], []
    while rest:
        ready = [
            n for n in rest
            if all(a in done or a in back for a, b in graph.edges if b == n)
        ]  # fmt: skip
        done += ready
        rest = [n for n in rest if n not in ready]
    return done


def affine(node, x, state, *_):
    return np.asarray(x, float) @ np.asarray(node.weight, float).T + getattr(node, "bias", 0.0)


def conv(node, x, state, *_):
    w = np.asarray(node.weight, float)
    axes = w.ndim - 2
    stride = np.broadcast_to(node.stride, (axes,))
    pads = [(0, 0), (0, 0)]
    for axis in range(axes):
        k = w.shape[2 + axis]
        if node.padding == "same":
            pads.append(((k - 1) // 2, (k - 1) - (k - 1) // 2))
        elif node.padding == "valid":
            pads.append((0, 0))
        else:
            pads.append((int(np.broadcast_to(node.padding, (axes,))[axis]),) * 2)
    x = np.pad(np.asarray(x, float), pads)
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], tuple(range(2, 2 + axes)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]
    spatial = "hw"[:axes]
    y = np.einsum(f"bi{spatial}{spatial.upper()},oi{spatial.upper()}->bo{spatial}", windows, w)
    return y + np.asarray(node.bias).reshape(-1, *(1,) * axes)


def pool(mean):
    def run(node, x, *_):
        k, s = np.broadcast_to(node.kernel_size, (2,)), np.broadcast_to(node.stride, (2,))
        windows = np.lib.stride_tricks.sliding_window_view(x, tuple(k), (2, 3))[
            :, :, :: s[0], :: s[1]
        ]
        return windows.mean((-1, -2)) if mean else windows.sum((-1, -2))

    return run


def neuron(node, x, state, dt, reset, spikes, start):
    x = np.asarray(x, float)
    kind, r = type(node).__name__, np.asarray(node.r, float)
    tau = np.asarray(getattr(node, "tau", getattr(node, "tau_mem", 1.0)), float)
    leak = np.asarray(getattr(node, "v_leak", 0.0), float)
    if kind.startswith("Cuba"):
        tau_syn = np.asarray(node.tau_syn, float)
        jump = {"sample": dt / tau_syn, "jump": 1.0, "dirac": 1 / tau_syn}[spikes] * node.w_in
        i = state.get("i", 0.0) * (1 - dt / tau_syn) + jump * x
        state["i"] = i
        v = state.get("v", start) * (1 - dt / tau) + dt / tau * (leak + r * i)
    elif kind in ("IF", "I"):
        v = state.get("v", start) + r * x * (dt if spikes == "sample" else 1.0)
    else:
        jump = {"sample": dt / tau, "jump": 1.0, "dirac": 1 / tau}[spikes]
        v = state.get("v", start) * (1 - dt / tau) + dt / tau * leak + r * jump * x
    v = v + 0 * x
    if not hasattr(node, "v_threshold"):
        state["v"] = v
        return v
    theta = np.asarray(node.v_threshold, float)
    z = (v > theta).astype(float)
    after = {"value": np.asarray(node.v_reset, float), "zero": 0.0, "subtract": v - theta}[reset]
    state["v"] = np.where(z > 0, after, v)
    return z


def delay(node, x, state, dt, *_):
    past = state.setdefault("past", [])
    past.append(np.asarray(x, float))
    steps = np.broadcast_to(np.round(np.asarray(node.delay) / dt).astype(int), past[0].shape[1:])
    y = np.zeros_like(past[0])
    for at in np.ndindex(steps.shape):
        if steps[at] < len(past):
            y[(slice(None), *at)] = past[-1 - steps[at]][(slice(None), *at)]
    return y


STEPS = {
    "Delay": delay,
    "Input": lambda node, x, *_: np.asarray(x, float),
    "Output": lambda node, x, *_: x,
    "Linear": affine,
    "Affine": affine,
    "Conv1d": conv,
    "Conv2d": conv,
    "SumPool2d": pool(False),
    "AvgPool2d": pool(True),
    "Flatten": lambda node, x, *_: np.asarray(x).reshape(len(x), -1),
    "Scale": lambda node, x, *_: x * np.asarray(node.scale, float),
    "Threshold": lambda node, x, *_: (x > np.asarray(node.threshold)).astype(float),
} | dict.fromkeys(("LIF", "CubaLIF", "IF", "LI", "CubaLI", "I"), neuron)
