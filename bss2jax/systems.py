"""Networks on several chips: systems, the search for a mapping onto them, traffic, execution."""

from bss2jax.chip.presets import system
from bss2jax.chip.system import Limits, Link, System
from bss2jax.chip.topology import Mesh, Tree
from bss2jax.mapping import objectives
from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.saved import Saved, load, save
from bss2jax.mapping.search import METHODS, search
from bss2jax.mapping.suite import SUITE, workload
from bss2jax.mapping.throughput import describe_system, throughput
from bss2jax.mapping.traffic import Traffic, poisson, simulate
from bss2jax.mapping.workload import Workload, of_edges, read
from bss2jax.networks.across import on_system, rates_of, specimens, workload_of

__all__ = [
    "METHODS",
    "SUITE",
    "Limits",
    "Link",
    "Mapping",
    "Mesh",
    "Saved",
    "System",
    "Traffic",
    "Tree",
    "Workload",
    "describe_system",
    "load",
    "objectives",
    "of_edges",
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
    "workload",
    "workload_of",
]
