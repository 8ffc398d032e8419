"""A run of hybrid plasticity: its directory, stopped and gone on with, as `session` has trainings.

Beside what every run has there are `metrics.jsonl`, a line some periods, and checkpoints
`weights-PERIOD`, the weights as they were then; `final` is the whole state.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bss2jax.config import ConfigError
from bss2jax.config.plastic import PlasticConfig, dump_plastic, load_plastic
from bss2jax.config.read import is_plastic, tree_of
from bss2jax.emulation import Emulation, describe, prepare
from bss2jax.plastic.hybrid import State
from bss2jax.runs import directory as runs
from bss2jax.runs.checkpoint import AnyLength
from bss2jax.runs.directory import RunDirectory, RunError
from bss2jax.runs.run import open_run
from bss2jax.runs.signals import Signals, Stopped
from bss2jax.window import Window

_LINES = 100  # lines of metrics that a run has
_WEIGHTS = AnyLength((None, None))  # [K, N], of any run


def is_run(path: str | Path) -> bool:
    """Returns whether a directory holds a run of hybrid plasticity, with a config to read."""
    resolved = Path(path) / "resolved.toml"
    try:
        return resolved.is_file() and is_plastic(tree_of(resolved)[0])
    except ConfigError:
        return False


def train(
    config: PlasticConfig,
    text: str = "",
    signals: Signals | None = None,
    window: Window | None = None,
) -> RunDirectory:
    """Runs as a config says, and writes the run; goes on with what the run's directory holds.

    Args:
        config: the experiment.
        text: the text of its file, kept verbatim.
        signals: looked at between parts of the run; None: no signal is waited for.
        window: the window where progress is said; None: the standard output.

    Returns:
        The run's directory, complete.

    Raises:
        ConfigError: the config cannot be run; nothing is written.
        RunError: the run cannot be written, or its directory is that of another.
        Stopped: as asked by a signal; what is needed to go on is saved.
    """
    begin, window = time.perf_counter(), window or Window()
    if config.run.dir is not None:
        runs.require_place(Path(config.run.dir))
    with window.stage("building the population"):
        emulation = prepare(config)
        state = _start(emulation)
    for name, said in describe(emulation):
        window.say((f"{name:12}", "cyan"), said)
    with runs.opened(config.name, config.run.dir) as directory:
        window.say((f"{'run':12}", "cyan"), str(directory.path))
        if directory.begun():
            _require_same(emulation, directory)
            if directory.finished():
                window.say(f"{directory.path} is finished; there is nothing left to run")
                return directory
            state, begin = _resumed(state, directory, begin)
        else:
            _head(emulation, directory, text)
        if signals:
            signals.hold()
        with window.bar("periods", config.periods) as bar:
            state = _through(emulation, state, begin, directory, signals, window, bar)
        directory.save("final", state)
        directory.write("summary.json", _summary(config, directory, begin))
        directory.prune(0)
    return directory


def resume(
    path: str | Path, signals: Signals | None = None, window: Window | None = None
) -> RunDirectory:
    """Goes on with a run that was stopped; its directory may have been moved.

    Args:
        path: the path of the run.
        signals, window: as in `train`.
    """
    config, _ = load_plastic(Path(path) / "resolved.toml")
    config = replace(config, run=replace(config.run, dir=str(path)))
    return train(config, "", signals, window)


def _through(
    emulation: Emulation,
    state: State,
    begin: float,
    directory: RunDirectory,
    signals: Signals | None,
    window: Window,
    bar: Any,
) -> State:
    """Runs what is left of the periods of a run that would have begun at `begin`."""
    config = emulation.config
    schedule = runs.Schedule(config.run.checkpoint_seconds, config.run.checkpoint_steps)
    part = -(-config.periods // _LINES)
    kept = -(-config.periods // config.snapshots)
    done = int(state.number)
    if done == 0:
        directory.save("weights-0", state.weights)
    while done < config.periods:
        count = min(part, config.periods - done)
        state, seen = emulation.run(emulation.hybrid, state, count)
        before, done = done, done + count
        figures = measured(emulation, seen, done)
        directory.log(figures | {"seconds": time.perf_counter() - begin})
        if before // kept < done // kept or done == config.periods:
            directory.save(f"weights-{done}", state.weights)
        said = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        bar.update(done, config.periods, said)
        window.detail(said)
        stop = signals and signals.signal
        if stop or schedule.due(done):
            meta = {"logged": directory.logged(), "seconds": time.perf_counter() - begin}
            directory.save_state(0, done, state, meta)
            directory.prune(config.run.checkpoints)
        if stop:
            raise Stopped(
                stop,
                f"stopped after period {done}; `bss2jax train --resume {directory.path}` goes on",
            )
    return state


def measured(emulation: Emulation, seen: Any, done: int) -> dict[str, float]:
    """Returns the figures of some periods, by name: means over them.

    Args:
        emulation: the emulation whose periods they are.
        seen: what was kept of them, with a leading axis of periods.
        done: periods that are done then.
    """
    seconds = emulation.hybrid.window or emulation.hybrid.period
    rate = np.asarray(seen.counts).mean() / (seconds * emulation.config.neurons.dt)
    scores = {name: float(np.asarray(value).mean()) for name, value in seen.score.items()}
    return {"periods": done, "rate": float(rate), "weight": float(seen.weight[-1]), **scores}


def snapshots(directory: RunDirectory) -> dict[int, np.ndarray]:
    """Returns the weights that a run has kept, `[K, N]` LSB, by period in order.

    Args:
        directory: the directory of the run, finished or not.

    Raises:
        RunError: a file of them cannot be read.
    """
    names = (path.stem for path in directory.path.glob("checkpoints/weights-*.npz"))
    periods = sorted(int(name.removeprefix("weights-")) for name in names)
    return {n: np.asarray(directory.restore(f"weights-{n}", _WEIGHTS)) for n in periods}


def _start(emulation: Emulation) -> State:
    """What a run begins with: drawn, or the weights of another run.

    Raises:
        ConfigError: there is no such run, it is not finished, or its weights do not fit.
    """
    path, config = emulation.config.start, emulation.config
    if path is None:
        return emulation.begin()
    try:
        if is_run(path):
            directory = RunDirectory(Path(path))
            directory.require_finished()
            before = prepare(load_plastic(directory.path / "resolved.toml")[0])
            weights = directory.restore("final", before.begin()).weights
        else:
            weights = _trained(path, config)
        return emulation.begin(weights)
    except (RunError, ValueError) as error:
        raise ConfigError(f"start: {error}") from None


def _trained(path: str, config: PlasticConfig) -> jax.Array:
    """The codes of a layer that was trained offline: as magnitudes, or, of pairs, by sign."""
    run = open_run(path)
    found = {node.name: node for node in run.network.nodes if run.params.get(node.name)}
    if config.layer not in found:
        raise ValueError(f"{path} has no layer {config.layer!r} with weights: {', '.join(found)}")
    node = found[config.layer]
    codes = node.layer.codes(run.params[node.name], *node.before)["weight"]
    if not config.synapses.pairs:
        return jnp.abs(codes)
    both = jnp.stack([jnp.maximum(codes, 0), jnp.maximum(-codes, 0)], axis=1)  # [K, 2, N]
    return both.reshape(-1, codes.shape[-1])


def _head(emulation: Emulation, directory: RunDirectory, text: str) -> None:
    """Writes the head of a new run."""
    written = dump_plastic(_absolute(emulation.config))
    directory.write("config.toml", text or written)
    directory.write("resolved.toml", written)
    directory.write("plan.txt", "".join(f"{a}: {b}\n" for a, b in describe(emulation)))
    directory.write("environment.json", runs.environment())


def _require_same(emulation: Emulation, directory: RunDirectory) -> None:
    """Refuses to go on with a run of another config, or of another version."""
    directory.environment()
    before, _ = load_plastic(directory.path / "resolved.toml")
    if _absolute(before) != _absolute(emulation.config):
        raise RunError(f"run.dir: {directory.path} holds a run of another config")


def _resumed(start: State, directory: RunDirectory, begin: float) -> tuple[State, float]:
    """Reads how far an earlier process got: the state, and when it would have begun by now."""
    found = directory.newest_state(lambda _: start)
    if found is None:
        directory.cut_log(0)
        return start, begin
    state, meta, _ = found
    directory.cut_log(meta["logged"])
    return state, begin - meta["seconds"]


def _absolute(config: PlasticConfig) -> PlasticConfig:
    """A config that names the run that it starts from by its absolute path, and goes nowhere."""
    start = None if config.start is None else os.path.abspath(config.start)
    return replace(config, start=start, run=replace(config.run, dir=None))


def _summary(config: PlasticConfig, directory: RunDirectory, begin: float) -> dict[str, Any]:
    return {
        "name": config.name,
        "seed": config.seed,
        "chip_seed": config.chip.seed,
        "periods": config.periods,
        "last": last_figures(directory),
        "seconds": {"total": time.perf_counter() - begin},
    }


def last_figures(directory: RunDirectory) -> dict[str, float]:
    """Returns the means of the figures of a run's last tenth, by name; none before the first.

    Args:
        directory: the directory of the run.
    """
    lines = directory.lines()
    tail = lines[-max(1, len(lines) // 10) :]
    names = [name for line in tail[-1:] for name in line if name not in ("periods", "seconds")]
    return {name: float(np.mean([line[name] for line in tail])) for name in names}
