"""Plain NumPy twins of the soft LIF kernels, from the equations of section 4 alone, in float64."""

import numpy as np


def lif_rate(j, tau_ref, tau_rc):
    """1 / (tau_ref + tau_rc ln(1 + 1 / (j - 1))) above 1, else 0."""
    j = np.asarray(j, np.float64)
    x = np.maximum(j - 1, 1e-300)
    return np.where(j > 1, 1 / (tau_ref + tau_rc * np.log(1 + 1 / x)), 0)


def soft_lif_rate(j, tau_ref, tau_rc, gamma):
    """The same with rho = gamma ln(1 + e^(x / gamma)), whose logarithm never underflows."""
    y = (np.asarray(j, np.float64) - 1) / gamma
    # ln(1 + e^y) is e^y to the last bit of float64 below y = -40.
    log_softplus = np.where(y < -40, y, np.log(np.logaddexp(0, np.maximum(y, -40))))
    log_rho = np.log(gamma) + log_softplus
    return 1 / (tau_ref + tau_rc * np.logaddexp(0, -log_rho))


def slope(rate, j, width):
    """Central difference of a rate curve at float64 currents, `width` apart on either side."""
    return (rate(j + width) - rate(j - width)) / (2 * width)


def filtered_train(rate, phase, tau_syn, tau_rc=None, grid=2e-6):
    """A regular train through an alpha filter, and a low pass: spike after spike, on a fine grid.

    Args:
        rate: Hz.
        phase: share of the interval since the last spike.
        grid: s.
    """
    slowest = max(tau_syn, tau_rc or 0)
    t = np.arange(0, 14 * slowest + 2 / rate, grid)
    response = t / tau_syn**2 * np.exp(-t / tau_syn)
    if tau_rc is not None:
        # v' = (response - v) / tau_rc, by the trapezoidal rule.
        v, a = np.zeros_like(t), grid / (2 * tau_rc)
        for n in range(1, len(t)):
            drive = a * (response[n] + response[n - 1])
            v[n] = (v[n - 1] * (1 - a) + drive) / (1 + a)
        response = v
    times = phase / rate + np.arange(0, t[-1] * rate) / rate
    return np.interp(times, t, response, right=0).sum()


def spikes(j, steps, tau_ref, tau_rc, dt=1e-3, fine=1000):
    """Counts the spikes of a neuron with a current `[T]`, by tiny Euler steps within each of dt."""
    v, rest, count, h = 0.0, 0.0, np.zeros(steps), dt / fine
    for n in range(steps * fine):
        if rest > h / 2:
            rest -= h
            continue
        v += h / tau_rc * (j[n // fine] - v)
        if v > 1:
            v, rest = 0.0, tau_ref
            count[n // fine] += 1
    return count
