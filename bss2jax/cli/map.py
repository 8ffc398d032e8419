"""`bss2jax map`: a search for the chips of a network, and the plan's file that it writes."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from bss2jax.cli.arguments import Commands, add_command, add_config, seed
from bss2jax.cli.plan import describe_mapping

if TYPE_CHECKING:
    import numpy as np

    from bss2jax.chip.system import System
    from bss2jax.config import Config
    from bss2jax.mapping.assignment import Mapping


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Search which chip of a system each neuron of a spiking network goes to."
    parser = add_command(commands, "map", _map, text)
    add_config(parser)
    parser.add_argument(
        "--system", required=True, metavar="NAME", help="such as star12, case or mesh(2,3)"
    )
    parser.add_argument(
        "--objective", default="energy", metavar="WHAT",
        help="spikes, hops, energy, latency, load, mismatch, heat or lifetime, or a sum such as "
        "energy+0.2*lifetime, of each relative to neurons in order",
    )  # fmt: skip
    parser.add_argument(
        "--method", default="best", metavar="NAME",
        help="best (the default), pacman, pycarl, first_fit, random, kernighan_lin, spinemap, "
        "sneap or hypergraph",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="the seed of what is random"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="the plan's file; default: NAME-SYSTEM.plan.json"
    )
    parser.add_argument(
        "--front", metavar="FILE", help="a picture of all that was tried, by the first two terms"
    )


def _map(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    import numpy as np

    from bss2jax import config
    from bss2jax.chip.presets import system
    from bss2jax.config import ConfigError
    from bss2jax.config.tables import Placing
    from bss2jax.mapping import objectives
    from bss2jax.mapping.saved import Saved, save
    from bss2jax.mapping.search import reference, search
    from bss2jax.model import network_of
    from bss2jax.networks.across import populations
    from bss2jax.runs.rates import spike_graph

    given = [f"plan.system={json.dumps(arguments.system)}"]
    parsed, _ = config.load(arguments.config, [*arguments.overrides, *given])
    parsed = replace(parsed, plan=Placing())
    window, network = arguments.window, network_of(parsed)
    try:
        chips, weights = system(arguments.system), objectives.terms(arguments.objective)
        if arguments.front and len(weights) < 2:
            raise ValueError(
                f"--front: expected an objective of two terms, got {arguments.objective!r}; give a "
                "sum, such as --objective energy+0.2*lifetime"
            )
        with window.stage("recording spikes"):
            load, note = spike_graph(parsed, network)
        known = _known(parsed, chips)
        start = reference(load, chips) if len(weights) > 1 else None
        objective = objectives.weighted(weights, known, start)
        tries = 0 if set(weights) <= _SEARCHED else _TRIES
        tried: list[list[float]] = []
        values: list[float] = []
        with window.bar("searching", total=_STEPS) as bar:

            def tell(what: str, mapping: "Mapping") -> None:
                tried.append([known[name](mapping) for name in weights])
                values.append(objective(mapping))
                bar.update(min(len(tried), _STEPS), figures=f"{what}: best {min(values):.4g}")

            found = search(
                load, chips, objective, arguments.method,
                seed=arguments.seed, tries=tries, tell=tell,
            )  # fmt: skip
            tell("found", found)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"map: {error}") from None
    text = describe_mapping(found, len(populations(network)))
    path = arguments.out or f"{parsed.name}-{chips.name}.plan.json"
    save(path, Saved(chips, load.digest, found.chip))
    window.result(f"{text}\n{note}")
    _show_front(arguments, np.array(tried), list(weights))
    window.result(f"\n{arguments.objective}: {objective(found):.6g}; the plan is in {path}")


def _known(parsed: "Config", chips: "System") -> dict[str, Any]:
    """All objectives; that of mismatch is of the chips that the config draws.

    Each keeps its last two values, as a search asks for those of a mapping several times.
    """
    from functools import cache, lru_cache

    import jax

    from bss2jax.mapping import objectives
    from bss2jax.networks.across import deviations

    @cache
    def deviation() -> "np.ndarray":
        key = jax.random.key(parsed.chip.seed)
        return deviations(key, parsed.spreads, chips.chips, substrate=parsed.substrate)

    def mismatch(mapping: "Mapping") -> float:
        return objectives.mismatch(mapping, deviation())

    known = objectives.OBJECTIVES | {"mismatch": mismatch}
    return {name: lru_cache(maxsize=2)(of) for name, of in known.items()}


def _show_front(arguments: argparse.Namespace, values: "np.ndarray", names: list[str]) -> None:
    """Prints what was tried and nothing else beats in everything, and draws it if a file is named.

    The last of what was tried is what was found.
    """
    import numpy as np

    from bss2jax import plot
    from bss2jax.mapping.objectives import front
    from bss2jax.text import table

    if len(names) > 1:
        on = np.flatnonzero(front(values))
        rows = [[f"{value:.4g}" for value in values[i]] for i in on[np.argsort(values[on, 0])]]
        title = f"Pareto front of {len(values)} mappings tried:"
        arguments.window.result(f"\n{title}\n{table(names, rows)}")
        if arguments.front:
            axes = plot.pareto_front(values[:, :2], names[:2], chosen=len(values) - 1)
            axes.figure.savefig(arguments.front)


# Objectives that the search moves neurons by; others are tried by chance.
_SEARCHED = {"spikes", "hops", "energy", "latency", "load"}
_TRIES = 300
_STEPS = 12  # starts of the portfolio, each with what improves it
