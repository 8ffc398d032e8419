"""Batch norm of the currents that populations are sent, and networks without it."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt

from bss2jax.execute.recording import Recording
from bss2jax.kernels.norm import Moments, batch_norm, fold
from bss2jax.kernels.synapses.base import product
from bss2jax.kernels.synapses.given import sent_of
from bss2jax.kernels.synapses.summed import Summed
from bss2jax.networks.graph import Network, Params, State
from bss2jax.networks.initial import fluctuating_std
from bss2jax.networks.layer import Arrays, How, Layer
from bss2jax.networks.population import SpikingPopulation
from bss2jax.networks.signal import Signal


@dataclass(frozen=True, kw_only=True)
class NormedPopulation(SpikingPopulation):
    """What populations can be told whose input may be normalised.

    Attributes:
        norm: `batch`, what a neuron's inputs add in each step is normalised: in training on `float`
            by mean and variance over the samples, steps and positions of the batch, else by their
            running means, folded into weights and a bias. Each neuron then has a scale of its own
            for its weights.
        momentum: what running means keep of themselves in a step.
    """

    unclamped: ClassVar[tuple[str, ...]] = (*SpikingPopulation.unclamped, "gamma", "beta")
    takes_norm: ClassVar[bool] = True

    norm: Literal["batch"] | None = None
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9

    @property
    def across_samples(self) -> bool:  # type: ignore[override]
        """Whether it looks across the samples of a batch: where it is normalised."""
        return self.norm is not None

    @property
    def across_devices(self) -> bool:  # type: ignore[override]
        """Whether it sums over the devices of a batch: where it is normalised."""
        return self.norm is not None

    @property
    def scale(self) -> float | Literal["neuron"]:
        return "neuron" if self.norm else self.weight_scale

    def shape(self, *before: Signal) -> Signal:
        if self.norm is not None:
            self._check_norm()
        return super().shape(*before)

    def _check_norm(self) -> None:
        if not self.takes_norm:
            raise ValueError("norm: it is of lif and conv_lif layers")
        if self.bias:
            raise ValueError("bias: a norm has one already, beta; expected no bias")
        if self.constants is not None:
            raise ValueError("norm: neurons with constants of their own have none")
        if getattr(self, "recurrent", False):
            raise ValueError("norm: a recurrent population has none; set recurrent = false")

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        params = super().init(key, *before)
        if self.norm is None:
            return params
        gamma = jnp.full(self.outputs, self.reach(before[0]), jnp.float32)
        return params | {"gamma": gamma, "beta": jnp.zeros(self.outputs, jnp.float32)}

    def reach(self, before: Signal) -> float:
        """Returns the spread of a step's current at which membranes just reach the threshold."""
        times = self.tau_mem, self.tau_syn, before.dt
        return fluctuating_std(1.0, *times, self.integrator)

    def initial_std(self, before: Signal) -> float:
        if self.norm is None or self.init_std is not None:
            return super().initial_std(before)
        return 1 / self.fan_in(before) ** 0.5

    def state(self, *before: Signal) -> Arrays:
        if self.norm is None:
            return super().state(*before)
        zeros = jnp.zeros(self.outputs, jnp.float32)
        return {"mean": zeros, "var": zeros + 1}

    def codes(self, params: Arrays, *before: Signal) -> Arrays:
        if self.norm is not None:
            raise ValueError(
                "codes: weights are folded with what the norm has seen; ask those of `fold_norms`"
            )
        return super().codes(params, *before)

    def driven(
        self, sent: Any, w: jax.Array, params: Arrays, state: Arrays, how: How, **settings: Any
    ) -> tuple[Recording, Arrays]:
        """Runs the population with what is sent, normalised where it has a norm: see `run`.

        Args:
            sent, w, how, settings: as of `run`.
            params, state: of the layer.

        Returns:
            The recording, and the state after it.
        """
        if self.norm is None:
            return self.run(sent, w, params | state, how, **settings), state
        if not by_batch(how):
            w, bias = self.frozen(w, params, state)
            return self.run(sent, w, params | {"bias": bias}, how, **settings), state
        given = sent_of(sent, w.shape[-2])
        current, state = self.normalised(product(given, w), params, state)
        return self.run_on(current, given.positions, params, how, **settings), state

    def normalised(
        self, current: jax.Array, params: Arrays, state: Arrays, of: str = ""
    ) -> tuple[jax.Array, Arrays]:
        """Returns a current of mean beta and spread gamma in each channel, and the state after it.

        Args:
            current: `[T, B, N]` what a projection adds.
            params, state: of the layer.
            of: in front of the names of the projection's parameters.
        """
        by_channel = current.reshape(*current.shape[:2], -1, self.outputs)
        y, seen = batch_norm(by_channel, *self._wanted(params, of))
        keep = jnp.float32(self.momentum)
        after = {
            of + name: keep * state[of + name] + (1 - keep) * jax.lax.stop_gradient(value)
            for name, value in seen._asdict().items()
        }
        return y.reshape(current.shape), state | after

    def run_on(
        self, current: jax.Array, positions: int | None, params: Arrays, how: How, **settings: Any
    ) -> Recording:
        """Runs the population on what its synapses have added, `[T, B, N]`: see `run`."""
        none = jnp.zeros((0, self.outputs), jnp.float32)
        return self.run(Summed(current, positions), none, params, how, **settings)

    def frozen(
        self, w: jax.Array, params: Arrays, state: Arrays, of: str = ""
    ) -> tuple[jax.Array, jax.Array]:
        """Returns a projection's weights `[..., C]` as its running means have them, and a bias."""
        known = Moments(state[of + "mean"], state[of + "var"])
        return fold(w, *self._wanted(params, of), known)

    def _wanted(self, params: Arrays, of: str) -> tuple[jax.Array, jax.Array]:
        """Gamma and beta of a projection; one without a beta adds nothing on average."""
        gamma = params[of + "gamma"]
        return gamma, params.get(of + "beta", jnp.zeros_like(gamma))

    def without_norm(self, params: Arrays, state: Arrays) -> tuple[Layer, Arrays, Arrays]:
        if self.norm is None:
            return self, params, state
        w, bias = self.frozen(params["weight"], params, state)
        kept = {name: p for name, p in params.items() if name not in ("gamma", "beta")}
        layer = replace(self, norm=None, bias=True, weight_scale="neuron")
        return layer, kept | {"weight": w, "bias": bias}, {}


