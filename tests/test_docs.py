"""The documentation: it builds strictly, its code runs, its commands are commands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import bss2jax
import bss2jax.nnx
from bss2jax import calibration, config, data, networks, plot, report
from bss2jax.cli import main, parser
from bss2jax.config.plastic import load_plastic, shipped_plastic

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Pages whose code compiles or trains for more than some seconds: run by `make docs`.
DEAR = (
    "chip", "chips", "concepts", "data", "deep", "gallery", "index", "learn", "network", "networks",
    "nir", "nnx", "products", "run", "spikes", "sweep", "training",
)  # fmt: skip
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def titled(page, language):
    """The code blocks of a page in a language, each with its title, the name of a file, or none."""
    fence = re.compile(rf"^( *)```{language}([^\n]*)\n(.*?)^\1```", re.M | re.S)
    for _, head, text in fence.findall(page.read_text(encoding="utf-8")):
        title = re.search('title="(.*)"', head)
        yield title and title[1], text


def blocks(page, language):
    """The code blocks of a page in a language, as they stand."""
    return [text for _, text in titled(page, language)]


def having(language):
    return [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in DEAR))
        for page in PAGES
        if blocks(page, language)
    ]


@pytest.mark.slow  # `make docs` builds it, too
def test_it_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Opened from disk it needs no network: nothing is loaded from elsewhere.
    loaded = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(https?:)?//')
    for page in tmp_path.rglob("*.html"):
        assert not loaded.search(page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("page", having("python"))
def test_python_runs(page, tmp_path, monkeypatch):
    """The blocks of a page run one after the other in one namespace, in an empty directory.

    Those that are files are written there before; configs among them are trained where they stand.
    """
    if page.stem == "nir":  # of the group bench-nir, which brings torch
        pytest.importorskip("snntorch")
    monkeypatch.chdir(tmp_path)
    both = list(titled(page, "(?:python|toml)"))
    for title, text in both:
        if title:
            (tmp_path / title).write_text(text)
    runs = {"__name__": page.stem}
    trains = any(title and title.endswith(".py") for title, _ in both)
    for title, text in both:
        if text in blocks(page, "python"):
            # One trial of a search shows as much as twenty.
            exec(compile(text.replace("n_trials=20", "n_trials=1"), str(page), "exec"), runs)
        elif title and trains:
            assert main(["train", title, f"run.dir={title}-run"]) == 0


# What pages say that a config of theirs, or one that ships, reaches: by rung, where it stands.
SAID = {
    "index.md": ("digits", {
        rung: rf"^{rung} +([\d.]+)%" for rung in ("float", "ideal", "chip")
    }),
    "how-to/network.md": ("spikes.toml", {"chip": r"It reaches ([\d.]+) % on its chip"}),
    "how-to/deep.md": ("resnet8.toml", {
        "float": r"It reaches ([\d.]+) % on `float`",
        "ideal": r"([\d.]+) on a perfect chip",
        "chip": r"([\d.]+) trained in the loop",
    }),
}  # fmt: skip


@pytest.mark.slow  # half a minute to minutes of training each
@pytest.mark.parametrize("page", SAID)
def test_configs_reach_what_their_page_says(page, tmp_path):
    """To three standard errors of a share of the test samples: other machines round otherwise."""
    (name, said), text = SAID[page], (DOCS / page).read_text(encoding="utf-8")
    if name.endswith(".toml"):
        (tmp_path / name).write_text(dict(titled(DOCS / page, "toml"))[name])
        name = str(tmp_path / name)
    assert main(["train", name, f"run.dir={tmp_path / 'run'}"]) == 0
    summary = bss2jax.open_run(tmp_path / "run").summary
    for rung, where in said.items():
        (stated,) = (float(found) / 100 for found in re.findall(where, text, re.M))
        error = (stated * (1 - stated) / summary["test_samples"]) ** 0.5
        assert abs(summary["test_accuracy"][rung] - stated) <= 3 * error, rung


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_configs_are_configs(page, tmp_path, monkeypatch):
    """Whole configs are read; what is less than one is read as part of a small one."""
    monkeypatch.chdir(tmp_path)
    for name, text in titled(page, "python"):
        if name:
            (tmp_path / name).write_text(text)
    for i, text in enumerate(blocks(page, "toml")):
        if "name =" not in text:
            text = 'name = "x"\ndata.name = "digits"\nlayers = [{ kind = "flatten" }]\n' + text
        path = tmp_path / f"{i}.toml"
        path.write_text(text)
        config.load(path)


def calls():
    """Each call of the command line in the pages: (page, words)."""
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            found = re.match(r"[\s`$|]*(?:\.venv/bin/)?(bss2jax [a-z-].*)", line)
            if found:
                # Without comments, redirections, and what ends a call within a sentence.
                text = re.split(r"\s#|\s>\s|`|;", found[1])[0]
                words = shlex.split(re.sub(r"\$(\w+)", "0", text))[1:]
                if not any(word.isupper() or "…" in word for word in words):
                    yield page, words


def test_commands_are_commands(tmp_path, capsys):
    """Parsed as the command line parses them, configs read with their overrides; nothing runs."""
    found = list(calls())
    assert {words[0] for _, words in found} >= {"train", "plan", "evaluate", "chip", "data"}
    for page, words in found:
        try:
            parsed = parser().parse_args(words)
        except SystemExit as exit:
            assert exit.code == 0, (page.name, words, capsys.readouterr().err)
            continue
        source = getattr(parsed, "config", None)
        if source and source.endswith(".toml"):
            own = dict(titled(page, "toml"))[source]
            source = tmp_path / source
            source.write_text(own)
        if source:
            read = load_plastic if source in shipped_plastic() else config.load
            read(source, parsed.overrides)
        elif words[:2] == ["chip", "sample"]:
            config.load_specimen(parsed.overrides)


def test_files_of_the_package_are_there_and_an_image_passes_at_most_eight():
    for page in PAGES:
        for name in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists() or (ROOT / "bss2jax" / name).exists(), (page.name, name)
    way = (DOCS / "architecture.md").read_text(encoding="utf-8").split("## The way of one image")[1]
    steps = re.findall(r"^\d\. .*", way.split("##")[0], re.M)
    files = [name for step in steps for name in re.findall(r"`([\w/]+\.py)`", step)]
    assert steps and len(files) <= 8


def test_what_pages_include_of_the_readme_has_no_links_of_the_checkout():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"\[start:results\].*?\[end:results\]", readme, re.S)
    assert "mnist_ladder" in shown and re.findall(r"\]\((?!https?:|#)[^)]*\)", shown) == []


def test_scripts_and_targets_are_there():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for script, options in re.findall(
            r"python ((?:experiments|benchmarks|docs)/\w+\.py)([^`\n]*)", text
        ):
            source = (ROOT / script).read_text(encoding="utf-8")
            for option in re.findall(r"--[a-z]+", options):
                # As it is written, or as the experiments' common command line takes it.
                known = re.search(rf'"{option}"|\b{option[2:]}=\(\d', source)
                assert known, (page.name, script, option)
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in re.findall(r"\bmake ([a-z-]+)(?= |`|$)", text, re.M):
            if f"`make {target}" in text or f"make {target}  " in text:
                assert re.search(rf"^{target}:", makefile, re.M), (page.name, target)


def test_every_public_name_is_in_the_reference():
    named = set()
    for page in (DOCS / "api").glob("*.md"):
        named |= set(re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.M))
    modules = (bss2jax, bss2jax.nnx, calibration, data, networks, plot, report)
    expected = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    assert expected <= named, expected - named


def script(name):
    """What a script of the documentation defines."""
    path = DOCS / f"{name}.py"
    scope = {"__name__": name, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)
    return scope


def test_readme_says_what_its_picture_shows():
    path, text = DOCS / "readme.png", (ROOT / "README.md").read_text(encoding="utf-8")
    with Image.open(path) as picture:
        shown = json.loads(picture.info["Description"])
    assert list(shown) == ["float", "transfer", "chip"]
    said = re.search(r"in the loop\]\(docs/readme.png\)(.*?)\n\n.*?\n\n", text, re.S)[0]
    assert re.findall(r"(\d+\.\d) %", said) == [f"{100 * share:.1f}" for share in shown.values()]
    assert path.stat().st_size < 150_000


def test_the_signal_chain_is_what_its_script_draws():
    text = script("signal_chain")["drawing"]()
    assert (DOCS / "signal-chain.svg").read_text(encoding="utf-8") == text
    # Its numbers are those of the substrate.
    s = bss2jax.BSS2
    for said in (
        f"0 .. {s.activation_max}",
        f"±{s.weight_max}",
        f"{s.rows} signed rows and {s.columns} columns",
        f"±{s.linear_range:.0f} LSB",
        f"{s.gain:g} LSB".removeprefix("0"),
        f"\N{MINUS SIGN}{-s.readout_min} .. {s.readout_max}",
        f"every {1e6 * s.cadc_period:g} µs",
        f"{s.hemispheres * s.columns} neuron circuits",
    ):
        assert said in text, said
