"""Where spiking populations go on the chip: circuits per neuron, neurons per run, runs.

A neuron circuit takes 128 signed inputs. Larger fan-in joins c circuits to a neuron: c is the
number of circuits that the inputs need, rounded up to even above one, as both neuron rows take
part. There are no digital partial sums: a population that does not fit is cut by neurons, and the
cuts run one after the other, each with its whole time axis. Neurons with receptive fields are cut
by positions, and only then by the channels of one position.

References: Arnold et al. 2025; brainscales2-demos ts_13. That c is even is assumed (7 -> 8 is
published).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.text import table


@dataclass(frozen=True)
class Population:
    """The place of one population.

    Attributes:
        inputs: fan-in of a neuron, recurrent inputs included.
        neurons: N, of all positions.
        recurrent: whether it must be on the chip as a whole.
        positions: P, where the neurons have receptive fields: N / P channels look at each.
        parts: the least number of runs that the positions are cut into, where the input of one run
            would be too dense.
        first_circuit: where it starts on the chip; not 0 when it shares a run.
        substrate: whose sizes apply.

    Raises:
        ValueError: it cannot be placed: too large a fan-in, a recurrent population that is more
            than the chip, a run that ends beyond the last circuit, positions that do not divide the
            neurons.
    """

    inputs: int
    neurons: int
    recurrent: bool = False
    positions: int = 1
    parts: int = 1
    first_circuit: int = 0
    substrate: Substrate = BSS2

    def __post_init__(self):
        if self.inputs < 1 or self.neurons < 1:
            raise ValueError(f"a population needs inputs and neurons, got {self}")
        if self.positions < 1 or self.neurons % self.positions:
            raise ValueError(f"every position needs as many neurons, got {self}")
        circuits = self.circuits_on_chip
        if self.circuits_per_neuron > circuits:
            raise ValueError(
                f"a fan-in of {self.inputs} needs {self.circuits_per_neuron} circuits a neuron, "
                f"the chip has {circuits}: at most {circuits * self.substrate.rows} inputs fit"
            )
        if not 1 <= self.parts <= self.positions:
            raise ValueError(f"expected parts from 1 to {self.positions} positions, got {self}")
        end = self.first_circuit + self.neurons_per_run * self.circuits_per_neuron
        if self.first_circuit < 0 or end > circuits:
            raise ValueError(
                f"a run of {self.neurons_per_run} neurons that starts at circuit "
                f"{self.first_circuit} ends at {end}, the chip has {circuits} circuits"
            )
        if self.recurrent and self.circuits > circuits:
            outside = self.inputs - self.neurons
            raise ValueError(
                f"a recurrent population must be on the chip as a whole: {self.neurons} neurons of "
                f"fan-in {self.inputs} need {self.circuits} circuits, {self.circuits - circuits} "
                f"more than there are; {self._most_recurrent(outside)} neurons would fit"
            )

    @property
    def circuits_on_chip(self) -> int:
        """Neuron circuits that there are."""
        return self.substrate.hemispheres * self.substrate.columns

    @property
    def circuits_per_neuron(self) -> int:
        """Circuits that the fan-in joins to a neuron: even above one."""
        needed = -(-self.inputs // self.substrate.rows)
        return needed if needed == 1 else needed + needed % 2

    @property
    def circuits(self) -> int:
        """Circuits of the whole population."""
        return self.neurons * self.circuits_per_neuron

    @property
    def channels(self) -> int:
        """Neurons of a position."""
        return self.neurons // self.positions

    @property
    def channels_per_run(self) -> int:
        """Neurons of a position that are on the chip at once."""
        return min(self.channels, self.circuits_on_chip // self.circuits_per_neuron)

    @property
    def positions_per_run(self) -> int:
        """Positions that are on the chip at once."""
        most = self.circuits_on_chip // (self.circuits_per_neuron * self.channels_per_run)
        return min(most, -(-self.positions // self.parts))

    @property
    def neurons_per_run(self) -> int:
        """Neurons that are on the chip at once."""
        return self.positions_per_run * self.channels_per_run

    @property
    def runs(self) -> int:
        """Runs of the chip, one after the other."""
        return self._runs_of_positions * -(-self.channels // self.channels_per_run)

    @property
    def _runs_of_positions(self):
        """Runs that it takes to have been at all positions, with channels_per_run of each."""
        return -(-self.positions // self.positions_per_run)

    def neurons_in(self, run: int) -> int:
        """Returns the neurons of a run: fewer where positions or channels are left over."""
        part, tile = divmod(run, self._runs_of_positions)
        positions = min(self.positions_per_run, self.positions - tile * self.positions_per_run)
        return positions * min(self.channels_per_run, self.channels - part * self.channels_per_run)

    @property
    def utilisation(self) -> float:
        """Share of the circuits of all its runs that are used."""
        return self.circuits / (self.runs * self.circuits_on_chip)

    def members(self) -> jax.Array:
        """Returns the circuits `[n, c]` that each neuron of a run is joined of.

        Neurons go position by position, channels inside.
        """
        n, c = self.neurons_per_run, self.circuits_per_neuron
        return self.first_circuit + jnp.arange(n * c).reshape(n, c)

    def in_run(self) -> jax.Array:
        """Returns, for each of all neurons `[N]`, which one of its run's it is."""
        position, channel = jnp.divmod(jnp.arange(self.neurons), self.channels)
        within = position % self.positions_per_run * self.channels_per_run
        return within + channel % self.channels_per_run

    def run_of(self) -> jax.Array:
        """Returns, for each of all neurons `[N]`, the run that it is in."""
        position, channel = jnp.divmod(jnp.arange(self.neurons), self.channels)
        part, tile = channel // self.channels_per_run, position // self.positions_per_run
        return part * self._runs_of_positions + tile

    def _most_recurrent(self, outside):
        fits = (
            n
            for n in range(self.neurons, 0, -1)
            if Population(outside + n, 1, substrate=self.substrate).circuits_per_neuron * n
            <= self.circuits_on_chip
        )
        return next(fits, 0)


