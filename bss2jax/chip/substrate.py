"""The numbers of the BrainScaleS-2 substrate, each with its source.

References: beside the numbers; in full in `Substrate`.
"""

from dataclasses import dataclass, fields

from bss2jax.arrays import as_number


@dataclass(frozen=True)
class Substrate:
    """The fixed numbers of one analog chip.

    Frozen and hashable: a static argument of every jitted function that needs it. A user who
    wants another substrate writes `dataclasses.replace(BSS2, columns=128)`.

    Attributes:
        hemispheres: synapse arrays, used side by side in one configuration, 1 or 2.
        rows: signed inputs of an array.
        columns: neuron circuits of an array.
        weight_max: largest weight of a synapse, LSB.
        activation_max: largest input of a matrix product, LSB.
        readout_min: least readout, LSB.
        readout_max: largest readout, LSB.
        linear_range: largest readout up to which readouts are linear, LSB.
        gain: LSB of readout for an activation of 1 times a weight of 1, sent once.
        cadc_period: time from one sample of a membrane to the next, s.
        max_input_events: most events of a sample that one run takes.
        run_wait: time before a spiking run, s.
        cadc_start: time until membranes are sampled in a spiking run, s.
        fast_run: time of a sample and the pause after it where the chip goes on by itself, s.
        fast_reset: time of a reset where the chip goes on by itself, s.
        power_spiking: power of the chip in spiking operation, W.
        event_interval: time from one event of a driver to the next, s.
        wait_between_events: event intervals from the event of one row to that of the next.
        baseline_read: time to read the baseline before a matrix product, s.
        reset: time to reset the membranes, s.
        settle: time to settle before and after the events of a matrix product, s.
        read_result: time to read the result of a matrix product, s.
        power_min: least power of the chip in matrix products, W.
        power_max: largest power of the chip in matrix products, W.
        power_system: power of a whole mobile system, W.
        link_rate: bits a second from the host, which writes a byte a synapse.

    Raises:
        ValueError: a number is none, not above 0 or not whole, or ranges are the wrong way round.

    References: hxtorch `constants`, haldls/halco (sizes), hxtorch `perceptron/mock` (gain),
    grenade `compute/mac` (times); Cramer et al. 2022, Weis et al. 2020, Stradmann et al. 2021
    (power).
    """

    hemispheres: int = 2  # halco: two synapse arrays, used side by side in one configuration
    rows: int = 128  # hxtorch: signed inputs per array, a pair of synapse rows each
    columns: int = 256  # halco: neuron columns per array
    weight_max: int = 63  # hxtorch: 6-bit weight, the sign is the row's
    activation_max: int = 31  # hxtorch: 5-bit input, the pulse length of the synapse driver
    readout_min: int = -128  # halco: 8-bit CADC, signed after the baseline is subtracted
    readout_max: int = 127
    linear_range: float = 80.0  # brainscales2-demos tp_01: readouts are linear from -80 to 80 LSB
    gain: float = 0.002  # hxtorch mock parameter: LSB of readout per activation x weight and send

    # Spiking operation.
    cadc_period: float = 1.7e-6  # calix: the fastest sampling of a membrane trace
    max_input_events: int = 4096  # assumed
    run_wait: float = 50e-6  # grenade; reset and settle below are beside it
    cadc_start: float = 15e-6  # grenade
    fast_run: float = 10e-6  # Cramer et al. 2022
    fast_reset: float = 1.8e-6  # Cramer et al. 2022
    power_spiking: float = 0.2  # Cramer et al. 2022

    # Time of one matrix product, seconds (grenade `compute/mac`).
    event_interval: float = 8e-9  # one event per 8 ns and driver (125 MHz)
    wait_between_events: int = 5  # event intervals from one row's event to the next
    baseline_read: float = 20e-6
    reset: float = 4e-6
    settle: float = 2e-6  # 1 us before and 1 us after the events
    read_result: float = 10e-6

    # Power of the chip in matrix products, watts: the sources disagree, so a span.
    power_min: float = 0.3  # a project page on Weis et al. 2020, unverified
    power_max: float = 0.70  # Stradmann et al. 2021: 192 uJ in 276 us
    power_system: float = 5.6  # Stradmann et al. 2021: the whole mobile system

    # What it takes to change a configuration.
    link_rate: float = 1e9  # assumed: bits per second from the host; a byte per synapse

    @property
    def run_overhead(self) -> float:
        """Time around the time axis of a spiking run, s."""
        return self.run_wait + self.cadc_start + self.reset + self.settle

    @property
    def peak(self) -> float:
        """Multiplications a second of all columns, while each driver sends event after event."""
        return self.hemispheres * self.columns / self.event_interval

    def circuits_for(self, inputs: int) -> int:
        """Returns the neuron circuits that a fan-in joins to a neuron: even above one."""
        needed = -(-inputs // self.rows)
        return needed if needed <= 1 else needed + needed % 2

    def holds(self, inputs: int, neurons: int) -> bool:
        """Returns whether neurons of some fan-in are on a chip at once: one piece of a plan."""
        return neurons * self.circuits_for(inputs) <= self.hemispheres * self.columns

    def __repr__(self) -> str:
        other = {f.name: getattr(self, f.name) for f in fields(self)}
        other = {f.name: other[f.name] for f in fields(self) if other[f.name] != f.default}
        changed = "".join(f", {name}={value!r}" for name, value in other.items())
        return f"replace(BSS2{changed})" if changed else "BSS2"

    def __post_init__(self) -> None:
        for field in fields(self):
            given, whole = getattr(self, field.name), isinstance(field.default, int)
            value = as_number(given)
            if value is None:
                raise ValueError(f"Substrate.{field.name}: expected a number, got {given!r}")
            if field.name != "readout_min" and not value > 0:
                raise ValueError(f"Substrate.{field.name}: expected a value > 0, got {value!r}")
            if whole and value != int(value):
                raise ValueError(f"Substrate.{field.name}: expected a whole number, got {value!r}")
            object.__setattr__(self, field.name, int(value) if whole else value)
        if self.hemispheres not in (1, 2):
            raise ValueError(f"Substrate.hemispheres: expected 1 or 2, got {self.hemispheres}")
        if self.readout_min >= self.readout_max:
            raise ValueError(
                "Substrate: readout_min must lie below readout_max, "
                f"got {self.readout_min} and {self.readout_max}"
            )


BSS2 = Substrate()
