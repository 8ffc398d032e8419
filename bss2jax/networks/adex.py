"""The layer of adaptive exponential neurons."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bss2jax.kernels.neurons import adex
from bss2jax.networks.layer import Arrays, Finite, How, Positive, Scale, Seconds
from bss2jax.networks.signal import Signal
from bss2jax.networks.spiking import LIF

Trained = Literal["tau_mem", "tau_syn", "threshold", "tau_w", "a", "b", "delta_t", "v_t"]


@dataclass(frozen=True, kw_only=True)
class AdEx(LIF):
    """Adaptive exponential neurons that see all inputs; recurrent where they are told to be.

    Potentials are in software units, the threshold 1. See `bss2jax.AdEx` for the equations.

    Attributes:
        integrator: order of the updates: `midpoint`, in sub-steps; `euler`; `hxtorch`, as there.
        substeps: sub-steps of `midpoint` in a step; by default as many as make them at most .05 µs
            long.
        trained: parameters that are trained too, each as a factor a neuron on its value here,
            which must not be 0.
        reset: potential after a spike.
        tau_w: time constant of adaptation, s.
        a, b: sub-threshold adaptation, a number, and what a spike adds to the adaptation.
        delta_t, v_t: slope of the exponential, and where it takes off.
        exponential, subthreshold, spike_triggered: whether the terms are on.
        reversal_exc, reversal_inh: reversal potentials of conductances; by default synapses give
            currents.
        reference: potential at which conductances give the nominal current; by default the middle
            between leak and threshold.
        tau_reset: time constant of the reset conductance, s; by default v is at reset at once.
    """

    follows: ClassVar[str] = "midpoint"
    takes_norm: ClassVar[bool] = False

    kind: Literal["adex"] = "adex"  # type: ignore[assignment]
    integrator: Literal["midpoint", "euler", "hxtorch"] = "midpoint"  # type: ignore[assignment]
    substeps: Positive | None = None
    trained: tuple[Trained, ...] = ()  # type: ignore[assignment]
    reset: Finite = 0.0
    tau_w: Seconds = 100e-6
    a: Finite = 0.2
    b: Finite = 0.1
    delta_t: Scale = 0.1
    v_t: Finite = 0.8
    exponential: bool = True
    subthreshold: bool = True
    spike_triggered: bool = True
    reversal_exc: Finite | None = None
    reversal_inh: Finite | None = None
    reference: Finite | None = None
    tau_reset: Seconds | None = None

    def shape(self, *before: Signal) -> Signal:
        after = super().shape(*before)
        if self.constants is not None:
            raise ValueError("constants: they are of lif, conv_lif and li layers")
        if self.gradient != "surrogate":
            raise ValueError("gradient: adex neurons have that of surrogates alone")
        self._neuron({}, before[0].dt)  # refuses what no neuron can have
        for name in self.trained:
            if getattr(self, name, 1.0) == 0:
                raise ValueError(f"trained: {name} is 0, which a factor does not change")
        return after

    def nominal(self, params: Arrays, how: How) -> adex.AdEx:
        return self._neuron(params, how.before[0].dt)

    def _neuron(self, params: Arrays, dt: float) -> adex.AdEx:
        given = ("tau_mem", "tau_syn", "threshold", "tau_w", "a", "b", "delta_t", "v_t")
        same = (
            "reset", "t_ref", "integrator", "substeps", "exponential", "subthreshold",
            "spike_triggered", "reversal_exc", "reversal_inh", "reference", "tau_reset",
        )  # fmt: skip
        values: dict[str, Any] = {
            name: self.factor(name, params) if params else getattr(self, name, 1.0)
            for name in given
        }
        return adex.AdEx(**values, **{name: getattr(self, name) for name in same}, dt=dt)
