"""Soft LIF: networks trained as rates, run as spikes, against the time an image is shown.

    python experiments/soft_lif.py digits_softlif --seeds 3

trains the config with ReLU units, with soft LIF units, and with noise besides, each with all seeds.
The soft LIF networks are converted to spiking neurons, weights untouched, whose membranes begin
anywhere below the threshold; one run of the longest time gives all shorter ones. Writes
`soft_lif.md`, with the effort as published for digital hardware (.08 flop a synaptic event, .25 a
neuron's update) and the energy of a chip beside it, and a figure.

Published for MNIST: error .79 % ReLU, .84 soft LIF rates, 1.14 spiking at 60 ms, .88 at 200 ms,
with 14.4 and 5.9 times less effort than the rates (Hunsberger and Eliasmith 2016, arXiv
1611.05141).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax import config, experiment
from bss2jax.config import Config, ConfigError
from bss2jax.experiment import Experiment
from bss2jax.mapping.cost import estimate_spiking
from bss2jax.mapping.partition import table
from bss2jax.networks.conversion import effort, run_spikes, scores_over_time
from bss2jax.networks.execution import Params
from bss2jax.training import runs

TIMES = (20, 60, 100, 200)


@dataclass(frozen=True)
class Spiked:
    """A converted network on the test set.

    Attributes:
        error: `[T - warm_up]` percent, after each step of 1 ms from the warm-up on.
        factor: `[T]` effort of the rates over that of the spikes.
        rate: mean firing rate of a neuron, Hz.
    """

    error: np.ndarray
    factor: np.ndarray
    rate: float


def variants(parsed: Config) -> dict[str, Config]:
    """The config with ReLU units, and with soft LIF units without and with its noise."""
    soft = parsed.soft
    if soft.units != "soft_lif" or soft.noise == "none":
        raise ConfigError("soft: expected units = soft_lif, and noise that is not none")
    quiet = replace(soft, noise="none")
    return {
        "ReLU": replace(parsed, soft=replace(quiet, units="relu")),
        "soft LIF": replace(parsed, soft=quiet),
        f"soft LIF, {soft.noise} noise": parsed,
    }


def spiked(prepared: Experiment, params: Params, batch: int) -> Spiked:
    """Converts a trained network and shows it the test set, a batch at a time."""
    parsed, test = prepared.config, prepared.test
    layers, soft = parsed.layers, parsed.soft
    task = prepared.task

    @jax.jit
    def hits(params, x, y, key):
        values = task.encode(x)
        readout, spikes = run_spikes(layers, soft, params, values, key)
        scores = scores_over_time(readout, soft.warm_up)
        share = jax.tree.map(lambda z: z * len(y), spikes)
        return (jnp.argmax(scores, axis=-1) == y).sum(axis=1), share

    count = len(test.y)
    each = [
        hits(params, test.x[i : i + batch], test.y[i : i + batch], jax.random.key(i))
        for i in range(0, count, batch)
    ]
    correct, spikes = jax.tree.map(lambda *parts: sum(parts), *each)
    spikes = jax.tree.map(lambda z: z / count, spikes)
    cost = effort(layers, task.network.shapes[0], spikes)
    fired = sum(float(z.sum()) for z in spikes.values())
    neurons = sum(z[0].size for z in spikes.values())
    return Spiked(
        100 * (1 - np.asarray(correct) / count),
        cost.rates / np.asarray(cost.spikes),
        fired / neurons / (soft.steps * soft.dt),
    )


def study(
    name: str, overrides: Sequence[str], seeds: int, batch: int, out: Path
) -> dict[str, list[tuple[float, Spiked | None]]]:
    """Trains all variants with all seeds; returns test errors as rates, percent, and the spikes."""
    results = {}
    for seed in range(seeds):
        parsed, _ = config.load(name, [*overrides, f"seed={seed}"])
        for label, changed in variants(parsed).items():
            prepared = experiment.prepare(changed)
            params = prepared.initial()
            for i in range(len(changed.phases)):
                params = prepared.train(i, params)
            error = 100 * (1 - prepared.test_accuracy(params, "float"))
            spikes = None if label == "ReLU" else spiked(prepared, params, batch)
            results.setdefault(label, []).append((error, spikes))
            directory = out / f"{label.replace(' ', '_').replace(',', '')}-{seed}"
            with runs.opened(changed.name, str(directory)) as run:
                run.write("resolved.toml", config.dump(changed))
                run.write("environment.json", runs.environment())
                run.save("final", params)
                measured = {"rate_error": error}
                if spikes is not None:
                    measured |= {"spiking_error": spikes.error.tolist(), "rate_hz": spikes.rate}
                run.write("summary.json", measured)
            print(f"seed {seed}, {label}: {error:.2f} % as rates", flush=True)
    return results


def at(values: np.ndarray, step: int, warm_up: int = 0) -> float:
    """The value after so many steps."""
    return float(values[step - warm_up - 1])


def write_table(results, parsed: Config, times: Sequence[int], out: Path) -> str:
    """Writes test errors over time, mean and spread over seeds, and the effort."""
    soft, plan = parsed.soft, experiment.network_of(parsed).plan
    steps = [round(1e-3 * t / soft.dt) for t in times]

    def said(values, digits=2):
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    rows, costs = [], []
    for label, runs_of in results.items():
        rates, spikes = zip(*runs_of)
        if spikes[0] is None:
            rows.append((label, said(rates), *["-"] * len(times)))
            continue
        errors = [said([at(s.error, step, soft.warm_up) for s in spikes]) for step in steps]
        rows.append((label, said(rates), *errors))
        factors = [said([at(s.factor, step) for s in spikes], 1) for step in steps]
        costs.append((label, said([s.rate for s in spikes], 1), *factors))
    shown = [f"{t} ms" for t in times]
    joules = [estimate_spiking(replace(plan, seconds=1e-6 * t)) for t in times]
    chip = [
        ("runs of one chip", *[str(plan.partitions)] * len(times)),
        ("chip time, ms", *[f"{1e3 * cost.seconds:.2f}" for cost in joules]),
        ("energy, uJ", *[f"{1e6 * cost.joules[0]:.0f}" for cost in joules]),
    ]
    seeds = len(next(iter(results.values())))
    text = "\n\n".join(
        [
            f"Test error in percent, {parsed.data.name}, {seeds} seeds; spiking with "
            f"{soft.synapse} synapses of {1e3 * soft.tau_syn:g} ms,\nwithout the first "
            f"{soft.warm_up} steps of {1e3 * soft.dt:g} ms, from membranes drawn at random:",
            table(("units", "as rates", *shown), rows),
            "Effort as rates over that as spikes (a multiplication and an addition a synapse, .08 "
            "flop a synaptic\nevent, .25 a neuron's update; the first layer once):",
            table(("units", "mean rate, Hz", *shown), costs),
            "On the chip, a thousand times faster, one run after the other (estimate):",
            table(("a sample", *shown), chip),
        ]
    )
    (out / "soft_lif.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
    return text


def draw(results, parsed: Config, out: Path) -> None:
    """Draws the error of the spiking networks over time, and of the rates as lines."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    soft = parsed.soft
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for color, (label, runs_of) in zip(("#999999", "#0072B2", "#D55E00"), results.items()):
        rates, spikes = zip(*runs_of)
        silent = spikes[0] is None
        axes.axhline(
            np.mean(rates), color=color, linestyle=":", linewidth=1, label=label if silent else None
        )
        if not silent:
            mean = np.mean([s.error for s in spikes], axis=0)
            time = 1e3 * soft.dt * np.arange(soft.warm_up + 1, soft.steps + 1)
            axes.plot(time, mean, color=color, label=label)
    axes.set_xlabel("time shown (ms)")
    axes.set_ylabel("test error (%)")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, title="dotted: as rates")
    figure.savefig(out / "soft_lif.png", dpi=130)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="digits_softlif")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, metavar="MS")
    parser.add_argument("--batch", type=int, default=120, help="samples that spike at once")
    parser.add_argument("--out", type=Path, default=Path("runs/soft_lif"))
    parsed = parser.parse_args(arguments)
    if parsed.seeds < 1 or parsed.batch < 1:
        parser.error("--seeds and --batch: expected 1 or more")
    loaded, _ = config.load(parsed.config, parsed.overrides)
    first, last = (1e3 * loaded.soft.dt * n for n in (loaded.soft.warm_up, loaded.soft.steps))
    if not first < min(parsed.times) or max(parsed.times) > last:
        parser.error(f"--times: expected more than {first:g} and at most {last:g} ms")
    parsed.out.mkdir(parents=True, exist_ok=True)
    results = study(parsed.config, parsed.overrides, parsed.seeds, parsed.batch, parsed.out)
    print("\n" + write_table(results, loaded, parsed.times, parsed.out))
    draw(results, loaded, parsed.out)
    print(f"\ntable, figure and runs are in {parsed.out}")


if __name__ == "__main__":
    main()
