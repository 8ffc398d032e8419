"""The notebooks as pages: with what they gave where `make notebooks` has executed them.

Each becomes `tutorials/NAME.md`. Of a notebook that has not been executed, or has changed since,
the page says so and shows the code alone.
"""

import base64
import json
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
_LONG = 40  # lines of printed text that are shown


def on_files(files, config):
    """Adds a page for each notebook, and its pictures."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        pictures = {}
        text = page(path, pictures)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=data))
    return files


def page(path, pictures):
    """The page of a notebook; its pictures are added by name."""
    cells, executed = _cells(path), ROOT / "runs" / "notebooks" / path.name
    done = [cell for cell in (_cells(executed) if executed.is_file() else []) if _is_code(cell)]
    known = [cell["source"] for cell in done] == [c["source"] for c in cells if _is_code(c)]
    outputs, parts = iter(done if known else []), []
    for cell in cells:
        source = "".join(cell["source"])
        if not _is_code(cell):
            # Notebooks lie beside docs/, their pages in a folder of it.
            parts.append(source.replace("](../docs/", "](../").replace(".ipynb)", ".md)"))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in next(outputs)["outputs"] if known else ():
            parts.append(_shown(output, f"{path.stem}-{len(pictures)}.png", pictures))
    note = f"!!! note\n    This page is the notebook `notebooks/{path.name}`. "
    if not known:
        note += "It has not been executed for these pages; `make docs` does that."
    title, *rest = parts
    head, _, below = title.partition("\n")
    return "\n\n".join([head, note, below, *rest])


def _cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _is_code(cell):
    return cell["cell_type"] == "code"


def _shown(output, name, pictures):
    """What a cell gave: a picture or text."""
    data = output.get("data", {})
    if "image/png" in data:
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![]({name})"
    if output["output_type"] == "stream" and output["name"] == "stdout":
        text = "".join(output["text"])
    elif "application/vnd.jupyter.widget-view+json" in data:
        return ""  # sliders move in a notebook only
    else:
        text = "".join(data.get("text/plain", ""))
    lines = text.rstrip().splitlines()
    return "```text\n{}\n```".format("\n".join(lines[:_LONG])) if lines else ""
