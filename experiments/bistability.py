"""A network that regulates itself: rates, weights and autocorrelation time against its drive.

    python experiments/bistability.py

Five drives, each a network of 512 neurons on the same chip, learn side by side, then go on without
learning for 100 s of model time. Writes `bistability.md` and `bistability.png`, silicon's
figures beside ours. What is done is kept in the output directory, and gone on with.

References: Cramer et al. 2023, arXiv 2208.08329, model code and data.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import curve_fit
from study import COLOURS

from bss2jax.config.plastic import load_plastic
from bss2jax.emulation import Emulation, prepare
from bss2jax.plastic import emulate
from bss2jax.text import table

KEXT = (60, 72, 80, 84, 100)  # sources of each neuron, 10 Hz each
EVERY, TEST = 10, 50  # periods between two times that states are kept; of the test
# Of silicon, by drive in kHz: rates, Hz, after so many updates; at the end; weights; times in ms.
CURVES = {
    0.6: {0: 0.58, 50: 0.64, 100: 0.83, 150: 9.4, 200: 9.6, 300: 9.4, 500: 11.2},
    0.8: {0: 1.8, 50: 2.2, 100: 3.7, 150: 7.3, 200: 8.5, 300: 8.9, 500: 9.1},
    1.0: {0: 3.7, 50: 4.6, 100: 6.3, 150: 8.1, 200: 9.0, 300: 9.3, 500: 9.5},
}
DRIVES = (0.58, 0.60, 0.64, 0.68, 0.72, 0.76, 0.80, 0.88, 0.96, 1.04, 1.08)
SILICON = {
    "rate": (10.76, 11.44, 9.92, 9.63, 9.14, 9.24, 9.22, 9.24, 9.38, 9.67, 9.79),
    "weight": (13.84, 13.69, 13.37, 13.02, 12.65, 12.22, 11.64, 10.40, 9.01, 7.72, 7.19),
    "tau": (700, 443, 189, 101, 48, 25, 12.2, 7.9, 7.2, 7.0, 6.7),
}
TWIN = {
    "rate": (32.5, 19.7, 13.5, 9.9, 9.1, 9.2, 9.3, 9.6, 10.1, 10.8, 11.2),
    "weight": (9.05, 8.95, 8.88, 8.71, 8.46, 8.14, 7.72, 6.68, 5.50, 4.34, 3.81),
}


def autocorrelation_time(activity: np.ndarray, bin_ms: float) -> float:
    """Returns the time constant, ms, of an exponential, with an offset, fitted to an activity's
    autocorrelation over lags of a second.

    Args:
        activity: `[bins]` spikes of the population.
        bin_ms: length of a bin.
    """
    a = activity - activity.mean()
    power = np.abs(np.fft.rfft(a, 2 * len(a))) ** 2
    c = np.fft.irfft(power)[: round(1000 / bin_ms)] / np.arange(len(a), len(a) - 1000 // bin_ms, -1)
    lag = bin_ms * np.arange(1, len(c))
    decay = lambda t, scale, tau, rest: scale * np.exp(-t / tau) + rest  # noqa: E731
    first = (0.5, max(bin_ms, lag[np.argmax(c[1:] < c[0] / 8)]), 0.0)
    bounds = ((0, 0.5, -1), (2, 5000, 1))
    return float(curve_fit(decay, lag, c[1:] / c[0], p0=first, bounds=bounds)[0][1])


class Networks:
    """The networks of all drives, side by side."""

    def __init__(self, overrides: list[str], out: Path, drives: tuple[int, ...], test: int):
        self.drives, self.last = drives, test
        self.each = [
            prepare(load_plastic("bistability", [*overrides, f"synapses.wired={k / 256}"])[0])
            for k in drives
        ]
        self.first: Emulation = self.each[0]
        self.hybrid = jax.tree.map(lambda *a: jnp.stack(a), *(e.hybrid for e in self.each))
        self.out = out
        e = self.first
        self.learn = jax.jit(
            jax.vmap(lambda h, s: emulate(h, e.rule, e.environment, s, e.key, EVERY))
        )
        still = lambda observed, weights, memory, key: (weights, memory)  # noqa: E731
        test = lambda h, s: emulate(h, still, e.environment, s, e.key, EVERY)  # noqa: E731
        self.test = jax.jit(jax.vmap(test))

    def run(self) -> dict[str, np.ndarray]:
        """Returns rates of updates and of the test, activity and weights; from what is kept."""
        path = self.out / "bistability.npz"
        state = jax.vmap(lambda h: h.begin(self.first.weights, self.first.begin().memory))(
            self.hybrid
        )
        leaves, tree = jax.tree.flatten(state)
        rates, activity, done = [], [], 0
        if path.exists():
            kept = np.load(path)
            done, rates, activity = int(kept["done"]), [*kept["rates"]], [*kept["activity"]]
            leaves = [jnp.asarray(kept[f"leaf{i}"]) for i in range(len(leaves))]
            state = jax.tree.unflatten(tree, leaves)
        updates = self.first.config.periods
        while done < updates + self.last:
            learning = done < updates
            state, seen = (self.learn if learning else self.test)(self.hybrid, state)
            window = self.first.config.window
            rates += [*np.asarray(seen.counts).mean(-1).T / window / 1000]  # Hz of model time
            if not learning:
                activity += [*np.moveaxis(np.asarray(seen.activity), 1, 0)]
            done += EVERY
            kept = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
            part = path.with_suffix(".part.npz")
            np.savez(part, done=done, rates=rates, activity=activity, **kept)
            part.replace(path)
            print(
                f"{done} of {updates + self.last} periods: {np.round(rates[-1], 1)} Hz", flush=True
            )
        return {"rates": np.array(rates), "activity": np.array(activity),
                "weights": np.asarray(state.weights)}  # fmt: skip


def figures(networks: Networks, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what stands in the table, `[drives]` each, and the curves."""
    updates = networks.first.config.periods
    excites = np.asarray(networks.first.hybrid.signs) > 0
    recurrent = np.arange(len(excites)) >= networks.first.hybrid.inputs
    wired = np.asarray(networks.hybrid.wired)
    weight = lambda rows: [  # noqa: E731
        w[rows][here[rows]].mean() for w, here in zip(found["weights"], wired)
    ]
    # Blocks of a delay, 1 ms of model time, in twos.
    bins = np.moveaxis(found["activity"], 1, 0).reshape(len(networks.drives), -1, 2).sum(-1)
    return {
        "rate": found["rates"][updates:].mean(0),
        "weight": np.array(weight(recurrent & excites)),
        "inhibitory": np.array(weight(recurrent & ~excites)),
        "tau": np.array([autocorrelation_time(one, 2.0) for one in bins]),
    }


