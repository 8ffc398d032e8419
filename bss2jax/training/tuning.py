"""How steep a surrogate has to be for gradients to last through all layers of a network.

Backward, each layer of neurons multiplies the variance of a gradient by about

    E[s'(v - threshold)^2] x (sum of E[w^2] over its inputs) x (sum of the squared response to one),

where s' is the surrogate. Where that is above 1 gradients explode towards the first layer, where it
is below 1 they vanish; the slope of s' decides. One batch tells which slope is right.

References: Ledinauskas et al. 2020, arXiv 2006.04436, who tune the width of the surrogate for deep
networks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
import optax

from bss2jax.chip.chip import Chip
from bss2jax.training import step as steps
from bss2jax.training.phase import Phase, batch_of
from bss2jax.training.task import Samples, Task, Variables

SLOPES = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)


@dataclass(frozen=True, eq=False)
class Tuning:
    """Gradients of one batch, by slope and layer.

    Attributes:
        slopes: the slopes that were tried, in order.
        layers: names of the layers whose spikes have a surrogate, the first of the network first.
        norms: `[slopes, layers]` Euclidean norms of the loss's gradient by a layer's parameters.
    """

    slopes: tuple[float, ...]
    layers: tuple[str, ...]
    norms: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """The norms of the first layer over those of the last, `[slopes]`; 0 where none arrives."""
        first, last = self.norms[:, 0], self.norms[:, -1]
        return np.divide(first, last, out=np.zeros(len(first)), where=last > 0)

    @property
    def best(self) -> float:
        """The slope whose ratio is nearest to 1.

        Raises:
            ValueError: at no slope a gradient arrives at the first layer.
        """
        off = [abs(math.log(r)) if 0 < r < math.inf else math.inf for r in self.ratios.tolist()]
        if min(off, default=math.inf) == math.inf:
            raise ValueError(
                f"no gradient arrives at layer {self.layers[0]} at slopes {self.slopes[0]:g} to "
                f"{self.slopes[-1]:g}: its neurons, or those behind it, hardly spike; raise "
                "init_mean or init_std, or take a norm"
            )
        return self.slopes[off.index(min(off))]


def tune_surrogate(
    task: Task,
    phase: Phase,
    variables: Variables,
    training: Samples,
    chip: Chip,
    key: jax.Array,
    *,
    slopes: Sequence[float] = SLOPES,
    refine: int = 5,
) -> Tuning:
    """Measures the gradient of the first batch of a phase, once with each slope in all layers.

    The steeper, the less arrives at the first layer. Between two slopes of which one lets gradients
    explode and the next lets them vanish, more are tried, each in the middle of what is left.

    Layers keep the kind of their surrogate. Nothing is compiled as a whole: equal layers share what
    is, and each slope would need it anew.

    Args:
        task, phase: network and settings; of the phase the batch, execution and noise.
        variables: the variables of the network, as a rule those that training starts from.
        training: the samples of which the batch is taken.
        chip: the chip of the run.
        key: the random key of the phase.
        slopes: what is tried: see `SuperSpike.sloped`.
        refine: how many more are tried between two of them.

    Raises:
        ValueError: fewer than two layers have a surrogate, or one of one's own that has no slope.
    """
    network = task.network
    layers = tuple(n.name for n in network.nodes if n.layer.sloped(1.0) is not n.layer)
    if len(layers) < 2:
        raise ValueError(
            f"{len(layers)} of {len(network.nodes)} layers have a surrogate; expected two at "
            "least, between which a gradient can vanish or explode"
        )
    order = steps.epoch_order(key, 0, len(training.y))
    batch = batch_of(phase, len(training.y))

    def norms(slope: float) -> list[float]:
        nodes = tuple(replace(node, layer=node.layer.sloped(slope)) for node in network.nodes)
        of = replace(task, network=replace(network, nodes=nodes))
        found = steps.gradient(of, phase, variables, training, order, 0, chip, key, tile=batch)
        return [float(optax.global_norm(found.params[name])) for name in layers]

    found = {float(slope): norms(slope) for slope in sorted(slopes)}
    for _ in range(refine):
        tuning = _tuning(layers, found)
        explodes = [slope for slope, ratio in zip(tuning.slopes, tuning.ratios) if ratio > 1]
        steeper = [slope for slope in tuning.slopes if not explodes or slope > explodes[-1]]
        if not explodes or not steeper:
            break
        middle = math.sqrt(explodes[-1] * steeper[0])
        found[middle] = norms(middle)
    return _tuning(layers, found)


def _tuning(layers: tuple[str, ...], found: Mapping[float, list[float]]) -> Tuning:
    slopes = tuple(sorted(found))
    return Tuning(slopes, layers, np.array([found[slope] for slope in slopes]))
