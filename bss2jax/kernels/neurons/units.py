"""Units of a model and units of the chip: the one place where they are converted.

A model of a neuron is written in mV, nS, pF, pA and ms. The chip runs a thousand times faster, and
its potentials are read in LSB. A model's potential V, of its currents and conductances what the
leak conductance g makes of them, and its times are on the chip

    lsb (V - zero)      for potentials
    lsb I / g           for currents and for b
    a / g               for sub-threshold adaptation, a number
    ms / speedup        for times; tau_mem is C / g

and back. Potentials in software units, threshold 1, are those of another `AdExScale`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bss2jax.kernels.neurons.adex import AdEx

Number = Any  # a float, or an array of one a neuron


@dataclass(frozen=True)
class AdExModel:
    """An AdEx neuron in the units in which models are published; numbers, or `[N]` each.

    Attributes:
        capacitance: pF.
        conductance: the conductance of the leak, nS.
        leak, reset, threshold: potentials, mV.
        v_t, delta_t: take-off and slope of the exponential, mV.
        tau_w: time constant of adaptation, ms.
        a: sub-threshold adaptation, nS.
        b: spike-triggered adaptation, pA.
        t_ref: refractory time, ms.
    """

    capacitance: Number
    conductance: Number
    leak: Number
    reset: Number
    threshold: Number = 0.0
    v_t: Number = -50.0
    delta_t: Number = 2.0
    tau_w: Number = 100.0
    a: Number = 0.0
    b: Number = 0.0
    t_ref: float = 0.0

    @property
    def tau_mem(self) -> Number:
        """The membrane time constant, ms."""
        return self.capacitance / self.conductance

    def rheobase(self) -> Number:
        """Returns the constant current, pA, above which it fires for ever.

        Where a / g < tau_mem / tau_w the rest vanishes (saddle-node), else it turns unstable
        before (Hopf). The neuron may fire below it, once or more, at the onset of a step.

        References: Touboul and Brette 2008; Naud et al. 2008.
        """
        ratio, times = self.a / self.conductance, self.tau_mem / self.tau_w
        slope = np.where(ratio < times, ratio, times)
        way = self.v_t - self.leak - self.delta_t + self.delta_t * np.log1p(slope)
        more = self.delta_t * self.conductance * np.maximum(ratio - times, 0)
        return (self.conductance + self.a) * way + more


@dataclass(frozen=True)
class AdExScale:
    """What a model's mV and ms are on the chip.

    The default has the 30 mV from -70 to -40 mV, in which the published patterns live, at 80 to
    150 LSB.

    Attributes:
        lsb: LSB, or other units of potential, per mV.
        zero: mV that is 0 of them.
        speedup: times that the chip runs faster than the model.
    """

    lsb: float = 7 / 3
    zero: float = -70 - 80 * 3 / 7
    speedup: float = 1000.0

    def potential(self, mv: Number) -> Number:
        """Returns a potential of mV on the chip."""
        return (mv - self.zero) * self.lsb

    def millivolt(self, potential: Number) -> Number:
        """Returns a potential of the chip in mV."""
        return potential / self.lsb + self.zero

    def seconds(self, ms: Number) -> Number:
        """Returns the seconds that ms of a model take on the chip."""
        return ms * (1e-3 / self.speedup)

    def current(self, pa: Number, model: AdExModel) -> Number:
        """Returns a current of pA as the potential that it makes of the leak conductance."""
        return pa / model.conductance * self.lsb

    def neuron(self, model: AdExModel, **settings: Any) -> AdEx:
        """Returns a model's neuron on the chip, driven by currents.

        Args:
            model: the neuron in model units.
            **settings: other fields of `AdEx`, such as dt and tau_syn, in seconds.
        """
        values: dict[str, Any] = {
            "tau_mem": self.seconds(model.tau_mem), "tau_w": self.seconds(model.tau_w),
            "leak": self.potential(model.leak), "reset": self.potential(model.reset),
            "threshold": self.potential(model.threshold), "v_t": self.potential(model.v_t),
            "delta_t": model.delta_t * self.lsb, "a": model.a / model.conductance,
            "b": self.current(model.b, model), "t_ref": self.seconds(model.t_ref),
        }  # fmt: skip
        return AdEx(**values | settings)

    def model(self, neuron: AdEx, capacitance: Number = 200.0) -> AdExModel:
        """Returns a neuron of the chip in model units.

        Args:
            neuron: potentials in this scale, times in seconds.
            capacitance: the capacitance of the model, pF, which the chip's own time constant leaves
                open.
        """
        ms = 1e3 * self.speedup
        conductance = capacitance / (neuron.tau_mem * ms)
        return AdExModel(
            capacitance,
            conductance,
            leak=self.millivolt(neuron.leak),
            reset=self.millivolt(neuron.reset),
            threshold=self.millivolt(neuron.threshold),
            v_t=self.millivolt(neuron.v_t),
            delta_t=neuron.delta_t / self.lsb,
            tau_w=neuron.tau_w * ms,
            a=neuron.a * conductance,
            b=neuron.b / self.lsb * conductance,
            t_ref=neuron.t_ref * ms,
        )


def _published(
    c: float, g: float, leak: float, a: float, tau_w: float, b: float, reset: float, current: float
) -> tuple[AdExModel, float]:
    return AdExModel(c, g, leak, reset, tau_w=tau_w, a=a, b=b), current


# Firing patterns: the neuron, and the step of current, pA, that shows it.
# References: Naud et al. 2008, 10.1007/s00422-008-0264-7, as adapted in Brian2's examples.
FIRING_PATTERNS = {
    "tonic": _published(200, 10, -70, 2, 30, 0, -58, 500),
    "adapting": _published(200, 12, -70, 2, 300, 60, -58, 500),
    "initial burst": _published(130, 18, -58, 4, 150, 120, -50, 400),
    "regular bursting": _published(200, 10, -58, 2, 120, 100, -46, 210),
    "delayed accelerating": _published(200, 12, -70, -10, 300, 0, -58, 300),
    "delayed regular bursting": _published(100, 10, -65, -10, 90, 30, -47, 110),
    "transient": _published(100, 10, -65, 10, 90, 100, -47, 180),
    "irregular": _published(100, 12, -60, -11, 130, 30, -48, 160),
}


def stacked(models: Any) -> AdExModel:
    """Returns models side by side: one neuron each, all of the first one's refractory time."""
    models = list(models)
    names = [name for name in AdExModel.__dataclass_fields__ if name != "t_ref"]
    columns = {name: np.array([getattr(m, name) for m in models]) for name in names}
    return AdExModel(**columns, t_ref=models[0].t_ref)
