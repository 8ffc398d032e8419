"""What is minimised and what is counted."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import lax

from bss2jax.networks.graph import Params, Records
from bss2jax.training.phase import Objective


@dataclass(frozen=True)
class Part:
    """A part of a batch: what a device, or a tile of it, has of the samples.

    Attributes:
        weight: `[b]` weights of its samples, of mean 1 over the whole batch, and 0 for a sample
            that fills the part up; None where all count alike.
        axes: the axes of the mesh whose devices have the other parts; () for none.
    """

    weight: jax.Array | None = None
    axes: tuple[str, ...] = ()

    def mean(self, values: jax.Array) -> jax.Array:
        """Returns the mean of values `[b, ...]`; the batch's is the mean of those of its parts."""
        return jnp.mean(self._weighed(values))

    def over_batch(self, values: jax.Array) -> jax.Array:
        """Returns the mean `[...]` of values `[b, ...]` over all samples of the batch."""
        mean = self._weighed(values).mean(axis=0)
        return lax.pmean(mean, self.axes) if self.axes else mean

    def _weighed(self, values: jax.Array) -> jax.Array:
        if self.weight is None:
            return values
        return self.weight.reshape((-1,) + (1,) * (values.ndim - 1)) * values


WHOLE = Part()


def loss(scores: jax.Array, labels: jax.Array, objective: Objective) -> jax.Array:
    """Returns the cross entropy of each sample, `[B]`, in nats, times the weight of its class.

    Args:
        scores: `[B, classes]` readout, LSB.
        labels: `[B]` int32.
        objective: scales scores to logits, may smooth labels, and may weigh classes.
    """
    logits = objective.scale * scores
    # Optax counts on JAX's usual promotion of types and ranks, whatever is set.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if objective.smoothing:
            uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
            losses = (1 - objective.smoothing) * losses + objective.smoothing * uniform
    if not objective.class_weights:
        return losses
    return jnp.asarray(objective.class_weights, jnp.float32)[labels] * losses


def penalty(
    params: Params,
    stats: Records,
    objective: Objective,
    epoch: jax.Array | int = 0,
    part: Part = WHOLE,
) -> jax.Array:
    """Returns the sum of the objective's penalties, `[]`.

    Args:
        params: the parameters of the network.
        stats: the records of the batch: `amplitude` and `spikes` of spiking layers, `[B, N]`.
        objective: weights of the penalties.
        epoch: the epoch of the phase, from 0 on.
        part: which samples of the batch the records are of.
    """

    def fourth(values: jax.Array) -> jax.Array:
        return jnp.square(jnp.square(values))

    total = jnp.zeros((), jnp.float32)
    for layer in stats.values():
        if objective.readout and "amplitude" in layer:
            total += objective.readout * part.mean(fourth(layer["amplitude"]))
        if objective.bursts and "spikes" in layer:
            decay = objective.bursts_decay ** jnp.asarray(epoch, jnp.float32)
            weight = objective.bursts * decay
            total += weight * part.mean(fourth(jnp.maximum(layer["spikes"] - 1, 0)))
        if objective.rate and "spikes" in layer:
            mean = part.over_batch(layer["spikes"])
            total += objective.rate * jnp.mean(jnp.square(mean - objective.rate_target))
    if objective.weights:
        total += objective.weights * sum(jnp.mean(fourth(w)) for w in jax.tree.leaves(params))
    return total


def correct(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns which samples score highest at their label, bool `[B]`; a tie goes to the lowest."""
    return jnp.argmax(scores, axis=-1) == labels


def confusion(scores: jax.Array, labels: jax.Array, counted: jax.Array) -> jax.Array:
    """Counts samples by label (row) and by highest score (column): int32 `[classes, classes]`.

    Args:
        scores: `[B, classes]`; a tie goes to the lowest class.
        labels: `[B]` int32.
        counted: `[B]` bool, which samples count.
    """
    classes = scores.shape[-1]
    counts = jnp.zeros((classes, classes), jnp.int32)
    return counts.at[labels, jnp.argmax(scores, axis=-1)].add(counted.astype(jnp.int32))
