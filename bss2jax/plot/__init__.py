"""Figures: axes in, axes out. Needs matplotlib, which comes with the `plot` extra.

Every function takes arrays, plans, chips or records, draws them on the axes given, or on new ones,
and returns the axes. Colours are Okabe and Ito's, with marks or hatches beside; maps are cividis.
"""

from bss2jax.plot.chip import chip_map
from bss2jax.plot.classes import class_map
from bss2jax.plot.layout import placement, placements
from bss2jax.plot.learning import learning_curves
from bss2jax.plot.products import vmm
from bss2jax.plot.samples import samples, save
from bss2jax.plot.scores import accuracy_over_chips, confusion, ladder
from bss2jax.plot.spikes import raster, traces
from bss2jax.plot.timing import schedule

__all__ = [
    "accuracy_over_chips",
    "chip_map",
    "class_map",
    "confusion",
    "ladder",
    "learning_curves",
    "placement",
    "placements",
    "raster",
    "samples",
    "save",
    "schedule",
    "traces",
    "vmm",
]
