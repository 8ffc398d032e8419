"""Public functions say the shape of each array and name each argument; ruff's D rules the rest.

A scan, not a reader: it knows that something is said, not that it is right.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bss2jax"
ARRAY = re.compile(r"\b(jax\.Array|np\.ndarray|npt\.ArrayLike)\b")
SHAPE = re.compile(r"`\[[^`\]]*\]`|\b(scalars?|any shape)\b")
# One docstring may leave shapes and arguments to another.
REFERS = re.compile(r"\b(as|see|of|for|than|like|what|and|from) `[\w.]+`|as the attributes of")
# An entry that only its name makes a phrase: "path: of the file".
REST = re.compile(r"^ +(\*{0,2}\w+): (of|whose|to|from|by which) ", re.M)
STANDARD = {"self", "cls", "chip", "key", "keys", "substrate"}  # mean the same everywhere


def functions(tree):
    """The public functions and methods of a module, each with its docstring and its class's."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.FunctionDef):
            yield node, ast.get_docstring(node) or "", ""
            continue
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield member, ast.get_docstring(member) or "", ast.get_docstring(node) or ""


def complaints(source):
    for node in ast.walk(tree := ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for name, word in REST.findall(ast.get_docstring(node) or ""):
                yield f"{node.name}: {name}: what {word} ...? an entry is a noun phrase"
    for function, text, above in functions(tree):
        arguments = [*function.args.args, *function.args.kwonlyargs]
        others = [a for a in arguments if a.arg not in STANDARD]
        if not text or REFERS.search(text):
            continue
        for argument in others:
            if "Args:" in text and not re.search(rf"\b{argument.arg}\b", text):
                yield f"{function.name}: Args leaves out {argument.arg}"
        annotations = [a.annotation for a in others] + [function.returns]
        arrays = any(ARRAY.search(ast.unparse(each)) for each in annotations if each)
        if arrays and not SHAPE.search(text + above):
            yield f"{function.name}: an array without a shape"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_shapes_and_arguments_are_said(path):
    assert not list(complaints(path.read_text(encoding="utf-8")))
