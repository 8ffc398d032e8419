"""`bss2jax map`: a search for the chips of a network, and the plan's file that it writes."""

import argparse
import json
from typing import TYPE_CHECKING

from bss2jax.cli.arguments import Commands, add_command, add_config, seed
from bss2jax.cli.plan import describe_mapping

if TYPE_CHECKING:
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
        help="spikes, hops, energy, latency or load, or a sum such as energy+0.1*load",
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


def _map(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from bss2jax import config
    from bss2jax.chip.presets import system
    from bss2jax.config import ConfigError
    from bss2jax.config.tables import Placing
    from bss2jax.mapping import objectives
    from bss2jax.mapping.saved import Saved, save
    from bss2jax.mapping.search import search
    from bss2jax.model import network_of
    from bss2jax.networks.across import populations
    from bss2jax.runs.rates import spike_graph

    given = [f"plan.system={json.dumps(arguments.system)}"]
    parsed, _ = config.load(arguments.config, [*arguments.overrides, *given])
    parsed = replace(parsed, plan=Placing())
    window, network = arguments.window, network_of(parsed)
    try:
        chips, objective = system(arguments.system), objectives.parsed(arguments.objective)
        with window.stage("recording spikes"):
            load, note = spike_graph(parsed, network)
        with window.bar("searching", total=_STEPS) as bar:
            tried: list[float] = []

            def tell(what: str, mapping: "Mapping") -> None:
                tried.append(objective(mapping))
                bar.update(min(len(tried), _STEPS), figures=f"{what}: best {min(tried):.4g}")

            found = search(load, chips, objective, arguments.method, seed=arguments.seed, tell=tell)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"map: {error}") from None
    text = describe_mapping(found, len(populations(network)))
    path = arguments.out or f"{parsed.name}-{chips.name}.plan.json"
    save(path, Saved(chips, load.digest, found.chip))
    window.result(f"{text}\n{note}")
    window.result(f"\n{arguments.objective}: {objective(found):.6g}; the plan is in {path}")


_STEPS = 12  # starts of the portfolio, each with what improves it
