"""Residual blocks: neurons with a shortcut, and the blocks that a config names in a few lines."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from bss2jax.kernels.synapses.base import product
from bss2jax.kernels.synapses.codes import Codes
from bss2jax.kernels.synapses.given import sent_of
from bss2jax.kernels.synapses.summed import Joined, Own
from bss2jax.mapping.plan import as_matrix
from bss2jax.mapping.populations import PopulationDemand
from bss2jax.networks.codes import raster_of
from bss2jax.networks.layer import Applied, Arrays, How, Layer, NotNegative, Positive, folded
from bss2jax.networks.normed import by_batch
from bss2jax.networks.receptive import ConvLIF
from bss2jax.networks.shapes import Add
from bss2jax.networks.signal import Signal, Spikes, expect

_OF = "shortcut_"  # in front of the names of what the shortcut's norm has


@dataclass(frozen=True, kw_only=True)
class ShortcutLIF(ConvLIF):
    """Neurons with receptive fields, and with synapses from a second input: the shortcut.

    Where the shortcut has their size each neuron sees one entry of it, through one synapse without
    a norm. Else windows of one position see it, with strides that bring it to their size.
    """

    kind: Literal["shortcut_lif"] = "shortcut_lif"  # type: ignore[assignment]
    unclamped: ClassVar[tuple[str, ...]] = (*ConvLIF.unclamped, f"{_OF}gamma")

    def shape(self, *before: Signal) -> Signal:
        if len(before) != 2:
            raise ValueError('takes what its windows see, and a shortcut; inputs = ["a", "b"]')
        if not self.shared:
            raise ValueError("shared: neurons with a shortcut share their weights")
        expect(before[1], Spikes)
        before[0].joined(before)
        after = super().shape(before[0])
        self.other(*before)
        return after

    def other(self, *before: Signal) -> ConvLIF | None:
        """Returns the windows that see the shortcut; None where each neuron sees one entry.

        Raises:
            ValueError: no stride brings the shortcut to the size of the neurons.
        """
        theirs, ours = before[1].size, self.after(before[0]).size
        if theirs == ours:
            return None
        stride = tuple(-(-a // b) for a, b in zip(theirs[:-1], ours[:-1]))
        if tuple(-(-a // s) for a, s in zip(theirs[:-1], stride)) != ours[:-1]:
            raise ValueError(f"no stride brings a shortcut of {theirs} to {ours}")
        return ConvLIF(**_settings(self, ConvLIF) | {"window": 1, "stride": stride, "padding": 0})

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        params, other = super().init(key, before[0]), self.other(*before)
        if other is None:
            reach = self.reach(before[0])
            return params | {"shortcut": jnp.full((1, self.outputs), reach, jnp.float32)}
        drawn = other.init(folded(key, "shortcut"), before[1])
        norm = {f"{_OF}gamma": drawn["gamma"]} if self.norm else {}
        return params | {"shortcut": drawn["weight"]} | norm

    def state(self, *before: Signal) -> Arrays:
        other = self.other(*before)
        theirs = other.state(before[1]) if other is not None and self.norm else {}
        return super().state(before[0]) | {_OF + name: value for name, value in theirs.items()}

    def codes(self, params: Arrays, *before: Signal) -> Arrays:
        kept = {n: w.reshape(-1, self.outputs) for n, w in self.weights(params, *before).items()}
        codes = Codes(self.scale, before[0].substrate)
        unit = codes.unit(jnp.concatenate(list(kept.values())))
        super().codes({"weight": params["weight"]}, *before)
        return {name: codes.shown(w, unit).reshape(params[name].shape) for name, w in kept.items()}

    def apply(self, params: Arrays, state: Arrays, *x: Any, how: How) -> Applied:
        before, other = how.before, self.other(*how.before)
        sent = self.seen(x[0], before[0], how.precision)
        shortcut: Any = Own(raster_of(x[1]))
        if other is not None:
            shortcut = other.seen(x[1], before[1], how.precision)
        settings: dict[str, Any] = {"gradient": self.rule, "observe": self.observed(how)}
        if self.norm and by_batch(how):
            main, second = self._matrices(params, *before)
            current, state = self.normalised(_sum(sent, main), params, state)
            more = _sum(shortcut, second)
            if other is not None:
                more, state = self.normalised(more, params, state, _OF)
            recording = self.run_on(current + more, sent.positions, params, how, **settings)
        else:
            _, plain, _ = self.without_norm(params, state)
            w = jnp.concatenate(self._matrices(plain, *before))
            recording = self.run(Joined((sent, shortcut)), w, plain | state, how, **settings)
        z, record = self.fired(recording, params | state, how)
        return z, state, record

    def _matrices(self, params: Arrays, *before: Signal) -> tuple[jax.Array, jax.Array]:
        """The weights `[K, C]` of both projections."""
        w = self.weights(params, *before)
        shortcut = w["shortcut"]
        return as_matrix(w["weight"]), as_matrix(shortcut) if shortcut.ndim > 2 else shortcut

    def without_norm(self, params: Arrays, state: Arrays) -> tuple[Layer, Arrays, Arrays]:
        layer, plain, kept = super().without_norm(params, state)
        if f"{_OF}gamma" not in plain:
            return layer, plain, kept
        plain = dict(plain)
        w, bias = self.frozen(plain["shortcut"], plain, state, _OF)
        del plain[f"{_OF}gamma"]
        return layer, plain | {"shortcut": w, "bias": plain["bias"] + bias}, kept

    def demand(self, *before: Signal) -> PopulationDemand:
        other, main = self.other(*before), super().demand(before[0])
        more = 1 if other is None else other.fan_in(before[1])
        return replace(main, inputs=main.inputs + more)


@dataclass(frozen=True, kw_only=True)
class Residual(ConvLIF):
    """Residual blocks, which a network has as their layers: `NAME_a`, `NAME_b`, ..., `NAME`.

    A block is two windows, or of `bottleneck` one position, a window and one position again, with a
    quarter of the neurons in the first two. The stride is that of the first block. A shortcut that
    changes its size on the way passes windows of one position.

    Attributes:
        outputs: neurons at a position behind a block.
        repeats: blocks, one behind the other, `NAME_0` to the last, which is called `NAME`.
        block: `basic` or `bottleneck`.
        connect: `currents`, the shortcut drives the last population of the block, too; `spikes`,
            its spikes are added to those of that population: several events on a chip.
        window, padding: geometry of the windows; by default three entries, as many positions as
            before.

    References: He et al. 2015 (arXiv 1512.03385); Fang et al. 2021 (arXiv 2102.04159), for spikes.
    """

    kind: Literal["residual"] = "residual"  # type: ignore[assignment]
    window: Positive | tuple[Positive, ...] = 3
    padding: NotNegative | tuple[NotNegative, ...] | Literal["SAME", "VALID"] = 1
    norm: Literal["batch"] | None = "batch"
    repeats: Positive = 1
    block: Literal["basic", "bottleneck"] = "basic"
    connect: Literal["currents", "spikes"] = "currents"

    def parts(self, name: str, inputs: tuple[str, ...], *before: Signal) -> tuple[Layer, ...]:
        if len(before) != 1:
            raise ValueError(f"takes the output of one layer, and is given {len(before)}")
        found: list[Layer] = []
        (source,), signal = inputs, before[0]
        for number in range(self.repeats):
            last = number == self.repeats - 1
            stride = self.stride if number == 0 else 1
            block = name if last else f"{name}_{number}"
            inner = f"{name}_{number}" if self.repeats > 1 else name
            found += self._block(block, inner, source, signal, stride)
            main = replace(self, stride=stride)
            source, signal = block, main.after(signal)
        return tuple(found)

    def _block(
        self, name: str, inner: str, source: str, before: Signal, stride: Any
    ) -> list[Layer]:
        """The layers of one block, the last of which has the name."""
        shared = _settings(self, ConvLIF)
        narrow = {"outputs": max(1, self.outputs // 4)}
        point, first = {"window": 1, "stride": 1, "padding": 0}, {"stride": stride}
        if self.block == "basic":
            ways = [first, {"stride": 1}]
        else:
            ways = [narrow | point, narrow | first, point]
        chain: list[Layer] = []
        behind = source
        for letter, way in zip("abc", ways):
            at = f"{inner}_{letter}"
            chain.append(ConvLIF(**shared | way | {"name": at, "inputs": (behind,)}))
            behind = at
        end: Any = chain[-1]
        if self.connect == "currents":
            joined = ShortcutLIF(
                **_settings(end, ConvLIF) | {"name": name, "inputs": (*end.inputs, source)}
            )
            return [*chain[:-1], joined]
        if before.size == replace(self, stride=stride).after(before).size:
            return [*chain, Add(name=name, inputs=(end.name, source))]
        way = {"window": 1, "stride": stride, "padding": 0}
        short = f"{inner}_shortcut"
        other = ConvLIF(**shared | way | {"name": short, "inputs": (source,)})
        return [*chain, other, Add(name=name, inputs=(end.name, short))]


def _sum(sent: Any, w: jax.Array) -> jax.Array:
    """What a projection adds, `[T, B, N]`."""
    return product(sent_of(sent, len(w)), w)


def _settings(layer: Any, kind: type[Layer]) -> dict[str, Any]:
    """The settings of a layer that another kind has, too, but for its name and its inputs."""
    names = {field.name for field in fields(kind)} - {"kind", "name", "inputs"}
    return {name: getattr(layer, name) for name in names}
