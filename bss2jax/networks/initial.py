"""Initial weights of spiking layers."""

import math

from bss2jax.kernels.neurons.membrane import TANGENTS


def fluctuating_std(sent: float, tau_mem: float, tau_syn: float, dt: float, order: str) -> float:
    """Returns a standard deviation of weights of mean 0 at which membranes just reach threshold.

    Independent spikes, p a step and input, of weights of variance s^2 let a membrane fluctuate by
    s sqrt(n p sum e^2), where e is the response to one spike of weight 1; here that is 1, what lies
    between rest and threshold. Of two low passes, k and q what they keep of a step,

        sum e^2 = (1 - k)^2 (1 + k q) / ((1 - k q) (1 - k^2) (1 - q^2)).

    Args:
        sent: spikes that a neuron is sent in a step, n p.
        tau_mem, tau_syn: time constants of membrane and synapses, s.
        dt: length of a step, s.
        order: the integrator.

    References: Rossbroich, Gygax and Zenke 2022, 10.1088/2634-4386/ac97bb, for mean 0 and xi = 1.
    """
    k, q = (
        1 - dt / tau if order in TANGENTS else math.exp(-dt / tau) for tau in (tau_mem, tau_syn)
    )
    squares = (1 - k) ** 2 * (1 + k * q) / ((1 - k * q) * (1 - k**2) * (1 - q**2))
    return 1 / math.sqrt(sent * squares)
