"""An example of every public function and of every kind of layer, small enough for every mode.

A new public function needs an example here, else `tests/test_modes.py` fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bss2jax as b
from bss2jax import networks as n

RNG = np.random.default_rng(0)
SMALL = b.Substrate(rows=4, columns=6)
KEY = jax.random.key(5)
CHIP = b.sample_chip(jax.random.key(3), substrate=SMALL)
CIRCUITS = b.on_chip(CHIP, 3, 2, substrate=SMALL)
# Of no arrays: sizes, files, texts.
ON_HOST = {"describe", "lay_out", "load_chip", "open_run", "plan", "save_chip", "train", "wire"}


@dataclass(frozen=True)
class Example:
    """A call.

    Attributes:
        call: a function of arrays alone, or of trees of them.
        arguments: what it is called with.
        samples: the axis of samples of each argument; None of what is one for all.
        out: the axis of samples of the results.
        differentiable: the numbers of the arguments that have a gradient.
        keeps: whether results are of the type of what is given, whatever it is.
    """

    call: Callable[..., Any]
    arguments: tuple
    samples: tuple[int | None, ...]
    out: int | None = 0
    differentiable: tuple[int, ...] = (0,)
    keeps: bool = False


def floats(*shape: int, least: float = 0.0, most: float = 1.0) -> jax.Array:
    return jnp.asarray(RNG.uniform(least, most, shape), jnp.float32)


VALUES = jnp.asarray([[0.0, 0.25, 1.0], [0.5, 0.75, 0.3]], jnp.float32)  # [B, K]
SPIKES = jnp.asarray(RNG.random((5, 2, 3)) < 0.6, jnp.float32)  # [T, B, K]
WEIGHTS = floats(3, 2, least=0.2, most=0.9)
TRACE = floats(5, 2, 3, least=-1.0)
EVENTS = b.latency(VALUES, 5)
ROWS, MATRIX = floats(2, 9, most=31.0), floats(9, 7, least=20.0, most=60.0)
PLAN = b.plan({"w": MATRIX}, SMALL)
product = partial(b.matmul, substrate=SMALL, num_sends=4)
NEURONS = (b.LIF(threshold=0.3), b.LI(), b.ExactLIF(threshold=0.03), b.AdEx(threshold=0.3))
DENDRITE = jax.tree.map(
    jnp.float32,
    b.Compartments.of(b.Morphology.star(1, reset=0.6, t_ref=2e-6), b.LIF(threshold=0.3)),
)
EXCITABLE = partial(b.population, neuron=b.LIF(threshold=0.1))
population = partial(b.population, codes=b.Codes(substrate=SMALL))


def threefold(values: jax.Array) -> jax.Array:
    return jnp.stack([values > 0.4] * 3).astype(jnp.float32)


def of_values(call: Callable, *, differentiable: tuple[int, ...] = (0,), out: int | None = 0):
    return [Example(call, (VALUES,), (0,), out, differentiable)]


def of_trace(call: Callable, out: int | None = 0):
    return [Example(call, (TRACE,), (1,), out)]


EXAMPLES: dict[str, list[Example]] = {
    "AdEx.step": [
        Example(
            lambda state, x: b.AdEx().step(state, x),
            (b.AdEx().rest(jnp.zeros((2, 3))), 3 * VALUES), (0, 0), 0, (0, 1),
        )
    ],
    "Compartments.step": [
        Example(
            lambda neuron, state, x: neuron.step(state, x),
            (DENDRITE, DENDRITE.rest(jnp.zeros((2, 4))), floats(2, 4)), (None, 0, 0), 0, (0, 1, 2),
        )
    ],
    "Sensors.run": [
        Example(
            lambda sensors, pre, post: sensors.run(pre, post),
            (jax.tree.map(jnp.float32, b.Sensors()), SPIKES, SPIKES[..., :2]), (None, 1, 1),
        )
    ],
    "ShortTerm.amplitudes": [
        Example(
            lambda plasticity, z: plasticity.amplitudes(z),
            (jax.tree.map(jnp.float32, b.ShortTerm(tau_rec=20e-6)), SPIKES), (None, 1), 1, (0, 1),
        )
    ],
    "add": [Example(b.add, (TRACE[0], TRACE[0, 0]), (0, None), 0, (0, 1))],
    "argmax": of_values(b.argmax, differentiable=()),
    "cadc_trace": of_trace(partial(b.cadc_trace, dt=1e-6, scale=40.0), 1),
    "constant_current": of_values(partial(b.constant_current, steps=3), out=1),
    "conv1d": [
        Example(
            partial(b.conv1d, padding=1, substrate=SMALL),
            (floats(2, 4, 2, most=31.0), floats(3, 2, 3, least=30.0, most=60.0), CHIP),
            (0, None, None),
            differentiable=(0, 1),
        )
    ],
    "conv2d": [
        Example(
            partial(b.conv2d, groups=2, substrate=SMALL),
            (floats(2, 3, 3, 2, most=31.0), floats(2, 2, 1, 4, least=30.0, most=60.0), CHIP),
            (0, None, None),
            differentiable=(0, 1),
        )
    ],
    "converting_relu": [Example(b.converting_relu, (50 * TRACE[0],), (0,))],
    "delta": [Example(lambda x: b.delta(x, 2, 0.1), (floats(2, 4, 3),), (0,), 1, ())],
    "encode_activations": of_values(lambda x: b.encode_activations(x, (1.0, 2.0, 3.0))),
    "expanded_conv1d": [
        Example(
            partial(b.expanded_conv1d, substrate=SMALL),
            (floats(2, 5, 1, most=31.0), floats(2, 1, 2, least=30.0, most=60.0), CHIP),
            (0, None, None),
            differentiable=(0, 1),
        )
    ],
    "first_spike": [Example(b.first_spike, (SPIKES,), (1,))],
    "gather": [
        Example(
            lambda chip: b.gather(chip, np.zeros(2), np.array([[0], [3]]), inputs=3),
            (CHIP,), (None,), None, (),
        )
    ],
    "ideal_chip": [Example(lambda: b.ideal_chip(1.0, substrate=SMALL), (), (), None, ())],
    "latency": of_values(lambda x: b.latency(x, 5), differentiable=()),
    "li": [Example(partial(b.li, b.LIParams()), (SPIKES,), (1,), 1)],
    "li_state": [
        Example(lambda v: b.li_state(b.LIParams(leak=v), (2, 3)), (VALUES[0],), (None,), None)
    ],
    "li_step": [
        Example(
            b.li_step,
            (b.LIParams(tau_mem=jnp.full(3, 7e-6)), b.li_state(b.LIParams(), (2, 3)), VALUES),
            (None, 0, 0), 0, (0, 1, 2),
        )
    ],
    "lif": [
        Example(
            partial(b.lif, t_ref=2e-6),
            (b.LIFParams(threshold=jnp.full(3, 0.3)), 3 * SPIKES, floats(3, 3)),
            (None, 1, None), 1, (0, 1, 2),
        )
    ],
    "lif_rate": [Example(b.lif_rate, (3 * VALUES,), (0,))],
    "lif_state": [
        Example(lambda v: b.lif_state(b.LIFParams(leak=v), (2, 3)), (VALUES[0],), (None,), None)
    ],
    "lif_step": [
        Example(
            b.lif_step,
            (b.LIFParams(), b.lif_state(b.LIFParams(), (2, 3)), 9 * VALUES),
            (None, 0, 0), 0, (0, 2),
        )
    ],
    "log_latency": of_values(lambda x: b.log_latency(x, 5, 1e-6, 2e-6, 0.2), differentiable=()),
    "matmul": [
        Example(product, (ROWS, MATRIX, CHIP, KEY), (0, None, None, None), 0, (0, 1)),
        Example(
            lambda x, w: product(x, w, None, mask_saturated=True, avg=2), (ROWS, MATRIX / 9),
            (0, None), 0, (0, 1),
        ),
    ],
    "max_over_time": of_trace(b.max_over_time),
    "noisy_rate": [
        Example(lambda x, key: b.noisy_rate(x, key=key), (3 * VALUES, KEY), (0, None))
    ],
    "merge": [
        Example(
            lambda w: b.merge(b.split({"w": w}, PLAN), PLAN), (MATRIX,), (None,), None, keeps=True
        )
    ],
    "normalise": of_values(lambda x: b.normalise(x, 2.0, offset=(0.0, 0.1, 0.2))),
    "on_chip": [
        Example(lambda chip: b.on_chip(chip, 3, 2, substrate=SMALL), (CHIP,), (None,), None, ())
    ],
    "patches": [Example(partial(b.patches, window=(2,)), (floats(2, 4, 1),), (0,))],
    "poisson": [Example(lambda x, key: b.poisson(x, key, 4), (VALUES, KEY), (0, None), 1)],
    "population": [
        Example(
            lambda z, w, neuron, circuits, key: population(z, w, neuron, circuits, key),
            (SPIKES, WEIGHTS, neuron, CIRCUITS, KEY), (1, None, None, None, None), 1, (0, 1, 2),
        )
        for neuron in NEURONS
    ]
    + [
        Example(EXCITABLE, (sent, w), (axis, None), 1, differentiable)
        for sent, w, axis, differentiable in (
            (b.sort_events(EVENTS, 5, 3), WEIGHTS, None, (1,)),
            (b.Constant(VALUES, 4), WEIGHTS, 0, (0, 1)),
            (b.Lazy(VALUES, 3, threefold), WEIGHTS, 0, (1,)),
            (b.Windows(SPIKES[..., None], (2,)), WEIGHTS[:2], 1, (0, 1)),
        )
    ],
    "program": [
        Example(
            lambda w, c: b.program(w, c, substrate=SMALL), (MATRIX, CHIP), (None, None), None, ()
        )
    ],
    "regular": of_values(lambda x: b.regular(x, 6, 4), out=1),
    "relu": [Example(b.relu, (50 * TRACE[0],), (0,))],
    "sample_chip": [Example(partial(b.sample_chip, substrate=SMALL), (KEY,), (None,), None, ())],
    "saturation": [
        Example(
            lambda x, w: b.saturation(x, w, None, substrate=SMALL), (ROWS, MATRIX), (0, None), None,
            (),
        )
    ],
    "scale_input": of_values(b.scale_input),
    "scale_weight": [Example(b.scale_weight, (WEIGHTS,), (None,), None)],
    "soft_clamp": [Example(lambda w: b.soft_clamp(w, 1.0), (WEIGHTS,), (None,), None)],
    "soft_lif_rate": [Example(b.soft_lif_rate, (3 * VALUES,), (0,))],
    "sort_events": [Example(lambda e: b.sort_events(e, 5, 3), (EVENTS,), (0,), None, ())],
    "spike": of_values(b.spike),
    "spike_count": [Example(b.spike_count, (SPIKES,), (1,))],
    "split": [Example(lambda w: b.split({"w": w}, PLAN), (MATRIX,), (None,), None, keeps=True)],
    "spike_time": of_values(lambda x: b.spike_time(x, 1e-6, 0.0, 3e-6), differentiable=()),
    "to_events": [Example(lambda z: b.to_events(z, 4), (SPIKES,), (1,), 0, ())],
    "to_raster": [Example(lambda e: b.to_raster(e, 5, 3), (EVENTS,), (0,), 1, ())],
}  # fmt: skip

# A network for each kind of layer; the layer is somewhere in it.
CODED = (n.Latency(steps=4), n.LIF(outputs=4))
SCORES, OUT = n.Dense(outputs=2), n.LI(outputs=2)
LEFT = n.Dense(outputs=2, name="left")
RIGHT = n.Dense(outputs=2, name="right", inputs=("input",))
BOTH, EXPANDED = ("left", "right"), n.Conv1d(window=2, outputs=2, expanded=True)
TRAINED = n.LI(outputs=2, trained=("tau_mem",))
SHORT = n.ShortTerm(tau_rec=5e-6)
RELU = n.Dense(outputs=4, activation="converting_relu", bias=True)
TIRED = n.Drivers(tau_rec=5e-6)
RECURRENT = n.LIF(outputs=2, recurrent=True, recurrent_drivers=TIRED, dropout=0.5)
NORMED = n.ConvLIF(window=2, outputs=2, norm="batch", name="first")
SHORTCUT = n.ShortcutLIF(window=1, outputs=2, inputs=("first", "first"), norm="batch")
LAYERS: dict[type[n.Layer], tuple[list[n.Layer], tuple[int, ...]]] = {
    n.Signs: ([n.Signs(), SCORES], (3,)),
    n.Flatten: ([n.Flatten(), SCORES], (2, 2)),
    n.Pool: ([n.Pool(window=2), n.Flatten(), SCORES], (4, 1)),
    n.Add: ([LEFT, RIGHT, n.Add(inputs=BOTH)], (3,)),
    n.Concatenate: ([LEFT, RIGHT, n.Concatenate(inputs=BOTH)], (3,)),
    n.Dense: ([RELU, SCORES], (3,)),
    n.Conv1d: ([EXPANDED, n.Flatten(), SCORES], (4, 1)),
    n.Conv2d: ([n.Conv2d(window=2, outputs=2, padding="SAME"), n.Flatten(), SCORES], (3, 3, 1)),
    n.Latency: ([*CODED, OUT, n.MaxOverTime()], (3,)),
    n.LogLatency: ([n.LogLatency(steps=4), OUT, n.MeanOverTime()], (3,)),
    n.SpikeTime: ([n.SpikeTime(steps=9, late=6e-6), OUT, n.SumOverTime()], (3,)),
    n.Regular: ([n.Regular(steps=4), OUT, n.LastStep()], (3,)),
    n.Rate: ([n.Rate(steps=4), RECURRENT, n.SpikeCount()], (3,)),
    n.Current: ([n.Current(steps=4), n.LIF(outputs=2), n.FirstSpike()], (3,)),
    n.Delta: ([n.Delta(steps=2), n.LIF(outputs=2), n.FirstSpike()], (4, 1)),
    n.LIF: ([*CODED, n.SpikeCount()], (3,)),
    n.ConvLIF: ([n.Regular(steps=4), n.ConvLIF(window=2, outputs=2), n.SpikeCount()], (4, 1)),
    n.Delay: ([*CODED, n.Delay(longest=2e-6), n.SpikeCount()], (3,)),
    n.DelayedLIF: ([n.Rate(steps=4), n.DelayedLIF(outputs=2, longest=2e-6), n.SpikeCount()], (3,)),
    n.Direct: ([n.Direct(steps=2), NORMED, n.SpikeCount()], (4, 1)),
    n.ShortcutLIF: ([n.Regular(steps=4), NORMED, SHORTCUT, n.SpikeCount()], (4, 1)),
    n.Residual: ([n.Regular(steps=4), NORMED, n.Residual(outputs=2), n.SpikeCount()], (4, 1)),
    n.DirectLIF: ([n.Regular(steps=4), n.DirectLIF(), n.SpikeCount()], (4, 1)),
    n.Currents: ([n.Rate(steps=4), n.Currents(outputs=2), n.LIF(outputs=2), n.SpikeCount()], (3,)),
    n.ConvCurrents: (
        [n.Rate(steps=4), n.ConvCurrents(window=2, outputs=2), n.DirectLIF(), n.SpikeCount()],
        (4, 1),
    ),
    n.Scaled: ([n.Rate(steps=4), n.Scaled(), n.LIF(outputs=2), n.SpikeCount()], (3,)),
    n.Threshold: ([n.Rate(steps=4), n.Threshold(), n.LIF(outputs=2), n.SpikeCount()], (3,)),
    n.AdEx: ([n.Regular(steps=4), n.AdEx(outputs=2), n.SpikeCount()], (3,)),
    n.Structured: ([n.Regular(steps=4), n.Structured(outputs=2, branches=1), n.SpikeCount()], (3,)),
    n.Detection: ([n.Regular(steps=4), n.LIF(outputs=1), n.Detection()], (3,)),
    n.ShortTerm: ([n.Rate(steps=4), SHORT, OUT, n.LastStep()], (3,)),
    n.LI: ([*CODED, TRAINED, n.MaxOverTime()], (3,)),
    n.MaxOverTime: ([n.Latency(steps=4), OUT, n.MaxOverTime()], (3,)),
    n.MeanOverTime: ([n.Latency(steps=4), OUT, n.MeanOverTime()], (3,)),
    n.SumOverTime: ([n.Latency(steps=4), OUT, n.SumOverTime()], (3,)),
    n.LastStep: ([n.Latency(steps=4), OUT, n.LastStep()], (3,)),
    n.FirstSpike: ([*CODED, n.FirstSpike()], (3,)),
    n.SpikeCount: ([*CODED, n.SpikeCount()], (3,)),
    n.SoftLIF: ([n.SoftLIF(outputs=4), n.Linear(outputs=2)], (3,)),
    n.ConvSoftLIF: (
        [n.ConvSoftLIF(window=2, outputs=2), n.Flatten(), n.Linear(outputs=2)],
        (4, 1),
    ),
    n.Linear: ([n.SoftLIF(outputs=4), n.Linear(outputs=2)], (3,)),
}
