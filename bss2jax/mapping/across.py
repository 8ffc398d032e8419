"""Plans of spiking networks over the chips of a system, all of them at once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bss2jax.chip.system import System
from bss2jax.mapping import pieces
from bss2jax.mapping.pieces import FIELDS, LAYER
from bss2jax.mapping.plan import Plan, Tree
from bss2jax.mapping.populations import PopulationDemand


def plan_across(
    names: Sequence[str],
    demands: Sequence[PopulationDemand],
    chips: Sequence[np.ndarray],
    system: System,
    *,
    seconds: float = 0.0,
    tree: Tree | None = None,
) -> Plan:
    """Plans populations in one configuration, each neuron on its own chip.

    Args:
        names: the names of the layers on the chips, in the order in which they run.
        demands: the demands of the same layers.
        chips: `[N]` chip of each neuron, for each layer.
        system: the system whose chips they are.
        seconds: time axis.
        tree: the parameter tree.

    Raises:
        ValueError: a layer has another number of neurons, or a chip has too few
            circuits; says by how much.
    """
    substrate, tables, lists = system.substrate, [np.zeros((0, len(FIELDS)), np.int32)], []
    used, listed = np.zeros(system.chips, int), 0
    for layer, (name, demand, chip) in enumerate(zip(names, demands, chips, strict=True)):
        c = demand.joined(substrate)
        if len(chip) != demand.size:
            raise ValueError(f"layer {name}: {len(chip)} chips for {demand.size} neurons")
        # Neurons of a chip one behind the other, c circuits each.
        order = np.argsort(chip, kind="stable")
        counts = np.bincount(chip, minlength=system.chips)
        within = np.empty(len(chip), int)
        within[order] = np.arange(len(chip)) - np.repeat(np.cumsum(counts) - counts, counts)
        circuit = (used[chip] + within * c)[:, None] + np.arange(c)
        used += counts * c
        starts = np.flatnonzero(np.diff(chip, prepend=-1))
        stops = np.append(starts[1:], len(chip))
        rows = pieces.table(
            len(starts), layer=layer, part=np.arange(len(starts)), chip=chip[starts],
            row_stop=demand.inputs, column=starts, column_stop=stops,
            circuit=listed + starts * c, circuit_stop=listed + stops * c,
        )  # fmt: skip
        tables.append(rows)
        lists.append(np.column_stack([np.repeat(chip, c), circuit.ravel()]))
        listed += len(chip) * c
    most = substrate.hemispheres * substrate.columns
    if used.max(initial=0) > most:
        chip_ = int(used.argmax())
        raise ValueError(
            f"plan: chip {chip_} takes {used[chip_]} circuits, it has {most}: "
            f"{used[chip_] - most} too many"
        )
    return Plan(
        tuple(names), tuple(demands), np.concatenate(tables), np.concatenate(lists), seconds,
        substrate, tree, system,
    )  # fmt: skip


def one_by_one(plan: Plan) -> Plan:
    """Returns the same pieces on the same chips, one chip after the other: for comparison.

    Args:
        plan: the plan of populations on a system.
    """
    table = plan.table.copy()
    stage = table[:, LAYER] * plan.chips + table[:, pieces.CHIP]
    table[:, pieces.CONFIGURATION] = np.unique(stage, return_inverse=True)[1]
    return replace(plan, table=table)
