"""Homeostasis on the chip: 512 neurons of one random source, each regulated to 6 kHz.

    python experiments/homeostasis.py

Runs the config `homeostasis` and writes `homeostasis.md` and `homeostasis.png`, beside what the
demo's figure shows of silicon. What is done is kept in the output directory.

References: brainscales2-demos ts_11, whose figures of silicon were read by eye.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from study import COLOURS, read

from bss2jax.config.plastic import load_plastic
from bss2jax.emulation import prepare
from bss2jax.runs import plastic
from bss2jax.text import table


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("overrides", nargs="*", help="of the config, such as neurons.number=16")
    made.add_argument("--out", type=Path, default=Path("runs/homeostasis"))
    parsed = made.parse_args(arguments)
    config, text = load_plastic("homeostasis", [*parsed.overrides, f"run.dir={parsed.out / 'run'}"])
    run, emulation = plastic.train(config, text), prepare(config)
    lines = read(run, "metrics.jsonl")
    state = run.restore("final", emulation.begin())
    ms = np.array([line["periods"] for line in lines]) * config.period * 1e3
    rate = np.array([line["rate"] for line in lines]) / 1e3  # kHz
    # Neuron by neuron: some more periods.
    _, seen = emulation.run(emulation.hybrid, state, 20)
    each = np.asarray(seen.counts) / config.period / 1e3
    bins = each.reshape(-1, 5, each.shape[1]).mean(1)
    weights = np.asarray(state.weights)[0]
    low, high = np.quantile(weights, (0.05, 0.95))
    late = rate[ms >= 0.3 * ms[-1]]
    rows = [
        ("silent until, ms", f"{ms[np.argmax(rate > 0.1)] - config.period * 1e3:.0f}", "100-150"),
        ("mean rate after 300 ms, kHz", f"{late.mean():.2f}", "6"),
        ("its spread over neurons and bins of 50 ms, kHz", f"{bins.std():.2f}", "0.7"),
        ("mean weight", f"{weights.mean():.1f}", "24"),
        ("weights of nine neurons in ten", f"{low:.0f}-{high:.0f}", "17-32"),
        ("smallest and largest weight", f"{weights.min():.0f}, {weights.max():.0f}", "11, 35"),
    ]  # fmt: skip
    text = f"```\n{table(('', 'here', 'silicon, ts_11'), rows)}\n```\n"
    (parsed.out / "homeostasis.md").write_text(text)
    print(text)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.6), layout="constrained")
    left.plot(ms, rate, color=COLOURS[0])
    left.axhline(6, color=COLOURS[3], ls=":")
    left.set(xlabel="time (ms)", ylabel="mean rate (kHz)")
    kept = plastic.snapshots(run)
    at, over = np.array([*kept]) * config.period * 1e3, np.array([w[0] for w in kept.values()])
    right.plot(at, over, color=COLOURS[3], alpha=0.1, lw=0.5)
    right.plot(at, over.mean(1), color=COLOURS[1])
    right.set(xlabel="time (ms)", ylabel="weights (LSB)")
    figure.savefig(parsed.out / "homeostasis.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
