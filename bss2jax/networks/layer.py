"""What a layer is: a frozen value that knows its own shape, parameters, work and demand.

A layer of one's own derives from `Layer` and says `shape` and `apply`, and `init` where it has
parameters; a config names it `kind = "mypackage.module:MyLayer"`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args, overload

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, Lt, MinLen

from bss2jax.arrays import along_last, pytree
from bss2jax.chip import draws
from bss2jax.chip.chip import Chip
from bss2jax.extras import named
from bss2jax.kernels.synapses.delays import Delays
from bss2jax.mapping.plan import Demand
from bss2jax.networks.signal import Signal
from bss2jax.settings import Checked

Execution = Literal["float", "ideal", "chip"]
EXECUTIONS: tuple[Execution, ...] = get_args(Execution)
Precision = Literal["float32", "bfloat16"]
Arrays = dict[str, jax.Array]
Applied = tuple[jax.Array, Arrays, Arrays]  # output, state, record

Positive = Annotated[int, Ge(1), Le(1_000_000)]  # beyond it a plan alone takes for ever
NotNegative = Annotated[int, Ge(0), Le(1_000_000)]
Seconds = Annotated[float, Gt(0), Lt(1)]
Scale = Annotated[float, Gt(0), Lt(float("inf"))]
Finite = Annotated[float, Gt(-float("inf")), Lt(float("inf"))]
Name = Annotated[str, MinLen(1)]


@pytree
@dataclass(frozen=True)
class How:
    """How, where and on which chip a layer does its work.

    Attributes:
        chip: the chip whose fixed pattern applies on the execution `chip`; None for others.
        key: the random key of the layer's noise, random codes and dropout; None: none of these.
        sample: number of the first sample of the batch, which noise depends on.
        execution: `float` without rounding, floor, saturation and noise; `ideal` on a perfect chip
            without noise; `chip` on the given chip.
        training: whether dropout and training noise apply.
        before: the signals that the layer is given.
        after: the signal that it makes.
        place: the place where the plan puts the layer on the chip; None for a layer that asks for
            nothing.
        observe: what else records hold, of what `Network.apply` can be asked for.
        delays: the delays of the links between chips, for what a population is sent and within it;
            None: none.
        precision: the precision of the factors of convolutions in training on `float`, and of
            spikes.
    """

    chip: Chip | None
    key: jax.Array | None
    sample: jax.Array | int
    execution: Execution = field(metadata={"static": True})
    training: bool = field(metadata={"static": True})
    before: tuple[Signal, ...] = field(metadata={"static": True})
    after: Signal = field(metadata={"static": True})
    place: Any = field(default=None, metadata={"static": True})
    observe: tuple[str, ...] = field(default=(), metadata={"static": True})
    delays: tuple[Delays | None, Delays | None] = (None, None)
    precision: Precision = field(default="float32", metadata={"static": True})

    @property
    def noise(self) -> jax.Array | None:
        """The key of the chip's trial noise, `[]`; None where there is none."""
        return folded(self.key, "noise") if self.execution == "chip" else None