def share_runs(populations: list[Population]) -> list[tuple[int, ...]]:
    """Groups consecutive populations of one run each whose circuits fit the chip together.

    Returns:
        The indices of the populations of each group, in order; a group is a number of runs, one if
        it has several members.
    """
    groups: list[list[int]] = []
    used = 0
    for i, population in enumerate(populations):
        alone = population.runs > 1
        if groups and not alone and used + population.circuits <= population.circuits_on_chip:
            groups[-1].append(i)
            used += population.circuits
        else:
            groups.append([i])
            used = population.circuits_on_chip if alone else population.circuits
    return [tuple(group) for group in groups]


@dataclass(frozen=True)
class SpikingPlan:
    """How the populations of a spiking network go on the chip.

    Attributes:
        names: of the populations.
        populations: their places, in order.
        groups: which of them share runs: see `share_runs`.
        input_events: the most events of a sample that each population is sent, None if not known.
        seconds: length of a run's time axis.
        substrate: what it is planned for.
        density: of the input, the most entries of its raster that are spikes, None if not known.
        event_driven: whether the simulation multiplies the input event by event.
    """

    names: tuple[str, ...]
    populations: tuple[Population, ...]
    groups: tuple[tuple[int, ...], ...]
    input_events: tuple[int | None, ...]
    seconds: float
    substrate: Substrate
    density: float | None = None
    event_driven: bool = False

    @property
    def places(self) -> dict[str, Population]:
        """The populations by name."""
        return dict(zip(self.names, self.populations, strict=True))

    @property
    def partitions(self) -> int:
        """Runs of the chip per sample."""
        return sum(max(self.populations[i].runs for i in group) for group in self.groups)


def plan_populations(
    names: Sequence[str],
    populations: Sequence[Population],
    input_events: Sequence[int | None],
    seconds: float,
    substrate: Substrate = BSS2,
    density: float | None = None,
    event_driven: bool = False,
) -> SpikingPlan:
    """Plans the runs of a spiking network: populations that fit the chip together share one.

    Args: as the attributes of `SpikingPlan`.
    """
    groups = share_runs(list(populations))
    placed = list(populations)
    for group in groups:
        first = 0
        for i in group:
            placed[i] = replace(placed[i], first_circuit=first)
            first += placed[i].circuits
    return SpikingPlan(
        tuple(names), tuple(placed), tuple(groups), tuple(input_events), seconds, substrate,
        density, event_driven,
    )  # fmt: skip


def describe_populations(plan: SpikingPlan) -> str:
    """Returns a spiking plan as a table, with the number of partitions below it."""
    group_of = {i: number for number, group in enumerate(plan.groups) for i in group}
    header = ("population", "neurons", "fan-in", "circuits per neuron", "neurons per run", "runs")
    rows = [
        (
            name,
            str(place.neurons),
            str(place.inputs),
            str(place.circuits_per_neuron),
            str(place.neurons_per_run),
            str(place.runs),
            f"{place.utilisation:.1%}",
            "-" if events is None else _within(events, plan.substrate.max_input_events),
            "alone" if len(plan.groups[group_of[i]]) == 1 else f"group {group_of[i]}",
        )
        for i, (name, place, events) in enumerate(
            zip(plan.names, plan.populations, plan.input_events, strict=True)
        )
    ]
    full = (*header, "utilisation", "input events per run", "shares")
    plural = "" if plan.partitions == 1 else "s"
    lines = [table(full, rows), "", f"{plan.partitions} partition{plural}"]
    if plan.density is not None:
        how = "event by event" if plan.event_driven else "as a dense raster"
        lines.append(f"input simulated {how}: {plan.density:.1%} of its raster at most are spikes")
    return "\n".join(lines)


def _within(events, most):
    return str(events) if events <= most else f"{events} (over {most})"
