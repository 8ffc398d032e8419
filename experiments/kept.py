"""Trainings that an experiment keeps: given the same command again, it goes on after them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from bss2jax import config
from bss2jax.experiment import Experiment
from bss2jax.networks.network import Params
from bss2jax.runs import directory as runs


def trained(
    prepared: Experiment,
    text: str,
    phases: Sequence[int],
    start: Params,
    out: Path,
    tested: Callable[[Params], dict],
) -> tuple[Params, dict]:
    """Trains through phases and tests; returns parameters and figures.

    A finished run of the same config is taken as it is.

    Args:
        prepared: the experiment.
        text: its config as written.
        phases: their numbers.
        start: parameters to begin with.
        out: directory of the run.
        tested: turns parameters into figures, to which those of the epochs are added.
    """
    kept, resolved = runs.RunDirectory(out), config.dump(prepared.config)
    if (out / "summary.json").exists() and kept.read("resolved.toml") == resolved:
        return kept.restore("final", start), json.loads(kept.read("summary.json"))
    params, epochs = start, []
    for number in phases:
        on = prepared.config.phases[number].on

        def on_epoch(epoch, progress, best, number=number, on=on):
            epochs.append(epoch.record(number, on))
            print(
                f"{out.name}: epoch {epoch.epoch}, loss {epoch.validation.loss:.3f}, validation "
                f"{100 * epoch.validation.accuracy:.2f} %, {epoch.seconds:.0f} s",
                flush=True,
            )

        params = prepared.train(number, params, on_epoch=on_epoch)
    seed = prepared.config.chip.seed
    figures = tested(params) | {"chip_seed": seed, "epochs": epochs}
    with runs.opened(prepared.config.name, str(out)) as run:
        run.write("config.toml", text)
        run.write("resolved.toml", resolved)
        run.write("environment.json", runs.environment())
        run.save("final", params)
        run.write("summary.json", figures)
    return params, figures
