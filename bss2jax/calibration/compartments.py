"""Measuring the conductances between compartments, each circuit joined to its neighbour.

Two circuits that a conductance joins relax to each other with

    1 / tau_total = 2 / tau_icc + 1 / tau_leak.

One is raised and let go, both membranes are read by the CADC, as in `circuits`; the leak is weak.

References: calix `multicomp/neuron_icc_bias` (the relation, target and weak leak).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp

from bss2jax.calibration.circuits import fitted_tau, read_membranes
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels.neurons.compartments import Compartments
from bss2jax.kernels.neurons.li import LI

TAU_ICC, TAU_LEAK = 5e-6, 60e-6  # s, the target and what the leak is set to
_READS = 40


def measure_tau_icc(chip: Chip, key: jax.Array, *, substrate: Substrate = BSS2) -> jax.Array:
    """Fits how fast a circuit and its neighbour relax to each other: `[H, C]` over the target."""
    c, shape = chip.circuits, chip.circuits.leak.shape

    def pairs(own: jax.Array) -> jax.Array:
        """A quantity of the neighbour and of the circuit, `[2 n]`; the last one's is before it."""
        other = jnp.concatenate([own[..., 1:], own[..., -2:-1]], axis=-1)
        return jnp.stack([other, own]).reshape(-1)

    period = substrate.cadc_period
    cell = LI(tau_mem=TAU_LEAK * pairs(c.tau_mem), leak=pairs(c.leak), dt=period)
    both = Compartments(
        cell, TAU_ICC * c.tau_icc.reshape(-1), parents=(0,), circuits=(1, 1),
        spikes=(False, False), t_ref=(0.0, 0.0), holdoff=(0.0, 0.0),
    )  # fmt: skip
    silence = jnp.zeros(2 * c.leak.size, jnp.float32)
    rest = both.rest(silence)
    raised = rest.v + jnp.repeat(jnp.asarray([0.0, 1.0], jnp.float32), c.leak.size)
    start = replace(rest, cell=replace(rest.cell, v=raised))
    _, v = jax.lax.scan(lambda s, _: (both.flow(s, silence), s.v), start, length=_READS)
    neighbour, own = read_membranes(v.reshape(_READS, 2, *shape), key, substrate).swapaxes(0, 1)
    rate = 1 / fitted_tau(own - neighbour, period) - 1 / TAU_LEAK
    return 2 / (rate * TAU_ICC)
