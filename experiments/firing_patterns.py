"""Firing patterns of AdEx neurons on chips: how many of 512 circuits keep the one they were set to.

    python experiments/firing_patterns.py

The eight patterns of Naud et al. 2008, in model units, on an ideal chip and on chips of several
spreads, each circuit a neuron. Writes `firing_patterns.md` and `firing_patterns.png`. The spreads
before and after calibration are those measured on silicon (Cramer et al. 2023, arXiv 2208.08329);
of the exponential and of adaptation nobody published any, see `Mismatch`.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from study import write

from bss2jax import Chip, Mismatch, sample_chip
from bss2jax.calibration import ADEX, Calibration, calibrate
from bss2jax.chip.chip import Circuits
from bss2jax.execute.circuits import circuit_pattern
from bss2jax.kernels.neurons.units import FIRING_PATTERNS, AdExModel, AdExScale
from bss2jax.plot import firing_pattern
from bss2jax.text import table

SCALE, DT, STEPS = AdExScale(), 1e-6, 600
# Of the neurons measured; shares of the way from leak to threshold.
SILICON = {"threshold_shift": 0.0, "leak": 0.145, "threshold": 0.022, "reset": 0.021}
SILICON |= {"tau_mem": 0.07, "tau_syn": 0.045}
BEFORE = {"leak": 0.26, "threshold": 0.17, "reset": 0.18, "tau_mem": 0.103, "tau_syn": 0.35}
CHIPS = {
    "ideal": Mismatch.none(),
    "default": Mismatch(),
    "silicon, calibrated": Mismatch(**SILICON),
    "uncalibrated": Mismatch.uncalibrated(),
    "silicon, uncalibrated": Mismatch(
        **SILICON | BEFORE, tau_w=0.35, a=0.35, b=0.35, delta_t=0.35, v_t=0.25
    ),
}
CALIBRATED = "that one, calibrated here"


def classify(times: np.ndarray) -> str:
    """Names the pattern of spikes, times in ms of 600, by the words in which patterns are told.

    Intervals are short or long, split where neighbours in size differ most, if by a factor above
    2; a burst is a run of short ones.
    """
    if len(times) == 0:
        return "silent"
    d = np.diff(times)
    if times[-1] < 150:  # and never again
        return "transient"
    if len(d) < 3:
        return "sparse"
    size = np.sort(d)
    jump = (size[1:] / size[:-1]).argmax()
    if size[jump + 1] / size[jump] > 2:
        long = d > np.sqrt(size[jump] * size[jump + 1])
        gaps = np.flatnonzero(long)
        if long[gaps[0] :].all():
            return "initial burst"
        # How often they come, and how alike their bursts are.
        starts = np.concatenate([times[:1], times[gaps + 1]])
        if len(gaps) > 2 and np.diff(starts)[1:].std() > 0.15 * np.diff(starts)[1:].mean():
            return "irregular"
        late = times[0] > 0.5 * np.median(d[gaps])
        return "delayed regular bursting" if late else "regular bursting"
    if size[-1] / size[0] < 1.3:
        return "tonic"
    change = np.diff(d) / d[1:]
    if (change > -0.15).all() and d[-1] > d[0]:
        return "adapting"
    faster = (change < 0.15).all() and d[-1] < d[0]
    return "delayed accelerating" if faster else "irregular"


@partial(jax.jit, static_argnames="model")
def trains(model: AdExModel, current: float, circuits) -> tuple[jax.Array, jax.Array]:
    """Membranes in mV and spikes, `[T, N]`, of one pattern on the circuits of a chip."""
    nominal = SCALE.neuron(model, dt=DT, tau_syn=None)
    nominal = jax.tree.map(jnp.asarray, nominal)
    actual, _ = nominal.on(circuits)
    step = jnp.full((STEPS, 1, circuits.leak.shape[-1]), SCALE.current(current, model))
    trace = actual.differentiated(step, membrane=True)
    return SCALE.millivolt(trace.membrane[:, 0]), trace.spikes[:, 0]


def flat(chip: Chip) -> Circuits:
    """The 512 circuits of a chip, as a row."""
    row = lambda a: circuit_pattern(a)[..., None, :] if a.ndim == 2 else a  # noqa: E731
    return jax.tree.map(row, chip.circuits)


def set_for(chip: Chip, lif: Calibration, model: AdExModel, key: jax.Array) -> Chip:
    """Calibrates the terms that LIF neurons lack, for a model, after those that they have."""
    neuron = jax.tree.map(jnp.float32, SCALE.neuron(model, dt=DT, tau_syn=None))
    cells = [name for name in ADEX if getattr(neuron, name)]  # what is 0 has nothing to be set
    return calibrate(chip, key, cells=cells, neuron=neuron, settings=lif.settings).chip


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--seed", type=int, default=0, help="of the chips")
    made.add_argument("--out", type=Path, default=Path("runs/firing_patterns"))
    parsed = made.parse_args(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    chips = {n: sample_chip(jax.random.key(parsed.seed), m) for n, m in CHIPS.items()}
    drawn, key = chips["silicon, uncalibrated"], jax.random.key(1)
    lif = calibrate(drawn, key, cells=("leak", "reset", "threshold", "tau_mem"))
    rows, shown = [], {}
    for name, (model, current) in FIRING_PATTERNS.items():
        model = AdExModel(**{**vars(model), "threshold": -40.0})  # the window of the chip
        row = [name]
        for chip, specimen in (chips | {CALIBRATED: set_for(drawn, lif, model, key)}).items():
            v, z = map(np.asarray, trains(model, current, flat(specimen)))
            times = [np.flatnonzero(one) * DT * 1e6 for one in z.T]
            if chip == "ideal":
                assert classify(times[0]) == name, "the words do not fit the pattern"
                row.append(str(len(times[0])))
                shown[name] = (v[:, 0],)
            else:
                row.append(f"{100 * np.mean([classify(one) == name for one in times]):.1f}")
        shown[name] = (*shown[name], z[:, :40])
        rows.append(row)
    means = [f"{np.mean([float(row[n]) for row in rows]):.1f}" for n in range(2, len(rows[0]))]
    header = ("pattern", "spikes, ideal", *list(CHIPS)[1:], CALIBRATED)
    text = table(header, [*rows, ["mean", "", *means]])
    write(f"circuits of 512 that keep the pattern, %\n\n{text}", parsed.out, "firing_patterns")
    draw(shown, parsed.out / "firing_patterns.png")


def draw(shown: dict, path: Path) -> None:
    """Draws the membrane of an ideal neuron over the spikes of forty on a chip."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(11, 4.6), layout="constrained", sharex=True)
    for ax, (name, (v, spikes)) in zip(axes.flat, shown.items(), strict=True):
        firing_pattern(v, spikes, dt=DT, unit="mV", ax=ax)
        ax.set_title(name, fontsize=9)
        ax.label_outer()
    figure.savefig(path, dpi=72)
    plt.close(figure)


if __name__ == "__main__":
    main()
