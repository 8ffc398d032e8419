"""The neurons and synapses of a population, gathered from the chips and circuits that they are on.

Circuit i of a chip is in column i // 2, neuron row i % 2. Input k of a neuron is on row k mod 128
of its member k // 128; recurrent inputs follow on the others.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

from bss2jax.arrays import count, pytree, wholes
from bss2jax.chip.chip import Chip, Circuits
from bss2jax.chip.quantities import CHIP, built, quantities_of
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute.entrance import expect_chip
from bss2jax.mapping.populations import Population


@pytree
@dataclass(frozen=True, eq=False)
class OnChips:
    """A population's neurons on their circuits, and where its synapses are.

    Strengths `[2, K, N]` are made where they are used, of some neurons at a time if need be.

    Attributes:
        neurons: deviations of the neurons, `[N]` each; `strength` `[2, N]`.
        synapses: `[chips, 2, rows, circuits]` strength of each synapse, times that of its circuit.
        chip: `[N]` int32, chip of each neuron.
        members: `[N, c]` int32, circuits that each neuron is joined of.
        inputs: K of its dense synapses; None of neurons with receptive fields, whose synapses
            share the strength of their neuron.
        recurrent: N of its recurrent synapses, or 0.
        slots: `[N, N]` int32 which of a neuron's recurrent inputs each neuron is, where it has only
            some; any number where it is none. None: a neuron has all.
        slots_used: how many recurrent inputs a neuron has.
        spread: how many of its dense inputs share a row, one of each a neuron; 1: each has its own.
    """

    neurons: Circuits
    synapses: jax.Array
    chip: jax.Array
    members: jax.Array
    inputs: int | None = field(metadata={"static": True})
    recurrent: int = field(metadata={"static": True})
    slots: jax.Array | None = None
    slots_used: int = field(default=0, metadata={"static": True})
    spread: int = field(default=1, metadata={"static": True})

    def strength(self) -> jax.Array:
        """Returns the strength of dense synapses, `[2, K, N]`; with receptive fields `[2, N]`."""
        if self.inputs is None:
            return self.neurons.strength
        if self.spread == 1:
            return self._synapses(0, self.inputs)
        held = self._synapses(0, -(-self.inputs // self.spread))
        return jnp.repeat(held, self.spread, axis=1)[:, : self.inputs]

    def recurrent_strength(self) -> jax.Array:
        """Returns the strength of recurrent synapses, `[2, N, N]`."""
        first = self.inputs or 0
        if self.slots is None:
            return self._synapses(first, first + self.recurrent)
        held = self._synapses(first, first + self.slots_used)
        return jnp.take_along_axis(held, self.slots[None], axis=1)

    def of_neurons(self, chosen: jax.Array) -> "OnChips":
        """Returns the same of some neurons, by their numbers `[n]`."""
        return replace(
            self,
            neurons=jax.tree.map(lambda a: a[..., chosen], self.neurons),
            chip=self.chip[chosen],
            members=self.members[chosen],
            slots=None if self.slots is None else self.slots[:, chosen],
        )

    def _synapses(self, first: int, last: int) -> jax.Array:
        """`[2, inputs, N]` of the inputs from first up to last."""
        rows = self.synapses.shape[2]
        start, end = first // rows, -(-last // rows)
        circuit = self.members[:, start:end].T  # [blocks, N]
        strength = self.synapses[self.chip, :, :, circuit]  # [blocks, N, 2, rows]
        strength = strength.transpose(2, 0, 3, 1).reshape(2, (end - start) * rows, len(self.chip))
        return strength[:, first - start * rows : last - start * rows]


def gather(
    chips: Chip,
    chip_of: jax.Array,
    circuits: jax.Array,
    *,
    inputs: int | None = None,
    recurrent: int = 0,
    slots: jax.Array | None = None,
    slots_used: int = 0,
    spread: int = 1,
) -> OnChips:
    """Gathers a population's neurons and synapses from the chips that they are on.

    Args:
        chips: one, or a stack with a leading axis.
        chip_of: `[N]` the chip of each neuron.
        circuits: `[N, c]` circuits that each neuron is joined of.
        inputs: K of dense synapses; None with receptive fields.
        recurrent: N of recurrent synapses; 0: none.
        slots: `[N, N]` which of its recurrent inputs each neuron is, where a neuron has some only.
        slots_used: how many it has.
        spread: how many of the dense inputs share a row, as each neuron has one of them.

    Raises:
        ValueError: circuits do not hold the inputs, or a place is not on a chip.
    """
    expect_chip(chips)
    if chips.offset.ndim == 2:
        chips = jax.tree.map(lambda a: a[None], chips)
    number, hemispheres, columns = chips.offset.shape
    chip_of, members = wholes(chip_of, "chip_of"), wholes(circuits, "circuits")
    _check_places(chip_of, members, number, hemispheres * columns)
    rows, recurrent = chips.synapse_gain.shape[-2], count("recurrent", recurrent, 0)
    inputs = None if inputs is None else count("inputs", inputs, 0)
    fan_in = -(-(inputs or 0) // spread) + (recurrent if slots is None else slots_used)
    if fan_in > members.shape[1] * rows:
        raise ValueError(
            f"circuits: {members.shape[1]} a neuron hold {members.shape[1] * rows} inputs, the "
            f"population has {fan_in}"
        )
    neurons, synapses = _gathered(chips, chip_of, members)
    return OnChips(
        neurons, synapses, chip_of, members, inputs, recurrent, slots, slots_used, spread
    )


@jax.jit
def _gathered(chips: Chip, chip_of: jax.Array, members: jax.Array) -> tuple[Circuits, jax.Array]:
    """Neurons, and the strengths of all circuits' synapses `[K, 2, rows, circuits]`."""
    gain = chips.synapse_gain * chips.driver_gain[:, :, None, :, None]  # [K, H, 2, rows, C]
    gain = circuit_pattern(jnp.moveaxis(gain, 1, -2))
    synapses = gain * circuit_pattern(chips.circuits.strength)[:, :, None]
    return joined(chips.circuits, chip_of, members), synapses


