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
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from study import COLOURS, Study, figure, parser, read, spread, write

from bss2jax import config
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment, network_of
from bss2jax.mapping.cost import estimate
from bss2jax.networks.conversion import convert, scores_over_time
from bss2jax.networks.effort import effort
from bss2jax.networks.rates import SoftLIF
from bss2jax.runs import session
from bss2jax.runs.directory import RunDirectory
from bss2jax.text import table
from bss2jax.training import Samples, Variables

TIMES = (20, 60, 100, 200)
ROWS = {
    "spiking": "as spikes",
    "codes": "codes on a perfect chip",
    "chip": "moved to the chip",
    "loop": "trained in the loop",
}
_SAVE = 60.0  # seconds between two writings of what is measured
_FEW = 100  # samples that a training in the loop is validated and tested on


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

    def overrides(self, study: Study, start: RunDirectory) -> tuple[str, ...]:
        """In what a run in the loop differs from the run that it starts from."""
        last, samples = study.config.phases[-1], len(study.experiment.training.y)
        images = min(self.images, samples)
        phase = {
            "on": '"chip"',
            "epochs": max(1, round(self.images / images)),
            "max_steps": max(1, self.images // last.batch_size),
            "batch_size": last.batch_size,
            "learning_rate": self.share * last.learning_rate,
            "schedule": '"cosine"',
            "keep": '"last"',
        }
        phases = ", ".join(f"{key} = {value}" for key, value in phase.items())
        few, steps = f"data.validation={_FEW}", f"conversion.steps={self.steps}"
        return (few, steps, f"phases=[{{{phases}}}]", f"start={start.path}")


def variants(parsed: Config) -> dict[str, tuple[str, tuple[str, ...]]]:
    """ReLU units, and soft LIF units without and with noise: labels, and in what they differ."""
    places = [i for i, layer in enumerate(parsed.layers) if isinstance(layer, SoftLIF)]
    kinds = {parsed.layers[i].noise.kind for i in places}
    if not places or any(parsed.layers[i].units != "soft_lif" for i in places) or "none" in kinds:
        raise ConfigError("layers: expected soft_lif units, all with noise")
    if any(phase.on != "float" for phase in parsed.phases):
        raise ConfigError("phases: expected float only; the loop is this experiment's own")
    quiet = tuple(f'layers.{i}.noise={{kind = "none"}}' for i in places)
    relu = tuple(f"layers.{i}.units=relu" for i in places)
    noise = " and ".join(sorted(kind.replace("_", " ") for kind in kinds))
    return {
        "relu": ("ReLU", (*quiet, *relu)),
        "quiet": ("soft LIF", quiet),
        "noisy": (f"soft LIF, {noise} noise", ()),
    }


UNITS = ("relu", "quiet", "noisy")


def shown(
    prepared: Experiment, learned: Variables, samples: Samples, on: str, batch: int, path: Path
) -> Shown:
    """Shows samples to a converted network, a batch at a time; begins where `path` left off.

    Args:
        prepared: the experiment.
        learned: what its network has learned.
        samples: to show.
        on: `spikes`, or on the chip `ideal` or `chip`.
        batch: samples at a time.
        path: npz of what was measured so far.
    """
    soft, task, count = prepared.config.conversion, prepared.task, len(samples.y)
    spiking = convert(task.network, soft, on_chip=on != "spikes")
    execution = "float" if on == "spikes" else on

    @jax.jit
    def hits(params, chip, x, y, key):
        values = task.encode(x)
        readout, _, records = spiking.apply(params, {}, values, chip, key, on=execution)
        activity = {name: r["spikes"] for name, r in records.items() if "spikes" in r}
        scores = scores_over_time(readout, soft.warm_up)
        return (jnp.argmax(scores, axis=-1) == y).sum(axis=1), activity

    sums = dict(np.load(path)) if path.exists() else {"done": np.int64(0)}
    chip, saved = prepared.chip if on == "chip" else None, time.monotonic()
    for i in range(int(sums["done"]), count, batch):
        x, y = samples.x[i : i + batch], samples.y[i : i + batch]
        correct, activity = hits(learned.params, chip, x, y, jax.random.key(i))
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
    fired, neurons = (sum(f(z) for z in activity.values()) for f in (np.sum, lambda z: z[0].size))
    rate = float(fired / neurons / (soft.steps * soft.dt))
    if on != "spikes":
        return Shown(count, error.tolist(), None, rate)
    cost = effort(task.network, activity)
    factor = cost.rates / np.asarray(cost.spikes)
    return Shown(count, error.tolist(), factor.tolist(), rate)


def outcome(
    study: Study, settings: Loop, on_chip: int | None, batch: int, directory: str
) -> Outcome:
    """Trains one network and measures all that it becomes.

    Args:
        study: the config with its units and seeds.
        settings: of the training in the loop.
        on_chip: test samples that the chip is shown, the first ones; None: all, 0: no chip is.
        batch: samples that spike at once.
        directory: name of the run.
    """
    run, prepared = study.run(directory), study.experiment
    rates = 100 * (1 - read(run)["test_accuracy"]["float"])
    print(f"{directory}: {rates:.2f} % as rates", flush=True)
    if not study.experiment.task.network.slow_off_float:
        return Outcome(rates, {})
    test, learned, found = prepared.test, study.learned(run), {}
    some = Samples(test.x[:on_chip], test.y[:on_chip])
    chips = (("codes", "ideal", some), ("chip", "chip", some), ("loop", "chip", some))
    for name, on, samples in (("spiking", "spikes", test), *(() if on_chip == 0 else chips)):
        if name == "loop":
            learned = study.learned(trained_in_the_loop(study, settings, run, directory))
        path = run.path / f"{name}-{len(samples.y)}.npz"
        found[name] = shown(prepared, learned, samples, on, batch, path)
        print(f"{directory}: {found[name].error[-1]:.2f} % {name}", flush=True)
    run.write("soft_lif.json", {"rates": rates} | {n: vars(each) for n, each in found.items()})
    return Outcome(rates, found)


def trained_in_the_loop(
    study: Study, settings: Loop, start: RunDirectory, directory: str
) -> RunDirectory:
    """Trains on the chip for a while, tested on few images, as `shown` does that at length."""
    overrides = settings.overrides(study, start)
    there = f"run.dir={study.out / directory}-loop"
    loop = Study.of(study.name, [*study.overrides, *overrides, there], study.out).experiment
    return session.run(replace(loop, test=Samples(loop.test.x[:_FEW], loop.test.y[:_FEW])))


def compare(
    parsed: argparse.Namespace, settings: Loop, loaded: Config, out: Path
) -> dict[str, list[Outcome]]:
    """Trains and measures all variants with all seeds; each seed has a chip of its own."""
    known, results = variants(loaded), {}
    for seed in range(parsed.seeds):
        seeds = (f"seed={seed}", f"chip.seed={loaded.chip.seed + seed}")
        for label, changes in (known[units] for units in parsed.units):
            study = Study.of(parsed.config, [*parsed.overrides, *changes, *seeds], out)
            directory = f"{label.replace(' ', '_').replace(',', '')}-{seed}"
            found = outcome(study, settings, parsed.on_chip, parsed.batch, directory)
            results.setdefault(label, []).append(found)
    return results


def describe(
    results: dict[str, list[Outcome]], study: Config, settings: Loop, times: Sequence[int]
) -> str:
    """Test errors over time, mean and spread over seeds, and the effort."""
    soft, plan = study.conversion, network_of(study).plan
    steps = [round(1e-3 * t / soft.dt) for t in times]

    rows, costs, counts = [], [], {}
    for label, found in results.items():
        rows.append((label, spread([one.rates for one in found]), *["-"] * len(times)))
        for kind in found[0].shown:
            each = [one.shown[kind] for one in found]
            counts[kind] = each[0].samples
            errors = [spread([e.error[n - soft.warm_up - 1] for e in each]) for n in steps]
            rows.append((f"  {ROWS[kind]}", "", *errors))
            if each[0].factor:
                factors = [spread([e.factor[n - 1] for e in each], 1) for n in steps]
                costs.append((label, spread([e.rate for e in each], 1), *factors))
    times_shown = [f"{t} ms" for t in times]
    joules = [estimate(replace(plan, seconds=1e-6 * t)) for t in times]
    chip = [
        ("runs of one chip", *[str(plan.configurations)] * len(times)),
        ("chip time, ms", *[f"{1e3 * cost.seconds:.2f}" for cost in joules]),
        ("energy, uJ", *[f"{1e6 * cost.joules[0]:.0f}" for cost in joules]),
    ]
    seeds = len(next(iter(results.values())))
    return "\n\n".join(
        [
            f"Test error in percent, {study.data.name}, {seeds} seed{'s' * (seeds > 1)}; spiking "
            f"with {soft.synapse} synapses of {1e3 * soft.tau_syn:g} ms,\nwithout the first "
            f"{soft.warm_up} steps of {1e3 * soft.dt:g} ms, from membranes drawn at random. On the "
            f"chip synapses are\nexponential and an image comes as up to {soft.input_rate:g} "
            f"spikes a second and pixel. In the loop: {settings.images} images,\n"
            f"{settings.steps} steps each. Test images:\n"
            + ", ".join(f"{ROWS[kind]} {count}" for kind, count in counts.items())
            + ".",
            table(("units", "as rates", *times_shown), rows),
            "Effort as rates over that as spikes (a multiplication and an addition a synapse, .08 "
            "flop a synaptic\nevent, .25 a neuron's update; the first layer once):",
            table(("units", "mean rate, Hz", *times_shown), costs),
            "On the chip, a thousand times faster, one run after the other (estimate):",
            table(("a sample", *times_shown), chip),
        ]
    )


def draw(results: dict[str, list[Outcome]], study: Config, out: Path) -> None:
    """Draws the error over time, as spikes and on the chip, and that of the rates as lines."""
    soft, styles = study.conversion, {"spiking": "-", "chip": "--", "loop": "-."}
    time_shown = 1e3 * soft.dt * np.arange(soft.warm_up + 1, soft.steps + 1)
    with figure(out / "soft_lif.png", width=6.5) as axes:
        for color, (label, found) in zip((COLOURS[3], *COLOURS), results.items()):
            rates = np.mean([one.rates for one in found])
            axes.axhline(rates, color=color, linestyle=":", label=f"{label}, as rates")
            for kind in (kind for kind in styles if kind in found[0].shown):
                mean = np.mean([one.shown[kind].error for one in found], axis=0)
                name = f"{label}, {ROWS[kind]}"
                axes.plot(time_shown, mean, styles[kind], color=color, label=name)
        axes.set(xlabel="time shown (ms)", ylabel="test error (%)", yscale="log")


def main(arguments: list[str] | None = None) -> None:
    made = parser(__doc__, "digits_softlif", seeds=(3, 1), batch=(120, 1))
    made.add_argument("--units", nargs="+", choices=UNITS, default=UNITS)
    made.add_argument("--times", type=int, nargs="+", default=TIMES, metavar="MS")
    made.add_argument("--on-chip", type=int, help="test samples on the chip; default: all; 0: none")
    made.add_argument("--loop-images", type=int, default=6000, help="trained on in the loop")
    made.add_argument("--loop-ms", type=int, default=100, help="that each is shown there")
    made.add_argument("--loop-rate", type=float, default=0.25, help="share of the learning rate")
    parsed = made.parse_args(arguments)
    if parsed.loop_images < 1 or (parsed.on_chip or 0) < 0:
        made.error("--loop-images: expected 1 or more, --on-chip 0 or more")
    loaded, _ = config.load(parsed.config, parsed.overrides)
    first, last = (
        1e3 * loaded.conversion.dt * n for n in (loaded.conversion.warm_up, loaded.conversion.steps)
    )
    if not first < min(*parsed.times, parsed.loop_ms) or max(parsed.times) > last:
        made.error(
            f"--times and --loop-ms: expected more than {first:g}, and times of at most {last:g} ms"
        )
    if not parsed.loop_rate > 0:
        made.error("--loop-rate: expected a number > 0")
    out, steps = (
        parsed.out or Path("runs/soft_lif"),
        round(1e-3 * parsed.loop_ms / loaded.conversion.dt),
    )
    settings = Loop(parsed.loop_images, steps, parsed.loop_rate)
    results = compare(parsed, settings, loaded, out)
    draw(results, loaded, out)
    write(describe(results, loaded, settings, parsed.times), out, "soft_lif")


if __name__ == "__main__":
    main()
