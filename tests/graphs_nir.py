"""Graphs of NIR of every kind that layers express: random sizes, constants and weights."""

from itertools import pairwise

import nir
import numpy as np

TAU, DT = 10e-3, 1e-3


def drawn(rng, shape, low, high):
    return rng.uniform(low, high, shape).astype(np.float32)


def neurons(rng, kind, shape, r=(0.5, 2.0), soft=False):
    tau = lambda: drawn(rng, shape, 0.5 * TAU, 2 * TAU)  # noqa: E731
    leak, threshold = drawn(rng, shape, -0.02, 0.05), drawn(rng, shape, 0.1, 0.2)
    fires = {"v_threshold": threshold, "v_reset": drawn(rng, shape, -0.05, 0.0)}
    constants = {"r": drawn(rng, shape, *r)}
    if kind.startswith("Cuba"):
        constants |= {"tau_mem": tau(), "tau_syn": tau(), "v_leak": leak}
        constants |= {"w_in": drawn(rng, shape, 0.5, 2.0)}
    elif kind in ("LIF", "LI"):
        constants |= {"tau": tau(), "v_leak": leak}
    else:
        constants["r"] = constants["r"] * np.float32(20)
    if kind in ("LIF", "CubaLIF", "IF"):
        constants |= fires
    return getattr(nir, kind)(**constants)


def weights(rng, kind, outputs, inputs, scale=1.0):
    w = rng.normal(0.1, scale / np.sqrt(inputs), (outputs, inputs)).astype(np.float32)
    bias = drawn(rng, outputs, -0.05, 0.2)
    return nir.Linear(w) if kind == "Linear" else nir.Affine(w, bias)


def conv(rng, axes, outputs, inputs, window, stride, padding, size):
    w = rng.normal(0.1, 0.5, (outputs, inputs, *window)).astype(np.float32)
    kind, one = (
        (nir.Conv1d, lambda v: v[0] if isinstance(v, tuple) else v)
        if axes == 1
        else (nir.Conv2d, lambda v: v)
    )
    return kind(
        input_shape=one(size), weight=w, stride=one(stride), padding=one(padding),
        dilation=one((1,) * axes), groups=1, bias=drawn(rng, outputs, -0.1, 0.3),
    )  # fmt: skip


def graph(shape, nodes, edges=None, output=None):
    names = ["input", *nodes, "output"]
    chain = list(pairwise(names)) if edges is None else edges
    whole = {"input": nir.Input(input_type={"input": np.array(shape)}), **nodes}
    whole["output"] = nir.Output(output_type={"output": np.array(output or shape)})
    return nir.NIRGraph(whole, chain, type_check=False)


def chains(rng):
    """Every neuron behind every kind of weights."""
    for kind in ("LIF", "CubaLIF", "IF", "LI", "CubaLI", "I"):
        for front in ("Linear", "Affine"):
            nodes = {"w": weights(rng, front, 4, 6), "n": neurons(rng, kind, (4,))}
            yield f"{front}-{kind}", graph((6,), nodes, output=(4,))
    nodes = {"a": weights(rng, "Affine", 5, 6), "lif": neurons(rng, "LIF", (5,)),
             "b": weights(rng, "Linear", 3, 5), "cuba": neurons(rng, "CubaLIF", (3,)),
             "c": weights(rng, "Affine", 2, 3)}  # fmt: skip
    yield "two layers and a readout", graph((6,), nodes, output=(2,))


def loops(rng):
    for kind in ("LIF", "CubaLIF"):
        for back in ("Linear", "Affine"):
            nodes = {"w": weights(rng, "Linear", 4, 6), "n": neurons(rng, kind, (4,)),
                     "back": weights(rng, back, 4, 4, 0.5)}  # fmt: skip
            edges = [("input", "w"), ("w", "n"), ("n", "back"), ("back", "n"), ("n", "output")]
            yield f"recurrent {kind} {back}", graph((6,), nodes, edges, (4,))
    nodes = {"n": neurons(rng, "LIF", (6,)), "back": weights(rng, "Linear", 6, 6, 0.5)}
    edges = [("input", "n"), ("n", "back"), ("back", "n"), ("n", "output")]
    yield "recurrent without weights", graph((6,), nodes, edges)


