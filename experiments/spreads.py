"""Which spreads of a chip explain what was published of silicon: candidates beside one another.

    python experiments/spreads.py mnist_ladder --chips 10

trains the config in software, moves the network to n chips of each candidate, and reads the
published point of the characterisation: ten columns at 100 x 15 x 21 gave 55..63, a span of 8. The
network lost on silicon from 98.10 to 92.13 % (Weis et al. 2020, arXiv 2006.13177). Writes
`spreads.md`. Candidates but `kinked` have no systematic difference between the signs of weights.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from characterisation import published_point
from study import Study, parser, spread, write

from bss2jax import Chip, Mismatch, sample_chip
from bss2jax.text import table

EVEN = replace(Mismatch.kinked(), inhibitory_shift=0.0)
CANDIDATES = {
    "preset kinked": Mismatch.kinked(),
    "no kink": EVEN,
    "drivers differ": replace(EVEN, driver=0.35),
    "synapses differ": replace(EVEN, inhibitory=0.03, synapse=0.4, gain=0.01, offset=1.0),
    "synapses differ more": replace(EVEN, inhibitory=0.05, synapse=0.45, gain=0.0, offset=0.8),
    "both differ": replace(EVEN, inhibitory=0.15, synapse=0.35, gain=0.015, offset=1.2),
    "the default: columns' signs differ": Mismatch(),
}


def measured(
    predict: Callable[[Chip], jax.Array], mismatch: Mismatch, chips: range, labels: np.ndarray
) -> np.ndarray:
    """Returns the accuracy in percent and the span of ten columns in LSB, each `[chips]`."""
    found = []
    for number in chips:
        chip = sample_chip(jax.random.key(number), mismatch)
        point = published_point(chip, jax.random.key(99))
        span = np.ptp(point[: len(point) // 10 * 10].reshape(-1, 10), axis=1).mean()
        found.append((100 * np.mean(np.asarray(predict(chip)) == labels), span))
    return np.array(found).T


def main(arguments: list[str] | None = None) -> None:
    settings = {"chips": (10, 2), "first": (0, 0), "images": (10_000, 1)}
    parsed = parser(__doc__, "mnist_ladder", **settings).parse_args(arguments)
    out = parsed.out or Path("runs/spreads")
    study = Study.of(parsed.config, parsed.overrides, out)
    learned = study.learned(study.run("software", phases=1))
    task, test, key = study.experiment.task, study.experiment.test, jax.random.key(0)
    values, labels = task.encode(test.x[: parsed.images]), np.asarray(test.y[: parsed.images])

    @jax.jit
    def predict(chip: Chip) -> jax.Array:
        scores = task.network.apply(
            learned.params, learned.state, values, chip, key, on="chip"
        )[0]  # fmt: skip
        return scores.argmax(-1)

    chips = range(parsed.first, parsed.first + parsed.chips)
    rows = []
    for name, mismatch in CANDIDATES.items():
        accuracy, span = measured(predict, mismatch, chips, labels)
        rows.append((name, spread(accuracy), f"{accuracy.min():.2f}", f"{span.mean():.1f}"))
    rows.append(("silicon, one chip", "92.13", "", "8"))
    header = ("spreads", f"moved, %, chips {chips[0]}..{chips[-1]}", "worst", "span, LSB")
    write(table(header, rows), out, "spreads")


if __name__ == "__main__":
    main()
