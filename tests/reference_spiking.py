"""Plain NumPy twins of the spiking kernels, from the published equations alone.

Neurons one step after the other in float64, and the arithmetic of the partitioning in loops.
"""

import numpy as np

CIRCUITS, ROWS = 512, 128


def lif(params, current, recurrent=None, *, dt=1e-6, refractory=0, integrator="exponential"):
    """Runs neurons from rest, step by step, in the order of section 3.

    Args:
        params: dict of `tau_mem`, `tau_syn`, `leak`, `reset`, `threshold`, scalars or `[N]`.
        current: `[T, B, N]`.
        recurrent: `[N, N]` or None.
        refractory: steps.

    Returns:
        `[T, B, N]` membranes before reset (the reset potential while refractory), and spikes.
    """
    current = np.asarray(current, np.float64)
    p = {
        name: np.broadcast_to(np.float64(value), current.shape[2:])
        for name, value in params.items()
    }
    v = np.broadcast_to(p["leak"], current.shape[1:]).copy()
    i, z = np.zeros_like(v), np.zeros_like(v)
    counter = np.zeros(v.shape, int)
    membranes, spikes = [], []
    for x in current:
        if recurrent is not None:
            x = x + z @ np.asarray(recurrent, np.float64)
        if integrator == "euler":
            v = v + dt / p["tau_mem"] * (p["leak"] - v + i)
            i = i * (1 - dt / p["tau_syn"]) + x
        else:
            decay = np.exp(-dt / p["tau_mem"])
            i = i * np.exp(-dt / p["tau_syn"]) + x
            v = p["leak"] + (v - p["leak"]) * decay + (1 - decay) * i
        z = np.zeros_like(v)
        for place in np.ndindex(v.shape):
            neuron = place[-1]
            if counter[place] > 0:
                counter[place] -= 1
                v[place] = p["reset"][neuron]
            elif v[place] > p["threshold"][neuron]:
                counter[place] = refractory
                z[place] = 1
        membranes.append(v.copy())
        spikes.append(z)
        v = np.where(z == 1, p["reset"], v)
    return np.stack(membranes), np.stack(spikes)


def li(params, current, *, dt=1e-6, integrator="exponential"):
    """Leaky integrators: neurons that never reach their threshold."""
    never = {"reset": params["leak"], "threshold": np.inf}
    return lif({**params, **never}, current, dt=dt, integrator=integrator)[0]


def codes(w, scale, largest=63):
    """6-bit codes of weights in software units."""
    return np.clip(np.rint(scale * np.asarray(w, np.float64)), -largest, largest)


def circuits_per_neuron(inputs, rows=ROWS):
    """The fewest circuits whose rows hold the inputs; both neuron rows, so even, above one."""
    c = 1
    while c * rows < inputs:
        c += 1 if c == 1 else 2
    return c


def runs(inputs, neurons):
    """The neurons of each run, as lists, filled one after the other."""
    places = CIRCUITS // circuits_per_neuron(inputs)
    filled = []
    for neuron in range(neurons):
        if not filled or len(filled[-1]) == places:
            filled.append([])
        filled[-1].append(neuron)
    return filled


def strength(chip, inputs, neurons, circuits, first=0):
    """`[2, K, n]`: input k of neuron j on row k % 128 of circuit first + j c + k // 128.

    Circuit number i is column i // 2 of neuron row i % 2.
    """
    synapse, driver = np.asarray(chip.synapse_gain), np.asarray(chip.driver_gain)
    circuit_strength = np.asarray(chip.circuits.strength)
    out = np.zeros((2, inputs, neurons))
    for sign, k, j in np.ndindex(*out.shape):
        column, h = divmod(first + j * circuits + k // ROWS, 2)
        row = k % ROWS
        gain = np.float64(synapse[h, sign, row, column]) * driver[h, row]
        out[sign, k, j] = gain * circuit_strength[sign, h, column]
    return out


def delta(signals, steps, theta):
    """Send-on-delta with at most one spike a step: `[T, B, 2 C]`, ON inputs first."""
    batch, samples, channels = signals.shape
    raster = np.zeros((steps, batch, 2 * channels))
    for b, c in np.ndindex(batch, channels):
        level = 0  # what the receiver knows, in thetas
        for t in range(steps):
            ahead = signals[b, t * samples // steps, c] - level * theta
            if ahead >= theta:
                level += 1
                raster[t, b, c] = 1
            elif ahead <= -theta:
                level -= 1
                raster[t, b, channels + c] = 1
    return raster
