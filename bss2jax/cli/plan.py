"""`bss2jax plan`: where a network goes on the chip."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from bss2jax.cli.arguments import Commands, add_command, add_config, add_json, count

if TYPE_CHECKING:
    from bss2jax.mapping.assignment import Mapping


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Show where a network goes on the chip and what it costs."
    plan = add_command(commands, "plan", _plan, text)
    add_config(plan)
    plan.add_argument(
        "--samples",
        type=count,
        metavar="N",
        help="samples of an epoch; default: those of the training set",
    )
    plan.add_argument(
        "--system", metavar="NAME", help="show it on several chips at once, such as star12 or case"
    )
    plan.add_argument(
        "--guarantee",
        action="store_true",
        help="show the throughput that one chip to all guarantee, and the pieces that limit it",
    )
    add_json(plan)
    plan.set_defaults(device=False)


def _plan(arguments: argparse.Namespace) -> None:
    from bss2jax import config, experiment
    from bss2jax.mapping import describe

    system = [f"plan.system={json.dumps(arguments.system)}"] if arguments.system else []
    parsed, _ = config.load(arguments.config, [*arguments.overrides, *system])
    with arguments.window.stage("planning"):
        network, batch = experiment.network_of(parsed), parsed.phases[-1].batch_size
        samples = arguments.samples or experiment.training_samples(parsed)
        text = experiment.plan_text(network, samples, batch)
    if parsed.mesh.pieces > 1 and network.plan.names and not network.misfit:
        text += f"\n{describe.describe_devices(network.plan, parsed.mesh.pieces)}\n"
    told: dict[str, Any] = {
        "misfit": network.misfit or None,
        "plan": None if network.misfit else describe.tree(network.plan, samples, batch),
    }
    if network.mapped is not None:
        from bss2jax.mapping import throughput
        from bss2jax.runs.rates import mapping_of

        names = network.mapped.names
        with arguments.window.stage("recording spikes"):
            mapping, note = mapping_of(parsed, network)
        text += "\n" + describe_mapping(mapping, len(names)) + f"\n{note}"
        told["system"] = throughput.tree(mapping, stages=len(names)) | {"rates": note}
    if arguments.guarantee and not network.misfit and network.plan.names:
        from bss2jax.mapping import guarantee

        if network.mapped is not None:
            found = guarantee.of_mapping(mapping, names, batch)
        else:
            found = guarantee.of_plan(network.plan, batch)
        text += f"\n\n{guarantee.describe_guarantees(found)}"
        told["guarantee"] = guarantee.tree(found)
    arguments.window.result(json.dumps(told, indent=2) if arguments.json else text.rstrip("\n"))


def describe_mapping(mapping: "Mapping", stages: int) -> str:
    """Returns what a network takes on a system, as text.

    Args:
        mapping: the mapping of its populations.
        stages: populations that spikes pass one after the other.

    Raises:
        ConfigError: a link cannot carry the traffic.
    """
    from bss2jax.config import ConfigError
    from bss2jax.mapping.throughput import check_rates, describe_system

    try:
        check_rates(mapping)
    except ValueError as error:
        raise ConfigError(f"plan: {error}") from None
    return describe_system(mapping, stages=stages)
