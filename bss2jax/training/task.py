"""What stays the same through a training: the network, its settings, and what is compiled of it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bss2jax.arrays import Compared, pytree
from bss2jax.chip.chip import Mismatch
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.networks.graph import Network, Params, State
from bss2jax.networks.layer import Finite, Scale
from bss2jax.settings.readers import reader_of
from bss2jax.training.phase import Augmentation, Objective

FullScale = Scale | tuple[Scale, ...]
Offset = Finite | tuple[Finite, ...]


@pytree
@dataclass(frozen=True, eq=False)
class Samples(Compared):
    """Data on the device: `x [S, ...]` in the set's own type, `y [S]` int32 labels."""

    x: jax.Array
    y: jax.Array


@pytree
@dataclass(frozen=True, eq=False)
class Variables(Compared):
    """What a network has learned.

    Attributes:
        params: by layer, what the optimiser changes.
        state: by layer, what the network itself keeps from step to step; {} for most.
    """

    params: Params
    state: State


@dataclass(frozen=True)
class Task:
    """All that stays the same through a training.

    Attributes:
        network: what is trained.
        full_scale: what becomes activation 31; one for all, or for each channel.
        mismatch: spreads of the chips that `resample` draws.
        substrate: the chip's numbers.
        objective: what is minimised.
        augmentation: changes of the training images.
        offset: the value, in the unit of x, that becomes activation 0; one or one a channel.
        mesh: the devices, from `Devices.mesh`; None for one.
        compiled: the steps and evaluations compiled so far, which equal phases share.

    Raises:
        ValueError: scale or offset are no finite numbers, a scale is not above 0, or there are not
            as many class weights as outputs.
    """

    network: Network
    full_scale: float | tuple[float, ...]
    mismatch: Mismatch = Mismatch()
    substrate: Substrate = BSS2
    objective: Objective = Objective()
    augmentation: Augmentation = Augmentation()
    offset: float | tuple[float, ...] = 0.0
    mesh: Mesh | None = None
    compiled: dict[Hashable, Any] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for name, kind in (("full_scale", FullScale), ("offset", Offset)):
            value = reader_of(kind).take(getattr(self, name), (name,))
            object.__setattr__(self, name, value)
        given, classes = len(self.objective.class_weights), self.network.shapes[-1]
        if given and (given,) != classes:
            raise ValueError(f"class_weights: got {given}, the network has {classes} outputs")

    @property
    def cuts_batches(self) -> bool:
        """Whether each device has a part of a batch: there are several, and no layer objects.

        A layer that looks across samples, or keeps something of them, has all of them on each,
        unless it sums over devices.
        """
        return self.mesh is not None and not self.network.stays_whole

    def initial(self, key: jax.Array) -> Variables:
        """Returns what a training starts from, parameters drawn with a key."""
        return Variables(self.network.init(key), self.network.state())

    def encode(self, x: jax.Array) -> jax.Array:
        """Turns samples `[B, ...]` into what the network's `apply` takes."""
        return self.network.encode(x, self.full_scale, offset=self.offset)

    def once(self, make: Callable[[], Any], *of: Any) -> Any:
        """Returns what `make` compiles, or what it did before for the same settings and shapes.

        Args:
            make: compiles, without arguments.
            of: all that the result depends on: hashable settings, and trees of arrays, of which
                structure, shapes and types count.
        """
        leaves, structure = jax.tree.flatten(of)
        seen = (
            structure,
            *((leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf for leaf in leaves),
        )
        if seen not in self.compiled:
            self.compiled[seen] = make()
        return self.compiled[seen]


class _Arrays(Protocol):
    @property
    def x(self) -> Any: ...
    @property
    def y(self) -> Any: ...


def taken(samples: _Arrays, network: Network, name: str, mesh: Mesh | None = None) -> Samples:
    """Returns samples as a training takes them: arrays of JAX, labels int32.

    Args:
        samples: the samples with arrays x and y of any types, or nested lists.
        network: the network, which takes them.
        name: the name of the samples, for messages.
        mesh: the devices that are given some of them each, out of arrays of NumPy; None for one.

    Raises:
        ValueError: as `check`.
    """
    found: Any = Samples(_native(samples.x), _native(samples.y))
    check(found, network, name)
    if mesh is not None:
        return on_host(found)
    return Samples(jnp.asarray(found.x), jnp.asarray(found.y, jnp.int32))


def on_host(samples: _Arrays) -> Samples:
    """Returns samples as arrays of NumPy, labels int32, of which devices are given some each.

    Args:
        samples: the samples.
    """
    x, y = np.asarray(samples.x), np.asarray(samples.y, np.int32)
    return Samples(x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False), y)  # type: ignore[arg-type]


def check(samples: _Arrays, network: Network, name: str) -> None:
    """Refuses samples that a network cannot take or score.

    Args:
        samples: the samples with arrays x and y, to look at.
        network: the network, which takes them, and has an output for each class.
        name: the name of the samples, for the message.

    Raises:
        ValueError: x or y have another shape or type than expected, or labels are out of range.
    """
    x, y, (classes,) = samples.x, samples.y, network.shapes[-1]
    expected = ", ".join(map(str, network.shapes[0]))
    if x.shape[1:] != network.shapes[0] or not len(x):
        raise ValueError(f"{name}.x: got shape {x.shape}, expected (S, {expected}) with S >= 1")
    numbers = jnp.issubdtype(x.dtype, jnp.floating) or x.dtype.kind in "bui"
    if not numbers or y.dtype.kind not in "ui":
        raise ValueError(f"{name}: got x of {x.dtype} and y of {y.dtype}, expected numbers and int")
    if y.shape != (len(x),):
        raise ValueError(f"{name}.y: got shape {y.shape}, expected ({len(x)},), a label a sample")
    least, most = int(y.min()), int(y.max())
    if least < 0 or most >= classes:
        raise ValueError(f"{name}.y: got labels {least} to {most}, expected 0 to {classes - 1}")


def _native(values: Any) -> Any:
    """Values as an array in this machine's byte order, which is the only one that JAX takes."""
    if isinstance(values, jax.Array):
        return values
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
