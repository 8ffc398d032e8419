"""Do norse and snnTorch make the same spikes of a network's NIR file?

    python benchmarks/nir_frameworks.py [--steps 200] [--samples 32]

In an environment with the group `bench-nir`. Networks of ours, 24-64-10 with exponential steps, one
of them recurrent, are written for each framework, read by it, and sent the same spikes; and graphs
that the frameworks write are read back. The overlap is the share of spikes, of both together, that
both have in the same step: no lag, as spikes act in their own step in all three. (With `euler` or
`exact` ours come one step later a layer.)
"""

import argparse
import contextlib
import io

import jax
import nir
import norse.torch as norse
import numpy as np
import snntorch as snn
import torch
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import _nir_to_snntorch_module, import_from_nir

from bss2jax import networks
from bss2jax.networks.nir import read, write


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The share of all spikes that both have."""
    either = np.maximum(one, other).sum()
    return float((one * other).sum() / either) if either else 1.0


def ours(recurrent: bool, steps: int) -> tuple:
    layers = (
        networks.LIF(outputs=64, tau_mem=10e-6, tau_syn=5e-6, init_std=0.6, recurrent=recurrent,
                     bias=not recurrent),
        networks.LIF(outputs=10, tau_mem=8e-6, tau_syn=6e-6, init_std=0.6),
    )  # fmt: skip
    network = networks.build(layers, networks.Spikes((24,), steps=steps, dt=1e-6))
    return network, network.init(jax.random.key(0))


def stepped(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """Runs a module that nirtorch made step by step."""
    state, out = None, []
    with torch.no_grad():
        for at in torch.from_numpy(x):
            z, state = module(at, state)
            out.append(z[0] if isinstance(z, tuple) else z)
    return torch.stack(out).numpy()


def returning(graph: nir.NIRGraph, x: np.ndarray) -> np.ndarray:
    """Runs a graph of two populations, the first of which returns, on snnTorch's modules."""
    node = graph.nodes
    weights = {
        name: torch.from_numpy(node[name].weight) for name in node if "weight" in vars(node[name])
    }
    neurons = [quietly(_nir_to_snntorch_module, node[name]) for name in ("lif_0", "lif_1")]
    states, z, out = [(None, None)] * 2, torch.zeros(x.shape[1], 64), []
    with torch.no_grad():
        for at in torch.from_numpy(x):
            drive = at @ weights["lif_0_weight"].T + z @ weights["lif_0_recurrent"].T
            z, *states[0] = neurons[0](drive, *states[0])
            last, *states[1] = neurons[1](z @ weights["lif_1_weight"].T, *states[1])
            out.append(last)
    return torch.stack(out).numpy()


def quietly(call, *given, **settings):
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*given, **settings)


def main() -> None:
    line = argparse.ArgumentParser()
    line.add_argument("--steps", type=int, default=200)
    line.add_argument("--samples", type=int, default=32)
    given = line.parse_args()
    rng = np.random.default_rng(0)
    x = (rng.random((given.steps, given.samples, 24)) < 0.3).astype(np.float32)
    print(f"norse, snntorch {snn.__version__}, nir {nir.version}; overlap of spikes, spikes")
    for recurrent in (False, True):
        network, params = ours(recurrent, given.steps)
        z = np.asarray(network.apply(params, {}, x, on="float")[0])
        name = "recurrent" if recurrent else "feed-forward"
        for framework in ("norse", "snntorch"):
            if recurrent and framework == "norse":
                continue  # norse 1.1 reads no recurrence
            graph = write(network, params, {}, framework=framework)
            if recurrent:
                # snnTorch 1.0 resets its recurrent neurons a step late, whatever it is told: its
                # neurons without, and their weights by hand.
                other = returning(graph, x)
                print(f"{name:12s} ours -> {framework:8s} {overlap(z, other):.4%} {z.sum():.0f}")
                continue
            if framework == "norse":
                module = norse.from_nir(graph, dt=1e-6)
            else:
                module = quietly(import_from_nir, graph)
            other = stepped(module, x)
            print(f"{name:12s} ours -> {framework:8s} {overlap(z, other):.4%} {z.sum():.0f}")
            dt = 1e-6 if framework == "norse" else 1e-4
            back = read(graph, dt=dt, convention=framework)
            again = back.network(given.steps).apply(back.params, back.state, x, on="float")[0]
            print(f"{name:12s} -> ours again   {overlap(z, np.asarray(again)):.4%}")
    same = {"init_hidden": True, "reset_delay": False, "reset_mechanism": "zero"}
    # One value a neuron: of single numbers its exporter makes constants without a shape.
    first = snn.Leaky(beta=torch.full((64,), 0.9), threshold=torch.ones(64), **same)
    alpha, beta = torch.full((10,), 0.8), torch.full((10,), 0.85)
    last = snn.Synaptic(alpha=alpha, beta=beta, threshold=torch.ones(10), output=True, **same)
    theirs = torch.nn.Sequential(torch.nn.Linear(24, 64), first, torch.nn.Linear(64, 10), last)
    torch.manual_seed(0)
    for layer in (theirs[0], theirs[2]):
        torch.nn.init.normal_(layer.weight, 0.05, 0.4)
    graph = quietly(export_to_nir, theirs, torch.from_numpy(x[0, 0]))
    theirs[1].reset_mem()
    theirs[3].reset_mem()
    with torch.no_grad():
        z = np.stack([theirs(at)[0].numpy() for at in torch.from_numpy(x)])
    imported = read(graph, dt=1e-4, convention="snntorch")
    found = imported.network(given.steps).apply(imported.params, imported.state, x, on="float")[0]
    print(f"snntorch -> ours            {overlap(z, np.asarray(found)):.4%} {z.sum():.0f}")


if __name__ == "__main__":
    main()
