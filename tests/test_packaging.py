"""The package as it is installed: what is in the wheel and the sdist, and that it works alone."""

import ast
import email
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from bss2jax import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tree(folder, pattern):
    files = (path for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return {str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both archives, made by the build backend itself: needs no network."""
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = place.glob("*.whl"), place.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_has_all_modules_and_configs_and_nothing_else(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    expected = tree("bss2jax", "*")
    assert "bss2jax/py.typed" in expected
    expected |= {f"bss2jax/{path}" for path in tree("configs", "*.toml")}
    info = f"bss2jax-{__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == expected
    assert info + "licenses/LICENSE" in names


def test_the_wheel_says_what_it_is(built):
    wheel = zipfile.ZipFile(built[0])
    info = f"bss2jax-{__version__}.dist-info/"
    head = email.message_from_bytes(wheel.read(info + "METADATA"))
    assert head["Version"] == __version__ and head["License-Expression"] == "Apache-2.0"
    assert head["Requires-Python"] == PROJECT["requires-python"]
    page = head.get_payload()
    assert page.startswith("# bss2jax")
    assert not re.findall(r"\]\((?!https?:)", page), "what a package's page cannot show"
    assert "bss2jax = bss2jax.cli:main" in wheel.read(info + "entry_points.txt").decode()


def test_the_sdist_has_what_it_takes_to_build_test_and_read_it(built):
    head = f"bss2jax-{__version__}/"
    names = {name.removeprefix(head) for name in tarfile.open(built[1]).getnames()}
    for folder, pattern in (
        ("bss2jax", "*.py"),
        ("configs", "*.toml"),
        ("tests", "*.py"),
        ("docs", "*.md"),
    ):
        assert tree(folder, pattern) <= names
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"):
        assert name in names


def test_the_unpacked_wheel_finds_its_configs_from_an_empty_directory(built, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(built[0]).extractall(site)
    # Isolated from this checkout: neither the working directory nor an editable install comes in.
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import bss2jax, bss2jax.cli; "
        "print(bss2jax.__file__, flush=True); sys.exit(bss2jax.cli.main(['configs']))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=empty, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file, *lines = done.stdout.splitlines()
    assert file == str(site / "bss2jax" / "__init__.py")
    listed = {line.split()[0] for line in lines[2:]}
    assert listed == {path.stem for path in (ROOT / "configs").rglob("*.toml")}


def test_the_version_is_written_once():
    """In the package, which the wheel reads; a citation needs it too, and has the same."""
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}]" in changes or "## [Unreleased]" in changes


def test_every_imported_package_is_declared():
    """What the package imports is in its dependencies, or in the extra that says what it is for."""
    extras = PROJECT["optional-dependencies"].items()
    needed = [line for _, lines in extras for line in lines]
    declared = {
        line.split(";")[0].split("[")[0].split(">")[0].strip().lower().replace("_", "-")
        for line in (*PROJECT["dependencies"], *needed)
    }
    distributions = importlib.metadata.packages_distributions()
    imported = set()
    for path in (ROOT / "bss2jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"bss2jax"}
    assert {"jax", "numpy", "optax"} <= outside
    for name in outside:
        owners = {owner.lower().replace("_", "-") for owner in distributions[name]}
        assert owners & declared, f"{name} of {owners} is imported and not declared"
