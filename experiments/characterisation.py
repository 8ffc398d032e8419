"""The characterisation of the matrix product: what each column gives for each weight.

    python experiments/characterisation.py seed=0

As on silicon (brainscales2-demos tp_01): weights -63..63 over 127 columns, constant inputs of 0, 3
and 7 at 128 rows, 30 runs, error bars. Writes `characterisation.md` and `characterisation.png`,
with the published point beside it: ten columns at 100 x 15 x 21 read 55..63. `preset=kinked` is a
chip with a kink between negative and positive weights, which silicon does not show.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from study import COLOURS, figure, parser, write

from bss2jax import BSS2, Chip, load_chip, matmul, sample_chip
from bss2jax.calibration.products import characterise, measure_gain_and_noise
from bss2jax.calibration.report import describe_sweep
from bss2jax.config import load_specimen

ACTIVATION, RUNS = 8, 30
INPUTS = (0, 3, 7)  # of the published figure


def weight_over_columns(chip: Chip, key: jax.Array, value: int) -> tuple[np.ndarray, np.ndarray]:
    """The published figure for an input of all 128 rows: column i has weight i - 63.

    Returns mean and std over runs, `[127]`.
    """
    weights = np.arange(-BSS2.weight_max, BSS2.weight_max + 1)
    x = jnp.full((RUNS, BSS2.rows), float(value))
    y = matmul(x, np.broadcast_to(weights, (BSS2.rows, len(weights))), chip, key)
    return np.asarray(y.mean(0)), np.asarray(y.std(0, ddof=1))


def published_point(chip: Chip, key: jax.Array) -> np.ndarray:
    """Reads all columns at 100 rows of activation 15 and weight 21: `[512]`."""
    columns = BSS2.hemispheres * BSS2.columns
    return np.asarray(matmul(np.full((1, 100), 15.0), np.full((100, columns), 21.0), chip, key)[0])


def describe_point(y: np.ndarray) -> str:
    """Compares the columns at the published point with the ten that were published."""
    groups = y[: len(y) // 10 * 10].reshape(-1, 10)
    ranges = np.ptp(groups, axis=1)
    return (
        f"at 100 x 15 x 21: mean {y.mean():.1f}, std over columns {y.std():.2f} LSB; ten columns "
        f"span {ranges.mean():.1f} LSB\non average, 8 or less in {np.mean(ranges <= 8):.0%} "
        "of the groups; on silicon ten columns read 55..63, a span of 8"
    )


def draw(chip: Chip, key: jax.Array, out: Path) -> None:
    """Draws the published figure, and all columns' noise and pattern beside it."""
    *k_inputs, k_sweep = jax.random.split(key, len(INPUTS) + 1)
    sweep = characterise(chip, k_sweep, activation=ACTIVATION, runs=RUNS)
    weights = np.asarray(sweep.weights)
    blue, red, green, grey = COLOURS
    with figure(out / "characterisation.png", panels=2, width=9.0) as (left, right):
        left.axhspan(-80, 80, color=grey, alpha=0.12, label="linear on silicon")
        look = {"fmt": ".", "markersize": 4, "elinewidth": 1}
        for value, k, colour in zip(INPUTS, k_inputs, (green, blue, red), strict=True):
            mean, std = weight_over_columns(chip, k, value)
            nominal = np.clip(BSS2.gain * BSS2.rows * value * weights, -128, 127)
            left.plot(weights, nominal, color=grey, linewidth=1)
            left.errorbar(weights, mean, std, color=colour, label=f"input {value}", **look)
        left.set(xlabel="weight, one a column", ylabel=f"readout (LSB), {RUNS} runs")
        right.plot(weights, sweep.fixed_pattern, color=red, label="fixed pattern: columns' means")
        right.plot(weights, sweep.trial_noise, color=blue, label="noise: over runs")
        right.set(xlabel="weight", ylabel="std (LSB)", ylim=(0, None))


def main(arguments: list[str] | None = None) -> None:
    made = parser(__doc__, config=False)
    made.add_argument("--file", type=Path, help="a chip in a file, instead")
    parsed = made.parse_args(arguments)
    specimen = load_specimen(parsed.overrides)
    chip = sample_chip(jax.random.key(specimen.seed), specimen.mismatch)
    if parsed.file:
        chip = load_chip(parsed.file)
    out = parsed.out or Path("runs/characterisation")
    out.mkdir(parents=True, exist_ok=True)
    k_sweep, k_gain, k_point, k_figure = jax.random.split(jax.random.key(0), 4)
    sweep = describe_sweep(characterise(chip, k_sweep, activation=ACTIVATION, runs=RUNS))
    gain, noise = measure_gain_and_noise(chip, k_gain)
    draw(chip, k_figure, out)
    text = (
        f"{sweep}\n\n{describe_point(published_point(chip, k_point))}\n\n"
        f"gain {float(gain):.5f}, noise {float(noise):.2f} LSB, as the reference measures them"
    )
    write(text, out, "characterisation")


if __name__ == "__main__":
    main()
