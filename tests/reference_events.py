"""LIF neurons of tau_mem = 2 tau_syn from event to event, in float64, from the equations alone.

Between events v = leak + a x + b x^2 with x = e^(-t / tau_mem): a crossing is the root of a
quadratic.
"""

import heapq

import numpy as np


def simulate(arrivals, w, recurrent, *, tau_mem, t_ref, delay, end):
    """Spikes of neurons of threshold 1, leak and reset 0.

    Args:
        arrivals: [(time, input)], w: [K, N], recurrent: [N, N], delay: of recurrent spikes.

    Returns:
        [(time, neuron)] up to `end`, and the membranes then.
    """
    neurons = w.shape[1]
    v, i, free = np.zeros(neurons), np.zeros(neurons), np.zeros(neurons)
    queue = [(t, 0, k) for t, k in arrivals]
    heapq.heapify(queue)
    now, spikes = 0.0, []
    while True:
        crossing = [_crossing(v[n], i[n], now, free[n], tau_mem) for n in range(neurons)]
        first = int(np.argmin(crossing))
        wakes = [t for t in free if t > now]
        then = min([crossing[first], end, *(q[0] for q in queue[:1]), *wakes])
        v, i = _later(v, i, then - now, free <= now, tau_mem)
        now = then
        if now >= end:
            return spikes, v
        if now == crossing[first]:
            spikes.append((now, first))
            v[first], free[first] = 0.0, now + t_ref
            heapq.heappush(queue, (now + delay, 1, first))
        elif queue and now == queue[0][0]:
            _, kind, source = heapq.heappop(queue)
            i = i + (recurrent if kind else w)[source]


def _later(v, i, dt, free, tau_mem):
    x = np.exp(-dt / tau_mem)
    return np.where(free, v * x + i * (x - x * x), v), i * x * x


def _crossing(v, i, now, free, tau_mem):
    """When the membrane reaches 1; v(x) = (v + i) x - i x^2 for as long as nothing arrives."""
    if free > now:
        return np.inf
    roots = np.roots([-i, v + i, -1.0]) if i else np.zeros(0)
    real = [r.real for r in roots if abs(r.imag) < 1e-12 and 0 < r.real < 1 - 1e-12]
    return now - tau_mem * np.log(max(real)) if real else np.inf
