"""spyx, jaxsnn and brainpy, each as its own documentation builds and trains a network."""

from typing import Any

import jax
import jax.numpy as jnp
from ours import Training
from workload import ALPHA, GAIN, HIDDEN, KEEP_I, KEEP_U, RATE, SCALE, Case


def spyx(case: Case) -> Training:
    """CuBaLIF, whose membranes have no gain: weights and rate are scaled by it.

    Readouts of spyx have no synapses: two of them after each other are one that has.
    """
    import spyx.axn
    import spyx.nn
    from flax import nnx

    rngs, shape = nnx.Rngs(0), (HIDDEN,)
    settings: dict[str, Any] = {
        "alpha": KEEP_I, "beta": KEEP_U, "activation": spyx.axn.superspike(ALPHA), "rngs": rngs,
    }  # fmt: skip
    neuron = spyx.nn.RCuBaLIF if case.recurrent else spyx.nn.CuBaLIF
    model = spyx.nn.Sequential(
        nnx.Linear(case.inputs, HIDDEN, use_bias=False, rngs=rngs),
        neuron(shape, **settings),
        nnx.Linear(HIDDEN, case.outputs, use_bias=False, rngs=rngs),
        spyx.nn.LI((case.outputs,), beta=KEEP_I, rngs=rngs),
        spyx.nn.LI((case.outputs,), beta=KEEP_U, rngs=rngs),
    )
    weights = {n: jnp.asarray(GAIN * w) for n, w in case.weights().items()}
    model.layers[0].kernel[...] = weights["hidden"]
    model.layers[2].kernel[...] = weights["readout"]
    if case.recurrent:
        model.layers[1].recurrent_w[...] = weights["recurrent"]
    trained = lambda path, _: path[-1] in ("kernel", "recurrent_w")  # noqa: E731
    graph, params, others = nnx.split(model, trained, ...)

    def network(params: Any, raster: jax.Array) -> tuple:
        return spyx.nn.run(nnx.merge(graph, params, others), raster)[0], None

    return Training(case, network, params, rate=GAIN * RATE)


def jaxsnn(case: Case) -> Training:
    """A topology, mapped over samples as in its example of Yin-Yang."""
    from jaxsnn.discrete.functional.li import LIParameters
    from jaxsnn.discrete.functional.lif import LIFParameters
    from jaxsnn.discrete.functional.threshold import superspike
    from jaxsnn.discrete.modules import LI, LIF, Input, Linear
    from jaxsnn.discrete.topology import Topology

    taus = {"tau_syn": 1 / (1 - KEEP_I), "tau_mem": 1 / GAIN}  # of its tangents
    builder = Topology(time_steps=case.steps, dt=1.0)
    builder.add(
        {
            "input": Input(case.inputs),
            "lif": LIF(HIDDEN, LIFParameters(v_th=1.0, **taus), lambda u: superspike(u, ALPHA)),
            "li": LI(case.outputs, LIParameters(**taus)),
            **{name: Linear(pre_weights=w) for name, w in case.weights().items()},
        }
    )
    edges = [("input", "hidden"), ("hidden", "lif"), ("lif", "readout"), ("readout", "li")]
    edges += [("lif", "recurrent"), ("recurrent", "lif")] if case.recurrent else []
    builder.connect(edges)
    init, apply = builder.done()
    every = jax.vmap(apply, in_axes=({"input": 1}, None), out_axes=1)

    def network(params: Any, raster: jax.Array) -> tuple:
        found = every({"input": raster}, params)[1]
        return found["li"], found["lif"]

    return Training(case, network, init(jax.random.key(0)))


class Brainpy:
    """CubaLIF of brainpy.state; its readout is one whose threshold is never reached."""

    def __init__(self, case: Case) -> None:
        import brainpy.state
        import brainstate
        import braintools
        import brainunit as u

        self.raster, self.labels = jnp.asarray(case.spikes()), jnp.asarray(case.labels())
        weights, recurrent = case.weights(), case.recurrent
        taus = {"tau": 6.0 * u.ms, "tau_syn": 5.7 * u.ms}
        spike = braintools.surrogate.InvSquareGrad(alpha=ALPHA)

        class Net(brainstate.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                linear = brainstate.nn.Linear
                self.hidden = linear(case.inputs, HIDDEN, w_init=weights["hidden"], b_init=None)
                self.readout = linear(HIDDEN, case.outputs, w_init=weights["readout"], b_init=None)
                if recurrent:
                    self.back = linear(HIDDEN, HIDDEN, w_init=weights["recurrent"], b_init=None)
                self.lif = brainpy.state.CubaLIF(HIDDEN, spk_fun=spike, spk_reset="hard", **taus)
                self.li = brainpy.state.CubaLIF(case.outputs, V_th=1e9 * u.mV, **taus)

            def update(self, x: jax.Array) -> tuple:
                drive = self.hidden(x)
                if recurrent:
                    drive = drive + self.back(self.lif.get_spike())
                self.lif.add_delta_input("input", drive * u.mA)
                spikes = self.lif()
                self.li.add_delta_input("spikes", self.readout(spikes) * u.mA)
                self.li()
                return self.li.V.value.to_decimal(u.mV), spikes

        net = Net()
        params = net.states(brainstate.ParamState)
        optimizer = braintools.optim.Adam(lr=RATE)
        optimizer.register_trainable_weights(params)

        def outputs() -> tuple:
            with brainstate.environ.context(dt=1.0 * u.ms):
                brainstate.nn.init_all_states(net, batch_size=case.batch)
                membranes, spikes = brainstate.transform.for_loop(net.update, self.raster)
            return spikes, SCALE * membranes.max(0)

        def loss() -> jax.Array:
            scores = outputs()[1]
            return braintools.metric.softmax_cross_entropy_with_integer_labels(
                scores, self.labels
            ).mean()

        def step() -> None:
            optimizer.update(brainstate.transform.grad(loss, params)())

        self.outputs = brainstate.transform.jit(outputs)
        self._step, self._params = brainstate.transform.jit(step), params

    def step(self) -> None:
        self._step()
        jax.block_until_ready([one.value for one in self._params.values()])


def brainpy(case: Case) -> Brainpy:
    return Brainpy(case)
