"""Spiking populations as flax nnx modules."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2
from bss2jax.execute import convolution
from bss2jax.execute.compat import integrate, spiking
from bss2jax.kernels.gradients.surrogate import SpikeFunction, SuperSpike
from bss2jax.kernels.neurons.li import LIParams
from bss2jax.kernels.neurons.lif import LIFParams
from bss2jax.kernels.neurons.membrane import Integrator
from bss2jax.kernels.synapses.given import Spikes
from bss2jax.kernels.synapses.windows import Windows
from bss2jax.mapping.plan import as_matrix
from bss2jax.mapping.populations import Population
from bss2jax.networks.layers import pair


class LIF(nnx.Module):
    """`bss2jax.spiking` with its weights: neurons that see all inputs.

    Args:
        in_features: K.
        out_features: N.
        params: nominal neurons; not trained here, but a field of the module like any other.
        recurrent: whether spikes return to the population.
        init_mean, init_std: of the initial weights, software units; cut at +-63 / weight_scale.
        quantised, weight_scale, dt, t_ref, integrator, surrogate: as in `bss2jax.spiking`.
        population: its place on the chip; by default from circuit 0 in as few runs as fit.
        rngs: flax's streams; `params` draws the weights.

    Attributes:
        kernel: `nnx.Param`, `[K, N]`, software units.
        recurrent_kernel: `nnx.Param`, `[N, N]`; or None.

    Raises:
        ValueError: the population does not fit the chip.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        params: LIFParams = LIFParams(),
        recurrent: bool = False,
        init_mean: float = 0.0,
        init_std: float = 0.2,
        quantised: bool = True,
        weight_scale: float = 60.0,
        dt: float = 1e-6,
        t_ref: float = 0.0,
        integrator: Integrator = "exponential",
        surrogate: SpikeFunction = SuperSpike(),
        population: Population | None = None,
        rngs: nnx.Rngs,
    ):
        fan_in = in_features + out_features * recurrent
        self.population = population or Population(fan_in, out_features, recurrent)
        self.kernel = _weights((in_features, out_features), init_mean, init_std, weight_scale, rngs)
        self.recurrent_kernel = (
            _weights((out_features, out_features), 0.0, init_std, weight_scale, rngs)
            if recurrent
            else None
        )
        self.params = nnx.data(params)
        self.quantised, self.weight_scale = quantised, weight_scale
        self.dt, self.t_ref = dt, t_ref
        self.integrator, self.surrogate = integrator, surrogate

    def __call__(
        self,
        spikes: Spikes,
        chip: Chip | None = None,
        key: jax.Array | None = None,
        *,
        steps: int | None = None,
    ) -> jax.Array:
        """Runs the population from rest.

        Args:
            spikes: `[T, B, K]`, or events of K inputs.
            chip: whose circuits and synapses apply; None for perfect ones.
            key: for the chip's trial noise; None: no noise.
            steps: T, where `spikes` are `Events`.

        Returns:
            `[T, B, N]` spikes, 0.0 or 1.0.

        Raises:
            ValueError: as `bss2jax.spiking`.
        """
        back = None if self.recurrent_kernel is None else self.recurrent_kernel[...]
        return spiking(
            spikes, self.kernel[...], self.params, chip, key,
            recurrent=back, steps=steps, population=self.population, **_settings(self),
        )  # fmt: skip


