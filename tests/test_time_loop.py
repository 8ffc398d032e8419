"""Loops over time as one GPU kernel: the same numbers as a scan, of any step by elements."""

import contextlib
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bss2jax import LI, LIF
from bss2jax.kernels import fused, time_loop
from bss2jax.kernels.neurons import eventprop, li, lif, recorded

# A block and steps read at once, neither of which ends with the arrays; a whole block.
SHAPES = ((5, 3, 10), (4, 2, 64))
NEURONS = {
    "numbers": lambda n: LIF(),
    "own": lambda n: LIF(threshold=jnp.linspace(0.5, 1, n)[None], tau_mem=jnp.full((1, n), 9e-6)),
    "waiting": lambda n: LIF(t_ref=2e-6, subtracts=True),
    "euler": lambda n: LIF(integrator="euler"),
    "integrator": lambda n: LI(integrator="exact"),
}
MODULES = eventprop, li, lif, recorded


@pytest.fixture
def kernels(monkeypatch):
    """Has loops run as kernels, by JAX itself; gives their number."""
    made = []

    def as_kernel(step, fixed, carry, xs, *, reverse=False):
        kernel = fused.loop(step, fixed, carry, xs, reverse=reverse, interpret=True)
        assert kernel is not None
        made.append(kernel)
        return kernel(fixed, carry, xs)

    for module in MODULES:
        monkeypatch.setattr(module, "over_time", as_kernel)
    monkeypatch.setattr(recorded, "fuses", lambda: True)
    monkeypatch.setattr(fused, "_AHEAD", dict.fromkeys(fused._AHEAD, 2))  # less to compile
    return made


def trace_and_gradient(neuron, x, dy, trial=None, by="sequence"):
    neuron = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), neuron)

    def run(x):
        trace = getattr(neuron, by)(neuron, x, None, trial, membrane=True)
        return trace.membrane if trace.spikes is None else trace.spikes

    y, pull = jax.vjp(run, x)
    return y, pull(dy)[0]


@pytest.mark.parametrize(
    ("kind", "by"),
    [("own", "sequence"), ("integrator", "sequence"), ("euler", "event_prop")]
    # The others differ by a line of the step.
    + [
        pytest.param(*each, marks=pytest.mark.slow)
        for each in (
            ("numbers", "sequence"),
            ("waiting", "sequence"),
            ("euler", "sequence"),
            ("own", "event_prop"),
        )
    ],
)
def test_kernel_is_the_scan(kind, by, kernels, monkeypatch):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        neuron = NEURONS[kind](shape[-1])
        x = jnp.asarray(rng.normal(0.5, 2, shape), jnp.float32)
        dy = jnp.asarray(rng.normal(0, 1, shape), jnp.float32)
        y, dx = trace_and_gradient(neuron, x, dy, by=by)
        with monkeypatch.context() as scans:
            for module in MODULES:
                scans.setattr(module, "over_time", time_loop.over_time)
            expected, gradient = trace_and_gradient(neuron, x, dy, by=by)
        np.testing.assert_array_equal(y, expected)
        # Products and sums may be rounded once or twice.
        np.testing.assert_allclose(dx, gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())
    assert len(kernels) >= 2 * len(SHAPES)


