"""Networks from and to NIR, the intermediate representation that frameworks share."""

from bss2jax.networks.nir.convention import CONVENTIONS, Convention
from bss2jax.networks.nir.data import read_spikes, write_spikes
from bss2jax.networks.nir.read import Imported, load, read
from bss2jax.networks.nir.write import write

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Imported",
    "load",
    "read",
    "read_spikes",
    "write",
    "write_spikes",
]
