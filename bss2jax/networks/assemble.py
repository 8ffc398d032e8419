"""Puts layers into a graph: names, shapes, inputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import jax

from bss2jax.networks.graph import Network, Node
from bss2jax.networks.layer import Arrays, Layer, names_of
from bss2jax.networks.signal import Signal


def assemble(layers: tuple[Layer, ...], sample: Signal) -> Network:
    """Puts layers into a graph, those of a block in its place.

    Args:
        layers: the layers in the order in which they work.
        sample: the network's input.

    Raises:
        ValueError: as `build`.
    """
    signals: dict[str, Signal] = {"input": sample}
    trained, nodes, latest = {"input": False}, [], "input"
    for whole, given in zip(layers, names_of(layers), strict=True):
        inputs = whole.inputs or (latest,)
        before = _known(given, inputs, signals)
        with _told(given, before):
            parts = whole.parts(given, inputs, *before)
        for layer in parts:
            name = layer.name or given
            inputs = layer.inputs or (latest,)
            before = _known(name, inputs, signals)
            if name in signals:
                raise ValueError(f"layers: the name {name!r} occurs twice")
            with _told(name, before):
                after = layer.shape(*before)
                params = jax.eval_shape(partial(_init, layer, before), jax.random.key(0))
            behind = any(trained[one] for one in inputs)
            if behind and not layer.differentiable:
                raise ValueError(
                    f"layer {name}: no gradient passes through it to the layers before it, which "
                    "would not be trained; take a code that has one, such as regular or rate"
                )
            signals[name], trained[name], latest = after, behind or bool(params), name
            nodes.append(Node(name, layer, inputs, before, after))
    used = {one for node in nodes for one in node.inputs} | {latest}
    for node in nodes:
        if node.name not in used:
            raise ValueError(f"layer {node.name}: no layer takes its output")
    return Network(sample, tuple(nodes))


def _known(name: str, inputs: tuple[str, ...], signals: dict[str, Signal]) -> tuple[Signal, ...]:
    """The signals of a layer's inputs."""
    for one in inputs:
        if one not in signals:
            known = ", ".join(signals)
            raise ValueError(f"layer {name}: inputs: no layer {one!r} before it; known: {known}")
    return tuple(signals[one] for one in inputs)


@contextmanager
def _told(name: str, before: tuple[Signal, ...]) -> Iterator[None]:
    """Has an error say which layer cannot take what."""
    try:
        yield
    except ValueError as error:
        given = " and ".join(str(signal.size) for signal in before)
        raise ValueError(f"layer {name} on an input of {given}: {error}") from None


def _init(layer: Layer, before: tuple[Signal, ...], key: jax.Array) -> Arrays:
    return layer.init(key, *before)