def images(rng):
    for padding in ((0, 0), (1, 2), "same", "valid"):
        stride = (1, 1) if padding == "same" else (2, 1)
        first = conv(rng, 2, 3, 2, (3, 2), stride, padding, (7, 6))
        nodes = {"conv": first, "lif": neurons(rng, "LIF", SHAPES[padding])}
        yield f"conv2d {padding}", graph((2, 7, 6), nodes, output=SHAPES[padding])
    nodes = {
        "conv": conv(rng, 2, 3, 2, (3, 3), (1, 1), (1, 1), (6, 4)),
        "if": neurons(rng, "IF", (3, 6, 4)),
        "pool": nir.SumPool2d(*map(np.array, ((2, 2), (2, 2), (0, 0)))),
        "flat": nir.Flatten(input_type={"input": np.array([3, 3, 2])}, start_dim=0),
        "w": weights(rng, "Linear", 4, 18), "out": neurons(rng, "CubaLIF", (4,)),
    }  # fmt: skip
    yield "conv, sum, flatten", graph((2, 6, 4), nodes, output=(4,))
    nodes = {
        "conv": conv(rng, 2, 3, 2, (3, 3), (1, 1), (1, 1), (6, 4)),
        "pool": nir.AvgPool2d(*map(np.array, ((2, 2), (2, 2), (0, 0)))),
        "lif": neurons(rng, "LIF", (3, 3, 2)),
        "flat": nir.Flatten(input_type={"input": np.array([3, 3, 2])}, start_dim=0),
    }
    yield "conv, mean, neurons", graph((2, 6, 4), nodes, output=(18,))
    nodes = {
        "conv": conv(rng, 1, 3, 2, (3,), (2,), (1,), (9,)),
        "n": neurons(rng, "CubaLIF", (3, 5)),
    }
    yield "conv1d", graph((2, 9), nodes, output=(3, 5))


SHAPES = {(0, 0): (3, 3, 5), (1, 2): (3, 4, 9), "same": (3, 7, 6), "valid": (3, 3, 5)}


def others(rng):
    nodes = {"w": weights(rng, "Linear", 4, 6), "n": neurons(rng, "LIF", (4,)),
             "d": nir.Delay((DT * np.array([0, 1, 3, 7])).astype(np.float32)),
             "v": weights(rng, "Affine", 3, 4), "m": neurons(rng, "LIF", (3,))}  # fmt: skip
    yield "delay", graph((6,), nodes, output=(3,))
    nodes = {"scale": nir.Scale(drawn(rng, 6, 0.5, 2.0)), "n": neurons(rng, "LIF", (6,))}
    yield "scale", graph((6,), nodes)
    yield "neurons alone", graph((6,), {"n": neurons(rng, "CubaLIF", (6,))})
    nodes = {"w": weights(rng, "Affine", 4, 6), "v": weights(rng, "Linear", 3, 4),
             "n": neurons(rng, "LIF", (3,))}  # fmt: skip
    yield "weights behind weights", graph((6,), nodes, output=(3,))
    nodes = {"w": weights(rng, "Affine", 4, 6), "s": nir.Scale(drawn(rng, 4, 0.5, 2.0)),
             "t": nir.Threshold(drawn(rng, 4, 0.1, 0.3))}  # fmt: skip
    yield "threshold", graph((6,), nodes, output=(4,))
    nodes = {"li": neurons(rng, "LI", (4,)), "w": weights(rng, "Linear", 4, 6),
             "t": nir.Threshold(drawn(rng, 4, 0.1, 0.2))}  # fmt: skip
    yield (
        "traces",
        graph((6,), nodes, [("input", "w"), ("w", "li"), ("li", "t"), ("t", "output")], (4,)),
    )
    nodes = {"a": weights(rng, "Linear", 4, 6), "b": weights(rng, "Affine", 4, 6),
             "n": neurons(rng, "LIF", (4,)), "c": weights(rng, "Linear", 4, 4),
             "m": neurons(rng, "CubaLIF", (4,))}  # fmt: skip
    edges = [("input", "a"), ("input", "b"), ("a", "n"), ("b", "n"), ("n", "c"), ("c", "m"),
             ("n", "output"), ("m", "output")]  # fmt: skip
    yield "branches", graph((6,), nodes, edges, (4,))


def every(seed=0):
    """All of them, by what they are."""
    rng = np.random.default_rng(seed)
    return dict([*chains(rng), *loops(rng), *images(rng), *others(rng)])
