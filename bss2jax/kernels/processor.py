"""What kind of processor computes, asked here and nowhere else.

A CPU and a GPU want other programs for the same numbers: events or dense products, batches in
tiles or whole, loops or kernels.
"""

import jax


def on_cpu() -> bool:
    """Returns whether JAX's default device is a CPU."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """Returns whether JAX's default device is a GPU."""
    return jax.default_backend() == "gpu"