def by_batch(how: How) -> bool:
    """Returns whether a norm is that of the batch: in training on `float`."""
    return how.training and how.execution == "float"


def fold_norms(network: Network, params: Params, state: State) -> tuple[Network, Params, State]:
    """Returns the network whose norms are folded into weights and biases: it has none.

    It is what runs, but for training on `float`: on a chip, in exports.

    Args:
        network: the network; one without norms is returned as it is.
        params, state: what it has learned.

    Returns:
        The network, its parameters and its state.
    """
    nodes = []
    learned: Params = {}
    kept: State = {}
    for node in network.nodes:
        before = params.get(node.name, {}), state.get(node.name, {})
        layer, own, known = node.layer.without_norm(*before)
        nodes.append(replace(node, layer=layer))
        learned |= {node.name: own} if own else {}
        kept |= {node.name: known} if known else {}
    return replace(network, nodes=tuple(nodes)), learned, kept


def programmed(network: Network, params: Params, state: State) -> dict[str, Arrays]:
    """Returns the 6-bit codes that synapses hold of a network, by layer and parameter.

    Args:
        network, params, state: as of `fold_norms`.
    """
    folded, learned, _ = fold_norms(network, params, state)
    return {
        node.name: codes
        for node in folded.nodes
        if (codes := node.layer.codes(learned.get(node.name, {}), *node.before))
    }