def on_chip(
    chip: Chip,
    inputs: int,
    neurons: int,
    *,
    recurrent: bool = False,
    positions: int = 1,
    substrate: Substrate = BSS2,
) -> OnChips:
    """Gathers a population from one chip, where it would go by itself: from circuit 0 on.

    Args:
        chip: the chip whose circuits and synapses apply.
        inputs: K, of one position.
        neurons: N, of all positions.
        recurrent: whether its spikes return to it.
        positions: P of receptive fields; 1: all neurons see all inputs.
        substrate: the substrate whose sizes apply.

    Raises:
        ValueError: the population cannot be placed, or the chip is another substrate's.
    """
    place = Population(
        inputs + neurons * recurrent, neurons, recurrent, positions, substrate=substrate
    )
    return gather_place(chip, place, inputs)


def gather_place(chip: Chip, place: Population, inputs: int) -> OnChips:
    """Gathers a population from one chip by its place.

    Args:
        chip: the chip whose circuits and synapses apply.
        place: the place of the population; its runs meet the same circuits.
        inputs: K, recurrent ones aside.

    Raises:
        ValueError: the chip is another substrate's.
    """
    substrate = place.substrate
    expect_chip(chip)
    expected = (substrate.hemispheres, 2, substrate.rows, substrate.columns)
    if chip.synapse_gain.shape != expected:
        raise ValueError(
            f"chip: its synapses are {chip.synapse_gain.shape}, the population's substrate has "
            f"{expected}"
        )
    return gather(
        chip,
        jnp.zeros(place.neurons, jnp.int32),
        place.members()[place.in_run()],
        inputs=None if place.positions > 1 else inputs,
        recurrent=place.neurons if place.recurrent else 0,
    )


def circuit_pattern(pattern: jax.Array) -> jax.Array:
    """Orders a pattern `[..., H, C]` by circuit: columns outer, both neuron rows side by side."""
    by_column = pattern.swapaxes(-1, -2)
    return by_column.reshape(*pattern.shape[:-2], pattern.shape[-1] * pattern.shape[-2])


def joined(circuits: Circuits, chip_of: jax.Array, members: jax.Array) -> Circuits:
    """Returns neurons, `[N]`: each joined of its circuits, as each quantity declares.

    Args:
        circuits: the circuits of all chips, with a leading axis.
        chip_of: `[N]` chip of each neuron.
        members: `[N, c]` circuits of each neuron.
    """
    found: dict[str, jax.Array | None] = {}
    alike: dict[tuple, list[str]] = {}
    for name, declared in quantities_of(Circuits).items():
        pattern = getattr(circuits, name)
        if pattern is None or declared.site is CHIP:
            found[name] = None if pattern is None else pattern[chip_of]
        else:
            alike.setdefault((declared.joined, pattern.shape), []).append(name)
    # Those that are joined alike together: each by itself would be a loop of its own to compile.
    for (join, _), names in alike.items():
        by_circuit = jnp.stack([circuit_pattern(getattr(circuits, name)) for name in names])
        by_circuit = jnp.moveaxis(by_circuit, 1, -2)  # [quantities, ..., chips, circuits]
        of_member = jax.vmap(lambda places, a: a[..., chip_of, places], (1, None), -1)
        found |= zip(names, join(of_member(members, by_circuit)))
    return built(Circuits, found)


def _check_places(chip_of: jax.Array, members: jax.Array, chips: int, circuits: int) -> None:
    """Refuses places that are on no chip, where they are known."""
    if members.ndim != 2 or chip_of.shape != members.shape[:1]:
        raise ValueError(
            f"expected chip_of [N] and circuits [N, c], got {chip_of.shape} and {members.shape}"
        )
    for name, places, most in (("chip_of", chip_of, chips), ("circuits", members, circuits)):
        if isinstance(places, jax.core.Tracer) or places.size == 0:
            continue
        low, high = int(places.min()), int(places.max())
        if low < 0 or high >= most:
            raise ValueError(f"{name}: expected 0 to {most - 1}, got {low} to {high}")
