"""How pages are made: the templates, and the names that runs have on a page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2


def template(name: str) -> jinja2.Template:
    """Returns a template of the package, which escapes what it is given."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bss2jax.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Returns the names of runs' directories, or their paths where two have the same name."""
    last = [path.resolve().name for path in paths]
    count = Counter(last)
    named = [name if count[name] == 1 else str(path) for name, path in zip(last, paths)]
    return [name.encode(errors="backslashreplace").decode() for name in named]
