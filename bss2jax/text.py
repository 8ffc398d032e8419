"""Text for terminals: tables of aligned columns."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of text as aligned columns under a header: numbers to the right, else left."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numbers = [
        all(row[i][:1].isdigit() or row[i] == "-" for row in rows) for i in range(len(header))
    ]

    def align(line: Sequence[str]) -> str:
        cells = zip(line, widths, numbers, strict=True)
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in cells).rstrip()

    return "\n".join([align(header), "  ".join("-" * w for w in widths), *map(align, rows)])
