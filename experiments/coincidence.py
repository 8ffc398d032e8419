"""One neuron tells the order of two patterns, with a dendrite and without: on chips, in the loop.

    python experiments/coincidence.py --chips 3

The config is trained as it is, a soma with one branch whose plateau remembers the first pattern,
and without the branch, a point neuron with as many synapses: in software, then on each of n chips.
Beside them stands the best point neuron whose weights are two numbers, one a pattern, found by
trying all: see `bss2jax.data.two_patterns` for why none can do it. Writes `coincidence.md` and
`coincidence.png`: accuracies, and what the trained neuron does in both orders.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ladder import climb
from study import COLOURS, Study, figure, parser, write

from bss2jax import LIF, data, population, spike_time, to_raster
from bss2jax.data.two_patterns import EARLY, LATE, WIDTH
from bss2jax.text import table

STEPS, DT = 64, 1e-6
# What learns best was tried for each: steepness of the surrogate 1 to 100, rates 5e-3 to 3e-2.
POINT = ("layers.1.branches=0", "layers.1.surrogate.alpha=50.0")
NEURONS = {"soma and branch": (), "soma alone": POINT}


def best_of_two_weights() -> float:
    """The best accuracy of a point neuron whose synapses have one weight a pattern, of a grid."""
    test = data.load("two_patterns").test
    times = spike_time(jnp.asarray(test.x), DT, EARLY, LATE)
    sent, side = to_raster(times, STEPS, 2 * WIDTH), jnp.linspace(0, 1.2, 40)
    first, second = (w.ravel() for w in jnp.meshgrid(side, side))
    w = jnp.concatenate([jnp.tile(first, (WIDTH, 1)), jnp.tile(second, (WIDTH, 1))])
    best = 0.0
    for tau_mem in (3e-6, 6e-6, 10e-6, 20e-6):
        for tau_syn in (1e-6, 2e-6, 5.7e-6):
            fires = population(sent, w, LIF(tau_mem, tau_syn)).spikes.any(0)
            best = max(best, float((fires == (test.y[:, None] == 1)).mean(0).max()))
    return best


def describe(found: dict[str, np.ndarray], grid: float) -> str:
    """Accuracies in percent, by neuron; of chips their mean, and each one in the loop."""
    rows = []
    for name, each in found.items():
        loop = ", ".join(f"{value:.1f}" for value in each[:, 3])
        rows.append((name, *(f"{value:.1f}" for value in each.mean(0)), loop))
    rows.append(("soma alone, best of all pairs of weights", f"{100 * grid:.1f}", *["-"] * 4))
    header = (
        "test accuracy, %", "float", "ideal", "moved to a chip", "trained in the loop", "each chip"
    )  # fmt: skip
    return table(header, rows)


def traces(study: Study) -> list[np.ndarray]:
    """Membranes `[T, C]` of the neuron as trained in software, of a sample of each order."""
    learned, layer = study.learned(study.run("before", phases=1)), study.config.layers[1]
    test = data.load("two_patterns").test
    one, other = int(np.flatnonzero(test.y == 1)[0]), _reversed(test)
    times = spike_time(jnp.asarray(test.x[[one, other]]), DT, EARLY, LATE)
    sent = to_raster(times, STEPS, 2 * WIDTH)
    bias = jnp.zeros((STEPS, 2, 1)).at[0].set(1.0)
    params = learned.params["structured_0"]
    w = layer.wired(params["weight"])
    neuron = layer.neurons(params, DT)
    sent = jnp.concatenate([sent, bias], -1)
    membrane = population(sent, w, neuron, observe=("membrane",)).membrane
    return [np.asarray(membrane[:, sample]) for sample in range(2)]


def _reversed(test) -> int:
    """A sample in which the second pattern comes first."""
    sent = test.x < 1
    both = sent[:, :WIDTH].any(1) & sent[:, WIDTH:].any(1)
    return int(np.flatnonzero(both & (test.y == 0))[0])


def draw(found: dict[str, np.ndarray], grid: float, orders: list[np.ndarray], out: Path) -> None:
    """Draws accuracies of all chips, and membranes of both orders."""
    with figure(out / "coincidence.png", panels=3, width=9.0) as axes:
        labels = ("float", "ideal", "moved", "in the loop")
        for colour, (name, each) in zip(COLOURS, found.items(), strict=False):
            lines = axes[0].plot(labels, each.T, "o-", color=colour, alpha=0.7, markersize=4)
            lines[0].set_label(name)
        axes[0].axhline(100 * grid, color=COLOURS[3], linestyle="--", label="best of two weights")
        axes[0].set(ylabel="test accuracy (%)", ylim=(45, 101))
        for ax, v, title in zip(
            axes[1:], orders, ("first, then second", "second, then first"), strict=True
        ):
            time = 1e6 * DT * np.arange(STEPS)
            for c, part in enumerate(("soma", "branch")):
                ax.plot(time, v[:, c], color=COLOURS[c], label=part)
            ax.axhline(1, color=COLOURS[3], linewidth=0.8)
            ax.set(title=title, xlabel="time (µs)", ylabel="membrane (software units)")


def main(arguments: list[str] | None = None) -> None:
    parsed = parser(__doc__, "coincidence", chips=(3, 1)).parse_args(arguments)
    out = parsed.out or Path("runs/coincidence")
    studies = {
        name: Study.of(parsed.config, [*parsed.overrides, *more], out / name.replace(" ", "-"))
        for name, more in NEURONS.items()
    }
    found = {name: climb(study, range(parsed.chips)) for name, study in studies.items()}
    grid = best_of_two_weights()
    draw(found, grid, traces(studies["soma and branch"]), out)
    write(describe(found, grid), out, "coincidence")


if __name__ == "__main__":
    main()
