"""Specs of a training: what is trained on which execution, how long, how. No arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import optax
from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.networks.layer import Execution, Precision
from bss2jax.settings import Checked

Rate = Annotated[float, Gt(0), Lt(float("inf"))]


class ByLayer(Mapping[str, Execution]):
    """Executions by layer name: a mapping with a hash, as what is compiled depends on it."""

    def __init__(self, executions: Mapping[str, Execution]) -> None:
        self._executions = dict(executions)

    def __getitem__(self, name: str) -> Execution:
        return self._executions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._executions)

    def __len__(self) -> int:
        return len(self._executions)

    def __hash__(self) -> int:
        return hash(frozenset(self._executions.items()))

    def __repr__(self) -> str:
        return repr(self._executions)


@dataclass(frozen=True, kw_only=True)
class Objective(Checked):
    """Cross entropy of the scores.

    Attributes:
        scale: factor from scores to logits. Readouts span -128..127 LSB, where 0.1 is good; the
            membranes of a spiking network some units, where 3 is.
        readout: weight of a penalty on large readout membranes, mean of the fourth power.
        bursts: weight of a penalty on spikes beyond one a neuron and sample, likewise.
        bursts_decay: factor on that weight after each epoch of a phase.
        rate: weight of a penalty on neurons that spike more or less often than `rate_target` on
            average over a batch, mean of the square.
        rate_target: spikes a neuron and sample.
        weights: weight of a penalty on large weights, mean of the fourth power (spiking networks,
            software units).
        smoothing: share of each label that is spread over all classes.
        class_weights: factor on the cross entropy of each class's samples, where some are rarer or
            matter more; by default 1 for all.
    """

    scale: Rate = 0.1
    readout: Annotated[float, Ge(0)] = 0.0
    bursts: Annotated[float, Ge(0)] = 0.0
    bursts_decay: Annotated[float, Gt(0), Le(1)] = 1.0
    rate: Annotated[float, Ge(0)] = 0.0
    rate_target: Annotated[float, Ge(0)] = 0.5
    weights: Annotated[float, Ge(0)] = 0.0
    smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    class_weights: tuple[Annotated[float, Ge(0), Lt(float("inf"))], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Augmentation(Checked):
    """Random changes of each image, uniform in both directions.

    Attributes:
        shift: most pixels along each axis.
        rotation: most degrees.
        crop: zeros put around an image on each side, in pixels, before a window of its size is cut
            out of it anywhere.
        flip: whether half the images are mirrored left to right, and half up to down.
        horizontal_flip: whether half the images are mirrored left to right.
        quarter_turns: whether square images are turned by 0, 90, 180 or 270 degrees.
    """

    shift: Annotated[float, Ge(0), Lt(float("inf"))] = 0.0
    rotation: Annotated[float, Ge(0), Lt(360)] = 0.0
    crop: Annotated[int, Ge(0), Le(1000)] = 0
    flip: bool = False
    horizontal_flip: bool = False
    quarter_turns: bool = False

    @property
    def any(self) -> bool:
        """Whether there is anything to change."""
        return self != Augmentation()

    @property
    def mirrors(self) -> bool:
        """Whether there is anything to flip or to turn by right angles."""
        return self.flip or self.horizontal_flip or self.quarter_turns


@dataclass(frozen=True, kw_only=True)
class Phase(Checked):
    """One stretch of training on one execution; a training is a list of them.

    Attributes:
        on: execution, `float`, `ideal` or `chip`, of all layers, or by layer name (others:
            `ideal`).
        epochs: passes over the training data.
        max_steps: steps after which the phase ends, if that is earlier.
        batch_size: samples a step.
        optimizer: the optimiser of optax, by name.
        learning_rate: learning rate at its highest. Weights are in LSB (-63..63), so rates are some
            tenths.
        schedule: course of the learning rate: `constant`; `cosine` or `linear` to zero at the end
            of the phase; `exponential`; `one_cycle`, up from a 25th within the first 30 % of the
            phase, then down to nothing.
        decay: factor per epoch of the exponential schedule.
        weight_decay: what `adamw` takes off a weight in a step, as a share of the rate; not
            off what each neuron or channel has one of.
        clip_norm: largest global norm of the gradient.
        noise: whether the chip is noisy from trial to trial.
        chip: chip to train on: `fixed`, this run's own; or `resample`, another chip of the same
            spreads each step.
        specimens: number of chips that a step draws where it resamples, each with an equal share of
            the batch.
        augment: whether samples are changed as `[augment]` says.
        on_nonfinite: what a step does whose loss, gradient or update is not finite: `stop` the
            phase, or `skip` the step and count it.
        keep: parameters that the phase ends with: those of the epoch `best` on validation data, or
            the `last`.
        precision: number type of the factors of convolutions of spikes on `float`; `bfloat16` is
            several times faster on a GPU. Sums, norms, membranes, parameters and evaluations are
            float32.
        start: the directory of a finished run, whose final parameters the phase starts from; the
            phases before it are then left out.
    """

    on: Execution | Annotated[Mapping[str, Execution], MinLen(1)]
    epochs: Annotated[int, Ge(1)]
    max_steps: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] = 128
    optimizer: Literal["adam", "adamw", "nadam", "lion", "rmsprop", "sgd"] = "adam"
    learning_rate: Rate
    schedule: Literal["constant", "cosine", "linear", "exponential", "one_cycle"] = "constant"
    decay: Annotated[float, Gt(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0), Lt(1)] = 1e-4
    clip_norm: Rate | None = None
    noise: bool = True
    chip: Literal["fixed", "resample"] = "fixed"
    specimens: Annotated[int, Ge(1)] = 1
    augment: bool = True
    on_nonfinite: Literal["stop", "skip"] = "stop"
    keep: Literal["best", "last"] = "best"
    precision: Precision = "float32"
    start: Annotated[str, MinLen(1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.on, str):
            object.__setattr__(self, "on", ByLayer(self.on))
        if self.weight_decay != Phase.weight_decay and self.optimizer != "adamw":
            raise ValueError(f"weight_decay: it is of adamw, the optimizer is {self.optimizer}")
        if self.specimens > 1 and self.chip == "fixed":
            raise ValueError(
                f'specimens: got {self.specimens} chips; more than 1 need chip = "resample"'
            )

    @property
    def on_chip(self) -> bool:
        """Whether any layer runs on the chip."""
        return self.has("chip")

    @property
    def resamples(self) -> bool:
        """Whether each step draws the chips that it runs on."""
        return self.on_chip and self.chip == "resample"

    def has(self, execution: Execution) -> bool:
        """Returns whether any layer has an execution."""
        return execution in ((self.on,) if isinstance(self.on, str) else self.on.values())


def batch_of(phase: Phase, samples: int) -> int:
    """Returns the samples of a batch: all there are, where they are fewer."""
    return min(phase.batch_size, samples)


def steps_per_epoch(phase: Phase, samples: int) -> int:
    """Returns the whole batches in an epoch: at least one, which then has all samples."""
    return max(1, samples // phase.batch_size)


def total_steps(phase: Phase, samples: int) -> int:
    """Returns the steps of a phase."""
    return min(phase.epochs * steps_per_epoch(phase, samples), phase.max_steps or 2**31)


def make_optimizer(phase: Phase, samples: int) -> optax.GradientTransformation:
    """Builds the optax chain of a phase: clipping, optimiser, schedule."""
    rate, steps = phase.learning_rate, total_steps(phase, samples)
    match phase.schedule:
        case "cosine":
            schedule = optax.cosine_decay_schedule(rate, steps)
        case "linear":
            schedule = optax.linear_schedule(rate, 0.0, steps)
        case "exponential":
            schedule = optax.exponential_decay(
                rate, steps_per_epoch(phase, samples), phase.decay, staircase=True
            )
        case "one_cycle":
            schedule = optax.cosine_onecycle_schedule(steps, rate)
        case _:
            schedule = rate
    if phase.optimizer == "adamw":
        optimizer = optax.adamw(schedule, weight_decay=phase.weight_decay, mask=_weights)
    else:
        optimizer = getattr(optax, phase.optimizer)(schedule)
    if phase.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(phase.clip_norm), optimizer)


def _weights(params: Any) -> Any:
    """Which parameters are weights: all but those of which a neuron or channel has one."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
