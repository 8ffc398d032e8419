"""One specimen of the chip: its fixed pattern, by physical place, as a pytree.

Nobody published the spreads of a chip per quantity. Those of the default chip, `calibrated`, were
chosen so, for matrix products:

- noise: Summ26 measured 5.4 LSB over 20 chunks at 2 sends, 1.5 and 1.7 LSB at 4; variances
  1.46 and 2.57 lie on .35 + .56 num_sends.
- gain and offset: ten columns at 100 x 15 x 21 read 55..63 on silicon (brainscales2-demos tp_01).
  The range of ten normals is 3.08 spreads, so a column spread of 2.6 LSB in all, of which noise and
  synapses leave 2.4 for gain and offset.
- synapse: assumed; PSPs of silicon's neurons differ by 15 to 17 % (Cramer 2023), of which synapses
  are a part. driver: two thirds of the limit that calix tests, 4 LSB of 63.
- inhibitory: that figure is of positive weights, and says nothing of negative ones. A network moved
  to silicon untrained fell from 98.1 to 92.1 % (Weis et al. 2020), which the spreads above do not
  explain: they leave 98. So the signs of a column differ, at random, by 12.6 LSB of 63; calix
  accepts 10 from neuron to neuron. Fitted with `configs/mnist_ladder.toml` on chips 0..9, 93.7 +-
  4.0 % moved, checked on 40..49: 92.0 +- 6.2 (`experiments/spreads.py`). One chip was published.
  Synapses that differ by 35 % would explain the loss as well, but spiking silicon shows less
  (`experiments/homeostasis.py`).
- The preset `kinked` has the loss of negative weights that are 15 % weaker on all columns instead,
  a kink where silicon shows a line (tp_01). It was the default before 2026-11-26.
- compression: assumed.

The uncalibrated chip is assumed throughout: what the analog cells of a chip give when all are set
alike.

References: temperature effects in analog DNN inference, Heidelberg 2026 (Summ26);
brainscales2-demos tp_01; calix; Weis et al. 2020, arXiv 2006.13177; DelGrad,
10.1038/s41467-025-63120-y.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.arrays import as_array, pytree
from bss2jax.chip import draws
from bss2jax.chip.circuits import Circuits
from bss2jax.chip.measurements import read_measurements
from bss2jax.chip.quantities import (
    COLUMN,
    DRIVER,
    SHARE,
    SYNAPSE,
    Amount,
    Cell,
    Deviation,
    Factor,
    Noise,
    Presets,
    arrays_of,
    built,
    group,
    quantities_of,
    quantity,
    spread,
    spreads_of,
)
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.text import Told, page


@dataclass(frozen=True)
class Mismatch(Presets):
    """How far specimens spread: what the quantities of a chip are drawn with.

    Numbers are the standard deviations of the quantities that they spread, or as their declaration
    says; see `quantity` for the quantities. Those that are a share 0..1, a shift or a temperature
    act on several.

    Raises:
        ValueError: a value is not finite, negative where it cannot be, or a share above 1.

    References: DelGrad, 10.1038/s41467-025-63120-y (threshold, jitter); for matrix products see the
    module; the others are assumed.
    """

    synapse: float = spread(0.10)
    driver: float = spread(0.04, 0.10, source="calix, two thirds of its limit")
    gain: float = spread(0.03, 0.20, source="tp_01")
    offset: float = spread(1.5, 15.0, source="tp_01")
    noise_std: float = spread(0.6, source="Summ26", config="noise.std")
    send_noise: float = spread(0.75, source="Summ26", config="noise.send")
    inhibitory: float = spread(0.20, source="fitted to Weis et al. 2020")
    inhibitory_shift: float = spread(
        0.0,
        source="tp_01",
        meaning="by how much the gain of negative weights differs on all columns",
        unit="factor",
        least=-math.inf,
    )
    compression: float = spread(0.01)
    dead_synapses: float = spread(
        0.0, 1e-4, meaning="synapses that give nothing", unit="share", most=1.0
    )
    dead_neurons: float = spread(0.0, meaning="neurons that give nothing", unit="share", most=1.0)
    temperature: float = spread(
        0.0,
        source="Summ26, in part",
        meaning="how much warmer the chip is than when it was calibrated",
        unit="K",
        least=-math.inf,
    )

    leak: float = spread(0.03, 0.25)
    reset: float = spread(0.03, 0.25)
    threshold: float = spread(0.031, 0.25, source="DelGrad")
    threshold_shift: float = spread(
        0.05, source="DelGrad", meaning="by how much all thresholds lie too high", unit=SHARE
    )
    tau_mem: float = spread(0.10, 0.35)
    tau_syn: float = spread(0.10, 0.35)
    strength: float = spread(0.10, 0.30)
    # Of the exponential and the adaptation nobody published a spread: as synaptic time constants.
    tau_w: float = spread(0.05, 0.35)
    a: float = spread(0.05, 0.35)
    b: float = spread(0.05, 0.35)
    delta_t: float = spread(0.05, 0.35)
    v_t: float = spread(0.03, 0.25)
    reversal: float = spread(0.10, 0.25)
    tau_icc: float = spread(0.10, 0.35)  # as synaptic time constants, too
    threshold_noise: float = spread(0.015, source="DelGrad", config="noise.threshold")
    jitter: float = spread(60e-9, source="DelGrad", config="noise.jitter")
    membrane_noise: float = spread(0.0, config="noise.membrane")

    @classmethod
    def kinked(cls) -> "Mismatch":
        """Returns a calibrated chip on which all negative weights are 15 % weaker.

        It was the default, and serves to ask what such a systematic difference does, which no
        spread from place to place has.
        """
        return cls(inhibitory_shift=-0.15, inhibitory=0.10)


SPREADS = spreads_of(Mismatch)


@pytree
@dataclass(frozen=True, eq=False, repr=False)
class Chip:
    """The fixed pattern of one chip: what differs from place to place and stays.

    H hemispheres, R signed rows, C columns; the two signs are (excitatory, inhibitory). Synapses
    are `[H, 2, R, C]`, drivers `[H, R]`, columns `[H, C]`; see `quantity` for what a declaration
    says. Layers and blocks that run one after the other on the same array meet the same pattern. A
    stack of chips is this same pytree with a leading axis: draw one with
    `jax.vmap(sample_chip)(keys)`. Two chips are equal where they are the same object.
    """

    synapse_gain: jax.Array = quantity(
        "strength of the synapses", SYNAPSE, Factor(), spread="synapse", key=(0,)
    )
    driver_gain: jax.Array = quantity(
        "pulse length of the drivers", DRIVER, Factor(), spread="driver", key=(1,),
        # Drivers are told apart by all columns together, which takes equal ones, and move their
        # gain a little.
        cells=(
            Cell("driver", number=2, bits=5, span=0.4, tolerance=0.06, limit=0.3,
                 disturbs=("gain",)),
        ),
    )  # fmt: skip
    column_gain: jax.Array = quantity(
        "gain", COLUMN, Factor(), spread="gain", key=(2,), measured="gain",
        cells=(Cell("gain", number=1, bits=10, span=1.2, tolerance=0.03, limit=0.3),),
    )  # fmt: skip
    offset: jax.Array = quantity(
        "offset of a read", COLUMN, Deviation("LSB"), key=(3,), measured="offset",
        cells=(Cell("offset", number=0, bits=10, span=70.0, tolerance=1.0, limit=0.3),),
    )  # fmt: skip
    noise_std: jax.Array = quantity("noise of a read", COLUMN, Noise("LSB"), measured="noise_std")
    # The variance of a readout is noise_std^2 + num_sends send_noise^2.
    send_noise: jax.Array = quantity("noise of a send", COLUMN, Noise("LSB"))
    inhibitory_gain: jax.Array = quantity(
        "inhibitory over excitatory gain", COLUMN, Factor(), spread="inhibitory", key=(16,),
        shift="inhibitory_shift",
        cells=(Cell("inhibitory", number=3, bits=10, span=1.2, tolerance=0.03, limit=0.3),),
    )  # fmt: skip
    # Beyond the linear range an excess e becomes e / (1 + c e).
    compression: jax.Array | None = quantity(
        "compression", COLUMN, Amount("1/LSB"), key=(17,), optional=True
    )
    circuits: Circuits = group(Circuits)

    def __repr__(self) -> str:
        return self._shown()[0]

    def _repr_html_(self) -> str:
        return page(self._shown())

    def _shown(self) -> Told:
        shape, known = np.shape(self.offset), as_array(self.offset)
        size = "×".join(map(str, shape[-2:])) + " columns"
        if known is None:
            return f"Chip({size}, traced)", (), []
        stack = "".join(f"{n} of " for n in shape[:-2])
        title = f"Chip({stack}{size}, offset σ {known.std():.1f} LSB)"
        rows = [
            (name, QUANTITIES[name].meaning, QUANTITIES[name].kind.unit,
             f"{np.mean(array):.3g}", f"{np.std(array):.2g}")
            for name, array in self.quantities().items()
        ]  # fmt: skip
        return title, ("quantity", "meaning", "unit", "mean", "σ"), rows

    def quantities(self) -> dict[str, jax.Array]:
        """Returns all arrays that there are by name, those of the circuits as `circuits.NAME`."""
        return {name: array for name, array in arrays_of(self).items() if array is not None}

    def having(self, arrays: Mapping[str, jax.Array]) -> "Chip":
        """Returns the chip with other arrays, of any shape, by the names of `quantities`."""
        return built(Chip, arrays_of(self) | dict(arrays))

    @classmethod
    def from_measurements(
        cls, path: str | Path, like: "Chip | None" = None, *, substrate: Substrate = BSS2
    ) -> "Chip":
        """Makes a chip of what a laboratory measured of its own: some of gain, offset and noise.

        Args:
            path: an npz or csv: see `read_measurements`.
            like: a chip that has all else, by default an ideal one.
            substrate: the substrate whose array sizes the chip has.

        Raises:
            ChipError: the file cannot be read, a name is unknown, a shape or a value impossible.
        """
        measured = read_measurements(path, QUANTITIES, substrate=substrate)
        arrays = {name: jnp.asarray(array) for name, array in measured.items()}
        if "noise_std" in arrays:  # what was measured is all the noise there is
            arrays["send_noise"] = jnp.zeros_like(arrays["noise_std"])
        return (like or ideal_chip(substrate=substrate)).having(arrays)


QUANTITIES = quantities_of(Chip)
# What acts on several quantities has a key too.
_DEAD, _DRIFT = 18, 19


def ideal_chip(noise_std: float = 0.0, *, substrate: Substrate = BSS2) -> Chip:
    """Returns a chip without fixed pattern.

    With `noise_std=2` and a key in the product it is the reference's software mode.

    Args:
        noise_std: trial noise of every readout, LSB.
        substrate: the substrate whose array sizes the chip has.
    """
    chip = built(Chip, {name: declared.ideal(substrate) for name, declared in QUANTITIES.items()})
    return replace(chip, noise_std=jnp.full_like(chip.noise_std, noise_std))


def sample_chip(
    key: jax.Array, mismatch: Mismatch = Mismatch(), *, substrate: Substrate = BSS2
) -> Chip:
    """Draws a chip: every quantity as it is declared, with a key of its own.

    The specimen depends on nothing but the seed: not on other quantities, on JAX's precision, on
    the implementation of keys that is the default, nor on `jax_threefry_partitionable`. Keys that
    `jax.random.split` made depend on the last of these by themselves.

    Args:
        key: decides the specimen; `jax.random.key(n)` is chip number n everywhere in bss2jax.
        mismatch: the spreads.
        substrate: the substrate whose array sizes the chip has.

    Returns:
        A `Chip` of float32 arrays.
    """
    key = draws.pinned(key)
    drawn = {name: q.sample(key, mismatch, substrate) for name, q in QUANTITIES.items()}
    chip = built(Chip, drawn)
    if mismatch.dead_synapses or mismatch.dead_neurons:
        chip = _with_dead(chip, draws.folded(key, _DEAD), mismatch)
    if mismatch.temperature:
        chip = at_temperature(chip, mismatch.temperature, draws.folded(key, _DRIFT))
    return chip


def at_temperature(chip: Chip, kelvin: float, key: jax.Array) -> Chip:
    """Returns a chip that is warmer than when it was calibrated, and was not calibrated again.

    Gain, noise and pattern move, as measured by Summ26; the sizes are assumed, and so is the sign
    of the change of gain: synaptic currents fall with mobility, .2 % per K. Trial noise is thermal
    and goes with the root of the absolute temperature. Each column drifts by itself: its gain by
    .1 % and its offset by .1 LSB per K, as standard deviations.

    Args:
        chip: the chip as calibrated, at 300 K.
        kelvin: how much warmer it is, K; negative for colder.
        key: decides the specimen: the direction in which each column drifts.
    """
    key, shape = draws.pinned(key), chip.offset.shape
    drift = draws.around(draws.folded(key, 0), 0.001 * kelvin, shape, 1.0 - 0.002 * kelvin)
    noisier = jnp.sqrt(jnp.maximum(jnp.asarray(1.0 + kelvin / 300.0, jnp.float32), 0.0))
    return replace(
        chip,
        column_gain=jnp.maximum(chip.column_gain * drift, 0.0),
        offset=chip.offset + draws.around(draws.folded(key, 1), 0.1 * kelvin, shape),
        noise_std=chip.noise_std * noisier,
        send_noise=chip.send_noise * noisier,
    )


def _with_dead(chip: Chip, key: jax.Array, mismatch: Mismatch) -> Chip:
    """Synapses without strength; neurons that no synapse reaches: they never spike or deflect."""
    synapses, neurons = chip.synapse_gain, chip.column_gain
    dead_synapses, dead_neurons = (
        draws.uniform(draws.folded(key, i), shape) >= 1 - share
        for i, shape, share in (
            (0, synapses.shape, mismatch.dead_synapses),
            (1, neurons.shape, mismatch.dead_neurons),
        )
    )
    strength = jnp.where(dead_neurons[None], 0.0, chip.circuits.strength)
    return replace(
        chip,
        synapse_gain=jnp.where(dead_synapses, 0.0, synapses),
        column_gain=jnp.where(dead_neurons, 0.0, neurons),
        circuits=replace(chip.circuits, strength=strength),
    )
