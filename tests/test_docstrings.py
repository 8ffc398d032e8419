"""Every public name says what it is: shapes, units, errors and sources, found in the source text.

A scan, not a reader: it knows that something is said, not that it is right. What it asks for:

- a docstring for every public module, class, function, method and property, and annotations;
- `Args:` where there are three arguments or more, each of them named there (`chip`, `key` and
  `substrate` mean the same everywhere and are not counted);
- a shape, such as `[B, K]`, wherever an array goes in or comes out;
- a unit for every argument or attribute whose name is that of a physical quantity;
- each error that is raised, in the function or in the private helpers it calls;
- `References:` in the docstring or the module's, where facts about the chip or papers live.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bss2jax"
# Where facts are: below these every docstring, or its module's, names a source ...
FACTS = ("chip/", "kernels/", "mapping/", "execute/", "calibration/")
# ... but in these, which hold plain arithmetic, files and text.
PLAIN = {
    "chip/file.py",
    "chip/measurements.py",
    "kernels/dot.py",
    "kernels/synapses/events.py",
    "kernels/synapses/fields.py",
    "calibration/report.py",
}
ARRAY = re.compile(r"\b(jax\.Array|np\.ndarray|Spikes|Fields)\b")
SHAPE = re.compile(r"`\[[^`\]]*\]`|\b(scalars?|any shape)\b")
# One docstring may leave shapes, units and errors to another.
REFERS = re.compile(r"\b(as|see|of|for|than|like|what|and|from) `[\w.]+`|as the attributes of")
PHYSICAL = re.compile(r"^(tau(_\w+)?|dt|t_ref|jitter|kelvin|temperature|dt|noise_std|send_noise"
                      r"|\w*_seconds|seconds|early|late|bias_time|power|offset)$")  # fmt: skip
UNIT = re.compile(
    r"\b(s|Hz|LSB|W|J|K|us|nats|steps|seconds|time|bytes|units?|relative|nominal|share|factor)\b"
)
STANDARD = {"chip", "key", "substrate"}


def text_of(node):
    return ast.get_docstring(node) or ""


def is_public(name):
    return not name.startswith("_") or name == "__call__"


def parameters(function):
    """The arguments of a function that are not `self`."""
    a = function.args
    every = [*a.posonlyargs, *a.args, *a.kwonlyargs]
    return [p for p in every if p.arg not in ("self", "cls")]


def annotation(node):
    return "" if node is None else ast.unparse(node)


def section(docstring, *titles):
    """The text of a section such as Args, with what follows the colon on the same line."""
    found = re.search(rf"^({'|'.join(titles)}):(.*?)(?=^\w+:\n|\Z)", docstring, re.M | re.S)
    return found[2] if found else None


def entries(docstring):
    """What each argument or attribute is, by name; several may share an entry."""
    found = {}
    for title in ("Args", "Attributes"):
        text = section(docstring, title) or ""
        for names, meaning in re.findall(
            r"^    ([A-Za-z_][\w, ]*?)(?: \([^)]*\))?: (.*?)(?=^    \S|\Z)", text, re.M | re.S
        ):
            found |= dict.fromkeys(re.split(r", | and ", names), meaning)
    return found


def raised(function, helpers, tuples, seen=()):
    """Names of the errors raised in a function and in the private helpers it calls.

    What the function itself catches is left out; `tuples` are the module's tuples of errors.
    """
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            names.add(ast.unparse(node.exc.func).split(".")[-1])
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called.startswith("_") and called in helpers and called not in seen:
                names |= raised(helpers[called], helpers, tuples, (*seen, called))
    handled = {
        name
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and node.type
        for caught in re.findall(r"\w+", ast.unparse(node.type))
        for name in tuples.get(caught, (caught,))
    }
    return {name for name in names - handled if name.endswith("Error") or name == "NonFinite"}


def check_annotations(function):
    if function.returns is None:
        yield "returns something that is not annotated"
    for parameter in parameters(function):
        if parameter.annotation is None:
            yield f"{parameter.arg} is not annotated"


def check_arguments(function, docstring):
    known, refers = entries(docstring), REFERS.search(docstring)
    names = [p.arg for p in parameters(function)]
    if len(set(names) - STANDARD) >= 3 and section(docstring, "Args") is None:
        yield f"has {len(names)} arguments and no Args"
    if section(docstring, "Args") is not None and not refers and "Others" not in known:
        for name in names:
            if name not in known:
                yield f"Args leaves out {name}"


def check_shapes(function, docstring):
    known, refers = entries(docstring), REFERS.search(docstring)
    for parameter in parameters(function):
        name = parameter.arg
        if not ARRAY.search(annotation(parameter.annotation)) or name in ("key", "keys"):
            continue
        said = known.get(name, docstring)
        if not (SHAPE.search(said) or REFERS.search(said) or refers):
            yield f"{name} is an array without a shape"
    if ARRAY.search(annotation(function.returns)):
        said = section(docstring, "Returns") or docstring
        if not (SHAPE.search(said) or REFERS.search(said)):
            yield "returns an array without a shape"


def check_units(names, docstring):
    known = entries(docstring)
    for name in names:
        if PHYSICAL.match(name) and not REFERS.search(docstring):
            said = known.get(name, docstring)
            if not UNIT.search(said):
                yield f"{name} has no unit"


def check_errors(errors, docstring):
    for error in sorted(errors):
        if error not in docstring and not re.search(r"Raises:\n\s+As `|ValueError: as ", docstring):
            yield f"raises {error} and does not say so"


def complaints(path, source):
    """What is missing in one file: a list of `file: name: what`."""
    tree = ast.parse(source)
    found = [] if text_of(tree) else [f"{path}: has no docstring"]
    helpers = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    tuples = {
        ast.unparse(node.targets[0]): re.findall(r"\w+", ast.unparse(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
    }
    protocol = {
        member.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
        for member in node.body
        if isinstance(member, ast.FunctionDef)
    }
    facts = path.startswith(FACTS) and path not in PLAIN and "References:" not in text_of(tree)

    def look(node, name, class_text=""):
        docstring = text_of(node)
        if not docstring:
            # A method that does what a protocol documents says it there.
            return [] if node.name in protocol else ["has no docstring"]
        # Axes and figures are matplotlib's, which is imported late.
        typed = isinstance(node, ast.FunctionDef) and not path.startswith("plot")
        said = [*check_annotations(node)] if typed else []
        if isinstance(node, ast.FunctionDef):
            said += check_arguments(node, docstring)
            said += check_shapes(node, docstring + class_text)
            said += check_units([p.arg for p in parameters(node)], docstring)
            said += check_errors(raised(node, helpers, tuples), docstring)
        else:
            fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign)]
            own = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            if not REFERS.search(docstring):
                said += [
                    f"Attributes leaves out {field}"
                    for field in fields
                    if not re.search(rf"\b{field}\b", docstring)
                    and is_public(field)
                    and field != "kind"
                    and path != "chip/substrate.py"  # whose fields have their comments
                ]
            said += check_units(fields, docstring) if path != "chip/substrate.py" else []
            if "__init__" in own and len(parameters(own["__init__"])) > 1 and "Error" not in name:
                said += check_arguments(own["__init__"], docstring)
            for maker in ("__init__", "__post_init__"):
                if maker in own:
                    said += check_errors(raised(own[maker], helpers, tuples), docstring)
        if facts and not class_text and "References:" not in docstring:
            said.append("names no source, and neither does its module")
        return said

    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not is_public(node.name):
            continue
        found += [f"{path}: {node.name}: {said}" for said in look(node, node.name)]
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and is_public(member.name):
                    name = f"{node.name}.{member.name}"
                    said = look(member, name, text_of(node) or "-")
                    found += [f"{path}: {name}: {what}" for what in said]
    return found


FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def test_every_public_name_says_what_it_is():
    found = [line for name in FILES for line in complaints(name, (PACKAGE / name).read_text())]
    assert len(FILES) > 50 and not found, "\n" + "\n".join(found)


GOOD = '''"""A module.

