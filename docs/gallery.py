"""Draws the pictures of the gallery, each by the code under it, when `BSS2JAX_DOCS` says `full`.

A picture is what a block of code that begins with ```` ```python picture ```` leaves in `figure` or
`ax`. It is drawn once, and written in the colours of light pages and of dark ones.
"""

import contextlib
import io
import os
import re
import tempfile

import matplotlib
from matplotlib import pyplot
from mkdocs.structure.files import File

from bss2jax.plot.style import GREY, PALE

_BLOCK = re.compile(r"^```python( picture)?\n(.*?)^```\n", re.S | re.M)
_INK, _PAPER = "#010101", "#fefefe"
_COLOURS = {
    "light": {_INK: "#1b1b1b", _PAPER: "#ffffff"},
    "dark": {
        _INK: "#e2e4e9", "#000000": "#e2e4e9", _PAPER: "#1e2129", PALE: "#3a3d47", GREY: "#a0a4ae",
    },
}  # fmt: skip
_SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "gallery", "font.size": 9, "figure.dpi": 80,
    "figure.facecolor": "none", "savefig.facecolor": "none", "axes.facecolor": _PAPER,
} | dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
)  # fmt: skip


def on_page_markdown(markdown, page, config, files, **_):
    """Puts each picture above the code that draws it."""
    if "```python picture" not in markdown:
        return markdown
    if os.environ.get("BSS2JAX_DOCS") != "full":
        return markdown.replace("```python picture", "```python")
    matplotlib.use("agg")
    scope = {"__name__": page.file.src_uri}

    def shown(found):
        with matplotlib.rc_context(_SETTINGS):
            exec(compile(found[2], page.file.src_uri, "exec"), scope)
            if not found[1]:
                return found[0]
            name = f"gallery/{found.start()}"
            for look, svg in _drawn(scope).items():
                files.append(File.generated(config, f"{name}-{look}.svg", content=svg))
        pictures = "".join(f"![]({name}-{look}.svg#only-{look})" for look in _COLOURS)
        return f"{pictures}\n\n```python\n{found[2]}```\n"

    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        return _BLOCK.sub(shown, markdown)


def _drawn(scope):
    """What a block has drawn, in the colours of each look."""
    ax = scope.pop("ax", None)
    figure = scope.pop("figure", None) or ax.figure
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)
    svg = file.getvalue().decode()
    drawn = {}
    for look, colours in _COLOURS.items():
        drawn[look] = re.sub("|".join(colours), lambda found, of=colours: of[found[0]], svg)
    return drawn
