"""Where spiking populations go on the chip: circuits per neuron, neurons at once.

A neuron circuit takes 128 signed inputs. Larger fan-in joins c circuits to a neuron: c is the
number of circuits that the inputs need, rounded up to even above one, as both neuron rows take
part. There are no digital partial sums: a population that does not fit is cut by neurons, and the
cuts run one after the other, each with its whole time axis. Neurons with receptive fields are cut
by positions, and only then by the channels of one position.

References: Arnold et al. 2025; brainscales2-demos ts_13. That c is even is assumed (7 -> 8 is
published).
"""

import hashlib
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.mapping import pieces
from bss2jax.mapping.pieces import (
    CHIP,
    CIRCUIT,
    CIRCUIT_STOP,
    COLUMN,
    COLUMN_STOP,
    CONFIGURATION,
    Footprint,
)


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
        substrate: the substrate whose sizes apply.

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

    def __post_init__(self) -> None:
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
            outside, c = self.inputs - self.neurons, self.circuits_per_neuron
            most = circuits // c if outside < 0 else self._most_recurrent(outside)
            raise ValueError(
                f"a recurrent population must be on the chip as a whole: {self.neurons} neurons of "
                f"fan-in {self.inputs} need {self.circuits} circuits, {self.circuits - circuits} "
                f"more than there are; {most} neurons would fit. Take "
                "fewer neurons, fewer recurrent inputs a neuron, or a system of chips (plan.system)"
            )

    @property
    def circuits_on_chip(self) -> int:
        """Neuron circuits that there are."""
        return self.substrate.hemispheres * self.substrate.columns

    @property
    def circuits_per_neuron(self) -> int:
        """Circuits that the fan-in joins to a neuron: even above one."""
        return self.substrate.circuits_for(self.inputs)

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
        return self.runs_of_positions * -(-self.channels // self.channels_per_run)

    @property
    def runs_of_positions(self) -> int:
        """Runs that it takes to have been at all positions, with channels_per_run of each."""
        return -(-self.positions // self.positions_per_run)

    def neurons_in(self, run: int) -> int:
        """Returns the neurons of a run: fewer where positions or channels are left over."""
        part, tile = divmod(run, self.runs_of_positions)
        positions = min(self.positions_per_run, self.positions - tile * self.positions_per_run)
        return positions * min(self.channels_per_run, self.channels - part * self.channels_per_run)

    @property
    def utilisation(self) -> float:
        """Share of the circuits of all its runs that are used."""
        return self.circuits / (self.runs * self.circuits_on_chip)

    def members(self) -> np.ndarray:
        """Returns the circuits `[n, c]` that each neuron of a run is joined of.

        Neurons go position by position, channels inside.
        """
        n, c = self.neurons_per_run, self.circuits_per_neuron
        return self.first_circuit + np.arange(n * c).reshape(n, c)

    def in_run(self) -> np.ndarray:
        """Returns, for each of all neurons `[N]`, which one of its run's it is."""
        position, channel = np.divmod(np.arange(self.neurons), self.channels)
        within = position % self.positions_per_run * self.channels_per_run
        return within + channel % self.channels_per_run

    def run_of(self) -> np.ndarray:
        """Returns, for each of all neurons `[N]`, the run that it is in."""
        position, channel = np.divmod(np.arange(self.neurons), self.channels)
        part, tile = channel // self.channels_per_run, position // self.positions_per_run
        return part * self.runs_of_positions + tile

    def _most_recurrent(self, outside: int) -> int:
        fits = (
            n
            for n in range(self.neurons, 0, -1)
            if Population(outside + n, 1, substrate=self.substrate).circuits_per_neuron * n
            <= self.circuits_on_chip
        )
        return next(fits, 0)


@dataclass(frozen=True)
class PopulationPlace:
    """Where the neurons of a population are, for the executor; hashed and compared by a digest.

    Attributes:
        inputs: fan-in of a neuron.
        substrate: the substrate whose circuits they are.
        chip: `[N]` number of the chip of each neuron.
        circuits: `[N, c]` the circuits of that chip that each neuron is joined of.
        configuration: `[N]` when each neuron is on the chip.
    """

    inputs: int
    substrate: Substrate
    chip: np.ndarray = field(compare=False, repr=False)
    circuits: np.ndarray = field(compare=False, repr=False)
    configuration: np.ndarray = field(compare=False, repr=False)
    digest: bytes = b""

    @classmethod
    def of(
        cls, inputs: int, substrate: Substrate, chip: np.ndarray, circuits: np.ndarray,
        configuration: np.ndarray,
    ) -> Self:  # fmt: skip
        """Returns the place with its digest; the arrays can no longer be written to."""
        arrays = (chip, circuits, configuration)
        for array in arrays:
            array.setflags(write=False)
        digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()
        return cls(inputs, substrate, chip, circuits, configuration, digest)


@dataclass(frozen=True)
class PopulationDemand:
    """What a population of spiking neurons asks of the chip.

    Attributes:
        inputs: fan-in of a neuron, recurrent inputs included.
        neurons: N, of all positions.
        positions: P, where the neurons have receptive fields: N / P channels look at each.
        recurrent: whether it must be on the chip as a whole.
        parts: the least number of configurations that the positions are cut into, where the input
            of one would be too dense.
        input_events: the most events that one configuration is sent in a sample, None if not known.
        density: the density of the network's input, the most entries of its raster that are spikes,
            None if not known or not the first layer.
        event_driven: whether the simulation multiplies that input event by event.
    """

    inputs: int
    neurons: int
    positions: int = 1
    recurrent: bool = False
    parts: int = 1
    input_events: int | None = None
    density: float | None = None
    event_driven: bool = False

    def on(self, substrate: Substrate, first: int = 0) -> Population:
        """Returns the arithmetic of the population on a chip, from circuit `first` on.

        Raises:
            ValueError: the chip cannot hold it: see `Population`.
        """
        return Population(
            self.inputs, self.neurons, self.recurrent, self.positions, self.parts, first, substrate
        )

    @property
    def size(self) -> int:
        """Neurons."""
        return self.neurons

    def joined(self, substrate: Substrate) -> int:
        """Returns the circuits that are joined to a neuron."""
        return Population(self.inputs, 1, substrate=substrate).circuits_per_neuron

    def shares(self, substrate: Substrate) -> tuple[int, str]:
        """Returns the neurons, or channels; 1 of those on one chip, which each device has all."""
        alone = substrate.holds(self.inputs, self.neurons)
        return (
            1 if alone else self.neurons // self.positions,
            "neurons" if self.positions == 1 else "channels",
        )

    def circuits(self, substrate: Substrate) -> int | None:
        """Returns the circuits that it takes, None where it takes several configurations."""
        place = self.on(substrate)
        return place.circuits if place.runs == 1 else None

    def pieces(self, substrate: Substrate, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns a piece for each configuration, and the circuits of all neurons.

        Args:
            substrate: the substrate whose circuits they are.
            first: circuit where it starts; not 0 where it shares a configuration.

        Returns:
            Rows of a plan's table, `[n, 11]`, on chip 0, configurations counted from 0; and the
            (chip, circuit) of all neurons, `[N c, 2]`.
        """
        place = self.on(substrate, first)
        c, configuration = place.circuits_per_neuron, place.run_of()
        circuit = place.members()[place.in_run()]
        # Several positions with all their channels, or some channels of one position: neighbours.
        starts = np.flatnonzero(np.diff(configuration, prepend=-1))
        stops = np.append(starts[1:], self.neurons)
        order = np.argsort(configuration[starts], kind="stable")
        starts, stops = starts[order], stops[order]
        rows = pieces.table(
            len(starts),
            part=np.arange(len(starts)),
            configuration=configuration[starts],
            row_stop=self.inputs,
            column=starts,
            column_stop=stops,
            circuit=starts * c,
            circuit_stop=stops * c,
        )
        chip = np.zeros(self.neurons * c, np.int32)
        return rows, np.column_stack([chip, circuit.ravel()]).astype(np.int32)

    def place(
        self, rows: np.ndarray, circuits: np.ndarray, substrate: Substrate
    ) -> PopulationPlace:
        """Returns where each neuron is.

        Args:
            rows: `[n, 11]` the population's pieces, in any order.
            circuits: `[m, 2]` the plan's (chip, circuit).
            substrate: the substrate whose circuits they are.

        Raises:
            ValueError: a neuron is in no piece, or in several.
        """
        listed, configuration = pieces.neuron_by_neuron(rows, circuits, self.neurons)
        circuit = np.ascontiguousarray(listed[:, :, 1])
        return PopulationPlace.of(self.inputs, substrate, listed[:, 0, 0], circuit, configuration)

    def spent(self, rows: np.ndarray, axis: float, substrate: Substrate) -> np.ndarray:
        """Returns the time of each of the pieces `[n, 11]` for one sample, `[n, 3]` s.

        It is the time axis, in which events come; waiting; and start of the readout, and reset.

        References: grenade (overhead of a run).
        """
        s = substrate
        each = axis, s.run_wait + s.settle, s.cadc_start + s.reset
        return np.tile(each, (len(rows), 1))

    def operations(self, rows: np.ndarray) -> int:
        """Returns how many weights pieces `[n, 11]` multiply a sample, with a spike an input."""
        return self.inputs * int((rows[:, COLUMN_STOP] - rows[:, COLUMN]).sum())

    def fast_seconds(self, axis: float, substrate: Substrate) -> float | None:
        """Returns the time of a sample where the chip goes from one to the next by itself, s.

        References: Cramer et al. 2022.
        """
        return min(axis, substrate.fast_run) + substrate.fast_reset

    def events(self, rows: np.ndarray) -> int | None:
        """Returns the most input events of a sample, None where they are not known.

        Args:
            rows: `[n, 11]` the population's pieces.
        """
        return None if self.input_events is None else self.input_events * len(rows)

    def power(self, substrate: Substrate) -> tuple[float, float]:
        """Returns the power of the chip, W, twice."""
        return substrate.power_spiking, substrate.power_spiking

    def footprint(self, row: np.ndarray, circuits: np.ndarray, substrate: Substrate) -> Footprint:
        """Returns the rows in use of the columns of each array on which the piece's circuits are.

        Circuit i is on array i mod 2, column i div 2; input k on member k div 128 of its neuron.

        Args:
            row: `[11]` the piece.
            circuits: `[m, 2]` the plan's (chip, circuit).
            substrate: the substrate whose arrays they are.

        Returns:
            Array, first column and `[columns]` rows in use, of each array.
        """
        circuit = circuits[row[CIRCUIT] : row[CIRCUIT_STOP], 1]
        c = len(circuit) // (row[COLUMN_STOP] - row[COLUMN])
        rows = np.clip(self.inputs - np.arange(c) * substrate.rows, 0, substrate.rows)
        return pieces.footprint(circuit, np.tile(rows, len(circuit) // c), substrate.hemispheres)

    def facts(self, rows: np.ndarray, substrate: Substrate) -> dict[str, object]:
        """Returns what `describe` says of the layer."""
        c, on_chip = self.joined(substrate), substrate.hemispheres * substrate.columns
        runs, at = np.unique(rows[:, [CHIP, CONFIGURATION]], axis=0, return_inverse=True)
        neurons = np.bincount(at.ravel(), rows[:, COLUMN_STOP] - rows[:, COLUMN])
        events: object = self.input_events
        if self.input_events is None:
            events = "-"
        elif self.input_events > substrate.max_input_events:
            events = f"{self.input_events} (over {substrate.max_input_events})"
        return {
            "neurons": self.neurons,
            "fan-in": self.inputs,
            "circuits per neuron": c,
            "neurons at once": int(neurons.max()),
            "configurations": len(runs),
            "utilisation": self.neurons * c / (len(runs) * on_chip),
            "input events": events,
        }

    def costs(self, rows: np.ndarray) -> dict[str, object]:
        """Returns nothing, whatever the rows `[n, 11]`: every configuration takes its time axis."""
        del rows
        return {}

    def remarks(self, configurations: int) -> tuple[str, ...]:
        """Returns how many configurations there are, and how the input is simulated."""
        lines = [f"{configurations} configuration{'' if configurations == 1 else 's'}"]
        if self.density is not None:
            how = "event by event" if self.event_driven else "as a dense raster"
            lines.append(
                f"input simulated {how}: {self.density:.1%} of its raster at most are spikes"
            )
        return tuple(lines)
