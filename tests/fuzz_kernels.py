"""What `fuzz.py` feeds to functions of arrays: numbers of any type, shape and value.

A function takes what it is given, or refuses it in a line; of finite numbers it makes no NaN.
"""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import bss2jax as b

SMALL = b.Substrate(rows=4, columns=6)
KEY = jax.random.key(0)
WEIGHTS = np.linspace(-60, 60, 6, dtype=np.float32).reshape(3, 2)
KERNELS = {
    "matmul": lambda x: b.matmul(x, WEIGHTS, None, substrate=SMALL),
    "weights": lambda w: b.matmul(np.ones((2, 3)), w, None, substrate=SMALL),
    "saturation": lambda x: b.saturation(x, WEIGHTS, None, substrate=SMALL),
    "population": lambda z: b.population(z, WEIGHTS / 60, b.LIF()).spikes,
    "events": lambda e: b.to_raster(b.Events(e, e), 4, 3),
    "sorted": lambda e: b.sort_events(b.Events(e, e), 4, 3).drive(jnp.ones((3, 2))),
    "to_events": lambda z: b.to_events(z, 3),
    "latency": lambda x: b.latency(x, 5),
    "log_latency": lambda x: b.log_latency(x, 5, 1e-6, 2e-6, 0.2),
    "spike_time": lambda x: b.spike_time(x, 1e-6, 0.0, 3e-6),
    "regular": lambda x: b.regular(x, 6, 4),
    "poisson": lambda x: b.poisson(x, KEY, 4),
    "delta": lambda x: b.delta(x, 2, 0.1),
    "max_over_time": b.max_over_time,
    "first_spike": b.first_spike,
    "relu": b.relu,
    "converting_relu": b.converting_relu,
    "add": lambda y: b.add(y, y),
    "soft_lif_rate": b.soft_lif_rate,
    "scale_input": b.scale_input,
}
TYPES = [bool, np.uint8, np.int8, np.int32, np.int64, np.uint64, np.float16, ml_dtypes.bfloat16]
TYPES += [np.float32, np.float64, ">f4", ">i8", np.complex64, object]
SHAPES = [
    (),
    (3,),
    (2, 3),
    (0, 3),
    (2, 0),
    (2, 2, 3),
    (0, 2, 3),
    (2, 0, 3),
    (2, 4, 1),
    (2, 2, 2, 3),
]
VALUES = [0, 1, -1, 0.5, 0.3, 1.2, 31, 63, 64, -129, 255, 1e30, -1e30, 1e300, 2**31, 2**40]
VALUES += [float("nan"), float("inf"), -float("inf")]


@st.composite
def _given(draw):
    kernel, shape = draw(st.sampled_from(sorted(KERNELS))), draw(st.sampled_from(SHAPES))
    some = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=3))
    with np.errstate(all="ignore"):
        values = np.resize(np.asarray(some, np.float64), shape).astype(draw(st.sampled_from(TYPES)))
    return kernel, draw(st.sampled_from([values, values.T, values.tolist()]))


INPUTS = _given()


def feed(given):
    """Calls a function with what it is given."""
    kernel, values = given
    result = jax.tree.leaves(KERNELS[kernel](values))
    if np.isfinite(np.asarray(values, np.float64)).all():
        assert not any(np.isnan(np.asarray(leaf, np.float32)).any() for leaf in result), "a NaN"
