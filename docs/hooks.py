"""What pages take from elsewhere when they are built, so that every fact is written once.

`<!-- heads -->` becomes the heads of all shipped configs, `<!-- experiments -->` the committed
results of all experiments, with their figures.
"""

import re
import tomllib
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"


def on_files(files, config):
    """Adds the figures of the experiments to the site."""
    for path in sorted(RESULTS.glob("*.png")):
        files.append(File.generated(config, f"experiments/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, **_):
    """Replaces the marks of a page by what they stand for."""
    markdown = markdown.replace("<!-- heads -->", heads())
    return markdown.replace("<!-- experiments -->", experiments())


def on_post_page(output, **_):
    """Mends attributes that share an entry, which the reference shows as a name and its type."""
    name = r'<code><span title="[^"]*">([^<]*)</span></code>'
    return re.sub(rf"<b>{name}</b>\s*\({name}\)", _joined, output)


def _joined(found):
    first, second = found[1], found[2]
    return f"<b><code>{first} {second}</code></b>" if first.endswith(",") else found[0]


def heads():
    """The description of each config, and the comment at its top: commands, then what they gave."""
    names = [path.stem for path in sorted((ROOT / "configs").glob("*.toml"))]
    return "\n".join(f"### {name}\n\n{description(name)}\n\n{head(name)}\n" for name in names)


def head(name):
    """The comment at the top of a config; its first paragraph are commands."""
    lines = _text(name).splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    text = "\n".join(line.removeprefix("#").removeprefix(" ").rstrip() for line in lines[:end])
    commands, _, rest = text.partition("\n\n")
    commands = "\n".join(f"$ {line.strip()}" for line in commands.splitlines())
    return f"```console\n{commands}\n```\n\n{rest}\n"


def description(name):
    """The one line of a config."""
    return tomllib.loads(_text(name))["description"]


def experiments():
    """The committed results, a section each; their first words are the heading."""
    sections = []
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\]\((\w+)\.png\)", r"](experiments/\1.png)", text)
        text = re.sub(r"\]\((\w+)\.md\)", r"](#\1)", text)
        title = path.stem.replace("_", " ").capitalize()
        sections.append(f"### {title} {{ #{path.stem} }}\n\n{text}")
    return "\n\n".join(sections)


def _text(name):
    return (ROOT / "configs" / f"{name}.toml").read_text(encoding="utf-8")
