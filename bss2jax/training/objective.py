"""What is minimised and what is counted."""

import jax
import jax.numpy as jnp
import optax

from bss2jax.training.phase import Objective


def loss(scores: jax.Array, labels: jax.Array, objective: Objective) -> jax.Array:
    """Returns the cross entropy of each sample, `[B]`, in nats.

    Args:
        scores: `[B, classes]` readout, LSB.
        labels: `[B]` int32.
        objective: scales scores to logits.
    """
    return optax.softmax_cross_entropy_with_integer_labels(objective.scale * scores, labels)


def correct(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns which samples score highest at their label, bool `[B]`; a tie goes to the lowest."""
    return jnp.argmax(scores, axis=-1) == labels
