"""Correlation of random spike trains by NEST's `stdp_nn_restr_synapse`, an independent twin.

    python benchmarks/nest_correlation.py tests/nest_correlation.npz

Writes c+ and c- of 1000 pairs of trains, tau 10 steps and amplitude 1; `trains` makes the same
ones for the test. Needs `nest-simulator` (group: bench-neurons) and Python 3.11.
"""

import sys

import numpy as np

TRAINS, STEPS, TAU, DELAY, LATE = 1000, 60, 10.0, 0.1, 1000.0


def trains(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two rasters `[STEPS, TRAINS]`: a step has a spike of the one, of the other, or none."""
    chance = np.random.default_rng(seed).random((STEPS, TRAINS))
    return chance < 0.15, (chance >= 0.15) & (chance < 0.3)


def correlations(pre: np.ndarray, post: np.ndarray, alpha: float) -> np.ndarray:
    """Returns c+ - alpha c-, `[TRAINS]`, with the delay of the dendrite as NEST has it."""
    import nest

    nest.ResetKernel()
    nest.set_verbosity("M_ERROR")
    nest.resolution = DELAY
    count = pre.shape[1]
    sides = []
    # Late, as NEST takes a spike of the input at 0 for granted; and the last one collects.
    for raster, more in ((pre, [10 * LATE]), (post, [])):
        times = [(np.flatnonzero(raster[:, n]) + LATE).tolist() + more for n in range(count)]
        made = nest.Create("spike_generator", count, [{"spike_times": each} for each in times])
        side = nest.Create("parrot_neuron", count)
        nest.Connect(made, side, "one_to_one", {"delay": DELAY})
        sides.append(side)
    # Additive, far from the largest weight: the weight is the correlation.
    model = {
        "synapse_model": "stdp_nn_restr_synapse", "tau_plus": TAU, "lambda": 1e-6, "Wmax": 1e6,
        "alpha": alpha, "mu_plus": 0.0, "mu_minus": 0.0, "weight": 5e5, "delay": DELAY,
        "receptor_type": 1,
    }  # fmt: skip
    sides[1].tau_minus = TAU
    nest.Connect(sides[0], sides[1], "one_to_one", model)
    nest.Simulate(10 * LATE + 10)
    made = nest.GetConnections(sides[0], sides[1])
    weight, target = np.array(made.get("weight")), np.array(made.get("target"))
    return weight[np.argsort(target)] - 5e5


def main() -> None:
    pre, post = trains()
    causal = correlations(pre, post, 0.0)
    acausal = causal - correlations(pre, post, 1.0)
    delay = np.exp(DELAY / TAU)  # spikes of the neuron arrive at the synapse that much later
    np.savez_compressed(sys.argv[1], causal=causal * delay, acausal=acausal / delay)


if __name__ == "__main__":
    main()
