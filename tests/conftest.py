"""What several test files need: a drawn chip, as the package and as the NumPy twins see it."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
import reference
from hypothesis import settings

from bss2jax import Mismatch, sample_chip

# The same examples every time; compiling a new shape takes longer than hypothesis' deadline.
settings.register_profile("bss2jax", deadline=None, derandomize=True, database=None)
settings.load_profile("bss2jax")


@pytest.fixture(scope="session")
def chip():
    """A chip on which every kind of mismatch is drawn, and no trial noise."""
    return sample_chip(
        jax.random.key(11),
        Mismatch(noise_std=0, send_noise=0, dead_synapses=0.01, dead_neurons=0.01),
    )


@pytest.fixture(scope="session")
def pattern(chip):
    """The same chip for the twins."""
    return reference.pattern(chip)