@dataclass(frozen=True, kw_only=True)
class Layer(Checked):
    """The base of all layers.

    Attributes:
        name: its name in the network and in the tree of its parameters; by default its kind and a
            number.
        inputs: names of the layers whose outputs it takes, `input` for the network's own input; by
            default the layer before it.
    """

    # Whether it takes values that are still to be coded as spikes, and not only their raster.
    takes_coded: ClassVar[bool] = False
    # Whether a gradient passes to what comes before it.
    differentiable: ClassVar[bool] = True
    # Whether what is below 0 is 0 to it, as to whatever is sent to a chip.
    unsigned: ClassVar[bool] = False
    # Whether values keep their signs on their way through it.
    keeps_signs: ClassVar[bool] = False
    # Whether it looks across the samples of a batch, as batch norm does.
    across_samples: ClassVar[bool] = False
    # Whether what it takes of the samples, or keeps of them, it sums over the devices of a batch.
    across_devices: ClassVar[bool] = False
    # What a network with such layers is called.
    family: ClassVar[str] = ""
    # Whether it makes rates, which a chip shows as spikes of a converted network.
    rates: ClassVar[bool] = False
    executions: ClassVar[tuple[Execution, ...]] = EXECUTIONS

    name: Name | None = None
    inputs: Annotated[tuple[Name, ...], MinLen(1)] | None = None

    @property
    def reorders(self) -> bool:
        """Whether it changes the order of the entries of a sample."""
        return False

    def parts(self, name: str, inputs: tuple[str, ...], *before: Signal) -> "tuple[Layer, ...]":
        """Returns the layers that a network has in its place; by default itself.

        Args:
            name: the name of the last of them.
            inputs: names of the layers that it stands behind.
            before: the signals of these.

        Raises:
            ValueError: it cannot take them.
        """
        return (self,)

    def shape(self, *before: Signal) -> Signal:
        """Returns the signal that it makes of the signals before it.

        Raises:
            ValueError: it cannot take them.
        """
        raise NotImplementedError

    def init(self, key: jax.Array, *before: Signal) -> Arrays:
        """Draws its parameters, float32 arrays by name; none by default."""
        return {}

    def state(self, *before: Signal) -> Arrays:
        """Returns what it keeps from step to step of a training; nothing by default."""
        return {}

    def apply(self, params: Arrays, state: Arrays, *x: jax.Array, how: How) -> Applied:
        """Does its work.

        Args:
            params: the parameters, from `init`, or trained.
            state: the state, from `state`, or of the step before.
            x: an array for each of its inputs, `[B, *size]` or `[T, B, *size]`.
            how: execution, chip, key and place.

        Returns:
            Its output, its state, and a record of what happened.
        """
        raise NotImplementedError

    def project(self, params: Arrays, *before: Signal) -> Arrays:
        """Returns parameters within what the synapses can hold; unchanged by default."""
        return params

    def codes(self, params: Arrays, *before: Signal) -> Arrays:
        """Returns the weights among its parameters as synapses hold them, by name; {} by default.

        Args:
            params: the parameters, from `init`, or trained.
            before: the signals that it is given.

        Returns:
            Arrays of the parameters' shapes, whole numbers -63..63, LSB.
        """
        return {}

    def without_norm(self, params: Arrays, state: Arrays) -> "tuple[Layer, Arrays, Arrays]":
        """Returns the layer with what normalises its input folded into weights; itself by default.

        Args:
            params, state: what it has learned.

        Returns:
            The layer, its parameters and its state.
        """
        return self, params, state

    def complaint(self, record: Mapping[str, float], after: Signal) -> str:
        """Returns what is wrong with the layer and what to change; empty where nothing is.

        Args:
            record: means of its record over samples, such as the share of readouts that saturate.
            after: the signal that it makes.
        """
        return ""

    def demand(self, *before: Signal) -> Demand | None:
        """Returns what it asks of the chip; None for nothing."""
        return None

    def sloped(self, slope: float) -> "Layer":
        """Returns the layer with another slope of its surrogate; itself where it has none."""
        return self

    def spiking(self, via: "Via") -> tuple["Layer", "Via"]:
        """Returns its counterpart in a converted network, and how the output of that arrives.

        Raises:
            ValueError: it has none.
        """
        raise ValueError("has no counterpart in spikes: a network of rates is converted as a whole")


@dataclass(frozen=True)
class Via:
    """How what a layer of a converted network is given stands for the rates that it was given.

    Attributes:
        before: the signal of the rates.
        conversion: how the network runs as spikes, see `networks.conversion.Conversion`.
        on_chip: whether it runs on a chip, a thousand times faster.
        factor: what one spike, or one unit of a current, stands for.
        constant: whether it is a current that stays.
    """

    before: Signal
    conversion: Any
    on_chip: bool
    factor: float
    constant: bool


def kind_of(layer: Layer) -> str:
    """Returns the name of a layer's kind in a config; of one's own class its dotted name."""
    own = f"{type(layer).__module__}:{type(layer).__qualname__}"
    return getattr(layer, "kind", own)


def names_of(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Returns the layers' names, given or made of kind and number: `lif_0`, `lif_1`, `li_0`.

    A layer that is inserted leaves the names of other kinds as they were.

    Raises:
        ValueError: there are no layers, or a name occurs twice.
    """
    names: list[str] = []
    count: dict[str, int] = {}
    for layer in layers:
        kind = kind_of(layer).rpartition(":")[2].lower()
        number = count.get(kind, 0)
        count[kind] = number + 1
        names.append(layer.name or f"{kind}_{number}")
    if not names:
        raise ValueError("layers: a network needs at least one")
    for i, name in enumerate(names):
        if name in (*names[:i], "input"):
            raise ValueError(f"layers: the name {name!r} occurs twice")
    return tuple(names)


def own_class(dotted: str) -> type[Layer]:
    """Returns the layer class of a dotted name, `package.module:Class`.

    Raises:
        ValueError: there is no such module or class, or it is no layer; modules are also found in
            the current directory.
    """
    found = named(dotted)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise ValueError(f"{dotted} is no class derived from bss2jax.networks.Layer")
    return found


@overload
def folded(key: jax.Array, name: str) -> jax.Array: ...
@overload
def folded(key: jax.Array | None, name: str) -> jax.Array | None: ...
def folded(key: jax.Array | None, name: str) -> jax.Array | None:
    """Returns the key of something by its name, `[]`; None where there is no key."""
    return None if key is None else draws.folded(key, name)


def dropped(z: jax.Array, share: float, how: How) -> jax.Array:
    """Silences a share of neurons in training, others for every batch, and scales what is left.

    Args:
        z: `[..., *size]` spikes or rates.
        share: the share of the neurons that are silenced, 0..1.
        how: how the layer is run, with the key that draws them; without key or training none is
            silenced.
    """
    if not (how.training and share and how.key is not None):
        return z
    kept = draws.bernoulli(folded(how.key, "dropout"), 1 - share, how.after.size)
    scale = jnp.where(kept, jnp.float32(1 / (1 - share)), 0)
    return z * along_last(scale, z)


def per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Returns one number per axis."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * axes
