"""How often the neurons of a network spike, recorded on data: what traffic is made of."""

from dataclasses import replace

import numpy as np

from bss2jax.config import Config
from bss2jax.config.tables import Placing
from bss2jax.experiment import prepare
from bss2jax.mapping.assignment import Mapping
from bss2jax.mapping.workload import Workload
from bss2jax.networks.across import rates_of, workload_of
from bss2jax.networks.graph import Network
from bss2jax.runs.start import read_start


def recorded_rates(config: Config, samples: int = 200) -> dict[str, np.ndarray]:
    """Records the spikes a sample of a config's populations, on its training data.

    Args:
        config: the config whose parameters are those of the run that it starts from, or as they are
            drawn.
        samples: the samples of the training set, the first ones.

    Returns:
        `[N]` by the name of the population.

    Raises:
        ConfigError: as `experiment.prepare`, or the run to start from is none.
        DataError: the data cannot be had.
    """
    prepared = prepare(replace(config, plan=Placing()))
    learned = read_start(prepared).variables
    x = prepared.task.encode(prepared.training.x[:samples])
    _, _, records = prepared.task.network.apply(learned.params, learned.state, x, on="float")
    return rates_of(records)


def spike_graph(config: Config, network: Network) -> tuple[Workload, str]:
    """Returns the spike graph of a network with the rates that it has on data, and a note on them.

    A silent network, as many are before they are trained, is taken to send a spike a neuron.

    Args:
        config: the config of the network.
        network: its own, on one chip or several.

    Raises:
        ConfigError, DataError: as `recorded_rates`.
    """
    load = workload_of(network, recorded_rates(config))
    if load.rates.any():
        source = f"the run {config.start}" if config.start else "parameters as they are drawn"
        return load, f"rates: recorded on 200 training samples, of {source}"
    note = (
        "rates: untrained, it is silent; one spike a neuron is assumed (start=RUN: a trained run)"
    )
    return replace(load, rates=(np.diff(load.first) > 0).astype(float)), note


def mapping_of(config: Config, network: Network) -> tuple[Mapping, str]:
    """Returns a network on its chips as a mapping, and a note on its rates.

    Args:
        config: the config of the network.
        network: on the chips of a system.

    Raises:
        ValueError: the network is not planned on a system.
        ConfigError, DataError: as `recorded_rates`.
    """
    plan = network.mapped
    if plan is None or plan.system is None:
        raise ValueError("mapping: the network is not planned on a system")
    chip = np.concatenate([plan.place(name).chip for name in plan.names])
    used, cluster = np.unique(chip, return_inverse=True)
    load, note = spike_graph(config, network)
    return Mapping(load, plan.system, cluster, used), note
