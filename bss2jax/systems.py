"""Networks on several chips: systems, the search for a mapping onto them, traffic, execution."""

from bss2jax.chip.presets import system
from bss2jax.chip.system import Limits, Link, System
from bss2jax.chip.topology import Mesh, Tree
from bss2jax.mapping import objectives
from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.bound import tiles_of
from bss2jax.mapping.buffers import least_room
from bss2jax.mapping.crossbar import Crossbar, Wires, crossbars, fast
from bss2jax.mapping.guarantee import (
    Guarantee,
    application_of,
    describe_guarantees,
    guarantee,
    of_mapping,
    of_plan,
)
from bss2jax.mapping.heat import Thermal, cool
from bss2jax.mapping.saved import Saved, load, save
from bss2jax.mapping.search import METHODS, search
from bss2jax.mapping.selftimed import execute
from bss2jax.mapping.suite import SUITE, workload
from bss2jax.mapping.throughput import describe_system, throughput
from bss2jax.mapping.traffic import Traffic, poisson, simulate
from bss2jax.mapping.wear import Endurance, cell_lifetime, lifetime, longest_cells
from bss2jax.mapping.workload import Workload, of_edges, read
from bss2jax.networks.across import on_system, rates_of, specimens, workload_of

__all__ = [
    "METHODS",
    "SUITE",
    "Crossbar",
    "Endurance",
    "Guarantee",
    "Limits",
    "Link",
    "Mapping",
    "Mesh",
    "Saved",
    "System",
    "Thermal",
    "Traffic",
    "Tree",
    "Wires",
    "Workload",
    "application_of",
    "cell_lifetime",
    "cool",
    "crossbars",
    "describe_guarantees",
    "describe_system",
    "execute",
    "fast",
    "guarantee",
    "least_room",
    "lifetime",
    "load",
    "longest_cells",
    "objectives",
    "of_edges",
    "of_mapping",
    "of_plan",
    "on_system",
    "poisson",
    "rates_of",
    "read",
    "save",
    "search",
    "simulate",
    "specimens",
    "system",
    "throughput",
    "tiles_of",
    "workload",
    "workload_of",
]
