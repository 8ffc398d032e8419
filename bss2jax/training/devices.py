"""The devices that a training or an evaluation is spread over: a mesh of three axes.

`data` has samples, `chips` specimens, `pieces` the pieces of a plan. Noise, order and augmentation
are functions of the number of a sample in its batch, so that none depends on the devices.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bss2jax.kernels.mesh import CHIPS, DATA, PIECES, SAMPLES
from bss2jax.settings import Checked

Number = Annotated[int, Ge(1)]


@dataclass(frozen=True, kw_only=True)
class Devices(Checked):
    """How many devices take part, and what is spread over them.

    Attributes:
        devices: how many take part; by default all that there are.
        data: devices that samples are spread over; by default all that are left.
        pieces: devices that the pieces of a plan are spread over, a chip each.
        chips: devices that specimens are spread over where many are measured; in a training they
            have samples.
    """

    devices: Number | None = None
    data: Number | None = None
    pieces: Number = 1
    chips: Number = 1

    def mesh(self) -> Mesh | None:
        """Returns the mesh of the devices of all hosts; None for a single device.

        Raises:
            ValueError: there are fewer devices than asked for.
        """
        known = jax.devices()
        if self.devices is not None and self.devices > len(known):
            raise ValueError(f"mesh.devices: got {self.devices}, {_there(len(known))}")
        known = known[: self.devices]
        others = self.pieces * self.chips
        data = max(1, len(known) // others) if self.data is None else self.data
        if data * others > len(known):
            raise ValueError(
                f"mesh: data {data} x pieces {self.pieces} x chips {self.chips} are "
                f"{data * others} devices, {_there(len(known))}"
            )
        if data * others == 1:
            return None
        sizes = {CHIPS: self.chips, DATA: data, PIECES: self.pieces}
        return jax.make_mesh(
            tuple(sizes.values()),
            tuple(sizes),
            axis_types=(AxisType.Auto,) * len(sizes),
            devices=known[: data * others],
        )

    def fitted(self, devices: int | None = None) -> "Devices":
        """Returns these settings where they can be had here, else samples over all devices.

        Args:
            devices: how many take part; None: as many as before, where there are.
        """
        wanted = self if devices is None else replace(self, devices=devices, data=None)
        try:
            wanted.mesh()
        except ValueError:
            return Devices(devices=devices)
        return wanted


def for_chips(mesh: Mesh, number: int) -> Mesh:
    """Returns the devices of a mesh as so many chips are measured on: a chip each, if there are.

    A mesh that has devices for chips is left as it is.
    """
    if mesh.shape[CHIPS] > 1 or number < mesh.shape[DATA]:
        return mesh
    # The devices of samples are those of chips: an axis of length 1 is only named.
    return Mesh(mesh.devices.swapaxes(0, 1), mesh.axis_names, axis_types=mesh.axis_types)


def described(mesh: Mesh) -> str:
    """Returns what is spread over the devices of a mesh, as one line."""
    names = {DATA: "samples", CHIPS: "chips", PIECES: "pieces"}
    parts = [f"{names[axis]} over {n}" for axis, n in mesh.shape.items() if n > 1]
    hosts = len({device.process_index for device in mesh.devices.flat})
    where = f" of {hosts} processes" if hosts > 1 else ""
    return f"{mesh.size} {mesh.devices.flat[0].platform}{where}: {', '.join(parts)}"


def _there(number: int) -> str:
    said = "there is 1" if number == 1 else f"there are {number}"
    return f"{said}; on CPUs JAX_NUM_CPU_DEVICES says how many"


def everywhere(mesh: Mesh | None, tree: Any) -> Any:
    """Returns arrays that each device of a mesh holds whole; as they are where there is no mesh."""
    if mesh is None:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    if mesh.is_multi_process:
        return jax.tree.map(partial(_on_hosts, whole), tree)
    return jax.device_put(tree, whole)


def cut(mesh: Mesh, spec: PartitionSpec, tree: Any) -> Any:
    """Returns arrays that every process has whole, cut over the devices as a spec says.

    A single process leaves that to the call that they go to.
    """
    if not mesh.is_multi_process:
        return tree
    return jax.tree.map(partial(_on_hosts, NamedSharding(mesh, spec)), tree)


def _on_hosts(whole: NamedSharding, leaf: Any) -> Any:
    """An array on the devices of all hosts, of which each has made it alike."""
    if getattr(leaf, "sharding", None) == whole:
        return leaf
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _on_hosts(whole, jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, whole, lambda index: host[index])


def size(mesh: Mesh, *axes: str) -> int:
    """Returns how many devices there are along some axes of a mesh, as one."""
    return math.prod(mesh.shape[axis] for axis in axes)


def part_size(batch: int, parts: int) -> int:
    """Returns the samples of each part of a batch, with those that fill it up."""
    each = -(-batch // parts)
    # Where some are filled up anyway, rounded to a multiple of 4, so that tiles can divide it.
    return -(-each // 4) * 4 if batch % parts and each > 16 else each


def part_of(batch: int, mesh: Mesh) -> tuple[jax.Array, jax.Array | None]:
    """Returns the samples of a batch that the device has, within `jax.shard_map`.

    Args:
        batch: samples.
        mesh: the devices, along whose axes of samples each has as many.

    Returns:
        `[b]` int32 numbers of the samples in the batch, where numbers of the batch's size and above
        fill the last parts up; and `[b]` their weights, of mean 1 over all parts, 0 of those that
        fill up; None where none does.
    """
    parts = size(mesh, *SAMPLES)
    each = part_size(batch, parts)
    numbers = lax.axis_index(SAMPLES) * each + jnp.arange(each, dtype=jnp.int32)
    if parts * each == batch:
        return numbers, None
    return numbers, jnp.where(numbers < batch, jnp.float32(parts * each / batch), 0)
