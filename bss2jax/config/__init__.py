"""Experiment configs: TOML, read strictly into frozen dataclasses."""

from bss2jax.config.errors import ConfigError
from bss2jax.config.read import load, shipped
from bss2jax.config.specimen import Specimen, load_specimen
from bss2jax.config.tables import ChipSeed, Config, Data, Noise, Run, Spreads
from bss2jax.config.write import differences, differing, dump
from bss2jax.settings import nearest

__all__ = [
    "ChipSeed",
    "Config",
    "ConfigError",
    "Data",
    "Noise",
    "Run",
    "Specimen",
    "Spreads",
    "differences",
    "differing",
    "dump",
    "load",
    "load_specimen",
    "nearest",
    "shipped",
]