class ConvLIF(nnx.Module):
    """`bss2jax.spiking` with receptive fields: the same weights at each position, or their own.

    Args:
        in_features: C, channels of the input.
        out_features: N, neurons at each position.
        kernel_size: taps of the window along each axis.
        strides, padding: as in `bss2jax.conv2d`; a sequence has a number for each axis.
        shared: one kernel for all positions; else `size` must be given.
        size: of the input along each axis, where the weights are not shared.
        Others: as in `LIF`.

    Attributes:
        kernel: `nnx.Param`, `[*kernel_size, C, N]`, or `[positions, C * window, N]` if not shared;
            software units.

    Raises:
        ValueError: the window does not fit, or weights are not shared and the size is not known.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: int | str = 0,
        shared: bool = True,
        size: Sequence[int] | None = None,
        params: LIFParams = LIFParams(),
        init_mean: float = 0.0,
        init_std: float = 0.2,
        quantised: bool = True,
        weight_scale: float = 60.0,
        dt: float = 1e-6,
        t_ref: float = 0.0,
        integrator: Integrator = "exponential",
        surrogate: SpikeFunction = SuperSpike(),
        rngs: nnx.Rngs,
    ):
        self.kernel_size = tuple(kernel_size)
        self.strides, self.padding = pair(strides, len(self.kernel_size)), padding
        shape = (*self.kernel_size, in_features, out_features)
        if not shared:
            if size is None:
                raise ValueError("size: weights of their own need the size of the input")
            positions = convolution.output_shape(size, self.kernel_size, self.strides, padding)
            fan_in = in_features * math.prod(self.kernel_size)
            shape = (math.prod(positions), fan_in, out_features)
        self.shared = shared
        self.kernel = _weights(shape, init_mean, init_std, weight_scale, rngs)
        self.params = nnx.data(params)
        self.quantised, self.weight_scale = quantised, weight_scale
        self.dt, self.t_ref = dt, t_ref
        self.integrator, self.surrogate = integrator, surrogate

    def __call__(
        self, spikes: jax.Array, chip: Chip | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Runs the population from rest.

        Args:
            spikes: `[T, B, *size, C]`.
            chip, key: as in `LIF`.

        Returns:
            `[T, B, *positions, N]` spikes, 0.0 or 1.0.

        Raises:
            ValueError: as `bss2jax.spiking`, or the window does not fit.
        """
        windows = Windows(spikes, self.kernel_size, self.strides, self.padding)
        w = as_matrix(self.kernel[...]) if self.shared else self.kernel[...]
        seen: Spikes = windows if self.shared else windows.unfolded()
        z = spiking(seen, w, self.params, chip, key, **_settings(self))
        return z.reshape(*z.shape[:2], *windows.grid, z.shape[-1])


class LI(nnx.Module):
    """`bss2jax.integrate` with its weights: the readout of a spiking network.

    Args:
        in_features: K.
        out_features: N.
        params: nominal neurons.
        readout_scale: LSB of a membrane at the CADC per software unit.
        Others: as in `LIF`.

    Attributes:
        kernel: `nnx.Param`, `[K, N]`, software units.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        params: LIParams = LIParams(),
        init_mean: float = 0.0,
        init_std: float = 0.2,
        quantised: bool = True,
        weight_scale: float = 60.0,
        readout_scale: float = 40.0,
        dt: float = 1e-6,
        integrator: Integrator = "exponential",
        population: Population | None = None,
        rngs: nnx.Rngs,
    ):
        self.population = population or Population(in_features, out_features)
        self.kernel = _weights((in_features, out_features), init_mean, init_std, weight_scale, rngs)
        self.params = nnx.data(params)
        self.quantised, self.weight_scale = quantised, weight_scale
        self.readout_scale, self.dt, self.integrator = readout_scale, dt, integrator

    def __call__(
        self,
        spikes: Spikes,
        chip: Chip | None = None,
        key: jax.Array | None = None,
        *,
        steps: int | None = None,
    ) -> jax.Array:
        """Runs the integrators from rest.

        Args:
            spikes: `[T, B, K]`, or events of K inputs.
            chip, key, steps: as in `LIF`.

        Returns:
            `[T, B, N]` membrane potential, software units.
        """
        return integrate(
            spikes, self.kernel[...], self.params, chip, key,
            steps=steps, population=self.population, quantised=self.quantised,
            weight_scale=self.weight_scale, readout_scale=self.readout_scale,
            dt=self.dt, integrator=self.integrator,
        )  # fmt: skip


def _settings(module):
    names = ("quantised", "weight_scale", "dt", "t_ref", "integrator", "surrogate")
    return {name: getattr(module, name) for name in names}


def _weights(shape, mean, std, weight_scale, rngs):
    limit = BSS2.weight_max / weight_scale
    normal = std * jax.random.normal(rngs.params(), shape)
    return nnx.Param(jnp.clip(mean + normal, -limit, limit))
