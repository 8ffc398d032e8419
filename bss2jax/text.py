"""Text for terminals, and for notebooks: tables of aligned columns."""

import html
import textwrap
from collections.abc import Sequence
from typing import TypeAlias

_LEAST = 24  # columns that the last cell of a row has, however narrow a terminal is

# Long headings, and where they may be broken.
_BROKEN = {
    "configurations": "configu- rations",
    "population": "popu- lation",
    "throughput": "through- put",
    "utilisation": "utili- sation",
}


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    most: int | None = None,
) -> str:
    """Returns rows of text as aligned columns under a header: numbers to the right, else left.

    Args:
        header: the names of the columns.
        rows: the cells of each row.
        width: columns of the terminal, within which a long last cell goes on below; by default it
            goes on and on.
        most: columns beyond which headings of several words stand in several lines; by default none
            do.
    """
    heads = [header]
    if most is not None and sum(max(map(len, c)) + 2 for c in zip(header, *rows)) - 2 > most:
        heads = _stacked(header, rows)
    lines = [*heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numbers = [
        all(row[i][:1].isdigit() or row[i] == "-" for row in rows) for i in range(len(header))
    ]

    before = sum(widths[:-1]) + 2 * len(widths[:-1])
    if width is not None and not numbers[-1]:
        widths[-1] = min(widths[-1], max(width - before, _LEAST))

    def align(line: Sequence[str]) -> str:
        last, *more = textwrap.wrap(line[-1], widths[-1]) or [""]
        cells = zip([*line[:-1], last], widths, numbers, strict=True)
        first = "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in cells).rstrip()
        return "\n".join([first, *(" " * before + part for part in more)])

    rule = "  ".join("-" * w for w in widths)
    return "\n".join([*map(align, heads), rule, *map(align, rows)])


def _stacked(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Headings in as many lines as keep columns narrow, the last words at the bottom."""
    names = [_BROKEN.get(name, name) for name in header]
    parts = [
        textwrap.wrap(name, max(map(len, [*name.split(), *cells])), break_on_hyphens=False)
        for name, *cells in zip(names, *rows)
    ]
    depth = max(map(len, parts))
    return list(zip(*([""] * (depth - len(part)) + part for part in parts)))


Told: TypeAlias = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # a line, header and rows


def page(told: Told) -> str:
    """Returns a line and a table as HTML, for notebooks."""
    title, header, rows = told
    lines = [("th", header), *(("td", row) for row in rows)] if rows else []
    cells = "".join(
        f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in line)}</tr>"
        for tag, line in lines
    )
    return f"<p>{html.escape(title)}</p><table>{cells}</table>"


class Shown:
    """What shows itself as a line and a table, in a terminal and in a notebook."""

    def shown(self) -> Told:
        """Returns the line, and header and rows of the table."""
        raise NotImplementedError

    def __repr__(self) -> str:
        title, header, rows = self.shown()
        return f"{title}\n{table(header, rows)}" if rows else title

    def _repr_html_(self) -> str:
        return page(self.shown())
