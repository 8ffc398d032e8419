"""What several test files need: a drawn chip, as the package and as the NumPy twins see it."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiles in half the time. `make test-slow` compiles as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

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


# Dear beside what others hold already; `make test-slow` runs them.
DEAR = (
    "test_calibration.py::test_calibration_reaches_the_ratios",
    "test_calibration.py::test_cells_in_the_middle",
    "test_cli.py::test_a_terminal_shows",
    "test_config.py::test_a_shipped_config_trains_two_steps_a_phase[eurosat]",
    "test_config.py::test_a_shipped_config_trains_two_steps_a_phase[har]",
    "test_config.py::test_a_shipped_config_trains_two_steps_a_phase[har_spiking]",
    "test_experiment.py::test_with_the_chip_first",
    "test_foreign.py::test_vmap_over_chips",
    "test_import.py::test_importing_takes",
    "test_kills.py::test_a_training_stopped_by_each_signal",
    "test_nnx_spiking.py::test_conv_lif_is_spiking_of_patches",
    "test_nnx_spiking.py::test_lif_is_spiking_with_recurrence",
    "test_notebooks.py::test_notebook_runs_at_small_sizes[04_in_the_loop]",
    "test_notebooks.py::test_notebook_runs_at_small_sizes[06_your_own_code]",
    "test_notebooks.py::test_notebook_runs_at_small_sizes[07_yin_yang]",
    "test_notebooks.py::test_notebook_runs_at_small_sizes[08_soft_lif]",
    "test_soft_network.py::test_the_effort_counts",
    "test_spiking.py::test_membrane_noise_makes_silent",
    "test_spiking.py::test_threshold_noise_stays",
    "test_spiking_network.py::test_output_spikes_can_be_decoded_and_learned",
)


def pytest_collection_modifyitems(items):
    """Marks dear tests slow."""
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(DEAR):
            item.add_marker(pytest.mark.slow)
