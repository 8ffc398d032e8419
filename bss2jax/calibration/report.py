"""Chips and measurements of them as text."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bss2jax.calibration.products import (
    Characterisation,
    characterise,
    estimate_mismatch,
    measure_gain_and_noise,
)
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.text import table


def figures_of(chip: Chip) -> dict[str, dict[str, Any]]:
    """Returns shape, mean, spread and extremes of each of a chip's quantities."""
    return {
        name: {
            "shape": a.shape,
            "mean": float(a.mean()),
            "std": float(a.std()),
            "least": float(a.min()),
            "most": float(a.max()),
        }
        for name, a in _numbers(chip).items()
    }


def describe_chip(chip: Chip) -> str:
    """Returns mean, spread and extremes of each of a chip's quantities as a table."""
    rows = []
    for name, figures in figures_of(chip).items():
        shape = "x".join(map(str, figures.pop("shape"))) or "1"
        rows.append((name, shape, *(f"{value:.4g}" for value in figures.values())))
    return table(("quantity", "places", "mean", "std", "least", "most"), rows)


def compare_chips(one: Chip, other: Chip) -> str:
    """Returns how alike two chips are: spreads, root mean square difference, correlation.

    Raises:
        ValueError: they are of different sizes.
    """
    first, second = _numbers(one), _numbers(other)
    rows = []
    for name in {**first, **second}:
        # Where there is no soft saturation a chip has no array for it.
        a = first.get(name, np.zeros_like(second.get(name, 0.0)))
        b = second.get(name, np.zeros_like(a))
        if a.shape != b.shape:
            raise ValueError(f"{name}: the chips have {a.shape} and {b.shape} places")
        varied = a.std() > 0 and b.std() > 0
        alike = f"{np.corrcoef(a.ravel(), b.ravel())[0, 1]:.3f}" if varied else "-"
        difference = np.sqrt(((a - b) ** 2).mean())
        rows.append((name, f"{a.std():.4g}", f"{b.std():.4g}", f"{difference:.4g}", alike))
    return table(("quantity", "std, first", "std, second", "difference", "correlation"), rows)


def describe_characterisation(
    chip: Chip,
    key: jax.Array,
    *,
    substrate: Substrate = BSS2,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Measures a chip and returns what came out: columns, noise and pattern, spreads.

    Args:
        chip: the chip to measure.
        key: decides the trial noise.
        substrate: the substrate whose array sizes the chip has.
        on_step: called before each measurement with the number done and the number of all.
    """
    k_sweep, k_gain, k_spreads = draws.split(key, 3)
    on_step(0, 3)
    sweep = jax.block_until_ready(characterise(chip, k_sweep, substrate=substrate))
    on_step(1, 3)
    gain, noise = map(float, measure_gain_and_noise(chip, k_gain, substrate=substrate))
    on_step(2, 3)
    estimates = estimate_mismatch(chip, k_spreads, substrate=substrate)
    spreads = [(n, f"{v:.4g}") for n, v in vars(estimates).items() if v]
    return (
        f"{describe_sweep(sweep)}\n\n"
        f"gain {gain:.5f} LSB, noise {noise:.2f} LSB over the whole chip, as hxtorch measures them "
        f"(nominal {substrate.gain} LSB)\n\n"
        f"{table(('spread', 'estimate'), spreads)}"
    )


def describe_sweep(sweep: Characterisation) -> str:
    """Returns what a sweep of the weights shows, over columns, as a table."""
    middle = np.abs(np.asarray(sweep.product)) < 60
    noise = np.asarray(sweep.trial_noise)[middle]
    pattern = np.asarray(sweep.fixed_pattern)[middle]
    columns = {
        "gain, 1 = nominal": sweep.gain,
        "gain of negative over positive weights": sweep.inhibitory_gain,
        "offset, LSB": sweep.offset,
        "trial noise, LSB": sweep.noise_std,
        "largest deviation from linear, LSB": sweep.nonlinearity,
        "largest mean readout, LSB": sweep.mean.max(0),
        "least mean readout, LSB": sweep.mean.min(0),
        "soft saturation beyond 80 LSB, 1/LSB": sweep.compression,
    }
    rows = [
        (name, *(f"{f(a):.3g}" for f in (np.nanmean, np.nanstd, np.nanmin, np.nanmax)))
        for name, a in ((name, np.asarray(array)) for name, array in columns.items())
    ]
    return (
        table(("of each column", "mean", "std", "least", "most"), rows)
        + f"\n\nfrom trial to trial {np.sqrt((noise**2).mean()):.2f} LSB (std over runs), from "
        f"column to column {pattern.min():.2f} to {pattern.max():.2f} LSB\n"
        "(std over columns of the means), at nominal readouts of -60 to 60 LSB"
    )


def _numbers(chip: Chip) -> dict[str, np.ndarray]:
    return {name: np.asarray(array, np.float64) for name, array in chip.quantities().items()}
