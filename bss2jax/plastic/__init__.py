"""Hybrid plasticity: rules that the chip's processors run beside the network."""

from bss2jax.plastic.emulate import Environment, Seen, Stimulus, emulate, period
from bss2jax.plastic.environments import Poisson, Pong, Samples
from bss2jax.plastic.hybrid import Hybrid, State, on_chip
from bss2jax.plastic.observed import Observed, Rule, memory_of
from bss2jax.plastic.reward import Expected, NoiseRow, Reward, RewardSTDP
from bss2jax.plastic.rules import STDP, Drift, Homeostasis
from bss2jax.plastic.structural import Rewiring, Sequence

__all__ = [
    "STDP",
    "Drift",
    "Environment",
    "Expected",
    "Homeostasis",
    "Hybrid",
    "NoiseRow",
    "Observed",
    "Poisson",
    "Pong",
    "Reward",
    "RewardSTDP",
    "Rewiring",
    "Rule",
    "Samples",
    "Seen",
    "Sequence",
    "State",
    "Stimulus",
    "emulate",
    "memory_of",
    "on_chip",
    "period",
]
