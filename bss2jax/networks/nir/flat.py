"""A graph of NIR without graphs in it: nodes by dotted names, edges, shapes."""

from dataclasses import dataclass, field
from typing import Any

Edge = tuple[str, str]


@dataclass
class Flat:
    """Nodes and edges of a graph, all on one level.

    Attributes:
        nodes: by name; those of a graph in it are `graph.node`.
        edges: the edges from name to name.
    """

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def before(self, name: str) -> list[str]:
        """Returns what sends to a node."""
        return [a for a, b in self.edges if b == name]

    def behind(self, name: str) -> list[str]:
        """Returns what a node sends to."""
        return [b for a, b in self.edges if a == name]

    def only(self, kind: str) -> str:
        """Returns the one node of a kind, `Input` or `Output`.

        Raises:
            ValueError: there is none, or there are several.
        """
        found = [name for name, node in self.nodes.items() if kind_of(node) == kind]
        if len(found) != 1:
            names = ", ".join(found) or "none"
            raise ValueError(f"a network has one {kind} node, this graph has {names}")
        return found[0]


def kind_of(node: Any) -> str:
    """Returns the type of a node, as NIR calls it."""
    return type(node).__name__


def told(name: str, node: Any) -> str:
    """Returns a node's type and name, for messages."""
    return f"{kind_of(node)} {name!r}"


def flat(graph: Any) -> Flat:
    """Returns a graph without graphs in it.

    Args:
        graph: a graph of NIR.

    Raises:
        ValueError: an edge's end is no node, or a graph within has not one input and one output.
    """
    found = Flat()
    entrances: dict[str, str] = {}
    exits: dict[str, str] = {}
    for name, node in graph.nodes.items():
        if not hasattr(node, "nodes"):
            found.nodes[name] = node
            continue
        inner = flat(node)
        try:
            ends = inner.only("Input"), inner.only("Output")
        except ValueError as error:
            raise ValueError(f"{told(name, node)}: {error}") from None
        entrances[name], exits[name] = (f"{name}.{end}" for end in ends)
        found.nodes |= {f"{name}.{n}": one for n, one in inner.nodes.items()}
        found.edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in inner.edges]
    for a, b in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        for end in (a, b):
            if end not in graph.nodes:
                raise ValueError(f"edge {a!r} -> {b!r}: there is no node {end!r}")
        found.edges.append((exits.get(a, a), entrances.get(b, b)))
    for inside in (*entrances.values(), *exits.values()):
        _passed(found, inside)
    return found


def _passed(graph: Flat, name: str) -> None:
    """Takes out a node that hands on what it is given."""
    through = [(a, b) for a in graph.before(name) for b in graph.behind(name)]
    graph.edges = [e for e in graph.edges if name not in e] + through
    del graph.nodes[name]


def nested(nodes: dict[str, Any], edges: list[Edge], nir: Any) -> Any:
    """Returns a graph of NIR in which nodes `graph.node` are those of graphs within.

    Args:
        nodes: by name, with one `Input` and one `Output` on the outermost level.
        edges: the edges from name to name.
        nir: the module.
    """
    groups = dict.fromkeys(name.partition(".")[0] for name in nodes if "." in name)
    whole: dict[str, Any] = {name: node for name, node in nodes.items() if "." not in name}
    between = [e for e in edges if "." not in e[0] + e[1]]
    for group in groups:
        mine = {n.partition(".")[2]: one for n, one in nodes.items() if n.startswith(f"{group}.")}
        inner: list[Edge] = []
        for a, b in edges:
            ends = [end.partition(".") for end in (a, b)]
            here = [first == group and bool(rest) for first, _, rest in ends]
            if all(here):
                inner.append((ends[0][2], ends[1][2]))
            elif here[0]:
                inner.append((ends[0][2], "output"))
            elif here[1]:
                inner.append(("input", ends[1][2]))
        first = next(b for a, b in inner if a == "input")
        last = next(a for a, b in inner if b == "output")
        ends_of = {
            "input": nir.Input(input_type={"input": mine[first].input_type["input"]}),
            "output": nir.Output(output_type={"output": mine[last].output_type["output"]}),
        }
        whole[group] = nested(mine | ends_of, list(dict.fromkeys(inner)), nir)
    for a, b in edges:
        if "." in a + b:
            ends2 = a.partition(".")[0], b.partition(".")[0]
            if ends2[0] != ends2[1]:
                between.append(ends2)
    return nir.NIRGraph(whole, list(dict.fromkeys(between)), type_check=False)
