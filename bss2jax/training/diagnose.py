"""What is wrong with a step whose numbers are not finite, and where it began."""

from functools import partial
from typing import Any

import jax

from bss2jax.chip.chip import Chip
from bss2jax.training import step as steps
from bss2jax.training.phase import Phase, batch_of, steps_per_epoch
from bss2jax.training.step import Gradient, State, finite
from bss2jax.training.task import Samples, Task
from bss2jax.training.tiles import divisor


class NonFinite(ArithmeticError):
    """A step's loss, gradient or update is not finite.

    Args:
        step, epoch, reason, saturation: what the attributes say.

    Attributes:
        step, epoch: number of each in the phase, from 1 on.
        reason: what is not finite, and in which layer that began.
        saturation: shares that saturate in that batch, per layer; of float layers none.
    """

    def __init__(
        self, step: int, epoch: int, reason: str, saturation: dict[str, dict[str, float]]
    ) -> None:
        shares = "; ".join(
            f"{layer} " + ", ".join(f"{name} {share:.4g}" for name, share in each.items())
            for layer, each in saturation.items()
            if each
        )
        super().__init__(
            f"step {step} (epoch {epoch}): {reason}; shares in that batch: {shares or 'none'}"
        )
        self.step, self.epoch, self.reason, self.saturation = step, epoch, reason, saturation


def diagnose(
    task: Task,
    phase: Phase,
    state: State,
    training: Samples,
    order: jax.Array,
    done: int,
    chip: Chip,
    key: jax.Array,
    *,
    tile: int,
) -> NonFinite:
    """Returns what went wrong in a step that changed nothing.

    Args:
        task, phase, training, chip, key, tile: as of the step.
        order: `[samples]`, of the epoch.
        state: the state that the step was given.
        done: steps of the phase before it.
    """
    batch, per_epoch = batch_of(phase, len(training.y)), steps_per_epoch(phase, len(order))
    first = done % per_epoch * batch
    # Of the whole batch, or of a chip's samples: the step's is of a device's part.
    tile = divisor(batch // phase.specimens, tile)
    run = jax.jit(partial(steps.gradient, task, phase, tile=tile, records=True))
    of = run(state.variables, training, order, done, chip, key)
    updated, _ = steps.update(task, phase, len(order), state, of.params)
    saturation = jax.tree.map(float, of.records)
    good_input = bool(finite(training.x[order[first : first + batch]]))
    reason = _reason(task.network.names, good_input, state, of, updated)
    return NonFinite(done + 1, done // per_epoch + 1, reason, saturation)


def _reason(
    names: tuple[str, ...], good_input: bool, state: State, of: Gradient, updated: Any
) -> str:
    """In words, in the order in which a step computes: the first that is not finite began it."""
    layers = [name for name in names if name in of.params]

    def broken(tree: Any) -> list[str]:
        return [name for name in layers if not finite(tree[name])]

    said = f"the loss is {float(of.loss):g}, the gradient "
    steep = broken(of.params)
    said += f"is not finite in {', '.join(steep)}" if steep else "is finite"
    if not good_input:
        return f"{said}; the input of the network is not finite"
    if spoiled := broken(state.variables.params):
        return f"{said}; it began in layer {spoiled[0]}, with its parameters"
    if not finite(of.scores):
        return f"{said}; it began in layer {layers[-1]}, with its scores"
    if not finite(of.loss):
        return f"{said}; it began in the objective, after layer {layers[-1]}"
    if steep:
        # Backwards: the last layer comes first.
        return f"{said}; it began in layer {steep[-1]}, with its gradient"
    return f"{said}; it began in layer {broken(updated)[0]}, with the optimiser's update"
