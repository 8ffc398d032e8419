"""What pages take from elsewhere when they are built, so that every fact is written once.

`<!-- summaries -->` becomes a table of the kept summaries of runs, `<!-- heads -->` the heads of
all shipped configs, `<!-- experiments -->` the committed results of all experiments, with their
figures, `<!-- quantities -->` what the fields of a chip and of its mismatch declare,
`<!-- keys -->` the keys that a config may have.
"""

import json
import re
import tomllib
from pathlib import Path

from mkdocs.structure.files import File

from bss2jax.chip.chip import QUANTITIES, SPREADS, Mismatch
from bss2jax.chip.quantities import CIRCUIT, INPUT
from bss2jax.config.keys import keys
from bss2jax.networks.rungs import RUNGS

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
    markdown = markdown.replace("<!-- summaries -->", summaries())
    markdown = markdown.replace("<!-- quantities -->", quantities())
    markdown = markdown.replace("<!-- keys -->", config_keys())
    return markdown.replace("<!-- experiments -->", experiments())


def on_post_page(output, **_):
    """Mends attributes that share an entry, which the reference shows as a name and its type."""
    name = r'<code><span title="[^"]*">([^<]*)</span></code>'
    return re.sub(rf"<b>{name}</b>\s*\({name}\)", _joined, output)


def _joined(found):
    first, second = found[1], found[2]
    return f"<b><code>{first} {second}</code></b>" if first.endswith(",") else found[0]


def summaries():
    """A table of runs: `summary.json` of `bss2jax train NAME`, as it was written."""
    rows = []
    for path in sorted((RESULTS / "summaries").glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = kept["test_accuracy"]
        accuracy = (f"{found[rung]:.2%}" if rung in found else "-" for rung in RUNGS)
        seeds = f"{kept['seed']}, {kept['chip_seed']}"
        time = f"{kept['seconds']['total']:.0f} s"
        samples = f"{kept['test_samples']} {kept.get('data_note', '')}".strip()
        rows.append((f"`{path.stem}`", *accuracy, samples, seeds, time))
    labels = (rung.label for rung in RUNGS.values())
    header = ("`bss2jax train …`", *labels, "test samples", "seed, chip", "took")
    return _table(header, rows)


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


def quantities():
    """Two tables: the quantities of a chip, and what acts on several of them."""
    rows = []
    for name, declared in QUANTITIES.items():
        spread = SPREADS[declared.spread]
        axes = ", ".join("2" if axis == "S" else axis for axis in declared.site.axes)
        rows.append(
            (f"`{name}`", declared.meaning, f"{declared.site.name} `[{axes}]`", declared.kind.unit,
             *_spread(declared.spread), joined(declared), spread.source)
        )  # fmt: skip
    header = ("quantity", "what it is", "where", "unit", "config key", "calibrated",
              "uncalibrated", "joined circuits", "source")  # fmt: skip
    spreading = {declared.spread for declared in QUANTITIES.values()}
    others = [
        (f"`{name}`", spread.meaning, spread.unit, *_spread(name), spread.source)
        for name, spread in SPREADS.items()
        if name not in spreading
    ]
    second = ("field of `Mismatch`", *header[1:2], *header[3:7], "source")
    return f"{_table(header, rows)}\n\n{_table(second, others)}"


def config_keys():
    """A table of keys for each table of a config, those of layers in one a kind."""
    tables = {}
    for key in keys():
        head = key.name.rpartition(".")[0].replace(".N", "") or "config"
        tables.setdefault((head.split(".")[0], key.of), []).append(key)
    parts = []
    for (head, of), found in tables.items():
        rows = [
            (f"`{k.name}`", k.takes, "required" if k.required else f"`{k.default or 'none'}`",
             k.meaning.replace("|", "\\|"))
            for k in found
        ]  # fmt: skip
        title = f"### {head}" + (f" of {of}" if of else "")
        parts.append(f"{title}\n\n{_table(('key', 'takes', 'default', 'meaning'), rows)}")
    return "\n\n".join(parts)


def joined(declared):
    """How circuits combine, in words."""
    if declared.site not in (CIRCUIT, INPUT):
        return "-"
    return declared.joined.__name__.replace("_", " ")


def _spread(name):
    spread, calibrated = SPREADS[name], getattr(Mismatch(), name)
    return f"`{spread.config}`", f"{calibrated:g}", f"{spread.uncalibrated:g}"


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
