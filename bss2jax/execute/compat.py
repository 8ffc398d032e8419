"""`spiking` and `integrate`, which `population` replaces."""

from typing import Any

import jax

from bss2jax.chip.chip import Chip
from bss2jax.execute.circuits import gather_place
from bss2jax.execute.populations import cadc_trace, population
from bss2jax.kernels.gradients.rules import Surrogate
from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike
from bss2jax.kernels.neurons.li import LIParams
from bss2jax.kernels.neurons.lif import LIFParams
from bss2jax.kernels.neurons.membrane import Integrator
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.given import Spikes, sent_of
from bss2jax.mapping.populations import Population


def spiking(
    spikes: Spikes,
    w: jax.Array,
    params: LIFParams = LIFParams(),
    chip: Chip | None = None,
    key: jax.Array | None = None,
    *,
    recurrent: jax.Array | None = None,
    steps: int | None = None,
    population: Population | None = None,
    quantised: bool = True,
    weight_scale: float = 60.0,
    dt: float = 1e-6,
    t_ref: float = 0.0,
    integrator: Integrator = "exponential",
    surrogate: SpikeFunction = SuperSpike(),
) -> jax.Array:
    """Runs LIF neurons: `population` with a place, the chip as a whole and separate settings.

    Args:
        spikes: what is sent.
        w: weights, software units.
        params: nominal neurons.
        chip: whose circuits and synapses apply; None for perfect ones.
        key: for the chip's trial noise. None: no noise.
        recurrent: `[N, N]` weights within the population.
        steps: T, where events do not say it.
        population: where it goes on the chip; by default from circuit 0 on.
        quantised: whether weights are codes; without, and without chip, this is plain simulation.
        weight_scale: LSB per software unit.
        dt: s a step.
        t_ref: refractory time, s.
        integrator: order of the updates.
        surrogate: of the spike's derivative.

    Returns:
        `[T, B, N]` spikes, 0.0 or 1.0; with receptive fields `[T, B, P, C]`.
    """
    neuron = params.neuron(dt, t_ref, integrator)
    return _run(
        spikes, w, neuron, chip, key, recurrent, steps, population, quantised, weight_scale,
        Surrogate(surrogate),
    ).spikes  # fmt: skip


def integrate(
    spikes: Spikes,
    w: jax.Array,
    params: LIParams = LIParams(),
    chip: Chip | None = None,
    key: jax.Array | None = None,
    *,
    steps: int | None = None,
    population: Population | None = None,
    quantised: bool = True,
    weight_scale: float = 60.0,
    readout_scale: float = 40.0,
    dt: float = 1e-6,
    integrator: Integrator = "exponential",
) -> jax.Array:
    """Runs leaky integrators and, on a chip, reads their membranes through the CADC.

    Args:
        spikes, w, params, chip, key, steps, population, quantised, weight_scale, dt, integrator: as
            in `spiking`.
        readout_scale: LSB per software unit of membrane.

    Returns:
        `[T, B, N]` membrane potential, software units.
    """
    neuron = params.neuron(dt, integrator)
    v = _run(
        spikes, w, neuron, chip, key, None, steps, population, quantised, weight_scale, Surrogate()
    ).membrane
    if chip is None:
        return v
    substrate = Codes().substrate if population is None else population.substrate
    return cadc_trace(v, dt, readout_scale, substrate=substrate)


def _run(
    spikes: Any,
    w: jax.Array,
    neuron: Any,
    chip: Chip | None,
    key: jax.Array | None,
    recurrent: jax.Array | None,
    steps: int | None,
    place: Population | None,
    quantised: bool,
    weight_scale: float,
    gradient: Surrogate,
) -> Any:
    inputs, neurons = w.shape[-2:]
    sent, circuits, codes = sent_of(spikes, inputs, steps), None, None
    if chip is not None or quantised:
        codes = Codes(weight_scale) if place is None else Codes(weight_scale, place.substrate)
    if chip is not None:
        if place is None:
            back, positions = 0 if recurrent is None else neurons, sent.positions or 1
            place = Population(inputs + back, positions * neurons, recurrent is not None, positions)
        circuits = gather_place(chip, place, inputs)
    return population(
        sent, w, neuron, circuits, key, recurrent=recurrent, codes=codes, gradient=gradient
    )
