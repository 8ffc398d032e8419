"""The shape of the package: imports point down, what is long is cut, nobody asks for kinds."""

import ast
import logging.config
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
SOURCES = {
    str(path.relative_to(ROOT / "bss2jax")): path.read_text(encoding="utf-8")
    for path in (ROOT / "bss2jax").rglob("*.py")
}
TREES = {path: ast.parse(text) for path, text in SOURCES.items()}


def test_the_packages_imports_point_down_only(monkeypatch):
    # It would switch off the loggers of all other tests in this process.
    monkeypatch.setattr(logging.config, "dictConfig", lambda settings: None)
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_no_module_is_longer_than_400_lines():
    long = {path: len(text.splitlines()) for path, text in SOURCES.items()}
    assert {path: lines for path, lines in long.items() if lines > 400} == {}


def test_no_function_is_longer_than_60_lines():
    functions = [
        (f"{path}: {node.name}", node.end_lineno - node.lineno + 1)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(name, lines) for name, lines in functions if lines > 60] == []


def test_dataclasses_are_pytrees_that_tell_their_class():
    asking = [path for path, text in SOURCES.items() if "register_dataclass(" in text]
    asking += [path for path, text in SOURCES.items() if "@jax.tree_util.register" in text]
    assert asking == []


def named(node):
    """The last name of `Kind`, `module.Kind`, and of each in `(Kind, Other)` and `Kind | Other`."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return {name for each in node.elts for name in named(each)}
    if isinstance(node, ast.BinOp):
        return named(node.left) | named(node.right)
    return {getattr(node, "id", getattr(node, "attr", None))}


def kinds():
    """Classes that are layers, neurons, signals, plans, pieces or places, or meet a protocol.

    Whoever inherits from one of these, or has all that one of the package's protocols asks for (of
    what is sent, of weights, of gradient rules, of demands...), is one of them.
    """
    classes = [n for t in TREES.values() for n in ast.walk(t) if isinstance(n, ast.ClassDef)]
    bases = [set().union(*map(named, c.bases)) - {c.name} for c in classes]
    methods = [{n.name for n in c.body if isinstance(n, ast.FunctionDef)} for c in classes]
    fields = [{n.target.id for n in c.body if isinstance(n, ast.AnnAssign)} for c in classes]
    members = [does | has for does, has in zip(methods, fields)]
    protocols = [
        own
        for c, own, above in zip(classes, members, bases)
        if "Protocol" in above and not c.name.startswith("_")
    ]
    found = {"Layer", "Neuron", "Signal", "Plan", "Piece"}
    assert found <= {c.name for c in classes}
    found |= {c.name for c in classes if c.name.endswith("Place")}
    found |= {
        c.name
        for c, own, does in zip(classes, members, methods)
        for asked_for in protocols
        if asked_for <= own and asked_for & does
    }
    while more := {c.name for c, above in zip(classes, bases) if above & found} - found:
        found |= more
    return found


KINDS = kinds()


def asked(tree):
    """Lines in which code asks a value for its kind.

    `==` must ask, and so must `own_class`, which reads the name of a layer in a config.
    """
    others = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("bss2jax")
        for name in node.names
    }
    may = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in ("__eq__", "own_class")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = set()
        if isinstance(node, ast.Call) and named(node.func) <= {"isinstance", "issubclass"}:
            names = named(node.args[1])
        elif isinstance(node, ast.MatchClass):
            names = named(node.cls)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(s, ast.Call) and named(s.func) == {"type"} for s in sides):
                names = set().union(*map(named, sides))
        names = names & KINDS - others
        if names and node not in may:
            yield f"{getattr(node, 'lineno', '?')}: {', '.join(names)}"


def test_nobody_asks_for_kinds_outside_the_reading_of_configs():
    assert {"LIF", "ConvLIF", "Spikes", "Raster", "Events", "Windows", "Surrogate"} <= KINDS
    assert {"Plan", "ProductDemand", "ProductPlace", "Programmed", "SuperSpike"} <= KINDS
    found = {path: list(asked(t)) for path, t in TREES.items() if not path.startswith("config/")}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(x, LIF)",
        "isinstance(x, int | synapses.Lazy)",
        "issubclass(kind, (str, Layer))",
        "type(x) is Plan",
        "type(x) in (Raster, Events)",
        "match x:\n    case Spikes(dt=1): pass",
    ],
)
def test_asking_for_a_kind_is_seen(code):
    assert len(list(asked(ast.parse(code)))) == 1


def test_what_is_put_off_is_there():
    """Each line of `slow.txt` names a test."""
    here = Path(__file__).parent
    for line in (here / "slow.txt").read_text().splitlines():
        file, name = line.split("[")[0].split("::")
        assert f"\ndef {name}(" in (here / file).read_text(), line
