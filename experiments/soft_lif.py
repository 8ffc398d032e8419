"""Soft LIF: networks trained as rates, run as spikes, moved to the chip, trained there in the loop.

    python experiments/soft_lif.py digits_softlif --seeds 3

trains the config with ReLU units, with soft LIF units, and with noise besides, each with all seeds.
The soft LIF networks are converted to spiking neurons, weights untouched, whose membranes begin
anywhere below the threshold; one run of the longest time gives all shorter ones. The same networks
go to the chip, another one for each seed: on a perfect one, which costs 6-bit weights and an image
that comes as spikes; on one with mismatch and noise; and after a short training in the loop,
forward through the spiking chip, backward through the soft rates.

Writes `soft_lif.md`, with the effort as published for digital hardware (.08 flop a synaptic event,
.25 a neuron's update) and time and energy of a chip beside it, and a figure. What was measured is
kept beside the runs: stopped and started again, the study goes on.

Published for MNIST: error .79 % ReLU, .84 soft LIF rates, 1.14 spiking at 60 ms, .88 at 200 ms,
with 14.4 and 5.9 times less effort than the rates (Hunsberger and Eliasmith 2016, arXiv
1611.05141).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import config, experiment
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment
from bss2jax.mapping.cost import estimate
from bss2jax.networks.conversion import effort, run_on_chip, run_spikes, scores_over_time
from bss2jax.networks.network import Params
from bss2jax.runs import session
from bss2jax.text import table
from bss2jax.training import loop
from bss2jax.training.loop import Samples
from bss2jax.training.phase import Phase

TIMES = (20, 60, 100, 200)
UNITS = ("relu", "quiet", "noisy")
_LOOP = 0x4C4F4F50  # what the run's key is folded with for the loop
_SAVE = 60.0  # seconds between two writings of what is measured


@dataclass(frozen=True)
class Shown:
    """A converted network on the test set.

    Attributes:
        samples: that it was shown.
        error: `[T - warm_up]` percent, after each step of 1 ms from the warm-up on.
        factor: `[T]` effort of the rates over that of the spikes, None on the chip.
        rate: mean firing rate of a neuron, Hz.
    """

    samples: int
    error: list[float]
    factor: list[float] | None
    rate: float


@dataclass(frozen=True)
class Outcome:
    """What one training led to; errors in percent.

    Attributes:
        rates: test error as rates.
        shown: what the converted network does: `spiking`, and on the chip `codes` (a perfect
            chip), `chip` and `loop`.
    """

    rates: float
    shown: dict[str, Shown]


@dataclass(frozen=True)
class Loop:
    """The training in the loop: so many images, at so many steps each, at a share of the rate."""

    images: int
    steps: int
    share: float


def variants(parsed: Config, units: Sequence[str] = UNITS) -> dict[str, Config]:
    """The config with ReLU units, and with soft LIF units without and with its noise."""
    soft = parsed.soft
    if soft.units != "soft_lif" or soft.noise == "none":
        raise ConfigError("soft: expected units = soft_lif, and noise that is not none")
    if any(phase.on != "float" for phase in parsed.phases):
        raise ConfigError("phases: expected float only; the loop is this experiment's own")
    quiet = replace(soft, noise="none")
    all_of_them = {
        "relu": ("ReLU", replace(parsed, soft=replace(quiet, units="relu"))),
        "quiet": ("soft LIF", replace(parsed, soft=quiet)),
        "noisy": (f"soft LIF, {soft.noise} noise", parsed),
    }
    return dict(all_of_them[name] for name in units)


def trained(parsed: Config, directory: Path) -> tuple[Experiment, Params]:
    """Trains, or goes on, or reads what was trained before."""
    run = replace(parsed.run, dir=str(directory))
    return session.read_final(session.train(replace(parsed, run=run)))


def shown(
    prepared: Experiment, params: Params, samples: Samples, on: str, batch: int, path: Path
) -> Shown:
    """Shows samples to a converted network, a batch at a time; begins where `path` left off.

    Args:
        on: `spikes`, or on the chip `ideal` or `chip`.
        path: npz of what was measured so far.
    """
    soft, task, count = prepared.config.soft, prepared.task, len(samples.y)
    layers = prepared.config.layers

    @jax.jit
    def hits(params, chip, x, y, key):
        values = task.encode(x)
        if on == "spikes":
            readout, activity = run_spikes(layers, soft, params, values, key)
        else:
            readout, rates = run_on_chip(layers, soft, params, values, chip, key)
            activity = {name: rate.mean(axis=0) for name, rate in rates.items()}
        scores = scores_over_time(readout, soft.warm_up)
        return (jnp.argmax(scores, axis=-1) == y).sum(axis=1), activity

    sums = dict(np.load(path)) if path.exists() else {"done": np.int64(0)}
    chip, saved = prepared.chip if on == "chip" else None, time.monotonic()
    for i in range(int(sums["done"]), count, batch):
        x, y = samples.x[i : i + batch], samples.y[i : i + batch]
        correct, activity = hits(params, chip, x, y, jax.random.key(i))
        sums["correct"] = sums.get("correct", 0) + np.asarray(correct, np.int64)
        for name, value in activity.items():
            of_layer = f"of {name}"
            sums[of_layer] = sums.get(of_layer, 0) + len(y) * np.asarray(value, np.float64)
        sums["done"] = np.int64(i + len(y))
        if time.monotonic() > saved + _SAVE or sums["done"] == count:
            np.savez(path, **sums)
            saved = time.monotonic()
    error = 100 * (1 - sums["correct"] / count)
    activity = {name[3:]: sums[name] / count for name in sums if name.startswith("of ")}
    if on != "spikes":
        rates = np.concatenate([rate.ravel() for rate in activity.values()])
        return Shown(count, error.tolist(), None, float(rates.mean()))
    cost = effort(layers, task.network.shapes[0], activity)
    fired, neurons = (sum(f(z) for z in activity.values()) for f in (np.sum, lambda z: z[0].size))
    factor = cost.rates / np.asarray(cost.spikes)
    return Shown(count, error.tolist(), factor.tolist(), fired / neurons / (soft.steps * soft.dt))


def trained_in_the_loop(
    prepared: Experiment, params: Params, settings: Loop, directory: Path
) -> Params:
    """Trains on the chip for a while, or reads what was trained before."""
    soft, last = replace(prepared.config.soft, steps=settings.steps), prepared.config.phases[-1]
    path = directory / "loop.npz"
    if not path.exists():
        task = replace(
            prepared.task, network=experiment.network_of(replace(prepared.config, soft=soft))
        )
        images = min(settings.images, len(prepared.training.y))
        some = Samples(prepared.training.x[:images], prepared.training.y[:images])
        few = Samples(prepared.validation.x[:100], prepared.validation.y[:100])
        phase = Phase(
            on="chip",
            epochs=max(1, round(settings.images / images)),
            batch_size=last.batch_size,
            learning_rate=settings.share * last.learning_rate,
            schedule="cosine",
            keep="last",
        )
        key = jax.random.fold_in(prepared.key, _LOOP)
        params = loop.train(task, phase, params, prepared.chip, some, few, key)
        np.savez(path, **{f"{n} {k}": a for n, each in params.items() for k, a in each.items()})
    stored = np.load(path)
    return {n: {k: jnp.asarray(stored[f"{n} {k}"]) for k in each} for n, each in params.items()}


def outcome(
    parsed: Config, settings: Loop, on_chip: int | None, batch: int, directory: Path
) -> Outcome:
    """Trains one network and measures all that it becomes.

    Args:
        on_chip: test samples that the chip is shown, the first ones; None: all.
    """
    prepared, params = trained(parsed, directory)
    rates = 100 * (1 - prepared.test_accuracy(params, "float"))
    print(f"{directory.name}: {rates:.2f} % as rates", flush=True)
    if parsed.soft.units == "relu":
        return Outcome(rates, {})
    test = prepared.test
    some = Samples(test.x[:on_chip], test.y[:on_chip])
    found = {}
    for name, on, samples in (
        ("spiking", "spikes", test),
        ("codes", "ideal", some),
        ("chip", "chip", some),
        ("loop", "chip", some),
    ):
        if name == "loop":
            params = trained_in_the_loop(prepared, params, settings, directory)
        path = directory / f"{name}-{len(samples.y)}.npz"
        found[name] = shown(prepared, params, samples, on, batch, path)
        print(f"{directory.name}: {found[name].error[-1]:.2f} % {name}", flush=True)
    (directory / "soft_lif.json").write_text(
        json.dumps({"rates": rates} | {name: vars(each) for name, each in found.items()}),
        encoding="utf-8",
    )
    return Outcome(rates, found)


def study(
    name: str,
    overrides: Sequence[str],
    units: Sequence[str],
    seeds: int,
    settings: Loop,
    on_chip: int | None,
    batch: int,
    out: Path,
) -> dict[str, list[Outcome]]:
    """Trains and measures all variants with all seeds; each seed has a chip of its own."""
    results = {}
    for seed in range(seeds):
        parsed, _ = config.load(name, [*overrides, f"seed={seed}"])
        parsed = replace(parsed, chip=replace(parsed.chip, seed=parsed.chip.seed + seed))
        for label, changed in variants(parsed, units).items():
            directory = out / f"{label.replace(' ', '_').replace(',', '')}-{seed}"
            found = outcome(changed, settings, on_chip, batch, directory)
            results.setdefault(label, []).append(found)
    return results


_ROWS = {
    "spiking": "as spikes",
    "codes": "codes on a perfect chip",
    "chip": "moved to the chip",
    "loop": "trained in the loop",
}


def write_table(
    results: dict[str, list[Outcome]], parsed: Config, settings: Loop, times: Sequence[int],
    out: Path,
) -> str:  # fmt: skip
    """Writes test errors over time, mean and spread over seeds, and the effort."""
    soft, plan = parsed.soft, experiment.network_of(parsed).plan
    steps = [round(1e-3 * t / soft.dt) for t in times]

    def said(values, digits=2):
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    rows, costs, counts = [], [], {}
    for label, found in results.items():
        rows.append((label, said([one.rates for one in found]), *["-"] * len(times)))
        for kind in found[0].shown:
            each = [one.shown[kind] for one in found]
            counts[kind] = each[0].samples
            errors = [said([e.error[n - soft.warm_up - 1] for e in each]) for n in steps]
            rows.append((f"  {_ROWS[kind]}", "", *errors))
            if each[0].factor:
                factors = [said([e.factor[n - 1] for e in each], 1) for n in steps]
                costs.append((label, said([e.rate for e in each], 1), *factors))
    times_shown = [f"{t} ms" for t in times]
    joules = [estimate(replace(plan, seconds=1e-6 * t)) for t in times]
    chip = [
        ("runs of one chip", *[str(plan.configurations)] * len(times)),
        ("chip time, ms", *[f"{1e3 * cost.seconds:.2f}" for cost in joules]),
        ("energy, uJ", *[f"{1e6 * cost.joules[0]:.0f}" for cost in joules]),
    ]
    seeds = len(next(iter(results.values())))
    text = "\n\n".join(
        [
            f"Test error in percent, {parsed.data.name}, {seeds} seed{'s' * (seeds > 1)}; spiking "
            f"with {soft.synapse} synapses of {1e3 * soft.tau_syn:g} ms,\nwithout the first "
            f"{soft.warm_up} steps of {1e3 * soft.dt:g} ms, from membranes drawn at random. On the "
            f"chip synapses are\nexponential and an image comes as up to {soft.input_rate:g} "
            f"spikes a second and pixel. In the loop: {settings.images} images,\n"
            f"{settings.steps} steps each. Test images:\n"
            + ", ".join(f"{_ROWS[kind]} {count}" for kind, count in counts.items())
            + ".",
            table(("units", "as rates", *times_shown), rows),
            "Effort as rates over that as spikes (a multiplication and an addition a synapse, .08 "
            "flop a synaptic\nevent, .25 a neuron's update; the first layer once):",
            table(("units", "mean rate, Hz", *times_shown), costs),
            "On the chip, a thousand times faster, one run after the other (estimate):",
            table(("a sample", *times_shown), chip),
        ]
    )
    (out / "soft_lif.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    return text


def draw(results: dict[str, list[Outcome]], parsed: Config, out: Path) -> None:
    """Draws the error over time, as spikes and on the chip, and that of the rates as lines."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    soft = parsed.soft
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    time_shown = 1e3 * soft.dt * np.arange(soft.warm_up + 1, soft.steps + 1)
    styles = {"spiking": "-", "chip": "--", "loop": "-."}
    for color, (label, found) in zip(("#999999", "#0072B2", "#D55E00"), results.items()):
        rates = np.mean([one.rates for one in found])
        axes.axhline(rates, color=color, linestyle=":", label=f"{label}, as rates")
        for kind in (kind for kind in styles if kind in found[0].shown):
            mean = np.mean([one.shown[kind].error for one in found], axis=0)
            axes.plot(time_shown, mean, styles[kind], color=color, label=f"{label}, {_ROWS[kind]}")
    axes.set_xlabel("time shown (ms)")
    axes.set_ylabel("test error (%)")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(out / "soft_lif.png", dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="digits_softlif")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--units", nargs="+", choices=UNITS, default=UNITS)
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, metavar="MS")
    parser.add_argument("--batch", type=int, default=120, help="samples that spike at once")
    parser.add_argument("--on-chip", type=int, help="test samples on the chip; by default all")
    parser.add_argument("--loop-images", type=int, default=6000, help="trained on in the loop")
    parser.add_argument("--loop-ms", type=int, default=100, help="that each is shown there")
    parser.add_argument("--loop-rate", type=float, default=0.25, help="share of the learning rate")
    parser.add_argument("--out", type=Path, default=Path("runs/soft_lif"))
    parsed = parser.parse_args(arguments)
    if min(parsed.seeds, parsed.batch, parsed.loop_images, parsed.on_chip or 1) < 1:
        parser.error("--seeds, --batch, --on-chip and --loop-images: expected 1 or more")
    loaded, _ = config.load(parsed.config, parsed.overrides)
    first, last = (1e3 * loaded.soft.dt * n for n in (loaded.soft.warm_up, loaded.soft.steps))
    if not first < min(*parsed.times, parsed.loop_ms) or max(parsed.times) > last:
        parser.error(
            f"--times and --loop-ms: expected more than {first:g}, and times of at most {last:g} ms"
        )
    if not parsed.loop_rate > 0:
        parser.error("--loop-rate: expected a number > 0")
    parsed.out.mkdir(parents=True, exist_ok=True)
    steps = round(1e-3 * parsed.loop_ms / loaded.soft.dt)
    settings = Loop(parsed.loop_images, steps, parsed.loop_rate)
    results = study(
        parsed.config, parsed.overrides, parsed.units, parsed.seeds, settings, parsed.on_chip,
        parsed.batch, parsed.out,
    )  # fmt: skip
    print("\n" + write_table(results, loaded, settings, parsed.times, parsed.out))
    draw(results, loaded, parsed.out)
    print(f"\ntable, figure and runs are in {parsed.out}")


if __name__ == "__main__":
    main()
