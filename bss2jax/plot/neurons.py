"""Neurons and synapses at work: firing patterns, phase planes, rates, amplitudes, correlation."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bss2jax.plot.style import COLOURS, GREY, axes, require_shape, time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def firing_pattern(
    v: npt.ArrayLike,
    spikes: npt.ArrayLike,
    *,
    dt: float = 1e-6,
    unit: str = "software units",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws a membrane over a raster of neurons that were set to the same pattern.

    Args:
        v: `[T]` membrane of one neuron, in `unit`.
        spikes: `[T, N]` of many, not 0 where a neuron spikes.
        dt: s a step.
        unit: the membrane's unit.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes of the membrane; those of the raster are below, within them.
    """
    v, z = require_shape("v", v, "T"), require_shape("spikes", spikes, "T N")
    ax = axes(ax)
    factor, name = time_unit(len(v) * dt)
    ax.plot(factor * dt * np.arange(len(v)), v, color=COLOURS[0], linewidth=0.8)
    low, high = float(v.min()), float(v.max())
    ax.set(ylim=(low - 0.9 * (high - low), high), xlim=(0, factor * dt * len(v)))
    ax.set(xlabel=f"time ({name})", ylabel=f"membrane ({unit})")
    below = ax.inset_axes((0, 0, 1, 0.42))
    step, neuron = np.nonzero(z)
    below.plot(factor * dt * step, neuron, "|", color=COLOURS[3], markersize=1.6)
    below.set(xlim=ax.get_xlim(), ylim=(-1, z.shape[1]))
    below.set_axis_off()
    return ax


def phase_plane(
    neuron: Any,
    current: float,
    v: npt.ArrayLike | None = None,
    w: npt.ArrayLike | None = None,
    *,
    unit: str = "software units",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws where membrane and adaptation of an AdEx neuron stand still, and a way through.

    Args:
        neuron: `AdEx`, its parameters numbers.
        current: the current that stays, a potential.
        v, w: `[T]` a trajectory, or None.
        unit: the unit of potentials.
        ax: the axes to draw on; by default new ones.

    Returns:
        The axes: membrane against adaptation.
    """
    ax = axes(ax)
    way = float(neuron.threshold - neuron.leak)
    x = np.linspace(float(neuron.leak) - 0.5 * way, float(neuron.threshold), 400)
    rise = current - (x - neuron.leak) * neuron.leaky
    if neuron.exponential:
        slope = np.minimum((x - neuron.v_t) / neuron.delta_t, 60.0)
        rise = rise + neuron.delta_t * np.exp(slope)
    ax.plot(x, rise, color=COLOURS[0], label="dv/dt = 0")
    still = neuron.a * (x - neuron.leak) * neuron.subthreshold
    ax.plot(x, still, color=COLOURS[1], linestyle="--", label="dw/dt = 0")
    ax.axvline(neuron.reset, color=GREY, linestyle=":", label="reset")
    if v is not None and w is not None:
        v, w = require_shape("v", v, "T"), require_shape("w", w, "T")
        ax.plot(v, w, ".-", color=COLOURS[3], markersize=2, linewidth=0.5, label="trajectory")
        high = max(float(w.max()), float(rise.min()), 0.0) + 0.3 * way
        ax.set_ylim(min(float(w.min()), float(still.min())) - 0.1 * way, high)
    else:
        ax.set_ylim(float(still.min()) - 0.3 * way, current + way)
    ax.set(xlabel=f"membrane ({unit})", ylabel=f"adaptation ({unit})")
    ax.legend(frameon=False)
    return ax


def rate_curve(
    current: npt.ArrayLike,
    rate: npt.ArrayLike,
    formula: npt.ArrayLike | None = None,
    *,
    unit: str = "software units",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws rates over a constant current (an f-I curve), and what theory says of them.

    Args:
        current: `[P]`, in `unit`.
        rate: `[P]` or `[P, N]` of one neuron or of many, Hz.
        formula: `[P]` Hz, or None.
        unit: the unit of the current.
        ax: the axes to draw on; by default new ones.
    """
    current, rate = require_shape("current", current, "P"), require_shape("rate", rate, "P", "P N")
    ax = axes(ax)
    many = rate.reshape(len(rate), -1)
    ax.plot(current, many / 1e3, ".", color=COLOURS[0], alpha=max(0.15, 1 / many.shape[1]))
    ax.plot([], [], ".", color=COLOURS[0], label="simulated")
    if formula is not None:
        ax.plot(current, require_shape("formula", formula, "P") / 1e3, color=GREY, label="formula")
    ax.set(xlabel=f"current ({unit})", ylabel="rate (kHz)", ylim=(0, None))
    ax.legend(frameon=False)
    return ax


def pulse_amplitudes(
    spikes: npt.ArrayLike, amplitudes: npt.ArrayLike, *, dt: float = 1e-6, ax: "Axes | None" = None
) -> "Axes":
    """Draws what short-term plasticity makes of the spikes of a source, or of several.

    Args:
        spikes: `[T, K]`, not 0 where a source spikes.
        amplitudes: `[T, K]` of its pulses, 1 the full length.
        dt: s a step.
        ax: the axes to draw on; by default new ones.
    """
    z, a = require_shape("spikes", spikes, "T K"), require_shape("amplitudes", amplitudes, "T K")
    if z.shape != a.shape:
        raise ValueError(f"amplitudes: expected the shape of spikes, {z.shape}, got {a.shape}")
    ax = axes(ax)
    factor, name = time_unit(len(z) * dt)
    for k in range(z.shape[1]):
        at = np.flatnonzero(z[:, k])
        ax.vlines(factor * dt * at, 0, a[at, k], color=COLOURS[k % len(COLOURS)], alpha=0.4)
        ax.plot(factor * dt * at, a[at, k], "o", color=COLOURS[k % len(COLOURS)], label=f"{k}")
    ax.set(xlabel=f"time ({name})", ylabel="amplitude (of a full pulse)", ylim=(0, None))
    if z.shape[1] > 1:
        ax.legend(title="source", frameon=False)
    return ax


def correlation_curve(
    delay: npt.ArrayLike,
    causal: npt.ArrayLike,
    acausal: npt.ArrayLike,
    *,
    amplitude: float | None = None,
    tau: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws what sensors show of pairs of spikes, against their distance, with the fitted curve.

    Args:
        delay: `[P]` of the neuron's spike behind the input's, s; negative where it is before.
        causal, acausal: `[P]` or `[P, N]` correlation, LSB.
        amplitude, tau: of A e^(-|delay| / tau), LSB and s; None: no curve.
        ax: the axes to draw on; by default new ones.
    """
    delay = require_shape("delay", delay, "P")
    ax = axes(ax)
    for name, values, colour in (("causal", causal, COLOURS[0]), ("acausal", acausal, COLOURS[3])):
        many = require_shape(name, values, "P", "P N").reshape(len(delay), -1)
        ax.plot(1e6 * delay, many, ".", color=colour, alpha=max(0.15, 1 / many.shape[1]))
        ax.plot([], [], ".", color=colour, label=name)
    if amplitude is not None and tau is not None:
        x = np.linspace(float(delay.min()), float(delay.max()), 400)
        ax.plot(1e6 * x, amplitude * np.exp(-np.abs(x) / tau), color=GREY, label="fit")
    ax.set(xlabel="spike of the neuron after that of the input (µs)", ylabel="correlation (LSB)")
    ax.legend(frameon=False)
    return ax