References: a paper.
"""

def product(x: jax.Array, w: jax.Array, dt: float) -> jax.Array:
    """Multiplies.

    Args:
        x: `[B, K]` activations.
        w: `[K, N]` weights, LSB.
        dt: s.

    Returns:
        `[B, N]` LSB.

    Raises:
        ValueError: shapes do not fit.
    """
    _check(x, w)

def _check(x, w):
    raise ValueError("no")
'''


def test_what_says_everything_is_accepted():
    assert complaints("kernels/good.py", GOOD) == []


@pytest.mark.parametrize(
    "was, becomes, complaint",
    [
        ('"""A module.\n\nReferences: a paper.\n"""', "", "has no docstring"),
        ("References: a paper.", "", "names no source"),
        ("        w: `[K, N]` weights, LSB.\n", "", "Args leaves out w"),
        ("`[K, N]` weights", "weights", "w is an array without a shape"),
        ("        `[B, N]` LSB", "        LSB", "returns an array without a shape"),
        ("dt: s.", "dt: a step.", "dt has no unit"),
        ("ValueError: shapes", "shapes", "raises ValueError and does not say so"),
        ("    Args:\n", "", "and no Args"),
        (", dt: float", ", dt", "dt is not annotated"),
        (") -> jax.Array", ")", "returns something that is not annotated"),
        (GOOD[GOOD.index('    """Mult') : GOOD.index("    _check")], "", "has no docstring"),
    ],
    ids=lambda value: value[:20].strip(),
)
def test_what_leaves_something_out_is_not(was, becomes, complaint):
    assert was in GOOD
    assert complaint in "\n".join(complaints("kernels/bad.py", GOOD.replace(was, becomes, 1)))
