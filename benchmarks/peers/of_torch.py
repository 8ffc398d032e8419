"""norse, snnTorch and spikingjelly, each with its own layers and loop over time."""

import os
from typing import Any

import torch
from torch import nn
from workload import ALPHA, GAIN, HIDDEN, KEEP_I, KEEP_U, RATE, SCALE, Case


class Training:
    """A network of PyTorch, `network(raster) -> (membranes, spikes)`, trained on one batch."""

    def __init__(self, case: Case, network: nn.Module, rate: float = RATE) -> None:
        torch.set_num_threads(os.cpu_count() or 1)
        self.network = network
        self.raster = torch.from_numpy(case.spikes())
        self.labels = torch.from_numpy(case.labels()).long()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate)

    def outputs(self) -> tuple:
        """Returns spikes `[T, B, N]` and scores `[B, O]`."""
        with torch.no_grad():
            membranes, spikes = self.network(self.raster)
        return spikes.numpy(), SCALE * membranes.max(0).values.numpy()

    def step(self) -> None:
        """Takes a step of the training."""
        scores = SCALE * self.network(self.raster)[0].max(0).values
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(scores, self.labels).backward()
        self.optimizer.step()


def _linear(weight: Any) -> nn.Linear:
    made = nn.Linear(*weight.shape, bias=False)
    made.weight.data = torch.from_numpy(weight.T.copy())
    return made


class Network(nn.Module):
    """Products of all steps at once; populations step by step, as `neurons` and `readout` go."""

    def __init__(self, case: Case, gain: float = 1.0) -> None:
        super().__init__()
        weights = {name: gain * w for name, w in case.weights().items()}
        self.hidden, self.out = _linear(weights["hidden"]), _linear(weights["readout"])
        self.back = _linear(weights["recurrent"]) if case.recurrent else None

    def forward(self, raster: torch.Tensor) -> tuple:
        spikes = self.neurons(self.hidden(raster))
        return self.readout(self.out(spikes)), spikes


def norse(case: Case) -> Training:
    """LIF and LI; recurrent ones have their products in the layer."""
    import norse.torch as norse

    taus = {
        "tau_syn_inv": torch.as_tensor(1 - KEEP_I), "tau_mem_inv": torch.as_tensor(GAIN),
    }  # fmt: skip
    p = norse.LIFParameters(alpha=torch.as_tensor(ALPHA), **taus)

    class Norse(Network):
        def __init__(self) -> None:
            super().__init__(case)
            self.li = norse.LI(norse.LIParameters(**taus), dt=1.0)
            if case.recurrent:
                self.lif = norse.LIFRecurrent(
                    case.inputs, HIDDEN, p, input_weights=self.hidden.weight.data,
                    recurrent_weights=self.back.weight.data, autapses=True, dt=1.0,
                )  # fmt: skip
                del self.hidden, self.back
                self.hidden = nn.Identity()
            else:
                self.lif = norse.LIF(p, dt=1.0)

        def neurons(self, drive: torch.Tensor) -> torch.Tensor:
            return self.lif(drive)[0]

        def readout(self, drive: torch.Tensor) -> torch.Tensor:
            return self.li(drive)[0]

    return Training(case, Norse())


def snntorch(case: Case) -> Training:
    """Synaptic neurons, whose membranes have no gain: weights and rate are scaled by it."""
    import snntorch as snn
    from snntorch import surrogate

    class Snntorch(Network):
        def __init__(self) -> None:
            super().__init__(case, gain=GAIN)
            grad = surrogate.fast_sigmoid(slope=ALPHA)
            self.lif = snn.Synaptic(
                alpha=KEEP_I, beta=KEEP_U, spike_grad=grad, reset_mechanism="zero",
                reset_delay=False,
            )  # fmt: skip
            self.li = snn.Synaptic(alpha=KEEP_I, beta=KEEP_U, reset_mechanism="none")

        def neurons(self, drive: torch.Tensor) -> torch.Tensor:
            syn, mem = self.lif.reset_mem()
            z, spikes = torch.zeros_like(drive[0]), []
            for x in drive:
                z, syn, mem = self.lif(x if self.back is None else x + self.back(z), syn, mem)
                spikes.append(z)
            return torch.stack(spikes)

        def readout(self, drive: torch.Tensor) -> torch.Tensor:
            syn, mem = self.li.reset_mem()
            membranes = []
            for x in drive:
                _, syn, mem = self.li(x, syn, mem)
                membranes.append(mem)
            return torch.stack(membranes)

    return Training(case, Snntorch(), GAIN * RATE)


class SuperSpike(torch.autograd.Function):
    """The surrogate: that of this name in spikingjelly has its slope elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return slope / (ALPHA * x.abs() + 1) ** 2


def spikingjelly(case: Case) -> Training:
    """CUBALIFNode, whose membranes have no gain: weights and rate are scaled by it."""
    from spikingjelly.activation_based import functional, neuron

    decays = {"c_decay": KEEP_I, "v_decay": KEEP_U, "surrogate_function": SuperSpike.apply}

    class Spikingjelly(Network):
        def __init__(self) -> None:
            super().__init__(case, gain=GAIN)
            self.lif = neuron.CUBALIFNode(v_threshold=1.0, v_reset=0.0, **decays)
            self.lif.detach_reset = True
            self.lif.step_mode = "s" if case.recurrent else "m"
            self.li = neuron.CUBALIFNode(v_threshold=1e9, v_reset=0.0, **decays)
            self.li.step_mode, self.li.store_v_seq = "m", True

        def forward(self, raster: torch.Tensor) -> tuple:
            functional.reset_net(self)
            return super().forward(raster)

        def neurons(self, drive: torch.Tensor) -> torch.Tensor:
            if self.back is None:
                return self.lif(drive)
            z, spikes = torch.zeros_like(drive[0]), []
            for x in drive:
                z = self.lif(x + self.back(z))
                spikes.append(z)
            return torch.stack(spikes)

        def readout(self, drive: torch.Tensor) -> torch.Tensor:
            self.li(drive)
            return self.li.v_seq

    return Training(case, Spikingjelly(), GAIN * RATE)
