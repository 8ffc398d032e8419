"""Figures: axes in, axes out.

Every function takes arrays, plans, chips or records, draws them on the axes given, or on new ones,
and returns the axes. Colours are Okabe and Ito's, with marks or hatches beside; maps are cividis.
"""

from bss2jax.plot.chip import chip_map
from bss2jax.plot.classes import class_map
from bss2jax.plot.dendrites import attenuation, compartments, morphology
from bss2jax.plot.layout import placement, placements
from bss2jax.plot.learning import gradient_norms, learning_curves, saturation
from bss2jax.plot.neurons import (
    correlation_curve,
    firing_pattern,
    phase_plane,
    pulse_amplitudes,
    rate_curve,
)
from bss2jax.plot.plastic import over_periods, weight_matrices
from bss2jax.plot.products import vmm
from bss2jax.plot.samples import predictions, samples, save
from bss2jax.plot.scores import accuracy_over_chips, confusion, ladder
from bss2jax.plot.spikes import raster, traces
from bss2jax.plot.system import cell_map, link_loads, on_chips, pareto_front, search_progress
from bss2jax.plot.timing import gantt, schedule
from bss2jax.plot.weights import weights

__all__ = [
    "accuracy_over_chips",
    "attenuation",
    "cell_map",
    "chip_map",
    "class_map",
    "compartments",
    "confusion",
    "correlation_curve",
    "firing_pattern",
    "gantt",
    "gradient_norms",
    "ladder",
    "learning_curves",
    "link_loads",
    "morphology",
    "on_chips",
    "over_periods",
    "pareto_front",
    "phase_plane",
    "placement",
    "placements",
    "predictions",
    "pulse_amplitudes",
    "raster",
    "rate_curve",
    "samples",
    "saturation",
    "save",
    "schedule",
    "search_progress",
    "traces",
    "vmm",
    "weight_matrices",
    "weights",
]
