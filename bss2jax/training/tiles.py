"""Functions compiled ahead of their calls, for tiles of samples that fit near the processor.

XLA allocates the temporaries of a call as one block. On a CPU with glibc a block above 32 MiB comes
as new pages at each call, and faulting on them took a third of a training step of 784-256-10. So a
batch that takes more than nine tenths of that is cut into tiles, one after the other, of about
20 MiB; on a GPU it stays whole. Devices of a CPU share its caches, so each has its share of both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from bss2jax.kernels.processor import on_cpu

BOUND = 28 * 2**20  # bytes of temporaries, of all devices of a process
_AIM = 0.7  # of the bound, at which tiles are aimed
_FEWER = 2  # times the least that there can be: smaller tiles would read weights anew for little
_TRIES = 3  # compilations besides that of the whole batch


@dataclass(frozen=True)
class Compiled:
    """A compiled function.

    Attributes:
        call: takes what it was compiled for.
        tile: samples that it takes at once.
    """

    call: Any  # jax.stages.Compiled, of no public constructor
    tile: int

    @property
    def temporaries(self) -> int:
        """Bytes that a call takes between its arguments and results."""
        return self.call.memory_analysis().temp_size_in_bytes

    @property
    def results(self) -> int:
        """Bytes of the results that do not take an argument's place."""
        sizes = self.call.memory_analysis()
        return sizes.output_size_in_bytes - sizes.alias_size_in_bytes


def compile_tiled(
    function: Callable[[int], Callable[..., Any]],
    batch: int,
    *arguments: Any,
    whole: bool = False,
    donate: tuple[int, ...] = (),
    mesh: jax.sharding.Mesh | None = None,
    specs: tuple[PartitionSpec, ...] | None = None,
) -> Compiled:
    """Compiles for tiles of a batch whose temporaries are below a bound, or else for few tiles.

    Args:
        function: `function(tile)` is traceable, and takes a batch in tiles of so many samples.
        batch: samples.
        arguments: arrays, or their shapes as from `jax.eval_shape`.
        whole: whether the batch has to stay whole.
        donate: numbers of the arguments that a call consumes.
        mesh: the devices, which each hold results whole; None for one device.
        specs: how each argument is spread over them; None: whole on each.
    """
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    given: Any = everywhere
    if mesh is not None and specs is not None:
        given = tuple(NamedSharding(mesh, spec) for spec in specs)

    def make(tile: int) -> Compiled:
        jitted = jax.jit(
            function(tile),
            in_shardings=given,
            out_shardings=everywhere,
            donate_argnums=donate,
        )
        lowered = jitted.lower(*arguments)
        return Compiled(lowered.compile(), tile)

    tried = [make(batch)]
    if whole or not on_cpu():
        return tried[0]
    bound = BOUND / (1 if mesh is None else len(mesh.local_devices))
    fixed = 0.0  # bytes that are there however small the tile
    while (last := tried[-1]).temporaries > bound and last.tile > 1 and len(tried) <= _TRIES:
        # On a line through the last two; at first through the origin.
        each = (last.temporaries - fixed) / last.tile
        fits = int(max(_AIM * bound - fixed, bound / 4) / each)
        tried.append(make(divisor(batch, min(fits, last.tile - 1))))
        slope = (last.temporaries - tried[-1].temporaries) / (last.tile - tried[-1].tile)
        fixed = tried[-1].temporaries - slope * tried[-1].tile
        if slope <= 0 or fixed > bound:
            break  # none fits: most of it is there whatever the tile, such as weights
    least = min(found.temporaries for found in tried)
    most = bound if least <= bound else _FEWER * least
    return next(found for found in tried if found.temporaries <= most)


def divisor(number: int, most: int) -> int:
    """Returns the largest divisor of a number that is not above a bound, at least 1."""
    return next(d for d in range(max(1, most), 0, -1) if number % d == 0)
