"""How a network learns: phases, the objective, the step and its loop, and how it is measured."""

from bss2jax.training.diagnose import NonFinite
from bss2jax.training.evaluate import Result, accuracy_over_chips, evaluate
from bss2jax.training.loop import Epoch, Progress, train
from bss2jax.training.phase import Augmentation, Objective, Phase
from bss2jax.training.range import keep_in_range
from bss2jax.training.task import Samples, Task, Variables
from bss2jax.training.tuning import Tuning, tune_surrogate

__all__ = [
    "Augmentation",
    "Epoch",
    "NonFinite",
    "Objective",
    "Phase",
    "Progress",
    "Result",
    "Samples",
    "Task",
    "Tuning",
    "Variables",
    "accuracy_over_chips",
    "evaluate",
    "keep_in_range",
    "train",
    "tune_surrogate",
]