def curve(rates: np.ndarray, at: int, around: int = 10) -> np.ndarray:
    """Returns the rates after so many updates, over the periods around it."""
    return rates[max(0, at - around) : at + around].mean(0)


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("overrides", nargs="*", help="of the config, such as periods=100")
    made.add_argument("--drives", nargs="+", type=int, default=KEXT, help="sources of a neuron")
    made.add_argument("--test", type=int, default=TEST, help="periods without learning")
    made.add_argument("--out", type=Path, default=Path("runs/bistability"))
    parsed = made.parse_args(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    networks = Networks(parsed.overrides, parsed.out, tuple(parsed.drives), parsed.test)
    found = networks.run()
    ours, updates = figures(networks, found), networks.first.config.periods
    drives = [k / 100 for k in networks.drives]
    place = {k / 100: i for i, k in enumerate(networks.drives)}
    near = lambda name, of: np.interp(drives, DRIVES, of[name])  # noqa: E731
    rows = [
        [f"{h:.2f}", *(f"{ours[name][i]:.2f}" for name in ("rate", "weight", "inhibitory", "tau")),
         *(f"{near(name, SILICON)[i]:.1f}" for name in ("rate", "weight", "tau")),
         *(f"{near(name, TWIN)[i]:.1f}" for name in ("rate", "weight"))]
        for i, h in enumerate(drives)
    ]  # fmt: skip
    header = ("drive kHz", "rate Hz", "exc. weight", "inh. weight", "tau ms", "silicon rate",
              "weight", "tau", "their twin's rate", "weight")  # fmt: skip
    at = [u for u in CURVES[0.8] if u <= updates]
    learned = [
        [f"{h:.1f} {who}", *(f"{values[u]:.2f}" for u in at)]
        for h, silicon in CURVES.items()
        if h in place
        for who, values in (
            ("silicon", silicon),
            (
                "here",
                {u: curve(found["rates"][:updates], u)[place[h]] for u in at},
            ),
        )
    ]
    text = (
        f"{updates} updates, then {2 * parsed.test} s of model time without learning, as "
        f"`python experiments/bistability.py {' '.join(arguments or sys.argv[1:])}`.\n\n```\n"
        f"{table(header, rows)}\n```\n\nRate, Hz, after so many updates (20 of them averaged):\n\n"
        f"```\n{table(('drive kHz', *map(str, at)), learned)}\n```\n\n"
        "![Learning curves, rates, weights and autocorrelation times](bistability.png)\n"
    )
    (parsed.out / "bistability.md").write_text(text)
    print(text)
    draw(parsed.out / "bistability.png", drives, ours, found["rates"][:updates])


def draw(path: Path, drives: list[float], ours: dict[str, np.ndarray], rates: np.ndarray) -> None:
    """Draws learning curves, and rates, weights and times against the drive."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), layout="constrained")
    for colour, (h, silicon) in zip(COLOURS, CURVES.items()):
        if h in drives:
            axes[0].plot(rates[:, drives.index(h)], color=colour, lw=0.6)
        axes[0].plot(list(silicon), list(silicon.values()), "o", color=colour, label=f"{h} kHz")
    axes[0].set(xlabel="updates", ylabel="rate (Hz)", ylim=(0, 25))
    axes[0].legend(title="dots: silicon", fontsize=7)
    for axis, name, label in zip(
        axes[1:], ("rate", "weight", "tau"),
        ("rate (Hz)", "mean excitatory weight (LSB)", "autocorrelation time (ms)"),
    ):  # fmt: skip
        axis.plot(DRIVES, SILICON[name], "o", color=COLOURS[0], label="silicon")
        if name in TWIN:
            axis.plot(DRIVES, TWIN[name], "x", color=COLOURS[3], label="their twin")
        axis.plot(drives, ours[name], color=COLOURS[1], label="here")
        axis.set(xlabel="drive (kHz)", ylabel=label)
        axis.legend(fontsize=7)
    axes[3].set_yscale("log")
    axes[1].set_ylim(0, 25)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