def test_noise_is_that_of_a_scan(kernels, monkeypatch):
    shape = (9, 4, 6)
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(0.5, 1, shape), jnp.float32)
    trial = recorded.Trial(
        jnp.arange(4)[:, None], jnp.arange(6)[None], jnp.arange(4, dtype=jnp.uint32),
        jnp.full((1, 6), 0.3, jnp.float32),
    )  # fmt: skip
    y, dx = trace_and_gradient(LIF(), x, x, trial)
    with monkeypatch.context() as scans:
        for module in MODULES:
            scans.setattr(module, "over_time", time_loop.over_time)
        scans.setattr(recorded, "fuses", lambda: False)
        expected, gradient = trace_and_gradient(LIF(), x, x, trial)
    quiet, _ = trace_and_gradient(LIF(), x, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(dx, gradient, rtol=1e-5, atol=1e-6)
    assert (y != quiet).any()


@pytest.mark.parametrize(
    "step",
    [
        lambda _, v, x: (v + x, v + v.sum()),  # elements meet
        lambda _, v, x: (v + x, v[::-1]),
        lambda w, v, x: (v @ w + x, v),  # recurrence
        lambda w, v, x: (v + x, w),  # what is kept is not of a step's shape
    ],
)
def test_other_steps_are_scanned(step):
    carry, xs = jnp.zeros((4, 4)), jnp.ones((5, 4, 4))
    assert fused.loop(step, jnp.eye(4)[:, :1], carry, xs, interpret=True) is None


def test_arrays_of_other_shapes_are_scanned():
    step = lambda _, v, x: (v + x, v)  # noqa: E731
    loop = partial(fused.loop, step, None, interpret=True)
    assert loop(jnp.zeros((4, 4)), jnp.ones((5, 4, 4))) is not None
    assert loop(jnp.zeros((4, 4)), jnp.ones(5)) is None
    with_own = lambda k, v, x: (v + x, v * k.sum())  # noqa: E731
    xs = jnp.ones((5, 2, 4))
    assert fused.loop(with_own, jnp.ones((4, 4)), xs[0], xs, interpret=True) is None
    assert loop(jnp.zeros((4, 4)), jnp.ones((0, 4, 4))) is None
    assert loop(jnp.zeros((4, 4), jnp.bfloat16), jnp.ones((5, 4, 4))) is None


def test_a_step_that_is_not_lowered_is_scanned(monkeypatch):
    """There is no GPU to compile for here: it is told, and the result is that of the scan."""
    monkeypatch.setattr(time_loop, "fuses", lambda: True)

    asked = []

    def refuses(*args):
        asked.append(args)
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(fused, "_pallas_call", refuses)
    fused._tell.cache_clear()
    fused._compiles_once.cache_clear()
    step = lambda k, v, x: (k * v + x, v)  # noqa: E731
    xs = jnp.ones((5, 4, 4))
    with pytest.warns(UserWarning, match="scans, as no GPU kernel is made: NotImplementedError"):
        kept = time_loop.over_time(step, 0.5, jnp.zeros((4, 4)), xs)
    expected = lax.scan(partial(step, 0.5), jnp.zeros((4, 4)), xs)[1]
    np.testing.assert_array_equal(kept, expected)
    # The same step over more elements and steps is not tried again, another one is.
    for of, tries in ((step, 1), (lambda k, v, x: (k - v + x, v), 2)):
        time_loop.over_time(of, 0.5, jnp.zeros((6, 4)), jnp.ones((7, 6, 4)))
        assert len(asked) == tries


def on_no_gpu():
    """What lowering for a GPU needs where there is none: from JAX 0.11 on a name of it."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    kind = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.AbstractMesh((1,), ("x",), axis_types=kind, abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.filterwarnings("ignore:The Pallas Triton:DeprecationWarning")
def test_triton_is_written(monkeypatch):
    """What a GPU is given, as far as it can be made without one; mapped over chips, too."""
    pytest.importorskip("jax.experimental.pallas.triton")
    monkeypatch.setattr(fused, "_compiles_once", lambda asked: True)
    neuron = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), LIF(t_ref=2e-6))

    def kernel(step, fixed, carry, xs, *, reverse=False):
        return fused.loop(step, fixed, carry, xs, reverse=reverse)(fixed, carry, xs)

    for module in MODULES:
        monkeypatch.setattr(module, "over_time", kernel)
    gradient = jax.grad(lambda x: jnp.square(neuron.sequence(neuron, x).spikes).sum())
    for function, shape in ((gradient, (13, 6, 50)), (jax.vmap(gradient), (3, 13, 6, 50))):
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        with on_no_gpu():
            lowered = jax.jit(function).trace(x).lower(lowering_platforms=("cuda",)).as_text()
        assert len(re.findall(r"custom_call @\S*triton", lowered)) == 2  # forward and back
