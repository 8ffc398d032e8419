"""Imports point down only: the contracts in pyproject.toml hold, and catch what breaks them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
ROOMS = [room.strip() for level in CONTRACTS["contracts"][0]["layers"] for room in level.split("|")]


def lint(settings, root):
    """Runs the import linter over a package that lies in `root`; returns (exit code, output)."""
    file = root / "contracts.toml"
    file.write_text(tomli_w.dumps({"tool": {"importlinter": settings}}))
    lint_imports = "import sys; from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run(
        [sys.executable, "-c", lint_imports, "--config", file, "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def model(root, **imports):
    """A package with the rooms of bss2jax and nothing in them but the imports given."""
    package = root / "bss2jax"
    package.mkdir()
    (package / "__init__.py").touch()
    for room in ROOMS:
        (package / f"{room}.py").write_text(imports.get(room, ""))


def test_the_packages_imports_point_down_only(tmp_path):
    (tmp_path / "bss2jax").symlink_to(ROOT / "bss2jax")
    code, output = lint(CONTRACTS, tmp_path)
    assert code == 0, output


def test_every_room_has_its_layer():
    inside = (path for path in (ROOT / "bss2jax").iterdir() if path.suffix in ("", ".py"))
    found = {path.stem for path in inside if path.stem != "__init__"}
    rooms = {name for name in found if not name.startswith("__") or name == "__main__"}
    assert rooms - {"configs"} == set(ROOMS)


@pytest.mark.parametrize(
    "room, upward",
    [
        ("kernels", "import bss2jax.networks"),
        ("networks", "from bss2jax import data"),
        ("training", "from bss2jax.nnx import x"),
    ],
)
def test_an_import_upwards_or_sideways_is_caught(tmp_path, room, upward):
    settings = CONTRACTS | {"contracts": CONTRACTS["contracts"][:1]}
    model(tmp_path, **{room: upward})
    code, output = lint(settings, tmp_path)
    assert code == 1 and "BROKEN" in output and f"bss2jax.{room}" in output


def test_a_room_without_a_layer_is_caught(tmp_path):
    model(tmp_path)
    settings = CONTRACTS | {"contracts": CONTRACTS["contracts"][:1]}
    assert lint(settings, tmp_path)[0] == 0
    (tmp_path / "bss2jax" / "attic.py").touch()
    code, output = lint(settings, tmp_path)
    assert code == 1 and "attic" in output
